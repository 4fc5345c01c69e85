//! Waiting until nothing moves any more, so that one read of the whole topic can be the truth.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hutong::cli::client::{Endpoint, error_name};
use hutong::cli::cluster::topic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};

use crate::routes::reach;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Ends that haven't moved for so long are stable.
const STABLE: Duration = Duration::from_secs(2);

/// ListOffsets' word for the end of a log.
pub const END: i64 = -1;
/// And for its beginning.
pub const BEGINNING: i64 = -2;

/// Where the logs begin and end, by partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub begins: Vec<i64>,
    pub ends: Vec<i64>,
}

/// Waits until every partition has a leader and an end that holds still and holds what was
/// acknowledged up to `acked_ends`. When `timeout` has passed it takes what it then finds: what
/// is missing is for the checker to tell.
///
/// # Errors
/// Not all partitions could be asked for their ends, to the last; why.
pub fn settle(
    brokers: &[Endpoint],
    name: &str,
    acked_ends: &[i64],
    timeout: Duration,
) -> anyhow::Result<Span> {
    let deadline = Instant::now() + timeout;
    let mut still: Option<(Instant, Vec<i64>)> = None;
    loop {
        let found = offsets(brokers, name, acked_ends.len(), END);
        let now = Instant::now();
        match found {
            Ok(ends) => {
                let since = match &still {
                    Some((since, before)) if *before == ends => *since,
                    _ => now,
                };
                let holds_all = ends.iter().zip(acked_ends).all(|(end, acked)| end >= acked);
                if (holds_all && now >= since + STABLE) || now >= deadline {
                    let begins = offsets(brokers, name, acked_ends.len(), BEGINNING)?;
                    return Ok(Span { begins, ends });
                }
                still = Some((since, ends));
            }
            Err(error) if now >= deadline => {
                return Err(error.context(format!(
                    "the cluster has not settled within {} seconds",
                    timeout.as_secs()
                )));
            }
            Err(_) => still = None,
        }
        thread::sleep(PAUSE);
    }
}

/// The beginning or the end of each partition's log, as its leader tells.
///
/// # Errors
/// A sentence on the first partition that can't tell.
pub fn offsets(
    brokers: &[Endpoint],
    name: &str,
    partitions: usize,
    which: i64,
) -> anyhow::Result<Vec<i64>> {
    let mut cluster = reach(brokers)?;
    let metadata = cluster.metadata(Some(&[name.to_owned()]))?;
    let found = metadata.topics.first().filter(|topic| topic.error_code == 0);
    let found = found.with_context(|| format!("there is no topic {name} now"))?;
    let mut by_leader: BTreeMap<i32, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for partition in &found.partitions {
        if *partition.leader_id < 0 {
            bail!("partition {} of {name} has no leader", partition.partition_index);
        }
        let wanted = ListOffsetsPartition::default()
            .with_partition_index(partition.partition_index)
            .with_timestamp(which);
        by_leader.entry(*partition.leader_id).or_default().push(wanted);
    }
    let mut offsets = vec![None; partitions];
    for (leader, wanted) in by_leader {
        let wanted = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(wanted);
        let request =
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]);
        let answer = cluster.broker(leader)?.send(&request)?;
        for part in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            let number = part.partition_index;
            if part.error_code != 0 {
                let error = error_name(part.error_code);
                bail!("partition {number} of {name} can't tell its offsets: {error}");
            }
            if let Some(slot) = offsets.get_mut(number as usize) {
                *slot = Some(part.offset);
            }
        }
    }
    let missing = offsets.iter().position(Option::is_none);
    if let Some(number) = missing {
        bail!("nobody knows partition {number} of {name}");
    }
    Ok(offsets.into_iter().flatten().collect())
}
