//! Looking for a record inside a batch, for ListOffsets.
//!
//! Walks the records of uncompressed batches only. A producer's records are taken without being
//! looked at, so every step is checked; the walk ends at the first record that makes no sense.

use super::record_batch::{BATCH_HEADER_BYTES, BatchHeader, CODEC_NONE};

/// The first record whose timestamp is `timestamp` (milliseconds since 1970) or later: its offset
/// and its timestamp. `None` if the batch has none, or is no whole batch.
///
/// Of a compressed batch with such a record, the answer is the batch's base offset and base
/// timestamp: at or before the record in question, so a consumer that starts there misses
/// nothing and may see some earlier records of the same batch.
pub fn find_timestamp(batch: &[u8], timestamp: i64) -> Option<(i64, i64)> {
    let header = whole_batch(batch)?;
    if header.max_timestamp < timestamp {
        return None;
    }
    if header.append_time() {
        return Some((header.base_offset, header.max_timestamp));
    }
    if header.codec() != CODEC_NONE {
        return Some((header.base_offset, header.base_timestamp));
    }
    records(&header, batch).find(|(_, at)| *at >= timestamp)
}

/// The first record that has the batch's latest timestamp: its offset and that timestamp.
/// `None` if it is no whole batch, or has no readable record.
///
/// Of a compressed batch, the answer is its last offset and max timestamp, as Kafka's brokers
/// answered before they looked inside.
pub fn max_timestamp_record(batch: &[u8]) -> Option<(i64, i64)> {
    let header = whole_batch(batch)?;
    if header.append_time() {
        return Some((header.base_offset, header.max_timestamp));
    }
    if header.codec() != CODEC_NONE {
        return Some((header.last_offset(), header.max_timestamp));
    }
    // Of equals `max_by_key` would take the last.
    records(&header, batch).reduce(|best, next| if next.1 > best.1 { next } else { best })
}

fn whole_batch(batch: &[u8]) -> Option<BatchHeader> {
    BatchHeader::read(batch).filter(|header| header.batch_bytes <= batch.len())
}

/// Offset and timestamp of each record of an uncompressed batch.
fn records<'a>(
    header: &BatchHeader,
    batch: &'a [u8],
) -> impl Iterator<Item = (i64, i64)> + use<'a> {
    let mut rest = &batch[BATCH_HEADER_BYTES..header.batch_bytes];
    let mut left = header.record_count;
    let (base_offset, base_timestamp) = (header.base_offset, header.base_timestamp);
    std::iter::from_fn(move || {
        if left <= 0 {
            return None;
        }
        left -= 1;
        let record_bytes = usize::try_from(take_varint(&mut rest)?).ok()?;
        let (mut record, behind) = rest.split_at_checked(record_bytes)?;
        rest = behind;
        let (_attributes, fields) = record.split_first()?;
        record = fields;
        let timestamp_delta = take_varint(&mut record)?;
        let offset_delta = take_varint(&mut record)?;
        Some((base_offset.checked_add(offset_delta)?, base_timestamp.checked_add(timestamp_delta)?))
    })
}

/// A signed varint of at most 64 bits off the front.
fn take_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}
