//! Records one after the other, as a batch holds them once it is decompressed.
//!
//! ```text
//! length varint | attributes i8 | timestamp delta varint | offset delta varint
//!   | key length varint, key | value length varint, value
//!   | header count varint, headers (key length varint, key, value length varint, value)
//! ```
//!
//! They were written by strangers, so every step is checked. Nothing is held of a record but its
//! two deltas, whatever lengths it names.

use std::io::{self, BufRead, ErrorKind, Read};

/// A record's place in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordDeltas {
    /// Its timestamp minus the batch's base timestamp, in milliseconds.
    pub timestamp: i64,
    /// Its offset minus the batch's base offset.
    pub offset: i64,
}

/// The fewest bytes of a record: its length, attributes, two deltas, two lengths and a count.
pub(super) const RECORD_BYTES_MIN: usize = 7;

/// Takes a record off the front.
///
/// # Errors
/// `UnexpectedEof` if the bytes end before the record does, `InvalidData` if it makes no sense, and
/// what reading fails with.
#[inline]
pub(super) fn take_record(records: &mut impl BufRead) -> io::Result<RecordDeltas> {
    let record_bytes = take_length(records)?;
    let held = records.fill_buf()?;
    // Nearly every record lies whole in what is held, and a slice is walked much faster.
    if let Some(mut record) = usize::try_from(record_bytes).ok().and_then(|n| held.get(..n)) {
        let deltas = inside(&mut record)?;
        return if record.is_empty() {
            records.consume(record_bytes as usize);
            Ok(deltas)
        } else {
            Err(senseless())
        };
    }
    let mut record = records.by_ref().take(record_bytes);
    let deltas = inside(&mut record)?;
    if record.limit() == 0 { Ok(deltas) } else { Err(senseless()) }
}

/// What a record's length counts.
#[inline]
fn inside(record: &mut impl BufRead) -> io::Result<RecordDeltas> {
    let _attributes = take_byte(record)?;
    let timestamp = take_varint(record)?;
    let offset = take_varint(record)?;
    skip_field(record)?;
    skip_field(record)?;
    for _ in 0..take_length(record)? {
        let key_bytes = take_length(record)?;
        skip(record, key_bytes)?;
        skip_field(record)?;
    }
    Ok(RecordDeltas { timestamp, offset })
}

/// Skips a length and what it counts; -1 stands for nothing at all.
#[inline]
fn skip_field(record: &mut impl BufRead) -> io::Result<()> {
    match take_varint(record)? {
        -1 => Ok(()),
        bytes => skip(record, u64::try_from(bytes).map_err(|_| senseless())?),
    }
}

/// Skips bytes without holding them.
#[inline]
fn skip(record: &mut impl BufRead, mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        let held = record.fill_buf()?.len();
        if held == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let skipped = usize::try_from(bytes).unwrap_or(usize::MAX).min(held);
        record.consume(skipped);
        bytes -= skipped as u64;
    }
    Ok(())
}

#[inline]
fn take_length(bytes: &mut impl BufRead) -> io::Result<u64> {
    u64::try_from(take_varint(bytes)?).map_err(|_| senseless())
}

/// A signed varint of at most 64 bits off the front.
#[inline]
fn take_varint(bytes: &mut impl BufRead) -> io::Result<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(bytes)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(senseless())
}

#[inline]
fn take_byte(bytes: &mut impl BufRead) -> io::Result<u8> {
    let byte = *bytes.fill_buf()?.first().ok_or(ErrorKind::UnexpectedEof)?;
    bytes.consume(1);
    Ok(byte)
}

#[cold]
fn senseless() -> io::Error {
    ErrorKind::InvalidData.into()
}
