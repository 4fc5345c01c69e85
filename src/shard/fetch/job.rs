//! A request that reads partitions, as far as it has come.

use std::time::Duration;

use kafka_protocol::messages::FetchRequest;

use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetch::FETCH_TOPIC_IDS_FROM;
use crate::kafka::header::RequestHeader;
use crate::limits::{
    FETCH_RESPONSE_BYTES_MAX, FETCH_RESPONSE_BYTES_SHORT, FETCH_WAIT_MS_MAX, SHARD_UNSENT_BYTES_MAX,
};
use crate::metadata::PartitionPlacement;
use crate::model::ids::{GroupId, PartitionKey, TopicId};
use crate::model::position::{Offset, Position};
use crate::model::time::Time;
use crate::shard::connections::Ticket;
use crate::shard::fetch::behind::Behind;
use crate::shard::fetch::list_offsets::ListOffsets;
use crate::shard::fetch::reader::{Goal, PartitionReader};
use crate::shard::fetch::{Parts, check_leader, place};

/// A request that reads partitions.
#[derive(Debug)]
pub struct Job<P> {
    pub ticket: Ticket,
    pub header: RequestHeader,
    pub purpose: Purpose,
    pub parts: Vec<JobPart<P>>,
    /// The first part that hasn't begun.
    pub at: usize,
    /// Bytes of all parts: added up as it goes, for a fetch may name 10,000 partitions.
    pub taken: usize,
    /// Which of its parts aren't in the cache, and how far they are.
    pub behind: Behind,
    /// Parts that wait for a damaged entry.
    pub lacking: usize,
    /// It waits for more to be committed.
    pub parked: bool,
}

/// What is to become of what is read.
#[derive(Debug)]
pub enum Purpose {
    Fetch(Fetch),
    ListOffsets(ListOffsets),
}

/// What a fetch asks for as a whole.
#[derive(Debug)]
pub struct Fetch {
    /// Each topic with the number of its partitions, in the order of the request.
    pub topics: Vec<(String, TopicId, usize)>,
    pub bytes_max: usize,
    pub bytes_min: usize,
    pub deadline: Time,
    /// How many more bytes must be committed before it is worth another look.
    pub missing: i64,
}

/// One partition of a job.
#[derive(Debug)]
pub struct JobPart<P> {
    pub partition: i32,
    pub group: Option<GroupId>,
    pub error: ErrorCode,
    pub reader: Option<PartitionReader<P>>,
    /// The damaged place that it waits for.
    pub lacks: Option<Position>,
    /// The last one that it waited for.
    pub lacked: Option<Position>,
    pub asked: Asked,
}

impl<P: Page> JobPart<P> {
    /// One of a fetch, or what is wrong with it.
    fn of_fetch(
        partition: i32,
        placement: Option<PartitionPlacement>,
        error: ErrorCode,
        asked: Asked,
    ) -> JobPart<P> {
        let group = placement.map(|placement| placement.group);
        JobPart { partition, group, error, reader: None, lacks: None, lacked: None, asked }
    }

    /// One of a ListOffsets request, that looks for a place from an offset on.
    pub fn of_lookup(placement: PartitionPlacement, goal: Goal, offset: Offset) -> JobPart<P> {
        let key = placement.key;
        JobPart {
            partition: 0,
            group: Some(placement.group),
            error: ErrorCode::NONE,
            reader: Some(PartitionReader::new(key, goal, offset, None)),
            lacks: None,
            lacked: None,
            asked: Asked { key, offset, bytes_max: usize::MAX },
        }
    }

    /// The first offset that it reads.
    pub fn from(&self) -> Offset {
        self.asked.offset
    }
}

/// What is asked of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub key: PartitionKey,
    pub offset: Offset,
    pub bytes_max: usize,
}

impl<P> Job<P> {
    /// One that reads these.
    pub fn new(
        ticket: Ticket,
        header: RequestHeader,
        purpose: Purpose,
        parts: Vec<JobPart<P>>,
    ) -> Job<P> {
        let behind = Behind::default();
        Job { ticket, header, purpose, parts, at: 0, taken: 0, behind, lacking: 0, parked: false }
    }
}

impl<P: Page> Job<P> {
    /// A Fetch request.
    pub fn of_fetch(
        now: Time,
        ticket: Ticket,
        header: RequestHeader,
        request: &FetchRequest,
        parts: &Parts<'_, P>,
    ) -> Job<P> {
        let by_id = header.api_version >= FETCH_TOPIC_IDS_FROM;
        let mut topics = Vec::with_capacity(request.topics.len());
        let mut job_parts = Vec::new();
        for asked in &request.topics {
            let id = TopicId(*asked.topic_id.as_bytes());
            let topic = if by_id {
                parts.catalog.topic_by_id(&id)
            } else {
                parts.catalog.topic(asked.topic.as_bytes())
            };
            topics.push((asked.topic.to_string(), id, asked.partitions.len()));
            for wanted in &asked.partitions {
                let missing = if by_id && topic.is_none() {
                    ErrorCode::UNKNOWN_TOPIC_ID
                } else {
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                };
                let placement = topic.and_then(|topic| place(topic, wanted.partition));
                let epoch = wanted.current_leader_epoch;
                let error = match placement {
                    Some(placement) => check_leader(placement, epoch, parts),
                    None => missing,
                };
                let asked = Asked {
                    key: placement.map_or(PartitionKey(0), |placement| placement.key),
                    offset: Offset(wanted.fetch_offset),
                    bytes_max: usize::try_from(wanted.partition_max_bytes).unwrap_or(0),
                };
                job_parts.push(JobPart::of_fetch(wanted.partition, placement, error, asked));
            }
        }
        // Clients that don't read hold what they were given: the more that is, the less there is
        // for each response, so that their number doesn't count.
        let crowded = parts.connections.unsent_bytes() > SHARD_UNSENT_BYTES_MAX;
        let allowed = if crowded { FETCH_RESPONSE_BYTES_SHORT } else { FETCH_RESPONSE_BYTES_MAX };
        let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(allowed);
        let wait_ms = request.max_wait_ms.clamp(0, FETCH_WAIT_MS_MAX) as u64;
        let purpose = Purpose::Fetch(Fetch {
            topics,
            bytes_max,
            // More than a response may hold would never come together.
            bytes_min: usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max),
            deadline: now + Duration::from_millis(wait_ms),
            missing: 0,
        });
        Job::new(ticket, header, purpose, job_parts)
    }
}
