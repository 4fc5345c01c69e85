//! The records of a producer are in its partition in the order in which it sent them: all of an
//! idempotent one, and those of one connection of another.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkers::name;
use crate::connection::PartitionId;
use crate::wire::Fetched;

/// The offsets of each producer's records.
#[derive(Debug, Default)]
pub struct Order {
    producers: BTreeMap<(PartitionId, u32), BTreeMap<u64, i64>>,
    /// The first sequence of each connection of a producer that isn't idempotent.
    connections: BTreeMap<u32, BTreeSet<u64>>,
}

impl Order {
    /// A producer that isn't idempotent sends over another connection from this sequence on. A
    /// broker that hasn't read all of the one before doesn't know that it is closed: what it reads
    /// there later comes behind what was sent here. Only sequence numbers would tell.
    pub fn reconnected(&mut self, producer: u32, sequence: u64) {
        self.connections.entry(producer).or_default().insert(sequence);
    }

    /// A record was seen for the first time. Consumers see them in any order, so its neighbours on
    /// both sides count.
    pub fn seen(&mut self, partition: PartitionId, fetched: &Fetched) -> Result<(), String> {
        let sequence = fetched.record.sequence;
        let offsets = self.producers.entry((partition, fetched.record.producer)).or_default();
        let connections = self.connections.get(&fetched.record.producer);
        let first = connections.and_then(|it| it.range(..=sequence).next_back()).unwrap_or(&0);
        let end = connections.and_then(|it| it.range(sequence + 1..).next()).unwrap_or(&u64::MAX);
        let before = offsets.range(first..&sequence).next_back().map(|(_, offset)| *offset);
        let after = offsets.range(sequence + 1..*end).next().map(|(_, offset)| *offset);
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
