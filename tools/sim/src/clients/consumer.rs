//! A consumer: follows the partitions of one shard by long polls, and now and then looks back.

use std::collections::BTreeMap;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::connection::{PartitionId, Reply, What};
use crate::host::Place;
use crate::plan::MS;
use crate::random::Random;
use crate::world::World;

/// A consumer.
#[derive(Debug)]
pub struct Consumer {
    version: i16,
    wait_ms: i32,
    bytes_max: i32,
    positions: BTreeMap<PartitionId, i64>,
    place: Option<Place>,
    waiting: bool,
}

impl Consumer {
    /// A consumer with the habits that chance gives it.
    pub fn new(random: &mut Random) -> Consumer {
        Consumer {
            version: random.pick(&[5, 7, 11, 12, 13, 16]),
            wait_ms: random.pick(&[0, 50, 500, 2000]),
            bytes_max: random.pick(&[1, 5000, 1 << 20]),
            positions: BTreeMap::new(),
            place: None,
            waiting: false,
        }
    }

    /// Its connection is gone.
    pub fn disconnected(&mut self) {
        self.waiting = false;
    }

    /// Does what is next. Returns when to come back.
    pub fn step(
        &mut self,
        world: &mut World,
        connection: &mut Option<u64>,
        number: usize,
    ) -> Option<u64> {
        if !world.is_loaded() {
            return None;
        }
        let again = Some(world.random.around(10 * MS));
        if self.waiting {
            return again;
        }
        if world.random.chance(2)
            && let Some(id) = connection.take()
        {
            world.disconnect(id);
        }
        if connection.is_none() {
            let place = world.random_place();
            self.place = Some(place);
            *connection = world.connect(number, place);
        }
        let Some(id) = *connection else { return again };
        let mut here: Vec<(String, PartitionId)> = world
            .topics
            .partitions()
            .filter(|(_, _, leader)| *leader == self.place)
            .map(|(topic, id, _)| (topic.to_string(), id))
            .collect();
        if here.is_empty() {
            world.disconnect(id);
            *connection = None;
            return again;
        }
        let from = world.random.below(here.len() as u64) as usize;
        here.rotate_left(from);
        here.truncate(3);
        self.waiting = true;
        if world.random.chance(5) {
            let random = &mut world.random;
            let at = 1_718_000_000_000 + random.below(world.now / MS + 1) as i64;
            let timestamp = random.pick(&[-1, -2, -2, at]);
            list_offsets(world, id, &here, timestamp);
        } else {
            let wanted: Vec<_> = here
                .into_iter()
                .map(|(topic, id)| (topic, id, self.positions.get(&id).copied().unwrap_or(0)))
                .collect();
            fetch(world, id, self.version, self.wait_ms, self.bytes_max, &wanted);
        }
        again
    }

    /// An answer has come.
    pub fn told(&mut self, world: &mut World, reply: Reply) {
        self.waiting = false;
        match reply {
            Reply::Fetch(next, _) => {
                for (partition, code, offset) in next {
                    self.positions.insert(partition, offset);
                    if code == 0 && world.random.chance(1) {
                        // Back to something old, most likely on disk by now.
                        let offset = world.random.below(offset as u64 + 1) as i64;
                        self.positions.insert(partition, offset);
                    }
                }
            }
            Reply::ListOffsets(listed, timestamp) if timestamp < 0 => {
                for (partition, code, offset) in listed {
                    if code == 0 {
                        self.positions.insert(partition, offset);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The same partitions, those of one topic side by side.
fn by_topic<T: Clone>(wanted: &[(String, PartitionId, T)]) -> Vec<(String, Vec<(PartitionId, T)>)> {
    let mut topics: Vec<(String, Vec<(PartitionId, T)>)> = Vec::new();
    for (topic, partition, with) in wanted {
        let found = topics.iter_mut().find(|(name, _)| name == topic);
        match found {
            Some((_, partitions)) => partitions.push((*partition, with.clone())),
            None => topics.push((topic.clone(), vec![(*partition, with.clone())])),
        }
    }
    topics
}

/// Sends a Fetch request.
pub fn fetch(
    world: &mut World,
    connection: u64,
    version: i16,
    wait_ms: i32,
    bytes_max: i32,
    wanted: &[(String, PartitionId, i64)],
) {
    let topics = by_topic(wanted);
    let flat = topics.iter().flat_map(|(_, partitions)| partitions.clone()).collect();
    let topics = topics.into_iter().map(|(name, partitions)| {
        let id = if version >= 13 { Uuid::from_bytes(partitions[0].0.0) } else { Uuid::nil() };
        let name = if version >= 13 { String::new() } else { name };
        let partitions = partitions.iter().map(|((_, number), offset)| {
            FetchPartition::default()
                .with_partition(*number)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(bytes_max)
        });
        FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_string(name)))
            .with_topic_id(id)
            .with_partitions(partitions.collect())
    });
    let request = FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(4 << 20)
        .with_session_epoch(-1)
        .with_topics(topics.collect());
    let wait = wait_ms as u64 * MS;
    let what = What::Fetch { wanted: flat, wait };
    world.ask(connection, (1, version), what, Some(wait), &request);
}

/// Sends a ListOffsets request.
pub fn list_offsets(
    world: &mut World,
    connection: u64,
    wanted: &[(String, PartitionId)],
    timestamp: i64,
) {
    let wanted: Vec<_> = wanted.iter().map(|(name, id)| (name.clone(), *id, ())).collect();
    let topics = by_topic(&wanted);
    let flat = topics.iter().flat_map(|(_, partitions)| partitions.iter().map(|p| p.0)).collect();
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.iter().map(|((_, number), ())| {
            ListOffsetsPartition::default()
                .with_partition_index(*number)
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp)
        });
        ListOffsetsTopic::default()
            .with_name(TopicName(StrBytes::from_string(name)))
            .with_partitions(partitions.collect())
    });
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
    let what = What::ListOffsets { wanted: flat, timestamp };
    world.ask(connection, (2, 5), what, Some(0), &request);
}
