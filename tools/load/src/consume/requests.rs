//! Fetch requests, version 4 to 11: the last that isn't in the flexible encoding and names topics
//! by their names. Every broker since Kafka 0.11 takes one of them.

use std::io;

use anyhow::bail;

const FETCH_KEY: i16 = 1;
/// The first with record batches as they are now, and the last that we write.
const VERSION_MIN: i16 = 4;
const VERSION_MAX: i16 = 11;
const CLIENT_ID: &[u8] = b"hutong-load";
/// Where the correlation id stands in a frame, its length prefix included.
const CORRELATION_AT: usize = 8;

/// What a consumer asks for.
#[derive(Clone, Copy, Debug)]
pub struct Appetite {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    /// Leave out what belongs to transactions that aren't committed; or have brokers not look.
    pub committed_only: bool,
}

/// Writes requests for one topic, and reads the answers.
#[derive(Clone, Debug)]
pub struct Requests {
    version: i16,
    head: Vec<u8>,
    tail: Vec<u8>,
    partition_max_bytes: i32,
}

/// What an answer says of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    pub partition: u32,
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// The end of what consumers may read.
    pub high_watermark: i64,
    /// The first offset there still is; -1 before version 5.
    pub log_start: i64,
    /// Whole batches, and perhaps the front of one more.
    pub records: &'a [u8],
}

impl Requests {
    /// Requests for this topic, for brokers that know Fetch up to `version`.
    ///
    /// # Errors
    /// The broker is too old.
    pub fn new(topic: &str, version: i16, appetite: Appetite) -> anyhow::Result<Requests> {
        let version = version.min(VERSION_MAX);
        if version < VERSION_MIN {
            bail!("the broker is too old: it knows Fetch up to version {version} only");
        }
        let mut head = Vec::new();
        // The frame's length.
        head.extend(0i32.to_be_bytes());
        head.extend(FETCH_KEY.to_be_bytes());
        head.extend(version.to_be_bytes());
        head.extend(0i32.to_be_bytes());
        head.extend((CLIENT_ID.len() as i16).to_be_bytes());
        head.extend(CLIENT_ID);
        // We are no replica.
        head.extend((-1i32).to_be_bytes());
        for number in [appetite.max_wait_ms, appetite.min_bytes, appetite.max_bytes] {
            head.extend(number.to_be_bytes());
        }
        head.push(u8::from(appetite.committed_only));
        if version >= 7 {
            // No session: id 0, epoch -1.
            head.extend(0i32.to_be_bytes());
            head.extend((-1i32).to_be_bytes());
        }
        head.extend(1i32.to_be_bytes());
        head.extend((topic.len() as i16).to_be_bytes());
        head.extend(topic.as_bytes());
        let mut tail = Vec::new();
        if version >= 7 {
            // Nothing is forgotten.
            tail.extend(0i32.to_be_bytes());
        }
        if version >= 11 {
            // No rack.
            tail.extend(0i16.to_be_bytes());
        }
        let partition_max_bytes = appetite.partition_max_bytes;
        Ok(Requests { version, head, tail, partition_max_bytes })
    }

    /// Appends a request for these partitions, from these offsets on.
    pub fn put(&self, out: &mut Vec<u8>, correlation_id: i32, wanted: &[(u32, i64)]) {
        let at = out.len();
        out.extend_from_slice(&self.head);
        out.extend((wanted.len() as i32).to_be_bytes());
        for &(partition, offset) in wanted {
            out.extend(partition.to_be_bytes());
            if self.version >= 9 {
                // Any leader epoch.
                out.extend((-1i32).to_be_bytes());
            }
            out.extend(offset.to_be_bytes());
            if self.version >= 5 {
                // Where our own log begins: we have none.
                out.extend((-1i64).to_be_bytes());
            }
            out.extend(self.partition_max_bytes.to_be_bytes());
        }
        out.extend_from_slice(&self.tail);
        let length = (out.len() - at - 4) as i32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        let correlation_at = at + CORRELATION_AT;
        out[correlation_at..correlation_at + 4].copy_from_slice(&correlation_id.to_be_bytes());
    }

    /// Which request an answer (a frame without its length prefix) belongs to.
    ///
    /// # Errors
    /// It is too short to tell.
    pub fn correlation_of(frame: &[u8]) -> io::Result<i32> {
        Rest(frame).i32()
    }

    /// Reads an answer (a frame without its length prefix) where it lies. Returns the correlation
    /// id and the error of the whole.
    ///
    /// # Errors
    /// It isn't an answer to such a request; or whatever `take` returns.
    pub fn read<'a>(
        &self,
        frame: &'a [u8],
        mut take: impl FnMut(Part<'a>),
    ) -> io::Result<(i32, i16)> {
        let mut rest = Rest(frame);
        let correlation_id = rest.i32()?;
        let _throttled_ms = rest.i32()?;
        let mut error = 0;
        if self.version >= 7 {
            error = rest.i16()?;
            let _session = rest.i32()?;
        }
        for _ in 0..rest.i32()? {
            let name_bytes = rest.i16()?.max(0) as usize;
            rest.bytes(name_bytes)?;
            for _ in 0..rest.i32()? {
                take(self.part(&mut rest)?);
            }
        }
        Ok((correlation_id, error))
    }

    fn part<'a>(&self, rest: &mut Rest<'a>) -> io::Result<Part<'a>> {
        let partition = rest.i32()? as u32;
        let error = rest.i16()?;
        let high_watermark = rest.i64()?;
        let _last_stable = rest.i64()?;
        let log_start = if self.version >= 5 { rest.i64()? } else { -1 };
        // Aborted transactions: none, or a producer and an offset each.
        let aborted = rest.i32()?.max(0) as usize;
        rest.bytes(aborted.saturating_mul(16))?;
        if self.version >= 11 {
            let _preferred_replica = rest.i32()?;
        }
        let records_bytes = rest.i32()?.max(0) as usize;
        let records = rest.bytes(records_bytes)?;
        Ok(Part { partition, error, high_watermark, log_start, records })
    }
}

/// What hasn't been read of an answer.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn bytes(&mut self, count: usize) -> io::Result<&'a [u8]> {
        match self.0.split_at_checked(count) {
            Some((bytes, rest)) => {
                self.0 = rest;
                Ok(bytes)
            }
            None => {
                let what = "an answer to a Fetch request ends in the middle";
                Err(io::Error::new(io::ErrorKind::InvalidData, what))
            }
        }
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        Ok(self.bytes(N)?.try_into().expect("it has this length"))
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::{FetchRequest, FetchResponse, RequestHeader, TopicName};
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    fn requests(version: i16) -> Requests {
        let appetite = Appetite {
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: 1000,
            partition_max_bytes: 100,
            committed_only: true,
        };
        Requests::new("topic", version, appetite).unwrap()
    }

    #[test]
    fn requests_are_what_the_protocol_says() {
        for version in VERSION_MIN..=VERSION_MAX {
            let mut out = vec![];
            requests(version).put(&mut out, 77, &[(3, 100), (4, 0)]);
            let mut frame = Bytes::from(out);
            let length = frame.split_to(4);
            assert_eq!(u32::from_be_bytes(length[..].try_into().unwrap()) as usize, frame.len());
            let header = RequestHeader::decode(&mut frame, 1).unwrap();
            assert_eq!((header.request_api_key, header.request_api_version), (FETCH_KEY, version));
            assert_eq!(header.correlation_id, 77);
            let request = FetchRequest::decode(&mut frame, version).unwrap();
            assert!(frame.is_empty());
            assert_eq!((request.max_wait_ms, request.isolation_level), (100, 1));
            let topic = &request.topics[0];
            assert_eq!(topic.topic.as_str(), "topic");
            let asked = topic.partitions.iter().map(|part| (part.partition, part.fetch_offset));
            assert_eq!(asked.collect::<Vec<_>>(), [(3, 100), (4, 0)]);
            assert!(topic.partitions.iter().all(|part| part.partition_max_bytes == 100));
        }
    }

    #[test]
    fn answers_are_read_as_the_protocol_says() {
        for version in VERSION_MIN..=VERSION_MAX {
            let part = |partition, records: &'static [u8]| {
                PartitionData::default()
                    .with_partition_index(partition)
                    .with_error_code(1)
                    .with_high_watermark(20)
                    .with_log_start_offset(if version >= 5 { 9 } else { -1 })
                    .with_records(Some(Bytes::from_static(records)))
            };
            let topic = FetchableTopicResponse::default()
                .with_topic(TopicName(StrBytes::from_static_str("topic")))
                .with_partitions(vec![part(3, b"abc"), part(4, b"")]);
            let response = FetchResponse::default().with_responses(vec![topic]);
            let mut frame = BytesMut::from(&77i32.to_be_bytes()[..]);
            response.encode(&mut frame, version).unwrap();
            let mut parts = Vec::new();
            let requests = requests(version);
            assert_eq!(requests.read(&frame, |part| parts.push(part)).unwrap(), (77, 0));
            assert_eq!(Requests::correlation_of(&frame).unwrap(), 77);
            let log_start = if version >= 5 { 9 } else { -1 };
            let part = |partition, records| Part {
                partition,
                error: 1,
                high_watermark: 20,
                log_start,
                records,
            };
            assert_eq!(parts, [part(3, &b"abc"[..]), part(4, &b""[..])]);
            for length in 0..frame.len() {
                assert!(requests.read(&frame[..length], |_| ()).is_err(), "cut to {length}");
            }
        }
    }
}
