//! Building record batches: uncompressed, for tests, tools and the broker's own records.

use super::crc::crc32c;
use super::record_batch::{ATTRIBUTES_AT, BATCH_HEADER_BYTES, CRC_AT, LENGTH_PREFIX_BYTES};

/// Who sends a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The producer id, or -1.
    pub id: i64,
    /// Its epoch, or -1.
    pub epoch: i16,
    /// The sequence number of the batch's first record, or -1.
    pub base_sequence: i32,
}

impl Producer {
    /// A producer that is not idempotent.
    pub const NONE: Producer = Producer { id: -1, epoch: -1, base_sequence: -1 };
}

/// A record to be put into a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
    /// Its timestamp minus the batch's base timestamp, in milliseconds.
    pub timestamp_delta_ms: i64,
}

/// A valid uncompressed batch of (key, value) records, all with the timestamp `base_timestamp`.
/// Base offset 0, leader epoch -1.
pub fn build_batch(
    records: &[(Option<&[u8]>, &[u8])],
    base_timestamp: i64,
    producer: Producer,
) -> Vec<u8> {
    let records = records.iter().map(|&(key, value)| NewRecord {
        key,
        value: Some(value),
        timestamp_delta_ms: 0,
    });
    build(records, base_timestamp, producer)
}

/// The same with records that have timestamps of their own and may have null values.
pub fn build_timed_batch(
    records: &[NewRecord<'_>],
    base_timestamp: i64,
    producer: Producer,
) -> Vec<u8> {
    build(records.iter().copied(), base_timestamp, producer)
}

fn build<'a>(
    records: impl Iterator<Item = NewRecord<'a>>,
    base_timestamp: i64,
    producer: Producer,
) -> Vec<u8> {
    let mut batch = vec![0; BATCH_HEADER_BYTES];
    let mut record_bytes = Vec::new();
    let mut count = 0i32;
    let mut max_timestamp = base_timestamp;
    for record in records {
        record_bytes.clear();
        put_record(&mut record_bytes, &record, count);
        put_varint(&mut batch, record_bytes.len() as i64);
        batch.extend_from_slice(&record_bytes);
        max_timestamp = max_timestamp.max(base_timestamp + record.timestamp_delta_ms);
        count += 1;
    }
    let length = (batch.len() - LENGTH_PREFIX_BYTES) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&base_timestamp.to_be_bytes());
    batch[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    batch[43..51].copy_from_slice(&producer.id.to_be_bytes());
    batch[51..53].copy_from_slice(&producer.epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&producer.base_sequence.to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn put_record(out: &mut Vec<u8>, record: &NewRecord<'_>, offset_delta: i32) {
    // No attributes of single records are defined.
    out.push(0);
    put_varint(out, record.timestamp_delta_ms);
    put_varint(out, i64::from(offset_delta));
    for field in [record.key, record.value] {
        put_varint(out, field.map_or(-1, |bytes| bytes.len() as i64));
        out.extend_from_slice(field.unwrap_or_default());
    }
    // No headers.
    put_varint(out, 0);
}

/// A signed varint: zigzag, so that small negative numbers are short, too.
fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
