//! Journal reads: a short task for each. Direct, so that they don't displace anything cached.

use std::rc::Rc;

use crate::model::ids::{GroupId, ReadId, SegmentId};
use crate::runtime::executor::spawn_local;
use crate::runtime::flush_task::failed;
use crate::runtime::journal_files::FileKey;
use crate::runtime::journal_page::JournalPage;
use crate::runtime::shard_io::ShardIo;
use crate::shard::input::{Input, IoFailure};

/// Starts a read; `Input::JournalRead` follows.
pub fn read_journal(
    io: &Rc<ShardIo>,
    group: GroupId,
    read: ReadId,
    segment: SegmentId,
    at: u64,
    bytes: usize,
) {
    let io = io.clone();
    spawn_local(async move {
        let result = read_page(&io, FileKey::Segment(group, segment), at, bytes).await;
        io.inbox.push(Input::JournalRead { group, read, result });
    })
    .detach();
}

async fn read_page(
    io: &ShardIo,
    key: FileKey,
    at: u64,
    bytes: usize,
) -> Result<JournalPage, IoFailure> {
    let file = io.files.get(key).await?.file;
    io.counters.journal_reads.up();
    match file.read_at(at, bytes).await {
        Ok(read) if read.bytes().len() == bytes => Ok(JournalPage(Rc::new(read))),
        Ok(read) => Err(IoFailure::Failed(format!(
            "the disk gave {} of {bytes} bytes at byte {at} of {key:?}",
            read.bytes().len()
        ))),
        Err(error) => Err(failed("read", key, error)),
    }
}
