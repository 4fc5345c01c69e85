//! Which records are where, in a few bytes for each run of them.
//!
//! A run of tens of millions of records must fit into memory, so nothing is kept for each record:
//! neighbours in sequence and offset are one run, and a run is four small numbers, each as its
//! distance from what was to be expected. Batches of many records cost next to nothing, single
//! records of producers that take turns about five bytes each.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Records of one producer that follow each other, in sequence and in offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub producer: u32,
    /// The first record's.
    pub sequence: u64,
    /// The first record's.
    pub offset: i64,
    /// At least 1.
    pub count: u64,
}

impl Run {
    /// The offset after the last record.
    pub fn end(&self) -> i64 {
        self.offset + self.count as i64
    }

    /// The part that begins so many records later and has so many.
    pub fn part(&self, skip: u64, count: u64) -> Run {
        Run {
            producer: self.producer,
            sequence: self.sequence + skip,
            offset: self.offset + skip as i64,
            count,
        }
    }
}

/// Runs in the order in which they came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Runs {
    #[serde(with = "hex")]
    bytes: Vec<u8>,
    /// What the next run is told apart from: the end of the one before, and for each producer the
    /// sequence after its last.
    expected: Expected,
    /// The last run: it may still grow.
    last: Option<(u32, u64, i64, u64)>,
    records: u64,
    unordered: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Expected {
    offset: i64,
    sequences: Vec<u64>,
}

impl Expected {
    fn sequence(&self, producer: u32) -> u64 {
        self.sequences.get(producer as usize).copied().unwrap_or(0)
    }

    fn passed(&mut self, run: &Run) {
        let producer = run.producer as usize;
        if self.sequences.len() <= producer {
            self.sequences.resize(producer + 1, 0);
        }
        self.sequences[producer] = run.sequence + run.count;
        self.offset = run.end();
    }
}

impl Runs {
    /// Adds a run at the end.
    pub fn push(&mut self, run: Run) {
        self.records += run.count;
        if let Some(last) = self.last_run() {
            let goes_on = last.producer == run.producer
                && last.sequence + last.count == run.sequence
                && last.end() == run.offset;
            if goes_on {
                let grown = last.count + run.count;
                self.last = Some((last.producer, last.sequence, last.offset, grown));
                return;
            }
            self.unordered |= run.offset < last.end();
            self.encode(&last);
        }
        self.last = Some((run.producer, run.sequence, run.offset, run.count));
    }

    /// How many records.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whether each run lies behind the one before.
    pub fn is_ordered(&self) -> bool {
        !self.unordered
    }

    /// All runs, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        let mut rest = self.bytes.as_slice();
        let mut expected = Expected::default();
        let packed = std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let offset = expected.offset + unzigzag(varint(&mut rest));
            let producer = varint(&mut rest) as u32;
            let distance = unzigzag(varint(&mut rest));
            let sequence = expected.sequence(producer).wrapping_add_signed(distance);
            let run = Run { producer, sequence, offset, count: varint(&mut rest) };
            expected.passed(&run);
            Some(run)
        });
        packed.chain(self.last_run())
    }

    fn last_run(&self) -> Option<Run> {
        let (producer, sequence, offset, count) = self.last?;
        Some(Run { producer, sequence, offset, count })
    }

    fn encode(&mut self, run: &Run) {
        put_varint(&mut self.bytes, zigzag(run.offset - self.expected.offset));
        put_varint(&mut self.bytes, u64::from(run.producer));
        let distance = run.sequence.wrapping_sub(self.expected.sequence(run.producer)) as i64;
        put_varint(&mut self.bytes, zigzag(distance));
        put_varint(&mut self.bytes, run.count);
        self.expected.passed(run);
    }
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front; bits that are cut off are zeros.
fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else { break };
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

/// Numbers, kept as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges {
    /// By their starts, their ends. No two touch.
    ranges: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Adds a range; what is there already stays.
    pub fn insert(&mut self, range: Range<u64>) {
        let (mut start, mut end) = (range.start, range.end);
        if start >= end {
            return;
        }
        while let Some((&before, &before_end)) = self.ranges.range(..=end).next_back() {
            if before_end < start {
                break;
            }
            self.ranges.remove(&before);
            (start, end) = (start.min(before), end.max(before_end));
        }
        self.ranges.insert(start, end);
    }

    pub fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, &end)| number < end)
    }

    /// How many numbers.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }
}

/// Bytes in text.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        to.serialize_str(&text)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let digit = |byte: u8| {
            let value = char::from(byte).to_digit(16);
            value.ok_or_else(|| D::Error::custom("a digit is not hexadecimal"))
        };
        let pairs = text.as_bytes().chunks(2);
        let byte = |pair: &[u8]| match pair {
            [high, low] => Ok((digit(*high)? << 4 | digit(*low)?) as u8),
            _ => Err(D::Error::custom("half a byte is missing")),
        };
        pairs.map(byte).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(producer: u32, sequence: u64, offset: i64, count: u64) -> Run {
        Run { producer, sequence, offset, count }
    }

    #[test]
    fn runs_come_back_as_they_went_in() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let (mut runs, mut plain) = (Runs::default(), Vec::new());
            for _ in 0..random.usize(0..50) {
                let bits = random.u32(1..50);
                let (sequence, offset) = (random.u64(0..1 << bits), random.i64(0..1 << bits));
                let next = run(random.u32(0..4), sequence, offset, random.u64(1..500));
                runs.push(next);
                plain.push(next);
            }
            assert_eq!(runs.iter().collect::<Vec<_>>(), plain);
            assert_eq!(runs.records(), plain.iter().map(|run| run.count).sum::<u64>());
            let text = serde_json::to_string(&runs).unwrap();
            let back: Runs = serde_json::from_str(&text).unwrap();
            assert_eq!(back.iter().collect::<Vec<_>>(), plain);
        }
    }

    #[test]
    fn neighbours_are_one_run_and_turns_cost_little() {
        let mut runs = Runs::default();
        for sequence in 0..1000 {
            runs.push(run(3, sequence, 10 + sequence as i64, 1));
        }
        assert_eq!(runs.iter().collect::<Vec<_>>(), [run(3, 0, 10, 1000)]);
        let mut runs = Runs::default();
        for number in 0..30_000u64 {
            runs.push(run((number % 3) as u32, number / 3, number as i64, 1));
        }
        assert!(runs.bytes.len() <= 4 * 30_000, "{}", runs.bytes.len());
        assert!(runs.is_ordered());
        runs.push(run(0, 10_000, 5, 1));
        assert!(!runs.is_ordered());
    }

    #[test]
    fn ranges_are_what_a_set_is() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..300 {
            let (mut ranges, mut set) = (Ranges::default(), std::collections::BTreeSet::new());
            for _ in 0..random.usize(0..20) {
                let start = random.u64(0..60);
                let range = start..start + random.u64(0..8);
                set.extend(range.clone());
                ranges.insert(range);
            }
            assert!((0..80).all(|number| ranges.contains(number) == set.contains(&number)));
            assert_eq!(ranges.len(), set.len() as u64);
            assert_eq!(ranges.iter().flatten().collect::<Vec<_>>(), Vec::from_iter(set));
            let ends: Vec<_> = ranges.iter().collect();
            assert!(ends.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
