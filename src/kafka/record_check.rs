//! Whether a batch holds the records that its header says, before it gets its offsets.
//!
//! A header that names more or fewer records than there are would move its partition's end by a
//! number that a client made up. So the records are walked, as Kafka walks them; those of a
//! compressed batch while they are decompressed, a piece at a time, up to the first that is wrong.

use std::io::{self, BufRead, BufReader, ErrorKind};

use super::compression::{self, DECOMPRESSED_PIECE_BYTES};
use super::record_batch::{BATCH_HEADER_BYTES, BatchError, BatchHeader, CODEC_NONE};
use super::records::take_record;

/// Checks that there are as many records as the header says, with offsets one after the other, and
/// nothing behind them. `batch` is a whole batch whose header was found good.
///
/// `bytes_left` bounds what is decompressed, and is counted down, also when the batch is refused.
pub fn check_records(
    header: &BatchHeader,
    batch: &[u8],
    bytes_left: &mut u64,
) -> Result<(), BatchError> {
    let bytes = &batch[BATCH_HEADER_BYTES..header.batch_bytes];
    if header.codec() == CODEC_NONE {
        return walk(header.record_count, bytes, 0);
    }
    let claimed = header.record_count;
    let bytes_max = *bytes_left;
    let records = compression::reader(header.codec(), bytes, bytes_left)
        .ok_or(BatchError::BadRecord { claimed, found: 0 })?;
    walk(claimed, BufReader::with_capacity(DECOMPRESSED_PIECE_BYTES, records), bytes_max)
}

/// Walks all records; `bytes_max` is for the error.
fn walk(claimed: i32, mut records: impl BufRead, bytes_max: u64) -> Result<(), BatchError> {
    let failed = |error: io::Error, otherwise| match error.kind() {
        ErrorKind::FileTooLarge => BatchError::TooLargeInside { bytes_max },
        _ => otherwise,
    };
    for found in 0..claimed {
        let bad = BatchError::BadRecord { claimed, found };
        let record = take_record(&mut records).map_err(|error| failed(error, bad))?;
        if record.offset != i64::from(found) {
            return Err(bad);
        }
    }
    let more = BatchError::MoreRecords { claimed };
    let rest = records.fill_buf().map_err(|error| failed(error, more))?;
    if rest.is_empty() { Ok(()) } else { Err(more) }
}
