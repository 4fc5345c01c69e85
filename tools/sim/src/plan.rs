//! What a seed decides before anything runs: sizes, speeds, and which faults to expect.

use hutong::limits::{CHECKPOINT_JOURNAL_BYTES, SEGMENT_BYTES_MIN};

use crate::random::Random;

/// A millisecond in the simulator's unit of time.
pub const MS: u64 = 1_000_000;
/// A second.
pub const SECOND: u64 = 1000 * MS;

/// Smaller than a node would allow, so that segments roll and go. Entries of a run are no larger
/// than some megabytes.
const SEGMENT_BYTES_SMALL: u64 = 12 << 20;
/// Smaller still, where batches are small: a node that is away for seconds lacks whole segments.
const SEGMENT_BYTES_TINY: u64 = 3 << 20;

/// One run's circumstances.
#[derive(Clone, Debug)]
pub struct Plan {
    pub shards: u16,
    pub groups: u32,
    pub segment_bytes: u64,
    pub journal_cache_bytes: usize,
    /// Journal bytes from one checkpoint of a group to the next.
    pub checkpoint_bytes: u64,
    /// How long faults go on.
    pub faults_for: u64,
    /// Record batches up to a megabyte or more, so that segments roll and checkpoints are taken.
    pub fat: bool,
    /// Bytes that producers may send in all.
    pub produce_bytes_max: u64,
    pub producers: u32,
    pub consumers: u32,
    pub topics: u32,
    /// How many of a hundred topics let go of their records.
    pub retained_percent: u64,
    /// Consumer groups with members.
    pub consumer_groups: u32,
    /// Those whose coordinator assigns.
    pub modern_groups: u32,
    /// Those that are switched from one kind to the other and back, one member after the other.
    pub mixed_groups: u32,
    /// How long it takes until the members of these are to go to the other kind.
    pub switch_every: u64,
    /// How long a member of these may be silent.
    pub modern_session: u64,
    /// Mean time between two requests of a producer.
    pub think: u64,
    /// Mean time of a journal write.
    pub write: u64,
    /// Mean time of a journal read.
    pub read: u64,
    /// Mean time between crashes or clean stops.
    pub crash_every: u64,
    /// How many of a hundred of these are clean stops.
    pub clean_percent: u64,
    /// Mean time between stand-stills of the disk.
    pub stall_every: u64,
    /// Mean time between times without disk space.
    pub full_every: u64,
    /// Mean time between times in which operations of a disk fail.
    pub fail_every: u64,
    /// Mean time between bits that flip on a disk.
    pub rot_every: u64,
    /// What a shard reads of its journals in a second to find such bits; a lone node, which has
    /// nobody to ask for what is damaged, doesn't look.
    pub scrub_bytes_per_second: u64,
    /// Mean time between steps of a wall clock.
    pub step_every: u64,
    /// Mean time between disconnects.
    pub disconnect_every: u64,
    /// How many of a hundred restarts change the number of shards.
    pub move_percent: u64,
    /// Nodes that form the cluster.
    pub nodes: usize,
    /// Nodes that may join it.
    pub spares: usize,
    /// Mean time between two changes of which nodes and groups there are.
    pub change_every: u64,
    /// When a node loses its disk for good, if one does.
    pub wipe_at: u64,
    /// Mean time from one node to another.
    pub network: u64,
    /// Mean time between two troubles of the network, and how long one lasts.
    pub cut_every: u64,
    pub cut_for: u64,
    /// Mean time between two pauses of a node, and how long one lasts.
    pub pause_every: u64,
    pub pause_for: u64,
    /// Mean time from the end of a process to its next start.
    pub restart: u64,
    /// How many of a hundred crashes are all nodes' at once.
    pub power_percent: u64,
    /// How many of a hundred votes are followed by a crash of the voter.
    pub vote_crash_percent: u64,
    /// By how many millionths clocks run apart.
    pub drift: u64,
}

impl Plan {
    /// The circumstances of a seed, for so many nodes.
    pub fn new(random: &mut Random, nodes: usize) -> Plan {
        let fat = random.chance(15);
        let groups = random.between(1, 3) as u32;
        let crash_every = or_rare(random, 90, 2, 25);
        let stall_every = or_rare(random, 60, 3, 20);
        let full_every = or_rare(random, 40, 4, 20);
        let disconnect_every = or_rare(random, 60, 1, 10);
        let fail_every = or_rare(random, 25, 5, 30);
        let rot_every = or_rare(random, 15, 5, 20);
        let step_every = or_rare(random, 30, 2, 20);
        let mut plan = Plan {
            shards: random.between(1, 3) as u16,
            groups,
            segment_bytes: random.pick(&[SEGMENT_BYTES_SMALL, SEGMENT_BYTES_MIN]),
            checkpoint_bytes: random.pick(&[2 << 20, 10 << 20, CHECKPOINT_JOURNAL_BYTES]),
            journal_cache_bytes: random.pick(&[64 << 10, 1 << 20, 8 << 20]),
            faults_for: random.between(20, 60) * SECOND,
            fat,
            produce_bytes_max: if fat { random.between(60, 400) << 20 } else { 64 << 20 },
            producers: random.between(1, 6) as u32,
            consumers: random.between(1, 4) as u32,
            topics: random.between(1, 4) as u32,
            retained_percent: 30,
            consumer_groups: random.pick(&[0, 1, 2]),
            modern_groups: random.pick(&[0, 0, 1, 2]),
            mixed_groups: random.pick(&[0, 0, 1, 2]),
            switch_every: random.pick(&[4, 8, 15]) * SECOND,
            modern_session: random.pick(&[3, 6, 10]) * SECOND,
            think: random.pick(&[1, 5, 20, 50]) * MS,
            write: random.pick(&[MS / 10, MS, 5 * MS, 30 * MS]),
            read: random.pick(&[MS / 10, 2 * MS, 40 * MS]),
            crash_every,
            clean_percent: random.pick(&[0, 20, 50, 100]),
            stall_every,
            full_every,
            fail_every,
            rot_every,
            scrub_bytes_per_second: 0,
            step_every,
            disconnect_every,
            move_percent: random.pick(&[0, 30, 100]),
            nodes,
            spares: 0,
            change_every: RARE,
            wipe_at: RARE,
            network: MS / 10,
            cut_every: RARE,
            cut_for: 0,
            pause_every: RARE,
            pause_for: 0,
            restart: 500 * MS,
            power_percent: 0,
            vote_crash_percent: 0,
            drift: 0,
        };
        if nodes > 1 {
            plan.becomes_cluster(random);
        }
        plan
    }

    /// Whether nodes and groups come and go.
    pub fn has_changes(&self) -> bool {
        self.change_every < RARE
    }

    /// Whether segments are likely to go.
    pub fn trims(&self) -> bool {
        self.fat || self.segment_bytes < SEGMENT_BYTES_MIN
    }

    fn becomes_cluster(&mut self, random: &mut Random) {
        self.groups = random.between(1, 5) as u32;
        if !self.fat && random.chance(50) {
            self.segment_bytes = SEGMENT_BYTES_TINY;
            self.checkpoint_bytes = 1 << 20;
            self.retained_percent = 100;
        }
        self.rot_every = or_rare(random, 40, 1, 8);
        if self.rot_every < RARE {
            self.scrub_bytes_per_second = random.pick(&[8 << 20, 64 << 20]);
        }
        self.produce_bytes_max = if self.fat { random.between(24, 80) << 20 } else { 24 << 20 };
        self.network = random.pick(&[MS / 10, MS / 2, 3 * MS]);
        self.cut_every = or_rare(random, 70, 1, 10);
        self.cut_for = random.pick(&[200 * MS, SECOND, 5 * SECOND]);
        self.pause_every = or_rare(random, 50, 2, 10);
        self.pause_for = random.pick(&[50 * MS, 500 * MS, 3 * SECOND]);
        self.restart = random.pick(&[5 * MS, 100 * MS, 500 * MS, 5 * SECOND]);
        self.power_percent = random.pick(&[0, 10, 50]);
        self.vote_crash_percent = random.pick(&[0, 0, 10, 40]);
        self.drift = random.pick(&[0, 100, 5000]);
        if self.nodes > 2 {
            self.change_every = or_rare(random, 35, 1, 6);
        }
        if self.has_changes() {
            self.spares = random.between(1, 3) as usize;
            if random.chance(50) {
                self.wipe_at = random.between(1, self.faults_for);
            }
        }
    }
}

/// What never comes.
const RARE: u64 = 1_000_000 * SECOND;

/// So many of a hundred times some seconds, otherwise never.
fn or_rare(random: &mut Random, percent: u64, low: u64, high: u64) -> u64 {
    let every = random.between(low, high) * SECOND;
    if random.chance(percent) { every } else { RARE }
}
