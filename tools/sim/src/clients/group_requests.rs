//! The requests of a consumer group's members, and what its members tell each other through the
//! broker, which it doesn't look into.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::connection::{Claim, PartitionId, Speaker, What};
use crate::lie;
use crate::plan::MS;
use crate::topics::Topics;
use crate::world::World;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Identity {
    pub group: String,
    /// Given by the coordinator; empty before.
    pub id: String,
    /// Of a static member.
    pub instance: Option<String>,
    /// -1 before it has joined.
    pub generation: i32,
}

impl Identity {
    /// The name by which it owns partitions.
    pub fn owner(&self) -> &str {
        self.instance.as_deref().unwrap_or(&self.id)
    }

    fn speaker(&self, life: &str) -> Speaker {
        let (group, owner) = (self.group.clone(), self.owner().to_owned());
        Speaker { group, owner, life: life.to_owned() }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(identity: &Identity) -> GroupId {
    GroupId(text(&identity.group))
}

fn instance(identity: &Identity) -> Option<StrBytes> {
    identity.instance.as_deref().map(text)
}

/// FindCoordinator.
pub fn find(world: &mut World, connection: u64, group: &str) {
    let keys = vec![text(group)];
    let (version, request) = if world.random.chance(50) {
        (4, FindCoordinatorRequest::default().with_coordinator_keys(keys))
    } else {
        (2, FindCoordinatorRequest::default().with_key(text(group)))
    };
    world.ask(connection, (10, version), What::FindCoordinator, None, &request);
}

/// JoinGroup, in a version that the member keeps to. Static members need 5 at least. It says what
/// it has if it keeps that.
pub fn join(
    world: &mut World,
    connection: u64,
    who: &Identity,
    version: i16,
    (session, rebalance): (u64, u64),
    keeps: Option<&[PartitionId]>,
) {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(protocol(keeps.is_some()))
        .with_metadata(subscription(&world.topics, keeps));
    let request = JoinGroupRequest::default()
        .with_group_id(group_id(who))
        .with_member_id(text(&who.id))
        .with_group_instance_id(instance(who))
        .with_session_timeout_ms((session / MS) as i32)
        .with_rebalance_timeout_ms((rebalance / MS) as i32)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    let what = What::Join { group: who.group.clone() };
    world.ask(connection, (11, version), what, None, &request);
}

/// SyncGroup. The leader brings what each member is to own. `life` is this one's for the checks,
/// `keeps` whether it keeps what it has, `is_led` whether a member assigns.
pub fn sync(
    world: &mut World,
    connection: u64,
    who: &Identity,
    (life, keeps, is_led): (&str, bool, bool),
    assignments: &BTreeMap<String, Vec<PartitionId>>,
) {
    let assignments = assignments.iter().map(|(member, partitions)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(assignment(&world.topics, partitions))
    });
    let request = SyncGroupRequest::default()
        .with_group_id(group_id(who))
        .with_generation_id(who.generation)
        .with_member_id(text(&who.id))
        .with_group_instance_id(instance(who))
        .with_protocol_type(Some(StrBytes::from_static_str("consumer")))
        .with_protocol_name(Some(protocol(keeps)))
        .with_assignments(assignments.collect());
    let what = What::Sync { by: who.speaker(life), generation: who.generation, is_led };
    world.ask(connection, (14, 5), what, None, &request);
}

/// Heartbeat.
pub fn heartbeat(world: &mut World, connection: u64, who: &Identity, life: &str) {
    let request = HeartbeatRequest::default()
        .with_group_id(group_id(who))
        .with_generation_id(who.generation)
        .with_member_id(text(&who.id))
        .with_group_instance_id(instance(who));
    let what = What::Heartbeat { by: who.speaker(life) };
    world.ask(connection, (12, 4), what, None, &request);
}

/// What a member of the protocol in which the coordinator assigns says of itself. What it says
/// nothing of is as it was.
#[derive(Clone, Debug)]
pub struct Beat<'a> {
    /// Of the request.
    pub version: i16,
    /// This one life of the member, for the checks.
    pub life: String,
    pub rebalance: Option<u64>,
    pub topics: Option<&'a [String]>,
    pub owns: Option<&'a [PartitionId]>,
}

/// ConsumerGroupHeartbeat. A generation of -1 or -2 says that the member goes.
pub fn beat(world: &mut World, connection: u64, who: &Identity, beat: &Beat<'_>) {
    let Beat { version, rebalance, topics, owns, .. } = *beat;
    if who.generation < 0 {
        world.checks.groups.has_only(&who.group, &beat.life, &[]);
    } else if let Some(owns) = owns {
        world.checks.groups.has_only(&who.group, &beat.life, owns);
    }
    let named = |topics: &[String]| topics.iter().map(|topic| TopicName(text(topic))).collect();
    let owned = |owns: &[PartitionId]| {
        let owned = owns.iter().map(|(topic, number)| {
            TopicPartitions::default()
                .with_topic_id(Uuid::from_bytes(*topic))
                .with_partitions(vec![*number])
        });
        owned.collect()
    };
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(who))
        .with_member_id(text(&who.id))
        .with_member_epoch(who.generation)
        .with_instance_id(instance(who))
        .with_rebalance_timeout_ms(rebalance.map_or(-1, |rebalance| (rebalance / MS) as i32))
        .with_subscribed_topic_names(topics.map(named))
        .with_topic_partitions(owns.map(owned));
    let what = What::Beat { by: who.speaker(&beat.life) };
    world.ask(connection, (68, version), what, None, &request);
}

/// LeaveGroup.
pub fn leave(world: &mut World, connection: u64, who: &Identity) {
    let member = MemberIdentity::default()
        .with_member_id(text(&who.id))
        .with_group_instance_id(instance(who));
    let request =
        LeaveGroupRequest::default().with_group_id(group_id(who)).with_members(vec![member]);
    world.ask(connection, (13, 4), What::Leave, None, &request);
}

/// OffsetCommit, in version 8, or 9 if the coordinator assigns: each of these partitions gets its
/// group's next number.
pub fn commit(
    world: &mut World,
    connection: u64,
    who: &Identity,
    version: i16,
    partitions: &[PartitionId],
) {
    let mut offsets = Vec::new();
    let mut topics = Vec::new();
    for partition in partitions {
        let Some(topic) = world.topics.by_id(&partition.0) else { continue };
        let offset = world.checks.groups.next(&who.group, *partition);
        offsets.push((*partition, offset));
        let part = OffsetCommitRequestPartition::default()
            .with_partition_index(partition.1)
            .with_committed_offset(lie::committed(world.lie, offset))
            .with_committed_metadata(Some(text(who.owner())));
        topics.push(
            OffsetCommitRequestTopic::default()
                .with_name(TopicName(text(&topic.name)))
                .with_partitions(vec![part]),
        );
    }
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(who))
        .with_generation_id_or_member_epoch(who.generation)
        .with_member_id(text(&who.id))
        .with_group_instance_id(instance(who))
        .with_topics(topics);
    let what = What::Commit { group: who.group.clone(), offsets };
    world.ask(connection, (8, version), what, None, &request);
}

/// OffsetFetch, for one group in the old form or the new one.
pub fn fetch_offsets(world: &mut World, connection: u64, group: &str, wanted: &[PartitionId]) {
    let mut topics = Vec::new();
    let mut bounds = Vec::new();
    for partition in wanted {
        let Some(topic) = world.topics.by_id(&partition.0) else { continue };
        topics.push((TopicName(text(&topic.name)), partition.1));
        bounds.push((*partition, world.checks.groups.acknowledged(group, partition)));
    }
    let id = GroupId(text(group));
    let (version, request) = if world.random.chance(50) {
        let topics = topics.into_iter().map(|(name, number)| {
            OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(vec![number])
        });
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(id)
            .with_topics(Some(topics.collect()));
        (8, OffsetFetchRequest::default().with_topics(Some(Vec::new())).with_groups(vec![group]))
    } else {
        let topics = topics.into_iter().map(|(name, number)| {
            OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(vec![number])
        });
        let request =
            OffsetFetchRequest::default().with_group_id(id).with_topics(Some(topics.collect()));
        (5, request)
    };
    let what = What::FetchOffsets { group: group.to_owned(), wanted: bounds };
    world.ask(connection, (9, version), what, None, &request);
}

fn put_text(into: &mut BytesMut, text: &str) {
    into.put_i16(text.len() as i16);
    into.put_slice(text.as_bytes());
}

/// How members assign: anew each time, or so that nobody gives up more than it must.
fn protocol(keeps: bool) -> StrBytes {
    StrBytes::from_static_str(if keeps { "cooperative-sticky" } else { "range" })
}

/// What a member says of itself, as Kafka's clients write it: version 0, or 1 with what it has.
fn subscription(topics: &Topics, keeps: Option<&[PartitionId]>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(i16::from(keeps.is_some()));
    let names: Vec<&str> = topics.live().map(|topic| topic.name.as_str()).collect();
    out.put_i32(names.len() as i32);
    names.iter().for_each(|name| put_text(&mut out, name));
    out.put_i32(-1);
    if let Some(owned) = keeps {
        put_partitions(&mut out, topics, owned);
    }
    out.freeze()
}

/// What a member that joins says that it has.
///
/// # Errors
/// It isn't what `subscription` has made.
pub fn claim(topics: &Topics, member: &str, said: &Bytes) -> Result<Claim, String> {
    let broken = || format!("groups: what {member} has said can't be read: {said:?}");
    let mut rest = said.clone();
    let version = rest.try_get_i16().map_err(|_| broken())?;
    for _ in 0..rest.try_get_i32().map_err(|_| broken())? {
        let length = usize::from(rest.try_get_u16().map_err(|_| broken())?);
        if rest.len() < length {
            return Err(broken());
        }
        rest.advance(length);
    }
    rest.try_get_i32().map_err(|_| broken())?;
    let named = if version > 0 { partitions(&mut rest).ok_or_else(broken)? } else { Vec::new() };
    Ok((member.to_owned(), known(topics, named)))
}

/// A member's assignment, as Kafka's clients write it.
fn assignment(topics: &Topics, partitions: &[PartitionId]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    put_partitions(&mut out, topics, partitions);
    out.put_i32(-1);
    out.freeze()
}

fn put_partitions(out: &mut BytesMut, topics: &Topics, partitions: &[PartitionId]) {
    let named = partitions.iter().filter_map(|partition| {
        topics.by_id(&partition.0).map(|topic| (topic.name.as_str(), partition.1))
    });
    let named: Vec<_> = named.collect();
    out.put_i32(named.len() as i32);
    for (name, number) in named {
        put_text(out, name);
        out.put_i32(1);
        out.put_i32(number);
    }
}

/// What a member was assigned. An empty one is nothing.
///
/// # Errors
/// It isn't what `assignment` has made.
pub fn assigned(topics: &Topics, bytes: &Bytes) -> Result<Vec<PartitionId>, String> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut rest = bytes.clone();
    let named = rest.try_get_i16().ok().and_then(|_| partitions(&mut rest));
    let broken = || format!("groups: an assignment of {} bytes can't be read", bytes.len());
    Ok(known(topics, named.ok_or_else(broken)?))
}

/// Topics by name, each with a partition.
fn partitions(rest: &mut Bytes) -> Option<Vec<(String, i32)>> {
    let mut found = Vec::new();
    for _ in 0..rest.try_get_i32().ok()? {
        let length = usize::from(rest.try_get_u16().ok()?);
        if rest.len() < length {
            return None;
        }
        let name = String::from_utf8(rest.split_to(length).to_vec()).ok()?;
        for _ in 0..rest.try_get_i32().ok()? {
            found.push((name.clone(), rest.try_get_i32().ok()?));
        }
    }
    Some(found)
}

/// Those of topics that there are.
fn known(topics: &Topics, named: Vec<(String, i32)>) -> Vec<PartitionId> {
    let ids = named.iter().filter_map(|(topic, number)| {
        let topic = topics.by_name.get(topic)?;
        Some((topic.id?, *number))
    });
    ids.collect()
}
