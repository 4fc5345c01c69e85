//! The broker settings that a user may see, and those that can be changed while it runs.
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
use crate::limits::{CONSUMER_GROUP_MEMBERS_MAX, RECORD_BATCH_BYTES_DEFAULT, TOPIC_PARTITIONS_MAX};

const NUM_PARTITIONS: &str = "num.partitions";
const AUTO_CREATE: &str = "auto.create.topics.enable";
const GROUP_DELAY: &str = "group.initial.rebalance.delay.ms";
const GROUP_SESSION_MIN: &str = "group.min.session.timeout.ms";
const GROUP_SESSION_MAX: &str = "group.max.session.timeout.ms";
const GROUP_SIZE_MAX: &str = "group.max.size";
const CONSUMER_SESSION: &str = "group.consumer.session.timeout.ms";
const CONSUMER_HEARTBEAT: &str = "group.consumer.heartbeat.interval.ms";
const CONSUMER_SIZE_MAX: &str = "group.consumer.max.size";
const CONSUMER_ASSIGNORS: &str = "group.consumer.assignors";
const CONSUMER_MIGRATION: &str = "group.consumer.migration.policy";
const OFFSETS_RETENTION: &str = "offsets.retention.minutes";
const BROKER_ID: &str = "broker.id";
const LISTENERS: &str = "advertised.listeners";
const LOG_DIRS: &str = "log.dirs";

/// What `group.consumer.assignors` may be; the first of a list goes to who doesn't ask for one.
const ASSIGNORS: &[&str] = &["uniform,range", "range,uniform", "uniform", "range"];
const MIGRATIONS: &[&str] = &["bidirectional", "upgrade", "downgrade", "disabled"];

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
    Setting {
        name: GROUP_DELAY,
        kind: ConfigKind::Int,
        default: DefaultValue::Number(3_000),
        rule: Rule::Number { min: 0, max: i32::MAX as i64 },
        documentation: "How long a consumer group that was empty waits for more members.",
    },
    Setting {
        name: GROUP_SESSION_MIN,
        kind: ConfigKind::Int,
        default: DefaultValue::Number(6_000),
        rule: Rule::Number { min: 1, max: i32::MAX as i64 },
        documentation: "The shortest session that a member of a consumer group may ask for.",
    },
    Setting {
        name: GROUP_SESSION_MAX,
        kind: ConfigKind::Int,
        default: DefaultValue::Number(1_800_000),
        rule: Rule::Number { min: 1, max: i32::MAX as i64 },
        documentation: "The longest session that a member of a consumer group may ask for.",
    },
    Setting {
        name: GROUP_SIZE_MAX,
        kind: ConfigKind::Int,
        default: DefaultValue::Number(CONSUMER_GROUP_MEMBERS_MAX as i64),
        rule: Rule::Number { min: 1, max: i32::MAX as i64 },
        documentation: "How many members a consumer group may have; never more than 10000.",
    },
    Setting {
        name: CONSUMER_SESSION,
        kind: ConfigKind::Int,
        default: DefaultValue::Number(45_000),
        rule: Rule::Number { min: 1, max: i32::MAX as i64 },
        documentation: "How long a member of the consumer protocol may be silent.",
    },
    Setting {
        name: CONSUMER_HEARTBEAT,
        kind: ConfigKind::Int,
        default: DefaultValue::Number(5_000),
        rule: Rule::Number { min: 1, max: i32::MAX as i64 },
        documentation: "How often members of the consumer protocol are to be heard of.",
    },
    Setting {
        name: CONSUMER_SIZE_MAX,
        kind: ConfigKind::Int,
        default: DefaultValue::Number(CONSUMER_GROUP_MEMBERS_MAX as i64),
        rule: Rule::Number { min: 1, max: i32::MAX as i64 },
        documentation: "How many members a group of the consumer protocol may have; never more \
                        than 10000.",
    },
    Setting {
        name: CONSUMER_ASSIGNORS,
        kind: ConfigKind::List,
        default: DefaultValue::Text(ASSIGNORS[0]),
        rule: Rule::OneOf(ASSIGNORS),
        documentation: "The assignors of the consumer protocol, the default first.",
    },
    Setting {
        name: CONSUMER_MIGRATION,
        kind: ConfigKind::String,
        default: DefaultValue::Text(MIGRATIONS[0]),
        rule: Rule::OneOf(MIGRATIONS),
        documentation: "Whether a group with members may go from the classic protocol to the \
                        consumer protocol (upgrade), back (downgrade), or both.",
    },
    Setting {
        name: OFFSETS_RETENTION,
        kind: ConfigKind::Int,
        default: DefaultValue::Number(7 * 24 * 60),
        rule: Rule::Number { min: 1, max: i32::MAX as i64 },
        documentation: "How long a consumer group without members keeps its offsets.",
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

/// What consumer groups may do, as Kafka names and counts it. All settings can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i64,
    /// `group.min.session.timeout.ms`
    pub session_timeout_ms_min: i64,
    /// `group.max.session.timeout.ms`
    pub session_timeout_ms_max: i64,
    /// `group.max.size`
    pub members_max: i64,
    /// `group.consumer.session.timeout.ms`
    pub consumer_session_timeout_ms: i64,
    /// `group.consumer.heartbeat.interval.ms`
    pub consumer_heartbeat_interval_ms: i64,
    /// `group.consumer.max.size`
    pub consumer_members_max: i64,
    /// `group.consumer.assignors`: uniform, range, or both in either order.
    pub consumer_assignors: &'static str,
    /// `group.consumer.migration.policy`: bidirectional, upgrade, downgrade or disabled.
    pub consumer_migration: &'static str,
    /// `offsets.retention.minutes`
    pub offsets_retention_minutes: i64,
}

impl Default for ConsumerGroupConfig {
    fn default() -> Self {
        ConsumerGroupConfig {
            initial_rebalance_delay_ms: default_number(GROUP_DELAY),
            session_timeout_ms_min: default_number(GROUP_SESSION_MIN),
            session_timeout_ms_max: default_number(GROUP_SESSION_MAX),
            members_max: default_number(GROUP_SIZE_MAX),
            consumer_session_timeout_ms: default_number(CONSUMER_SESSION),
            consumer_heartbeat_interval_ms: default_number(CONSUMER_HEARTBEAT),
            consumer_members_max: default_number(CONSUMER_SIZE_MAX),
            consumer_assignors: ASSIGNORS[0],
            consumer_migration: MIGRATIONS[0],
            offsets_retention_minutes: default_number(OFFSETS_RETENTION),
        }
    }
}

fn default_number(name: &str) -> i64 {
    let setting = BROKER_SETTINGS.iter().find(|setting| setting.name == name);
    match setting.map(|setting| setting.default) {
        Some(DefaultValue::Number(number)) => number,
        _ => unreachable!("{name} is a number of the table"),
    }
}

/// The broker settings that were changed while the cluster ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerConfig {
    /// `num.partitions`, if set: goes before what the broker was started with.
    pub num_partitions: Option<i32>,
    /// `auto.create.topics.enable`, if set: goes before what the broker was started with.
    pub auto_create_topics: Option<bool>,
    /// What consumer groups may do.
    pub consumer_groups: ConsumerGroupConfig,
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
                (name, Value::Number(number)) => config.consumer_groups.set(name, number),
                (name, Value::Text(text)) => config.consumer_groups.choose(name, text),
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

impl ConsumerGroupConfig {
    fn set(&mut self, name: &str, number: i64) {
        match name {
            GROUP_DELAY => self.initial_rebalance_delay_ms = number,
            GROUP_SESSION_MIN => self.session_timeout_ms_min = number,
            GROUP_SESSION_MAX => self.session_timeout_ms_max = number,
            GROUP_SIZE_MAX => self.members_max = number,
            CONSUMER_SESSION => self.consumer_session_timeout_ms = number,
            CONSUMER_HEARTBEAT => self.consumer_heartbeat_interval_ms = number,
            CONSUMER_SIZE_MAX => self.consumer_members_max = number,
            OFFSETS_RETENTION => self.offsets_retention_minutes = number,
            _ => {}
        }
    }

    fn choose(&mut self, name: &str, text: &str) {
        let one_of =
            |choices: &[&'static str]| choices.iter().find(|choice| **choice == text).copied();
        match name {
            CONSUMER_ASSIGNORS => {
                self.consumer_assignors = one_of(ASSIGNORS).unwrap_or(self.consumer_assignors);
            }
            CONSUMER_MIGRATION => {
                self.consumer_migration = one_of(MIGRATIONS).unwrap_or(self.consumer_migration);
            }
            _ => {}
        }
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
    fn some_settings_can_be_changed_and_the_others_not() {
        assert_eq!(set("num.partitions", "6").unwrap().num_partitions, Some(6));
        let config = set("auto.create.topics.enable", "False").unwrap();
        assert_eq!(config.auto_create_topics, Some(false));
        let config = set("group.initial.rebalance.delay.ms", "0").unwrap();
        assert_eq!(config.consumer_groups.initial_rebalance_delay_ms, 0);
        assert_eq!(BrokerConfig::default().consumer_groups.initial_rebalance_delay_ms, 3000);
        let config = set("group.consumer.session.timeout.ms", "700").unwrap();
        assert_eq!(config.consumer_groups.consumer_session_timeout_ms, 700);
        let config = set("group.consumer.assignors", "range").unwrap().consumer_groups;
        assert_eq!(
            (config.consumer_assignors, config.consumer_migration),
            ("range", "bidirectional")
        );
        let config = set("group.consumer.migration.policy", "disabled").unwrap();
        assert_eq!(config.consumer_groups.consumer_migration, "disabled");
        assert!(set("group.consumer.assignors", "sticky").is_err());
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
