//! What a setting is: its name, type, default, rule and documentation; and how it is changed.
//!
//! Settings of topics and of brokers are tables of rows of one type, `Setting`. Each error names
//! the setting, the value and what is allowed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::command::ConfigChange;

/// Settings that a topic, a broker or one command may name.
pub const SETTINGS_MAX: usize = 256;
/// The longest name of a setting.
pub const SETTING_NAME_BYTES_MAX: usize = 128;
/// The longest value of a setting.
pub const SETTING_VALUE_BYTES_MAX: usize = 1024;

/// The type of a setting, as DescribeConfigs tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    String,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A fraction.
    Double,
    /// Texts, separated by commas.
    List,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Built in.
    Default,
    /// What the broker was started with.
    Static,
    /// Set by a command.
    Dynamic,
}

/// A setting with its present value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    /// Its name.
    pub name: &'static str,
    /// Its value; its default if none was set.
    pub value: String,
    /// Whether nobody set it.
    pub default: bool,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Its type.
    pub kind: ConfigKind,
    /// A sentence or two on what it does.
    pub documentation: &'static str,
    /// Whether no command can change it.
    pub read_only: bool,
    /// Whether its value is a secret. None is.
    pub sensitive: bool,
}

/// Why settings were refused, in a sentence that names the setting, the value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// `true` or `false`, in any case.
    Boolean,
    /// A whole number within bounds, both included.
    Number { min: i64, max: i64 },
    /// A fraction from 0 to 1.
    Ratio,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// This alone, for a reason told to whoever tries another.
    Only { value: &'static str, why: &'static str },
    /// A Kafka version, such as `3.0-IV1`.
    KafkaVersion,
    /// No command changes it, for this reason.
    ReadOnly { why: &'static str },
}

/// A value that its setting allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Boolean(bool),
    Number(i64),
    Text(&'a str),
}

/// A default, as it is easiest to write down.
#[derive(Clone, Copy, Debug)]
pub(super) enum DefaultValue {
    Text(&'static str),
    Number(i64),
}

/// One row of a table of settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) kind: ConfigKind,
    pub(super) default: DefaultValue,
    pub(super) rule: Rule,
    pub(super) documentation: &'static str,
}

impl Setting {
    /// The default, as text.
    pub(super) fn default_text(&self) -> Cow<'static, str> {
        match self.default {
            DefaultValue::Text(text) => Cow::Borrowed(text),
            DefaultValue::Number(number) => Cow::Owned(number.to_string()),
        }
    }

    /// What `text` means, or why it isn't allowed.
    pub(super) fn parse<'a>(&self, text: &'a str) -> Result<Value<'a>, ConfigError> {
        if text.len() > SETTING_VALUE_BYTES_MAX {
            return Err(ConfigError(format!(
                "The value for configuration {} is {} bytes long: at most \
                 {SETTING_VALUE_BYTES_MAX} are allowed",
                self.name,
                text.len()
            )));
        }
        let text = text.trim();
        self.rule.parse(text).ok_or_else(|| {
            let (name, allowed) = (self.name, self.rule.allowed(self.kind));
            ConfigError(format!("Invalid value {text:?} for configuration {name}: {allowed}"))
        })
    }

    /// The setting with its present value.
    pub(super) fn describe(&self, value: Option<&String>) -> DescribedConfig {
        let source = if value.is_some() { ConfigSource::Dynamic } else { ConfigSource::Default };
        DescribedConfig {
            name: self.name,
            value: value.cloned().unwrap_or_else(|| self.default_text().into_owned()),
            default: value.is_none(),
            source,
            kind: self.kind,
            documentation: self.documentation,
            read_only: matches!(self.rule, Rule::ReadOnly { .. }),
            sensitive: false,
        }
    }
}

impl Rule {
    fn parse<'a>(&self, text: &'a str) -> Option<Value<'a>> {
        match *self {
            Rule::Boolean if text.eq_ignore_ascii_case("true") => Some(Value::Boolean(true)),
            Rule::Boolean if text.eq_ignore_ascii_case("false") => Some(Value::Boolean(false)),
            Rule::Boolean => None,
            Rule::Number { min, max } => {
                let number = text.parse().ok().filter(|number| (min..=max).contains(number));
                number.map(Value::Number)
            }
            // Not a number isn't within anything.
            Rule::Ratio => {
                let within = text.parse::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio));
                within.then_some(Value::Text(text))
            }
            Rule::OneOf(values) => values.contains(&text).then_some(Value::Text(text)),
            Rule::Only { value, .. } => (text == value).then_some(Value::Text(text)),
            Rule::KafkaVersion => is_kafka_version(text).then_some(Value::Text(text)),
            Rule::ReadOnly { .. } => None,
        }
    }

    /// What is allowed, as a sentence.
    fn allowed(&self, kind: ConfigKind) -> String {
        match *self {
            Rule::Boolean => "Expected value to be either true or false".to_owned(),
            Rule::Number { min, max: i64::MAX } => {
                format!("Value must be a whole number of at least {min}")
            }
            Rule::Number { min, max } if kind == ConfigKind::Int && max == i64::from(i32::MAX) => {
                format!("Value must be a whole number of 32 bits and at least {min}")
            }
            Rule::Number { min, max } => {
                format!("Value must be a whole number from {min} to {max}")
            }
            Rule::Ratio => "Value must be a number from 0 to 1".to_owned(),
            Rule::OneOf(values) => format!("String must be one of: {}", values.join(", ")),
            Rule::Only { value, why } => format!("Only {value} is allowed. {why}"),
            Rule::KafkaVersion => "Value must be a Kafka version, such as 3.0-IV1".to_owned(),
            Rule::ReadOnly { why } => format!("Configuration is read-only. {why}"),
        }
    }
}

fn is_kafka_version(text: &str) -> bool {
    let mut parts = text.split(['.', '-']);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_number)
        && parts.all(|part| is_number(part.strip_prefix("IV").unwrap_or(part)))
}

/// The row of that name.
pub(super) fn find<'a>(table: &'a [Setting], name: &str) -> Result<&'a Setting, ConfigError> {
    table.iter().find(|setting| setting.name == name).ok_or_else(|| {
        let name: String = name.chars().take(SETTING_NAME_BYTES_MAX).collect();
        ConfigError(format!("Unknown configuration {name:?}: Hutong has no setting of this name"))
    })
}

/// The settings `current`, changed. The values are still to be checked.
///
/// Refused: unknown and read-only settings, a setting named twice, and `Append` or `Subtract` on
/// what isn't a list.
pub(super) fn change_settings(
    table: &[Setting],
    current: &BTreeMap<String, String>,
    changes: &[(String, ConfigChange)],
    replace_all: bool,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut changed = if replace_all { BTreeMap::new() } else { current.clone() };
    let mut seen = BTreeSet::new();
    for (name, change) in changes {
        let setting = find(table, name)?;
        if let Rule::ReadOnly { why } = setting.rule {
            return Err(ConfigError(format!("Configuration {name} is read-only. {why}")));
        }
        if !seen.insert(setting.name) {
            return Err(ConfigError(format!("Configuration {name} is given more than once")));
        }
        match change_one(setting, changed.get(name), change)? {
            Some(value) => changed.insert(name.clone(), value),
            None => changed.remove(name),
        };
    }
    Ok(changed)
}

/// The new value of a setting; `None` for its default.
fn change_one(
    setting: &Setting,
    current: Option<&String>,
    change: &ConfigChange,
) -> Result<Option<String>, ConfigError> {
    let (items, append) = match change {
        ConfigChange::Set(value) => return Ok(Some(value.clone())),
        ConfigChange::Delete => return Ok(None),
        ConfigChange::Append(items) => (items, true),
        ConfigChange::Subtract(items) => (items, false),
    };
    if setting.kind != ConfigKind::List {
        let verb = if append { "append to" } else { "subtract from" };
        return Err(ConfigError(format!(
            "Can't {verb} configuration {}: it is not a list",
            setting.name
        )));
    }
    // Checked before the list is built, which would take quadratic time for a long one.
    if items.len() > SETTING_VALUE_BYTES_MAX {
        setting.parse(items)?;
    }
    let default = setting.default_text();
    let old = current.map_or(&*default, String::as_str);
    let mut list: Vec<&str> = list_items(old).collect();
    for item in list_items(items) {
        match list.iter().position(|&present| present == item) {
            None if append => list.push(item),
            Some(at) if !append => drop(list.remove(at)),
            _ => {}
        }
    }
    Ok(Some(list.join(",")))
}

fn list_items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests;
