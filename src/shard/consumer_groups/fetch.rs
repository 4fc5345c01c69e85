//! The answer to OffsetFetch: what has been committed.

use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::offsets::ByTopic;
use super::{Coordination, code_of, group_of, text};
use crate::coordinator::{CommittedOffset, StoredGroup};
use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::kafka::topic_id_requests::TOPIC_IDS_FROM;
use crate::model::ids::PartitionKey;
use crate::shard::connections::Ticket;

/// From this version on, a request names many groups.
pub(super) const MANY_GROUPS_FROM: i16 = 8;
/// From this version on, what is wrong with a group is said once.
const GROUP_ERROR_FROM: i16 = 2;
/// Who asks without being a member.
const NOBODY: (Option<&str>, i32) = (None, -1);

impl<P: Page> Coordination<'_, P> {
    /// Answers an OffsetFetch request with what has been recorded.
    pub(super) fn answer_fetch(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &OffsetFetchRequest,
    ) {
        let by_id = header.api_version >= TOPIC_IDS_FROM;
        let response = if header.api_version >= MANY_GROUPS_FROM {
            let groups = request.groups.iter().map(|group| {
                let answer =
                    OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
                let member = (group.member_id.as_deref(), group.member_epoch);
                match self.stored(&group.group_id, member) {
                    Ok(stored) => {
                        answer.with_topics(self.topics(by_id, stored, group.topics.as_deref()))
                    }
                    Err(code) => answer.with_error_code(code.code()),
                }
            });
            OffsetFetchResponse::default().with_groups(groups.collect())
        } else {
            self.fetch_of_one(header.api_version, request)
        };
        self.connections.respond(ticket, &header, &response);
    }

    /// The older versions, in their own types. They say the same.
    fn fetch_of_one(&self, version: i16, request: &OffsetFetchRequest) -> OffsetFetchResponse {
        let (stored, code) = match self.stored(&request.group_id, NOBODY) {
            Ok(stored) => (stored, ErrorCode::NONE),
            Err(code) => (None, code),
        };
        let failed = !code.is_none();
        let asked: Option<Vec<OffsetFetchRequestTopics>> =
            request.topics.as_ref().map(|topics| topics.iter().map(in_new_words).collect());
        let mut response = OffsetFetchResponse::default();
        if failed && version >= GROUP_ERROR_FROM {
            response.error_code = code.code();
            return response;
        }
        let old = self.topics(false, stored, asked.as_deref()).into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|partition| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_committed_offset(partition.committed_offset)
                    .with_committed_leader_epoch(partition.committed_leader_epoch)
                    .with_metadata(partition.metadata)
                    .with_error_code(code.code())
            });
            OffsetFetchResponseTopic::default()
                .with_name(topic.name)
                .with_partitions(partitions.collect())
        });
        response.topics = old.collect();
        response
    }

    /// What is recorded of a group; nothing, if it has never committed. A member says who it is
    /// and in which epoch, so that it doesn't read on from where another is.
    fn stored(
        &self,
        id: &str,
        (member, epoch): (Option<&str>, i32),
    ) -> Result<Option<&StoredGroup>, ErrorCode> {
        let home = self.route(id)?;
        let stored = group_of(self.groups, home).consumer_groups.group(id);
        if let Some(state) = stored.and_then(StoredGroup::modern) {
            state.check_fetch(member, epoch).map_err(|error| code_of(error.into()))?;
        }
        let mut keys = stored.into_iter().flat_map(|stored| stored.offsets.keys());
        let is_unheard_of = |key: &PartitionKey| {
            self.catalog.partition(*key).is_none() && !self.catalog.was_deleted(*key)
        };
        if keys.any(is_unheard_of) {
            // This node's catalog is behind: a topic that it doesn't know yet is not one without
            // offsets.
            return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        }
        Ok(stored)
    }

    fn topics(
        &self,
        by_id: bool,
        stored: Option<&StoredGroup>,
        asked: Option<&[OffsetFetchRequestTopics]>,
    ) -> Vec<OffsetFetchResponseTopics> {
        let Some(asked) = asked else { return self.all_topics(by_id, stored) };
        let topics = asked.iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|number| {
                let key = match by_id {
                    true => self.key_of_id(topic.topic_id, *number),
                    false => self.key_of(&topic.name, *number),
                };
                let offset = key.ok().and_then(|key| stored?.offsets.get(&key));
                let partition = to_partition(*number, offset);
                match key {
                    Err(code) if code == ErrorCode::UNKNOWN_TOPIC_ID => {
                        partition.with_error_code(code.code())
                    }
                    _ => partition,
                }
            });
            OffsetFetchResponseTopics::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions.collect())
        });
        topics.collect()
    }

    fn all_topics(
        &self,
        by_id: bool,
        stored: Option<&StoredGroup>,
    ) -> Vec<OffsetFetchResponseTopics> {
        let topics = self.by_topic(stored).into_iter().map(|(name, offsets)| {
            let partitions =
                offsets.into_iter().map(|(number, offset)| to_partition(number, Some(offset)));
            let answer = OffsetFetchResponseTopics::default().with_partitions(partitions.collect());
            match self.catalog.topic(name.as_bytes()) {
                Some(topic) if by_id => answer.with_topic_id(Uuid::from_bytes(topic.id.0)),
                _ => answer.with_name(TopicName(text(name))),
            }
        });
        topics.collect()
    }

    /// A group's offsets in partitions that still exist.
    pub(super) fn by_topic<'s>(&'s self, stored: Option<&'s StoredGroup>) -> ByTopic<'s> {
        let mut topics = ByTopic::new();
        for (key, offset) in stored.into_iter().flat_map(|stored| &stored.offsets) {
            if let Some((topic, number)) = self.catalog.partition(*key) {
                topics.entry(&*topic.name).or_default().push((number, offset));
            }
        }
        topics
    }
}

fn in_new_words(topic: &OffsetFetchRequestTopic) -> OffsetFetchRequestTopics {
    OffsetFetchRequestTopics::default()
        .with_name(topic.name.clone())
        .with_partition_indexes(topic.partition_indexes.clone())
}

/// A partition of an answer. One without a committed offset says so by -1, and is no error: seven
/// of librdkafka's tests wait for just that.
fn to_partition(number: i32, offset: Option<&CommittedOffset>) -> OffsetFetchResponsePartitions {
    let partition = OffsetFetchResponsePartitions::default().with_partition_index(number);
    match offset {
        Some(offset) => partition
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(offset.leader_epoch)
            .with_metadata(Some(text(&offset.metadata))),
        None => partition
            .with_committed_offset(-1)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(StrBytes::default())),
    }
}
