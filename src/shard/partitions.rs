//! The partitions of a group, by slot and by key.

use rustc_hash::FxHashMap;

use crate::model::ids::PartitionKey;
use crate::model::position::Position;
use crate::partition::Partition;

/// Where a partition lies in its group, for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionSlot(pub u32);

/// How many runs leave the cache before the next partition is told.
const EVICTED_AT_ONCE: usize = 32;

/// The partitions of a group, by slot and by key.
#[derive(Debug, Default)]
pub struct Partitions {
    slots: Vec<Option<Partition>>,
    free: Vec<PartitionSlot>,
    by_key: FxHashMap<PartitionKey, PartitionSlot>,
    /// Runs that have left the cache since a partition was last told, and which slot that was.
    evicted_runs: usize,
    next_evicted: usize,
}

impl Partitions {
    /// Adds a partition, unless there is one of that key.
    pub fn insert(&mut self, partition: Partition) {
        if self.by_key.contains_key(&partition.key) {
            return;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            PartitionSlot(self.slots.len() as u32 - 1)
        });
        self.by_key.insert(partition.key, slot);
        self.slots[slot.0 as usize] = Some(partition);
    }

    /// Forgets a partition.
    pub fn remove(&mut self, key: PartitionKey) {
        if let Some(slot) = self.by_key.remove(&key) {
            self.slots[slot.0 as usize] = None;
            self.free.push(slot);
        }
    }

    /// The slot of a partition.
    pub fn slot(&self, key: PartitionKey) -> Option<PartitionSlot> {
        self.by_key.get(&key).copied()
    }

    /// The partition in a slot.
    pub fn get(&self, slot: PartitionSlot) -> Option<&Partition> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, slot: PartitionSlot) -> Option<&mut Partition> {
        self.slots.get_mut(slot.0 as usize)?.as_mut()
    }

    /// Runs have left the cache, which begins at `cache_start` now. Their partitions are told in
    /// turn, some at a time: to look up each run's own for it would cost more than to append it,
    /// for with ten thousand partitions none is in a near cache. Until its turn comes a partition
    /// remembers at most what left in one round.
    pub fn evict(&mut self, runs: usize, cache_start: Position) {
        self.evicted_runs += runs;
        while self.evicted_runs >= EVICTED_AT_ONCE {
            self.evicted_runs -= EVICTED_AT_ONCE;
            self.next_evicted = (self.next_evicted + 1) % self.slots.len().max(1);
            if let Some(Some(partition)) = self.slots.get_mut(self.next_evicted) {
                partition.index.evict_before(cache_start);
            }
        }
    }

    /// The partition in a slot, if it is still the one of that key.
    pub fn get_live(&mut self, slot: PartitionSlot, key: PartitionKey) -> Option<&mut Partition> {
        self.get_mut(slot).filter(|partition| partition.key == key)
    }

    /// The partition of a key.
    pub fn by_key(&self, key: PartitionKey) -> Option<&Partition> {
        self.get(self.slot(key)?)
    }

    /// The same, to be changed.
    pub fn by_key_mut(&mut self, key: PartitionKey) -> Option<&mut Partition> {
        self.get_mut(self.slot(key)?)
    }

    /// All of them, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.slots.iter().flatten()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Slots there are, free ones included.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }
}
