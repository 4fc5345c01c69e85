//! The table and the typed fields agree; what Kafka's tools set is accepted.

use super::*;
use crate::limits::RECORD_BATCH_BYTES_MAX;
use crate::metadata::setting::{ConfigSource, SETTING_NAME_BYTES_MAX, SETTINGS_MAX};

fn config(pairs: &[(&str, &str)]) -> Result<TopicConfig, ConfigError> {
    TopicConfig::from_map(&pairs.iter().map(|&(k, v)| (k.into(), v.into())).collect())
}

fn refusal(name: &str, value: &str) -> String {
    config(&[(name, value)]).unwrap_err().0
}

#[test]
fn table_defaults_are_valid_and_equal_the_typed_ones() {
    let all: BTreeMap<_, _> = TOPIC_SETTINGS
        .iter()
        .map(|setting| (setting.name.to_owned(), setting.default_text().into_owned()))
        .collect();
    assert_eq!(all.len(), TOPIC_SETTINGS.len(), "no name twice");
    assert!(all.len() <= SETTINGS_MAX);
    assert!(all.keys().all(|name| name.len() <= SETTING_NAME_BYTES_MAX));
    let from_table = TopicConfig::from_map(&all).unwrap();
    assert_eq!(TopicConfig { raw: BTreeMap::new(), ..from_table }, TopicConfig::default());
}

#[test]
fn typed_fields_follow_the_settings() {
    let config = config(&[
        ("retention.ms", "-1"),
        ("retention.bytes", " 4096 "),
        ("max.message.bytes", "100"),
        ("message.timestamp.type", "LogAppendTime"),
        ("hutong.acks.one", "received"),
        ("hutong.acks.all", "replicated"),
    ])
    .unwrap();
    assert_eq!((config.retention_ms, config.retention_bytes), (None, Some(4096)));
    assert_eq!((config.max_message_bytes, config.append_time), (100, true));
    assert_eq!((config.acks_one, config.acks_all), (Qos::Received, Qos::Replicated));
    assert_eq!(config.raw["retention.bytes"], "4096");
}

#[test]
fn acks_settings_take_every_level_with_a_response() {
    for qos in Qos::WITH_RESPONSE {
        assert_eq!(config(&[(ACKS_ONE, qos.name())]).unwrap().acks_one, qos);
    }
    assert!(refusal(ACKS_ONE, "one-way").contains("received, flushed, replicated, durable"));
}

#[test]
fn refusals_say_why() {
    assert!(refusal("cleanup.policy", "compact").contains("doesn't compact topics yet"));
    assert!(refusal("cleanup.policy", "compact,delete").contains("doesn't compact topics yet"));
    assert!(refusal("compression.type", "zstd").contains("as their producer compressed them"));
    assert!(refusal("retention.ms", "-2").contains("at least -1"));
    assert!(refusal("retention.msec", "1").contains("retention.msec"));
    let too_large = (RECORD_BATCH_BYTES_MAX + 1).to_string();
    assert!(refusal("max.message.bytes", &too_large).contains(&RECORD_BATCH_BYTES_MAX.to_string()));
    assert!(refusal("segment.bytes", "9999999999").contains("32 bits"));
}

#[test]
fn changes_build_on_what_is_set() {
    let set = |value: &str| ConfigChange::Set(value.to_owned());
    let before = config(&[("retention.ms", "5"), ("preallocate", "true")]).unwrap();
    let changes = [("retention.ms".to_owned(), set("6"))];
    assert_eq!(before.changed(&changes, false).unwrap().raw.len(), 2);
    let replaced = before.changed(&changes, true).unwrap();
    assert_eq!((replaced.raw.len(), replaced.retention_ms), (1, Some(6)));
    let reset = before.changed(&[("retention.ms".to_owned(), ConfigChange::Delete)], false);
    assert_eq!(reset.unwrap().retention_ms, Some(RETENTION_MS_DEFAULT));
    let append = |item: &str| ("cleanup.policy".to_owned(), ConfigChange::Append(item.to_owned()));
    assert!(before.changed(&[append("delete")], false).is_ok());
    assert!(before.changed(&[append("compact")], false).is_err());
}

#[test]
fn description_tells_values_and_where_they_come_from() {
    let described = config(&[("retention.ms", "5")]).unwrap().describe();
    assert_eq!(described.len(), TOPIC_SETTINGS.len());
    let of = |name: &str| described.iter().find(|config| config.name == name).unwrap();
    assert_eq!((of("retention.ms").value.as_str(), of("retention.ms").default), ("5", false));
    assert_eq!(of("retention.ms").source, ConfigSource::Dynamic);
    assert_eq!((of("segment.ms").value.as_str(), of("segment.ms").default), ("604800000", true));
    assert!(described.iter().all(|config| !config.read_only && config.documentation.len() > 20));
}
