//! Any bytes as the records of a batch of any codec: lookups by time decompress and walk them.

use hutong::kafka::record_batch::{
    BATCH_HEADER_BYTES, Producer, build_batch, find_timestamp, max_timestamp_record,
};

use crate::Numbers;

/// So much may come out of a batch before the lookup gives up.
const DECOMPRESSED_BYTES_MAX: u64 = 1 << 18;

/// Looks for two records in a batch with the codec that the first byte names, the number of
/// records that the second does, and the rest of `data` as records.
pub fn record_lookup(data: &[u8]) {
    let mut numbers = Numbers(data);
    let codec = numbers.byte() & 7;
    let count = u32::from(numbers.byte());
    let mut batch = build_batch(&[(None, b"")], 1000, Producer::NONE);
    batch.truncate(BATCH_HEADER_BYTES);
    batch.extend_from_slice(numbers.0);
    let length = batch.len() as u32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[22] = codec;
    batch[23..27].copy_from_slice(&count.saturating_sub(1).to_be_bytes());
    batch[35..43].copy_from_slice(&2000i64.to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    for timestamp in [1000, 2000] {
        let mut left = DECOMPRESSED_BYTES_MAX;
        let found = find_timestamp(&batch, timestamp, &mut left);
        assert!(left <= DECOMPRESSED_BYTES_MAX);
        assert!(found.is_none_or(|(offset, _)| (0..=255).contains(&offset)), "{found:?}");
    }
    let latest = max_timestamp_record(&batch, &mut DECOMPRESSED_BYTES_MAX.clone());
    assert!(latest.is_none_or(|(offset, _)| (0..=255).contains(&offset)), "{latest:?}");
}
