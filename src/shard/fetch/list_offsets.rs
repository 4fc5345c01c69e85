//! ListOffsets, and OffsetForLeaderEpoch: which offset is where.

use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::kafka::record_batch;
use crate::limits::LOOKUP_BYTES_MAX;
use crate::metadata::PartitionPlacement;
use crate::model::position::{Offset, Term};
use crate::model::time::Time;
use crate::partition::Partition;
use crate::shard::connections::{Connections, Ticket};
use crate::shard::fetch::reader::Goal;
use crate::shard::fetch::{Fetches, JobPart, Parts, check_leader, place};

/// The timestamps that name a place instead of a time.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const LARGEST_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// The first ListOffsets version whose answers name the leader epoch.
const LEADER_EPOCH_FROM: i16 = 4;

/// The answer, and where in it the lookups' results belong.
#[derive(Debug)]
pub struct ListOffsets {
    response: ListOffsetsResponse,
    lookups: Vec<Lookup>,
}

/// A partition whose answer lies in a batch.
#[derive(Clone, Copy, Debug)]
struct Lookup {
    topic: usize,
    partition: usize,
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    From(i64),
    Largest,
}

/// What a partition's answer is, or where it must be looked for.
enum Found {
    Offset(i64),
    Lookup(Wanted, Goal, Offset),
    Nothing,
    Error(ErrorCode),
}

/// Answers a ListOffsets request, at once or after looking into batches.
pub fn on_list_offsets<P: Page>(
    now: Time,
    ticket: Ticket,
    header: RequestHeader,
    request: &ListOffsetsRequest,
    fetches: &mut Fetches<P>,
    parts: &mut Parts<'_, P>,
) {
    let mut lookups = Vec::new();
    let mut places = Vec::new();
    let mut topics = Vec::new();
    for (topic_at, asked) in request.topics.iter().enumerate() {
        let mut partitions = Vec::new();
        for (partition_at, wanted) in asked.partitions.iter().enumerate() {
            let topic = parts.catalog.topic(asked.name.as_bytes());
            let placement = topic.and_then(|topic| place(topic, wanted.partition_index));
            let (found, epoch) =
                find(placement, wanted.current_leader_epoch, wanted.timestamp, parts);
            let mut answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(wanted.partition_index);
            if header.api_version >= LEADER_EPOCH_FROM {
                answer.leader_epoch = epoch;
            }
            match found {
                Found::Offset(offset) => answer.offset = offset,
                Found::Nothing => answer.leader_epoch = -1,
                Found::Error(error) => answer.error_code = error.code(),
                Found::Lookup(wanted, goal, from) => {
                    lookups.push(Lookup { topic: topic_at, partition: partition_at, wanted });
                    let placement = placement.expect("it was found");
                    places.push((placement, goal, from));
                }
            }
            partitions.push(answer);
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(asked.name.clone())
                .with_partitions(partitions),
        );
    }
    let response = ListOffsetsResponse::default().with_topics(topics);
    let list = ListOffsets { response, lookups };
    if places.is_empty() {
        list.answer::<P>(ticket, &header, &[], parts.connections);
    } else {
        fetches.on_list_offsets(now, ticket, header, list, places, parts);
    }
}

fn find<P: Page>(
    placement: Option<PartitionPlacement>,
    epoch: i32,
    timestamp: i64,
    parts: &Parts<'_, P>,
) -> (Found, i32) {
    let Some(placement) = placement else {
        return (Found::Error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), -1);
    };
    let error = check_leader(placement, epoch, parts);
    let group = parts.groups.get(placement.group);
    let partition = group.and_then(|group| group.partitions.by_key(placement.key));
    let (Some(partition), true) = (partition, error.is_none()) else {
        return (Found::Error(error), -1);
    };
    let epoch = partition.last_epoch().map_or(0, |term| term.0 as i32);
    (find_in(partition, timestamp), epoch)
}

fn find_in(partition: &Partition, timestamp: i64) -> Found {
    match timestamp {
        LATEST => Found::Offset(partition.high_watermark().0),
        EARLIEST | EARLIEST_LOCAL => Found::Offset(partition.log_start().0),
        LATEST_TIERED => Found::Nothing,
        LARGEST_TIMESTAMP => match partition.largest_timestamp() {
            Some((largest, offset)) if largest >= 0 => {
                let from = offset.max(partition.log_start());
                Found::Lookup(Wanted::Largest, Goal::Timestamp(largest), from)
            }
            _ => Found::Nothing,
        },
        timestamp if timestamp < 0 => Found::Error(ErrorCode::INVALID_REQUEST),
        timestamp => match partition.index.offset_for_timestamp(timestamp) {
            Some(offset) => {
                let from = offset.max(partition.log_start());
                Found::Lookup(Wanted::From(timestamp), Goal::Timestamp(timestamp), from)
            }
            None => Found::Nothing,
        },
    }
}

impl ListOffsets {
    /// Fills in what the lookups found, and answers.
    pub fn answer<P: Page>(
        mut self,
        ticket: Ticket,
        header: &RequestHeader,
        found: &[JobPart<P>],
        connections: &mut Connections<P>,
    ) {
        let mut bytes_left = LOOKUP_BYTES_MAX;
        for (lookup, part) in self.lookups.iter().zip(found) {
            let answer = &mut self.response.topics[lookup.topic].partitions[lookup.partition];
            if !part.error.is_none() {
                answer.error_code = part.error.code();
                continue;
            }
            if let Some((offset, timestamp)) = look(lookup, part, &mut bytes_left) {
                answer.offset = offset;
                answer.timestamp = timestamp;
            }
        }
        connections.respond(ticket, header, &self.response);
    }
}

/// The record asked for, in the batches that were read.
fn look<P: Page>(lookup: &Lookup, part: &JobPart<P>, bytes_left: &mut u64) -> Option<(i64, i64)> {
    let pieces = &part.reader.as_ref()?.pieces;
    for piece in pieces {
        let records = &piece.page.bytes()[piece.start..piece.end];
        let batches: Vec<_> = record_batch::batches(records).collect();
        let found = match lookup.wanted {
            Wanted::From(timestamp) => batches
                .iter()
                .filter(|(_, batch)| batch.max_timestamp >= timestamp)
                .find_map(|(range, _)| {
                    record_batch::find_timestamp(&records[range.clone()], timestamp, bytes_left)
                }),
            Wanted::Largest => {
                batches.iter().rev().max_by_key(|(_, batch)| batch.max_timestamp).and_then(
                    |(range, _)| {
                        record_batch::max_timestamp_record(&records[range.clone()], bytes_left)
                    },
                )
            }
        };
        if let Some((offset, timestamp)) = found {
            return Some((offset.max(part.from().0), timestamp));
        }
    }
    None
}

/// Answers an OffsetForLeaderEpoch request.
pub fn on_leader_epoch<P: Page>(
    ticket: Ticket,
    header: RequestHeader,
    request: &OffsetForLeaderEpochRequest,
    parts: &mut Parts<'_, P>,
) {
    let mut topics = Vec::new();
    for asked in &request.topics {
        let topic = parts.catalog.topic(asked.topic.as_bytes());
        let partitions = asked.partitions.iter().map(|wanted| {
            let answer = EpochEndOffset::default().with_partition(wanted.partition);
            let placement = topic.and_then(|topic| place(topic, wanted.partition));
            let Some(placement) = placement else {
                return answer.with_error_code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.code());
            };
            let error = check_leader(placement, wanted.current_leader_epoch, parts);
            let group = parts.groups.get(placement.group);
            let partition = group.and_then(|group| group.partitions.by_key(placement.key));
            let (Some(partition), true) = (partition, error.is_none()) else {
                return answer.with_error_code(error.code());
            };
            let term = Term(u64::try_from(wanted.leader_epoch).unwrap_or(0));
            match partition.end_of_epoch(term) {
                Some((epoch, end)) => {
                    answer.with_leader_epoch(epoch.0 as i32).with_end_offset(end.0)
                }
                None => answer,
            }
        });
        topics.push(
            OffsetForLeaderTopicResult::default()
                .with_topic(asked.topic.clone())
                .with_partitions(partitions.collect()),
        );
    }
    let response = OffsetForLeaderEpochResponse::default().with_topics(topics);
    parts.connections.respond(ticket, &header, &response);
}
