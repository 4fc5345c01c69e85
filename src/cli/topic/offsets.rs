//! The earliest and latest offsets of partitions, asked of their leaders.

use std::collections::BTreeMap;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};

use super::super::client::error_name;
use super::super::cluster::Cluster;

/// The times that stand for the two ends of a partition.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// The replica id of a client.
const NO_REPLICA: BrokerId = BrokerId(-1);

/// A partition's offsets, or why they are not known.
pub type Offsets = BTreeMap<(TopicName, i32), Result<Ends, String>>;

/// Where a partition begins, and the offset that its next record gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The first offset that can be read.
    pub earliest: i64,
    /// The offset after the last that can be read.
    pub latest: i64,
}

/// Asks each leader for the ends of the partitions it leads. A leader that can't be asked is no
/// failure of the whole: its partitions say so.
pub fn offsets(cluster: &mut Cluster, topics: &[MetadataResponseTopic]) -> Offsets {
    let mut found = Offsets::new();
    for (leader, partitions) in by_leader(topics) {
        let earliest = ask(cluster, leader, &partitions, EARLIEST);
        let latest = ask(cluster, leader, &partitions, LATEST);
        for key in partitions {
            let ends = match (end(&earliest, &key), end(&latest, &key)) {
                (Ok(earliest), Ok(latest)) => Ok(Ends { earliest, latest }),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
            found.insert(key, ends);
        }
    }
    found
}

/// The offset of the first record of each partition that is of that time (milliseconds since 1970)
/// or later; `None` where there is none.
pub fn at_time(
    cluster: &mut Cluster,
    topics: &[MetadataResponseTopic],
    time: i64,
) -> BTreeMap<(TopicName, i32), Result<Option<i64>, String>> {
    let mut found = BTreeMap::new();
    for (leader, partitions) in by_leader(topics) {
        let answers = ask(cluster, leader, &partitions, time);
        for key in partitions {
            let offset = end(&answers, &key).map(|offset| (offset >= 0).then_some(offset));
            found.insert(key, offset);
        }
    }
    found
}

type Keys = Vec<(TopicName, i32)>;
type Answers = Result<BTreeMap<(TopicName, i32), ListOffsetsPartitionResponse>, String>;

fn by_leader(topics: &[MetadataResponseTopic]) -> BTreeMap<i32, Keys> {
    let mut leaders: BTreeMap<i32, Keys> = BTreeMap::new();
    for topic in topics {
        let Some(name) = &topic.name else { continue };
        for partition in topic.partitions.iter().filter(|p| *p.leader_id >= 0) {
            let key = (name.clone(), partition.partition_index);
            leaders.entry(*partition.leader_id).or_default().push(key);
        }
    }
    leaders
}

fn ask(cluster: &mut Cluster, leader: i32, partitions: &Keys, time: i64) -> Answers {
    let mut topics: BTreeMap<&TopicName, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for (name, partition) in partitions {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(*partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(time);
        topics.entry(name).or_default().push(asked);
    }
    let topic = |(name, partitions): (&TopicName, _)| {
        ListOffsetsTopic::default().with_name(name.clone()).with_partitions(partitions)
    };
    let request = ListOffsetsRequest::default()
        .with_replica_id(NO_REPLICA)
        .with_timeout_ms(cluster.timeout_ms())
        .with_topics(topics.into_iter().map(topic).collect());
    let connection = cluster.broker(leader).map_err(|error| format!("{error:#}"))?;
    let answer = connection.send(&request).map_err(|error| error.to_string())?;
    let answers = answer.topics.into_iter().flat_map(|topic| {
        let name = topic.name;
        topic.partitions.into_iter().map(move |p| ((name.clone(), p.partition_index), p))
    });
    Ok(answers.collect())
}

fn end(answers: &Answers, key: &(TopicName, i32)) -> Result<i64, String> {
    match answers.as_ref().map_err(Clone::clone)?.get(key) {
        Some(partition) if partition.error_code == 0 => Ok(partition.offset),
        Some(partition) => Err(error_name(partition.error_code)),
        None => Err("its leader left it out of its answer".to_owned()),
    }
}
