//! `hutong cluster status` beside real nodes: what it says of them is so, also when some are gone.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::{Broker, wait_until};
use crate::nodes::Nodes;
use crate::raw::{RawClient, one_record};
use crate::scrape::Scrape;

/// Elections, restarts and catching up, in a dev build beside busy neighbours.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

fn status(bootstrap: &str, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hutong"));
    command.args(["cluster", "status", "--bootstrap", bootstrap]).args(flags).output().unwrap()
}

/// The exit code and the report for scripts.
fn report(bootstrap: &str) -> (i32, Value) {
    let output = status(bootstrap, &["--json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    (output.status.code().unwrap(), report)
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

fn verdict(report: &Value) -> &str {
    report["verdict"].as_str().unwrap()
}

fn groups(report: &Value) -> &[Value] {
    report["groups"].as_array().unwrap()
}

/// Appends a record to partition 0, wherever it is led.
fn produce(nodes: &Nodes, topic: &str) {
    wait_until("a record is taken", CHANGE_TIMEOUT, || {
        nodes.all.iter().filter(|node| node.runs()).any(|node| {
            let mut client = RawClient::connect(&node.address());
            client.produce(topic, 0, one_record(100)).0 == 0
        })
    });
}

#[test]
fn a_node_that_dies_is_told_of_and_so_is_its_return() {
    let mut nodes = Nodes::start(3, &["--metrics", "127.0.0.1:0"]);
    let addresses: Vec<String> = nodes.all.iter().map(Broker::address).collect();
    let all = addresses.join(",");
    RawClient::connect(&addresses[0]).create_topic("t", 1, &[]);
    produce(&nodes, "t");
    let well = "all 3 groups have a leader and a majority; no replica lags";
    let healthy = at_rest(&nodes, &all, well);
    assert_eq!(healthy["healthy"], Value::Bool(true), "{healthy}");
    assert_eq!(healthy["cluster_id"], "test");
    for (at, node) in healthy["nodes"].as_array().unwrap().iter().enumerate() {
        assert_eq!(node["node"], at + 1);
        assert_eq!(node["address"], addresses[at]);
        assert_eq!((&node["up"], &node["shards"]), (&Value::Bool(true), &Value::from(1)));
    }
    for group in groups(&healthy) {
        assert_eq!(group["replicas"].as_array().unwrap().len(), 3, "{group}");
        assert_eq!(group["committed"], group["last"], "{group}");
        assert!(group["epoch"].as_i64().unwrap() > 0, "{group}");
    }

    let leader = groups(&healthy)[0]["leader_node"].as_u64().unwrap() as usize;
    nodes.all[leader - 1].kill();
    // It is the first that is tried, and the others answer.
    let others = (0..3).filter(|at| at + 1 != leader).map(|at| addresses[at].clone());
    let others: Vec<String> = others.collect();
    let bootstrap = format!("{},{}", addresses[leader - 1], others.join(","));
    let gone = format!("node {leader} is not reachable; all 3 groups have a leader");
    wait_until("the others lead", CHANGE_TIMEOUT, || verdict(&report(&all).1).starts_with(&gone));
    produce(&nodes, "t");
    let lags = |report: &Value| {
        let dead = |group: &Value| group["replicas"][leader - 1].clone();
        groups(report).iter().map(dead).all(|dead| dead["heard"] == false)
            && verdict(report).contains("lag")
    };
    wait_until("it lags and is silent", CHANGE_TIMEOUT, || lags(&report(&bootstrap).1));
    let lacks = format!("node {leader} lacks ");
    let mut said = String::new();
    // As long as there is no election just then.
    wait_until("it says so", CHANGE_TIMEOUT, || {
        let output = status(&bootstrap, &[]);
        said = text(&output.stdout);
        let last = said.lines().last().unwrap_or_default();
        output.status.success() && last.starts_with(&gone) && said.contains(&lacks)
    });
    let line = said.lines().find(|line| line.contains(&addresses[leader - 1])).unwrap();
    assert!(line.contains("not reachable") && line.contains("refused"), "{said}");
    assert!(said.contains("(silent)"), "{said}");

    nodes.all[leader - 1].restart();
    wait_until("all is well again", CHANGE_TIMEOUT, || verdict(&report(&all).1) == well);
    let (_, back) = report(&all);
    for (group, before) in groups(&back).iter().zip(groups(&healthy)) {
        let committed = |group: &Value| group["committed"].as_i64().unwrap();
        // Its new leader began with an entry of its own; the others may have had nothing to do.
        let led = before["leader_node"] == leader;
        assert!(committed(group) >= committed(before) + i64::from(led), "{group} {before}");
    }
}

/// The report of a cluster where all is well, each node leads what it should, and the nodes tell
/// the same over HTTP. On a busy machine there is an election now and then, and leaders come home.
fn at_rest(nodes: &Nodes, bootstrap: &str, well: &str) -> Value {
    let by = Instant::now() + CHANGE_TIMEOUT;
    loop {
        let (code, told) = report(bootstrap);
        let mut leaders = groups(&told).iter().zip(1..);
        let are_home = leaders.all(|(group, home)| group["leader_node"] == home);
        let differs = groups(&told).iter().flat_map(|group| differs_by_metrics(nodes, group));
        let differs: Vec<String> = differs.collect();
        if code == 0 && verdict(&told) == well && are_home && differs.is_empty() {
            return told;
        }
        assert!(Instant::now() < by, "{told}: {differs:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the nodes tell over HTTP of a group, and is something else than they report of it.
fn differs_by_metrics(nodes: &Nodes, group: &Value) -> Vec<String> {
    let number = group["group"].to_string();
    let labels = [("group", number.as_str())];
    let leader = group["leader_node"].as_u64().unwrap_or_default() as usize;
    let mut differs = Vec::new();
    for (at, node) in nodes.all.iter().enumerate() {
        let told = Scrape::of(node);
        let leads = f64::from(at + 1 == leader);
        let mut expect = |what: &str, is_so: bool| {
            if !is_so {
                differs.push(format!("group {number} on node {}: {what}", at + 1));
            }
        };
        expect("leads", told.sum("hutong_group_leader", &labels) == leads);
        expect("connected", told.sum("hutong_peers_connected", &[]) == 2.0);
        expect("sent", told.sum("hutong_peer_sent_bytes_total", &[]) > 0.0);
        expect("received", told.sum("hutong_peer_received_bytes_total", &[]) > 0.0);
        expect("damaged", told.sum("hutong_group_damaged_messages_total", &[]) == 0.0);
        let won = told.sum("hutong_group_elections_won_total", &labels);
        let lost = told.sum("hutong_group_leaderships_lost_total", &labels);
        expect("elections", won - lost == leads);
        if at + 1 == leader {
            let term = told.sum("hutong_group_term", &labels);
            expect("term", group["epoch"].as_f64() == Some(term));
            let lags = told.labels("hutong_group_replica_lag_entries");
            expect("lag", lags.contains("node"));
        }
    }
    differs
}

#[test]
fn without_a_majority_it_names_the_groups_and_fails() {
    let mut nodes = Nodes::start(3, &[]);
    let last = nodes.all[2].address();
    nodes.all[0].kill();
    nodes.all[1].kill();
    let without = |output: &Output| text(&output.stderr).contains("3 of 3 groups without a leader");
    wait_until("nobody leads", CHANGE_TIMEOUT, || without(&status(&last, &[])));
    let output = status(&last, &[]);
    let (told, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{told}{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("(0, 1, 2): nodes 1, 2 are not reachable"), "{said}");
    assert!(told.contains("none") && told.contains("not reachable"), "{told}");
    let (code, report) = report(&last);
    assert_eq!((code, &report["healthy"]), (1, &Value::Bool(false)));
    nodes.all[0].spawn();
    nodes.all[1].spawn();
    let well = "all 3 groups have a leader and a majority; no replica lags";
    wait_until("all is well again", CHANGE_TIMEOUT, || {
        status(&last, &["--json"]).status.success() && verdict(&self::report(&last).1) == well
    });
}

#[test]
fn a_lone_node_is_its_own_majority() {
    let broker = Broker::start(2, &["--segment-bytes", "32MiB"]);
    for shard in 0..2 {
        let (code, report) = report(&broker.shard_address(shard));
        let well = "all 2 groups have a leader and a majority; no replica lags";
        assert_eq!((code, verdict(&report)), (0, well));
        assert_eq!(report["nodes"][0]["shards"], 2);
        let leaders: Vec<&Value> = groups(&report).iter().map(|group| &group["leader"]).collect();
        assert_eq!(leaders, [0, 1]);
    }
}
