//! What was acknowledged survives what its level promises to survive.

use std::collections::BTreeMap;

use crate::checkers::name;
use crate::connection::{PartitionId, SentBatch};
use crate::wire::{Fetched, RecordId};

/// All that was promised.
#[derive(Debug, Default)]
pub struct Durability {
    promised: BTreeMap<PartitionId, BTreeMap<i64, Promise>>,
    /// Records acknowledged so far.
    pub acknowledged: u64,
}

#[derive(Clone, Copy, Debug)]
struct Promise {
    record: RecordId,
    /// Flushed or Durable; otherwise it is kept as long as the process isn't killed.
    survives_crash: bool,
}

impl Durability {
    /// A batch was acknowledged at this offset.
    pub fn acknowledged(
        &mut self,
        batch: &SentBatch,
        base_offset: i64,
        survives_crash: bool,
    ) -> Result<(), String> {
        let promised = self.promised.entry(batch.partition).or_default();
        for n in 0..batch.count {
            let offset = base_offset + i64::from(n);
            let sequence = batch.first.sequence + u64::from(n);
            let record = RecordId { producer: batch.first.producer, sequence };
            self.acknowledged += 1;
            let promise = promised.entry(offset).or_insert(Promise { record, survives_crash });
            if promise.record != record {
                return Err(format!(
                    "durability: {} offset {offset} was acknowledged to {record:?} and to {:?}",
                    name(&batch.partition),
                    promise.record
                ));
            }
            promise.survives_crash |= survives_crash;
        }
        Ok(())
    }

    /// A record was seen by a consumer.
    pub fn seen(&mut self, partition: PartitionId, fetched: &Fetched) -> Result<(), String> {
        let promised = self.promised.entry(partition).or_default();
        // What a consumer has seen is committed, so it stays, too.
        let promise = promised
            .entry(fetched.offset)
            .or_insert(Promise { record: fetched.record, survives_crash: true });
        promise.survives_crash = true;
        if promise.record == fetched.record {
            return Ok(());
        }
        Err(format!(
            "durability: {} offset {} holds {:?}, but {:?} was acknowledged there",
            name(&partition),
            fetched.offset,
            fetched.record,
            promise.record
        ))
    }

    /// The process was killed.
    pub fn crashed(&mut self) {
        for promised in self.promised.values_mut() {
            promised.retain(|_, promise| promise.survives_crash);
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
                    "durability: {} offset {offset} should hold {:?}, acknowledged {}; it holds \
                     {found:?}, and the log is {log_start}..{end}",
                    name(&partition),
                    promise.record,
                    if promise.survives_crash { "for good" } else { "in memory" }
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
