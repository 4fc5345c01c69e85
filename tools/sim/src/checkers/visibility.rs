//! Consumers see committed records only: what they were shown as the end never shrinks, and log
//! starts move forward, and only as far as somebody asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkers::{FetchedPart, name};
use crate::connection::PartitionId;

/// What consumers were told of each partition's ends.
#[derive(Debug, Default)]
pub struct Visibility {
    /// By node: one that has lost its leadership and doesn't know it yet is behind.
    ends: BTreeMap<(PartitionId, usize), Ends>,
    /// As far as DeleteRecords was asked to go.
    deletable: BTreeMap<PartitionId, i64>,
    /// Topics whose records may go by themselves.
    retained: BTreeSet<[u8; 16]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    log_start: i64,
    high_watermark: i64,
}

impl Visibility {
    /// A topic keeps its records for a while only.
    pub fn retains(&mut self, topic: [u8; 16]) {
        self.retained.insert(topic);
    }

    /// DeleteRecords is about to be asked for.
    pub fn deletes(&mut self, partition: PartitionId, offset: i64) {
        let deletable = self.deletable.entry(partition).or_default();
        *deletable = offset.max(*deletable);
    }

    /// The end of a partition, as far as anyone was told.
    pub fn end(&self, partition: &PartitionId) -> i64 {
        let told = self.ends.range((*partition, 0)..=(*partition, usize::MAX));
        told.map(|(_, ends)| ends.high_watermark).max().unwrap_or(0)
    }

    /// A partition's ends were in a response that was made just now.
    pub fn told(
        &mut self,
        node: usize,
        partition: PartitionId,
        log_start: Option<i64>,
        high_watermark: Option<i64>,
    ) -> Result<(), String> {
        let may_go = self.retained.contains(&partition.0);
        let deletable = self.deletable.get(&partition).copied().unwrap_or(0);
        let ends = self.ends.entry((partition, node)).or_default();
        let before = *ends;
        ends.log_start = log_start.unwrap_or(before.log_start);
        ends.high_watermark = high_watermark.unwrap_or(before.high_watermark);
        let limit = if may_go { ends.high_watermark.max(ends.log_start) } else { deletable };
        if ends.log_start < before.log_start
            || ends.high_watermark < before.high_watermark
            || ends.log_start > limit
            || ends.log_start > ends.high_watermark.max(limit)
        {
            return Err(format!(
                "visibility: {} was {before:?} and is now {ends:?}",
                name(&partition)
            ));
        }
        Ok(())
    }

    /// A Fetch response.
    pub fn fetched(&mut self, node: usize, part: &FetchedPart) -> Result<(), String> {
        self.told(node, part.partition, Some(part.log_start), Some(part.high_watermark))?;
        match part.records.last() {
            Some(last) if last.offset >= part.high_watermark => Err(format!(
                "visibility: {} gave offset {} with the high watermark at {}",
                name(&part.partition),
                last.offset,
                part.high_watermark
            )),
            _ => Ok(()),
        }
    }
}
