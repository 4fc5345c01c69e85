//! What was found of a cluster, as text for people and as JSON for scripts.

use serde_json::{Value, json};

use super::found::{Found, Group, Led, Node, Replica, list};
use crate::cli::output::{Table, plural, printable};

/// Nodes, groups, and in the last line whether all is well; what isn't is an error's to say.
pub fn text(found: &Found) -> String {
    let mut text = format!(
        "cluster {}: {}, {}\n\n",
        found.cluster_id,
        plural(found.nodes.len(), "node"),
        plural(found.groups.len(), "group")
    );
    let mut nodes = Table::new(0, &["NODE", "ADDRESS", "SHARDS", "STATE", "LEADS GROUPS"]);
    for node in &found.nodes {
        let led: Vec<i32> = found.led_by(node.id).collect();
        let led = if led.is_empty() { "-".to_string() } else { list(&led) };
        let shards = node.shards.map_or("?".to_string(), |shards| shards.to_string());
        nodes.row([node.id.to_string(), node.address.to_string(), shards, state(node), led]);
    }
    text.push_str(&nodes.render());
    text.push('\n');
    let mut groups = Table::new(0, &["GROUP", "LEADER", "EPOCH", "COMMITTED", "REPLICAS"]);
    for group in &found.groups {
        groups.row(group_row(group));
    }
    text.push_str(&groups.render());
    if let Ok(verdict) = found.verdict() {
        text.push_str(&format!("\n{verdict}\n"));
    }
    text
}

fn state(node: &Node) -> String {
    match &node.problem {
        None => "up".to_string(),
        Some(why) => format!("not reachable: {}", printable(why)),
    }
}

fn group_row(group: &Group) -> Vec<String> {
    let number = group.group.to_string();
    let Some(led) = &group.led else {
        return vec![number, "none".into(), "-".into(), "-".into(), "-".into()];
    };
    let replicas = led.replicas.iter().map(|replica| {
        let node = replica.node;
        format!("node {node} {}", how_far(led, replica))
    });
    let replicas: Vec<String> = replicas.collect();
    let committed = led.committed.to_string();
    vec![number, led.leader.to_string(), led.epoch.to_string(), committed, replicas.join(", ")]
}

/// What follows a replica's name.
fn how_far(led: &Led, replica: &Replica) -> String {
    if replica.broker == led.leader {
        return "leads".to_string();
    }
    let lag = match led.lag(replica) {
        Some(0) => "has all".to_string(),
        Some(lag) => format!("lacks {lag}"),
        None => "lacks ?".to_string(),
    };
    let silent = if replica.heard { "" } else { " (silent)" };
    let learner = if replica.votes { "" } else { " (learner)" };
    format!("{lag}{silent}{learner}")
}

/// The same for scripts.
pub fn json(found: &Found) -> Value {
    let verdict = found.verdict();
    let nodes = found.nodes.iter().map(|node| {
        json!({
            "node": node.id,
            "address": node.address.to_string(),
            "shards": node.shards,
            "up": node.problem.is_none(),
            "problem": node.problem,
            "leads": found.led_by(node.id).collect::<Vec<_>>(),
        })
    });
    json!({
        "cluster_id": found.cluster_id,
        "healthy": verdict.is_ok(),
        "verdict": verdict.unwrap_or_else(|sentence| sentence),
        "nodes": nodes.collect::<Vec<_>>(),
        "groups": found.groups.iter().map(group_json).collect::<Vec<_>>(),
    })
}

fn group_json(group: &Group) -> Value {
    let replicas = |led: &Led| {
        let replicas = led.replicas.iter().map(|replica| {
            json!({
                "node": replica.node,
                "broker": replica.broker,
                "leads": replica.broker == led.leader,
                "votes": replica.votes,
                "end": replica.end,
                "lag": led.lag(replica),
                "heard": replica.heard,
            })
        });
        replicas.collect::<Vec<_>>()
    };
    let led = group.led.as_ref();
    json!({
        "group": group.group,
        "leader": led.map(|led| led.leader),
        "leader_node": led.map(|led| led.node),
        "epoch": led.map(|led| led.epoch),
        "committed": led.map(|led| led.committed),
        "last": led.map(|led| led.last),
        "majority": led.is_some_and(Led::has_majority),
        "replicas": led.map(replicas).unwrap_or_default(),
    })
}
