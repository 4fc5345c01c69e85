//! Where consumers are: the next offset of each partition, shared by all who read the topic
//! together, so that partitions can change hands in the middle of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, bail};
use hutong::cli::client::{Connection, Endpoint, error_name};
use hutong::cli::cluster::topic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest};

use crate::routes::{ANSWER_TIMEOUT, Routes};

/// Consumers are no replicas.
const NO_REPLICA: BrokerId = BrokerId(-1);
/// The position of a partition whose offset is being asked for.
const UNKNOWN: i64 = -1;

/// Which end of a partition, as ListOffsets calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum End {
    /// The first record there is
    Start = -2,
    /// What comes from now on
    End = -1,
}

/// See the module.
#[derive(Debug)]
pub struct Positions(Vec<AtomicI64>);

impl Positions {
    /// By partition.
    pub fn new(offsets: &[i64]) -> Arc<Positions> {
        Arc::new(Positions(offsets.iter().map(|&offset| AtomicI64::new(offset)).collect()))
    }

    /// The next offset to be read; none while nobody knows.
    pub fn next(&self, partition: u32) -> Option<i64> {
        let next = self.0[partition as usize].load(Ordering::Relaxed);
        (next != UNKNOWN).then_some(next)
    }

    /// Goes on from `from` to `to`. False if somebody else has: what was read counts there.
    pub fn advance(&self, partition: u32, from: i64, to: i64) -> bool {
        let position = &self.0[partition as usize];
        position.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// What comes next isn't there. True for the first who says so.
    pub fn forget(&self, partition: u32, from: i64) -> bool {
        self.advance(partition, from, UNKNOWN)
    }
}

/// Asks the leaders for one end of each partition.
///
/// # Errors
/// A sentence: a leader can't be reached, or doesn't tell.
pub fn offsets(name: &str, routes: &Routes, end: End) -> anyhow::Result<Vec<i64>> {
    let mut found = vec![UNKNOWN; routes.partitions()];
    for broker in routes.brokers() {
        let led: Vec<u32> = routes.led_by(broker).collect();
        for (partition, offset) in ask(broker, name, &led, end)? {
            *found
                .get_mut(partition as usize)
                .context("it named a partition that isn't there")? = offset;
        }
    }
    match found.iter().position(|&offset| offset < 0) {
        Some(partition) => bail!("nobody tells the offsets of {name}-{partition}"),
        None => Ok(found),
    }
}

/// Lets the readers of a partition go on with the first record there is.
///
/// # Errors
/// A sentence: its leader can't be asked.
pub fn reset(
    name: &str,
    routes: &Routes,
    partition: u32,
    positions: &Positions,
) -> anyhow::Result<()> {
    let leader = routes.leader(partition).context("the partition has no leader")?;
    for (found, offset) in ask(leader, name, &[partition], End::Start)? {
        if found == partition {
            positions.advance(partition, UNKNOWN, offset);
            return Ok(());
        }
    }
    bail!("{leader} doesn't tell the offsets of {name}-{partition}")
}

fn ask(at: &Endpoint, name: &str, led: &[u32], end: End) -> anyhow::Result<Vec<(u32, i64)>> {
    let partition = |&partition: &u32| {
        ListOffsetsPartition::default()
            .with_partition_index(partition as i32)
            .with_current_leader_epoch(-1)
            .with_timestamp(end as i64)
    };
    let asked = ListOffsetsTopic::default()
        .with_name(topic(name))
        .with_partitions(led.iter().map(partition).collect());
    let request = ListOffsetsRequest::default()
        .with_replica_id(NO_REPLICA)
        .with_timeout_ms(ANSWER_TIMEOUT.as_millis() as i32)
        .with_topics(vec![asked]);
    let answer = Connection::open(at, ANSWER_TIMEOUT)?.send(&request)?;
    let mut found = Vec::new();
    for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
        if partition.error_code != 0 {
            let (number, why) = (partition.partition_index, error_name(partition.error_code));
            bail!("{at} doesn't tell the offsets of {name}-{number}: {why}");
        }
        found.push((partition.partition_index as u32, partition.offset));
    }
    Ok(found)
}

/// The highest version of Fetch that all of these brokers know.
///
/// # Errors
/// A sentence: one can't be reached, or doesn't know Fetch.
pub fn fetch_version(brokers: &[&Endpoint]) -> anyhow::Result<i16> {
    let mut version = i16::MAX;
    for broker in brokers {
        let connection = Connection::open(broker, ANSWER_TIMEOUT)?;
        version = version.min(connection.version::<FetchRequest>()?);
    }
    Ok(version)
}
