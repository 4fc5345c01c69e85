//! A record is in its partition at most once, however often its producer has sent it.

use std::collections::BTreeMap;

use crate::checkers::name;
use crate::connection::PartitionId;
use crate::wire::{Fetched, RecordId};

/// Where each record is.
#[derive(Debug, Default)]
pub struct Idempotence {
    places: BTreeMap<(PartitionId, RecordId), i64>,
}

impl Idempotence {
    /// A record was seen for the first time at its offset.
    pub fn seen(&mut self, partition: PartitionId, fetched: &Fetched) -> Result<(), String> {
        let place = self.places.entry((partition, fetched.record)).or_insert(fetched.offset);
        if *place == fetched.offset {
            return Ok(());
        }
        Err(format!(
            "idempotence: {} holds {:?} at offset {place} and at offset {}",
            name(&partition),
            fetched.record,
            fetched.offset
        ))
    }
}
