//! Segment files of all kinds through recovery: any bytes; entries of any content with a right
//! checksum; and a valid journal with damage.

use hutong::journal::format::{Entry, Run, RunKind, SegmentHeader, checksum};
use hutong::journal::page::{MemoryPage, Page};
use hutong::journal::recovery::{Chain, JournalFiles, RecoverError, Recovered, recover};
use hutong::journal::segments::Segments;
use hutong::journal::source::SegmentSource;
use hutong::journal::{EntryStamp, Journal, JournalOutput, JournalTail};
use hutong::model::ids::{GroupId, NodeId, PartitionKey, SegmentId, WriteId};
use hutong::model::position::{LogIndex, Offset, Position, Term};
use hutong::model::time::Wallclock;

use crate::Numbers;

/// Small, so that a run takes microseconds. Recovery doesn't care.
const SEGMENT_BYTES: u64 = 64 << 10;
const SEGMENTS: u64 = 3;
const BLOCK: u64 = 4096;
const START: Position = Position(BLOCK);
const GROUP: GroupId = GroupId(3);
const NODE: NodeId = NodeId(7);

/// What the first byte of `data` chooses: arbitrary bytes, arbitrary entries, or damage.
pub fn journal_recover(data: &[u8]) {
    let mut numbers = Numbers(data);
    match numbers.byte() % 4 {
        0 => arbitrary_bytes(numbers),
        1 => arbitrary_entries(numbers),
        _ => damaged_journal(numbers),
    }
}

/// Segment files in memory.
struct Disk(Vec<Vec<u8>>);

impl Disk {
    fn empty() -> Disk {
        let segment = |segment| {
            let segment = SegmentId(segment);
            let header =
                SegmentHeader { group: GROUP, segment, segment_bytes: SEGMENT_BYTES, node: NODE };
            let mut file = header.encode().to_vec();
            file.resize(SEGMENT_BYTES as usize, 0);
            file
        };
        Disk((0..SEGMENTS).map(segment).collect())
    }

    fn write(&mut self, position: u64, bytes: &[u8]) {
        let (segment, at) = (position / SEGMENT_BYTES, (position % SEGMENT_BYTES) as usize);
        let Some(file) = self.0.get_mut(segment as usize) else { return };
        let fits = bytes.len().min(file.len() - at);
        file[at..at + fits].copy_from_slice(&bytes[..fits]);
    }

    fn at(&self, position: u64) -> u8 {
        self.0[(position / SEGMENT_BYTES) as usize][(position % SEGMENT_BYTES) as usize]
    }

    fn range(&self, from: Position, to: Position) -> &[u8] {
        let file = &self.0[(from.0 / SEGMENT_BYTES) as usize];
        &file[(from.0 % SEGMENT_BYTES) as usize..][..(to.0 - from.0) as usize]
    }

    /// Recovers, and hands back what was believed.
    fn recover(&mut self, chain: Option<Chain>) -> (Result<Recovered, RecoverError>, Vec<Seen>) {
        let segments: Vec<_> = (0..self.0.len() as u64).map(SegmentId).collect();
        let files = JournalFiles {
            group: GROUP,
            node: NODE,
            segment_bytes: SEGMENT_BYTES,
            segments: &segments,
            truncation: None,
        };
        let mut seen = Vec::new();
        let recovered = recover(&files, START, chain, self, |entry| {
            let _ = entry.runs().map(|(_, data)| entry.data(data).len()).sum::<usize>();
            seen.push(Seen::new(entry));
        });
        if let Ok(recovered) = &recovered {
            let end = seen.last().map_or(START, |seen: &Seen| seen.end);
            assert_eq!(recovered.tail.append, end, "the next entry goes behind the last believed");
        }
        (recovered, seen)
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
        let file = self.0.get(segment.0 as usize).ok_or("no such segment")?;
        let there = file.get(at as usize..).unwrap_or_default();
        let fits = there.len().min(into.len());
        into[..fits].copy_from_slice(&there[..fits]);
        into[fits..].fill(0);
        Ok(())
    }
}

/// An entry that was written or believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    position: Position,
    end: Position,
    crc: u32,
    flushed: Position,
}

impl Seen {
    fn new(entry: &Entry<'_>) -> Seen {
        Seen {
            position: entry.header.position,
            end: entry.end(),
            crc: entry.crc,
            flushed: entry.header.flushed,
        }
    }
}

/// Bytes that nobody made, behind good headers and, by choice, over the first of them.
fn arbitrary_bytes(mut numbers: Numbers<'_>) {
    let mut disk = Disk::empty();
    let over_header = numbers.byte() > 250;
    let chain = (numbers.byte() > 128).then(Chain::default);
    disk.write(if over_header { 0 } else { BLOCK }, numbers.0);
    let _ = disk.recover(chain);
}

/// Entries with the right place, chain and checksum, whatever else they hold.
fn arbitrary_entries(mut numbers: Numbers<'_>) {
    let mut disk = Disk::empty();
    let (mut position, mut index, mut previous_crc) = (START.0, 1u64, 0u32);
    while !numbers.is_empty() && position < SEGMENT_BYTES {
        let body_bytes = numbers.below(300).min(numbers.0.len() as u64) as usize;
        let mut entry = vec![0; 80 + body_bytes];
        entry[0..4].copy_from_slice(b"HTJE");
        entry[8..12].copy_from_slice(&(body_bytes as u32).to_le_bytes());
        entry[12..16].copy_from_slice(&u32::from(numbers.byte() % 8).to_le_bytes());
        entry[16..24].copy_from_slice(&position.to_le_bytes());
        entry[24..32].copy_from_slice(&index.to_le_bytes());
        entry[32..40].copy_from_slice(&u64::from(numbers.byte()).to_le_bytes());
        entry[40..48].copy_from_slice(&(numbers.below(1 << 17)).to_le_bytes());
        entry[56..60].copy_from_slice(&previous_crc.to_le_bytes());
        entry[60..64].copy_from_slice(&u32::from(numbers.byte() % 9).to_le_bytes());
        entry[80..].fill_with(|| numbers.byte());
        previous_crc = checksum(&entry[8..]);
        entry[4..8].copy_from_slice(&previous_crc.to_le_bytes());
        disk.write(position, &entry);
        position += BLOCK;
        index += 1;
    }
    let _ = disk.recover(Some(Chain::default()));
}

/// A journal as the writer makes it, with the last writes still in flight: all of it has landed.
fn valid_journal(numbers: &mut Numbers<'_>) -> (Disk, Vec<Seen>) {
    let segments = Segments::new(SEGMENT_BYTES, SegmentId(0), SegmentId(SEGMENTS));
    let tail = JournalTail { append: START, last_crc: 0 };
    let mut journal: Journal<MemoryPage> = Journal::new(GROUP, NODE, segments, tail, 1 << 20);
    let mut disk = Disk::empty();
    let mut written = Vec::new();
    let mut in_flight: Vec<WriteId> = Vec::new();
    for index in 1..=6 + numbers.below(12) {
        let run = Run {
            kind: RunKind::Records,
            partition: PartitionKey(1),
            bytes: numbers.below(12_000) as u32,
            batches: 1,
            base_offset: Offset(index as i64),
            last_offset: Offset(index as i64),
            max_timestamp: -1,
        };
        let stamp = EntryStamp {
            term: Term(1 + index / 5),
            index: LogIndex(index),
            leader: NODE,
            appended_at: Wallclock(0),
        };
        if journal.room(16 << 10).is_err() {
            break;
        }
        journal.append(stamp, &[run], |into| into.fill(index as u8));
        while let Some(output) = journal.poll_output() {
            if let JournalOutput::Write { write, segment, at, page } = output {
                let position = segment.0 * SEGMENT_BYTES + at;
                disk.write(position, page.bytes());
                in_flight.push(write);
                match Entry::read(page.bytes(), Position(position)) {
                    Some(entry) => written.push(Seen::new(&entry)),
                    None => assert!(
                        page.bytes().iter().all(|byte| *byte == 0),
                        "zeros begin the unused rest of a segment"
                    ),
                }
            }
        }
        // Writes complete in any order, and some not at all.
        while in_flight.len() > usize::from(numbers.byte() % 6) {
            let at = usize::from(numbers.byte()) % in_flight.len();
            journal.on_written(in_flight.remove(at));
        }
    }
    (disk, written)
}

fn damaged_journal(mut numbers: Numbers<'_>) {
    let (mut disk, written) = valid_journal(&mut numbers);
    let whole: Vec<Vec<u8>> =
        written.iter().map(|seen| disk.range(seen.position, seen.end).to_vec()).collect();
    while !numbers.is_empty() {
        damage(&mut disk, &mut numbers);
    }
    let intact = |at: usize| disk.range(written[at].position, written[at].end) == whole[at];
    let intact: Vec<bool> = (0..written.len()).map(intact).collect();
    let (recovered, seen) = disk.recover(Some(Chain::default()));
    assert!(written.starts_with(&seen), "only what was written is believed");
    let at = seen.last().map_or(START, |last| last.end);
    match recovered {
        Ok(_) => {
            let lost = written.iter().zip(&intact).skip(seen.len() + 1);
            let proof = |(later, intact): (&Seen, &bool)| *intact && later.flushed > at;
            assert!(!{ lost }.any(proof), "what was on disk is never cut");
        }
        Err(RecoverError::Damaged { position, .. }) => {
            assert_eq!(position, at);
            assert_ne!(intact.get(seen.len()), Some(&true), "what is called damaged is damaged");
        }
        Err(_) => {}
    }
}

/// Flips a byte, or puts one block in the place of another, or zeros.
fn damage(disk: &mut Disk, numbers: &mut Numbers<'_>) {
    let blocks = SEGMENTS * SEGMENT_BYTES / BLOCK;
    let block = numbers.below(blocks) * BLOCK;
    match numbers.byte() % 4 {
        0 | 1 => {
            // Headers and directories are in the first bytes of a block.
            let span = if numbers.byte() > 128 { 160 } else { BLOCK };
            let position = block + numbers.below(span);
            let byte = disk.at(position) ^ numbers.byte();
            disk.write(position, &[byte]);
        }
        2 => disk.write(block, &[0; BLOCK as usize]),
        _ => {
            let from = Position(numbers.below(blocks) * BLOCK);
            let copied = disk.range(from, Position(from.0 + BLOCK)).to_vec();
            disk.write(block, &copied);
        }
    }
}
