//! Three nodes as processes that are killed, stopped, paused and cut off at random, while numbered
//! records are produced and read.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use hutong::journal::format::Entry;
use hutong::model::position::Position;
use hutong_load::verify::{Progress, Running};
use nix::sys::signal::Signal;

use crate::broker::{Broker, free_ports, wait_until};
use crate::network::Network;

const NODES: usize = 3;
/// How long things happen to the nodes, unless HUTONG_CHAOS_SECONDS says something else.
const CHAOS_SECONDS: u64 = 30;
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(120);
const SEGMENT_BYTES: u64 = 32 << 20;

/// Nodes that run, with a network that can be cut where the system permits it.
fn start_nodes() -> (Vec<Broker>, Option<Network>) {
    let network = Network::new(NODES);
    let network =
        network.inspect_err(|why| println!("{why}: nodes are on the loopback, not cut off"));
    let network = network.ok();
    let host = |node| match network {
        Some(_) => Network::address(node),
        None => Ipv4Addr::LOCALHOST,
    };
    let ports = (free_ports(NODES as u16)..).take(NODES);
    let addresses: Vec<SocketAddr> = (0..)
        .zip(ports)
        .map(|(node, port)| SocketAddr::new(IpAddr::V4(host(node)), port))
        .collect();
    let mut nodes: Vec<Broker> =
        (0..NODES).map(|node| Broker::member_at(node, &addresses)).collect();
    if let Some(network) = &network {
        nodes = (0..).zip(nodes).map(|(at, it)| it.in_namespace(network.namespace(at))).collect();
    }
    nodes.iter_mut().for_each(Broker::spawn);
    for node in &nodes {
        wait_until("a node serves", PROGRESS_TIMEOUT, || node.said().contains("hutong ready:"));
    }
    (nodes, network)
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

/// Cuts a node off in one of the ways there are. The two others still reach each other, and clients
/// reach at least them.
fn cut_off(network: &mut Network, node: usize, dice: &mut Dice) -> &'static str {
    let others = [(node + 1) % NODES, (node + 2) % NODES];
    let (others, what) = match dice.roll(5) {
        0 => {
            network.unplug(node);
            return "unplugged";
        }
        1 | 2 => (&others[..], "cut off"),
        _ => (&others[..1], "cut off from one"),
    };
    let ways = dice.roll(3);
    for &other in others {
        if ways != 1 {
            network.cut(node, other);
        }
        if ways != 2 {
            network.cut(other, node);
        }
    }
    match (what, ways) {
        (_, 0) => what,
        ("cut off", _) => "cut off in one direction",
        _ => "cut off from one in one direction",
    }
}

#[test]
fn whatever_happens_to_one_node_at_a_time_each_record_is_there_once_and_in_order() {
    // The network moves its thread elsewhere, and other tests may run on this one.
    std::thread::spawn(chaos).join().unwrap();
}

fn chaos() {
    let seconds = std::env::var("HUTONG_CHAOS_SECONDS").ok().and_then(|it| it.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(CHAOS_SECONDS));
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let (mut nodes, mut network) = start_nodes();
    let running = start_load(&nodes);
    wait_for_records(&running.progress, 1000);
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    while Instant::now() < until {
        let node = dice.roll(NODES);
        let trouble = match (dice.roll(8), &mut network) {
            (0..4, Some(network)) => cut_off(network, node, &mut dice),
            (0 | 4 | 5, _) => {
                nodes[node].kill();
                "killed"
            }
            (1 | 6, _) => {
                nodes[node].stop();
                "stopped"
            }
            _ => {
                nodes[node].signal(Signal::SIGSTOP);
                "paused"
            }
        };
        println!("node {} is {trouble}", node + 1);
        *done.entry(trouble).or_default() += 1;
        // The two others go on; sometimes for so long that connections are given up.
        wait_for_records(&running.progress, 1000 + dice.roll(3) as u64 * 10_000);
        if let Some(network) = &mut network {
            network.mend();
        }
        match nodes[node].runs() {
            true => nodes[node].signal(Signal::SIGCONT),
            false => nodes[node].spawn(),
        }
        wait_for_records(&running.progress, 500 + dice.roll(3) as u64 * 1000);
    }
    running.stop_sending();
    let report = running.finish().unwrap();
    println!("{done:?}\n{report}");
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
