//! Finding a group's coordinator, and asking it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::super::client::error_name;
use super::super::cluster::Cluster;
use super::super::output::printable;

/// From here on FindCoordinator names many groups, and so does OffsetFetch from version 8.
const MANY_KEYS_FROM: i16 = 4;
const MANY_GROUPS_FROM: i16 = 8;

/// Kafka's codes for "not yet, or not me (any more)".
pub const LOADING: i16 = 14;
const NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;

/// How often such a broker is asked, and the first pause in between.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(150);

/// What a group has committed, by partition.
pub type Committed = BTreeMap<(TopicName, i32), i64>;

/// A group's id as the protocol's types want it.
pub fn group_id(id: &str) -> GroupId {
    GroupId(StrBytes::from_string(id.to_owned()))
}

/// Asks again, with longer and longer pauses, as long as the answer says that it is too early.
/// Returns the last answer.
pub fn patiently<T>(
    mut ask: impl FnMut() -> anyhow::Result<T>,
    is_early: impl Fn(&T) -> bool,
) -> anyhow::Result<T> {
    for tried in 1..TRIES {
        let answer = ask()?;
        if !is_early(&answer) {
            return Ok(answer);
        }
        std::thread::sleep(PAUSE * tried);
    }
    ask()
}

/// The broker that coordinates a group.
pub fn coordinator(cluster: &mut Cluster, id: &str) -> anyhow::Result<i32> {
    // So that the brokers' addresses are known.
    cluster.metadata(Some(&[]))?;
    let is_early = |(_, code): &(i32, i16)| matches!(*code, LOADING | NOT_AVAILABLE);
    match patiently(|| find(cluster, id), is_early)? {
        (broker, 0) => Ok(broker),
        (_, code) => {
            bail!("can't find the coordinator of group {}: {}", printable(id), error_name(code))
        }
    }
}

fn find(cluster: &mut Cluster, id: &str) -> anyhow::Result<(i32, i16)> {
    let key = StrBytes::from_string(id.to_owned());
    let connection = cluster.any();
    if connection.version::<FindCoordinatorRequest>()? < MANY_KEYS_FROM {
        let answer = connection.send(&FindCoordinatorRequest::default().with_key(key))?;
        return Ok((*answer.node_id, answer.error_code));
    }
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![key]);
    let answer = connection.send(&request)?;
    let found = answer.coordinators.first().context("the answer names no coordinator")?;
    Ok((*found.node_id, found.error_code))
}

/// Sends a request to a group's coordinator, and again while it moves. `codes` takes the error
/// codes out of the answer.
pub fn ask<R: Request>(
    cluster: &mut Cluster,
    id: &str,
    request: &R,
    codes: impl Fn(&R::Response) -> Vec<i16>,
) -> anyhow::Result<R::Response> {
    let moves = |code: &i16| matches!(*code, LOADING | NOT_AVAILABLE | NOT_COORDINATOR);
    let ask = || {
        let broker = coordinator(cluster, id)?;
        Ok(cluster.broker(broker)?.send(request)?)
    };
    patiently(ask, |answer| codes(answer).iter().any(moves))
}

/// All offsets that a group has committed.
pub fn committed(cluster: &mut Cluster, id: &str) -> anyhow::Result<Committed> {
    let broker = coordinator(cluster, id)?;
    let version = cluster.broker(broker)?.version::<OffsetFetchRequest>()?;
    let request = if version >= MANY_GROUPS_FROM {
        let group =
            OffsetFetchRequestGroup::default().with_group_id(group_id(id)).with_topics(None);
        OffsetFetchRequest::default().with_groups(vec![group]).with_topics(Some(Vec::new()))
    } else {
        OffsetFetchRequest::default().with_group_id(group_id(id)).with_topics(None)
    };
    let answer = ask(cluster, id, &request, |answer| vec![code_of(answer)])?;
    if code_of(&answer) != 0 {
        let why = error_name(code_of(&answer));
        bail!("can't read the offsets of group {}: {why}", printable(id));
    }
    let mut offsets = Committed::new();
    for topic in answer.topics {
        for partition in topic.partitions {
            let key = (topic.name.clone(), partition.partition_index);
            offsets.insert(key, partition.committed_offset);
        }
    }
    for topic in answer.groups.into_iter().flat_map(|group| group.topics) {
        for partition in topic.partitions {
            let key = (topic.name.clone(), partition.partition_index);
            offsets.insert(key, partition.committed_offset);
        }
    }
    offsets.retain(|_, offset| *offset >= 0);
    Ok(offsets)
}

fn code_of(answer: &OffsetFetchResponse) -> i16 {
    answer.groups.first().map_or(answer.error_code, |group| group.error_code)
}
