//! The replicated catalog: topics, their partitions and settings, broker settings, producer ids.
//!
//! A deterministic state machine. [`Command`]s are entries of group 0's journal; every shard
//! applies them in order to a [`Catalog`] of its own, so all catalogs are equal at equal
//! [`Catalog::version`]. Nothing here does I/O, reads a clock, draws a random number or iterates
//! over a hash map. Whoever makes a command draws what is random in it (topic ids) beforehand.
//!
//! Rule for later versions: what a command or a setting was accepted as once must be accepted for
//! ever, or replicas of different versions part ways and old snapshots can't be read.

mod apply;
pub mod broker_config;
mod catalog;
mod codec;
pub mod command;
pub mod layout;
pub mod name;
pub mod placement;
pub mod setting;
mod snapshot;
pub mod topic_config;
mod topic_settings;

#[cfg(test)]
mod tests;

pub use broker_config::{BrokerConfig, BrokerFacts, ConsumerGroupConfig};
pub use catalog::{Catalog, PartitionPlacement, Topic};
pub use codec::DecodeError;
pub use command::{Command, ConfigChange};
pub use layout::Layout;
pub use setting::{ConfigError, ConfigKind, ConfigSource, DescribedConfig};
pub use topic_config::TopicConfig;

use crate::model::ids::{PartitionKey, TopicId};

/// What a command changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// A topic was made. Its placement is in [`Catalog::topic_by_id`].
    TopicCreated {
        /// The new topic.
        id: TopicId,
        /// The key of each partition, from partition 0.
        keys: Vec<PartitionKey>,
    },
    /// A topic is gone, with all its partitions.
    TopicDeleted {
        /// The topic that was.
        id: TopicId,
        /// The name it had.
        name: String,
        /// The keys of its partitions, from partition 0. They are never given again.
        keys: Vec<PartitionKey>,
    },
    /// A topic has more partitions.
    PartitionsCreated {
        /// The topic.
        id: TopicId,
        /// The number of the first new partition.
        first: i32,
        /// The keys of the new partitions, from partition `first`.
        keys: Vec<PartitionKey>,
    },
    /// A topic has other settings.
    ConfigAltered {
        /// The topic.
        id: TopicId,
    },
    /// The broker settings of the cluster have changed.
    BrokerConfigAltered,
    /// Producer ids `first .. first + count` belong to whoever asked, and to nobody else ever.
    ProducerIds {
        /// The first id.
        first: i64,
        /// How many.
        count: u32,
    },
    /// Nodes or groups have come or gone.
    LayoutChanged,
}

/// Why a command was refused. Its text is a sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// There is a topic of this name.
    #[error("Topic '{0}' already exists.")]
    TopicExists(String),
    /// There is no topic of this id.
    #[error("There is no topic with id {0}. It may have been deleted.")]
    UnknownTopic(TopicId),
    /// The name breaks a rule, or differs from another only in '.' and '_'.
    #[error("{0}")]
    InvalidName(String),
    /// The id is all zeros or was given to another topic. Ids are random: draw again.
    #[error("Topic id {0} can't be used: it is zero or another topic has it.")]
    InvalidTopicId(TopicId),
    /// The number of partitions is out of bounds, or would not grow.
    #[error("{0}")]
    InvalidPartitions(String),
    /// The replication factor asks for more nodes than there are, or for none.
    #[error("{0}")]
    InvalidReplicationFactor(String),
    /// A setting is unknown, its value isn't allowed, or it can't be changed this way.
    #[error("{0}")]
    InvalidConfig(String),
    /// All topics together would have more partitions than there may be.
    #[error("{0}")]
    TooManyPartitions(String),
    /// The catalog has no leader now, or lost it while it was at this. Whether the command was
    /// carried out can be seen in the catalog. Never the result of applying one.
    #[error("The cluster has no controller at the moment. Try again.")]
    NoLeader,
    /// Somebody else has changed the layout since it was looked at.
    #[error("The nodes of the cluster were changed by somebody else just now. Try again.")]
    LayoutChanged,
    /// The layout can't be, or has no room.
    #[error("{0}")]
    InvalidLayout(String),
    /// The number of producer ids asked for is out of bounds, or there are none left.
    #[error("{0}")]
    InvalidProducerIds(String),
}

impl From<ConfigError> for CatalogError {
    fn from(error: ConfigError) -> Self {
        CatalogError::InvalidConfig(error.0)
    }
}
