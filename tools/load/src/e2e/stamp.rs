//! What `e2e` writes into records: whose they are, and when they were due.
//!
//! The first record of a batch carries it at the front of its value, for all of the batch: they
//! are due, sent and received together.
//!
//! ```text
//! 0 run u64    8 due u64: nanoseconds of the run's clock    16 the rest of the value
//! ```

use hutong::kafka::crc::crc32c;
use hutong::kafka::record_batch::BATCH_HEADER_BYTES;

/// Bytes of a value that a stamp takes.
pub const STAMP_BYTES: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;

/// Stamps a whole uncompressed batch, whose first value has room for it, and renews its crc.
pub fn stamp(batch: &mut [u8], run: u64, due: u64) {
    let at = first_value(batch).expect("we have built it");
    batch[at..at + 8].copy_from_slice(&run.to_be_bytes());
    batch[at + 8..at + 16].copy_from_slice(&due.to_be_bytes());
    let crc = crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// When the records of a whole uncompressed batch were due, if they are of this run.
pub fn read_stamp(batch: &[u8], run: u64) -> Option<u64> {
    let stamp = batch.get(first_value(batch)?..)?.first_chunk::<STAMP_BYTES>()?;
    let (found, due) = stamp.split_at(8);
    (found == run.to_be_bytes()).then(|| u64::from_be_bytes(due.try_into().expect("8 bytes")))
}

/// Where the first record's value begins, if it has room for a stamp.
fn first_value(batch: &[u8]) -> Option<usize> {
    let mut at = BATCH_HEADER_BYTES;
    let _record_bytes = varint(batch, &mut at)?;
    // Its attributes.
    at += 1;
    let _timestamp_delta = varint(batch, &mut at)?;
    let _offset_delta = varint(batch, &mut at)?;
    let key_bytes = varint(batch, &mut at)?;
    at = at.checked_add(usize::try_from(key_bytes.max(0)).ok()?)?;
    let value_bytes = varint(batch, &mut at)?;
    (value_bytes >= STAMP_BYTES as i64).then_some(at)
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use hutong::kafka::record_batch::{Producer, build_batch, crc_matches};

    #[test]
    fn a_stamp_is_read_back_and_leaves_the_batch_whole() {
        for (key, bytes) in [(None, 16), (Some(&b"key-7"[..]), 100), (Some(&[7; 300][..]), 5000)] {
            let value = vec![3; bytes];
            let mut batch = build_batch(&[(key, &value), (None, b"x")], 5, Producer::NONE);
            stamp(&mut batch, 77, 123_456_789);
            assert!(crc_matches(&batch));
            assert_eq!(read_stamp(&batch, 77), Some(123_456_789));
            assert_eq!(read_stamp(&batch, 78), None, "another run's");
        }
    }

    #[test]
    fn records_of_others_have_none() {
        let short = build_batch(&[(None, b"short")], 5, Producer::NONE);
        assert_eq!(read_stamp(&short, 0), None);
        for end in 0..short.len() {
            assert_eq!(read_stamp(&short[..end], 0), None);
        }
        assert_eq!(read_stamp(&[0xff; 200], 0), None);
    }
}
