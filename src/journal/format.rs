//! What is on disk, byte by byte: segment headers, entries, and the runs in them.
//!
//! All numbers are little-endian, but for the record batches, which are Kafka's own bytes.
//! `docs/journal-format.md` has the drawing.
//!
//! An entry says where it lies (`position`) and what came before it (`previous_crc`). So a block
//! that was left behind in a recycled segment, or behind a cut, is never taken for a live one:
//! its position is that of its former segment, or its chain is broken.

use bytes::Bytes;

use crate::journal::page::align_up;
use crate::limits::{ENTRY_ALIGN_BYTES, ENTRY_BYTES_MAX};
use crate::model::ids::{GroupId, NodeId, PartitionKey, SegmentId};
use crate::model::position::{LogIndex, Offset, Position, Term};
use crate::model::time::Wallclock;

/// The version of everything drawn in `docs/journal-format.md`.
pub const FORMAT_VERSION: u16 = 1;

/// A segment's header fills one alignment unit; entries begin behind it.
pub const SEGMENT_HEADER_BYTES: u64 = ENTRY_ALIGN_BYTES as u64;

/// The fixed part at the front of an entry.
pub const ENTRY_HEADER_BYTES: usize = 80;

/// One run's line in the directory that follows an entry's header.
pub const RUN_BYTES: usize = 40;

const SEGMENT_MAGIC: [u8; 4] = *b"HTJS";
const ENTRY_MAGIC: [u8; 4] = *b"HTJE";

/// The first block of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub group: GroupId,
    pub segment: SegmentId,
    pub segment_bytes: u64,
    pub node: NodeId,
}

impl SegmentHeader {
    /// The header's block, padded with zeros.
    pub fn encode(&self) -> Bytes {
        let mut block = vec![0; SEGMENT_HEADER_BYTES as usize];
        block[0..4].copy_from_slice(&SEGMENT_MAGIC);
        block[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[12..16].copy_from_slice(&self.group.0.to_le_bytes());
        block[16..24].copy_from_slice(&self.segment.0.to_le_bytes());
        block[24..32].copy_from_slice(&self.segment_bytes.to_le_bytes());
        block[32..36].copy_from_slice(&self.node.0.to_le_bytes());
        let crc = checksum(&block[8..]);
        block[4..8].copy_from_slice(&crc.to_le_bytes());
        block.into()
    }

    /// The header in `block`.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn decode(block: &[u8]) -> Result<SegmentHeader, String> {
        if block.len() < SEGMENT_HEADER_BYTES as usize || block[0..4] != SEGMENT_MAGIC {
            return Err("its first block is not a segment header".into());
        }
        if u32_at(block, 4) != checksum(&block[8..SEGMENT_HEADER_BYTES as usize]) {
            return Err("the checksum of its header is wrong".into());
        }
        let version = u16::from_le_bytes([block[8], block[9]]);
        if version != FORMAT_VERSION {
            return Err(format!(
                "it has format version {version}, and this program reads version {FORMAT_VERSION}"
            ));
        }
        Ok(SegmentHeader {
            group: GroupId(u32_at(block, 12)),
            segment: SegmentId(u64_at(block, 16)),
            segment_bytes: u64_at(block, 24),
            node: NodeId(u32_at(block, 32)),
        })
    }
}

/// The fixed part of an entry, its checksum apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    pub position: Position,
    pub index: LogIndex,
    pub term: Term,
    /// The node that made the entry.
    pub leader: NodeId,
    /// The checksum of the entry before this one.
    pub previous_crc: u32,
    /// The flush position of the node that made it, at that moment. If that is our own node,
    /// everything before it was on our disk: see `recovery`.
    pub flushed: Position,
    pub appended_at: Wallclock,
    pub run_count: u32,
    /// Directory and data, without header and padding. Filled in by `write_entry`.
    pub body_bytes: u32,
}

/// What a run holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// Record batches of one partition, one after the other.
    Records,
    /// One command to the catalog. Only in group 0.
    Command,
    /// A partition's log start moved to the run's base offset. No data.
    LogStart,
    /// Records about consumer groups, one after the other.
    Coordinator,
    /// Who belongs to the group from this entry on.
    Members,
}

impl RunKind {
    fn code(self) -> u32 {
        match self {
            RunKind::Records => 1,
            RunKind::Command => 2,
            RunKind::LogStart => 3,
            RunKind::Coordinator => 4,
            RunKind::Members => 5,
        }
    }

    fn from_code(code: u32) -> Option<RunKind> {
        [
            RunKind::Records,
            RunKind::Command,
            RunKind::LogStart,
            RunKind::Coordinator,
            RunKind::Members,
        ]
        .into_iter()
        .find(|kind| kind.code() == code)
    }
}

/// One line of an entry's directory: what belongs to one partition in this entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub kind: RunKind,
    /// 0 for a command, and for what is about consumer groups.
    pub partition: PartitionKey,
    /// The size of its data.
    pub bytes: u32,
    /// Record batches in it.
    pub batches: u32,
    /// The first batch's base offset.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// The largest timestamp of its records, milliseconds since 1970; -1 if none has one.
    pub max_timestamp: i64,
}

impl Run {
    fn write(&self, into: &mut [u8]) {
        into[0..4].copy_from_slice(&self.kind.code().to_le_bytes());
        into[4..8].copy_from_slice(&self.partition.0.to_le_bytes());
        into[8..12].copy_from_slice(&self.bytes.to_le_bytes());
        into[12..16].copy_from_slice(&self.batches.to_le_bytes());
        into[16..24].copy_from_slice(&self.base_offset.0.to_le_bytes());
        into[24..32].copy_from_slice(&self.last_offset.0.to_le_bytes());
        into[32..40].copy_from_slice(&self.max_timestamp.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Run> {
        Some(Run {
            kind: RunKind::from_code(u32_at(bytes, 0))?,
            partition: PartitionKey(u32_at(bytes, 4)),
            bytes: u32_at(bytes, 8),
            batches: u32_at(bytes, 12),
            base_offset: Offset(u64_at(bytes, 16) as i64),
            last_offset: Offset(u64_at(bytes, 24) as i64),
            max_timestamp: u64_at(bytes, 32) as i64,
        })
    }
}

/// The size of an entry that holds these runs, padding included.
pub fn entry_bytes(runs: &[Run]) -> usize {
    let data: usize = runs.iter().map(|run| run.bytes as usize).sum();
    align_up(ENTRY_HEADER_BYTES + runs.len() * RUN_BYTES + data)
}

/// Writes a whole entry into `into`, which has just the size `entry_bytes` gave, and returns its
/// checksum. `fill` writes the data of all runs.
pub fn write_entry(
    into: &mut [u8],
    header: &EntryHeader,
    runs: &[Run],
    fill: impl FnOnce(&mut [u8]),
) -> u32 {
    let data_at = ENTRY_HEADER_BYTES + runs.len() * RUN_BYTES;
    let data: usize = runs.iter().map(|run| run.bytes as usize).sum();
    let end = data_at + data;
    into[0..4].copy_from_slice(&ENTRY_MAGIC);
    into[8..12].copy_from_slice(&((end - ENTRY_HEADER_BYTES) as u32).to_le_bytes());
    into[12..16].copy_from_slice(&header.run_count.to_le_bytes());
    into[16..24].copy_from_slice(&header.position.0.to_le_bytes());
    into[24..32].copy_from_slice(&header.index.0.to_le_bytes());
    into[32..40].copy_from_slice(&header.term.0.to_le_bytes());
    into[40..48].copy_from_slice(&header.flushed.0.to_le_bytes());
    into[48..56].copy_from_slice(&header.appended_at.0.to_le_bytes());
    into[56..60].copy_from_slice(&header.previous_crc.to_le_bytes());
    into[60..64].copy_from_slice(&header.leader.0.to_le_bytes());
    into[64..ENTRY_HEADER_BYTES].fill(0);
    for (run, line) in runs.iter().zip(into[ENTRY_HEADER_BYTES..].chunks_exact_mut(RUN_BYTES)) {
        run.write(line);
    }
    fill(&mut into[data_at..end]);
    into[end..].fill(0);
    let crc = checksum(&into[8..end]);
    into[4..8].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// An entry, read from a page or from disk. Holds only what has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub header: EntryHeader,
    pub crc: u32,
    bytes: &'a [u8],
}

/// What `Entry::head` found at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    pub header: EntryHeader,
    pub crc: u32,
}

impl EntryHead {
    /// The entry's size on disk, padding included.
    pub fn entry_bytes(&self) -> usize {
        align_up(ENTRY_HEADER_BYTES + self.header.body_bytes as usize)
    }

    /// The first position after the entry.
    pub fn end(&self) -> Position {
        Position(self.header.position.0 + self.entry_bytes() as u64)
    }

    /// Reads the fixed part, if an entry that says it lies at `position` may begin here. The
    /// checksum isn't checked yet.
    pub fn read(bytes: &[u8], position: Position) -> Option<EntryHead> {
        if bytes.len() < ENTRY_HEADER_BYTES || bytes[0..4] != ENTRY_MAGIC {
            return None;
        }
        let header = EntryHeader {
            body_bytes: u32_at(bytes, 8),
            run_count: u32_at(bytes, 12),
            position: Position(u64_at(bytes, 16)),
            index: LogIndex(u64_at(bytes, 24)),
            term: Term(u64_at(bytes, 32)),
            flushed: Position(u64_at(bytes, 40)),
            appended_at: Wallclock(u64_at(bytes, 48) as i64),
            previous_crc: u32_at(bytes, 56),
            leader: NodeId(u32_at(bytes, 60)),
        };
        let directory = u64::from(header.run_count) * RUN_BYTES as u64;
        let plausible = header.position == position
            && directory <= u64::from(header.body_bytes)
            && ENTRY_HEADER_BYTES + header.body_bytes as usize <= ENTRY_BYTES_MAX;
        plausible.then(|| EntryHead { header, crc: u32_at(bytes, 4) })
    }
}

impl<'a> Entry<'a> {
    /// The entry at the front of `bytes`, if it is whole and its checksum is right.
    pub fn read(bytes: &'a [u8], position: Position) -> Option<Entry<'a>> {
        let head = EntryHead::read(bytes, position)?;
        let end = ENTRY_HEADER_BYTES + head.header.body_bytes as usize;
        let body = bytes.get(8..end)?;
        (checksum(body) == head.crc).then(|| Entry {
            header: head.header,
            crc: head.crc,
            bytes: &bytes[..end],
        })
    }

    /// The entry of a page that this process made itself, so that its checksum needs no check.
    ///
    /// # Panics
    /// If no entry of that position begins there.
    pub fn of_page(bytes: &'a [u8], position: Position) -> Entry<'a> {
        let head = EntryHead::read(bytes, position).expect("the cache holds whole entries");
        let end = ENTRY_HEADER_BYTES + head.header.body_bytes as usize;
        Entry { header: head.header, crc: head.crc, bytes: &bytes[..end] }
    }

    /// The first position after the entry.
    pub fn end(&self) -> Position {
        Position(self.header.position.0 + align_up(self.bytes.len()) as u64)
    }

    /// Its bytes without the padding.
    pub fn used_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Each run with the place of its data in the entry, counted from the entry's first byte.
    /// Stops at a run whose kind this version doesn't know or whose data leaves the entry.
    pub fn runs(&self) -> impl Iterator<Item = (Run, std::ops::Range<usize>)> + use<'a> {
        let bytes = self.bytes;
        let mut data_at = ENTRY_HEADER_BYTES + self.header.run_count as usize * RUN_BYTES;
        bytes[ENTRY_HEADER_BYTES..data_at].chunks_exact(RUN_BYTES).map_while(move |line| {
            let run = Run::read(line)?;
            let data = data_at..data_at + run.bytes as usize;
            data_at = data.end;
            (data.end <= bytes.len()).then_some((run, data))
        })
    }

    /// The data of a run.
    pub fn data(&self, range: std::ops::Range<usize>) -> &'a [u8] {
        &self.bytes[range]
    }
}

/// CRC-32C, as everything in the journal is guarded by.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

const _: () = {
    assert!(ENTRY_HEADER_BYTES + RUN_BYTES <= ENTRY_ALIGN_BYTES);
    assert!(ENTRY_BYTES_MAX <= u32::MAX as usize);
};
