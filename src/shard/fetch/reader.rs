//! Gathering one partition's batches: from the journal cache, or from chunks read back from disk.
//!
//! What comes out are pieces of pages, never copies, of whole batches: from the batch that holds
//! the offset asked for, up to the bound or the high watermark.

use crate::journal::page::Page;
use crate::kafka::record_batch;
use crate::model::ids::PartitionKey;
use crate::model::position::{Offset, Position};
use crate::partition::Partition;
use crate::partition::index::Place;
use crate::shard::fetch::chunks::{Chunks, Then};
use crate::shard::group::Group;

/// What a reader is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// All it can have, up to its bound.
    Batches,
    /// The first run with a record of this timestamp or a later one.
    Timestamp(i64),
}

/// The reading of one partition.
#[derive(Clone, Debug)]
pub struct PartitionReader<P> {
    pub key: PartitionKey,
    goal: Goal,
    /// The offset of the next record that is wanted.
    next: Offset,
    /// Where in the journal to look for it, if it isn't in the cache.
    scan: Option<Position>,
    /// The checksum of the entry before `scan`, if that was read.
    previous_crc: Option<u32>,
    /// The checksum before a damaged entry that ends at `scan`. If that is no entry but what
    /// recovery once cut, the next entry continues this.
    crc_before_damage: Option<u32>,
    /// Where, since records of the partition were found, no good entry was found first: that may
    /// be the end of a segment. There may have been none of its records; whether there were is
    /// known when the next ones are found.
    passed: Option<Cursor>,
    /// Some of what it has, or has looked through, was in a chunk.
    used_chunks: bool,
    bytes_max: usize,
    /// A batch larger than the bound may be taken if it is the first.
    first_at_any_size: bool,
    pub pieces: Vec<Piece<P>>,
    pub bytes: usize,
}

/// Where on disk a reader goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub position: Position,
    /// The checksum of the entry before. What recovery has cut may lie behind the last entry of a
    /// segment, whole and at its position: only the chain tells it from what is believed.
    pub previous_crc: Option<u32>,
}

/// Whole batches, side by side in a page.
#[derive(Clone, Debug)]
pub struct Piece<P> {
    pub page: P,
    pub start: usize,
    pub end: usize,
}

/// What a reader needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Done,
    /// The chunk at this position: it isn't in memory, or it is another than the one before. All
    /// who read a journal for one request go through it chunk by chunk, the one furthest behind
    /// first, so that each chunk is needed once.
    Chunk {
        position: Position,
    },
    /// An entry on disk that has the next records is damaged or missing. When it is there again,
    /// the reader goes on.
    Damaged(Cursor),
}

impl<P: Page> PartitionReader<P> {
    /// A reader from `offset`, which lies between log start and high watermark.
    pub fn new(key: PartitionKey, goal: Goal, offset: Offset, cursor: Option<Cursor>) -> Self {
        PartitionReader {
            key,
            goal,
            next: offset,
            scan: cursor.map(|cursor| cursor.position),
            previous_crc: cursor.and_then(|cursor| cursor.previous_crc),
            crc_before_damage: None,
            passed: None,
            used_chunks: false,
            bytes_max: usize::MAX,
            first_at_any_size: true,
            pieces: Vec::new(),
            bytes: 0,
        }
    }

    /// Forgets what it has read, and reads from `offset` on.
    pub fn begin_again(&mut self, offset: Offset) {
        *self = PartitionReader::new(self.key, self.goal, offset, None);
    }

    /// Sets the bound, and whether one batch may exceed it.
    pub fn bound(&mut self, bytes_max: usize, first_at_any_size: bool) {
        self.bytes_max = bytes_max;
        self.first_at_any_size = first_at_any_size;
    }

    /// The offset of the next record that is wanted.
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    /// Whether what it has didn't all lie in the journal cache.
    pub fn needed_disk(&self) -> bool {
        self.scan.is_some() || self.used_chunks
    }

    /// Where the next reader of this partition may go on: the offset, and where on disk it is.
    pub fn cursor(&self) -> Option<(Offset, Cursor)> {
        // Behind a damaged entry the next reader looks again, so that it can say where that is.
        let scan = self.scan.filter(|_| self.passed.is_none());
        let previous_crc = self.previous_crc;
        scan.map(|position| (self.next, Cursor { position, previous_crc }))
    }

    /// Whether an entry continues what was read before it.
    fn continues(&self, previous_crc: u32) -> bool {
        self.previous_crc.is_none_or(|crc| crc == previous_crc)
            || self.crc_before_damage == Some(previous_crc)
    }

    /// Goes on behind `scan`, where no entry can be read: at the partition's next landmark, if
    /// that is where its next records are, or behind the entry if it is a damaged one, or in the
    /// next segment.
    fn pass(&mut self, group: &Group<P>, partition: &Partition, scan: Position, then: Then) {
        let mut next = group.journal.next_segment_start(scan);
        self.passed.get_or_insert(Cursor { position: scan, previous_crc: self.previous_crc });
        if let Then::Damaged(entry) = then
            && self.continues(entry.previous_crc)
        {
            self.crc_before_damage.get_or_insert(entry.previous_crc);
            self.previous_crc = Some(entry.crc);
            next = group.journal.entry_start(entry.end);
        }
        let cached = group.journal.cache_start();
        if let Some(Place::Journal(position)) = partition.index.locate(self.next, cached)
            && position > scan
        {
            next = position;
            self.previous_crc = None;
        }
        self.scan = Some(next);
    }

    /// The next records are not where they should be. What was found before them is given out
    /// first; the next reader begins at the hole.
    fn missing(&mut self, scan: Position) -> Step {
        let here = Cursor { position: scan, previous_crc: self.previous_crc };
        self.scan = None;
        self.previous_crc = None;
        if self.bytes > 0 {
            return Step::Done;
        }
        self.crc_before_damage = None;
        Step::Damaged(self.passed.take().unwrap_or(here))
    }

    /// Whether it stopped because of its bound.
    pub fn is_full(&self, partition: &Partition) -> bool {
        self.bytes > 0 && self.next < partition.high_watermark()
    }

    /// Takes what is in the journal cache, or else, if `chunks` are given, what is in one of them.
    pub fn step(
        &mut self,
        group: &Group<P>,
        partition: &Partition,
        mut chunks: Option<&mut Chunks<P>>,
    ) -> Step {
        let mut within = None;
        loop {
            if self.is_satisfied() || self.next >= partition.high_watermark() {
                return Step::Done;
            }
            // What is committed may not be on this disk yet; all of that is in the cache.
            let cached_from = group.journal.cache_start();
            let cached = cached_from.min(group.journal.flush_position());
            if self.scan.is_none_or(|scan| scan >= cached) {
                match partition.index.locate(self.next, cached_from) {
                    Some(Place::Recent(at)) => return self.take_recent(group, partition, at),
                    Some(Place::Journal(position)) if self.scan.is_none() => {
                        self.scan = Some(position);
                    }
                    _ => return self.missing(self.scan.unwrap_or_default()),
                }
            }
            let scan = self.scan.expect("it was just set");
            if self.leave_what_is_gone(group, scan) {
                continue;
            }
            let chunk = chunks.as_mut().and_then(|chunks| chunks.find(group.id, scan));
            let Some(chunk) =
                chunk.filter(|chunk| *within.get_or_insert(chunk.start) == chunk.start)
            else {
                return Step::Chunk { position: scan };
            };
            self.used_chunks = true;
            if scan == chunk.end {
                let then = chunk.then;
                self.pass(group, partition, scan, then);
                continue;
            }
            let Some((entry, page_at)) = chunk.entry(scan, self.crc_before_damage.is_none()) else {
                self.pass(group, partition, scan, Then::NextSegment);
                continue;
            };
            if !self.continues(entry.header.previous_crc) {
                self.scan = Some(group.journal.next_segment_start(scan));
                continue;
            }
            let (end, crc, previous_crc) = (entry.end(), entry.crc, entry.header.previous_crc);
            let page = chunk.page.clone();
            let mine = entry.runs().find(|(run, _)| {
                run.partition == self.key && run.batches > 0 && run.last_offset >= self.next
            });
            if let Some((run, data)) = mine {
                if run.base_offset > self.next {
                    return self.missing(scan);
                }
                self.passed = None;
                let place = page_at + data.start..page_at + data.end;
                if !self.take_run(&page, place, run.last_offset, run.max_timestamp) {
                    return Step::Done;
                }
            }
            self.go_behind(previous_crc, crc, group.journal.entry_start(end));
        }
    }

    /// An entry was read, with the checksum of the one before and its own: the one behind it comes
    /// next.
    fn go_behind(&mut self, previous_crc: u32, crc: u32, next: Position) {
        // Nothing was lost where it continues what came before that. Where that isn't known, or
        // what was passed lies further back, the chain says nothing of it.
        self.passed.take_if(|passed| passed.previous_crc == Some(previous_crc));
        self.scan = Some(next);
        self.previous_crc = Some(crc);
        self.crc_before_damage = None;
    }

    /// A place may lie in a segment that is gone, as a landmark or a cursor before the log start
    /// does: then it goes on where the journal begins, for what is wanted lies behind that. Returns
    /// whether that was so.
    fn leave_what_is_gone(&mut self, group: &Group<P>, scan: Position) -> bool {
        let start = group.journal.start();
        if scan < start {
            (self.scan, self.previous_crc) = (Some(start), None);
        }
        scan < start
    }

    fn is_satisfied(&self) -> bool {
        match self.goal {
            Goal::Batches => self.bytes >= self.bytes_max,
            Goal::Timestamp(_) => self.bytes > 0,
        }
    }

    fn take_recent(&mut self, group: &Group<P>, partition: &Partition, at: usize) -> Step {
        self.scan = None;
        self.previous_crc = None;
        for run in partition.index.recent_from(at) {
            if run.last_offset >= partition.high_watermark() || self.is_satisfied() {
                break;
            }
            let entry = group.journal.cached(run.entry).expect("recent runs are in the cache");
            let place = run.at as usize..run.at as usize + run.bytes as usize;
            if !self.take_run(&entry.page, place, run.last_offset, run.max_timestamp) {
                break;
            }
        }
        Step::Done
    }

    /// Takes what is wanted of a run. False if there was more than fits.
    fn take_run(
        &mut self,
        page: &P,
        place: std::ops::Range<usize>,
        last_offset: Offset,
        max_timestamp: i64,
    ) -> bool {
        if let Goal::Timestamp(wanted) = self.goal
            && max_timestamp < wanted
        {
            self.next = Offset(last_offset.0 + 1);
            return true;
        }
        let records = &page.bytes()[place.clone()];
        let start = self.first_wanted(records);
        let room = self.bytes_max.saturating_sub(self.bytes);
        let mut end = records.len();
        let mut next = Offset(last_offset.0 + 1);
        if end - start > room {
            (end, next) = self.whole_batches(&records[start..], room);
            end += start;
        }
        if end > start {
            self.bytes += end - start;
            self.pieces.push(Piece {
                page: page.clone(),
                start: place.start + start,
                end: place.start + end,
            });
        }
        self.next = next;
        end == records.len()
    }

    /// Where in a run the batch with the next offset begins.
    fn first_wanted(&self, records: &[u8]) -> usize {
        // Most runs are wanted whole: then the first header says so.
        record_batch::batches(records)
            .find(|(_, batch)| batch.last_offset() >= self.next.0)
            .map_or(records.len(), |(range, _)| range.start)
    }

    /// How many bytes of whole batches fit into `room`, and the offset behind them.
    fn whole_batches(&self, records: &[u8], room: usize) -> (usize, Offset) {
        let mut end = 0;
        let mut next = self.next;
        for (range, batch) in record_batch::batches(records) {
            let first = self.bytes == 0 && end == 0 && self.first_at_any_size;
            if range.end > room && !first {
                break;
            }
            end = range.end;
            next = Offset(batch.last_offset() + 1);
        }
        (end, next)
    }
}
