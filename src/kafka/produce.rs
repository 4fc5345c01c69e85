//! Reading a Produce request by hand: the hot path.
//!
//! One walk over the frame, no allocation, no copy: what comes out are ranges of the frame.
//! Responses are in `produce_response`, re-exported here.

use std::ops::Range;

use super::decode_error::DecodeError;
use super::header::RequestHeader;
use super::wire::Reader;

pub use super::leader_hint::NodeEndpoint;
pub use super::produce_response::{
    PartitionOutcome, ProduceResponseEncoder, ResponseTemplate, TopicOutcomes, encode_response,
    encode_single_response,
};

/// Produce's API key.
pub const PRODUCE_KEY: i16 = 0;
/// The lowest version taken. 0 to 2 are advertised and refused: old librdkafka compresses only
/// for brokers that advertise 0, and nobody sends them.
pub const PRODUCE_VERSION_MIN: i16 = 3;
/// The highest version taken: the last that names topics.
pub const PRODUCE_VERSION_MAX: i16 = 11;
/// The first version in the flexible encoding.
pub(super) const PRODUCE_FLEXIBLE_FROM: i16 = 9;

/// A Produce request. Its topics are read by [`ProduceRequest::partitions`].
#[derive(Clone, Copy, Debug)]
pub struct ProduceRequest<'a> {
    /// The acknowledgement asked for, as on the wire; see `model::qos`.
    pub acks: i16,
    /// How long the client waits for it, in milliseconds, as on the wire: may be negative.
    pub timeout_ms: i32,
    /// Whether it names a transactional id.
    pub transactional: bool,
    /// The transactional id's raw bytes, not checked for UTF-8.
    pub transactional_id: Option<&'a [u8]>,
    /// How many topics follow, by the client's word, bounded by the bytes that do.
    pub topic_count: usize,
    topics: Reader<'a>,
    flexible: bool,
}

/// One partition's part of a Produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartition<'a> {
    /// The topic's name as raw bytes: looking it up is the check.
    pub topic: &'a [u8],
    /// The partition's number, as on the wire: may be negative.
    pub partition: i32,
    /// Where the records lie in the frame. `None` for null.
    pub records: Option<Range<usize>>,
}

impl<'a> ProduceRequest<'a> {
    /// Reads what stands before the topics. The topics are checked while walking them: use
    /// [`ProduceRequest::check`] first if nothing may be done for a request that turns out bad.
    #[inline]
    pub fn decode(
        header: &RequestHeader,
        frame: &'a [u8],
    ) -> Result<ProduceRequest<'a>, DecodeError> {
        let version = header.api_version;
        if header.api_key != PRODUCE_KEY
            || !(PRODUCE_VERSION_MIN..=PRODUCE_VERSION_MAX).contains(&version)
        {
            return Err(DecodeError::UnsupportedVersion {
                api_key: header.api_key,
                api_version: version,
            });
        }
        let flexible = version >= PRODUCE_FLEXIBLE_FROM;
        let mut reader = Reader::new(frame, header.body_at);
        let transactional_id = reader.nullable_string(flexible)?;
        let acks = reader.i16()?;
        let timeout_ms = reader.i32()?;
        let topic_count = reader.array(flexible, topic_bytes_min(flexible))?;
        Ok(ProduceRequest {
            acks,
            timeout_ms,
            transactional: transactional_id.is_some(),
            transactional_id,
            topic_count,
            topics: reader,
            flexible,
        })
    }

    /// The partitions of all topics, in the order of the wire. Ends after the first error.
    #[inline]
    pub fn partitions(&self) -> ProducePartitions<'a> {
        ProducePartitions {
            reader: self.topics,
            flexible: self.flexible,
            topics_left: self.topic_count,
            partitions_left: 0,
            topic: &[],
            state: State::BetweenTopics,
        }
    }

    /// Walks the whole request and returns the number of its partitions.
    #[inline]
    pub fn check(&self) -> Result<usize, DecodeError> {
        let mut count = 0;
        for partition in self.partitions() {
            partition?;
            count += 1;
        }
        Ok(count)
    }
}

/// The fewest bytes a topic takes: a name's length, an array's count, tagged fields.
const fn topic_bytes_min(flexible: bool) -> usize {
    if flexible { 3 } else { 6 }
}

/// The fewest bytes a partition takes: its number, the records' length, tagged fields.
const fn partition_bytes_min(flexible: bool) -> usize {
    if flexible { 6 } else { 8 }
}

/// The walk over a request's partitions.
#[derive(Clone, Debug)]
pub struct ProducePartitions<'a> {
    reader: Reader<'a>,
    flexible: bool,
    topics_left: usize,
    partitions_left: usize,
    topic: &'a [u8],
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    BetweenTopics,
    InTopic,
    Done,
}

impl<'a> Iterator for ProducePartitions<'a> {
    type Item = Result<ProducePartition<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        let step = self.step();
        if !matches!(step, Ok(Some(_))) {
            self.state = State::Done;
        }
        step.transpose()
    }
}

impl<'a> ProducePartitions<'a> {
    /// Whether the walk is over, as far as that can be told without another step: not so in the
    /// flexible encoding, where tagged fields may follow.
    #[inline]
    pub fn is_over(&self) -> bool {
        let nothing_counted = self.topics_left == 0 && self.partitions_left == 0;
        nothing_counted && !self.flexible && self.reader.remaining() == 0
    }

    #[inline]
    fn step(&mut self) -> Result<Option<ProducePartition<'a>>, DecodeError> {
        while self.partitions_left == 0 {
            if self.state == State::InTopic {
                self.end_struct()?;
                self.state = State::BetweenTopics;
            }
            if self.topics_left == 0 {
                self.end_struct()?;
                return self.end_of_frame();
            }
            self.begin_topic()?;
        }
        self.partitions_left -= 1;
        let partition = self.reader.i32()?;
        let records = self.reader.nullable_bytes(self.flexible)?;
        let end = self.reader.at();
        let records = records.map(|records| end - records.len()..end);
        self.end_struct()?;
        Ok(Some(ProducePartition { topic: self.topic, partition, records }))
    }

    #[inline]
    fn begin_topic(&mut self) -> Result<(), DecodeError> {
        self.topics_left -= 1;
        let name = self.reader.nullable_string(self.flexible)?;
        self.topic = name.ok_or(DecodeError::Malformed("a topic's name is null"))?;
        self.partitions_left =
            self.reader.array(self.flexible, partition_bytes_min(self.flexible))?;
        self.state = State::InTopic;
        Ok(())
    }

    #[inline]
    fn end_struct(&mut self) -> Result<(), DecodeError> {
        if self.flexible { self.reader.skip_tagged_fields() } else { Ok(()) }
    }

    #[inline]
    fn end_of_frame(&self) -> Result<Option<ProducePartition<'a>>, DecodeError> {
        match self.reader.remaining() {
            0 => Ok(None),
            _ => Err(DecodeError::Malformed("bytes are left over behind the request")),
        }
    }
}
