//! Record batches, magic 2: reading and checking their headers, and the few fields a broker sets.
//!
//! ```text
//!  0 base offset i64        8 length i32 (of all that follows)    12 leader epoch i32
//! 16 magic i8              17 crc u32 (of all that follows)       21 attributes i16
//! 23 last offset delta i32 27 base timestamp i64                  35 max timestamp i64
//! 43 producer id i64       51 producer epoch i16                  53 base sequence i32
//! 57 record count i32      61 records
//! ```
//!
//! Base offset and leader epoch lie before what the crc covers, so they are set without touching
//! it. What the records themselves are is another matter: `record_check` and `record_search`.

use std::ops::Range;

use thiserror::Error;

use super::crc::crc32c;
use super::error_code::ErrorCode;
use super::records::RECORD_BYTES_MIN;

pub use super::batch_builder::{NewRecord, Producer, build_batch, build_timed_batch};
pub use super::record_check::check_records;
pub use super::record_search::{find_timestamp, max_timestamp_record};

/// The bytes of a batch before its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// The bytes that a batch's length field does not count: base offset and the field itself.
pub(super) const LENGTH_PREFIX_BYTES: usize = 12;
pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
pub(super) const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

const CODEC_BITS: i16 = 0x07;
const APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;

/// The codec of batches that are not compressed.
pub const CODEC_NONE: u8 = 0;
/// The codec that only Produce 7 and Fetch 10 and later may carry.
pub const CODEC_ZSTD: u8 = 4;

/// The fields before the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: i64,
    /// The whole batch, from its base offset to its last record. At least `BATCH_HEADER_BYTES`.
    pub batch_bytes: usize,
    /// The epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// The format's version: always 2.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec, kind of timestamp, transactional, control.
    pub attributes: i16,
    /// The offset of the last record minus that of the first.
    pub last_offset_delta: i32,
    /// The timestamp that the records' deltas add to, in milliseconds since 1970.
    pub base_timestamp: i64,
    /// The latest timestamp of a record.
    pub max_timestamp: i64,
    /// The idempotent producer's id, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// The sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// How many records the batch says it has.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads a header. `None` if there are fewer than `BATCH_HEADER_BYTES`, if the magic is not
    /// 2, or if the length is less than a header's. The batch itself may be longer than `bytes`.
    #[inline]
    pub fn read(bytes: &[u8]) -> Option<BatchHeader> {
        let header = bytes.first_chunk::<BATCH_HEADER_BYTES>()?;
        let magic = header[MAGIC_AT] as i8;
        let length = usize::try_from(i32_at(header, 8)).ok()?;
        let batch_bytes = length + LENGTH_PREFIX_BYTES;
        if magic != 2 || batch_bytes < BATCH_HEADER_BYTES {
            return None;
        }
        Some(BatchHeader {
            base_offset: i64_at(header, 0),
            batch_bytes,
            leader_epoch: i32_at(header, 12),
            magic,
            crc: i32_at(header, CRC_AT) as u32,
            attributes: i16_at(header, ATTRIBUTES_AT),
            last_offset_delta: i32_at(header, 23),
            base_timestamp: i64_at(header, 27),
            max_timestamp: i64_at(header, MAX_TIMESTAMP_AT),
            producer_id: i64_at(header, 43),
            producer_epoch: i16_at(header, 51),
            base_sequence: i32_at(header, 53),
            record_count: i32_at(header, 57),
        })
    }

    /// The compression: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd; 5 to 7 mean nothing.
    pub fn codec(&self) -> u8 {
        (self.attributes & CODEC_BITS) as u8
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether it holds a transaction's marker and no data.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether `max_timestamp` is the time of the append, and with it every record's timestamp.
    pub fn append_time(&self) -> bool {
        self.attributes & APPEND_TIME_BIT != 0
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }
}

#[inline]
fn i16_at(header: &[u8; BATCH_HEADER_BYTES], at: usize) -> i16 {
    i16::from_be_bytes(std::array::from_fn(|i| header[at + i]))
}

#[inline]
fn i32_at(header: &[u8; BATCH_HEADER_BYTES], at: usize) -> i32 {
    i32::from_be_bytes(std::array::from_fn(|i| header[at + i]))
}

#[inline]
fn i64_at(header: &[u8; BATCH_HEADER_BYTES], at: usize) -> i64 {
    i64::from_be_bytes(std::array::from_fn(|i| header[at + i]))
}

/// Why a producer's records are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Magic 0 or 1.
    #[error("record batches of magic {0} are not supported")]
    OldFormat(i8),
    /// A magic that doesn't exist.
    #[error("record batches of magic {0} are unknown")]
    UnknownFormat(i8),
    /// Fewer bytes than a batch's header, or than the batch says it has.
    #[error("the record batch is cut off")]
    Truncated,
    /// The length field says less than a header takes.
    #[error("the record batch says it is shorter than its own header")]
    TooShort,
    /// Bytes behind the batch: only one batch is allowed for each partition.
    #[error("a partition's records must be exactly one record batch")]
    MoreThanOne,
    /// The batch is larger than the topic allows.
    #[error("the record batch has {bytes} bytes, the topic allows {bytes_max}")]
    TooLarge {
        /// The batch's size.
        bytes: usize,
        /// The topic's bound.
        bytes_max: usize,
    },
    /// The crc doesn't match.
    #[error("the record batch's crc does not match its bytes")]
    Crc,
    /// The number of records is not positive, or more than the bytes can hold.
    #[error("the record batch can't have {0} records")]
    RecordCount(i32),
    /// The last offset delta is not the number of records minus one.
    #[error("the record batch's offsets are not those of {0} records in a row")]
    OffsetDelta(i32),
    /// A record that isn't there, or makes no sense, or has not the offset that comes next.
    #[error("the record batch says it has {claimed} records, but only {found} could be read")]
    BadRecord {
        /// What the header says.
        claimed: i32,
        /// Records that were as they should be, before the first that was not.
        found: i32,
    },
    /// Bytes behind the last record.
    #[error("the record batch says it has {claimed} records, but more comes behind them")]
    MoreRecords {
        /// What the header says.
        claimed: i32,
    },
    /// More comes out of its compression than is taken.
    #[error("the record batch has more than {bytes_max} bytes when decompressed")]
    TooLargeInside {
        /// What was still allowed to the request.
        bytes_max: u64,
    },
    /// Only brokers write control batches.
    #[error("a producer can't send a control batch")]
    Control,
    /// An idempotent producer without a sequence number.
    #[error("the record batch has a producer id and no sequence number")]
    Sequence,
    /// A codec that doesn't exist, or zstd in a version that may not carry it.
    #[error("compression codec {0} is not supported in this version of the request")]
    Codec(u8),
}

impl BatchError {
    /// The code for the client, as Kafka answers the same fault.
    pub fn code(&self) -> ErrorCode {
        match self {
            BatchError::OldFormat(_) => ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
            BatchError::TooLarge { .. } | BatchError::TooLargeInside { .. } => {
                ErrorCode::MESSAGE_TOO_LARGE
            }
            BatchError::Codec(_) => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            BatchError::Crc | BatchError::TooShort => ErrorCode::CORRUPT_MESSAGE,
            BatchError::UnknownFormat(_)
            | BatchError::Truncated
            | BatchError::MoreThanOne
            | BatchError::RecordCount(_)
            | BatchError::OffsetDelta(_)
            | BatchError::BadRecord { .. }
            | BatchError::MoreRecords { .. }
            | BatchError::Control
            | BatchError::Sequence => ErrorCode::INVALID_RECORD,
        }
    }
}

/// Checks what a producer sent for a partition: exactly one batch of magic 2 that fills
/// `records`, with a crc that matches and counts that agree.
///
/// `zstd_allowed` says whether the request's version may carry zstd (Produce 7 and later).
/// Whether transactional batches are allowed is left to the caller, see
/// [`BatchHeader::is_transactional`], and so is a look at the records, see [`check_records`].
#[inline]
pub fn check(
    records: &[u8],
    batch_bytes_max: usize,
    zstd_allowed: bool,
) -> Result<BatchHeader, BatchError> {
    let Some(header) = BatchHeader::read(records) else {
        return Err(unreadable(records));
    };
    if header.batch_bytes > batch_bytes_max {
        return Err(BatchError::TooLarge { bytes: header.batch_bytes, bytes_max: batch_bytes_max });
    }
    if header.batch_bytes > records.len() {
        return Err(BatchError::Truncated);
    }
    if header.batch_bytes < records.len() {
        return Err(BatchError::MoreThanOne);
    }
    if crc32c(&records[ATTRIBUTES_AT..]) != header.crc {
        return Err(BatchError::Crc);
    }
    check_fields(&header, zstd_allowed)?;
    Ok(header)
}

/// Whether a whole batch, and nothing behind it, is what its crc was made of.
pub fn crc_matches(batch: &[u8]) -> bool {
    BatchHeader::read(batch).is_some_and(|header| crc32c(&batch[ATTRIBUTES_AT..]) == header.crc)
}

/// Why no header could be read.
#[cold]
fn unreadable(records: &[u8]) -> BatchError {
    match records.get(MAGIC_AT).map(|magic| *magic as i8) {
        None => BatchError::Truncated,
        Some(magic @ 0..=1) => BatchError::OldFormat(magic),
        Some(2) if records.len() < BATCH_HEADER_BYTES => BatchError::Truncated,
        Some(2) => BatchError::TooShort,
        Some(magic) => BatchError::UnknownFormat(magic),
    }
}

#[inline]
fn check_fields(header: &BatchHeader, zstd_allowed: bool) -> Result<(), BatchError> {
    let codec = header.codec();
    if codec > CODEC_ZSTD || (codec == CODEC_ZSTD && !zstd_allowed) {
        return Err(BatchError::Codec(codec));
    }
    if header.is_control() {
        return Err(BatchError::Control);
    }
    let count = header.record_count;
    let records_bytes = header.batch_bytes - BATCH_HEADER_BYTES;
    let too_many = codec == CODEC_NONE && count as usize > records_bytes / RECORD_BYTES_MIN;
    if count <= 0 || too_many {
        return Err(BatchError::RecordCount(count));
    }
    if header.last_offset_delta != count - 1 {
        return Err(BatchError::OffsetDelta(count));
    }
    if header.producer_id >= 0 && header.base_sequence < 0 {
        return Err(BatchError::Sequence);
    }
    Ok(())
}

/// Gives a batch its place in the log. The crc doesn't cover these fields and stays valid.
///
/// # Panics
/// If `batch` has fewer than `BATCH_HEADER_BYTES`.
#[inline]
pub fn set_base_offset_and_epoch(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    assert!(batch.len() >= BATCH_HEADER_BYTES, "only checked batches get an offset");
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Stamps a batch with the time of its append (milliseconds since 1970) and renews its crc, so
/// `batch` must be the whole batch and nothing else.
///
/// # Panics
/// If `batch` has fewer than `BATCH_HEADER_BYTES`.
pub fn set_append_time(batch: &mut [u8], append_time_ms: i64) {
    assert!(batch.len() >= BATCH_HEADER_BYTES, "only checked batches get a timestamp");
    // Bit 3 of the attributes lies in their low byte.
    batch[ATTRIBUTES_AT + 1] |= APPEND_TIME_BIT as u8;
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&append_time_ms.to_be_bytes());
    let crc = crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// The batches that stand one after the other in `records`, each with its range.
///
/// Ends at the first that is malformed or not whole; crcs are not checked.
pub fn batches(records: &[u8]) -> impl Iterator<Item = (Range<usize>, BatchHeader)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = BatchHeader::read(&records[at..])?;
        if header.batch_bytes > records.len() - at {
            return None;
        }
        let range = at..at + header.batch_bytes;
        at = range.end;
        Some((range, header))
    })
}
