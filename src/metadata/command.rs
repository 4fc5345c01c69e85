//! The commands that change the catalog, and their bytes in the journal.
//!
//! A command that [`Catalog::check`](super::Catalog::check) accepts always decodes again: the
//! bounds kept here are those kept there.
//!
//! ```text
//! version u8 | tag u8 | fields of the command, little-endian
//! string = length u32, bytes      map, list = count u32, items
//! ```

use std::collections::BTreeMap;

use super::Layout;
use super::codec::{DecodeError, Reader, put_count, put_settings, put_text};
use super::setting::{SETTING_NAME_BYTES_MAX, SETTING_VALUE_BYTES_MAX, SETTINGS_MAX};
use crate::limits::TOPIC_NAME_BYTES_MAX;
use crate::model::ids::TopicId;

const FORMAT_VERSION: u8 = 1;

/// Producer ids that one command may take.
pub const PRODUCER_IDS_PER_BLOCK_MAX: u32 = 1_000_000;

/// One change of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes a topic.
    CreateTopic {
        /// See [`name::validate`](super::name::validate).
        name: String,
        /// Random, drawn by whoever makes the command; not zero.
        id: TopicId,
        /// 1 to [`TOPIC_PARTITIONS_MAX`](crate::limits::TOPIC_PARTITIONS_MAX).
        partitions: i32,
        /// 1 to the number of nodes, or -1 for as many as there are.
        replication_factor: i16,
        /// The settings that differ from the defaults.
        config: BTreeMap<String, String>,
    },
    /// Deletes a topic and all its partitions.
    DeleteTopic {
        /// The topic.
        id: TopicId,
    },
    /// Gives a topic more partitions.
    CreatePartitions {
        /// The topic.
        id: TopicId,
        /// How many it shall have then, old ones included.
        total: i32,
    },
    /// Changes settings of a topic.
    AlterTopicConfig {
        /// The topic.
        id: TopicId,
        /// No setting twice.
        changes: Vec<(String, ConfigChange)>,
        /// Settings that aren't named go back to their defaults.
        replace_all: bool,
    },
    /// Changes the broker settings of the whole cluster.
    AlterBrokerConfig {
        /// No setting twice.
        changes: Vec<(String, ConfigChange)>,
        /// Settings that aren't named go back to what their brokers were started with.
        replace_all: bool,
    },
    /// Takes a block of producer ids.
    AllocateProducerIds {
        /// 1 to [`PRODUCER_IDS_PER_BLOCK_MAX`].
        count: u32,
    },
    /// Says anew which nodes there are and what they hold.
    SetLayout {
        /// Made from the layout there is: its epoch is the next.
        layout: Box<Layout>,
    },
}

/// What happens to one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// It gets this value.
    Set(String),
    /// It goes back to its default.
    Delete,
    /// Lists only: these items, separated by commas, are added unless there.
    Append(String),
    /// Lists only: these items, separated by commas, are taken out.
    Subtract(String),
}

impl Command {
    /// Appends the command's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[FORMAT_VERSION, self.tag()]);
        match self {
            Command::CreateTopic { name, id, partitions, replication_factor, config } => {
                put_text(out, name);
                out.extend_from_slice(&id.0);
                out.extend_from_slice(&partitions.to_le_bytes());
                out.extend_from_slice(&replication_factor.to_le_bytes());
                put_settings(out, config);
            }
            Command::DeleteTopic { id } => out.extend_from_slice(&id.0),
            Command::CreatePartitions { id, total } => {
                out.extend_from_slice(&id.0);
                out.extend_from_slice(&total.to_le_bytes());
            }
            Command::AlterTopicConfig { id, changes, replace_all } => {
                out.extend_from_slice(&id.0);
                put_changes(out, changes, *replace_all);
            }
            Command::AlterBrokerConfig { changes, replace_all } => {
                put_changes(out, changes, *replace_all);
            }
            Command::AllocateProducerIds { count } => out.extend_from_slice(&count.to_le_bytes()),
            Command::SetLayout { layout } => layout.encode(out),
        }
    }

    /// The command in `bytes`, which hold nothing else.
    ///
    /// Whether it can be carried out is for [`Catalog::apply`](super::Catalog::apply) to say.
    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            FORMAT_VERSION => {}
            version => return Err(DecodeError::UnknownVersion(version)),
        }
        let tag = reader.u8()?;
        let command = Command::decode_fields(tag, &mut reader)?;
        reader.end()?;
        Ok(command)
    }

    fn tag(&self) -> u8 {
        match self {
            Command::CreateTopic { .. } => 1,
            Command::DeleteTopic { .. } => 2,
            Command::CreatePartitions { .. } => 3,
            Command::AlterTopicConfig { .. } => 4,
            Command::AlterBrokerConfig { .. } => 5,
            Command::AllocateProducerIds { .. } => 6,
            Command::SetLayout { .. } => 7,
        }
    }

    fn decode_fields(tag: u8, reader: &mut Reader<'_>) -> Result<Command, DecodeError> {
        Ok(match tag {
            1 => Command::CreateTopic {
                name: reader.text(TOPIC_NAME_BYTES_MAX)?.to_owned(),
                id: reader.topic_id()?,
                partitions: reader.i32()?,
                replication_factor: reader.i16()?,
                config: reader.settings()?,
            },
            2 => Command::DeleteTopic { id: reader.topic_id()? },
            3 => Command::CreatePartitions { id: reader.topic_id()?, total: reader.i32()? },
            4 => Command::AlterTopicConfig {
                id: reader.topic_id()?,
                replace_all: reader.boolean()?,
                changes: read_changes(reader)?,
            },
            5 => Command::AlterBrokerConfig {
                replace_all: reader.boolean()?,
                changes: read_changes(reader)?,
            },
            6 => Command::AllocateProducerIds { count: reader.u32()? },
            7 => Command::SetLayout { layout: Box::new(Layout::decode(reader)?) },
            tag => return Err(DecodeError::UnknownTag { what: "command", tag }),
        })
    }
}

fn put_changes(out: &mut Vec<u8>, changes: &[(String, ConfigChange)], replace_all: bool) {
    out.push(u8::from(replace_all));
    put_count(out, changes.len());
    for (name, change) in changes {
        put_text(out, name);
        match change {
            ConfigChange::Set(value) => put_tagged(out, 0, value),
            ConfigChange::Delete => out.push(1),
            ConfigChange::Append(items) => put_tagged(out, 2, items),
            ConfigChange::Subtract(items) => put_tagged(out, 3, items),
        }
    }
}

fn put_tagged(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    put_text(out, text);
}

fn read_changes(reader: &mut Reader<'_>) -> Result<Vec<(String, ConfigChange)>, DecodeError> {
    let mut changes = Vec::new();
    for _ in 0..reader.count("changes", SETTINGS_MAX)? {
        let name = reader.text(SETTING_NAME_BYTES_MAX)?.to_owned();
        let tag = reader.u8()?;
        let mut text = || reader.text(SETTING_VALUE_BYTES_MAX).map(str::to_owned);
        let change = match tag {
            0 => ConfigChange::Set(text()?),
            1 => ConfigChange::Delete,
            2 => ConfigChange::Append(text()?),
            3 => ConfigChange::Subtract(text()?),
            tag => return Err(DecodeError::UnknownTag { what: "change of a setting", tag }),
        };
        changes.push((name, change));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_what_they_are() {
        let mut bytes = Vec::new();
        Command::CreatePartitions { id: TopicId([7; 16]), total: 258 }.encode(&mut bytes);
        let mut expected = vec![1, 3];
        expected.extend([7; 16]);
        expected.extend([2, 1, 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn bad_bytes_are_refused_for_what_they_are() {
        assert_eq!(Command::decode(&[]), Err(DecodeError::Truncated));
        assert_eq!(Command::decode(&[9, 2]), Err(DecodeError::UnknownVersion(9)));
        let unknown = DecodeError::UnknownTag { what: "command", tag: 77 };
        assert_eq!(Command::decode(&[1, 77]), Err(unknown));
        assert_eq!(Command::decode(&[1, 6, 0, 0, 0, 0, 0]), Err(DecodeError::LeftOver(1)));
        let too_long = [1, 1, 255, 255, 255, 255];
        assert!(matches!(Command::decode(&too_long), Err(DecodeError::TooMany { .. })));
    }

    #[test]
    fn crosses_threads() {
        fn is_send<T: Send + 'static>() {}
        is_send::<Command>();
    }
}
