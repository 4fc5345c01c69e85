//! What must hold whatever happens: one rule, one file.
//!
//! `durability`, `offsets`, `idempotence`, `order`, `visibility` and `groups` watch what clients
//! are told; `progress`, `queues`, `consensus` and `majority` look into the shards after each turn;
//! `responses`, `deadlines` and `liveness` watch when clients are told anything at all. `placement`
//! is no rule: others ask it which group holds a partition.

pub mod consensus;
pub mod deadlines;
pub mod durability;
pub mod groups;
pub mod idempotence;
pub mod liveness;
pub mod majority;
pub mod offsets;
pub mod order;
pub mod placement;
pub mod progress;
pub mod queues;
pub mod responses;
pub mod visibility;

use hutong::journal::page::MemoryPage;
use hutong::model::ids::GroupId;
use hutong::shard::Shard;

use crate::connection::PartitionId;
use crate::host::Place;
use crate::wire::Fetched;

/// The rules about records, together.
#[derive(Debug, Default)]
pub struct Checks {
    pub durability: durability::Durability,
    pub offsets: offsets::Offsets,
    pub idempotence: idempotence::Idempotence,
    pub order: order::Order,
    pub visibility: visibility::Visibility,
    pub groups: groups::Groups,
    pub progress: progress::ProgressCheck,
    pub consensus: consensus::Consensus,
    pub majority: majority::Majority,
}

/// A partition's part of a Fetch response.
#[derive(Clone, Debug)]
pub struct FetchedPart {
    pub partition: PartitionId,
    /// The offset that was asked for.
    pub from: i64,
    pub high_watermark: i64,
    pub log_start: i64,
    pub records: Vec<Fetched>,
}

impl Checks {
    /// A shard has taken a turn. Returns the groups that this node leads since, and in which term.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn turned(
        &mut self,
        place: Place,
        shard: &Shard<MemoryPage>,
        now: u64,
    ) -> Result<Vec<(u32, u64)>, String> {
        self.progress.turned(place.node, shard)?;
        queues::turned(shard)?;
        let elected = self.consensus.turned(place.node, shard, now)?;
        self.majority.turned(place.node, shard, &self.consensus)?;
        for group in shard.groups().iter().filter(|group| group.is_serving()) {
            let (id, consensus) = (group.id.0, &self.consensus);
            if consensus.is_newest(id, group.replica.term().0) {
                let is_kept = |name: &str| consensus.home_of(name) == Some(id);
                self.groups.kept(&group.consumer_groups, is_kept, now)?;
            }
        }
        Ok(elected)
    }

    /// Records were fetched.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn fetched(&mut self, node: usize, part: &FetchedPart) -> Result<(), String> {
        self.visibility.fetched(node, part)?;
        let new = self.offsets.fetched(part)?;
        for fetched in new {
            self.durability.seen(part.partition, &fetched)?;
            self.idempotence.seen(part.partition, &fetched)?;
            self.order.seen(part.partition, &fetched)?;
        }
        Ok(())
    }

    /// A process was killed.
    pub fn crashed(&mut self, node: usize, alone: bool, now: u64) {
        self.durability.crashed(node, alone, now);
        self.stopped(node);
    }

    /// A process has stopped in order.
    pub fn stopped(&mut self, node: usize) {
        self.progress.restarted(node);
        self.groups.restarted(node);
        self.consensus.restarted(node);
        self.majority.restarted(node);
    }

    /// A node lets go of a group.
    pub fn let_go(&mut self, node: usize, group: GroupId) {
        self.progress.let_go(node, group);
        self.consensus.let_go(node, group);
        self.majority.let_go(node, group);
    }

    /// A node has lost its disk, on which these groups were.
    pub fn wiped(&mut self, node: usize, groups: &[GroupId]) {
        self.durability.wiped(node);
        for group in groups {
            self.progress.let_go(node, *group);
            self.consensus.lost(node, *group);
            self.majority.let_go(node, *group);
        }
    }

    /// All of a partition was fetched, and nothing is written any more.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn audited(
        &mut self,
        partition: PartitionId,
        log_start: i64,
        end: i64,
        records: &[Fetched],
    ) -> Result<(), String> {
        self.offsets.audited(partition, log_start, end, records)?;
        self.durability.audited(partition, log_start, end, records)
    }

    /// A topic is deleted: nothing is promised of it any more.
    pub fn forget(&mut self, topic: &[u8; 16]) {
        self.durability.forget(topic);
        self.offsets.forget(topic);
        self.groups.forget(topic);
    }
}

/// A partition's name in a message.
pub fn name(partition: &PartitionId) -> String {
    let [a, b, ..] = partition.0;
    format!("partition {} of topic {a:02x}{b:02x}..", partition.1)
}
