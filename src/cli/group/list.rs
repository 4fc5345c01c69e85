//! `hutong group list`.

use std::collections::BTreeMap;

use anyhow::bail;
use clap::Args;
use kafka_protocol::messages::ListGroupsRequest;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::protocol::StrBytes;
use serde_json::json;

use super::super::client::error_name;
use super::super::cluster::Cluster;
use super::super::output::{Table, print, print_json, printable};
use super::coordinator::{LOADING, patiently};

/// From here on groups can be asked for by their state.
const STATES_FROM: i16 = 4;
/// And from here on by the protocol they use.
const TYPES_FROM: i16 = 5;

#[derive(Debug, Args)]
#[command(
    about = "List the consumer groups of all brokers",
    long_about = "List the consumer groups of all brokers, with their states.\n\n\
                  Examples:\n\n  \
                  hutong group list\n  \
                  hutong group list --state empty --json"
)]
pub struct ListArgs {
    /// Only groups in this state: Empty, PreparingRebalance, CompletingRebalance, Assigning,
    /// Reconciling or Stable
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Vec<String>,
    /// Only groups that use this protocol: classic or consumer
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    kind: Vec<String>,
    /// Print JSON: an array with an object for each group
    #[arg(long)]
    json: bool,
}

/// The states there are, here and in any Kafka.
const STATES: [&str; 8] = [
    "Empty",
    "PreparingRebalance",
    "CompletingRebalance",
    "Assigning",
    "Reconciling",
    "Stable",
    "Dead",
    "NotReady",
];
/// The protocols there are.
const KINDS: [&str; 4] = ["classic", "consumer", "share", "streams"];

fn state(text: &str) -> Result<String, String> {
    one_of(&STATES, text)
}

fn kind(text: &str) -> Result<String, String> {
    one_of(&KINDS, text)
}

/// The word as brokers want it: older ones know only their own spelling.
fn one_of(words: &[&str], text: &str) -> Result<String, String> {
    let found = words.iter().find(|word| word.eq_ignore_ascii_case(text));
    found.map(|word| (*word).to_owned()).ok_or_else(|| format!("it is one of {}", words.join(", ")))
}

/// Lists the groups in the order of their ids.
pub fn run(cluster: &mut Cluster, args: &ListArgs) -> anyhow::Result<()> {
    let mut groups = BTreeMap::new();
    for (broker, group) in groups_of_all(cluster, args)? {
        groups.insert(group.group_id.to_string(), (broker, group));
    }
    if args.json {
        let objects = groups.iter().map(|(id, (broker, group))| {
            json!({
                "group": id,
                "state": group.group_state.to_string(),
                "type": group.group_type.to_string(),
                "protocol_type": group.protocol_type.to_string(),
                "coordinator": broker,
            })
        });
        return print_json(&objects.collect());
    }
    if groups.is_empty() {
        return print("there are no groups\n");
    }
    let mut table = Table::new(0, &["GROUP", "STATE", "TYPE", "PROTOCOL", "COORDINATOR"]);
    for (id, (broker, group)) in &groups {
        let [state, kind, protocol] =
            [&group.group_state, &group.group_type, &group.protocol_type].map(|t| or_dash(t));
        table.row([printable(id), state, kind, protocol, broker.to_string()]);
    }
    print(&table.render())
}

fn groups_of_all(
    cluster: &mut Cluster,
    args: &ListArgs,
) -> anyhow::Result<Vec<(i32, ListedGroup)>> {
    let mut found = Vec::new();
    let brokers = cluster.metadata(Some(&[]))?.brokers;
    for broker in brokers.iter().map(|broker| *broker.node_id) {
        let connection = cluster.broker(broker)?;
        let mut request = ListGroupsRequest::default();
        let version = connection.version::<ListGroupsRequest>()?;
        let texts = |words: &[String]| words.iter().cloned().map(StrBytes::from_string).collect();
        if !args.state.is_empty() {
            if version < STATES_FROM {
                bail!("broker {broker} is too old to tell groups by their states");
            }
            request.states_filter = texts(&args.state);
        }
        if !args.kind.is_empty() {
            if version < TYPES_FROM {
                bail!("broker {broker} is too old to tell groups by their protocols");
            }
            request.types_filter = texts(&args.kind);
        }
        // It may just have become the coordinator of some groups.
        let ask = || Ok(connection.send(&request)?);
        let answer = patiently(ask, |answer| answer.error_code == LOADING)?;
        if answer.error_code != 0 {
            bail!("broker {broker} can't list its groups: {}", error_name(answer.error_code));
        }
        found.extend(answer.groups.into_iter().map(|group| (broker, group)));
    }
    Ok(found)
}

/// What older brokers don't tell is empty.
pub fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { printable(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_protocols_are_spelled_as_brokers_do() {
        assert_eq!(state("preparingrebalance"), Ok("PreparingRebalance".to_owned()));
        assert_eq!(kind("CONSUMER"), Ok("consumer".to_owned()));
        assert!(state("stabel").is_err_and(|why| why.contains("Stable")));
        assert!(kind("").is_err());
    }
}
