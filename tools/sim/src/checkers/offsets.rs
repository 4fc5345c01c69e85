//! Offsets are dense, and the record at an offset never changes once somebody has seen it.

use std::collections::BTreeMap;

use crate::checkers::{FetchedPart, name};
use crate::connection::PartitionId;
use crate::wire::{Fetched, RecordId};

/// All that consumers have seen.
#[derive(Debug, Default)]
pub struct Offsets {
    seen: BTreeMap<PartitionId, BTreeMap<i64, RecordId>>,
}

impl Offsets {
    /// Records were fetched. Returns those that nobody had seen before.
    pub fn fetched(&mut self, part: &FetchedPart) -> Result<Vec<Fetched>, String> {
        let seen = self.seen.entry(part.partition).or_default();
        let mut new = Vec::new();
        let mut expected = None;
        for fetched in &part.records {
            if expected.is_some_and(|expected| expected != fetched.offset) {
                return Err(format!(
                    "offsets: {} has offset {} where {} should be",
                    name(&part.partition),
                    fetched.offset,
                    expected.unwrap_or_default()
                ));
            }
            expected = Some(fetched.offset + 1);
            match seen.insert(fetched.offset, fetched.record) {
                None => new.push(*fetched),
                Some(before) if before == fetched.record => {}
                Some(before) => {
                    return Err(format!(
                        "offsets: {} offset {} held {before:?} and now holds {:?}",
                        name(&part.partition),
                        fetched.offset,
                        fetched.record
                    ));
                }
            }
        }
        let (first, last) = (part.records.first(), part.records.last());
        if first.is_some_and(|first| first.offset > part.from)
            || last.is_some_and(|last| last.offset < part.from)
        {
            return Err(format!(
                "offsets: {} was asked for offset {} and gave {}..={}",
                name(&part.partition),
                part.from,
                first.map_or(0, |first| first.offset),
                last.map_or(0, |last| last.offset)
            ));
        }
        Ok(new)
    }

    /// All of a partition was fetched.
    pub fn audited(
        &mut self,
        partition: PartitionId,
        log_start: i64,
        end: i64,
        records: &[Fetched],
    ) -> Result<(), String> {
        let dense = (log_start..end).eq(records.iter().map(|fetched| fetched.offset));
        if !dense {
            return Err(format!(
                "offsets: {} is {log_start}..{end}, but {} records came back",
                name(&partition),
                records.len()
            ));
        }
        let highest = self.seen.get(&partition).and_then(|seen| seen.last_key_value());
        if highest.is_some_and(|(offset, _)| *offset >= end) {
            return Err(format!("offsets: {} ends at {end}, but more was seen", name(&partition)));
        }
        Ok(())
    }

    /// A topic is deleted.
    pub fn forget(&mut self, topic: &[u8; 16]) {
        self.seen.retain(|partition, _| partition.0 != *topic);
    }
}
