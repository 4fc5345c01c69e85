//! Journal and vote writes: a short task for each, several at the same time.
//!
//! Rules: a write that has begun is never cancelled, nor its task dropped: whether it reached the
//! disk would be unknown. A failed write is reported and not tried again.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::journal::page::Page;
use crate::model::ids::{GroupId, SegmentId, WriteId};
use crate::model::time::Time;
use crate::runtime::direct_file::DirectFile;
use crate::runtime::executor::spawn_local;
use crate::runtime::journal_files::{Durability, FileKey, JournalFile};
use crate::runtime::journal_page::JournalPage;
use crate::runtime::segment_files::failure;
use crate::runtime::shard_io::ShardIo;
use crate::shard::input::{Input, IoFailure};

/// Calls of fdatasync of a group that are out at the same time. With one alone a write that just
/// missed it waits for two, and the disk has nothing to do meanwhile.
const SYNCS_MAX: usize = 2;

/// Writes of the groups of a shard that wait for an fdatasync.
#[derive(Default)]
pub struct SyncQueue {
    groups: RefCell<FxHashMap<GroupId, GroupSync>>,
}

#[derive(Default)]
struct GroupSync {
    waiting: Vec<Written>,
    running: usize,
}

/// A write that is done, but not known to be durable.
struct Written {
    write: WriteId,
    file: Rc<DirectFile>,
    began: Time,
}

/// Starts a journal write; `Input::JournalWritten` follows.
pub fn write_journal(
    io: &Rc<ShardIo>,
    group: GroupId,
    write: WriteId,
    segment: SegmentId,
    at: u64,
    page: JournalPage,
) {
    let io = io.clone();
    spawn_local(async move {
        let began = io.clock.time();
        io.counters.journal_write_sizes.record(page.bytes().len());
        match write_page(&io, FileKey::Segment(group, segment), at, page).await {
            Ok(file) if io.files.durability() == Durability::Fdatasync => {
                sync_and_report(&io, group, Written { write, file, began }).await;
            }
            Ok(_) => report(&io, group, write, began, Ok(())),
            Err(failure) => report(&io, group, write, began, Err(failure)),
        }
    })
    .detach();
}

/// Starts a vote write; `Input::VoteWritten` follows.
pub fn write_vote(io: &Rc<ShardIo>, group: GroupId, write: WriteId, at: u64, page: JournalPage) {
    let io = io.clone();
    spawn_local(async move {
        let written = write_page(&io, FileKey::Vote(group), at, page).await;
        let result = written.map(|_| ());
        io.inbox.push(Input::VoteWritten { group, write, result });
    })
    .detach();
}

async fn write_page(
    io: &Rc<ShardIo>,
    key: FileKey,
    at: u64,
    page: JournalPage,
) -> Result<Rc<DirectFile>, IoFailure> {
    let JournalFile { file, zeros } = io.files.get(key).await?;
    let bytes = page.bytes().len();
    if let FileKey::Segment(..) = key {
        zeros.make_way(&file, at, bytes).await;
    }
    io.counters.journal_writes.up();
    io.counters.journal_written_bytes.add(bytes as u64);
    let written = file.write_at(page.0, at).await;
    if let FileKey::Segment(..) = key {
        zeros.look_ahead(io, &file, at + bytes as u64, bytes);
    }
    match written {
        Ok(written) if written == bytes => Ok(file),
        Ok(written) => Err(IoFailure::Failed(format!(
            "the disk took {written} of {bytes} bytes at byte {at} of {key:?}"
        ))),
        Err(error) => Err(failed("write", key, error)),
    }
}

/// Adds the write to those that wait for an fdatasync of their group. Unless as many as may be are
/// on their way, this task does one, and goes on while more have come: a sync covers what was
/// written before it began.
async fn sync_and_report(io: &ShardIo, group: GroupId, written: Written) {
    {
        let mut groups = io.syncs.groups.borrow_mut();
        let sync = groups.entry(group).or_default();
        sync.waiting.push(written);
        if sync.running == SYNCS_MAX {
            return;
        }
        sync.running += 1;
    }
    loop {
        let covered = {
            let mut groups = io.syncs.groups.borrow_mut();
            let sync = groups.entry(group).or_default();
            if sync.waiting.is_empty() {
                sync.running -= 1;
                return;
            }
            std::mem::take(&mut sync.waiting)
        };
        let result = sync_files(io, group, &covered).await;
        for written in covered {
            report(io, group, written.write, written.began, result.clone());
        }
    }
}

/// Syncs each of the files once. At the end of a segment there are two.
async fn sync_files(io: &ShardIo, group: GroupId, writes: &[Written]) -> Result<(), IoFailure> {
    for (nth, Written { file, .. }) in writes.iter().enumerate() {
        if writes[..nth].iter().any(|before| Rc::ptr_eq(&before.file, file)) {
            continue;
        }
        io.counters.journal_syncs.up();
        if let Err(error) = file.fdatasync().await {
            return Err(IoFailure::Failed(format!(
                "can't sync a segment of group {group}: {error}"
            )));
        }
    }
    Ok(())
}

fn report(
    io: &ShardIo,
    group: GroupId,
    write: WriteId,
    began: Time,
    result: Result<(), IoFailure>,
) {
    io.counters.journal_write.record(io.clock.time().since(began), 1);
    if let Err(failure) = &result {
        tracing::error!(shard = io.shard.0, "journal write {write} of group {group}: {failure:?}");
    }
    io.inbox.push(Input::JournalWritten { group, write, result });
}

/// A failure in words, with the file as the core knows it.
pub fn failed(did: &str, key: FileKey, error: std::io::Error) -> IoFailure {
    let name = match key {
        FileKey::Segment(group, segment) => format!("segment {segment} of group {group}"),
        FileKey::Vote(group) => format!("the vote of group {group}"),
    };
    failure(did, Path::new(&name), &error)
}
