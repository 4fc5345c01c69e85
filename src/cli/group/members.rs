//! A group and its members, whichever protocol it uses.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use bytes::{Buf, Bytes};
use kafka_protocol::messages::consumer_group_describe_response as modern;
use kafka_protocol::messages::describe_groups_response as classic;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, DescribeGroupsRequest, TopicName,
};
use kafka_protocol::protocol::{Decodable, Message};

use super::super::client::error_name;
use super::super::cluster::Cluster;
use super::coordinator::{ask, coordinator, group_id};

/// The protocol type of consumers; others write what they like.
const CONSUMER: &str = "consumer";
const CLASSIC: &str = "classic";

/// The state of a group that isn't there, for brokers before they said so by an error.
const DEAD: &str = "Dead";
/// Kafka's code for a group that isn't there, or isn't of the kind that was asked for.
const GROUP_ID_NOT_FOUND: i16 = 69;
/// Kafka's code for a group that can't be of this kind, as it has no name.
const INVALID_GROUP_ID: i16 = 24;
/// MemberType of a member that speaks the classic protocol.
const CLASSIC_MEMBER: i8 = 0;

/// A group.
pub struct Group {
    pub id: String,
    pub state: String,
    /// The protocol it uses: classic or consumer.
    pub kind: &'static str,
    pub protocol_type: String,
    /// The assignor, in the words of its protocol.
    pub assignor: String,
    /// Only of the consumer protocol.
    pub epoch: Option<i32>,
    pub members: Vec<Member>,
}

/// A member of a group.
pub struct Member {
    pub id: String,
    pub instance: Option<String>,
    pub client: String,
    pub host: String,
    /// Only in groups of the consumer protocol.
    pub epoch: Option<i32>,
    /// The protocol it speaks.
    pub kind: &'static str,
    /// What it has.
    pub partitions: Vec<(TopicName, i32)>,
}

/// Which member has a partition.
pub type Owners<'a> = BTreeMap<(TopicName, i32), &'a Member>;

impl Group {
    /// The members by what they own.
    pub fn owners(&self) -> Owners<'_> {
        let each = self.members.iter().flat_map(|member| {
            member.partitions.iter().map(move |partition| (partition.clone(), member))
        });
        each.collect()
    }
}

/// Asks a group's coordinator for it: first as a group of the consumer protocol, if the broker
/// knows that.
pub fn group(cluster: &mut Cluster, id: &str) -> anyhow::Result<Group> {
    let broker = coordinator(cluster, id)?;
    if cluster.broker(broker)?.version::<ConsumerGroupDescribeRequest>().is_ok() {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(id)]);
        let answer = ask(cluster, id, &request, |answer| {
            answer.groups.iter().map(|group| group.error_code).collect()
        })?;
        let group = answer.groups.into_iter().next().context("the answer names no group")?;
        match group.error_code {
            0 => return Ok(of_modern(group)),
            // The classic group without a name has no members, and may have offsets.
            GROUP_ID_NOT_FOUND | INVALID_GROUP_ID => {}
            code => bail!("{}", error_name(code)),
        }
    }
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(id)]);
    let answer = ask(cluster, id, &request, |answer| {
        answer.groups.iter().map(|group| group.error_code).collect()
    })?;
    let group = answer.groups.into_iter().next().context("the answer names no group")?;
    if group.group_state.as_str() == DEAD || group.error_code == GROUP_ID_NOT_FOUND {
        bail!("there is no such group");
    }
    if group.error_code != 0 {
        bail!("{}", error_name(group.error_code));
    }
    Ok(of_classic(group))
}

fn of_modern(group: modern::DescribedGroup) -> Group {
    let members = group.members.into_iter().map(|member| Member {
        id: member.member_id.to_string(),
        instance: member.instance_id.map(|instance| instance.to_string()),
        client: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: Some(member.member_epoch),
        kind: if member.member_type == CLASSIC_MEMBER { CLASSIC } else { CONSUMER },
        partitions: {
            let topics = member.assignment.topic_partitions.into_iter();
            let named = topics.map(|topic| (topic.topic_name, topic.partitions));
            named.flat_map(|(name, all)| all.into_iter().map(move |p| (name.clone(), p))).collect()
        },
    });
    Group {
        members: members.collect(),
        id: group.group_id.to_string(),
        state: group.group_state.to_string(),
        kind: CONSUMER,
        protocol_type: CONSUMER.to_owned(),
        assignor: group.assignor_name.to_string(),
        epoch: Some(group.group_epoch),
    }
}

fn of_classic(group: classic::DescribedGroup) -> Group {
    let consumers = group.protocol_type.as_str() == CONSUMER;
    let members = group.members.into_iter().map(|member| Member {
        id: member.member_id.to_string(),
        instance: member.group_instance_id.map(|instance| instance.to_string()),
        client: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: None,
        kind: CLASSIC,
        partitions: if consumers { assigned(&member.member_assignment) } else { Vec::new() },
    });
    Group {
        members: members.collect(),
        id: group.group_id.to_string(),
        state: group.group_state.to_string(),
        kind: CLASSIC,
        protocol_type: group.protocol_type.to_string(),
        assignor: group.protocol_data.to_string(),
        epoch: None,
    }
}

/// The partitions in an assignment; none if it can't be read.
fn assigned(assignment: &Bytes) -> Vec<(TopicName, i32)> {
    let mut bytes = assignment.clone();
    if bytes.remaining() < 2 {
        return Vec::new();
    }
    // Later versions only add to the end.
    let version = bytes.get_i16().min(ConsumerProtocolAssignment::VERSIONS.max);
    let Ok(assignment) = ConsumerProtocolAssignment::decode(&mut bytes, version) else {
        return Vec::new();
    };
    let topics = assignment.assigned_partitions.into_iter();
    topics.flat_map(|t| t.partitions.into_iter().map(move |p| (t.topic.clone(), p))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_and_rubbish_is_none() {
        let bytes = b"\0\x01\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x03\xff\xff\xff\xff";
        let keys = assigned(&Bytes::from_static(bytes));
        let keys: Vec<(&str, i32)> = keys.iter().map(|(t, p)| (t.0.as_str(), *p)).collect();
        assert_eq!(keys, [("t", 0), ("t", 3)]);
        assert!(assigned(&Bytes::from_static(b"\0")).is_empty());
        assert!(assigned(&Bytes::from_static(b"\xff\xffabc")).is_empty());
    }
}
