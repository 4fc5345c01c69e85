//! A deterministic simulator of Hutong clusters.
//!
//! One thread drives the product's own shards by their four calls, on simulated disks, clocks,
//! meshes, a simulated network and clients. A seed decides everything, so a failure can be
//! replayed.
//!
//! Read in this order: `plan` (what a seed decides), `events` and `world` (the loop), `host` (a
//! machine), `node`, `disk`, `network`, `carry` and `storage` (the driver's part), `faults`,
//! `rot` and `membership` (nodes that come and go), `clients`, `replies` and `group_replies` (the
//! load), `checkers` (what must hold), and `lie` (bugs planted to see them found).

pub mod carry;
pub mod checkers;
pub mod clients;
pub mod connection;
pub mod disk;
pub mod events;
pub mod faults;
pub mod group_replies;
pub mod host;
pub mod lie;
pub mod membership;
pub mod network;
pub mod node;
pub mod plan;
pub mod random;
pub mod replies;
pub mod rot;
pub mod segment;
pub mod storage;
pub mod topics;
pub mod trace;
pub mod wire;
pub mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::lie::Lie;
use crate::world::World;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub seed: u64,
    pub nodes: usize,
    /// The bug that is planted.
    pub lie: Lie,
    /// Write what happens to standard error.
    pub print: bool,
}

impl Options {
    /// A seed for a cluster of so many nodes, without a planted bug.
    pub fn new(seed: u64, nodes: usize) -> Options {
        Options { seed, nodes, lie: Lie::Honest, print: false }
    }
}

/// What one run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub trace_hash: u64,
    /// Nanoseconds of simulated time.
    pub simulated: u64,
    pub crashes: u64,
    pub clean_stops: u64,
    pub elections: u64,
    /// Troubles of the network.
    pub cuts: u64,
    pub requests: u64,
    pub acknowledged: u64,
    pub fetched: u64,
    pub journal_reads: u64,
    pub segments_removed: u64,
    pub checkpoints: u64,
    /// Members that gave up their journal of a group to be brought up by a snapshot.
    pub snapshots: u64,
    pub storage_errors: u64,
    /// What members of consumer groups were given, and commits that were acknowledged.
    pub assignments: u64,
    pub commits: u64,
    /// Consumer groups with members that went from one protocol to the other.
    pub switches: u64,
    /// Processes that ended because their disk failed.
    pub disk_failures: u64,
    /// Bits that flipped on disks.
    pub rotten: u64,
    /// Entries that were written again because of that.
    pub mended: u64,
    /// Groups that were opened without their journals, as the others had trimmed what had rotted.
    pub given_up: u64,
    /// Changes of which nodes and groups there are, groups that came to a node by them, and nodes
    /// that lost their disk.
    pub changes: u64,
    pub groups_moved: u64,
    pub wipes: u64,
}

impl Report {
    /// Adds another run's numbers. The hashes are mixed, whatever the order.
    pub fn add(&mut self, other: &Report) {
        self.trace_hash = self.trace_hash.wrapping_add(other.trace_hash);
        self.simulated += other.simulated;
        self.crashes += other.crashes;
        self.clean_stops += other.clean_stops;
        self.elections += other.elections;
        self.cuts += other.cuts;
        self.requests += other.requests;
        self.acknowledged += other.acknowledged;
        self.fetched += other.fetched;
        self.journal_reads += other.journal_reads;
        self.segments_removed += other.segments_removed;
        self.checkpoints += other.checkpoints;
        self.snapshots += other.snapshots;
        self.storage_errors += other.storage_errors;
        self.assignments += other.assignments;
        self.commits += other.commits;
        self.switches += other.switches;
        self.disk_failures += other.disk_failures;
        self.rotten += other.rotten;
        self.mended += other.mended;
        self.given_up += other.given_up;
        self.changes += other.changes;
        self.groups_moved += other.groups_moved;
        self.wipes += other.wipes;
    }
}

/// Runs one seed. A broken assertion of the core counts as a failure.
///
/// # Errors
/// The rule that was broken, in words.
pub fn run(options: &Options) -> Result<Report, String> {
    let run = AssertUnwindSafe(|| World::new(options).run());
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("without words")))
    })
}
