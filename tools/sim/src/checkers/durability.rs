//! What was acknowledged survives what its level promises to survive.
//!
//! - Durable, and whatever a consumer has seen: for good.
//! - Flushed: until another node leads. Its leader may crash and come back.
//! - Replicated: one crash of any node, as long as all others are there at the next election.
//! - Received: until its leader crashes, or another node leads.

use std::collections::BTreeMap;

use hutong::model::qos::Qos;

use crate::checkers::name;
use crate::connection::{PartitionId, SentBatch};
use crate::wire::{Fetched, RecordId};

/// All that was promised.
#[derive(Debug, Default)]
pub struct Durability {
    promised: BTreeMap<PartitionId, BTreeMap<i64, Promise>>,
    /// Records acknowledged so far.
    pub acknowledged: u64,
    /// When processes were killed, and whose.
    crashes: Vec<(u64, usize)>,
    /// Promises that aren't for good, so that most crashes and elections needn't look at all.
    has_weak: bool,
}

#[derive(Clone, Debug)]
struct Promise {
    record: RecordId,
    level: Qos,
    /// The node that made it, and the group that holds it.
    node: usize,
    group: u32,
    /// Processes killed before.
    crashes: usize,
}

/// Who has acknowledged a batch.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub node: usize,
    /// The group that holds the batch.
    pub group: u32,
    pub level: Qos,
    /// When it was asked for. The answer may be older than it looks: it waited for its turn.
    pub since: u64,
    /// Nobody else has led the group since.
    pub still_leads: bool,
}

impl Promise {
    fn is_for_good(&self) -> bool {
        self.level == Qos::Durable
    }
}

impl Durability {
    /// A batch was acknowledged at this offset.
    pub fn acknowledged(
        &mut self,
        batch: &SentBatch,
        base_offset: i64,
        by: Acknowledged,
    ) -> Result<(), String> {
        self.acknowledged += u64::from(batch.count);
        let Acknowledged { node, group, level, since, still_leads } = by;
        let crashes = self.crashes.partition_point(|(at, _)| *at < since);
        let is_void = match level {
            Qos::Durable => false,
            Qos::Replicated => self.crashes.len() - crashes > 1,
            _ => !still_leads,
        };
        if is_void {
            return Ok(());
        }
        self.has_weak |= level != Qos::Durable;
        let promised = self.promised.entry(batch.partition).or_default();
        for n in 0..batch.count {
            let offset = base_offset + i64::from(n);
            let sequence = batch.first.sequence + u64::from(n);
            let record = RecordId { producer: batch.first.producer, sequence };
            let promise = Promise { record, level, node, group, crashes };
            match promised.get_mut(&offset) {
                None => drop(promised.insert(offset, promise)),
                Some(known) if known.record != record => {
                    return Err(format!(
                        "durability: {} offset {offset} was acknowledged to {:?} at level {} by \
                         node {}, and to {record:?} at level {} by node {}",
                        name(&batch.partition),
                        known.record,
                        known.level.name(),
                        known.node,
                        level.name(),
                        node
                    ));
                }
                Some(known) if !known.is_for_good() => *known = promise,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// A record was seen by a consumer.
    pub fn seen(&mut self, partition: PartitionId, fetched: &Fetched) -> Result<(), String> {
        let promised = self.promised.entry(partition).or_default();
        // What a consumer has seen is committed, so it stays, too.
        let promise = promised.entry(fetched.offset).or_insert(Promise {
            record: fetched.record,
            level: Qos::Durable,
            node: 0,
            group: 0,
            crashes: 0,
        });
        if promise.record == fetched.record {
            promise.level = Qos::Durable;
            return Ok(());
        }
        Err(format!(
            "durability: {} offset {} holds {:?}, but {:?} was acknowledged there at level {} by \
             node {}",
            name(&partition),
            fetched.offset,
            fetched.record,
            promise.record,
            promise.level.name(),
            promise.node
        ))
    }

    /// A process was killed; it was the only one, or not.
    pub fn crashed(&mut self, node: usize, alone: bool, now: u64) {
        self.crashes.push((now, node));
        let crashes = self.crashes.len();
        self.keep(|promise| match promise.level {
            Qos::Durable | Qos::Flushed => true,
            // A node alone is a majority.
            Qos::Replicated => !alone && crashes - promise.crashes < 2,
            Qos::Received | Qos::OneWay => promise.node != node,
        });
    }

    /// A node, whose process was killed, has lost its disk.
    pub fn wiped(&mut self, node: usize) {
        self.keep(|promise| match promise.level {
            Qos::Durable | Qos::Replicated => true,
            _ => promise.node != node,
        });
    }

    /// A node has been elected, while some others may have had no say in it, as they were `away`.
    /// What only they and one whose process was killed had in memory is lost then.
    pub fn elected(&mut self, group: u32, node: usize, away: &[usize]) {
        let crashes = std::mem::take(&mut self.crashes);
        self.keep(|promise| match promise.level {
            Qos::Durable => true,
            Qos::Replicated => match crashes.get(promise.crashes) {
                Some((_, killed)) => {
                    promise.group != group || away.iter().all(|away| away == killed)
                }
                None => true,
            },
            _ => promise.node == node || promise.group != group,
        });
        self.crashes = crashes;
    }

    fn keep(&mut self, keep: impl Fn(&Promise) -> bool) {
        if !self.has_weak {
            return;
        }
        self.has_weak = false;
        for promised in self.promised.values_mut() {
            promised.retain(|_, promise| keep(promise));
            self.has_weak |= promised.values().any(|promise| !promise.is_for_good());
        }
    }

    /// All of a partition was fetched.
    pub fn audited(
        &mut self,
        partition: PartitionId,
        log_start: i64,
        end: i64,
        records: &[Fetched],
    ) -> Result<(), String> {
        let Some(promised) = self.promised.get(&partition) else { return Ok(()) };
        for (offset, promise) in promised.range(log_start..) {
            let found = usize::try_from(offset - log_start).ok().and_then(|at| records.get(at));
            if found.is_none_or(|found| found.record != promise.record) {
                return Err(format!(
                    "durability: {} offset {offset} should hold {:?}, acknowledged at level {} by \
                     node {}; it holds {found:?}, and the log is {log_start}..{end}",
                    name(&partition),
                    promise.record,
                    promise.level.name(),
                    promise.node
                ));
            }
        }
        Ok(())
    }

    /// A topic is deleted.
    pub fn forget(&mut self, topic: &[u8; 16]) {
        self.promised.retain(|partition, _| partition.0 != *topic);
    }
}
