//! Looking for a record inside a batch, for ListOffsets.
//!
//! The records of a compressed batch are walked while they are decompressed. A topic may take
//! batches without a look inside, so every step is checked; where a record makes no sense, or too
//! much comes out of a batch, the answer is what the batch's header says.

use std::io::{self, BufRead, BufReader, ErrorKind};

use super::compression::{self, DECOMPRESSED_PIECE_BYTES};
use super::record_batch::{BATCH_HEADER_BYTES, BatchHeader, CODEC_NONE};
use super::records::take_record;

/// The first record whose timestamp is `timestamp` (milliseconds since 1970) or later: its offset
/// and its timestamp. `None` if the batch has none, or is no whole batch.
///
/// `bytes_left` bounds what is decompressed, and is counted down. Of a batch that can't be walked
/// to that record the answer is its base offset and base timestamp: at or before the record in
/// question, so a consumer that starts there misses nothing and may see some earlier records.
pub fn find_timestamp(batch: &[u8], timestamp: i64, bytes_left: &mut u64) -> Option<(i64, i64)> {
    let header = whole_batch(batch)?;
    if header.max_timestamp < timestamp {
        return None;
    }
    if header.append_time() {
        return Some((header.base_offset, header.max_timestamp));
    }
    let mut found = None;
    let walked = walk(&header, batch, bytes_left, |record| {
        found = Some(record).filter(|(_, at)| *at >= timestamp);
        found.is_some()
    });
    match walked {
        Ok(()) => found,
        Err(_) => Some((header.base_offset, header.base_timestamp)),
    }
}

/// The first record that has the batch's latest timestamp: its offset and that timestamp.
/// `None` if it is no whole batch, or has no record.
///
/// Of a batch that can't be walked, the answer is its last offset and max timestamp, as Kafka's
/// brokers answered before they looked inside.
pub fn max_timestamp_record(batch: &[u8], bytes_left: &mut u64) -> Option<(i64, i64)> {
    let header = whole_batch(batch)?;
    if header.append_time() {
        return Some((header.base_offset, header.max_timestamp));
    }
    let mut best: Option<(i64, i64)> = None;
    let walked = walk(&header, batch, bytes_left, |record| {
        if best.is_none_or(|best| record.1 > best.1) {
            best = Some(record);
        }
        record.1 >= header.max_timestamp
    });
    match walked {
        Ok(()) => best,
        Err(_) => Some((header.last_offset(), header.max_timestamp)),
    }
}

fn whole_batch(batch: &[u8]) -> Option<BatchHeader> {
    BatchHeader::read(batch).filter(|header| header.batch_bytes <= batch.len())
}

/// Hands offset and timestamp of each record to `visit`, until that has seen enough.
fn walk(
    header: &BatchHeader,
    batch: &[u8],
    bytes_left: &mut u64,
    mut visit: impl FnMut((i64, i64)) -> bool,
) -> io::Result<()> {
    let bytes = &batch[BATCH_HEADER_BYTES..header.batch_bytes];
    if header.codec() == CODEC_NONE {
        return walk_records(header, bytes, &mut visit);
    }
    let records = compression::reader(header.codec(), bytes, bytes_left)
        .ok_or_else(|| io::Error::from(ErrorKind::InvalidData))?;
    walk_records(header, BufReader::with_capacity(DECOMPRESSED_PIECE_BYTES, records), &mut visit)
}

fn walk_records(
    header: &BatchHeader,
    mut records: impl BufRead,
    visit: &mut impl FnMut((i64, i64)) -> bool,
) -> io::Result<()> {
    for _ in 0..header.record_count {
        if visit(offset_and_timestamp(header, &mut records)?) {
            break;
        }
    }
    Ok(())
}

/// Takes a record off the front: its offset and its timestamp.
fn offset_and_timestamp(
    header: &BatchHeader,
    records: &mut impl BufRead,
) -> io::Result<(i64, i64)> {
    let senseless = || io::Error::from(ErrorKind::InvalidData);
    let deltas = take_record(records)?;
    let offset = header.base_offset.checked_add(deltas.offset).ok_or_else(senseless)?;
    let within = header.base_offset..=header.last_offset();
    let timestamp = header.base_timestamp.checked_add(deltas.timestamp).ok_or_else(senseless)?;
    within.contains(&offset).then_some((offset, timestamp)).ok_or_else(senseless)
}
