//! The log of one group on one shard: data structures, no I/O.
//!
//! Everything written to a journal is an *entry*: one turn's worth of requests, which is one Raft
//! entry and one disk write. `docs/journal-format.md` draws the bytes.
//!
//! Read in this order: `format` (what is on disk), `page` and `cache` (what is in memory),
//! `segments` (where the next entry goes), `flush` (what is on disk for sure), `entry_starts` (for
//! whoever reads it back), this file (the writer, which puts the five together), `recovery` (what
//! to believe after a crash).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::journal::cache::{Cache, CachedEntry};
use crate::journal::entry_starts::EntryStarts;
use crate::journal::flush::Flush;
use crate::journal::format::{EntryHead, EntryHeader, Run, SegmentHeader, entry_bytes};
use crate::journal::page::Page;
use crate::journal::segments::Segments;
use crate::limits::{ENTRY_ALIGN_BYTES, JOURNAL_WRITES_IN_FLIGHT_MAX};
use crate::model::ids::{GroupId, NodeId, SegmentId, WriteId};
use crate::model::position::{LogIndex, Position, Term};
use crate::model::time::Wallclock;

pub mod cache;
pub mod entry_starts;
pub mod flush;
pub mod format;
pub mod page;
pub mod recovery;
pub mod segments;
pub mod source;

/// Set in the numbers of writes that put back an entry whose bytes have rotted, and in no others.
/// These lie before the flush position, where nothing else is written any more.
pub const REPAIR_WRITE: u64 = 1 << 63;

/// One group's journal: the single writer, its cache, and what it knows of the disk.
pub struct Journal<P> {
    group: GroupId,
    node: NodeId,
    segments: Segments,
    cache: Cache<P>,
    entry_starts: EntryStarts,
    flush: Flush,
    /// Where the next entry would begin, if it fits in that segment.
    append: Position,
    last_crc: u32,
    outputs: VecDeque<JournalOutput<P>>,
    /// After a cut: writes from this one on wait until all before it are done. Two writes to one
    /// place must never be out at once: nobody knows which comes last.
    after_cut: Option<WriteId>,
    /// After a cut: writes also wait until the cut is known on disk.
    writes_held: bool,
    /// Damaged entries that are being written again. Their segments stay until that is done: a
    /// segment that goes may become another one.
    repairs: Vec<(WriteId, Position)>,
    next_repair: u64,
}

/// What a journal starts from: the end of what recovery believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalTail {
    /// Where the next entry begins.
    pub append: Position,
    /// The checksum of the last entry, 0 for a new journal.
    pub last_crc: u32,
}

/// What a journal wants done outside.
#[derive(Debug)]
pub enum JournalOutput<P> {
    Write { write: WriteId, segment: SegmentId, at: u64, page: P },
    CreateSegment { segment: SegmentId, header: Bytes },
    RemoveSegment { segment: SegmentId },
}

/// Why an entry can't be appended now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// As many writes are out as may be. Those that come meanwhile make the next entry.
    WritesInFlight,
    /// The next segment isn't there yet.
    NoSegment,
}

/// What identifies an entry and what it says of its time.
#[derive(Clone, Copy, Debug)]
pub struct EntryStamp {
    pub term: Term,
    pub index: LogIndex,
    pub leader: NodeId,
    pub appended_at: Wallclock,
}

/// Where an appended entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub position: Position,
    /// The first position after it.
    pub end: Position,
    pub crc: u32,
}

impl<P: Page> Journal<P> {
    /// A journal that goes on where `tail` says, with the segments `segments` knows.
    pub fn new(
        group: GroupId,
        node: NodeId,
        segments: Segments,
        tail: JournalTail,
        cache_bytes_max: usize,
    ) -> Journal<P> {
        Journal {
            group,
            node,
            segments,
            cache: Cache::new(cache_bytes_max),
            entry_starts: EntryStarts::default(),
            flush: Flush::new(tail.append),
            append: tail.append,
            last_crc: tail.last_crc,
            outputs: VecDeque::new(),
            after_cut: None,
            writes_held: false,
            repairs: Vec::new(),
            next_repair: 1,
        }
    }

    /// Whether an entry of `bytes` bytes (aligned) can be appended now.
    ///
    /// # Errors
    /// What it has to wait for.
    pub fn room(&self, bytes: usize) -> Result<(), Blocked> {
        let free = JOURNAL_WRITES_IN_FLIGHT_MAX.saturating_sub(self.flush.in_flight());
        if free == 0 {
            return Err(Blocked::WritesInFlight);
        }
        let place = self.segments.place(self.append, bytes as u64).ok_or(Blocked::NoSegment)?;
        match self.segments.unused_before(self.append, place) {
            Some(_) if free < 2 => Err(Blocked::WritesInFlight),
            _ => Ok(()),
        }
    }

    /// Appends one entry to the cache and asks for its write. `fill` writes the data of all
    /// `runs`, one after the other; their sizes add up to the slice it is given.
    ///
    /// The caller has asked `room` before, in the same turn.
    pub fn append(
        &mut self,
        stamp: EntryStamp,
        runs: &[Run],
        fill: impl FnOnce(&mut [u8]),
    ) -> Appended {
        let bytes = entry_bytes(runs);
        let position =
            self.segments.place(self.append, bytes as u64).expect("room was asked in this turn");
        let header = EntryHeader {
            position,
            index: stamp.index,
            term: stamp.term,
            leader: stamp.leader,
            previous_crc: self.last_crc,
            flushed: self.flush.flushed(),
            appended_at: stamp.appended_at,
            run_count: runs.len() as u32,
            body_bytes: 0,
        };
        let mut crc = 0;
        let page = P::build(bytes, |into| crc = format::write_entry(into, &header, runs, fill));
        self.push(position, stamp.index, crc, page)
    }

    /// Appends an entry that another node made, byte for byte, and asks for its write. Its bytes
    /// are whole and its checksum is right. The caller has asked `room` before, in the same turn.
    ///
    /// # Errors
    /// A sentence, if this entry doesn't follow the last one here: then the journals of the two
    /// nodes differ, and neither may go on as if they didn't.
    pub fn adopt(&mut self, head: &EntryHead, bytes: &[u8]) -> Result<Appended, String> {
        let position = head.header.position;
        let due = self.segments.place(self.append, bytes.len() as u64);
        if due != Some(position) {
            return Err(format!(
                "entry {} of node {} lies at position {position}, and here it is due at {}",
                head.header.index,
                head.header.leader,
                due.map_or("none".to_string(), |due| due.to_string())
            ));
        }
        if head.header.previous_crc != self.last_crc {
            return Err(format!(
                "entry {} of node {} at position {position} follows an entry with checksum \
                 {:08x}, and here the one before it has {:08x}",
                head.header.index, head.header.leader, head.header.previous_crc, self.last_crc
            ));
        }
        let page = P::build(bytes.len(), |into| into.copy_from_slice(bytes));
        Ok(self.push(position, head.header.index, head.crc, page))
    }

    /// Where an entry of `bytes` bytes would lie if it was appended now, if its segment is there.
    pub fn due(&self, bytes: usize) -> Option<Position> {
        self.segments.place(self.append, bytes as u64)
    }

    /// Appends whole entries of another node's journal, as they lie there, in one write: the page
    /// has them all. They stay out of the cache, for nobody waits for what is as old as that.
    /// `last_crc` is the checksum of the last of them. The caller has asked `room` before, in the
    /// same turn, and `due` says `position` for the first of them.
    pub fn copy(&mut self, position: Position, page: P, last_crc: u32) {
        let end = Position(position.0 + page.bytes().len() as u64);
        let write = self.flush.begin(end);
        let (segment, at) = self.segments.locate(position);
        self.outputs.push_back(JournalOutput::Write { write, segment, at, page });
        self.entry_starts.note(position);
        self.append = end;
        self.last_crc = last_crc;
        self.prepare_segments();
    }

    /// Whether nothing is under way: no write, and no segment that is being made.
    pub fn is_at_rest(&self) -> bool {
        self.flush.in_flight() == 0
            && self.repairs.is_empty()
            && self.outputs.is_empty()
            && !self.segments.is_creating()
    }

    /// Gives up all there is, to begin anew with segment `first`. What comes next is what `copy`
    /// brings; if that is nothing, `last_crc` is the checksum of the entry that ends there.
    /// `others` are files of segments that this journal doesn't know of.
    ///
    /// # Panics
    /// If something is under way.
    pub fn restart(&mut self, first: SegmentId, last_crc: u32, others: &[SegmentId]) {
        assert!(self.is_at_rest(), "a write under way would end up in another segment");
        let removed = self.segments.restart(first);
        let removed = others.iter().copied().chain(removed);
        self.outputs.extend(removed.map(|segment| JournalOutput::RemoveSegment { segment }));
        self.append = Position(first.0 * self.segments.segment_bytes());
        self.last_crc = last_crc;
        self.cache.truncate(Position(0));
        self.entry_starts = EntryStarts::default();
        self.flush = Flush::new(self.append);
        (self.after_cut, self.writes_held) = (None, false);
        self.prepare_segments();
    }

    /// Cuts off all that lies at `cut` or behind it. `last_crc` is the checksum of the entry that
    /// ends there. What is appended next is written once all that is being written now is done, and
    /// `release_writes` was called.
    pub fn truncate(&mut self, cut: Position, last_crc: u32) {
        assert!(cut <= self.append, "a cut shortens the journal");
        self.cache.truncate(cut);
        self.entry_starts.truncate(cut);
        self.after_cut = Some(self.flush.truncate(cut));
        self.writes_held = true;
        self.append = cut;
        self.last_crc = last_crc;
    }

    /// That the journal was cut off is known on disk.
    pub fn release_writes(&mut self) {
        self.writes_held = false;
    }

    fn push(&mut self, position: Position, index: LogIndex, crc: u32, page: P) -> Appended {
        if let Some(unused) = self.segments.unused_before(self.append, position) {
            self.clear(unused);
        }
        let end = Position(position.0 + page.bytes().len() as u64);
        let write = self.flush.begin(end);
        let (segment, at) = self.segments.locate(position);
        self.outputs.push_back(JournalOutput::Write { write, segment, at, page: page.clone() });
        self.cache.push(CachedEntry { position, end, index, page });
        self.entry_starts.note(position);
        self.append = end;
        self.last_crc = crc;
        self.prepare_segments();
        Appended { position, end, crc }
    }

    /// Writes zeros where the unused rest of a segment begins.
    ///
    /// What was cut off there may follow the last entry by its checksum just as well as what goes
    /// to the next segment does, and may be of the later term: recovery could not tell which came
    /// last. The entry that goes to the next segment counts as flushed only when this is done too.
    fn clear(&mut self, unused: Position) {
        let write = self.flush.begin(unused);
        let (segment, at) = self.segments.locate(unused);
        let page = P::build(ENTRY_ALIGN_BYTES, |into| into.fill(0));
        self.outputs.push_back(JournalOutput::Write { write, segment, at, page });
    }

    /// Writes an entry again, in its place, that is on this disk no longer as it was once.
    ///
    /// # Panics
    /// If it doesn't lie before the flush position: what is being written is left alone.
    pub fn repair(&mut self, position: Position, page: P) -> WriteId {
        let end = position.0 + page.bytes().len() as u64;
        assert!(self.start() <= position && end <= self.flush.flushed().0, "it was on disk");
        let write = WriteId(REPAIR_WRITE | self.next_repair);
        self.next_repair += 1;
        self.repairs.push((write, position));
        let (segment, at) = self.segments.locate(position);
        self.outputs.push_back(JournalOutput::Write { write, segment, at, page });
        write
    }

    /// A damaged entry has been written again.
    pub fn on_repaired(&mut self, write: WriteId) {
        self.repairs.retain(|(out, _)| *out != write);
    }

    /// A write is on disk. Returns the new flush position if it moved.
    pub fn on_written(&mut self, write: WriteId) -> Option<Position> {
        self.flush.complete(write)
    }

    /// Asks for the segments that will be needed soon.
    pub fn prepare_segments(&mut self) {
        if let Some(segment) = self.segments.begin_create(self.append) {
            let header = SegmentHeader {
                group: self.group,
                segment,
                segment_bytes: self.segments.segment_bytes(),
                node: self.node,
            };
            self.outputs
                .push_back(JournalOutput::CreateSegment { segment, header: header.encode() });
        }
    }

    /// A segment is there to be written.
    pub fn on_segment_created(&mut self, segment: SegmentId) {
        self.segments.created(segment);
        self.prepare_segments();
    }

    /// A segment could not be made; `prepare_segments` asks again.
    pub fn on_segment_failed(&mut self, segment: SegmentId) {
        self.segments.create_failed(segment);
    }

    /// Drops whole segments that lie before `position`. Returns how many.
    pub fn trim(&mut self, position: Position) -> usize {
        let repairs = self.repairs.iter().map(|(_, position)| *position);
        let kept = repairs.min().unwrap_or(Position(u64::MAX)).min(self.flush.flushed());
        let removed = self.segments.trim(position.min(kept));
        let count = removed.len();
        self.entry_starts.trim(self.segments.start());
        self.outputs
            .extend(removed.into_iter().map(|segment| JournalOutput::RemoveSegment { segment }));
        count
    }

    /// Takes entries out of the cache until it is within its bound, oldest first, but none that
    /// ends after `keep_from`. Hands each to `evicted`.
    pub fn evict(&mut self, keep_from: Position, evicted: impl FnMut(CachedEntry<P>)) {
        self.cache.evict(keep_from.min(self.flush.flushed()), evicted);
    }

    /// The next thing to do outside.
    pub fn poll_output(&mut self) -> Option<JournalOutput<P>> {
        if let Some(first) = self.after_cut
            && let Some(JournalOutput::Write { write, .. }) = self.outputs.front()
            && *write >= first
            && write.0 & REPAIR_WRITE == 0
        {
            if self.writes_held || !self.flush.all_done_before(first) {
                return None;
            }
            self.after_cut = None;
        }
        self.outputs.pop_front()
    }

    /// The entry at exactly this position, if it is in the cache.
    pub fn cached(&self, position: Position) -> Option<&CachedEntry<P>> {
        self.cache.get(position)
    }

    /// The oldest entry in the cache.
    pub fn first_cached(&self) -> Option<&CachedEntry<P>> {
        self.cache.first()
    }

    /// Where the cache begins: everything from here on is in memory.
    pub fn cache_start(&self) -> Position {
        self.cache.start().unwrap_or(self.append)
    }

    /// The first position of the oldest segment.
    pub fn start(&self) -> Position {
        self.segments.start()
    }

    /// Everything before this is in the cache or on disk.
    pub fn append_position(&self) -> Position {
        self.append
    }

    /// Everything before this is on disk.
    pub fn flush_position(&self) -> Position {
        self.flush.flushed()
    }

    /// Writes that are out.
    pub fn writes_in_flight(&self) -> usize {
        self.flush.in_flight()
    }

    /// Where a position lies: its segment, and the byte in that segment's file.
    pub fn locate(&self, position: Position) -> (SegmentId, u64) {
        self.segments.locate(position)
    }

    /// Where the entry behind one that ends at `end` begins, if it lies next to it.
    pub fn entry_start(&self, end: Position) -> Position {
        self.segments.entry_start(end)
    }

    /// Where a chunk that is read from `position`, where an entry begins, may end so that what
    /// follows can be read at the same time: where another entry is known to begin, in the same
    /// segment and flushed.
    pub fn chunk_end(&self, position: Position) -> Option<Position> {
        let end = self.entry_starts.chunk_end(position)?;
        let same_segment = self.locate(position).0 == self.locate(end).0;
        (same_segment && end <= self.flush.flushed()).then_some(end)
    }

    /// The first position of the segment after the one that holds `position`, where reading goes
    /// on when nothing more lies in that one.
    pub fn next_segment_start(&self, position: Position) -> Position {
        self.segments.next_segment_start(position)
    }

    /// The end of what an entry can have that begins at `position` or behind it in the same
    /// segment, and is on disk: that of the segment, or of what is flushed. What says that it goes
    /// on behind that is damaged.
    pub fn readable_until(&self, position: Position) -> Position {
        let next = self.segments.next_segment_start(position);
        Position(next.0 - format::SEGMENT_HEADER_BYTES).min(self.flush.flushed())
    }

    /// Whether the first entry of a segment lies at `position`.
    pub fn is_segment_start(&self, position: Position) -> bool {
        self.segments.locate(position).1 == format::SEGMENT_HEADER_BYTES
    }

    /// The size of each segment.
    pub fn segment_bytes(&self) -> u64 {
        self.segments.segment_bytes()
    }
}

#[cfg(test)]
mod tests;
