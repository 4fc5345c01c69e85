//! A machine: its disk, its clocks, what is wrong with it, and the process that runs there, if one
//! does.

use std::collections::BTreeMap;

use hutong::model::ids::{GroupId, WriteId};
use hutong::model::position::Position;
use hutong::model::time::{Now, Time, Wallclock};

use crate::disk::Disk;
use crate::node::Node;
use crate::plan::MS;

/// A shard of a node: what a client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub node: usize,
    pub shard: u16,
}

/// The wall clock at the start: some day in 2024.
const WALLCLOCK_START: i64 = 1_718_000_000_000;
/// The unit of a clock's rate.
const RATE: u128 = 1_000_000;

/// One machine.
pub struct Host {
    pub disk: Disk,
    pub node: Option<Node>,
    /// Shards that the process has now, or will have when it starts.
    pub shards: u16,
    /// Counts the process's lives.
    pub life: u64,
    pub stopping_since: Option<u64>,
    pub starting_since: Option<u64>,
    pub stalled_until: u64,
    pub full_until: u64,
    /// The last moment at which the disk was full, if it ever was.
    pub full_last: u64,
    pub full_since_start: bool,
    pub slow_until: u64,
    /// Operations of the disk fail until then, some of them.
    pub failing_until: u64,
    /// When one did last, if one ever did.
    pub failed_at: Option<u64>,
    /// Entries in which a bit has flipped, long after they were written.
    pub rotten: Vec<(GroupId, Position)>,
    /// When one was last written again, or trimmed.
    pub mended_at: u64,
    /// Such entries that are being written again.
    pub mending: BTreeMap<(GroupId, WriteId), Position>,
    /// No shard takes a turn before then.
    pub paused_until: u64,
    /// Its process waits for others to mend what it can't start without.
    pub awaits_others: bool,
    /// It stays down.
    pub is_gone: bool,
    /// It was in the cluster, and is no longer or can't be, as its disk was lost.
    pub is_used_up: bool,
    /// What the wall clock is ahead, in milliseconds.
    pub wallclock_ahead: i64,
    /// What the steady clock shows at the beginning, and how fast it runs, in millionths.
    clock_start: u64,
    clock_rate: u64,
    /// Turns in a row that a shard asked for without anything new.
    pub restless: u64,
}

impl Host {
    /// A machine whose process hasn't been started yet.
    pub fn new(disk: Disk, shards: u16, clock_start: u64, clock_rate: u64) -> Host {
        Host {
            disk,
            node: None,
            shards,
            life: 0,
            stopping_since: None,
            starting_since: None,
            stalled_until: 0,
            full_until: 0,
            full_last: 0,
            full_since_start: false,
            slow_until: 0,
            failing_until: 0,
            failed_at: None,
            rotten: Vec::new(),
            mended_at: 0,
            mending: BTreeMap::new(),
            paused_until: 0,
            awaits_others: false,
            is_gone: false,
            is_used_up: false,
            wallclock_ahead: 0,
            clock_start,
            clock_rate,
            restless: 0,
        }
    }

    /// Both of its clocks.
    pub fn clocks(&self, now: u64) -> Now {
        let wallclock = WALLCLOCK_START + (now / MS) as i64 + self.wallclock_ahead;
        let passed = u128::from(now) * u128::from(self.clock_rate) / RATE;
        Now { time: Time(self.clock_start + passed as u64), wallclock: Wallclock(wallclock) }
    }

    /// When its steady clock shows `time`, in the simulator's time.
    pub fn moment(&self, time: u64) -> u64 {
        let passed = u128::from(time.saturating_sub(self.clock_start));
        (passed * RATE).div_ceil(u128::from(self.clock_rate)) as u64
    }

    /// Faults stop.
    pub fn heal(&mut self, now: u64) {
        self.stalled_until = self.stalled_until.min(now);
        self.paused_until = self.paused_until.min(now);
        self.full_until = 0;
        self.slow_until = 0;
        self.failing_until = 0;
    }

    /// Whether the process is there and hasn't been told to stop.
    pub fn is_up(&self) -> bool {
        self.node.as_ref().is_some_and(|node| !node.stopping)
    }

    /// Whether all its shards serve.
    pub fn is_ready(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.shards.iter().all(|shard| shard.ready))
    }
}
