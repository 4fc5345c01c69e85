//! The catalog's state and its lookups. Changed by `apply` alone.
//!
//! Topics lie in slots, and maps lead to a slot, so that a produce request finds its topic with
//! one hash and no allocation. Slots are an implementation detail: catalogs are equal when their
//! topics are, in whatever slots.

use std::collections::BTreeMap;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::broker_config::BrokerConfig;
use super::layout::Layout;
use super::name::collision_form;
use super::placement::home_of_consumer_group;
use super::topic_config::TopicConfig;
use crate::model::ids::{GroupId, NodeId, PartitionKey, TopicId};

/// The first partition key that is given. 0 is left for what belongs to no partition.
const FIRST_KEY: u32 = 1;

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name, unique.
    pub name: Rc<str>,
    /// Its id, unique, never zero.
    pub id: TopicId,
    /// Where its partitions are, from partition 0. Never empty; only ever grows.
    pub partitions: Vec<PartitionPlacement>,
    /// Its settings.
    pub config: TopicConfig,
    /// How many copies of each partition there are.
    pub replication_factor: i16,
}

/// Where one partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionPlacement {
    /// The partition, as the journal names it.
    pub key: PartitionKey,
    /// The group whose journal holds it, one of the layout's.
    pub group: GroupId,
}

/// All topics and settings of the cluster, as of one command.
///
/// Lives on one shard; every shard has its own.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Commands applied so far, refused ones included. Equal versions mean equal catalogs.
    pub version: u64,
    pub(super) layout: Layout,
    /// How many partitions each group has.
    pub(super) loads: Vec<u32>,
    pub(super) next_key: u32,
    pub(super) next_producer_id: i64,
    pub(super) broker_config: BrokerConfig,
    slots: Vec<Option<Topic>>,
    free_slots: Vec<u32>,
    /// In name order, for listing.
    by_name: BTreeMap<Rc<str>, u32>,
    /// The same by hash, for requests. Shares the names' memory.
    by_name_bytes: FxHashMap<Rc<[u8]>, u32>,
    by_id: FxHashMap<TopicId, u32>,
    by_collision_form: FxHashMap<String, u32>,
    by_key: FxHashMap<PartitionKey, (u32, i32)>,
}

impl Catalog {
    /// An empty catalog of a cluster that was formed of `nodes`, ascending, with `groups` groups.
    pub fn new(groups: u32, nodes: &[NodeId]) -> Catalog {
        Catalog::with_layout(Layout::formed(groups, nodes))
    }

    pub(super) fn with_layout(layout: Layout) -> Catalog {
        Catalog {
            version: 0,
            loads: vec![0; layout.groups.len()],
            layout,
            next_key: FIRST_KEY,
            next_producer_id: 0,
            broker_config: BrokerConfig::default(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            by_name: BTreeMap::new(),
            by_name_bytes: FxHashMap::default(),
            by_id: FxHashMap::default(),
            by_collision_form: FxHashMap::default(),
            by_key: FxHashMap::default(),
        }
    }

    /// The topic of that name. One hash, no allocation.
    pub fn topic(&self, name: &[u8]) -> Option<&Topic> {
        self.slot(*self.by_name_bytes.get(name)?)
    }

    /// The same, for who asks for the same topic again and again: `last` is where the one before
    /// was found, and any number to begin with.
    #[inline]
    pub fn topic_again(&self, name: &[u8], last: &mut u32) -> Option<&Topic> {
        if let Some(topic) = self.slot(*last)
            && topic.name.as_bytes() == name
        {
            return Some(topic);
        }
        *last = *self.by_name_bytes.get(name)?;
        self.slot(*last)
    }

    /// The topic of that id. One hash, no allocation.
    pub fn topic_by_id(&self, id: &TopicId) -> Option<&Topic> {
        self.slot(*self.by_id.get(id)?)
    }

    /// All topics, in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values().filter_map(|&slot| self.slot(slot))
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.by_name.len()
    }

    /// The topic that a partition belongs to, and its number there. One hash, no allocation.
    pub fn partition(&self, key: PartitionKey) -> Option<(&Topic, i32)> {
        let &(slot, number) = self.by_key.get(&key)?;
        Some((self.slot(slot)?, number))
    }

    /// Whether a partition was here and is gone for good. One that isn't here may also be to come.
    pub fn was_deleted(&self, key: PartitionKey) -> bool {
        key.0 < self.next_key && !self.by_key.contains_key(&key)
    }

    /// How many partitions all topics have together.
    pub fn partition_count(&self) -> usize {
        self.by_key.len()
    }

    /// The group that keeps a consumer group, its offsets and its members.
    pub fn home_of_consumer_group(&self, id: &str) -> GroupId {
        home_of_consumer_group(id, self.layout.formed_groups)
    }

    /// Which nodes there are, and what they hold.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How many groups there are.
    pub fn groups(&self) -> u32 {
        self.layout.groups.len() as u32
    }

    /// The broker settings that were changed while the cluster ran.
    pub fn broker_config(&self) -> &BrokerConfig {
        &self.broker_config
    }

    /// The last name in name order.
    pub(super) fn topics_end(&self) -> Option<&str> {
        self.by_name.last_key_value().map(|(name, _)| &**name)
    }

    /// The topic whose name differs from `name` in nothing but '.' and '_', or in nothing.
    pub(super) fn colliding(&self, name: &str) -> Option<&Topic> {
        self.slot(*self.by_collision_form.get(&collision_form(name)?)?)
    }

    /// Adds a topic, whose name, id and keys aren't in use.
    pub(super) fn insert(&mut self, topic: Topic) {
        let slot = self.free_slots.pop().unwrap_or(self.slots.len() as u32);
        for (number, partition) in (0..).zip(&topic.partitions) {
            self.by_key.insert(partition.key, (slot, number));
            self.loads[partition.group.0 as usize] += 1;
        }
        if let Some(form) = collision_form(&topic.name) {
            self.by_collision_form.insert(form, slot);
        }
        self.by_id.insert(topic.id, slot);
        self.by_name_bytes.insert(Rc::from(Rc::clone(&topic.name)), slot);
        self.by_name.insert(Rc::clone(&topic.name), slot);
        match self.slots.get_mut(slot as usize) {
            Some(free) => *free = Some(topic),
            None => self.slots.push(Some(topic)),
        }
    }

    /// Takes a topic out.
    pub(super) fn remove(&mut self, id: &TopicId) -> Option<Topic> {
        let slot = self.by_id.remove(id)?;
        let topic = self.slots.get_mut(slot as usize)?.take()?;
        self.free_slots.push(slot);
        self.by_name.remove(&topic.name);
        self.by_name_bytes.remove(topic.name.as_bytes());
        if let Some(form) = collision_form(&topic.name) {
            self.by_collision_form.remove(&form);
        }
        for partition in &topic.partitions {
            self.by_key.remove(&partition.key);
            self.loads[partition.group.0 as usize] -= 1;
        }
        Some(topic)
    }

    /// Adds partitions, whose keys aren't in use, to a topic that is there.
    pub(super) fn extend(&mut self, id: &TopicId, partitions: Vec<PartitionPlacement>) {
        let Some(&slot) = self.by_id.get(id) else { return };
        let Some(Some(topic)) = self.slots.get_mut(slot as usize) else { return };
        for partition in partitions {
            self.by_key.insert(partition.key, (slot, topic.partitions.len() as i32));
            self.loads[partition.group.0 as usize] += 1;
            topic.partitions.push(partition);
        }
    }

    /// Gives a topic that is there other settings.
    pub(super) fn configure(&mut self, id: &TopicId, config: TopicConfig) {
        let slot = self.by_id.get(id).and_then(|&slot| self.slots.get_mut(slot as usize));
        if let Some(Some(topic)) = slot {
            topic.config = config;
        }
    }

    fn slot(&self, slot: u32) -> Option<&Topic> {
        self.slots.get(slot as usize)?.as_ref()
    }
}

impl PartialEq for Catalog {
    fn eq(&self, other: &Catalog) -> bool {
        let facts = |catalog: &Catalog| {
            let Catalog { version, next_key, next_producer_id, .. } = *catalog;
            (version, next_key, next_producer_id)
        };
        facts(self) == facts(other)
            && self.layout == other.layout
            && self.broker_config == other.broker_config
            && self.topics().eq(other.topics())
    }
}

impl Eq for Catalog {}
