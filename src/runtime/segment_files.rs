//! Files that are made, recycled and replaced by an ordinary thread, out of the shards' way.
//!
//! A segment gets its name when all of it has been written once and synced: writes over blocks
//! written before are faster than writes that must allocate (`kernel-notes/001-*`), and durable
//! without a change of the file's metadata. If its journal needs it before that, it gets it
//! without: all its space is allocated, and what was not written yet is slower to write, until the
//! shard has time to write zeros ahead itself (`zeros_ahead`). So it does if zeros take longer than
//! its journal does, in large writes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::journal::page::align_up;
use crate::model::ids::{GroupId, SegmentId};
use crate::model::position::Position;
use crate::runtime::aligned::{AlignedMemory, open_direct, sync_dir};
use crate::runtime::data_dir::{group_dir, names_in, replace_file, segment_of_name, segment_path};
use crate::runtime::mesh::ShardMail;
use crate::runtime::zero_pace::{Halfway, ZeroPace};
use crate::runtime::{group_dirs, known_nodes};
use crate::shard::NodeAddress;
use crate::shard::input::IoFailure;

/// Zeros are written in blocks of this size.
const ZERO_BLOCK_BYTES: usize = 256 << 10;
/// Files of removed segments that are kept for reuse, for each group: so many at least,
const SPARES_MIN: usize = 2;
/// and one for so many segments of its journal. What retention frees comes all at once, and is
/// needed again one by one.
const SEGMENTS_PER_SPARE: usize = 8;

/// Something for the helper thread to do. The answer goes to the mailbox that came with it.
#[derive(Debug)]
pub enum FileJob {
    /// Make a segment's file.
    Create { group: GroupId, segment: SegmentId, header: Bytes },
    /// Keep a segment's file for reuse, or delete it, once `zeros` is disconnected: until then some
    /// are on their way into it. Has no answer.
    Remove { group: GroupId, segment: SegmentId, zeros: Option<flume::Receiver<()>> },
    /// Replace a group's checkpoint.
    Checkpoint { group: GroupId, position: Position, bytes: Bytes },
    /// Make a group's directory.
    CreateGroup { group: GroupId, checkpoint: Bytes },
    /// Delete all of a group but its vote, and this in place of its checkpoint. Has no answer.
    RemoveGroup { group: GroupId, checkpoint: Bytes },
    /// Keep which nodes there are. Has no answer.
    RememberNodes { nodes: Vec<NodeAddress> },
}

/// Feeds the two helper threads of a node. Dropping the last of these ends them.
#[derive(Clone)]
pub struct FileHelper {
    segments: flume::Sender<(FileJob, flume::Sender<ShardMail>)>,
    // On a thread of its own: a checkpoint must not wait for a segment to be zeroed.
    checkpoints: flume::Sender<(FileJob, flume::Sender<ShardMail>)>,
    halfway: flume::Sender<Halfway>,
    segment_bytes: u64,
}

impl FileHelper {
    /// Starts the threads. Call it before anything is pinned: they run on any CPU.
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start(data_dir: &Path, segment_bytes: u64) -> io::Result<FileHelper> {
        let (halfway, heard) = flume::unbounded();
        let start = |name, pace| start_thread(name, data_dir, segment_bytes, pace);
        Ok(FileHelper {
            segments: start("segment-files", ZeroPace::new(heard))?,
            checkpoints: start("checkpoints", ZeroPace::new(flume::unbounded().1))?,
            halfway,
            segment_bytes,
        })
    }

    /// The size of each segment.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// A journal writes `bytes` bytes at byte `at` of a segment. Half a segment before its end it
    /// is time to see to the next.
    pub fn note_write(&self, group: GroupId, segment: SegmentId, at: u64, bytes: usize) {
        let half = self.segment_bytes / 2;
        if at <= half && half < at + bytes as u64 {
            // The thread ends when its senders are gone, and here is one.
            let _ = self.halfway.send(Halfway { group, segment, at: Instant::now(), bytes });
        }
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
    mut pace: ZeroPace,
) -> io::Result<flume::Sender<(FileJob, flume::Sender<ShardMail>)>> {
    let (sender, jobs) = flume::unbounded::<(FileJob, flume::Sender<ShardMail>)>();
    let data_dir = data_dir.to_path_buf();
    std::thread::Builder::new().name(name.to_string()).spawn(move || {
        while let Ok((job, answer_to)) = jobs.recv() {
            if let Some(answer) = run(&data_dir, segment_bytes, &mut pace, job) {
                // A shard that has stopped wants no answers.
                let _ = answer_to.send(answer);
            }
        }
    })?;
    Ok(sender)
}

fn run(
    data_dir: &Path,
    segment_bytes: u64,
    pace: &mut ZeroPace,
    job: FileJob,
) -> Option<ShardMail> {
    match job {
        FileJob::Create { group, segment, header } => {
            let path = segment_path(data_dir, group, segment);
            pace.begin(group, segment);
            let result = create_segment(&path, segment_bytes, &header, group, pace)
                .map_err(|error| failure("make", &path, &error));
            pace.end(group, segment, result.is_ok());
            Some(ShardMail::SegmentCreated { group, segment, result })
        }
        FileJob::Remove { group, segment, zeros } => {
            // Nothing is ever sent.
            let _ = zeros.map(|until| until.recv());
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
        FileJob::RemoveGroup { group, checkpoint } => {
            if let Err(error) = group_dirs::remove(data_dir, group, &checkpoint) {
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
fn create_segment(
    path: &Path,
    segment_bytes: u64,
    header: &[u8],
    group: GroupId,
    pace: &mut ZeroPace,
) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let half_made = path.with_extension("tmp");
    let made = match take_spare(path, &half_made, segment_bytes)? {
        Some(file) => Ok(file),
        None => zeroed_file(&half_made, segment_bytes, group, pace),
    };
    let made = made.and_then(|file| write_header(&file, header));
    let named = made.and_then(|()| fs::rename(&half_made, path)).and_then(|()| sync_dir(dir));
    if named.is_err() {
        let _ = fs::remove_file(&half_made);
    }
    named
}

/// A removed segment's file, under its new, half-made name. Its old bytes stay: entries say at
/// which position they lie, so that none of them can be taken for one of this life. One that had
/// the number of the new segment, or a higher one, is left alone: it is there when a journal was
/// given up for a snapshot, and holds entries that did lie in the same places.
fn take_spare(path: &Path, half_made: &Path, segment_bytes: u64) -> io::Result<Option<File>> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let number = |path: &Path, prefix: &str| {
        path.file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| segment_of_name(name, prefix))
    };
    let new = number(path, "segment-");
    for spare in spares(dir)? {
        if number(&spare, "spare-") >= new {
            continue;
        }
        if fs::metadata(&spare)?.len() != segment_bytes {
            fs::remove_file(&spare)?;
            continue;
        }
        fs::rename(&spare, half_made)?;
        return open_direct(half_made, false, 0).map(Some);
    }
    Ok(None)
}

/// A file with all its space allocated, and as much of it written as there is time for.
fn zeroed_file(
    path: &Path,
    segment_bytes: u64,
    group: GroupId,
    pace: &mut ZeroPace,
) -> io::Result<File> {
    let file = open_direct(path, true, 0)?;
    // All of it now, in few extents; and no space is known before a byte is written.
    fallocate(&file, FallocateFlags::empty(), 0, segment_bytes as i64)?;
    let written = write_zeros(&file, segment_bytes, group, pace)?;
    if written < segment_bytes {
        tracing::debug!("{} is handed over with {written} bytes written", path.display());
    }
    file.sync_data()?;
    Ok(file)
}

/// Writes zeros until the segment is full, or a journal needs it as it is, or this one does
/// without; what isn't written reads as zeros, too. Returns how many bytes it wrote.
fn write_zeros(
    file: &File,
    segment_bytes: u64,
    group: GroupId,
    pace: &mut ZeroPace,
) -> io::Result<u64> {
    let zeros = AlignedMemory::zeroed(ZERO_BLOCK_BYTES);
    let blocks = segment_bytes.div_ceil(ZERO_BLOCK_BYTES as u64) as u32;
    let mut at = 0;
    while at < segment_bytes && !pace.is_urgent() {
        let block = (segment_bytes - at).min(ZERO_BLOCK_BYTES as u64) as usize;
        let began = Instant::now();
        file.write_all_at(&zeros.bytes()[..block], at)?;
        at += block as u64;
        let Some(pause) = pace.pause(group, blocks, began.elapsed()) else { break };
        std::thread::sleep(pause);
    }
    Ok(at)
}

fn write_header(file: &File, header: &[u8]) -> io::Result<()> {
    let mut block = AlignedMemory::zeroed(align_up(header.len()));
    block.bytes_mut()[..header.len()].copy_from_slice(header);
    file.write_all_at(block.bytes(), 0)?;
    file.sync_data()
}

fn remove_segment(path: &Path, segment: SegmentId) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let names = names_in(dir).map_err(io::Error::other)?;
    let count =
        |prefix| names.iter().filter(|name| segment_of_name(name, prefix).is_some()).count();
    if count("spare-") < SPARES_MIN.max(count("segment-") / SEGMENTS_PER_SPARE) {
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

    const GROUP: GroupId = GroupId(0);
    const BYTES: u64 = 3 << 20;

    fn new_dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("hutong-{name}-{}", std::process::id()));
        fs::create_dir_all(group_dir(&dir, GROUP)).unwrap();
        dir
    }

    fn create(dir: &Path, number: u64, header: &[u8], pace: &mut ZeroPace) {
        let path = segment_path(dir, GROUP, SegmentId(number));
        create_segment(&path, BYTES, header, GROUP, pace).unwrap();
    }

    fn remove(dir: &Path, number: u64) {
        remove_segment(&segment_path(dir, GROUP, SegmentId(number)), SegmentId(number)).unwrap();
    }

    fn calm() -> ZeroPace {
        ZeroPace::new(flume::unbounded().1)
    }

    #[test]
    fn segments_are_made_recycled_and_bounded() {
        let dir = new_dir("segments");
        let path = |n| segment_path(&dir, GROUP, SegmentId(n));
        for n in 0..4 {
            create(&dir, n, b"header", &mut calm());
        }
        let content = fs::read(path(2)).unwrap();
        assert_eq!(content.len() as u64, BYTES);
        assert!(content.starts_with(b"header") && content[6..].iter().all(|b| *b == 0));
        for n in 0..3 {
            remove(&dir, n);
        }
        // Spares of the same or a higher number may hold entries of the same positions.
        create(&dir, 0, b"first", &mut calm());
        assert!(fs::read(path(0)).unwrap()[5..].iter().all(|b| *b == 0));
        assert_eq!(spares(&group_dir(&dir, GROUP)).unwrap().len(), SPARES_MIN);
        create(&dir, 9, b"again", &mut calm());
        assert!(fs::read(path(9)).unwrap().starts_with(b"again"));
        assert_eq!(spares(&group_dir(&dir, GROUP)).unwrap().len(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_long_journal_keeps_more_spares() {
        let dir = new_dir("spares");
        for n in 0..32 {
            let path = segment_path(&dir, GROUP, SegmentId(n));
            fs::write(path, []).unwrap();
        }
        for n in 0..5 {
            remove(&dir, n);
        }
        // The fourth was removed when there were 29.
        assert_eq!(spares(&group_dir(&dir, GROUP)).unwrap().len(), 3);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_segment_that_is_needed_is_handed_over_as_it_is() {
        let dir = new_dir("needed");
        let (writer, heard) = flume::unbounded();
        let mut pace = ZeroPace::new(heard);
        pace.begin(GROUP, SegmentId(5));
        let at = Instant::now();
        writer.send(Halfway { group: GROUP, segment: SegmentId(4), at, bytes: 4096 }).unwrap();
        create(&dir, 5, b"header", &mut pace);
        let path = segment_path(&dir, GROUP, SegmentId(5));
        let content = fs::read(&path).unwrap();
        assert_eq!(content.len() as u64, BYTES);
        assert!(content.starts_with(b"header") && content[6..].iter().all(|b| *b == 0));
        let file = File::options().write(true).open(&path).unwrap();
        assert_eq!(write_zeros(&file, BYTES, GROUP, &mut pace).unwrap(), 0);
        pace.end(GROUP, SegmentId(5), true);
        pace.begin(GROUP, SegmentId(6));
        assert_eq!(write_zeros(&file, BYTES, GROUP, &mut pace).unwrap(), BYTES);
        pace.end(GROUP, SegmentId(6), true);
        // A journal that fills segments in no time, in large writes, and was just heard of.
        let at = Instant::now() + std::time::Duration::from_secs(3600);
        for (segment, bytes) in [(5, 1 << 20), (6, 1 << 20)] {
            writer.send(Halfway { group: GROUP, segment: SegmentId(segment), at, bytes }).unwrap();
        }
        pace.begin(GROUP, SegmentId(8));
        let first = ZERO_BLOCK_BYTES as u64;
        assert_eq!(write_zeros(&file, BYTES, GROUP, &mut pace).unwrap(), first);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_write_at_half_of_a_segment_is_noted() {
        let (halfway, heard) = flume::unbounded();
        let (segments, checkpoints) = (flume::unbounded().0, flume::unbounded().0);
        let helper = FileHelper { segments, checkpoints, halfway, segment_bytes: BYTES };
        let half = BYTES / 2;
        for (segment, at, bytes) in [(1, 4096, 4096), (1, half - 4096, 4096), (2, half, 4096)] {
            helper.note_write(GROUP, SegmentId(segment), at, bytes);
        }
        helper.note_write(GROUP, SegmentId(3), half - 8192, 16384);
        helper.note_write(GROUP, SegmentId(3), half + 8192, 16384);
        let noted: Vec<u64> = heard.try_iter().map(|halfway| halfway.segment.0).collect();
        assert_eq!(noted, [2, 3]);
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = io::Error::from_raw_os_error(nix::libc::ENOSPC);
        assert_eq!(failure("make", Path::new("x"), &full), IoFailure::NoSpace);
        let broken = io::Error::from_raw_os_error(nix::libc::EIO);
        assert!(matches!(failure("make", Path::new("x"), &broken), IoFailure::Failed(_)));
    }
}
