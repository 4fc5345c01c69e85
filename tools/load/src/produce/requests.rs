//! Produce requests, version 7: the newest that isn't in the flexible encoding, and every broker
//! since Kafka 2.1 takes it. One partition and one batch to a request.

use std::io;

const VERSION: i16 = 7;
const CLIENT_ID: &[u8] = b"hutong-load";
/// Where the correlation id stands in a frame, its length prefix included.
const CORRELATION_AT: usize = 8;
/// Partition, error, base offset, append time, log start offset.
const PART_BYTES: usize = 4 + 2 + 8 + 8 + 8;

/// Writes requests for one topic: a fixed head in which a few numbers change.
#[derive(Clone, Debug)]
pub struct Requests {
    head: Vec<u8>,
    partition_at: usize,
    topic_bytes: usize,
}

/// What a broker answered for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub correlation_id: i32,
    pub partition: i32,
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// The first record's offset.
    pub base_offset: i64,
}

impl Requests {
    /// Requests for this topic, with this `acks` and time-out.
    pub fn new(topic: &str, acks: i16, timeout_ms: i32) -> Requests {
        let mut head = Vec::new();
        // The frame's length.
        head.extend(0i32.to_be_bytes());
        head.extend(0i16.to_be_bytes());
        head.extend(VERSION.to_be_bytes());
        head.extend(0i32.to_be_bytes());
        head.extend((CLIENT_ID.len() as i16).to_be_bytes());
        head.extend(CLIENT_ID);
        // No transactional id.
        head.extend((-1i16).to_be_bytes());
        head.extend(acks.to_be_bytes());
        head.extend(timeout_ms.to_be_bytes());
        head.extend(1i32.to_be_bytes());
        head.extend((topic.len() as i16).to_be_bytes());
        head.extend(topic.as_bytes());
        head.extend(1i32.to_be_bytes());
        let partition_at = head.len();
        head.extend(0i32.to_be_bytes());
        head.extend(0i32.to_be_bytes());
        Requests { head, partition_at, topic_bytes: topic.len() }
    }

    /// Appends a request.
    pub fn put(&self, out: &mut Vec<u8>, correlation_id: i32, partition: i32, batch: &[u8]) {
        let at = out.len();
        out.extend_from_slice(&self.head);
        let head = &mut out[at..];
        let length = (self.head.len() - 4 + batch.len()) as i32;
        head[..4].copy_from_slice(&length.to_be_bytes());
        head[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        let numbers = &mut head[self.partition_at..];
        numbers[..4].copy_from_slice(&partition.to_be_bytes());
        numbers[4..8].copy_from_slice(&(batch.len() as i32).to_be_bytes());
        out.extend_from_slice(batch);
    }

    /// Reads an answer (a frame without its length prefix).
    ///
    /// # Errors
    /// It isn't an answer to such a request.
    pub fn read(&self, frame: &[u8]) -> io::Result<Answer> {
        // Correlation id, one topic with its name, one partition.
        let part_at = 4 + 4 + 2 + self.topic_bytes + 4;
        let part = frame.get(part_at..).and_then(|rest| rest.first_chunk::<PART_BYTES>());
        let (Some(correlation_id), Some(part)) = (frame.first_chunk::<4>(), part) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("an answer of {} bytes is too short for a Produce request", frame.len()),
            ));
        };
        let (partition, rest) = part.split_first_chunk::<4>().expect("is longer");
        let (error, rest) = rest.split_first_chunk::<2>().expect("is longer");
        let (base_offset, _) = rest.split_first_chunk::<8>().expect("is longer");
        Ok(Answer {
            correlation_id: i32::from_be_bytes(*correlation_id),
            partition: i32::from_be_bytes(*partition),
            error: i16::from_be_bytes(*error),
            base_offset: i64::from_be_bytes(*base_offset),
        })
    }
}
