//! What a group does, scenario by scenario, and what it never does, by chance.
//!
//! All go through a [`Rig`]: the group of the leader, and a replica that gets every batch as bytes
//! and must always have the same state.

mod assignors;
mod fencing;
mod join;
mod properties;
mod records;
mod static_members;
mod subscription;
mod switching;
mod timeouts;

use std::collections::BTreeMap;
use std::time::Duration;

use super::record::{decode_batch, encode_batch};
use super::*;
use crate::model::ids::TopicId;
use crate::model::time::Time;

#[derive(Debug, Default)]
struct Catalog {
    version: u64,
    topics: BTreeMap<String, (TopicId, i32)>,
}

impl Topics for Catalog {
    fn version(&self) -> u64 {
        self.version
    }

    fn partitions(&self) -> usize {
        self.topics.values().map(|(_, partitions)| *partitions as usize).sum()
    }

    fn topic(&self, name: &str) -> Option<(TopicId, i32)> {
        self.topics.get(name).copied()
    }

    fn name(&self, id: &TopicId) -> Option<String> {
        self.topics.iter().find(|(_, topic)| topic.0 == *id).map(|(name, _)| name.clone())
    }

    fn each_name(&self, see: &mut dyn FnMut(&str)) {
        self.topics.keys().for_each(|name| see(name));
    }
}

struct Rig {
    group: ConsumerGroup,
    replica: ModernState,
    catalog: Catalog,
    settings: Settings,
    now: Time,
    batches: usize,
}

impl Rig {
    /// With these topics; the first has id 1, and so on.
    fn new(topics: &[(&str, i32)]) -> Rig {
        let mut rig = Rig {
            group: ConsumerGroup::new(),
            replica: ModernState::default(),
            catalog: Catalog::default(),
            settings: Settings::default(),
            now: Time(1),
            batches: 0,
        };
        for (number, (name, partitions)) in (1..).zip(topics) {
            rig.set_topic(name, number, *partitions);
        }
        rig
    }

    fn set_topic(&mut self, name: &str, id: u8, partitions: i32) {
        self.catalog.version += 1;
        self.catalog.topics.insert(name.to_owned(), (TopicId([id; 16]), partitions));
    }

    fn delete_topic(&mut self, name: &str) {
        self.catalog.version += 1;
        self.catalog.topics.remove(name);
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut ConsumerGroup, &Env<'_>) -> Outcome<T>) -> T {
        let env = Env { now: self.now, topics: &self.catalog, settings: &self.settings };
        let outcome = call(&mut self.group, &env);
        self.replicate(&outcome.records);
        outcome.answer
    }

    /// Applies a batch to the replica, by way of its bytes.
    fn replicate(&mut self, records: &[ModernRecord]) {
        if !records.is_empty() {
            self.batches += 1;
            let mut bytes = Vec::new();
            encode_batch(records, &mut bytes);
            for record in decode_batch(&bytes).expect("what was written can be read") {
                self.replica.apply(&record);
            }
        }
        assert_eq!(&self.replica, self.group.state());
    }

    fn beat(&mut self, request: Heartbeat<'_>) -> Result<HeartbeatAnswer, GroupError> {
        self.call(|group, env| group.heartbeat(&request, env))
    }

    fn join(&mut self, member: &str, topics: &[&str]) -> HeartbeatAnswer {
        self.beat(joining(member, topics)).expect("it may join")
    }

    /// A heartbeat that says what it has.
    fn has(&mut self, member: &str, epoch: i32, owned: &str) -> HeartbeatAnswer {
        let owned = Some(parts(owned));
        self.beat(Heartbeat { owned, ..staying(member, epoch) }).expect("it may stay")
    }

    /// A heartbeat that says nothing new.
    fn stays(&mut self, member: &str, epoch: i32) -> HeartbeatAnswer {
        self.beat(staying(member, epoch)).expect("it may stay")
    }

    fn refused(&mut self, request: Heartbeat<'_>) -> ErrorKind {
        self.beat(request).expect_err("it is refused").kind
    }

    fn after(&mut self, seconds: u64) -> Vec<(String, Fenced)> {
        self.now = self.now + Duration::from_secs(seconds);
        let gone = self.call(|group, env| group.expire(env));
        gone.into_iter().map(|(id, why)| (id.to_string(), why)).collect()
    }

    /// Another shard leads from now on: all it has is what was replicated.
    fn fail_over(&mut self) {
        let env = Env { now: self.now, topics: &self.catalog, settings: &self.settings };
        self.group = ConsumerGroup::take_over(self.replica.clone(), &env);
    }

    fn state(&self) -> GroupState {
        self.group.state().group_state()
    }
}

fn joining<'a>(member: &'a str, topics: &[&'a str]) -> Heartbeat<'a> {
    Heartbeat {
        member_id: member,
        rebalance_timeout_ms: Some(60_000),
        subscribed_topic_names: Some(topics.to_vec()),
        owned: Some(Partitions::EMPTY),
        client_id: "client",
        client_host: "/127.0.0.1",
        ..Heartbeat::default()
    }
}

fn staying(member: &str, member_epoch: i32) -> Heartbeat<'_> {
    Heartbeat {
        member_id: member,
        member_epoch,
        client_id: "client",
        client_host: "/127.0.0.1",
        ..Heartbeat::default()
    }
}

fn leaving(member: &str) -> Heartbeat<'_> {
    staying(member, -1)
}

/// "1:0-2 2:5" is partitions 0 to 2 of the topic with id 1, and 5 of that with id 2.
fn parts(text: &str) -> Partitions {
    let number = |text: &str| text.parse::<i32>().expect("a number");
    let each = text.split_whitespace().flat_map(|word| {
        let (topic, range) = word.split_once(':').expect("topic:partitions");
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let topic = TopicId([number(topic) as u8; 16]);
        (number(first)..=number(last)).map(move |partition| TopicPartition { topic, partition })
    });
    each.collect()
}
