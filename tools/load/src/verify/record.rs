//! The records that are sent: each says who sent it, where to, and which one it is, and carries a
//! crc over all of that and its filling.
//!
//! ```text
//!  0 magic "htv1"     4 crc u32 (of all that follows)     8 run u64      16 producer u32
//! 20 partition u32   24 sequence u64                      32 length u32   36 filling
//! ```

use hutong::kafka::crc::crc32c;
use hutong::kafka::record_batch::{BATCH_HEADER_BYTES, Producer, build_batch};

const MAGIC: &[u8; 4] = b"htv1";
/// A record without filling.
pub const RECORD_BYTES_MIN: usize = 36;

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// A random number for each run, so that many can share a topic.
    pub run: u64,
    pub producer: u32,
    pub partition: u32,
    /// Counts the producer's records for the partition.
    pub sequence: u64,
}

/// What a value turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Ours(Stamp),
    /// It says that it is of this run, and is not as it was sent.
    Damaged,
    /// Another run's, or another program's.
    Foreign,
}

impl Stamp {
    /// The value of this record. Equal stamps and sizes give equal bytes.
    fn write(&self, bytes: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(bytes);
        value.extend_from_slice(MAGIC);
        value.extend_from_slice(&[0; 4]);
        value.extend_from_slice(&self.run.to_be_bytes());
        value.extend_from_slice(&self.producer.to_be_bytes());
        value.extend_from_slice(&self.partition.to_be_bytes());
        value.extend_from_slice(&self.sequence.to_be_bytes());
        value.extend_from_slice(&(bytes as u32).to_be_bytes());
        value.resize(bytes, 0);
        let seed = self.sequence ^ u64::from(self.producer) << 48 ^ u64::from(self.partition) << 32;
        fastrand::Rng::with_seed(self.run ^ seed).fill(&mut value[RECORD_BYTES_MIN..]);
        let crc = crc32c(&value[8..]);
        value[4..8].copy_from_slice(&crc.to_be_bytes());
        value
    }

    /// Reads a value that lay in this partition.
    fn read(value: &[u8], run: u64, partition: u32) -> Value {
        let number = |at: usize| {
            let bytes = value.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
        };
        let long = |at: usize| u64::from(number(at)) << 32 | u64::from(number(at + 4));
        if !value.starts_with(MAGIC) || long(8) != run {
            return Value::Foreign;
        }
        let stamp = Stamp { run, producer: number(16), partition, sequence: long(24) };
        let is_whole = value.len() >= RECORD_BYTES_MIN
            && crc32c(&value[8..]) == number(4)
            && number(32) as usize == value.len()
            && number(20) == partition;
        if is_whole { Value::Ours(stamp) } else { Value::Damaged }
    }
}

/// A batch of `count` records that begins with this one.
pub fn batch(first: Stamp, count: u32, bytes: usize, now_ms: i64, producer: Producer) -> Vec<u8> {
    let stamp = |skip| Stamp { sequence: first.sequence + skip, ..first };
    let values: Vec<Vec<u8>> = (0..u64::from(count)).map(|skip| stamp(skip).write(bytes)).collect();
    let records: Vec<(Option<&[u8]>, &[u8])> =
        values.iter().map(|value| (None, value.as_slice())).collect();
    build_batch(&records, now_ms, producer)
}

/// The records of an uncompressed batch, with their distance from its base offset. Ends at the
/// first that can't be read.
pub fn values(batch: &[u8], run: u64, partition: u32) -> impl Iterator<Item = (i64, Value)> + '_ {
    let mut rest = batch.get(BATCH_HEADER_BYTES..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        let mut record = rest.get(..length)?;
        rest = &rest[length..];
        // Attributes and timestamp.
        record = record.get(1..)?;
        varint(&mut record)?;
        let delta = varint(&mut record)?;
        let key = varint(&mut record)?;
        record = record.get(usize::try_from(key).unwrap_or(0)..)?;
        let value = usize::try_from(varint(&mut record)?).unwrap_or(0);
        Some((delta, Stamp::read(record.get(..value)?, run, partition)))
    })
}

/// A signed varint, zigzag.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use hutong::kafka::record_batch::crc_matches;

    const FIRST: Stamp = Stamp { run: 99, producer: 3, partition: 7, sequence: 1000 };

    #[test]
    fn a_batch_reads_as_it_was_written() {
        for bytes in [RECORD_BYTES_MIN, 100, 5000] {
            let batch = batch(FIRST, 300, bytes, 0, Producer::NONE);
            assert!(crc_matches(&batch));
            let read: Vec<_> = values(&batch, 99, 7).collect();
            let expected: Vec<_> = (0..300)
                .map(|n| (n, Value::Ours(Stamp { sequence: 1000 + n as u64, ..FIRST })))
                .collect();
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let value = FIRST.write(60);
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 0x10;
            // Without its magic and run it is not known as ours: it will be missed as lost.
            let named = (0..4).contains(&at) || (8..16).contains(&at);
            let expected = if named { Value::Foreign } else { Value::Damaged };
            assert_eq!(Stamp::read(&damaged, 99, 7), expected, "byte {at}");
        }
        assert_eq!(Stamp::read(&value[..59], 99, 7), Value::Damaged);
        assert_eq!(Stamp::read(&value, 99, 8), Value::Damaged, "in another partition");
        assert_eq!(Stamp::read(&value, 98, 7), Value::Foreign);
        assert_eq!(Stamp::read(b"", 98, 7), Value::Foreign);
    }
}
