//! Files that are made, recycled and replaced by an ordinary thread, out of the shards' way.
//!
//! A segment gets its name only when all of it has been written once and synced: writes over
//! blocks written before are faster than writes that must allocate (`kernel-notes/001-*`), and
//! durable without a change of the file's metadata.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::journal::page::align_up;
use crate::model::ids::{GroupId, SegmentId};
use crate::model::position::Position;
use crate::runtime::aligned::{AlignedMemory, open_direct, sync_dir};
use crate::runtime::data_dir::{group_dir, names_in, replace_file, segment_of_name, segment_path};
use crate::runtime::mesh::ShardMail;
use crate::runtime::{group_dirs, known_nodes};
use crate::shard::NodeAddress;
use crate::shard::input::IoFailure;

/// Zeros are written in blocks of this size.
const ZERO_BLOCK_BYTES: usize = 1 << 20;
/// Between two blocks the disk is left to the journals, for as long as the block took, but no
/// longer than this.
const ZERO_PAUSE_MAX: Duration = Duration::from_millis(5);
/// Files of removed segments that are kept for reuse, for each group.
const SPARES_MAX: usize = 2;

/// Something for the helper thread to do. The answer goes to the mailbox that came with it.
#[derive(Debug)]
pub enum FileJob {
    /// Make a segment's file.
    Create { group: GroupId, segment: SegmentId, header: Bytes },
    /// Keep a segment's file for reuse, or delete it. Has no answer.
    Remove { group: GroupId, segment: SegmentId },
    /// Replace a group's checkpoint.
    Checkpoint { group: GroupId, position: Position, bytes: Bytes },
    /// Make a group's directory.
    CreateGroup { group: GroupId, checkpoint: Bytes },
    /// Delete all of a group but its vote. Has no answer.
    RemoveGroup { group: GroupId },
    /// Keep which nodes there are. Has no answer.
    RememberNodes { nodes: Vec<NodeAddress> },
}

/// Feeds the two helper threads of a node. Dropping the last of these ends them.
#[derive(Clone)]
pub struct FileHelper {
    segments: flume::Sender<(FileJob, flume::Sender<ShardMail>)>,
    // On a thread of its own: a checkpoint must not wait for a segment to be zeroed.
    checkpoints: flume::Sender<(FileJob, flume::Sender<ShardMail>)>,
}

impl FileHelper {
    /// Starts the threads. Call it before anything is pinned: they run on any CPU.
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start(data_dir: &Path, segment_bytes: u64) -> io::Result<FileHelper> {
        Ok(FileHelper {
            segments: start_thread("segment-files", data_dir, segment_bytes)?,
            checkpoints: start_thread("checkpoints", data_dir, segment_bytes)?,
        })
    }

    /// Hands a job over.
    pub fn send(&self, job: FileJob, answer_to: flume::Sender<ShardMail>) {
        let thread = match &job {
            FileJob::Checkpoint { .. } => &self.checkpoints,
            // In order: a group may be deleted and made again.
            FileJob::Create { .. }
            | FileJob::Remove { .. }
            | FileJob::CreateGroup { .. }
            | FileJob::RemoveGroup { .. }
            | FileJob::RememberNodes { .. } => &self.segments,
        };
        // The thread ends when its senders are gone, and here is one.
        let _ = thread.send((job, answer_to));
    }
}

fn start_thread(
    name: &str,
    data_dir: &Path,
    segment_bytes: u64,
) -> io::Result<flume::Sender<(FileJob, flume::Sender<ShardMail>)>> {
    let (sender, jobs) = flume::unbounded::<(FileJob, flume::Sender<ShardMail>)>();
    let data_dir = data_dir.to_path_buf();
    std::thread::Builder::new().name(name.to_string()).spawn(move || {
        while let Ok((job, answer_to)) = jobs.recv() {
            if let Some(answer) = run(&data_dir, segment_bytes, job) {
                // A shard that has stopped wants no answers.
                let _ = answer_to.send(answer);
            }
        }
    })?;
    Ok(sender)
}

fn run(data_dir: &Path, segment_bytes: u64, job: FileJob) -> Option<ShardMail> {
    match job {
        FileJob::Create { group, segment, header } => {
            let path = segment_path(data_dir, group, segment);
            let result = create_segment(&path, segment_bytes, &header)
                .map_err(|error| failure("make", &path, &error));
            Some(ShardMail::SegmentCreated { group, segment, result })
        }
        FileJob::Remove { group, segment } => {
            let path = segment_path(data_dir, group, segment);
            if let Err(error) = remove_segment(&path, segment) {
                tracing::warn!("can't remove {}: {error}", path.display());
            }
            None
        }
        FileJob::Checkpoint { group, position, bytes } => {
            let dir = group_dir(data_dir, group);
            let result = replace_file(&dir, "checkpoint", &bytes)
                .map_err(|error| failure("write", &dir.join("checkpoint"), &error));
            Some(ShardMail::CheckpointWritten { group, position, result })
        }
        FileJob::CreateGroup { group, checkpoint } => {
            let result = group_dirs::create(data_dir, group, &checkpoint);
            Some(ShardMail::GroupCreated { group, result })
        }
        FileJob::RemoveGroup { group } => {
            if let Err(error) = group_dirs::remove(data_dir, group) {
                tracing::warn!("can't delete group {group}: {error:#}");
            }
            None
        }
        FileJob::RememberNodes { nodes } => {
            if let Err(error) = known_nodes::write(data_dir, &nodes) {
                tracing::warn!("can't keep the nodes of the cluster: {error}");
            }
            None
        }
    }
}

/// What a failed call means to the core.
pub fn failure(did: &str, path: &Path, error: &io::Error) -> IoFailure {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => IoFailure::NoSpace,
        _ => IoFailure::Failed(format!("can't {did} {}: {error}", path.display())),
    }
}

/// Makes a file of the full size under `path`: zeros, or what a spare held, and the header.
fn create_segment(path: &Path, segment_bytes: u64, header: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let half_made = path.with_extension("tmp");
    let made = match take_spare(dir, &half_made, segment_bytes)? {
        Some(file) => write_header(&file, header),
        None => zeroed_file(&half_made, segment_bytes).and_then(|file| write_header(&file, header)),
    };
    let named = made.and_then(|()| fs::rename(&half_made, path)).and_then(|()| sync_dir(dir));
    if named.is_err() {
        let _ = fs::remove_file(&half_made);
    }
    named
}

/// A removed segment's file, under its new, half-made name. Its old bytes stay: entries say at
/// which position they lie, so that none of them can be taken for one of this life.
fn take_spare(dir: &Path, half_made: &Path, segment_bytes: u64) -> io::Result<Option<File>> {
    for spare in spares(dir)? {
        if fs::metadata(&spare)?.len() != segment_bytes {
            fs::remove_file(&spare)?;
            continue;
        }
        fs::rename(&spare, half_made)?;
        return open_direct(half_made, false, 0).map(Some);
    }
    Ok(None)
}

fn zeroed_file(path: &Path, segment_bytes: u64) -> io::Result<File> {
    let file = open_direct(path, true, 0)?;
    // All of it now, in few extents; and no space is known before a byte is written.
    fallocate(&file, FallocateFlags::empty(), 0, segment_bytes as i64)?;
    let zeros = AlignedMemory::zeroed(ZERO_BLOCK_BYTES);
    let mut at = 0;
    while at < segment_bytes {
        let block = (segment_bytes - at).min(ZERO_BLOCK_BYTES as u64) as usize;
        let began = Instant::now();
        file.write_all_at(&zeros.bytes()[..block], at)?;
        at += block as u64;
        std::thread::sleep(began.elapsed().min(ZERO_PAUSE_MAX));
    }
    file.sync_data()?;
    Ok(file)
}

fn write_header(file: &File, header: &[u8]) -> io::Result<()> {
    let mut block = AlignedMemory::zeroed(align_up(header.len()));
    block.bytes_mut()[..header.len()].copy_from_slice(header);
    file.write_all_at(block.bytes(), 0)?;
    file.sync_data()
}

fn remove_segment(path: &Path, segment: SegmentId) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    if spares(dir)?.len() < SPARES_MAX {
        fs::rename(path, dir.join(format!("spare-{:020}.journal", segment.0)))?;
    } else {
        fs::remove_file(path)?;
    }
    sync_dir(dir)
}

fn spares(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let names = names_in(dir).map_err(io::Error::other)?;
    let spares = names.iter().filter(|name| segment_of_name(name, "spare-").is_some());
    Ok(spares.map(|name| dir.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_made_recycled_and_bounded() {
        let dir = std::env::temp_dir().join(format!("hutong-segments-{}", std::process::id()));
        let group = GroupId(0);
        fs::create_dir_all(group_dir(&dir, group)).unwrap();
        let bytes = 3 << 20;
        let path = |n| segment_path(&dir, group, SegmentId(n));
        for n in 0..4 {
            create_segment(&path(n), bytes, b"header").unwrap();
        }
        let content = fs::read(path(2)).unwrap();
        assert_eq!(content.len() as u64, bytes);
        assert!(content.starts_with(b"header") && content[6..].iter().all(|b| *b == 0));
        for n in 0..3 {
            remove_segment(&path(n), SegmentId(n)).unwrap();
        }
        assert_eq!(spares(&group_dir(&dir, group)).unwrap().len(), SPARES_MAX);
        create_segment(&path(9), bytes, b"again").unwrap();
        assert!(fs::read(path(9)).unwrap().starts_with(b"again"));
        assert_eq!(spares(&group_dir(&dir, group)).unwrap().len(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = io::Error::from_raw_os_error(nix::libc::ENOSPC);
        assert_eq!(failure("make", Path::new("x"), &full), IoFailure::NoSpace);
        let broken = io::Error::from_raw_os_error(nix::libc::EIO);
        assert!(matches!(failure("make", Path::new("x"), &broken), IoFailure::Failed(_)));
    }
}
