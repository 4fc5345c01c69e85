//! Looks at a journal whose segments hold three blocks each, whole and damaged.

use std::collections::BTreeMap;

use super::*;
use crate::journal::page::MemoryPage;
use crate::journal::segments::Segments;
use crate::journal::source::SegmentSource;
use crate::journal::{EntryStamp, JournalOutput, JournalTail, REPAIR_WRITE};
use crate::model::ids::{GroupId, NodeId, SegmentId};
use crate::model::position::{LogIndex, Term};
use crate::model::time::Wallclock;
use crate::shard::peers::repair_wire::NotHeld;
use crate::shard::repair::at_start::{Believed, DamageAtStart, Mended, OtherNode, held};

/// Three entries of one block fit into a segment, and one of two blocks beside one of one.
const SEGMENT_BYTES: u64 = 16 << 10;
const GROUP: GroupId = GroupId(3);
const BLOCK: u64 = ENTRY_ALIGN_BYTES as u64;

/// A journal and its segment files.
struct Rig {
    journal: Journal<MemoryPage>,
    files: BTreeMap<u64, Vec<u8>>,
    /// Position, end and checksum of each entry.
    entries: Vec<(Position, Position, u32)>,
    removed: Vec<SegmentId>,
}

impl Rig {
    /// A journal of entries with so many blocks each.
    fn new(blocks: &[u64]) -> Rig {
        let segments = Segments::new(SEGMENT_BYTES, SegmentId(0), SegmentId(0));
        let tail = JournalTail { append: Position(BLOCK), last_crc: 0 };
        let mut journal = Journal::new(GROUP, NodeId(1), segments, tail, 0);
        journal.prepare_segments();
        let (files, entries) = (BTreeMap::new(), Vec::new());
        let mut rig = Rig { journal, files, entries, removed: Vec::new() };
        for (index, blocks) in (1..).zip(blocks) {
            rig.carry();
            let run = crate::journal::format::Run {
                kind: crate::journal::format::RunKind::Command,
                partition: crate::model::ids::PartitionKey(0),
                bytes: (blocks * BLOCK - 1000) as u32,
                batches: 0,
                base_offset: crate::model::position::Offset(0),
                last_offset: crate::model::position::Offset(0),
                max_timestamp: -1,
            };
            let stamp = EntryStamp {
                term: Term(1),
                index: LogIndex(index),
                leader: NodeId(1),
                appended_at: Wallclock(0),
            };
            let appended = rig.journal.append(stamp, &[run], |into| into.fill(index as u8));
            rig.entries.push((appended.position, appended.end, appended.crc));
        }
        rig.carry();
        rig
    }

    fn carry(&mut self) {
        while let Some(output) = self.journal.poll_output() {
            match output {
                JournalOutput::CreateSegment { segment, header } => {
                    let mut file = header.to_vec();
                    file.resize(SEGMENT_BYTES as usize, 0);
                    self.files.insert(segment.0, file);
                    self.journal.on_segment_created(segment);
                }
                JournalOutput::Write { write, segment, at, page } => {
                    let file = self.files.get_mut(&segment.0).unwrap();
                    file[at as usize..][..page.bytes().len()].copy_from_slice(page.bytes());
                    match write.0 & REPAIR_WRITE {
                        0 => drop(self.journal.on_written(write)),
                        _ => self.journal.on_repaired(write),
                    }
                }
                JournalOutput::RemoveSegment { segment } => self.removed.push(segment),
            }
        }
    }

    fn bytes(&mut self, position: Position) -> &mut [u8] {
        let (segment, at) = self.journal.locate(position);
        &mut self.files.get_mut(&segment.0).unwrap()[at as usize..]
    }

    fn rot(&mut self, entry: usize, bytes: std::ops::Range<usize>) {
        let position = self.entries[entry].0;
        self.bytes(position)[bytes].iter_mut().for_each(|byte| *byte ^= 0xff);
    }

    /// Looks at what follows a place. Reads that meet `failing` fail.
    fn look(&self, at: Position, previous_crc: Option<u32>, failing: Option<Position>) -> Found {
        let limit = self.journal.flush_position();
        let place = JournalPlace { group: GROUP, at, previous_crc };
        let mut look = Look::new(place, 2 * ENTRY_ALIGN_BYTES);
        let mut looked = look.begin(&self.journal, limit);
        for _ in 0..10 {
            let Looked::Read { position, bytes } = looked else { break };
            let (segment, at) = self.journal.locate(position);
            assert!(at + bytes as u64 <= SEGMENT_BYTES, "a read lies in one segment");
            assert!(position.0 + bytes as u64 <= limit.0, "only what is on disk is read");
            let range = position.0..position.0 + bytes as u64;
            let fails = failing.is_some_and(|bad| range.contains(&bad.0));
            let page = self.files[&segment.0][at as usize..][..bytes].to_vec();
            looked = look.on_read(&self.journal, limit, (!fails).then(|| page.into()));
        }
        match looked {
            Looked::Entries { heads, end, .. } => {
                Found::Entries(heads.iter().map(|head| head.header.index.0).collect(), end)
            }
            Looked::Bad { says } => Found::Bad(says),
            Looked::End => Found::End,
            Looked::Read { .. } => panic!("it never ends"),
        }
    }

    /// The numbers of all entries that looks come to, one behind the other, and how they end.
    fn walk(&self, failing: Option<Position>) -> (Vec<u64>, Found) {
        let (mut at, mut previous_crc) = (Position(BLOCK), None);
        let mut all = Vec::new();
        loop {
            match self.look(at, previous_crc, failing) {
                Found::Entries(indexes, end) => {
                    let last = *indexes.last().expect("there is one") as usize;
                    all.extend(indexes);
                    (at, previous_crc) = (end, Some(self.entries[last - 1].2));
                }
                end => return (all, end),
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Entries(Vec<u64>, Position),
    Bad(Option<Position>),
    End,
}

/// Ends of segments that are full, that have room left, and an entry larger than what is read.
const BLOCKS: &[u64] = &[1, 1, 1, 1, 2, 2, 1, 3, 3, 1, 1, 1, 2];

#[test]
fn looks_go_from_entry_to_entry_and_over_the_ends_of_segments() {
    let rig = Rig::new(BLOCKS);
    assert_eq!(rig.walk(None), ((1..=BLOCKS.len() as u64).collect(), Found::End));
}

#[test]
fn whatever_has_rotted_of_an_entry_is_found_there_and_nowhere_else() {
    for (entry, blocks) in BLOCKS.iter().enumerate() {
        let last = *blocks as usize * ENTRY_ALIGN_BYTES - 1000;
        // Magic, checksum, size, position, chain, the first and the last byte of its data.
        for byte in [0, 4, 8, 10, 16, 56, 120, last + 119] {
            let mut rig = Rig::new(BLOCKS);
            rig.rot(entry, byte..byte + 1);
            let (seen, end) = rig.walk(None);
            assert_eq!(seen, (1..=entry as u64).collect::<Vec<_>>(), "entry {entry} byte {byte}");
            assert!(matches!(end, Found::Bad(_)), "entry {entry} byte {byte}: {end:?}");
        }
    }
}

#[test]
fn what_the_disk_can_not_read_is_found_entry_by_entry() {
    for entry in 0..BLOCKS.len() {
        let rig = Rig::new(BLOCKS);
        let (seen, end) = rig.walk(Some(rig.entries[entry].0));
        assert_eq!(seen, (1..=entry as u64).collect::<Vec<_>>(), "entry {entry}");
        assert_eq!(end, Found::Bad(None), "entry {entry}");
    }
}

#[test]
fn what_is_left_over_from_before_a_cut_is_not_what_follows() {
    let mut rig = Rig::new(&[1, 1, 1]);
    let (second, end, _) = rig.entries[1];
    // Another entry takes the place of the second. The third one still lies behind it, whole.
    rig.journal.truncate(second, rig.entries[0].2);
    rig.journal.release_writes();
    let stamp = EntryStamp {
        term: Term(2),
        index: LogIndex(2),
        leader: NodeId(2),
        appended_at: Wallclock(0),
    };
    let appended = rig.journal.append(stamp, &[], |_| {});
    rig.entries[1].2 = appended.crc;
    rig.carry();
    assert_eq!(appended.end, end);
    assert_eq!(rig.walk(None), (vec![1, 2], Found::End));
}

#[test]
fn a_segment_stays_while_an_entry_in_it_is_written_again() {
    let mut rig = Rig::new(BLOCKS);
    let (position, end, _) = rig.entries[4];
    let whole = rig.bytes(position)[..(end.0 - position.0) as usize].to_vec();
    rig.rot(4, 200..300);
    let write = rig.journal.repair(position, MemoryPage::from(whole));
    assert!(write.0 & REPAIR_WRITE != 0);
    rig.journal.trim(rig.journal.flush_position());
    assert_eq!(rig.journal.start(), Position(SEGMENT_BYTES + BLOCK));
    rig.carry();
    assert_eq!(rig.removed, [SegmentId(0)]);
    rig.journal.trim(rig.journal.flush_position());
    rig.carry();
    assert!(rig.removed.len() > 1);
}

impl SegmentSource for Rig {
    fn read(
        &mut self,
        _: GroupId,
        segment: SegmentId,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), String> {
        let file = self.files.get(&segment.0).ok_or("no such file")?;
        into.copy_from_slice(&file[at as usize..][..into.len()]);
        Ok(())
    }
}

/// A node that knows of nothing that it is committed, and leads nobody.
impl OtherNode for Rig {
    fn led(&mut self, _: JournalPlace, _: Term) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    fn held(&mut self, place: JournalPlace) -> Result<Result<Vec<u8>, NotHeld>, String> {
        Ok(held(self, SEGMENT_BYTES, place).map(|(_, bytes)| bytes).ok_or(NotHeld::Nothing))
    }
}

#[test]
fn at_a_start_the_entry_that_follows_is_put_where_it_lay() {
    for entry in 0..BLOCKS.len() - 1 {
        let mut rig = Rig::new(BLOCKS);
        rig.rot(entry, 0..ENTRY_ALIGN_BYTES);
        let mut other = Rig::new(BLOCKS);
        let begin = Believed { end: Position(BLOCK), term: Term(1), crc: 0 };
        let before = rig.entries[..entry].iter();
        let before = before.map(|(_, end, crc)| Believed { end: *end, term: Term(1), crc: *crc });
        let mut damage = DamageAtStart {
            group: GROUP,
            segments: rig.files.keys().copied().map(SegmentId).collect(),
            segment_bytes: SEGMENT_BYTES,
            believed: [begin].into_iter().chain(before).collect(),
            proof: rig.entries[entry + 1].0,
            term: Term(1),
            truncation: None,
        };
        let mut written = Vec::new();
        let mut write = |segment: SegmentId, at, bytes: &[u8]| {
            written.push((Position(segment.0 * SEGMENT_BYTES + at), bytes.len() as u64));
            Ok(())
        };
        let mended = damage.mend(&mut rig, &mut other, &mut write);
        assert_eq!(mended, Ok(Mended::Entries(1)), "entry {entry}");
        let (position, end, _) = rig.entries[entry];
        assert_eq!(written, [(position, end.0 - position.0)], "entry {entry}");
    }
}
