//! How commands are checked and carried out.
//!
//! Each command has one function that checks it and returns what checking found out. `check` and
//! `apply` both call it, so they can't disagree, and carrying out a checked command can't fail.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::broker_config::BrokerConfig;
use super::catalog::{Catalog, PartitionPlacement, Topic};
use super::command::{Command, ConfigChange, PRODUCER_IDS_PER_BLOCK_MAX};
use super::placement::{next_turn, place_more, place_topic};
use super::topic_config::TopicConfig;
use super::{Applied, CatalogError, name};
use crate::limits::{PARTITIONS_MAX, TOPIC_PARTITIONS_MAX};
use crate::model::ids::{GroupId, PartitionKey, TopicId};

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
        }
    }

    /// Carries a command out, or refuses it and changes nothing but [`Catalog::version`].
    ///
    /// The result depends on the catalog and the command alone.
    pub fn apply(&mut self, command: &Command) -> Result<Applied, CatalogError> {
        self.version += 1;
        match command {
            Command::CreateTopic { name, id, partitions, replication_factor, config } => {
                let (count, config) =
                    self.checked_creation(name, id, *partitions, *replication_factor, config)?;
                Ok(self.create_topic(name, *id, count, config))
            }
            Command::DeleteTopic { id } => self.delete_topic(id),
            Command::CreatePartitions { id, total } => {
                let (last, first, count) = self.checked_growth(id, *total)?;
                let added = self.give_keys(place_more(last, count, self.groups));
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
        }
    }

    fn create_topic(
        &mut self,
        name: &str,
        id: TopicId,
        count: usize,
        config: TopicConfig,
    ) -> Applied {
        let partitions = self.give_keys(place_topic(self.turn, count, self.groups));
        self.turn = next_turn(self.turn, count, self.groups);
        let keys = partitions.iter().map(|partition| partition.key).collect();
        let (name, replication_factor) = (Rc::from(name), self.nodes);
        self.insert(Topic { name, id, partitions, config, replication_factor });
        Applied::TopicCreated { id, keys }
    }

    fn delete_topic(&mut self, id: &TopicId) -> Result<Applied, CatalogError> {
        let topic = self.remove(id).ok_or(CatalogError::UnknownTopic(*id))?;
        let keys = topic.partitions.iter().map(|partition| partition.key).collect();
        Ok(Applied::TopicDeleted { id: *id, name: topic.name.to_string(), keys })
    }

    /// Keys for partitions in these groups. That there are enough was checked.
    fn give_keys(&mut self, groups: impl Iterator<Item = GroupId>) -> Vec<PartitionPlacement> {
        let mut key = self.next_key;
        let give = |group| {
            let placement = PartitionPlacement { key: PartitionKey(key), group };
            key += 1;
            placement
        };
        let placements = groups.map(give).collect();
        self.next_key = key;
        placements
    }

    fn checked_topic(&self, id: &TopicId) -> Result<&Topic, CatalogError> {
        self.topic_by_id(id).ok_or(CatalogError::UnknownTopic(*id))
    }

    /// The number of partitions and the settings of a topic to be made.
    fn checked_creation(
        &self,
        name: &str,
        id: &TopicId,
        partitions: i32,
        replication_factor: i16,
        config: &BTreeMap<String, String>,
    ) -> Result<(usize, TopicConfig), CatalogError> {
        self.checked_name(name)?;
        if id.0 == [0; 16] || self.topic_by_id(id).is_some() {
            return Err(CatalogError::InvalidTopicId(*id));
        }
        if !(1..=TOPIC_PARTITIONS_MAX).contains(&partitions) {
            return Err(CatalogError::InvalidPartitions(format!(
                "A topic has 1 to {TOPIC_PARTITIONS_MAX} partitions, not {partitions}."
            )));
        }
        self.checked_replication_factor(replication_factor)?;
        let config = TopicConfig::from_map(config)?;
        let count = partitions as usize;
        self.checked_room(count)?;
        Ok((count, config))
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

    fn checked_replication_factor(&self, factor: i16) -> Result<(), CatalogError> {
        if factor == -1 || (1..=self.nodes).contains(&factor) {
            return Ok(());
        }
        Err(CatalogError::InvalidReplicationFactor(match self.nodes {
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

    /// The group of a topic's last partition, the number of the first new one, and how many.
    fn checked_growth(
        &self,
        id: &TopicId,
        total: i32,
    ) -> Result<(GroupId, i32, usize), CatalogError> {
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
            let last = topic.partitions.last().map_or(GroupId(0), |partition| partition.group);
            return Ok((last, present, count));
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
