//! `hutong topic describe`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::Args;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, DescribeConfigsRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};

use super::super::client::error_name;
use super::super::cluster::Cluster;
use super::super::output::{Table, plural, print, print_json, printable};
use super::list::{name, replicas};
use super::offsets::{Ends, Offsets, offsets};
use super::{RESOURCE_TOPIC, UNKNOWN_TOPIC_OR_PARTITION, server_error};

/// Where a setting's value comes from when nobody set it.
const SOURCE_DEFAULT: i8 = 5;

#[derive(Debug, Args)]
#[command(
    about = "Show topics: their partitions, leaders, replicas, offsets and settings",
    long_about = "Show topics: their partitions, leaders, replicas, offsets, and the settings \
                  that are not the default.\n\n\
                  EARLIEST is the first offset that can be read, LATEST the one after the last.\n\n\
                  Examples:\n\n  \
                  hutong topic describe orders\n  \
                  hutong topic describe --json | jq '.[] | {name, id}'"
)]
pub struct DescribeArgs {
    /// The topics' names; all topics if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print JSON: an array with an object for each topic
    #[arg(long)]
    json: bool,
}

type Settings = BTreeMap<String, Vec<DescribeConfigsResourceResult>>;

/// Shows the topics in the order of their names.
pub fn run(cluster: &mut Cluster, args: &DescribeArgs) -> anyhow::Result<()> {
    let asked = Some(args.names.as_slice()).filter(|names| !names.is_empty());
    let mut topics = cluster.metadata(asked)?.topics;
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    for topic in &mut topics {
        if topic.error_code != 0 && asked.is_some() {
            bail!("can't describe topic {}: {}", name(topic), error_name(topic.error_code));
        }
        topic.partitions.sort_by_key(|partition| partition.partition_index);
    }
    let offsets = offsets(cluster, &topics);
    let settings = settings(cluster, &topics)?;
    if args.json {
        return print_json(&topics.iter().map(|t| to_json(t, &offsets, &settings)).collect());
    }
    if topics.is_empty() {
        return print("there are no topics\n");
    }
    let blocks: Vec<String> = topics.iter().map(|t| to_text(t, &offsets, &settings)).collect();
    print(&blocks.join("\n"))
}

/// The settings of each topic that somebody set, by the topic's name.
fn settings(cluster: &mut Cluster, topics: &[MetadataResponseTopic]) -> anyhow::Result<Settings> {
    let resource = |topic: &MetadataResponseTopic| {
        let name = topic.name.as_ref().map(|name| name.0.clone()).unwrap_or_default();
        DescribeConfigsResource::default()
            .with_resource_type(RESOURCE_TOPIC)
            .with_resource_name(name)
            .with_configuration_keys(None)
    };
    let mut found = Settings::new();
    if topics.is_empty() {
        return Ok(found);
    }
    let request =
        DescribeConfigsRequest::default().with_resources(topics.iter().map(resource).collect());
    for result in cluster.any().send(&request)?.results {
        let topic = printable(&result.resource_name);
        // Somebody may have deleted it since we heard of it.
        if result.error_code == UNKNOWN_TOPIC_OR_PARTITION {
            continue;
        }
        if result.error_code != 0 {
            let why = server_error(result.error_code, result.error_message.as_ref());
            return Err(anyhow::anyhow!(why))
                .with_context(|| format!("can't read the settings of topic {topic}"));
        }
        let set = result.configs.into_iter().filter(|c| c.config_source != SOURCE_DEFAULT);
        let mut set: Vec<_> = set.collect();
        set.sort_by(|a, b| a.name.cmp(&b.name));
        found.insert(topic, set);
    }
    Ok(found)
}

fn to_text(topic: &MetadataResponseTopic, offsets: &Offsets, settings: &Settings) -> String {
    let mut text = format!("{}  id {}", name(topic), topic.topic_id);
    let partitions = plural(topic.partitions.len(), "partition");
    text.push_str(&format!("  {partitions} of {}", plural(replicas(topic), "replica")));
    if topic.is_internal {
        text.push_str("  internal");
    }
    if topic.error_code != 0 {
        text.push_str(&format!("  {}", error_name(topic.error_code)));
    }
    text.push('\n');
    let set = settings.get(&name(topic)).map(Vec::as_slice).unwrap_or_default();
    let headings = ["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "EARLIEST", "LATEST", ""];
    let mut table = Table::new(2, &headings);
    for partition in &topic.partitions {
        table.row(partition_row(partition, ends(topic, partition, offsets)));
    }
    text.push_str(&table.render());
    if !set.is_empty() {
        let mut table = Table::new(2, &["SETTING", "VALUE", "SET BY"]);
        for setting in set {
            let value = printable(&value(setting));
            table.row([printable(&setting.name), value, source(setting).to_owned()]);
        }
        text.push_str(&table.render());
    }
    text
}

fn ends<'a>(
    topic: &MetadataResponseTopic,
    partition: &MetadataResponsePartition,
    offsets: &'a Offsets,
) -> Option<&'a Result<Ends, String>> {
    offsets.get(&(topic.name.clone()?, partition.partition_index))
}

fn partition_row(
    partition: &MetadataResponsePartition,
    ends: Option<&Result<Ends, String>>,
) -> [String; 8] {
    let known = |number: i32| if number >= 0 { number.to_string() } else { "-".to_owned() };
    let (earliest, latest, mut note) = match ends {
        Some(Ok(ends)) => (ends.earliest.to_string(), ends.latest.to_string(), String::new()),
        Some(Err(error)) => ("?".to_owned(), "?".to_owned(), printable(error)),
        None => ("?".to_owned(), "?".to_owned(), String::new()),
    };
    if partition.error_code != 0 {
        note = error_name(partition.error_code);
    }
    [
        partition.partition_index.to_string(),
        known(*partition.leader_id),
        known(partition.leader_epoch),
        ids(&partition.replica_nodes),
        ids(&partition.isr_nodes),
        earliest,
        latest,
        note,
    ]
}

fn ids(brokers: &[BrokerId]) -> String {
    brokers.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}

fn value(setting: &DescribeConfigsResourceResult) -> String {
    match &setting.value {
        Some(value) => value.to_string(),
        None if setting.is_sensitive => "(hidden)".to_owned(),
        None => "(none)".to_owned(),
    }
}

/// Who set it, in the words of Kafka's `ConfigSource`.
fn source(setting: &DescribeConfigsResourceResult) -> &'static str {
    match setting.config_source {
        1 => "topic",
        2 => "broker, at run time",
        3 => "all brokers, at run time",
        4 => "broker, at start",
        _ => "unknown",
    }
}

fn to_json(topic: &MetadataResponseTopic, offsets: &Offsets, settings: &Settings) -> Value {
    let partitions = topic.partitions.iter().map(|partition| {
        let ends = ends(topic, partition, offsets);
        let known = ends.and_then(|ends| ends.as_ref().ok());
        let error = match partition.error_code {
            0 => ends.and_then(|ends| ends.as_ref().err()).cloned(),
            code => Some(error_name(code)),
        };
        json!({
            "partition": partition.partition_index,
            "leader": *partition.leader_id,
            "leader_epoch": partition.leader_epoch,
            "replicas": numbers(&partition.replica_nodes),
            "isr": numbers(&partition.isr_nodes),
            "offline": numbers(&partition.offline_replicas),
            "earliest": known.map(|ends| ends.earliest),
            "latest": known.map(|ends| ends.latest),
            "error": error,
        })
    });
    let set = settings.get(&name(topic)).map(Vec::as_slice).unwrap_or_default();
    let configs = set.iter().map(|setting| {
        let value = setting.value.as_ref().map(StrBytes::to_string);
        let entry = json!({ "value": value, "source": source(setting) });
        (setting.name.to_string(), entry)
    });
    json!({
        "name": name(topic),
        "id": topic.topic_id.to_string(),
        "internal": topic.is_internal,
        "error": (topic.error_code != 0).then(|| error_name(topic.error_code)),
        "partitions": partitions.collect::<Vec<_>>(),
        "configs": configs.collect::<serde_json::Map<_, _>>(),
    })
}

fn numbers(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|id| id.0).collect()
}
