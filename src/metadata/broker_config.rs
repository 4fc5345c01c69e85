//! The broker settings that a user may see, and the two that can be changed while it runs.
//!
//! What is changed applies to the whole cluster. A setting nobody changed has the value that its
//! broker was started with, which the shard passes in.

use std::collections::BTreeMap;

use super::command::ConfigChange;
use super::setting::{
    ConfigError, ConfigKind, ConfigSource, DefaultValue, DescribedConfig, Rule, Setting, Value,
    change_settings, find,
};
use super::topic_settings::RETENTION_MS_DEFAULT;
use crate::limits::{RECORD_BATCH_BYTES_DEFAULT, TOPIC_PARTITIONS_MAX};

const NUM_PARTITIONS: &str = "num.partitions";
const AUTO_CREATE: &str = "auto.create.topics.enable";
const BROKER_ID: &str = "broker.id";
const LISTENERS: &str = "advertised.listeners";
const LOG_DIRS: &str = "log.dirs";

const AT_START: Rule = Rule::ReadOnly { why: "It is set when the broker is started" };
const PER_TOPIC: Rule = Rule::ReadOnly { why: "Set it for each topic instead" };

const BROKER_SETTINGS: &[Setting] = &[
    Setting {
        name: NUM_PARTITIONS,
        kind: ConfigKind::Int,
        default: DefaultValue::Number(1),
        rule: Rule::Number { min: 1, max: TOPIC_PARTITIONS_MAX as i64 },
        documentation: "How many partitions a topic gets when its creator doesn't say.",
    },
    Setting {
        name: AUTO_CREATE,
        kind: ConfigKind::Boolean,
        default: DefaultValue::Text("true"),
        rule: Rule::Boolean,
        documentation: "Whether a topic is made when a client asks for one that isn't there.",
    },
    Setting {
        name: "log.retention.ms",
        kind: ConfigKind::Long,
        default: DefaultValue::Number(RETENTION_MS_DEFAULT),
        rule: PER_TOPIC,
        documentation: "How long topics keep records that don't set retention.ms.",
    },
    Setting {
        name: "message.max.bytes",
        kind: ConfigKind::Int,
        default: DefaultValue::Number(RECORD_BATCH_BYTES_DEFAULT as i64),
        rule: PER_TOPIC,
        documentation: "The largest record batch of topics that don't set max.message.bytes.",
    },
    fact(BROKER_ID, ConfigKind::Int, "The number of this broker: one shard of one node."),
    fact(LISTENERS, ConfigKind::String, "Where clients reach this broker."),
    fact(LOG_DIRS, ConfigKind::String, "The directory that holds the journals."),
];

const fn fact(name: &'static str, kind: ConfigKind, documentation: &'static str) -> Setting {
    Setting { name, kind, default: DefaultValue::Text(""), rule: AT_START, documentation }
}

/// What a broker was started with, for [`BrokerConfig::describe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerFacts {
    /// The broker's id, as clients know it.
    pub broker_id: i32,
    /// The address told to clients, such as `PLAINTEXT://host:9092`.
    pub advertised_listener: String,
    /// The data directory.
    pub data_directory: String,
    /// Partitions of a topic whose creator doesn't say.
    pub num_partitions: i32,
    /// Whether missing topics are made when asked for.
    pub auto_create_topics: bool,
}

/// The broker settings that were changed while the cluster ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerConfig {
    /// `num.partitions`, if set: goes before what the broker was started with.
    pub num_partitions: Option<i32>,
    /// `auto.create.topics.enable`, if set: goes before what the broker was started with.
    pub auto_create_topics: Option<bool>,
    /// What was set explicitly, as it was written.
    pub raw: BTreeMap<String, String>,
}

impl BrokerConfig {
    /// The settings that `raw` sets.
    ///
    /// Refuses what is unknown or read-only, and a value that its setting doesn't allow.
    pub fn from_map(raw: &BTreeMap<String, String>) -> Result<BrokerConfig, ConfigError> {
        let mut config = BrokerConfig::default();
        for (name, text) in raw {
            match (name.as_str(), find(BROKER_SETTINGS, name)?.parse(text)?) {
                (NUM_PARTITIONS, Value::Number(count)) => {
                    config.num_partitions = i32::try_from(count).ok();
                }
                (AUTO_CREATE, Value::Boolean(enabled)) => config.auto_create_topics = Some(enabled),
                _ => {}
            }
            config.raw.insert(name.clone(), text.trim().to_owned());
        }
        Ok(config)
    }

    /// These settings, changed, as [`TopicConfig::changed`](super::TopicConfig::changed) does it.
    pub fn changed(
        &self,
        changes: &[(String, ConfigChange)],
        replace_all: bool,
    ) -> Result<BrokerConfig, ConfigError> {
        let raw = change_settings(BROKER_SETTINGS, &self.raw, changes, replace_all)?;
        BrokerConfig::from_map(&raw)
    }

    /// All settings of a broker, with their values.
    pub fn describe(&self, facts: &BrokerFacts) -> Vec<DescribedConfig> {
        BROKER_SETTINGS
            .iter()
            .map(|setting| {
                let mut described = setting.describe(self.raw.get(setting.name));
                if let Some(value) = facts.value(setting.name).filter(|_| described.default) {
                    described.default = value == described.value;
                    described.source = if described.default {
                        ConfigSource::Default
                    } else {
                        ConfigSource::Static
                    };
                    described.value = value;
                }
                described
            })
            .collect()
    }
}

impl BrokerFacts {
    fn value(&self, name: &str) -> Option<String> {
        match name {
            BROKER_ID => Some(self.broker_id.to_string()),
            LISTENERS => Some(self.advertised_listener.clone()),
            LOG_DIRS => Some(self.data_directory.clone()),
            NUM_PARTITIONS => Some(self.num_partitions.to_string()),
            AUTO_CREATE => Some(self.auto_create_topics.to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<BrokerConfig, ConfigError> {
        let changes = [(name.to_owned(), ConfigChange::Set(value.to_owned()))];
        BrokerConfig::default().changed(&changes, false)
    }

    fn facts() -> BrokerFacts {
        BrokerFacts {
            broker_id: 1001,
            advertised_listener: "PLAINTEXT://here:9092".to_owned(),
            data_directory: "/data".to_owned(),
            num_partitions: 4,
            auto_create_topics: true,
        }
    }

    #[test]
    fn two_settings_can_be_changed_and_the_others_not() {
        assert_eq!(set("num.partitions", "6").unwrap().num_partitions, Some(6));
        let config = set("auto.create.topics.enable", "False").unwrap();
        assert_eq!(config.auto_create_topics, Some(false));
        assert!(set("num.partitions", "0").is_err());
        assert!(set("broker.id", "1").unwrap_err().0.contains("when the broker is started"));
        assert!(set("message.max.bytes", "1").unwrap_err().0.contains("for each topic"));
        assert!(set("nothing", "1").is_err());
    }

    #[test]
    fn described_values_say_who_set_them() {
        let config = set("auto.create.topics.enable", "false").unwrap();
        let described = config.describe(&facts());
        let of = |name: &str| described.iter().find(|config| config.name == name).unwrap();
        let seen = |name: &str| (of(name).value.as_str(), of(name).source, of(name).read_only);
        assert_eq!(seen("auto.create.topics.enable"), ("false", ConfigSource::Dynamic, false));
        assert_eq!(seen("num.partitions"), ("4", ConfigSource::Static, false));
        assert_eq!(seen("broker.id"), ("1001", ConfigSource::Static, true));
        assert_eq!(seen("message.max.bytes"), ("1048588", ConfigSource::Default, true));
    }
}
