//! The settings of one topic, parsed once, for code that reads them with each request.
//!
//! The typed fields always say what `raw` says: both are made together, by
//! [`TopicConfig::from_map`], and nothing changes one of them alone.

use std::collections::BTreeMap;

use super::command::ConfigChange;
use super::setting::{ConfigError, DescribedConfig, Setting, Value, change_settings, find};
use super::topic_settings::{
    ACKS_ALL, ACKS_ONE, CHECK_COMPRESSED, LOG_APPEND_TIME, MAX_MESSAGE_BYTES, RETENTION_BYTES,
    RETENTION_MS, RETENTION_MS_DEFAULT, TIMESTAMP_TYPE, TOPIC_SETTINGS,
};
use crate::limits::RECORD_BATCH_BYTES_DEFAULT;
use crate::model::qos::Qos;

/// The settings of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// How long records are kept, in milliseconds; `None` is for ever.
    pub retention_ms: Option<i64>,
    /// How many bytes each partition keeps before old records may go; `None` is no bound.
    pub retention_bytes: Option<u64>,
    /// The largest record batch, in bytes. At most
    /// [`RECORD_BATCH_BYTES_MAX`](crate::limits::RECORD_BATCH_BYTES_MAX).
    pub max_message_bytes: usize,
    /// Whether the broker's clock gives records their timestamp (`LogAppendTime`).
    pub append_time: bool,
    /// What `acks=1` means. Never [`Qos::OneWay`].
    pub acks_one: Qos,
    /// What `acks=-1` means. Never [`Qos::OneWay`].
    pub acks_all: Qos,
    /// Whether the records of compressed batches are counted on their way in.
    pub check_compressed: bool,
    /// What was set explicitly, as it was written.
    pub raw: BTreeMap<String, String>,
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            retention_ms: Some(RETENTION_MS_DEFAULT),
            retention_bytes: None,
            max_message_bytes: RECORD_BATCH_BYTES_DEFAULT,
            append_time: false,
            acks_one: Qos::Flushed,
            acks_all: Qos::Durable,
            check_compressed: true,
            raw: BTreeMap::new(),
        }
    }
}

impl TopicConfig {
    /// The settings that `raw` sets, and defaults for the others.
    ///
    /// Refuses an unknown setting and a value that its setting doesn't allow.
    pub fn from_map(raw: &BTreeMap<String, String>) -> Result<TopicConfig, ConfigError> {
        let mut config = TopicConfig::default();
        for (name, text) in raw {
            let setting = find(TOPIC_SETTINGS, name)?;
            config.set(setting, text)?;
            config.raw.insert(name.clone(), text.trim().to_owned());
        }
        Ok(config)
    }

    /// These settings, changed. With `replace_all`, what isn't named goes back to its default.
    ///
    /// Refuses what [`TopicConfig::from_map`] refuses, a setting that is named twice, and changes
    /// of lists to what isn't a list.
    pub fn changed(
        &self,
        changes: &[(String, ConfigChange)],
        replace_all: bool,
    ) -> Result<TopicConfig, ConfigError> {
        let raw = change_settings(TOPIC_SETTINGS, &self.raw, changes, replace_all)?;
        TopicConfig::from_map(&raw)
    }

    /// All settings there are, with their values.
    pub fn describe(&self) -> Vec<DescribedConfig> {
        TOPIC_SETTINGS.iter().map(|setting| setting.describe(self.raw.get(setting.name))).collect()
    }

    fn set(&mut self, setting: &Setting, text: &str) -> Result<(), ConfigError> {
        match (setting.name, setting.parse(text)?) {
            (RETENTION_MS, Value::Number(ms)) => self.retention_ms = (ms >= 0).then_some(ms),
            (RETENTION_BYTES, Value::Number(bytes)) => {
                self.retention_bytes = u64::try_from(bytes).ok();
            }
            // The table allows nothing negative; the default is for the type checker alone.
            (MAX_MESSAGE_BYTES, Value::Number(bytes)) => {
                self.max_message_bytes = usize::try_from(bytes).unwrap_or_default();
            }
            (TIMESTAMP_TYPE, Value::Text(kind)) => self.append_time = kind == LOG_APPEND_TIME,
            (ACKS_ONE, Value::Text(level)) => {
                self.acks_one = Qos::from_name(level).unwrap_or(self.acks_one);
            }
            (ACKS_ALL, Value::Text(level)) => {
                self.acks_all = Qos::from_name(level).unwrap_or(self.acks_all);
            }
            (CHECK_COMPRESSED, Value::Boolean(check)) => self.check_compressed = check,
            // Known and without effect.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
