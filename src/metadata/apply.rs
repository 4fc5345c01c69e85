//! How commands are checked and carried out.
//!
//! Each command has one function that checks it and returns what checking found out. `check` and
//! `apply` both call it, so they can't disagree, and carrying out a checked command can't fail.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::broker_config::BrokerConfig;
use super::catalog::{Catalog, PartitionPlacement, Topic};
use super::command::{Command, ConfigChange, PRODUCER_IDS_PER_BLOCK_MAX};
use super::layout::Layout;
use super::placement::place;
use super::topic_config::TopicConfig;
use super::{Applied, CatalogError, name};
use crate::limits::{PARTITIONS_MAX, TOPIC_PARTITIONS_MAX};
use crate::model::ids::{GroupId, PartitionKey, TopicId};

/// What checking found out of a topic to be made.
struct NewTopic {
    count: usize,
    copies: usize,
    /// With groups that have as many copies, if there are none yet.
    layout: Option<Layout>,
    config: TopicConfig,
}

impl Catalog {
    /// Whether [`Catalog::apply`] would carry the command out now.
    pub fn check(&self, command: &Command) -> Result<(), CatalogError> {
        match command {
            Command::CreateTopic { name, id, partitions, replication_factor, config } => {
                self.checked_creation(name, id, *partitions, *replication_factor, config).map(drop)
            }
            Command::DeleteTopic { id } => self.checked_topic(id).map(drop),
            Command::CreatePartitions { id, total } => self.checked_growth(id, *total).map(drop),
            Command::AlterTopicConfig { id, changes, replace_all } => {
                self.checked_config(id, changes, *replace_all).map(drop)
            }
            Command::AlterBrokerConfig { changes, replace_all } => {
                self.checked_broker_config(changes, *replace_all).map(drop)
            }
            Command::AllocateProducerIds { count } => self.checked_producer_ids(*count).map(drop),
            Command::SetLayout { layout } => self.checked_layout(layout),
        }
    }

    /// Carries a command out, or refuses it and changes nothing but [`Catalog::version`].
    ///
    /// The result depends on the catalog and the command alone.
    pub fn apply(&mut self, command: &Command) -> Result<Applied, CatalogError> {
        self.version += 1;
        match command {
            Command::CreateTopic { name, id, partitions, replication_factor, config } => {
                let new =
                    self.checked_creation(name, id, *partitions, *replication_factor, config)?;
                Ok(self.create_topic(name, *id, new))
            }
            Command::DeleteTopic { id } => self.delete_topic(id),
            Command::CreatePartitions { id, total } => {
                let (first, count) = self.checked_growth(id, *total)?;
                let added = self.place_more(id, count);
                let keys = added.iter().map(|partition| partition.key).collect();
                self.extend(id, added);
                Ok(Applied::PartitionsCreated { id: *id, first, keys })
            }
            Command::AlterTopicConfig { id, changes, replace_all } => {
                let config = self.checked_config(id, changes, *replace_all)?;
                self.configure(id, config);
                Ok(Applied::ConfigAltered { id: *id })
            }
            Command::AlterBrokerConfig { changes, replace_all } => {
                self.broker_config = self.checked_broker_config(changes, *replace_all)?;
                Ok(Applied::BrokerConfigAltered)
            }
            Command::AllocateProducerIds { count } => {
                let next = self.checked_producer_ids(*count)?;
                let first = std::mem::replace(&mut self.next_producer_id, next);
                Ok(Applied::ProducerIds { first, count: *count })
            }
            Command::SetLayout { layout } => {
                self.checked_layout(layout)?;
                self.set_layout(Layout::clone(layout));
                Ok(Applied::LayoutChanged)
            }
        }
    }

    fn create_topic(&mut self, name: &str, id: TopicId, new: NewTopic) -> Applied {
        let NewTopic { count, copies, layout, config } = new;
        if let Some(layout) = layout {
            self.set_layout(layout);
        }
        let candidates = self.layout.groups_of(copies);
        let groups = place(&self.loads, &candidates, &[], count);
        let partitions = self.give_keys(groups);
        let keys = partitions.iter().map(|partition| partition.key).collect();
        let (name, replication_factor) = (Rc::from(name), copies as i16);
        self.insert(Topic { name, id, partitions, config, replication_factor });
        Applied::TopicCreated { id, keys }
    }

    /// Partitions for a topic that is there, on groups like those that it is on.
    fn place_more(&mut self, id: &TopicId, count: usize) -> Vec<PartitionPlacement> {
        let Some(topic) = self.topic_by_id(id) else { return Vec::new() };
        let on: Vec<GroupId> = topic.partitions.iter().map(|partition| partition.group).collect();
        let mut candidates = self.layout.groups_of(topic.replication_factor as usize);
        if candidates.is_empty() {
            // Its groups have more or fewer copies by now, as nodes came and went.
            candidates = on.clone();
            candidates.sort_unstable();
            candidates.dedup();
        }
        let groups = place(&self.loads, &candidates, &on, count);
        self.give_keys(groups)
    }

    fn set_layout(&mut self, layout: Layout) {
        self.loads.resize(layout.groups.len(), 0);
        self.layout = layout;
    }

    fn checked_layout(&self, layout: &Layout) -> Result<(), CatalogError> {
        if layout.epoch != self.layout.epoch + 1
            || layout.formed_groups != self.layout.formed_groups
            || layout.groups.len() < self.layout.groups.len()
        {
            return Err(CatalogError::LayoutChanged);
        }
        layout.check().map_err(CatalogError::InvalidLayout)
    }

    fn delete_topic(&mut self, id: &TopicId) -> Result<Applied, CatalogError> {
        let topic = self.remove(id).ok_or(CatalogError::UnknownTopic(*id))?;
        let keys = topic.partitions.iter().map(|partition| partition.key).collect();
        Ok(Applied::TopicDeleted { id: *id, name: topic.name.to_string(), keys })
    }

    /// Keys for partitions in these groups. That there are enough was checked.
    fn give_keys(&mut self, groups: Vec<GroupId>) -> Vec<PartitionPlacement> {
        let mut key = self.next_key;
        let give = |group| {
            let placement = PartitionPlacement { key: PartitionKey(key), group };
            key += 1;
            placement
        };
        let placements = groups.into_iter().map(give).collect();
        self.next_key = key;
        placements
    }

    fn checked_topic(&self, id: &TopicId) -> Result<&Topic, CatalogError> {
        self.topic_by_id(id).ok_or(CatalogError::UnknownTopic(*id))
    }

    fn checked_creation(
        &self,
        name: &str,
        id: &TopicId,
        partitions: i32,
        replication_factor: i16,
        config: &BTreeMap<String, String>,
    ) -> Result<NewTopic, CatalogError> {
        self.checked_name(name)?;
        if id.0 == [0; 16] || self.topic_by_id(id).is_some() {
            return Err(CatalogError::InvalidTopicId(*id));
        }
        if !(1..=TOPIC_PARTITIONS_MAX).contains(&partitions) {
            return Err(CatalogError::InvalidPartitions(format!(
                "A topic has 1 to {TOPIC_PARTITIONS_MAX} partitions, not {partitions}."
            )));
        }
        let copies = self.checked_replication_factor(replication_factor)?;
        let layout =
            self.layout.with_groups_of(copies).map_err(CatalogError::InvalidReplicationFactor)?;
        let config = TopicConfig::from_map(config)?;
        let count = partitions as usize;
        self.checked_room(count)?;
        Ok(NewTopic { count, copies, layout, config })
    }

    fn checked_name(&self, name: &str) -> Result<(), CatalogError> {
        name::validate(name).map_err(|error| CatalogError::InvalidName(error.to_string()))?;
        if self.topic(name.as_bytes()).is_some() {
            return Err(CatalogError::TopicExists(name.to_owned()));
        }
        match self.colliding(name) {
            None => Ok(()),
            Some(existing) => Err(CatalogError::InvalidName(format!(
                "Topic '{name}' collides with existing topics: {}",
                existing.name
            ))),
        }
    }

    /// How many copies a replication factor means.
    fn checked_replication_factor(&self, factor: i16) -> Result<usize, CatalogError> {
        let nodes = self.layout.count_members();
        match usize::try_from(factor) {
            Err(_) if factor == -1 => return Ok(self.layout.copies_default()),
            Ok(copies) if (1..=nodes).contains(&copies) => return Ok(copies),
            _ => {}
        }
        Err(CatalogError::InvalidReplicationFactor(match nodes {
            1 => format!("Replication factor is {factor}: with one node it must be 1, or -1."),
            nodes => format!(
                "Replication factor is {factor}: it must be from 1 to {nodes}, the number of \
                 nodes, or -1."
            ),
        }))
    }

    /// That `count` more partitions fit, and that there are keys for them.
    fn checked_room(&self, count: usize) -> Result<(), CatalogError> {
        let present = self.partition_count();
        if present + count > PARTITIONS_MAX {
            return Err(CatalogError::TooManyPartitions(format!(
                "All topics together may have {PARTITIONS_MAX} partitions: there are {present}, \
                 and {count} more don't fit. Delete topics that aren't needed."
            )));
        }
        if count > (u32::MAX - self.next_key) as usize {
            return Err(CatalogError::TooManyPartitions(
                "The cluster has made more than four billion partitions in its life and can't \
                 make more."
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// The number of a topic's first new partition, and how many there will be.
    fn checked_growth(&self, id: &TopicId, total: i32) -> Result<(i32, usize), CatalogError> {
        let topic = self.checked_topic(id)?;
        let present = topic.partitions.len() as i32;
        let refusal = if total > TOPIC_PARTITIONS_MAX {
            format!("A topic has 1 to {TOPIC_PARTITIONS_MAX} partitions, not {total}.")
        } else if total == present {
            format!("Topic already has {present} partition(s).")
        } else if total < present {
            format!(
                "The topic {} currently has {present} partition(s); {total} would not be an \
                 increase.",
                topic.name
            )
        } else {
            let count = (total - present) as usize;
            self.checked_room(count)?;
            return Ok((present, count));
        };
        Err(CatalogError::InvalidPartitions(refusal))
    }

    fn checked_config(
        &self,
        id: &TopicId,
        changes: &[(String, ConfigChange)],
        replace_all: bool,
    ) -> Result<TopicConfig, CatalogError> {
        Ok(self.checked_topic(id)?.config.changed(changes, replace_all)?)
    }

    fn checked_broker_config(
        &self,
        changes: &[(String, ConfigChange)],
        replace_all: bool,
    ) -> Result<BrokerConfig, CatalogError> {
        Ok(self.broker_config.changed(changes, replace_all)?)
    }

    /// The id behind a block of `count`.
    fn checked_producer_ids(&self, count: u32) -> Result<i64, CatalogError> {
        if !(1..=PRODUCER_IDS_PER_BLOCK_MAX).contains(&count) {
            return Err(CatalogError::InvalidProducerIds(format!(
                "A block has 1 to {PRODUCER_IDS_PER_BLOCK_MAX} producer ids, not {count}."
            )));
        }
        self.next_producer_id.checked_add(i64::from(count)).ok_or_else(|| {
            CatalogError::InvalidProducerIds("All producer ids have been given.".to_owned())
        })
    }
}
