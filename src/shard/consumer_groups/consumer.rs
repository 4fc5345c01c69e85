//! ConsumerGroupHeartbeat and ConsumerGroupDescribe: the protocol of KIP-848.

use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment as DescribedAssignment, DescribedGroup, Member, TopicPartitions as DescribedTopic,
};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{Coordination, Reply, group_of, modern_settings, text};
use crate::coordinator::modern::{
    DescribedMember, ErrorKind, GroupError, Heartbeat, HeartbeatAnswer, Partitions, TopicPartition,
};
use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::model::ids::{GroupId, TopicId};
use crate::shard::connections::Ticket;

/// From this version on, members make their ids themselves.
const OWN_ID_FROM: i16 = 1;
/// From this version on, ConsumerGroupDescribe tells which protocol a member speaks.
const MEMBER_TYPE_FROM: i16 = 1;
/// The epoch of a member that joins.
const JOIN_EPOCH: i32 = 0;

impl<P: Page> Coordination<'_, P> {
    /// Takes a ConsumerGroupHeartbeat request.
    pub fn consumer_heartbeat(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        client_id: &str,
        request: &ConsumerGroupHeartbeatRequest,
    ) {
        let home = match self.route_named(&request.group_id) {
            Ok(home) => home,
            Err(code) => return self.connections.respond(ticket, &header, &refused(code, None)),
        };
        let drawn;
        let mut member_id = request.member_id.as_str();
        let joins = request.member_epoch == JOIN_EPOCH;
        if member_id.is_empty() && joins && header.api_version < OWN_ID_FROM {
            drawn = Uuid::from_bytes(self.random.uuid()).to_string();
            member_id = &drawn;
        }
        let host = self.connections.host(ticket.connection);
        let beat = word_heartbeat(member_id, (client_id, &host), request);
        self.connections.hold(ticket);
        let caller = self.wait(ticket, header, Reply::Heartbeat, vec![home]);
        self.with_env(home, |coordinator, context, env| {
            coordinator.consumer_heartbeat(context, env, caller, &request.group_id, &beat);
        });
    }

    /// Answers a ConsumerGroupDescribe request with what has been recorded.
    pub fn describe_consumer_groups(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &ConsumerGroupDescribeRequest,
    ) {
        let groups = request.group_ids.iter().map(|id| {
            let described = DescribedGroup::default().with_group_id(id.clone());
            match self.route_named(id) {
                Ok(home) => self.describe_consumer(header.api_version, home, described),
                Err(code) => described.with_error_code(code.code()),
            }
        });
        let response = ConsumerGroupDescribeResponse::default().with_groups(groups.collect());
        self.connections.respond(ticket, &header, &response);
    }

    fn describe_consumer(
        &self,
        version: i16,
        home: GroupId,
        described: DescribedGroup,
    ) -> DescribedGroup {
        let id = described.group_id.as_str();
        let stored = group_of(self.groups, home).consumer_groups.group(id);
        let classic = self.state.coordinator(home).and_then(|c| c.classic.group(id));
        let state = stored.and_then(|stored| stored.modern()).filter(|_| classic.is_none());
        let Some(state) = state else {
            let there = stored.is_some() || classic.is_some();
            let what = if there { "is not a consumer group" } else { "not found" };
            let message = StrBytes::from_string(format!("Group {id} {what}."));
            return described
                .with_error_code(ErrorCode::GROUP_ID_NOT_FOUND.code())
                .with_error_message(Some(message));
        };
        let settings = modern_settings(&self.catalog.broker_config().consumer_groups);
        let told = state.describe(settings.default_assignor());
        let members = told.members.iter().map(|member| self.describe_member(version, member));
        let members = members.collect();
        described
            .with_group_state(StrBytes::from_static_str(told.state.name()))
            .with_group_epoch(told.epoch)
            .with_assignment_epoch(told.assignment_epoch)
            .with_assignor_name(StrBytes::from_static_str(told.assignor))
            .with_members(members)
    }

    fn describe_member(&self, version: i16, told: &DescribedMember) -> Member {
        let names = told.subscription.names.iter();
        let mut member = Member::default()
            .with_member_id(text(&told.member_id))
            .with_instance_id(told.instance_id.as_deref().map(text))
            .with_rack_id(told.rack_id.as_deref().map(text))
            .with_member_epoch(told.member_epoch)
            .with_client_id(text(&told.client_id))
            .with_client_host(text(&told.client_host))
            .with_subscribed_topic_names(names.map(|name| TopicName(text(name))).collect())
            .with_subscribed_topic_regex(told.subscription.regex.as_deref().map(text))
            .with_assignment(self.with_names(&told.assignment))
            .with_target_assignment(self.with_names(&told.target));
        if version >= MEMBER_TYPE_FROM {
            member.member_type = told.member_type;
        }
        member
    }

    /// Topics that are gone are left out.
    fn with_names(&self, partitions: &Partitions) -> DescribedAssignment {
        let topics = partitions.by_topic().filter_map(|(id, run)| {
            let topic = self.catalog.topic_by_id(&id)?;
            Some(
                DescribedTopic::default()
                    .with_topic_id(Uuid::from_bytes(id.0))
                    .with_topic_name(TopicName(text(&topic.name)))
                    .with_partitions(run.iter().map(|partition| partition.partition).collect()),
            )
        });
        DescribedAssignment::default().with_topic_partitions(topics.collect())
    }
}

fn word_heartbeat<'a>(
    member_id: &'a str,
    (client_id, client_host): (&'a str, &'a str),
    request: &'a ConsumerGroupHeartbeatRequest,
) -> Heartbeat<'a> {
    let names = request.subscribed_topic_names.as_ref();
    let owned = request.topic_partitions.as_ref().map(|topics| {
        let all = topics.iter().flat_map(|topic| {
            let id = TopicId(*topic.topic_id.as_bytes());
            topic.partitions.iter().map(move |n| TopicPartition { topic: id, partition: *n })
        });
        all.collect::<Partitions>()
    });
    Heartbeat {
        member_id,
        member_epoch: request.member_epoch,
        instance_id: request.instance_id.as_deref(),
        rack_id: request.rack_id.as_deref(),
        rebalance_timeout_ms: Some(request.rebalance_timeout_ms).filter(|ms| *ms != -1),
        subscribed_topic_names: names.map(|names| names.iter().map(|n| n.as_str()).collect()),
        subscribed_topic_regex: request.subscribed_topic_regex.as_deref(),
        server_assignor: request.server_assignor.as_deref(),
        owned,
        client_id,
        client_host,
    }
}

/// What a member is told.
pub(super) fn response(
    beaten: Result<HeartbeatAnswer, GroupError>,
) -> ConsumerGroupHeartbeatResponse {
    let answer = match beaten {
        Ok(answer) => answer,
        Err(error) => return refused(code_of(error.kind), Some(error.message)),
    };
    let assignment = answer.assignment.map(|partitions| {
        let topics = partitions.by_topic().map(|(id, run)| {
            TopicPartitions::default()
                .with_topic_id(Uuid::from_bytes(id.0))
                .with_partitions(run.iter().map(|partition| partition.partition).collect())
        });
        Assignment::default().with_topic_partitions(topics.collect())
    });
    let interval = i32::try_from(answer.heartbeat_interval.as_millis()).unwrap_or(i32::MAX);
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(text(&answer.member_id)))
        .with_member_epoch(answer.member_epoch)
        .with_heartbeat_interval_ms(interval)
        .with_assignment(assignment)
}

/// What a member is told that is refused.
pub(super) fn refused(code: ErrorCode, message: Option<String>) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default()
        .with_error_code(code.code())
        .with_error_message(message.map(StrBytes::from_string))
}

fn code_of(kind: ErrorKind) -> ErrorCode {
    match kind {
        ErrorKind::InvalidRequest => ErrorCode::INVALID_REQUEST,
        ErrorKind::UnsupportedAssignor => ErrorCode::UNSUPPORTED_ASSIGNOR,
        ErrorKind::InvalidRegularExpression => ErrorCode::INVALID_REGULAR_EXPRESSION,
        ErrorKind::UnknownMemberId => ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorKind::FencedMemberEpoch => ErrorCode::FENCED_MEMBER_EPOCH,
        ErrorKind::StaleMemberEpoch => ErrorCode::STALE_MEMBER_EPOCH,
        ErrorKind::FencedInstanceId => ErrorCode::FENCED_INSTANCE_ID,
        ErrorKind::UnreleasedInstanceId => ErrorCode::UNRELEASED_INSTANCE_ID,
        ErrorKind::GroupMaxSizeReached => ErrorCode::GROUP_MAX_SIZE_REACHED,
        ErrorKind::UnsupportedVersion => ErrorCode::UNSUPPORTED_VERSION,
        ErrorKind::InconsistentGroupProtocol => ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        ErrorKind::IllegalGeneration => ErrorCode::ILLEGAL_GENERATION,
        ErrorKind::RebalanceInProgress => ErrorCode::REBALANCE_IN_PROGRESS,
        ErrorKind::GroupIdNotFound => ErrorCode::GROUP_ID_NOT_FOUND,
        ErrorKind::PolicyViolation => ErrorCode::POLICY_VIOLATION,
        ErrorKind::LoadInProgress => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    }
}
