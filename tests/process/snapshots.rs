//! A node comes back when the others have let go of what it lacks, or of what has rotted on its
//! disk: it is brought up by a snapshot, and goes on from there as if it had been there all along.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hutong::journal::format::Entry;
use hutong::kafka::error_code::ErrorCode;
use hutong::model::position::Position;

use crate::broker::{Broker, wait_until};
use crate::nodes::Nodes;
use crate::raw::{RawClient, create_topic, numbered};
use crate::records::watermarks;
use crate::scrape::Scrape;

const MEGABYTE: usize = 1 << 20;
const SEGMENT_BYTES: u64 = 32 << 20;
/// Of each of the two partitions, which lie in two groups.
const RECORDS: i64 = 80;
/// Small ones before them.
const FIRST: i64 = 30;
const KEEP_BYTES: &str = "8388608";
/// Retention looks every ten seconds, beside busy neighbours.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Makes a topic with as many replicas as it gets by default, whoever may do so now.
fn create_replicated(nodes: &Nodes, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let mut request = create_topic(name, partitions, configs);
    request.topics[0].replication_factor = -1;
    let is_there = [0, ErrorCode::TOPIC_ALREADY_EXISTS.0];
    wait_until("a topic is made", TIMEOUT, || {
        nodes.all.iter().filter(|node| node.runs()).any(|node| {
            let response = RawClient::connect(&node.address()).call(4, &request);
            is_there.contains(&response.topics[0].error_code)
        })
    });
}

/// Appends a partition's record `number`, of so many bytes, wherever it is led.
fn produce(nodes: &Nodes, partition: i32, number: i64, bytes: usize) {
    let batch = numbered(&vec![b'v'; bytes], number);
    wait_until("a record is taken", TIMEOUT, || {
        nodes.all.iter().filter(|node| node.runs()).any(|node| {
            let mut client = RawClient::connect(&node.address());
            client.produce("short", partition, batch.clone()).0 == 0
        })
    });
}

/// The numbers of a group's segments.
fn segments(node: &Broker, group: u32) -> Vec<u64> {
    let dir = node.data_dir().join(format!("group-{group}"));
    let names = fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let digits = names
        .filter_map(|name| name.strip_prefix("segment-")?.strip_suffix(".journal")?.parse().ok());
    let mut numbers: Vec<u64> = digits.collect();
    numbers.sort_unstable();
    numbers
}

/// Position and checksum of all entries of a group.
fn journal(data_dir: &Path, group: u32, segments: &[u64]) -> BTreeMap<u64, u32> {
    let mut entries = BTreeMap::new();
    for segment in segments {
        let name = format!("group-{group}/segment-{segment:020}.journal");
        let Ok(bytes) = fs::read(data_dir.join(name)) else { continue };
        let base = segment * SEGMENT_BYTES;
        let mut at = 4096;
        while at < bytes.len()
            && let Some(entry) = Entry::read(&bytes[at..], Position(base + at as u64))
        {
            entries.insert(base + at as u64, entry.crc);
            at = (entry.end().0 - base) as usize;
        }
    }
    entries
}

/// From the first segment on that all nodes have, a group's journals are equal.
fn are_equal(nodes: &Nodes, group: u32) -> bool {
    let first = nodes.all.iter().filter_map(|node| segments(node, group).first().copied()).max();
    let journals: Vec<_> = nodes
        .all
        .iter()
        .map(|node| {
            let mut there = segments(node, group);
            there.retain(|segment| Some(*segment) >= first);
            journal(&node.data_dir(), group, &there)
        })
        .collect();
    journals.iter().all(|journal| *journal == journals[0] && journal.len() > 5)
}

/// An entry in the middle of a group's first segment rots.
fn rot(node: &Broker, group: u32) {
    let entries = journal(&node.data_dir(), group, &[0]);
    let position = *entries.keys().nth(entries.len() / 3).unwrap();
    let path = node.data_dir().join(format!("group-{group}/segment-{:020}.journal", 0));
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position + 100).unwrap();
    file.write_all_at(&[byte[0] ^ 1], position + 100).unwrap();
}

#[test]
fn a_node_that_was_away_while_the_others_trimmed_is_brought_up_by_a_snapshot() {
    let mut nodes = Nodes::start(3, &["--metrics", "127.0.0.1:0"]);
    create_replicated(&nodes, "short", 2, &[("retention.bytes", KEEP_BYTES)]);
    for number in 0..FIRST {
        (0..2).for_each(|partition| produce(&nodes, partition, number, 100));
    }
    wait_until("the node has them on disk", TIMEOUT, || {
        let entries = (0..2).map(|group| journal(&nodes.all[2].data_dir(), group, &[0]).len());
        entries.min() >= Some(FIRST as usize)
    });
    nodes.all[2].kill();
    // Of the other group it just lacks what comes.
    rot(&nodes.all[2], 1);
    // Whoever led what it led.
    (0..2).for_each(|partition| produce(&nodes, partition, FIRST, 100));
    create_replicated(&nodes, "meanwhile", 1, &[]);
    for number in FIRST + 1..=FIRST + RECORDS {
        (0..2).for_each(|partition| produce(&nodes, partition, number, MEGABYTE - 1000));
    }
    let freed = |nodes: &Nodes| {
        let groups = (0..2).flat_map(|group| (0..2).map(move |node| (group, node)));
        groups.into_iter().all(|(group, node)| segments(&nodes.all[node], group)[0] > 0)
    };
    // A stop takes a checkpoint, without which nothing is let go; unless something is under way.
    let by = Instant::now() + TIMEOUT;
    while !freed(&nodes) {
        assert!(Instant::now() < by, "segments are not freed");
        for node in 0..2 {
            std::thread::sleep(Duration::from_secs(1));
            assert!(nodes.all[node].stop().0.success());
            nodes.all[node].restart();
        }
        let look_again = Instant::now() + Duration::from_secs(15);
        while !freed(&nodes) && Instant::now() < look_again {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    nodes.all[2].spawn();
    wait_until("it says why it has no journal", TIMEOUT, || {
        let said = nodes.all[2].said();
        said.contains("group 1: the other nodes have let go of what is damaged here")
    });
    for group in 0..2 {
        wait_until("the node has a snapshot", TIMEOUT, || {
            nodes.all[2].said().contains(&format!("group {group}: goes on from the snapshot"))
        });
        assert!(segments(&nodes.all[2], group)[0] > 0);
        wait_until("the journals are equal", TIMEOUT, || are_equal(&nodes, group));
    }
    let told = Scrape::of(&nodes.all[2]);
    let received = |metric: &str| told.sum(metric, &[("direction", "received")]);
    assert_eq!(received("hutong_group_snapshots_total"), 2.0);
    assert!(received("hutong_group_snapshot_bytes_total") > MEGABYTE as f64);
    assert_eq!(told.sum("hutong_group_filling", &[]), 0.0);
    // It counts for a majority: the first node may go.
    nodes.all[0].kill();
    for partition in 0..2 {
        produce(&nodes, partition, FIRST + RECORDS + 1, 100);
        let (start, end) = watermarks(&nodes.all[2].address(), "short", partition);
        assert_eq!(end, FIRST + RECORDS + 2);
        assert!(start > RECORDS / 2);
    }
    wait_until("it leads what it should", TIMEOUT, || {
        RawClient::connect(&nodes.all[2].address()).fetch("meanwhile", 0, 0).0 == 0
    });
    assert_eq!(RawClient::connect(&nodes.all[2].address()).offset("meanwhile", 0, -1), 0);
}
