//! DescribeQuorum: who leads a group, and how far its members are.
//!
//! Kafka asks it of the one partition of `__cluster_metadata`, the topic of its own Raft group.
//! Here are several groups, so partition g of that topic stands for group g. It is no topic that
//! can be read, and offsets in the answer are Raft's indexes. Only the shard that leads a group
//! knows; any other says who does, as far as it has heard.

use std::collections::BTreeSet;

use kafka_protocol::messages::describe_quorum_request::TopicData as AskedTopic;
use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};
use kafka_protocol::protocol::StrBytes;

use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::model::ids::{GroupId, NodeId};
use crate::model::time::Now;
use crate::replica::status::Member;
use crate::shard::admin::Admin;
use crate::shard::connections::Ticket;
use crate::shard::group::Group;

/// The topic whose partitions stand for the groups.
const GROUPS_TOPIC: &str = "__cluster_metadata";

/// Kafka's word for something that isn't known.
const UNKNOWN: i64 = -1;

/// The first version that tells where the replicas are reached.
const NODES_FROM: i16 = 2;

impl<P: Page> Admin<'_, P> {
    /// Answers a DescribeQuorum request. One that names no partition asks for all groups.
    pub fn describe_quorum(
        &mut self,
        now: Now,
        ticket: Ticket,
        header: RequestHeader,
        request: &DescribeQuorumRequest,
    ) {
        let topics = request.topics.iter().map(|asked| {
            let partitions = self.asked_groups(asked).into_iter();
            let described = partitions.map(|number| match &**asked.topic_name {
                GROUPS_TOPIC => self.describe_group(number, now),
                _ => failed(number, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            });
            TopicData::default()
                .with_topic_name(asked.topic_name.clone())
                .with_partitions(described.collect())
        });
        let topics: Vec<TopicData> = topics.collect();
        let mut response = DescribeQuorumResponse::default();
        if header.api_version >= NODES_FROM {
            response.nodes = self.nodes_of(&topics);
        }
        self.connections.respond(ticket, &header, &response.with_topics(topics));
    }

    /// The groups asked for, each once: a small request must not get a huge answer.
    fn asked_groups(&self, asked: &AskedTopic) -> BTreeSet<i32> {
        match asked.partitions.as_slice() {
            [] if &**asked.topic_name == GROUPS_TOPIC => {
                (0..self.control.catalog.groups() as i32).collect()
            }
            partitions => partitions.iter().map(|asked| asked.partition_index).collect(),
        }
    }

    fn describe_group(&self, number: i32, now: Now) -> PartitionData {
        let groups = self.control.catalog.groups();
        let known = u32::try_from(number).ok().filter(|number| *number < groups);
        let Some(id) = known.map(GroupId) else {
            return failed(number, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        };
        if let Some(group) = self.groups.get(id).filter(|group| group.is_serving()) {
            return self.describe_led(number, group, now);
        }
        let unserved = failed(number, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        match self.cluster.leader(id) {
            // It was led from here, and nobody has said that he leads now.
            Some((leader, _)) if leader == self.cluster.own_id() => unserved,
            Some((leader, epoch)) => {
                unserved.with_leader_id(BrokerId(leader)).with_leader_epoch(epoch)
            }
            None => unserved,
        }
    }

    fn describe_led(&self, number: i32, group: &Group<P>, now: Now) -> PartitionData {
        let last = group.replica.last_index().0 as i64;
        let mut described = PartitionData::default()
            .with_partition_index(number)
            .with_leader_id(BrokerId(self.cluster.own_id()))
            .with_leader_epoch(group.replica.term().0 as i32)
            .with_high_watermark(group.replica.committed().0.0 as i64);
        for member in group.replica.members() {
            let state = match member.node == self.config.node {
                true => self
                    .replica_state(group.id, member.node)
                    .with_log_end_offset(last)
                    .with_last_fetch_timestamp(UNKNOWN)
                    .with_last_caught_up_timestamp(now.wallclock.0),
                false => self.describe_member(group.id, member, last, now),
            };
            let list = match member.votes {
                true => &mut described.current_voters,
                false => &mut described.observers,
            };
            list.push(state);
        }
        described
    }

    /// Another member of a group that is led here. If it has all there is, it was caught up when it
    /// was last heard; how long ago it was if it hasn't is not kept.
    fn describe_member(&self, group: GroupId, member: Member, last: i64, now: Now) -> ReplicaState {
        let matched = member.matched.map_or(UNKNOWN, |index| index.0 as i64);
        let heard = self.peers.last_heard(member.node);
        let ago = heard.map(|heard| now.time.since(heard).as_millis() as i64);
        let heard = ago.map_or(UNKNOWN, |ago| now.wallclock.0 - ago);
        self.replica_state(group, member.node)
            .with_log_end_offset(matched)
            .with_last_fetch_timestamp(heard)
            .with_last_caught_up_timestamp(if matched == last { heard } else { UNKNOWN })
    }

    fn replica_state(&self, group: GroupId, node: NodeId) -> ReplicaState {
        ReplicaState::default().with_replica_id(BrokerId(self.cluster.replica_of(group, node)))
    }

    /// Where the replicas that an answer names are reached.
    fn nodes_of(&self, topics: &[TopicData]) -> Vec<Node> {
        let partitions = topics.iter().flat_map(|topic| &topic.partitions);
        let states =
            partitions.flat_map(|group| group.current_voters.iter().chain(&group.observers));
        let named: BTreeSet<i32> = states.map(|state| state.replica_id.0).collect();
        let brokers = self.cluster.all_brokers().map(|(broker, _)| broker);
        let nodes = brokers.filter(|broker| named.contains(&broker.id)).map(|broker| {
            let listener = Listener::default()
                .with_name(StrBytes::from_static_str("PLAINTEXT"))
                .with_host(StrBytes::from_string(broker.host.to_string()))
                .with_port(broker.port as u16);
            Node::default().with_node_id(BrokerId(broker.id)).with_listeners(vec![listener])
        });
        nodes.collect()
    }
}

fn failed(number: i32, error: ErrorCode) -> PartitionData {
    PartitionData::default()
        .with_partition_index(number)
        .with_error_code(error.code())
        .with_leader_id(BrokerId(-1))
        .with_leader_epoch(-1)
        .with_high_watermark(UNKNOWN)
}
