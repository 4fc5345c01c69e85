//! Kafka frames as clients write and read them, by the `kafka_protocol` crate: not our own code.

use bytes::{Buf, Bytes};
use hutong::kafka::record_batch::{self, Producer, build_batch};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, StrBytes};

/// A record, as its value names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId {
    pub producer: u32,
    /// Counted up by its producer.
    pub sequence: u64,
}

/// A record that came back.
#[derive(Clone, Copy, Debug)]
pub struct Fetched {
    pub offset: i64,
    pub record: RecordId,
}

/// A request's frame, its length in front.
pub fn request<R: Encodable + HeaderVersion + Message>(
    key: i16,
    version: i16,
    correlation: i32,
    body: &R,
) -> Bytes {
    let header = RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("sim")));
    let mut out = Vec::with_capacity(256);
    header.encode(&mut out, R::header_version(version)).expect("a header that can be encoded");
    body.encode(&mut out, version).expect("a request that can be encoded");
    let mut frame = Vec::with_capacity(out.len() + 4);
    frame.extend((out.len() as i32).to_be_bytes());
    frame.extend(out);
    frame.into()
}

/// The correlation id of a response's frame without its length.
pub fn correlation(frame: &[u8]) -> Option<i32> {
    frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

/// Reads a response's frame without its length.
///
/// # Errors
/// It isn't one of this version.
pub fn response<R: Decodable + HeaderVersion>(version: i16, frame: &Bytes) -> Result<R, String> {
    let mut rest = frame.clone();
    ResponseHeader::decode(&mut rest, R::header_version(version))
        .map_err(|error| format!("a response's header can't be read: {error}"))?;
    let body =
        R::decode(&mut rest, version).map_err(|error| format!("unreadable response: {error}"))?;
    if rest.has_remaining() {
        return Err(format!("{} bytes are left over behind a response", rest.remaining()));
    }
    Ok(body)
}

/// A batch of `count` records from `first` on, each with about `filler` bytes.
pub fn batch(
    first: RecordId,
    count: u32,
    filler: usize,
    timestamp: i64,
    producer: Producer,
) -> Bytes {
    let values: Vec<Vec<u8>> = (0..u64::from(count))
        .map(|n| {
            let mut value = Vec::with_capacity(12 + filler);
            value.extend(first.producer.to_be_bytes());
            value.extend((first.sequence + n).to_be_bytes());
            value.resize(12 + filler, (first.sequence + n) as u8);
            value
        })
        .collect();
    let records: Vec<(Option<&[u8]>, &[u8])> =
        values.iter().map(|value| (None, value.as_slice())).collect();
    build_batch(&records, timestamp, producer).into()
}

/// The records of a partition's part of a Fetch response.
///
/// # Errors
/// A batch is damaged, or isn't one that a producer of ours has made.
pub fn records(bytes: &[u8]) -> Result<Vec<Fetched>, String> {
    let mut fetched = Vec::new();
    let mut end = 0;
    for (range, header) in record_batch::batches(bytes) {
        end = range.end;
        let batch = &bytes[range];
        record_batch::check(batch, usize::MAX, true)
            .map_err(|error| format!("batch at offset {}: {error}", header.base_offset))?;
        let mut rest = &batch[record_batch::BATCH_HEADER_BYTES..];
        for number in 0..header.record_count {
            let offset = header.base_offset + i64::from(number);
            let record = next_record(&mut rest)
                .ok_or_else(|| format!("the record at offset {offset} can't be read"))?;
            fetched.push(Fetched { offset, record });
        }
    }
    if end < bytes.len() {
        return Err(format!("{} bytes behind the last whole batch", bytes.len() - end));
    }
    Ok(fetched)
}

fn next_record(rest: &mut &[u8]) -> Option<RecordId> {
    let bytes = usize::try_from(varint(rest)?).ok()?;
    let (mut record, behind) = rest.split_at_checked(bytes)?;
    *rest = behind;
    // Attributes, then the deltas of timestamp and offset, then an empty key.
    record = record.get(1..)?;
    varint(&mut record)?;
    varint(&mut record)?;
    varint(&mut record)?;
    let value_bytes = usize::try_from(varint(&mut record)?).ok()?;
    let value = record.get(..value_bytes)?;
    Some(RecordId {
        producer: u32::from_be_bytes(value.get(0..4)?.try_into().ok()?),
        sequence: u64::from_be_bytes(value.get(4..12)?.try_into().ok()?),
    })
}

fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}
