//! Fetch, version 11: the newest that names topics by name and isn't in the flexible encoding.

use std::io;

const KEY: i16 = 1;
const VERSION: i16 = 11;
const CLIENT_ID: &[u8] = b"hutong-load";
/// How long a broker may hold an answer back when there is nothing new.
const MAX_WAIT_MS: i32 = 100;
/// Bytes of one answer.
const BYTES_MAX: i32 = 8 << 20;
/// Bytes of one partition.
const PARTITION_BYTES_MAX: i32 = 1 << 20;

/// What a broker answered for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    pub partition: i32,
    /// Kafka's code, 0 for none.
    pub error: i16,
    /// Where the log begins, or -1.
    pub log_start: i64,
    pub records: &'a [u8],
}

/// Appends a request for these partitions of a topic, each from an offset on.
pub fn put_request(out: &mut Vec<u8>, correlation_id: i32, topic: &str, from: &[(i32, i64)]) {
    let at = out.len();
    out.extend(0i32.to_be_bytes());
    out.extend(KEY.to_be_bytes());
    out.extend(VERSION.to_be_bytes());
    out.extend(correlation_id.to_be_bytes());
    out.extend((CLIENT_ID.len() as i16).to_be_bytes());
    out.extend(CLIENT_ID);
    // A consumer, not a replica.
    out.extend((-1i32).to_be_bytes());
    out.extend(MAX_WAIT_MS.to_be_bytes());
    out.extend(1i32.to_be_bytes());
    out.extend(BYTES_MAX.to_be_bytes());
    // Committed transactions only; and no session.
    out.push(1);
    out.extend(0i32.to_be_bytes());
    out.extend((-1i32).to_be_bytes());
    out.extend(1i32.to_be_bytes());
    out.extend((topic.len() as i16).to_be_bytes());
    out.extend(topic.as_bytes());
    out.extend((from.len() as i32).to_be_bytes());
    for (partition, offset) in from {
        out.extend(partition.to_be_bytes());
        // No epoch is known.
        out.extend((-1i32).to_be_bytes());
        out.extend(offset.to_be_bytes());
        out.extend((-1i64).to_be_bytes());
        out.extend(PARTITION_BYTES_MAX.to_be_bytes());
    }
    // No forgotten topics, no rack.
    out.extend(0i32.to_be_bytes());
    out.extend(0i16.to_be_bytes());
    let length = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// The correlation id of an answer (a frame without its length prefix).
///
/// # Errors
/// It is too short.
pub fn correlation_id(frame: &[u8]) -> io::Result<i32> {
    Reader { rest: frame }.i32()
}

/// Shows each partition of an answer. Returns the error that concerns all of it, 0 for none.
///
/// # Errors
/// It isn't an answer to such a request.
pub fn read_answer<'a>(frame: &'a [u8], mut show: impl FnMut(Part<'a>)) -> io::Result<i16> {
    let mut reader = Reader { rest: frame };
    let _correlation = reader.i32()?;
    let _throttle = reader.i32()?;
    let error = reader.i16()?;
    let _session = reader.i32()?;
    for _ in 0..reader.i32()? {
        let name = reader.i16()?;
        reader.bytes(i32::from(name))?;
        for _ in 0..reader.i32()? {
            let partition = reader.i32()?;
            let error = reader.i16()?;
            let _high_watermark = reader.i64()?;
            let _last_stable = reader.i64()?;
            let log_start = reader.i64()?;
            for _ in 0..reader.i32()? {
                // An aborted transaction: ours are none.
                reader.bytes(16)?;
            }
            let _preferred_replica = reader.i32()?;
            let length = reader.i32()?;
            show(Part { partition, error, log_start, records: reader.bytes(length)? });
        }
    }
    Ok(error)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or_else(too_short)?;
        self.rest = rest;
        Ok(*array)
    }

    fn i16(&mut self) -> io::Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> io::Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> io::Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// So many bytes; a negative length is null, which is none.
    fn bytes(&mut self, length: i32) -> io::Result<&'a [u8]> {
        let length = length.max(0) as usize;
        let bytes = self.rest.get(..length).ok_or_else(too_short)?;
        self.rest = &self.rest[length..];
        Ok(bytes)
    }
}

fn too_short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer is too short for a Fetch request")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::{FetchRequest, FetchResponse, RequestHeader, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    #[test]
    fn requests_are_what_the_protocol_says() {
        let mut out = Vec::new();
        put_request(&mut out, 77, "topic", &[(3, 100), (4, 0)]);
        let mut frame = Bytes::from(out);
        let length = frame.split_to(4);
        assert_eq!(u32::from_be_bytes(length[..].try_into().unwrap()) as usize, frame.len());
        let header = RequestHeader::decode(&mut frame, 1).unwrap();
        assert_eq!((header.request_api_key, header.request_api_version), (KEY, VERSION));
        assert_eq!(header.correlation_id, 77);
        let request = FetchRequest::decode(&mut frame, VERSION).unwrap();
        assert!(frame.is_empty());
        let topic = &request.topics[0];
        assert_eq!(topic.topic.as_str(), "topic");
        let asked = topic.partitions.iter().map(|part| (part.partition, part.fetch_offset));
        assert_eq!(asked.collect::<Vec<_>>(), [(3, 100), (4, 0)]);
    }

    #[test]
    fn answers_are_read_as_the_protocol_says() {
        let part = |partition, records: &'static [u8]| {
            PartitionData::default()
                .with_partition_index(partition)
                .with_error_code(1)
                .with_log_start_offset(9)
                .with_records(Some(Bytes::from_static(records)))
        };
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str("topic")))
            .with_partitions(vec![part(3, b"abc"), part(4, b"")]);
        let response = FetchResponse::default().with_responses(vec![topic]);
        let mut frame = BytesMut::from(&77i32.to_be_bytes()[..]);
        response.encode(&mut frame, VERSION).unwrap();
        let mut parts = Vec::new();
        assert_eq!(read_answer(&frame, |part| parts.push(part)).unwrap(), 0);
        let part = |partition, records| Part { partition, error: 1, log_start: 9, records };
        assert_eq!(parts, [part(3, &b"abc"[..]), part(4, &b""[..])]);
        assert_eq!(correlation_id(&frame).unwrap(), 77);
        for length in 0..frame.len() {
            assert!(read_answer(&frame[..length], |_| ()).is_err(), "cut to {length}");
        }
    }
}
