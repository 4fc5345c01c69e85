//! OffsetCommit, OffsetFetch and OffsetDelete.
//!
//! Offsets are kept by partition key, so those of a deleted topic can't be taken for those of a
//! new one with its name.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest,
};
use uuid::Uuid;

use super::{Coordination, Reply, code_of, group_of};
use crate::coordinator::CommittedOffset;
use crate::coordinator::classic::{Group, MemberRef, State};
use crate::coordinator::modern::ModernState;
use crate::coordinator::modern::embedded::{self, CONSUMER};
use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::kafka::topic_id_requests::TOPIC_IDS_FROM;
use crate::limits::{COORDINATOR_UNAPPLIED_BYTES_MAX, OFFSET_METADATA_BYTES_MAX};
use crate::metadata::Topic;
use crate::model::ids::{GroupId, PartitionKey, TopicId};
use crate::shard::connections::Ticket;

/// Where the partitions of a response stand, or what is wrong with all of them.
type Refused = Result<(), ErrorCode>;

impl<P: Page> Coordination<'_, P> {
    /// Takes an OffsetCommit request.
    pub fn commit_offsets(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &OffsetCommitRequest,
    ) {
        let by_id = header.api_version >= TOPIC_IDS_FROM;
        let mut offsets = Vec::new();
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let number = partition.partition_index;
                let key = match by_id {
                    true => self.key_of_id(topic.topic_id, number),
                    false => self.key_of(&topic.name, number),
                };
                let offset = self.to_offset(request.retention_time_ms, partition);
                let code = match (key, offset) {
                    (Ok(key), Ok(offset)) => {
                        offsets.push((key, offset));
                        ErrorCode::NONE
                    }
                    (Err(code), _) | (_, Err(code)) => code,
                };
                OffsetCommitResponsePartition::default()
                    .with_partition_index(number)
                    .with_error_code(code.code())
            });
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions.collect())
        });
        let mut response = OffsetCommitResponse::default().with_topics(topics.collect());
        let refused = match self.may_commit(header.api_version, request) {
            Ok(_) if offsets.is_empty() => Ok(()),
            Ok(home) => return self.commit(ticket, header, request, home, offsets, response),
            Err(code) => Err(code),
        };
        refuse_commit(&mut response, refused);
        self.connections.respond(ticket, &header, &response);
    }

    fn may_commit(
        &mut self,
        version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<GroupId, ErrorCode> {
        // Even the empty name: simple consumers of long ago have no other.
        let home = self.route(&request.group_id)?;
        let member = MemberRef {
            group: request.group_id.to_string(),
            generation: request.generation_id_or_member_epoch,
            member_id: request.member_id.to_string(),
            instance_id: request.group_instance_id.as_deref().map(str::to_owned),
        };
        let may = self
            .with(home, |coordinator, context| coordinator.may_commit(context, &member, version));
        may.map_err(code_of)?;
        Ok(home)
    }

    fn commit(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &OffsetCommitRequest,
        home: GroupId,
        offsets: Vec<(PartitionKey, CommittedOffset)>,
        response: OffsetCommitResponse,
    ) {
        let caller = self.wait(ticket, header, Reply::Commit(response), vec![home]);
        let group = request.group_id.to_string();
        let (result, unapplied) = self.with(home, |coordinator, context| {
            let result = coordinator.commit(context, caller, group, offsets);
            (result, coordinator.unapplied_bytes())
        });
        match result {
            // Commits of one connection go into the journal side by side, within reason.
            Ok(()) if unapplied > COORDINATOR_UNAPPLIED_BYTES_MAX => self.connections.hold(ticket),
            Ok(()) => {}
            Err(fault) => {
                if let Some(waiting) = self.state.waiting.remove(&caller) {
                    self.refuse(waiting, code_of(fault));
                }
            }
        }
    }

    fn to_offset(
        &self,
        retention_ms: i64,
        partition: &OffsetCommitRequestPartition,
    ) -> Result<CommittedOffset, ErrorCode> {
        let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
        if metadata.len() > OFFSET_METADATA_BYTES_MAX {
            return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
        }
        let now = self.now.wallclock.0;
        Ok(CommittedOffset {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: metadata.to_owned(),
            committed_at: now,
            expires_at: (retention_ms >= 0).then(|| now.saturating_add(retention_ms)),
        })
    }

    pub(super) fn key_of(&self, topic: &str, partition: i32) -> Result<PartitionKey, ErrorCode> {
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        partition_of(self.catalog.topic(topic.as_bytes()).ok_or(unknown)?, partition)
    }

    pub(super) fn key_of_id(&self, id: Uuid, partition: i32) -> Result<PartitionKey, ErrorCode> {
        let topic = self.catalog.topic_by_id(&TopicId(*id.as_bytes()));
        partition_of(topic.ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?, partition)
    }

    /// Takes an OffsetFetch request. It is answered when all that was decided before it is
    /// recorded, so that it sees what was committed on whatever connection.
    pub fn fetch_offsets(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: OffsetFetchRequest,
    ) {
        let mut groups: BTreeSet<&str> =
            request.groups.iter().map(|g| g.group_id.as_str()).collect();
        if header.api_version < super::fetch::MANY_GROUPS_FROM {
            groups.insert(&request.group_id);
        }
        let homes: BTreeSet<GroupId> =
            groups.into_iter().filter_map(|group| self.route(group).ok()).collect();
        let settled = |home: &GroupId| {
            self.state.coordinator(*home).is_none_or(|coordinator| coordinator.is_settled())
        };
        let missing: Vec<GroupId> = homes.into_iter().filter(|home| !settled(home)).collect();
        if missing.is_empty() {
            return self.answer_fetch(ticket, header, &request);
        }
        self.connections.hold(ticket);
        let caller = self.wait(ticket, header, Reply::Fetch(request), missing.clone());
        for home in missing {
            self.with(home, |coordinator, _| coordinator.answer_when_settled(caller));
        }
    }

    /// Takes an OffsetDelete request.
    pub fn delete_offsets(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &OffsetDeleteRequest,
    ) {
        let routed = self.route_named(&request.group_id);
        let subscribed = routed.and_then(|home| self.subscribed(home, &request.group_id));
        let (home, subscribed) = match (routed, subscribed) {
            (Ok(home), Ok(subscribed)) => (home, subscribed),
            (Err(code), _) | (_, Err(code)) => {
                let response = OffsetDeleteResponse::default().with_error_code(code.code());
                return self.connections.respond(ticket, &header, &response);
            }
        };
        let mut keys = Vec::new();
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let number = partition.partition_index;
                let code = match self.key_of(&topic.name, number) {
                    Err(code) => code,
                    Ok(_) if subscribed.contains(topic.name.as_str()) => {
                        ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
                    }
                    Ok(key) => {
                        keys.push(key);
                        ErrorCode::NONE
                    }
                };
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(number)
                    .with_error_code(code.code())
            });
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        let response = OffsetDeleteResponse::default().with_topics(topics.collect());
        if keys.is_empty() {
            return self.connections.respond(ticket, &header, &response);
        }
        self.connections.hold(ticket);
        let caller = self.wait(ticket, header, Reply::DeleteOffsets(response), vec![home]);
        let group = request.group_id.to_string();
        self.with(home, |coordinator, _| coordinator.delete_offsets(caller, group, keys));
    }

    /// The topics that a group's members read.
    fn subscribed(&self, home: GroupId, id: &str) -> Result<Subscribed<'_>, ErrorCode> {
        let coordinator = self.state.coordinator(home).ok_or(ErrorCode::NOT_COORDINATOR)?;
        if let Some(group) = coordinator.modern.with_members(id) {
            return Ok(Subscribed::As(group.state()));
        }
        match coordinator.classic.group(id) {
            Some(group) if group.state != State::Empty => {
                if group.protocol_type == CONSUMER {
                    Ok(Subscribed::of(group))
                } else {
                    Err(ErrorCode::NON_EMPTY_GROUP)
                }
            }
            Some(_) => Ok(Subscribed::To(BTreeSet::new())),
            None if group_of(self.groups, home).consumer_groups.group(id).is_some() => {
                Ok(Subscribed::To(BTreeSet::new()))
            }
            None => Err(ErrorCode::GROUP_ID_NOT_FOUND),
        }
    }
}

/// What the members of a group read.
pub(super) enum Subscribed<'a> {
    To(BTreeSet<String>),
    /// By names and expressions.
    As(&'a ModernState),
    /// Some member says so in words that aren't understood: any topic may be among them.
    Unknown,
}

impl Subscribed<'_> {
    pub(super) fn of(group: &Group) -> Subscribed<'static> {
        let protocol = group.protocol.clone().or_else(|| group.elect_protocol());
        let mut topics = BTreeSet::new();
        for member in group.members().values() {
            match embedded::subscription(&member.metadata(protocol.as_deref())) {
                Some(said) => topics.extend(said.topics.into_iter().map(str::to_owned)),
                None => return Subscribed::Unknown,
            }
        }
        Subscribed::To(topics)
    }

    pub(super) fn contains(&self, topic: &str) -> bool {
        match self {
            Subscribed::To(topics) => topics.contains(topic),
            Subscribed::As(state) => state.reads(topic),
            Subscribed::Unknown => true,
        }
    }
}

fn partition_of(topic: &Topic, number: i32) -> Result<PartitionKey, ErrorCode> {
    let number = usize::try_from(number).ok();
    let placement = number.and_then(|number| topic.partitions.get(number));
    placement.map(|placement| placement.key).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

fn refuse_commit(response: &mut OffsetCommitResponse, refused: Refused) {
    let Err(code) = refused else { return };
    let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    for partition in partitions.filter(|partition| partition.error_code == 0) {
        partition.error_code = code.code();
    }
}

/// Offsets by the names of their topics, for answers.
pub(super) type ByTopic<'a> = BTreeMap<&'a str, Vec<(i32, &'a CommittedOffset)>>;
