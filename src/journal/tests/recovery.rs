//! Recovery against a journal made by the writer itself, torn and damaged in every way we know.

use std::collections::BTreeMap;

use super::super::format::{ENTRY_HEADER_BYTES, Entry, RUN_BYTES, Run, RunKind, SegmentHeader};
use super::super::page::{MemoryPage, Page};
use super::super::recovery::{Chain, JournalFiles, RecoverError, Recovered, recover};
use super::super::segments::Segments;
use super::super::source::SegmentSource;
use super::super::{Blocked, EntryStamp, Journal, JournalOutput, JournalTail};
use crate::limits::SEGMENT_BYTES_MIN;
use crate::model::ids::{GroupId, NodeId, PartitionKey, SegmentId, WriteId};
use crate::model::position::{LogIndex, Offset, Position, Term};
use crate::model::time::Wallclock;

const SEGMENT_BYTES: u64 = SEGMENT_BYTES_MIN;
const NODE: NodeId = NodeId(7);
const START: Position = Position(4096);

/// Segment files as sparse maps of blocks, and how many bytes were read of them.
#[derive(Default, Clone)]
struct Disk(BTreeMap<u64, BTreeMap<u64, Vec<u8>>>, u64);

impl Disk {
    fn write(&mut self, segment: SegmentId, at: u64, bytes: &[u8]) {
        for (block, bytes) in (at / 4096..).zip(bytes.chunks(4096)) {
            self.0.entry(segment.0).or_default().insert(block, bytes.to_vec());
        }
    }

    fn segments(&self) -> Vec<SegmentId> {
        self.0.keys().copied().map(SegmentId).collect()
    }

    fn flip(&mut self, position: Position) {
        let (segment, at) = (position.0 / SEGMENT_BYTES, position.0 % SEGMENT_BYTES);
        let block = self.0.get_mut(&segment).unwrap().get_mut(&(at / 4096)).unwrap();
        block[(at % 4096) as usize] ^= 1;
    }

    fn recover(&mut self) -> Result<(Recovered, Vec<LogIndex>), RecoverError> {
        let segments = self.segments();
        let files = JournalFiles {
            group: GroupId(3),
            node: NODE,
            segment_bytes: SEGMENT_BYTES,
            segments: &segments,
            truncation: None,
        };
        let mut seen = Vec::new();
        let recovered = recover(&files, START, Some(Chain::default()), self, |entry| {
            seen.push(entry.header.index);
        })?;
        Ok((recovered, seen))
    }
}

impl SegmentSource for Disk {
    fn read(
        &mut self,
        _: GroupId,
        segment: SegmentId,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), String> {
        self.1 += into.len() as u64;
        let blocks = self.0.get(&segment.0).ok_or("no such segment")?;
        for (block, into) in (at / 4096..).zip(into.chunks_mut(4096)) {
            match blocks.get(&block) {
                Some(bytes) => into.copy_from_slice(&bytes[..into.len()]),
                None => into.fill(0),
            }
        }
        Ok(())
    }
}

/// A journal with its disk; writes wait in `writes` until they are let through.
struct Rig {
    journal: Journal<MemoryPage>,
    disk: Disk,
    writes: Vec<(WriteId, SegmentId, u64, MemoryPage)>,
    index: u64,
    term: Term,
}

impl Rig {
    fn new() -> Rig {
        let segments = Segments::new(SEGMENT_BYTES, SegmentId(0), SegmentId(0));
        let tail = JournalTail { append: START, last_crc: 0 };
        let mut journal = Journal::new(GroupId(3), NODE, segments, tail, 1 << 20);
        journal.prepare_segments();
        let (disk, writes) = (Disk::default(), Vec::new());
        let mut rig = Rig { journal, disk, writes, index: 0, term: Term(1) };
        rig.carry();
        rig
    }

    fn carry(&mut self) {
        while let Some(output) = self.journal.poll_output() {
            match output {
                JournalOutput::Write { write, segment, at, page } => {
                    self.writes.push((write, segment, at, page));
                }
                JournalOutput::CreateSegment { segment, header } => {
                    self.disk.write(segment, 0, &header);
                    self.journal.on_segment_created(segment);
                }
                JournalOutput::RemoveSegment { segment } => {
                    self.disk.0.remove(&segment.0);
                }
            }
        }
    }

    fn append(&mut self, bytes: u32) -> Position {
        self.index += 1;
        let run = Run {
            kind: RunKind::Records,
            partition: PartitionKey(1),
            bytes,
            batches: 1,
            base_offset: Offset(self.index as i64),
            last_offset: Offset(self.index as i64),
            max_timestamp: -1,
        };
        let stamp = EntryStamp {
            term: self.term,
            index: LogIndex(self.index),
            leader: NODE,
            appended_at: Wallclock(0),
        };
        let fill = self.index as u8;
        let appended = self.journal.append(stamp, &[run], |into| into.fill(fill));
        self.carry();
        appended.position
    }

    /// Lets the write at `at` in the queue through to the disk.
    fn complete(&mut self, at: usize) {
        let (write, segment, offset, page) = self.writes.remove(at);
        self.disk.write(segment, offset, page.bytes());
        self.journal.on_written(write);
    }

    fn append_flushed(&mut self, bytes: u32) -> Position {
        let out = self.writes.len();
        let position = self.append(bytes);
        while self.writes.len() > out {
            self.complete(out);
        }
        position
    }

    /// Flushed entries, until a segment has so many blocks left.
    fn fill_segment_but(&mut self, blocks: u64) {
        self.append_flushed(9 << 20);
        loop {
            let left = SEGMENT_BYTES - self.journal.append_position().0 % SEGMENT_BYTES;
            let bytes = (left - blocks * 4096).min(9 << 20) as usize;
            if bytes == 0 {
                return;
            }
            self.append_flushed((bytes - ENTRY_HEADER_BYTES - RUN_BYTES) as u32);
        }
    }
}

fn indexes(range: std::ops::RangeInclusive<u64>) -> Vec<LogIndex> {
    range.map(LogIndex).collect()
}

#[test]
fn a_new_journal_has_nothing() {
    let (recovered, seen) = Rig::new().disk.recover().unwrap();
    assert_eq!(seen, []);
    assert_eq!(recovered.tail, JournalTail { append: START, last_crc: 0 });
    assert_eq!(recovered.cut, None);
}

#[test]
fn all_that_was_flushed_comes_back_in_order_and_across_segments() {
    let mut rig = Rig::new();
    for _ in 0..9 {
        rig.append_flushed(9 << 20);
    }
    assert!(rig.disk.segments().len() > 3);
    let (recovered, seen) = rig.disk.recover().unwrap();
    assert_eq!(seen, indexes(1..=9));
    assert_eq!(recovered.tail.append, rig.journal.append_position());
    assert_eq!(recovered.cut, None);
}

#[test]
fn writes_in_flight_are_bounded() {
    let mut rig = Rig::new();
    for _ in 0..8 {
        assert_eq!(rig.journal.room(4096), Ok(()));
        rig.append(10);
    }
    assert_eq!(rig.journal.room(4096), Err(Blocked::WritesInFlight));
    rig.complete(3);
    assert_eq!(rig.journal.room(4096), Err(Blocked::WritesInFlight), "the prefix did not move");
    rig.complete(0);
    assert_eq!(rig.journal.room(4096), Ok(()));
}

#[test]
fn a_tail_torn_while_later_writes_got_through_is_cut() {
    let mut rig = Rig::new();
    rig.append_flushed(100);
    let torn = rig.append(100);
    rig.append(100);
    rig.complete(1);
    let (recovered, seen) = rig.disk.recover().unwrap();
    assert_eq!(seen, indexes(1..=1));
    assert_eq!(recovered.tail.append, torn);
    let cut = recovered.cut.unwrap();
    assert_eq!((cut.position, cut.entries, cut.bytes), (torn, 1, 8192));
}

#[test]
fn damage_before_a_later_flushed_entry_is_refused_and_named() {
    let mut rig = Rig::new();
    rig.append_flushed(100);
    let damaged = rig.append_flushed(100);
    rig.append_flushed(100);
    rig.disk.flip(Position(damaged.0 + 130));
    match rig.disk.recover() {
        Err(RecoverError::Damaged { group, segment, position, .. }) => {
            assert_eq!((group, segment, position), (GroupId(3), SegmentId(0), damaged));
        }
        other => panic!("damage was not seen: {other:?}"),
    }
}

#[test]
fn lost_segments_in_the_middle_are_refused_and_named() {
    let mut rig = Rig::new();
    let mut bad = None;
    for _ in 0..14 {
        let position = rig.append_flushed(15 << 20);
        if position.0 / SEGMENT_BYTES == 1 {
            bad.get_or_insert(position);
        }
    }
    // All of three segments but their headers, and more than is looked through block by block.
    for segment in 1..=3 {
        rig.disk.0.get_mut(&segment).unwrap().retain(|block, _| *block == 0);
    }
    match rig.disk.recover() {
        Err(RecoverError::Damaged { later, .. }) => assert_eq!(later.0 / SEGMENT_BYTES, 4),
        other => panic!("{other:?}"),
    }
}

#[test]
fn space_made_ahead_is_not_read_through() {
    let mut rig = Rig::new();
    rig.append_flushed(100);
    for segment in (rig.disk.segments().len() as u64..40).map(SegmentId) {
        let (group, segment_bytes, node) = (GroupId(3), SEGMENT_BYTES, NODE);
        let header = SegmentHeader { group, segment, segment_bytes, node };
        rig.disk.write(segment, 0, &header.encode());
    }
    rig.disk.recover().unwrap();
    // Of 40 segments of 32 MiB: some of the first, and the beginnings of the others.
    let read = rig.disk.1 >> 20;
    assert!((64..64 + 40 * 9).contains(&read), "{read} MiB");
}

#[test]
fn what_a_cut_left_behind_does_not_come_back() {
    let mut rig = Rig::new();
    rig.append_flushed(100);
    rig.append(100);
    rig.append(100);
    rig.complete(1);
    let (recovered, _) = rig.disk.recover().unwrap();

    // The next life writes over the cut entry; the one behind it still lies on disk, whole.
    let mut next = Rig::new();
    next.disk = rig.disk.clone();
    next.journal = Journal::new(GroupId(3), NODE, recovered.segments, recovered.tail, 1 << 20);
    next.index = 1;
    next.append_flushed(50);
    let (recovered, seen) = next.disk.recover().unwrap();
    assert_eq!(seen, indexes(1..=2));
    assert_eq!(recovered.tail.append, next.journal.append_position());
}

#[test]
fn what_was_cut_off_at_a_segments_end_does_not_come_back() {
    let mut rig = Rig::new();
    rig.fill_segment_but(2);
    let (end, crc) = (rig.journal.append_position(), rig.journal.last_crc);
    let last = rig.index;
    // A leader's, in a later term than what is in its place when it is cut off.
    rig.term = Term(3);
    let cut = rig.append_flushed(10);
    assert_eq!(cut, end);
    rig.journal.truncate(end, crc);
    rig.journal.release_writes();
    (rig.index, rig.term) = (last, Term(2));
    let position = rig.append(9000);
    assert_eq!(position, rig.journal.next_segment_start(end));
    // Nothing is known to be on disk while what was cut off may still be there.
    rig.complete(1);
    assert_eq!(rig.journal.flush_position(), end);
    rig.complete(0);
    assert_eq!(rig.journal.flush_position(), rig.journal.append_position());
    let (recovered, seen) = rig.disk.recover().unwrap();
    assert_eq!(seen, indexes(1..=last + 1));
    assert_eq!(recovered.tail.append, rig.journal.append_position());
    assert_eq!(recovered.last.term, Term(2));
}

#[test]
fn what_closes_a_segment_is_one_of_the_writes_in_flight() {
    let mut rig = Rig::new();
    rig.fill_segment_but(8);
    for _ in 0..7 {
        rig.append(10);
    }
    assert_eq!(rig.journal.room(4096), Ok(()));
    assert_eq!(rig.journal.room(8192), Err(Blocked::WritesInFlight));
    rig.complete(0);
    assert_eq!(rig.journal.room(8192), Ok(()));
    // Nothing is left of a segment that is full: nothing closes it.
    rig.append(10);
    rig.append(10);
    assert_eq!(rig.journal.room(8192), Err(Blocked::WritesInFlight));
    rig.complete(0);
    rig.append(5000);
    assert_eq!(rig.journal.room(4096), Err(Blocked::WritesInFlight));
    rig.complete(6);
    assert!(rig.writes.iter().all(|(_, _, _, page)| page.bytes()[..4] == *b"HTJE"));
}

#[test]
fn a_missing_segment_is_named() {
    let mut rig = Rig::new();
    for _ in 0..9 {
        rig.append_flushed(9 << 20);
    }
    rig.disk.0.remove(&1);
    let error = rig.disk.recover().unwrap_err();
    assert_eq!(error, RecoverError::Missing { group: GroupId(3), segment: SegmentId(1) });
}

#[test]
fn every_flipped_byte_of_an_entry_is_seen() {
    let mut rig = Rig::new();
    let position = rig.append_flushed(300);
    let bytes = rig.journal.cached(position).unwrap().page.bytes().to_vec();
    let end = 80 + 40 + 300;
    for at in 0..end {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert!(Entry::read(&flipped, position).is_none(), "byte {at}");
    }
    assert!(Entry::read(&bytes[..end - 1], position).is_none());
    assert!(Entry::read(&bytes, Position(position.0 + 4096)).is_none());
}

#[test]
fn a_copy_of_another_journal_takes_the_place_of_what_was_there() {
    let mut theirs = Rig::new();
    let positions: Vec<Position> = (0..10).map(|_| theirs.append_flushed(9 << 20)).collect();
    let mut ours = Rig::new();
    for _ in 0..3 {
        ours.append_flushed(100);
    }
    ours.append(100);
    assert!(!ours.journal.is_at_rest(), "a write is out");
    ours.complete(0);
    assert!(ours.journal.is_at_rest());
    // From their second segment on.
    let from = positions.iter().position(|it| it.0 > SEGMENT_BYTES).expect("there are more");
    ours.journal.restart(SegmentId(1), 0, &[SegmentId(40)]);
    ours.carry();
    assert_eq!(ours.disk.segments(), [1, 2, 3].map(SegmentId), "the old ones are gone");
    for position in &positions[from..] {
        let entry = theirs.journal.cached(*position).cloned();
        let page = entry.map_or_else(|| page_at(&mut theirs.disk, *position), |entry| entry.page);
        let crc = Entry::read(page.bytes(), *position).expect("it is whole").crc;
        assert_eq!(ours.journal.due(page.bytes().len()), Some(*position));
        ours.journal.copy(*position, page, crc);
        ours.carry();
        ours.complete(0);
    }
    assert_eq!(ours.journal.append_position(), theirs.journal.append_position());
    assert_eq!(ours.journal.flush_position(), theirs.journal.flush_position());
    assert!(ours.journal.first_cached().is_none());
    // What comes next follows, on both alike.
    let run = |rig: &mut Rig| {
        rig.index = 10;
        rig.append_flushed(500)
    };
    let (here, there) = (run(&mut ours), run(&mut theirs));
    assert_eq!(here, there);
    let entry = |rig: &Rig| rig.journal.cached(here).expect("it is new").page.bytes().to_vec();
    assert_eq!(entry(&ours), entry(&theirs));
}

/// An entry as it lies on the disk.
fn page_at(disk: &mut Disk, position: Position) -> MemoryPage {
    let segment = SegmentId(position.0 / SEGMENT_BYTES);
    let bytes = (SEGMENT_BYTES - position.0 % SEGMENT_BYTES).min(10 << 20) as usize;
    let mut block = vec![0; bytes];
    disk.read(GroupId(3), segment, position.0 % SEGMENT_BYTES, &mut block).unwrap();
    let entry = Entry::read(&block, position).expect("it is whole");
    let length = (entry.end().0 - position.0) as usize;
    MemoryPage::build(length, |into| into.copy_from_slice(&block[..length]))
}
