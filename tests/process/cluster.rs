//! Three nodes as processes that are killed, paused and stopped at random, while numbered records
//! are produced and read.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hutong::journal::format::Entry;
use hutong::model::position::Position;
use hutong_load::verify::{Progress, Running};
use nix::sys::signal::Signal;

use crate::broker::{Broker, free_ports, wait_until};

const NODES: usize = 3;
/// How long things happen to the nodes, unless HUTONG_CHAOS_SECONDS says something else.
const CHAOS_SECONDS: u64 = 30;
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(120);
const SEGMENT_BYTES: u64 = 32 << 20;

fn start_nodes() -> Vec<Broker> {
    let first = free_ports(NODES as u16);
    let ports: Vec<u16> = (first..).take(NODES).collect();
    let mut nodes: Vec<Broker> = (0..NODES).map(|node| Broker::member(node, &ports)).collect();
    nodes.iter_mut().for_each(Broker::spawn);
    for node in &nodes {
        wait_until("a node serves", PROGRESS_TIMEOUT, || node.said().contains("hutong ready:"));
    }
    nodes
}

fn start_load(nodes: &[Broker]) -> Running {
    let brokers: Vec<String> = nodes.iter().map(Broker::address).collect();
    let brokers = brokers.join(",");
    let line = [
        "--brokers",
        &brokers,
        "--partitions",
        "6",
        "--producers",
        "2",
        "--consumers",
        "1",
        "--rate",
        "3000",
        "--acks",
        "all",
        "--idempotent",
        "--duration",
        "1h",
        "--request-timeout",
        "1s",
        "--delivery-timeout",
        "10m",
    ];
    Running::start(line).unwrap()
}

fn wait_for_records(progress: &Progress, records: u64) {
    let (acknowledged, read) = (progress.acknowledged(), progress.read());
    wait_until("records are acknowledged and read", PROGRESS_TIMEOUT, || {
        progress.acknowledged() >= acknowledged + records && progress.read() >= read + records
    });
}

/// What happens next, drawn from a seed that the test prints.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn whatever_happens_to_one_node_at_a_time_each_record_is_there_once_and_in_order() {
    let seconds = std::env::var("HUTONG_CHAOS_SECONDS").ok().and_then(|it| it.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(CHAOS_SECONDS));
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let mut nodes = start_nodes();
    let running = start_load(&nodes);
    wait_for_records(&running.progress, 1000);
    while Instant::now() < until {
        let node = dice.roll(NODES);
        match dice.roll(4) {
            0 | 1 => nodes[node].kill(),
            2 => {
                nodes[node].stop();
            }
            _ => nodes[node].signal(Signal::SIGSTOP),
        }
        // The two others go on.
        wait_for_records(&running.progress, 1000);
        match nodes[node].runs() {
            true => nodes[node].signal(Signal::SIGCONT),
            false => nodes[node].spawn(),
        }
        wait_for_records(&running.progress, 500 + dice.roll(3) as u64 * 1000);
    }
    running.stop_sending();
    let report = running.finish().unwrap();
    println!("{report}");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.acknowledged, report.sent, "no record is left without an outcome");
    assert_eq!(report.read, report.sent);
    wait_until("the journals are equal", PROGRESS_TIMEOUT, || {
        let journals: Vec<_> = nodes.iter().map(|node| journals(&node.data_dir())).collect();
        journals.iter().all(|it| *it == journals[0] && it.iter().any(|group| group.len() > 10))
    });
}

/// The checksums of all entries of each group of a node.
fn journals(data_dir: &Path) -> Vec<Vec<u32>> {
    (0..NODES).map(|group| journal(&data_dir.join(format!("group-{group}")))).collect()
}

fn journal(dir: &Path) -> Vec<u32> {
    let mut checksums = Vec::new();
    for segment in 0.. {
        let Ok(bytes) = fs::read(dir.join(format!("segment-{segment:020}.journal"))) else { break };
        let base = segment * SEGMENT_BYTES;
        let mut at = 4096;
        while at < bytes.len()
            && let Some(entry) = Entry::read(&bytes[at..], Position(base + at as u64))
        {
            checksums.push(entry.crc);
            at = (entry.end().0 - base) as usize;
        }
    }
    checksums
}
