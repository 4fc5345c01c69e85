//! What a group's members were assigned, as their clients write it.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{ConsumerProtocolAssignment, TopicName};
use kafka_protocol::protocol::{Decodable, Message};

/// The protocol type of consumers; others write what they like.
const CONSUMER: &str = "consumer";

/// Which member has a partition.
pub type Owners<'a> = BTreeMap<(TopicName, i32), &'a DescribedGroupMember>;

/// The members of a group by what they own.
pub fn owners(group: &DescribedGroup) -> Owners<'_> {
    let mut owners = Owners::new();
    if group.protocol_type.as_str() != CONSUMER {
        return owners;
    }
    for member in &group.members {
        for key in assigned(&member.member_assignment) {
            owners.insert(key, member);
        }
    }
    owners
}

/// The partitions in an assignment; none if it can't be read.
pub fn assigned(assignment: &Bytes) -> Vec<(TopicName, i32)> {
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
