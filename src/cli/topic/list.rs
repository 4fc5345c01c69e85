//! `hutong topic list`.

use clap::Args;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use serde_json::json;

use super::super::cluster::Cluster;
use super::super::output::{Table, print, print_json, printable};

#[derive(Debug, Args)]
#[command(long_about = "List all topics.\n\n\
                  Examples:\n\n  \
                  hutong topic list\n  \
                  hutong topic list --json | jq -r '.[].name'")]
pub struct ListArgs {
    /// Print JSON: an array with an object for each topic
    #[arg(long)]
    json: bool,
}

/// Lists the topics by name.
pub fn run(cluster: &mut Cluster, args: &ListArgs) -> anyhow::Result<()> {
    let mut topics = cluster.metadata(None)?.topics;
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    if args.json {
        let items = topics.iter().map(|topic| {
            json!({
                "name": name(topic),
                "id": topic.topic_id.to_string(),
                "internal": topic.is_internal,
                "partitions": topic.partitions.len(),
                "replication_factor": replicas(topic),
            })
        });
        return print_json(&items.collect());
    }
    if topics.is_empty() {
        return print("there are no topics\n");
    }
    let mut table = Table::new(0, &["TOPIC", "PARTITIONS", "REPLICAS", ""]);
    for topic in &topics {
        let (partitions, replicas) = (topic.partitions.len(), replicas(topic));
        let internal = if topic.is_internal { "internal" } else { "" };
        table.row([name(topic), partitions.to_string(), replicas.to_string(), internal.to_owned()]);
    }
    print(&table.render())
}

/// The topic's name, fit to print.
pub fn name(topic: &MetadataResponseTopic) -> String {
    topic.name.as_ref().map(|name| printable(name)).unwrap_or_default()
}

/// The most replicas that any partition has.
pub fn replicas(topic: &MetadataResponseTopic) -> usize {
    topic.partitions.iter().map(|p| p.replica_nodes.len()).max().unwrap_or(0)
}
