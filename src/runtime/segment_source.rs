//! Segment files as recovery and the offline tools read them.
//!
//! After a kill a start waits for what is read here, and nothing of it is in the page cache, since
//! journals are written past it. Left to the kernel's read-ahead a disk gives a fraction of what it
//! can. So a large read is cut into pieces that are read directly and at the same time, by threads
//! that live no longer than the read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

use crate::journal::source::SegmentSource;
use crate::limits::ENTRY_ALIGN_BYTES;
use crate::model::ids::{GroupId, SegmentId};
use crate::runtime::aligned::AlignedMemory;
use crate::runtime::data_dir::segment_path;

/// What one thread reads.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that are read at the same time: as many as recovery asks for at once.
const PIECES_MAX: usize = 8;

/// Reads the segment files of one data directory.
pub struct DirSource {
    data_dir: PathBuf,
    open: Option<OpenSegment>,
    /// Where pieces are read to: direct reads want aligned memory.
    buffers: Vec<AlignedMemory>,
}

/// The segment that was read last.
struct OpenSegment {
    group: GroupId,
    segment: SegmentId,
    file: File,
    /// The same for direct reads, where the file system has them.
    direct: Option<File>,
}

impl DirSource {
    /// Reads the files of this data directory.
    pub fn new(data_dir: &Path) -> DirSource {
        DirSource { data_dir: data_dir.to_path_buf(), open: None, buffers: Vec::new() }
    }

    fn open(&mut self, group: GroupId, segment: SegmentId, path: &Path) -> io::Result<()> {
        let same = |open: &OpenSegment| (open.group, open.segment) == (group, segment);
        if !self.open.as_ref().is_some_and(same) {
            let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).ok();
            self.open = Some(OpenSegment { group, segment, file: File::open(path)?, direct });
        }
        Ok(())
    }
}

impl SegmentSource for DirSource {
    fn read(
        &mut self,
        group: GroupId,
        segment: SegmentId,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), String> {
        let path = segment_path(&self.data_dir, group, segment);
        let fail = |error: io::Error| format!("can't read {}: {error}", path.display());
        self.open(group, segment, &path).map_err(fail)?;
        let open = self.open.as_ref().expect("it was just opened");
        let whole_blocks = at.is_multiple_of(ENTRY_ALIGN_BYTES as u64)
            && into.len().is_multiple_of(ENTRY_ALIGN_BYTES);
        match &open.direct {
            Some(direct) if whole_blocks && into.len() > PIECE_BYTES => {
                read_in_pieces(direct, at, into, &mut self.buffers).map_err(fail)
            }
            _ => read_all(&open.file, at, into).map_err(fail),
        }
    }
}

/// Fills `into` by several reads at a time.
fn read_in_pieces(
    file: &File,
    at: u64,
    into: &mut [u8],
    buffers: &mut Vec<AlignedMemory>,
) -> io::Result<()> {
    let count = into.len().div_ceil(PIECE_BYTES).min(PIECES_MAX);
    while buffers.len() < count {
        buffers.push(AlignedMemory::zeroed(PIECE_BYTES));
    }
    let mut at = at;
    for round in into.chunks_mut(PIECE_BYTES * PIECES_MAX) {
        std::thread::scope(|scope| {
            let mut reads = Vec::with_capacity(count);
            for (piece, buffer) in round.chunks_mut(PIECE_BYTES).zip(buffers.iter_mut()) {
                let from = at;
                at += piece.len() as u64;
                let read = move || -> io::Result<()> {
                    let memory = &mut buffer.bytes_mut()[..piece.len()];
                    read_all(file, from, memory)?;
                    piece.copy_from_slice(memory);
                    Ok(())
                };
                reads.push(std::thread::Builder::new().spawn_scoped(scope, read)?);
            }
            reads.into_iter().try_for_each(|read| match read.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
    }
    Ok(())
}

/// Fills `into`; what lies past the file's end is zeros.
fn read_all(file: &File, at: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        match file.read_at(&mut into[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    into[done..].fill(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_reads_give_what_is_in_the_file_and_zeros_behind_it() {
        let name = format!("hutong-segment-source-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let path = segment_path(&dir, GroupId(3), SegmentId(7));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let block = ENTRY_ALIGN_BYTES;
        let bytes: Vec<u8> = (0..5 * PIECE_BYTES + 3 * block + 100)
            .map(|at| (at / block * 31 + at % 251) as u8)
            .collect();
        std::fs::write(&path, &bytes).unwrap();
        let mut source = DirSource::new(&dir);
        for (at, length) in [
            (0, block),
            (block, 10 * PIECE_BYTES),
            (5, 2 * PIECE_BYTES),
            (3 * block, PIECE_BYTES + block),
            (5 * PIECE_BYTES, 4 * PIECE_BYTES),
            (9 * PIECE_BYTES, 2 * PIECE_BYTES),
        ] {
            let mut read = vec![0x55; length];
            source.read(GroupId(3), SegmentId(7), at as u64, &mut read).unwrap();
            let there = &bytes[at.min(bytes.len())..(at + length).min(bytes.len())];
            assert!(read.starts_with(there), "{length} at {at}");
            assert!(read[there.len()..].iter().all(|byte| *byte == 0), "{length} at {at}");
        }
        let missing = source.read(GroupId(3), SegmentId(8), 0, &mut [0; 10]).unwrap_err();
        assert!(missing.contains("segment-00000000000000000008"), "{missing}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
