//! The records of a producer are in its partition in the order in which it sent them.

use std::collections::BTreeMap;

use crate::checkers::name;
use crate::connection::PartitionId;
use crate::wire::Fetched;

/// The offsets of each producer's records.
#[derive(Debug, Default)]
pub struct Order {
    producers: BTreeMap<(PartitionId, u32), BTreeMap<u64, i64>>,
}

impl Order {
    /// A record was seen for the first time. Consumers see them in any order, so its neighbours on
    /// both sides count.
    pub fn seen(&mut self, partition: PartitionId, fetched: &Fetched) -> Result<(), String> {
        let sequence = fetched.record.sequence;
        let offsets = self.producers.entry((partition, fetched.record.producer)).or_default();
        let before = offsets.range(..sequence).next_back().map(|(_, offset)| *offset);
        let after = offsets.range(sequence + 1..).next().map(|(_, offset)| *offset);
        offsets.insert(sequence, fetched.offset);
        if before.is_none_or(|before| before < fetched.offset)
            && after.is_none_or(|after| after > fetched.offset)
        {
            return Ok(());
        }
        Err(format!(
            "order: {} has {:?} at offset {}, its predecessor at {before:?} and its successor at \
             {after:?}",
            name(&partition),
            fetched.record,
            fetched.offset
        ))
    }
}
