//! Groups of real consumers while the broker and the members are killed.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::Offset;

use crate::broker::{Broker, wait_until};
use crate::group_members::{
    GROUP, Member, MemberProcess, PARTITIONS, PATIENCE, Protocol, Seen, TOPIC, share,
};
use crate::nodes::Nodes;
use crate::raw::RawClient;
use crate::records::{config, create_topic};

fn produce(bootstrap: &str, from: usize, to: usize) {
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config(bootstrap)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "300000")
        .create()
        .unwrap();
    for number in from..to {
        let (payload, partition) = (number.to_string(), (number as i32) % PARTITIONS);
        let record = BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(&payload);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn committed(bootstrap: &str) -> Vec<i64> {
    let consumer: BaseConsumer = config(bootstrap).set("group.id", GROUP).create().unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition(TOPIC, partition);
    }
    let until = Instant::now() + PATIENCE;
    let offsets = loop {
        match consumer.committed_offsets(list.clone(), PATIENCE) {
            // Leadership may move just then, as when a node is back.
            Err(KafkaError::MetadataFetch(RDKafkaErrorCode::NotCoordinator))
                if Instant::now() < until => {}
            offsets => break offsets.unwrap(),
        }
    };
    let offset = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element
        .offset()
    {
        Offset::Offset(offset) => offset,
        _ => -1,
    };
    offsets.elements().into_iter().map(offset).collect()
}

fn wait_until_committed(bootstrap: &str, offset: i64) {
    let mut last = Vec::new();
    let until = Instant::now() + PATIENCE;
    while last != vec![offset; PARTITIONS as usize] {
        assert!(Instant::now() < until, "{last:?} is committed, and {offset} of each was read");
        last = committed(bootstrap);
    }
}

/// Sessions as short as they must be for a test.
fn shorten_sessions(bootstrap: &str, broker: i32) {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create().unwrap();
    let wanted = AlterConfig::new(ResourceSpecifier::Broker(broker))
        .set("group.consumer.session.timeout.ms", "6000")
        .set("group.consumer.heartbeat.interval.ms", "500");
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    wait_until("sessions are short", PATIENCE, || {
        let altered = futures_lite::future::block_on(admin.alter_configs([&wanted], &options));
        let altered = altered.unwrap();
        // Leadership may move just then, as after a start.
        let passes = |(_, why): &(_, RDKafkaErrorCode)| *why == RDKafkaErrorCode::NotController;
        let is_as_it_may = altered.iter().all(|it| it.as_ref().err().is_none_or(passes));
        assert!(is_as_it_may, "{altered:?}");
        altered.iter().all(Result::is_ok)
    });
}

#[test]
fn members_share_and_go_on_while_the_broker_and_members_are_killed() {
    share_and_go_on(Protocol::Classic);
}

#[test]
fn members_of_the_new_protocol_share_and_go_on_as_well() {
    share_and_go_on(Protocol::Consumer);
}

fn share_and_go_on(protocol: Protocol) {
    let mut broker = Broker::start(2, &["--segment-bytes", "32MiB"]);
    let bootstrap = broker.address();
    create_topic(&bootstrap, TOPIC, PARTITIONS);
    shorten_sessions(&bootstrap, 0);
    produce(&bootstrap, 0, 300);
    let seen = Seen::default();
    let first = Member::start(&bootstrap, protocol, &seen);
    let second = Member::start(&bootstrap, protocol, &seen);
    wait_until("two members share", PATIENCE, || share(&[&first, &second]));
    wait_until("all is read", PATIENCE, || seen.has_all(300));
    wait_until_committed(&bootstrap, 50);

    // What was acknowledged is back, and the members go on by themselves.
    broker.kill();
    broker.restart();
    assert_eq!(committed(&bootstrap), vec![50; 6], "committed offsets are back after a kill");
    produce(&bootstrap, 300, 600);
    wait_until("all is read after a kill", PATIENCE, || seen.has_all(600));
    wait_until("they share again", PATIENCE, || share(&[&first, &second]));

    // Another one comes; then one is gone, and the others have its share.
    let third = Member::start(&bootstrap, protocol, &seen);
    wait_until("three members share", PATIENCE, || share(&[&first, &second, &third]));
    drop(second);
    wait_until("two are left", PATIENCE, || share(&[&first, &third]));
    produce(&bootstrap, 600, 900);
    wait_until("all is read by two", PATIENCE, || seen.has_all(900));
    wait_until_committed(&bootstrap, 150);

    // One that is killed doesn't say that it goes: its session must end first.
    let killed = MemberProcess::start(&bootstrap, protocol, &seen);
    wait_until("a process has a share", PATIENCE, || {
        let (first, third) = (first.owns(), third.owns());
        first.is_disjoint(&third) && first.len() + third.len() == 4
    });
    produce(&bootstrap, 900, 1200);
    wait_until("all is read by three", PATIENCE, || seen.has_all(1200));
    assert!(killed.has_read(), "what a process had a share of, others have read");
    drop(killed);
    wait_until("two have its share", PATIENCE, || share(&[&first, &third]));
    produce(&bootstrap, 1200, 1500);
    wait_until("all is read by the two that are left", PATIENCE, || seen.has_all(1500));
    wait_until_committed(&bootstrap, 250);
    drop((first, third));

    the_command_line_sees_it(&broker, protocol);
    assert!(broker.stop().0.success());
    broker.restart();
    assert_eq!(committed(&bootstrap), vec![20; 6], "a stop keeps what was set");
}

fn hutong(broker: &Broker, args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hutong"))
        .args(args)
        .args(["--bootstrap", &broker.address()])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// `hutong group` on the group that everybody has left.
fn the_command_line_sees_it(broker: &Broker, protocol: Protocol) {
    let list = || hutong(broker, &["group", "list"]).1;
    wait_until("the group is empty", PATIENCE, || {
        list().lines().any(|line| line.starts_with(GROUP) && line.contains("Empty"))
    });
    let (_, described) = hutong(broker, &["group", "describe", GROUP, "--json"]);
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    let kind = if protocol == Protocol::Classic { "classic" } else { "consumer" };
    assert_eq!(described[0]["type"], kind, "{described}");
    let partitions = described[0]["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), PARTITIONS as usize, "{described}");
    assert!(partitions.iter().all(|p| p["lag"] == 0 && p["committed"] == 250), "{described}");

    let reset = ["group", "reset-offsets", GROUP, "--topic", TOPIC, "--to-offset", "20"];
    let (done, said) = hutong(broker, &reset);
    assert!(done && said.contains("nothing was changed"), "{said}");
    assert_eq!(committed(&broker.address()), vec![250; 6], "a dry run changes nothing");
    let (done, said) = hutong(broker, &[&reset[..], &["--execute"]].concat());
    assert!(done && said.contains("6 offsets of group group set"), "{said}");
    assert_eq!(committed(&broker.address()), vec![20; 6]);

    let (done, said) = hutong(broker, &["group", "describe", "nobody"]);
    assert!(!done && said.contains("there is no such group"), "{said}");
    let (done, said) = hutong(broker, &["group", "delete", "nobody"]);
    assert!(!done && said.contains("can't delete group nobody"), "{said}");
}

/// The broker that coordinates the group.
fn coordinator(nodes: &Nodes) -> Option<usize> {
    let node = nodes.all.iter().find(|node| node.runs())?;
    let (_, described) = hutong(node, &["group", "describe", GROUP, "--json"]);
    let described: serde_json::Value = serde_json::from_str(&described).ok()?;
    // Nodes are numbered from 1, and so is their first broker, in thousands.
    Some(described[0]["coordinator"].as_u64()? as usize / 1000 - 1)
}

#[test]
fn classic_members_go_on_where_another_node_coordinates() {
    go_on_elsewhere(Protocol::Classic);
}

#[test]
fn members_of_the_new_protocol_go_on_where_another_node_coordinates() {
    go_on_elsewhere(Protocol::Consumer);
}

fn go_on_elsewhere(protocol: Protocol) {
    let mut nodes = Nodes::start(3, &[]);
    let addresses: Vec<String> = nodes.all.iter().map(Broker::address).collect();
    let bootstrap = addresses.join(",");
    RawClient::connect(&addresses[0]).create_topic(TOPIC, PARTITIONS, &[]);
    shorten_sessions(&bootstrap, 1000);
    produce(&bootstrap, 0, 300);
    let seen = Seen::default();
    let first = Member::start(&bootstrap, protocol, &seen);
    let second = Member::start(&bootstrap, protocol, &seen);
    wait_until("two members share", PATIENCE, || share(&[&first, &second]));
    wait_until("all is read", PATIENCE, || seen.has_all(300));
    wait_until_committed(&bootstrap, 50);
    for round in 0..2 {
        wait_until("somebody coordinates", PATIENCE, || coordinator(&nodes).is_some());
        let node = coordinator(&nodes).unwrap();
        nodes.all[node].kill();
        assert_eq!(committed(&bootstrap), vec![50 + 50 * round; 6], "offsets are there at once");
        let read = 600 + 300 * round as usize;
        produce(&bootstrap, read - 300, read);
        wait_until("all is read elsewhere", PATIENCE, || seen.has_all(read));
        wait_until("they share again", PATIENCE, || share(&[&first, &second]));
        wait_until_committed(&bootstrap, 100 + 50 * round);
        nodes.all[node].spawn();
    }
    drop(first);
    let all: BTreeSet<i32> = (0..PARTITIONS).collect();
    wait_until("the one that is left has all", PATIENCE, || second.owns() == all);
}
