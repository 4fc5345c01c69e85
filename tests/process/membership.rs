//! Nodes that come and go while records are produced and read.

use std::process::{Command, Output};
use std::time::Duration;

use hutong_load::verify::{Progress, Running};

use crate::broker::{Broker, Scratch, free_ports, wait_until};
use crate::nodes::Nodes;
use crate::raw::RawClient;

/// Joining, moving groups and catching up, in a dev build beside busy neighbours.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(120);

fn cluster(bootstrap: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hutong"));
    command.arg("cluster").args(arguments).args(["--bootstrap", bootstrap]).output().unwrap()
}

/// What a change said, which must succeed, though maybe not while leadership moves.
fn changed(bootstrap: &str, arguments: &[&str]) -> String {
    let mut told = None;
    wait_until("the cluster is changed", CHANGE_TIMEOUT, || {
        let output = cluster(bootstrap, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_done = output.status.success();
        let passes = ["has no leader yet", "has no controller at the moment"];
        let again = passes.iter().any(|passes| said.contains(passes));
        assert!(is_done || again, "{arguments:?}: {said}");
        told = is_done.then(|| String::from_utf8(output.stdout).unwrap());
        is_done
    });
    told.expect("it was just changed")
}

fn refused(bootstrap: &str, arguments: &[&str]) -> String {
    let output = cluster(bootstrap, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A fourth node, which has nothing and joins the others.
fn fourth(nodes: &Nodes) -> Broker {
    let mut ports: Vec<u16> = nodes.all.iter().map(Broker::port).collect();
    ports.push(free_ports(1));
    Broker::member(3, &ports).with_flags(&["--join"])
}

fn start_load(brokers: &str) -> Running {
    let line = format!(
        "--brokers {brokers} --partitions 6 --producers 2 --consumers 1 --rate 1000 --acks all \
         --idempotent --duration 1h --request-timeout 1s --delivery-timeout 10m"
    );
    Running::start(line.split(' ')).unwrap()
}

fn wait_for_records(progress: &Progress, records: u64) {
    let (acknowledged, read) = (progress.acknowledged(), progress.read());
    wait_until("records are acknowledged and read", CHANGE_TIMEOUT, || {
        progress.acknowledged() >= acknowledged + records && progress.read() >= read + records
    });
}

#[test]
fn nodes_come_and_go_under_load_and_no_record_is_lost() {
    let mut nodes = Nodes::start(3, &[]);
    let addresses: Vec<String> = nodes.all.iter().map(Broker::address).collect();
    let all = addresses.join(",");
    let running = start_load(&all);
    wait_for_records(&running.progress, 500);

    let mut node = fourth(&nodes);
    node.spawn();
    wait_until("it says what it waits for", CHANGE_TIMEOUT, || {
        node.said().contains("node 4 is not of this cluster yet")
    });
    // Waiting, it can be stopped as always.
    let (_, took) = node.stop();
    assert!(took < Duration::from_secs(30), "{took:?}");
    node.spawn();
    let named = format!("4@{}", node.address());
    let told = changed(&all, &["add", &named]);
    assert!(told.ends_with("done: it has its groups\n"), "{told}");
    wait_until("it serves", CHANGE_TIMEOUT, || node.said().contains("hutong ready: node 4"));
    assert!(refused(&all, &["add", &named]).contains("node 4 is in the cluster already"));
    wait_for_records(&running.progress, 500);

    let told = changed(&all, &["remove", "2"]);
    assert!(told.contains("node 2 is of the cluster no more"), "{told}");
    wait_until("it lets go of its groups", CHANGE_TIMEOUT, || {
        (0..3).all(|group| nodes.all[1].data_dir().join(format!("group-{group}/gone")).exists())
    });
    nodes.all[1].stop();
    wait_for_records(&running.progress, 500);

    // With the new one there is a majority, whoever of the old ones is away; and whoever comes back
    // knows the others by what it kept.
    nodes.all[0].kill();
    wait_for_records(&running.progress, 500);
    nodes.all[0].spawn();
    wait_for_records(&running.progress, 500);
    running.stop_sending();
    let report = running.finish().unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.acknowledged, report.sent, "no record is left without an outcome");
    assert_eq!(report.read, report.sent);
}

#[test]
fn a_topic_has_as_many_copies_as_it_asks_for_and_a_wiped_node_is_turned_away() {
    let mut nodes = Nodes::start(3, &[]);
    let addresses: Vec<String> = nodes.all.iter().map(Broker::address).collect();
    let all = addresses.join(",");
    let mut create = Command::new(env!("CARGO_BIN_EXE_hutong"));
    create.args(["topic", "create", "single", "--partitions", "3", "--replication-factor", "1"]);
    let made = create.args(["--bootstrap", &addresses[0]]).output().unwrap();
    let told = String::from_utf8(made.stdout).unwrap();
    assert_eq!(told, "topic single created with 3 partitions of 1 replica\n");
    let has = |node: &Broker, group: u32| node.data_dir().join(format!("group-{group}")).exists();
    wait_until("each node has one of the groups made for it", CHANGE_TIMEOUT, || {
        (3..6).all(|group| nodes.all.iter().filter(|node| has(node, group)).count() == 1)
            && nodes.all.iter().all(|node| (3..6).filter(|group| has(node, *group)).count() == 1)
    });
    let told = changed(&all, &["add-groups", "2"]);
    assert_eq!(told, "2 groups more\ndone: each has a leader\n");
    let told = changed(&all, &["drain", "1"]);
    assert!(told.ends_with("done: it leads nothing that another could lead\n"), "{told}");
    changed(&all, &["drain", "1", "--undo"]);
    let told = changed(&all, &["transfer", "1", "3"]);
    assert!(told.ends_with("done: it leads it\n"), "{told}");
    assert!(refused(&all, &["transfer", "1", "9"]).contains("node 9 doesn't hold group 1"));

    RawClient::connect(&addresses[1]).create_topic("t", 1, &[]);
    nodes.all[2].kill();
    nodes.all[2].lose_disk(Scratch::new());
    nodes.all[2].spawn();
    wait_until("it is turned away", CHANGE_TIMEOUT, || {
        nodes.all[2].said().contains("node 3 comes with another data directory")
    });
}
