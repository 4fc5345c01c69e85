//! The catalog as bytes: what a replica that is far behind is sent, and what recovery starts from.
//!
//! ```text
//! format version u8 | version u64 | layout
//! next partition key u32 | next producer id i64 | broker settings map
//! topics u32, in name order, each:
//!     name string | id 16 bytes | replication factor i16 | settings map
//!     partitions u32, each: key u32 | group u32
//! ```
//!
//! Little-endian; strings and maps as in `command`. Equal catalogs have equal bytes. Whoever
//! stores them adds a checksum.

use std::rc::Rc;

use super::broker_config::BrokerConfig;
use super::catalog::{Catalog, PartitionPlacement, Topic};
use super::codec::{DecodeError, Reader, put_count, put_settings, put_text};
use super::layout::Layout;
use super::name;
use super::setting::ConfigError;
use super::topic_config::TopicConfig;
use crate::limits::{PARTITIONS_MAX, TOPIC_NAME_BYTES_MAX, TOPIC_PARTITIONS_MAX};
use crate::model::ids::{GroupId, PartitionKey};

const FORMAT_VERSION: u8 = 2;

/// The bytes of one partition.
const PARTITION_BYTES: usize = 8;

impl Catalog {
    /// Appends the catalog's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT_VERSION);
        out.extend_from_slice(&self.version.to_le_bytes());
        self.layout.encode(out);
        out.extend_from_slice(&self.next_key.to_le_bytes());
        out.extend_from_slice(&self.next_producer_id.to_le_bytes());
        put_settings(out, &self.broker_config.raw);
        put_count(out, self.topic_count());
        self.topics().for_each(|topic| put_topic(out, topic));
    }

    /// The catalog in `bytes`, which hold nothing else.
    ///
    /// Refuses what no sequence of commands could have made, as far as it can be told.
    pub fn decode(bytes: &[u8]) -> Result<Catalog, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            FORMAT_VERSION => {}
            version => return Err(DecodeError::UnknownVersion(version)),
        }
        let version = reader.u64()?;
        let mut catalog = Catalog::with_layout(Layout::decode(&mut reader)?);
        catalog.version = version;
        catalog.next_key = reader.u32()?;
        catalog.next_producer_id = reader.i64()?;
        if catalog.next_producer_id < 0 {
            return inconsistent("a counter is out of bounds".to_owned());
        }
        catalog.broker_config = BrokerConfig::from_map(&reader.settings()?).map_err(refused)?;
        for _ in 0..reader.count("topics", PARTITIONS_MAX)? {
            let topic = read_topic(&mut reader)?;
            catalog.insert_checked(topic)?;
        }
        reader.end()?;
        Ok(catalog)
    }

    fn insert_checked(&mut self, topic: Topic) -> Result<(), DecodeError> {
        if self.topics_end().is_some_and(|last| *last >= *topic.name) {
            return inconsistent(format!("topic {} is out of order", topic.name));
        }
        if self.topic_by_id(&topic.id).is_some() || self.colliding(&topic.name).is_some() {
            return inconsistent(format!("topic {} collides with another", topic.name));
        }
        let partitions = topic.partitions.len();
        if self.partition_count() + partitions > PARTITIONS_MAX {
            return Err(DecodeError::TooMany {
                what: "partitions",
                found: self.partition_count() + partitions,
                max: PARTITIONS_MAX,
            });
        }
        // Keys only grow within a topic, so this finds a key that is there twice, too.
        let mut last = PartitionKey(0);
        for &PartitionPlacement { key, group } in &topic.partitions {
            let free = key > last && key.0 < self.next_key && self.partition(key).is_none();
            if !free || group.0 >= self.groups() {
                return inconsistent(format!("topic {} has a partition misplaced", topic.name));
            }
            last = key;
        }
        self.insert(topic);
        Ok(())
    }
}

fn put_topic(out: &mut Vec<u8>, topic: &Topic) {
    put_text(out, &topic.name);
    out.extend_from_slice(&topic.id.0);
    out.extend_from_slice(&topic.replication_factor.to_le_bytes());
    put_settings(out, &topic.config.raw);
    put_count(out, topic.partitions.len());
    for partition in &topic.partitions {
        out.extend_from_slice(&partition.key.0.to_le_bytes());
        out.extend_from_slice(&partition.group.0.to_le_bytes());
    }
}

fn read_topic(reader: &mut Reader<'_>) -> Result<Topic, DecodeError> {
    let name: Rc<str> = Rc::from(reader.text(TOPIC_NAME_BYTES_MAX)?);
    name::validate(&name).map_err(|error| DecodeError::Inconsistent(error.to_string()))?;
    let id = reader.topic_id()?;
    let replication_factor = reader.i16()?;
    let config = TopicConfig::from_map(&reader.settings()?).map_err(refused)?;
    let count = reader.count("partitions", TOPIC_PARTITIONS_MAX as usize)?;
    if count == 0 || id.0 == [0; 16] || replication_factor < 1 {
        return inconsistent(format!("topic {name} lacks partitions, an id or a copy"));
    }
    if count * PARTITION_BYTES > reader.rest.len() {
        return Err(DecodeError::Truncated);
    }
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        let (key, group) = (PartitionKey(reader.u32()?), GroupId(reader.u32()?));
        partitions.push(PartitionPlacement { key, group });
    }
    Ok(Topic { name, id, partitions, config, replication_factor })
}

fn inconsistent<T>(sentence: String) -> Result<T, DecodeError> {
    Err(DecodeError::Inconsistent(sentence))
}

fn refused(error: ConfigError) -> DecodeError {
    DecodeError::Inconsistent(error.0)
}
