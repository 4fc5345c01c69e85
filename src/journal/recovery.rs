//! What to believe of a journal after a crash. Reads, decides, and changes nothing.
//!
//! Entries are walked in order from a known place; each must lie where it says, have the right
//! checksum, follow its predecessor's index and checksum, and not go back in term. The first that
//! doesn't is the *bad place*, and what matters is what lies behind it:
//!
//! - Nothing whole, or only entries that may have been in flight beside the lost one: a torn tail.
//!   It is cut; nobody was told that these were on disk.
//! - A whole entry that was made after the bad place was on disk: damage in the middle. Recovery
//!   stops with the place named. An entry proves this if our own node made it and had flushed past
//!   the bad place (`flushed`), or if it lies further on than writes in flight may lie apart.

use thiserror::Error;

use crate::journal::JournalTail;
use crate::journal::format::{Entry, EntryHead, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::journal::segments::Segments;
use crate::journal::source::SegmentSource;
use crate::limits::{ENTRY_ALIGN_BYTES, ENTRY_BYTES_MAX, JOURNAL_WRITES_IN_FLIGHT_MAX};
use crate::model::ids::{GroupId, NodeId, SegmentId};
use crate::model::position::{LogIndex, Position, Term};

/// The journal to recover.
#[derive(Clone, Debug)]
pub struct JournalFiles<'a> {
    pub group: GroupId,
    pub node: NodeId,
    pub segment_bytes: u64,
    /// The segments found, ascending.
    pub segments: &'a [SegmentId],
    /// The last time that a leader had entries cut off here, if ever.
    pub truncation: Option<Truncation>,
}

/// A follower's journal was cut off, as its leader had other entries there. What lies behind the
/// cut and is of an earlier term than that leader's may be left over from before, and then proves
/// nothing about what should lie in front of it. On disk before anything is written behind the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    pub position: Position,
    /// The term of the leader that had it done.
    pub term: Term,
}

impl Truncation {
    /// Whether an entry may be left over from before the cut.
    pub fn may_have_cut(&self, head: &EntryHead) -> bool {
        head.header.position >= self.position && head.header.term < self.term
    }
}

/// What is known of the log just before the place where the walk begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    pub index: LogIndex,
    pub term: Term,
    pub crc: u32,
}

/// What recovery found.
#[derive(Clone, Debug)]
pub struct Recovered {
    pub segments: Segments,
    pub tail: JournalTail,
    /// The last entry's index and term.
    pub last: Chain,
    /// What was cut off the end, if anything.
    pub cut: Option<Cut>,
}

/// A torn tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub position: Position,
    /// Entries of which something could be read.
    pub entries: u64,
    /// From the cut to the end of the last of them.
    pub bytes: u64,
}

/// Why a journal can't be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecoverError {
    #[error(
        "group {group}: damaged entry in segment {segment} at position {position}: a whole entry \
         with index {later_index} follows at position {later}, so this one was on disk once. \
         Nothing was changed. Restore the segment file from a copy, or start this node with an \
         empty data directory"
    )]
    Damaged {
        group: GroupId,
        segment: SegmentId,
        position: Position,
        later: Position,
        later_index: LogIndex,
    },
    #[error("group {group}: segment {segment} is missing, though later segments are there")]
    Missing { group: GroupId, segment: SegmentId },
    #[error("group {group}: segment {segment} can't be used: {problem}")]
    Segment { group: GroupId, segment: SegmentId, problem: String },
    #[error(
        "group {group}: the checkpoint is missing or damaged ({problem}), and the journal's \
         beginning has been trimmed, so what came before segment {first} is unknown"
    )]
    Checkpoint { group: GroupId, first: SegmentId, problem: String },
}

impl RecoverError {
    /// The segment that is to blame, and the position in it if it is one.
    pub fn place(&self) -> (SegmentId, Option<Position>) {
        match self {
            RecoverError::Damaged { segment, position, .. } => (*segment, Some(*position)),
            RecoverError::Missing { segment, .. } | RecoverError::Segment { segment, .. } => {
                (*segment, None)
            }
            RecoverError::Checkpoint { first, .. } => (*first, None),
        }
    }
}

/// Walks the journal from `from`, where `chain` ends (`None`: take the first whole entry as it
/// is), and hands each entry that is believed to `visit`, in order.
///
/// # Errors
/// What makes the journal unfit for use. Nothing was changed on disk.
pub fn recover(
    files: &JournalFiles<'_>,
    from: Position,
    chain: Option<Chain>,
    source: &mut dyn SegmentSource,
    mut visit: impl FnMut(&Entry<'_>),
) -> Result<Recovered, RecoverError> {
    let segments = check_segments(files, from, source)?;
    let mut walk = Walk { window: Window::new(files, source), segments, at: from, chain };
    while let Some(entry) = walk.next_entry()? {
        visit(&entry);
    }
    let cut = walk.judge_tail(files)?;
    let last = walk.chain.unwrap_or_default();
    let tail = JournalTail { append: walk.at, last_crc: last.crc };
    Ok(Recovered { segments: walk.segments, tail, last, cut })
}

/// The segments are an unbroken range that holds `from`, and each that will be read has a header
/// that fits.
fn check_segments(
    files: &JournalFiles<'_>,
    from: Position,
    source: &mut dyn SegmentSource,
) -> Result<Segments, RecoverError> {
    let start = SegmentId(from.0 / files.segment_bytes);
    let Some((&first, &last)) = files.segments.first().zip(files.segments.last()) else {
        return Ok(Segments::new(files.segment_bytes, start, start));
    };
    for (expected, found) in (first.0..).zip(files.segments) {
        if found.0 != expected {
            return Err(RecoverError::Missing { group: files.group, segment: SegmentId(expected) });
        }
    }
    if start < first || start.0 > last.0 + 1 {
        return Err(RecoverError::Missing { group: files.group, segment: start });
    }
    for &segment in files.segments.iter().filter(|segment| **segment >= start) {
        check_header(files, segment, source).map_err(|problem| RecoverError::Segment {
            group: files.group,
            segment,
            problem,
        })?;
    }
    Ok(Segments::new(files.segment_bytes, first, SegmentId(last.0 + 1)))
}

fn check_header(
    files: &JournalFiles<'_>,
    segment: SegmentId,
    source: &mut dyn SegmentSource,
) -> Result<(), String> {
    let mut block = vec![0; SEGMENT_HEADER_BYTES as usize];
    source.read(files.group, segment, 0, &mut block)?;
    let header = SegmentHeader::decode(&block)?;
    if header.group != files.group || header.segment != segment {
        return Err(format!(
            "its header says group {}, segment {}: was the file renamed?",
            header.group, header.segment
        ));
    }
    if header.segment_bytes != files.segment_bytes {
        return Err(format!(
            "its header says {} bytes for each segment, and this data directory has {}",
            header.segment_bytes, files.segment_bytes
        ));
    }
    Ok(())
}

struct Walk<'a> {
    window: Window<'a>,
    segments: Segments,
    at: Position,
    chain: Option<Chain>,
}

impl Walk<'_> {
    /// The next entry that continues the chain: at the current place or, as an entry may not have
    /// fit there, at the start of the next segment.
    fn next_entry(&mut self) -> Result<Option<Entry<'_>>, RecoverError> {
        let mut found = None;
        for position in self.candidates() {
            let chain = self.chain;
            if let Some(entry) = self.window.entry(position)?
                && chain.is_none_or(|chain| continues(&chain, &entry))
            {
                found = Some(position);
                break;
            }
        }
        let Some(position) = found else { return Ok(None) };
        let entry = self.window.entry(position)?.expect("it was just read");
        self.at = entry.end();
        self.chain =
            Some(Chain { index: entry.header.index, term: entry.header.term, crc: entry.crc });
        Ok(Some(entry))
    }

    fn candidates(&self) -> impl Iterator<Item = Position> + use<> {
        let (_, at) = self.segments.locate(self.at);
        let here = if at == 0 { Position(self.at.0 + SEGMENT_HEADER_BYTES) } else { self.at };
        [here, self.segments.next_segment_start(self.at)].into_iter()
    }

    /// Looks at all that lies behind the end of the chain.
    fn judge_tail(&mut self, files: &JournalFiles<'_>) -> Result<Option<Cut>, RecoverError> {
        let last = self.chain.unwrap_or_default();
        let mut cut = None;
        let mut position = self.candidates().next().expect("there are two");
        while let Some(next) = self.window.next_head(position)? {
            position = Position(next.0 + ENTRY_ALIGN_BYTES as u64);
            let Some(head) = self.window.head(next)? else { continue };
            if head.header.term < last.term || head.header.index <= last.index {
                continue;
            }
            if files.truncation.is_some_and(|truncation| truncation.may_have_cut(&head)) {
                continue;
            }
            let whole = self.window.entry(next)?.is_some();
            if whole && proves_damage(files.node, self.at, &last, &head) {
                let (segment, _) = self.segments.locate(self.at);
                return Err(RecoverError::Damaged {
                    group: files.group,
                    segment,
                    position: self.at,
                    later: next,
                    later_index: head.header.index,
                });
            }
            let cut = cut.get_or_insert(Cut { position: self.at, entries: 0, bytes: 0 });
            cut.entries += 1;
            cut.bytes = cut.bytes.max(head.end().0 - self.at.0);
        }
        Ok(cut)
    }
}

fn continues(chain: &Chain, entry: &Entry<'_>) -> bool {
    entry.header.index.0 == chain.index.0 + 1
        && entry.header.term >= chain.term
        && entry.header.previous_crc == chain.crc
}

fn proves_damage(node: NodeId, bad: Position, last: &Chain, later: &EntryHead) -> bool {
    if later.header.leader == node {
        return later.header.flushed > bad;
    }
    later.header.index.0 > last.index.0 + JOURNAL_WRITES_IN_FLIGHT_MAX as u64
}

/// A piece of a segment in memory, moved along as the walk goes on.
struct Window<'a> {
    group: GroupId,
    segment_bytes: u64,
    end: Position,
    source: &'a mut dyn SegmentSource,
    from: Position,
    bytes: Vec<u8>,
}

/// Where the journal goes on there is an entry at least so often, with room to spare: a start does
/// not read all the space that was made ahead.
const QUIET_BYTES_MAX: u64 = 3 * ENTRY_BYTES_MAX as u64;
/// So much is looked at of the beginning of each segment behind that.
const SEGMENT_LOOK_BYTES: u64 = 8 << 20;

impl<'a> Window<'a> {
    fn new(files: &JournalFiles<'_>, source: &'a mut dyn SegmentSource) -> Window<'a> {
        let end = files.segments.last().map_or(0, |last| (last.0 + 1) * files.segment_bytes);
        Window {
            group: files.group,
            segment_bytes: files.segment_bytes,
            end: Position(end),
            source,
            from: Position(0),
            bytes: Vec::new(),
        }
    }

    /// The bytes from `position` on: at least `bytes` of them unless the segment ends before.
    fn load(&mut self, position: Position, bytes: u64) -> Result<&[u8], RecoverError> {
        if position >= self.end {
            return Ok(&[]);
        }
        let segment = position.0 / self.segment_bytes;
        let segment_end = (segment + 1) * self.segment_bytes;
        let wanted_end = (position.0 + bytes).min(segment_end);
        let held = self.from.0..self.from.0 + self.bytes.len() as u64;
        if !(held.contains(&position.0) && wanted_end <= held.end) {
            let window_bytes = self.source.window_bytes();
            let length = bytes.max(window_bytes).min(segment_end - position.0);
            self.bytes.resize(length as usize, 0);
            self.from = position;
            let at = position.0 % self.segment_bytes;
            self.source.read(self.group, SegmentId(segment), at, &mut self.bytes).map_err(
                |problem| RecoverError::Segment {
                    group: self.group,
                    segment: SegmentId(segment),
                    problem,
                },
            )?;
        }
        Ok(&self.bytes[(position.0 - self.from.0) as usize..])
    }

    fn head(&mut self, position: Position) -> Result<Option<EntryHead>, RecoverError> {
        Ok(EntryHead::read(self.load(position, ENTRY_ALIGN_BYTES as u64)?, position))
    }

    fn entry(&mut self, position: Position) -> Result<Option<Entry<'_>>, RecoverError> {
        let Some(head) = self.head(position)? else { return Ok(None) };
        Ok(Entry::read(self.load(position, head.entry_bytes() as u64)?, position))
    }

    /// The first place at or after `position` where something that looks like an entry begins.
    ///
    /// Behind `QUIET_BYTES_MAX` without any, only the beginnings of segments are looked at: where
    /// the journal goes on, the first entry of a segment is there.
    fn next_head(&mut self, mut position: Position) -> Result<Option<Position>, RecoverError> {
        let quiet_end = position.0 + QUIET_BYTES_MAX;
        while position < self.end {
            if self.head(position)?.is_some() {
                return Ok(Some(position));
            }
            position = Position(position.0 + ENTRY_ALIGN_BYTES as u64);
            let at = position.0 % self.segment_bytes;
            if position.0 >= quiet_end && at >= SEGMENT_LOOK_BYTES {
                position = Position(position.0 - at + self.segment_bytes);
            }
        }
        Ok(None)
    }
}
