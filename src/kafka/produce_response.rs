//! Writing Produce responses: straight into the connection's output, no allocation but its own.

use super::error_code::ErrorCode;
use super::leader_hint::{NodeEndpoint, put_current_leader, put_endpoints};
use super::produce::PRODUCE_FLEXIBLE_FROM;
use super::wire::{begin_frame, end_frame, put_count, put_nullable_string, put_string};

/// The first version that can name the current leader (KIP-951).
const LEADER_HINT_FROM: i16 = 10;

/// Where the correlation id stands in a frame, behind its length.
const CORRELATION_AT: usize = 4;

/// What became of one partition's records.
#[derive(Clone, Copy, Debug)]
pub struct PartitionOutcome<'a> {
    /// `NONE` on success.
    pub error: ErrorCode,
    /// The offset of the first record; -1 on error.
    pub base_offset: i64,
    /// When they were appended, if the topic stamps records with that; else -1.
    pub log_append_time_ms: i64,
    /// The first offset the partition still has; -1 if unknown. Goes out from version 5.
    pub log_start_offset: i64,
    /// A sentence for the client's log. Goes out from version 8.
    pub error_message: Option<&'a str>,
    /// Who leads instead: broker id and leader epoch. Goes out from version 10.
    pub current_leader: Option<(i32, i32)>,
}

impl PartitionOutcome<'static> {
    /// A failure: nothing was appended.
    pub fn failed(error: ErrorCode) -> PartitionOutcome<'static> {
        PartitionOutcome {
            error,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            error_message: None,
            current_leader: None,
        }
    }
}

/// A topic's part of a response.
#[derive(Clone, Copy, Debug)]
pub struct TopicOutcomes<'a> {
    /// The name, as the request had it.
    pub topic: &'a [u8],
    /// Partition numbers and what became of them.
    pub partitions: &'a [(i32, PartitionOutcome<'a>)],
}

/// Writes a response piece by piece. The calls must come in the order `begin`, then for each
/// topic `topic` and its `partition`s, then `finish`, and as many as was announced.
#[derive(Debug)]
pub struct ProduceResponseEncoder<'a> {
    out: &'a mut Vec<u8>,
    frame_at: usize,
    version: i16,
    /// Topics and partitions announced and not yet written.
    topics_left: usize,
    partitions_left: usize,
    leader_named: bool,
}

impl<'a> ProduceResponseEncoder<'a> {
    /// Begins a frame at the end of `out`. Versions 3 to 11.
    #[inline]
    pub fn begin(
        out: &'a mut Vec<u8>,
        version: i16,
        correlation_id: i32,
        topic_count: usize,
    ) -> ProduceResponseEncoder<'a> {
        let flexible = version >= PRODUCE_FLEXIBLE_FROM;
        let frame_at = begin_frame(out, correlation_id, flexible);
        put_count(out, flexible, topic_count);
        ProduceResponseEncoder {
            out,
            frame_at,
            version,
            topics_left: topic_count,
            partitions_left: 0,
            leader_named: false,
        }
    }

    #[inline]
    fn flexible(&self) -> bool {
        self.version >= PRODUCE_FLEXIBLE_FROM
    }

    /// Begins a topic.
    ///
    /// # Panics
    /// If the calls don't add up to what was announced.
    #[inline]
    pub fn topic(&mut self, name: &[u8], partition_count: usize) {
        assert!(self.partitions_left == 0 && self.topics_left > 0, "topics as announced");
        self.topics_left -= 1;
        self.partitions_left = partition_count;
        put_string(self.out, self.flexible(), name);
        put_count(self.out, self.flexible(), partition_count);
        if partition_count == 0 {
            self.end_topic();
        }
    }

    #[inline]
    fn end_topic(&mut self) {
        if self.flexible() {
            self.out.push(0);
        }
    }

    /// Adds a partition to the topic begun last.
    ///
    /// # Panics
    /// If the topic has all its partitions already.
    #[inline]
    pub fn partition(&mut self, partition: i32, outcome: &PartitionOutcome<'_>) {
        assert!(self.partitions_left > 0, "partitions as announced");
        self.partitions_left -= 1;
        let flexible = self.flexible();
        // Put together on the stack: one append instead of five.
        let fixed = fixed_part(partition, outcome);
        self.out.extend_from_slice(&fixed[..fixed_bytes(self.version)]);
        if self.version >= 8 {
            // No errors of single records.
            put_count(self.out, flexible, 0);
            put_nullable_string(self.out, flexible, outcome.error_message);
        }
        if self.version >= LEADER_HINT_FROM {
            put_current_leader(self.out, 0, outcome.current_leader);
            self.leader_named |= outcome.current_leader.is_some();
        } else if flexible {
            self.out.push(0);
        }
        if self.partitions_left == 0 {
            self.end_topic();
        }
    }

    /// Ends the frame. The endpoints go out only if some partition named its leader.
    ///
    /// # Panics
    /// If the calls don't add up to what was announced.
    #[inline]
    pub fn finish(self, endpoints: &[NodeEndpoint<'_>]) {
        assert!(self.partitions_left == 0 && self.topics_left == 0, "all that was announced");
        // We never throttle.
        self.out.extend_from_slice(&0i32.to_be_bytes());
        if self.leader_named {
            put_endpoints(self.out, endpoints);
        } else if self.flexible() {
            self.out.push(0);
        }
        end_frame(self.out, self.frame_at, 0);
    }
}

/// What every version says of a partition, and at the end what versions from 5 on do.
#[inline]
fn fixed_part(partition: i32, outcome: &PartitionOutcome<'_>) -> [u8; 30] {
    let mut fixed = [0; 30];
    fixed[0..4].copy_from_slice(&partition.to_be_bytes());
    fixed[4..6].copy_from_slice(&outcome.error.code().to_be_bytes());
    fixed[6..14].copy_from_slice(&outcome.base_offset.to_be_bytes());
    fixed[14..22].copy_from_slice(&outcome.log_append_time_ms.to_be_bytes());
    fixed[22..30].copy_from_slice(&outcome.log_start_offset.to_be_bytes());
    fixed
}

/// How much of that goes out.
#[inline]
fn fixed_bytes(version: i16) -> usize {
    if version >= 5 { 30 } else { 22 }
}

/// The response for one partition of one topic, ready but for its numbers: requests that went
/// well are answered alike, millions a second.
#[derive(Clone, Debug)]
pub struct ResponseTemplate {
    frame: Vec<u8>,
    part_at: usize,
    part_bytes: usize,
}

impl ResponseTemplate {
    /// For requests of this version for this topic. Versions 3 to 11.
    pub fn new(version: i16, topic: &[u8]) -> ResponseTemplate {
        let mut frame = Vec::new();
        let mut encoder = ProduceResponseEncoder::begin(&mut frame, version, 0, 1);
        encoder.topic(topic, 1);
        let part_at = encoder.out.len();
        // Any outcome without a message or a leader has the same form.
        encoder.partition(0, &PartitionOutcome::failed(ErrorCode::NONE));
        encoder.finish(&[]);
        ResponseTemplate { frame, part_at, part_bytes: fixed_bytes(version) }
    }

    /// Appends a whole frame, as `encode_single_response` does for the same outcome.
    ///
    /// # Panics
    /// If the outcome has a message or names a leader.
    #[inline]
    pub fn put(
        &self,
        out: &mut Vec<u8>,
        correlation_id: i32,
        partition: i32,
        outcome: &PartitionOutcome<'_>,
    ) {
        assert!(outcome.error_message.is_none() && outcome.current_leader.is_none());
        let at = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[at..];
        frame[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        let part = &mut frame[self.part_at..self.part_at + self.part_bytes];
        part.copy_from_slice(&fixed_part(partition, outcome)[..self.part_bytes]);
    }
}

/// Appends a whole frame: the response for one partition of one topic. Versions 3 to 11.
#[inline]
pub fn encode_single_response(
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    topic: &[u8],
    partition: i32,
    outcome: &PartitionOutcome<'_>,
    endpoints: &[NodeEndpoint<'_>],
) {
    // More than all the fixed parts take, so that at most this once memory has to grow.
    out.reserve(96 + topic.len() + outcome.error_message.map_or(0, str::len));
    let mut encoder = ProduceResponseEncoder::begin(out, version, correlation_id, 1);
    encoder.topic(topic, 1);
    encoder.partition(partition, outcome);
    encoder.finish(endpoints);
}

/// Appends a whole frame: the response for any number of topics. Versions 3 to 11.
pub fn encode_response(
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    topics: &[TopicOutcomes<'_>],
    endpoints: &[NodeEndpoint<'_>],
) {
    let mut encoder = ProduceResponseEncoder::begin(out, version, correlation_id, topics.len());
    for topic in topics {
        encoder.topic(topic.topic, topic.partitions.len());
        for (partition, outcome) in topic.partitions {
            encoder.partition(*partition, outcome);
        }
    }
    encoder.finish(endpoints);
}
