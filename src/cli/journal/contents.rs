//! What a journal's segments hold, of which partitions, and how much of it is still needed.

use std::collections::BTreeMap;

use super::stopped::GroupState;
use crate::journal::format::{Entry, RunKind, SEGMENT_HEADER_BYTES};
use crate::model::ids::PartitionKey;
use crate::model::position::{LogIndex, Position};
use crate::partition::Partition;

/// What the entries of one segment add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentContents {
    pub entries: u64,
    /// Entries with their headers and padding.
    pub bytes: u64,
    pub first_index: Option<LogIndex>,
    pub last_index: Option<LogIndex>,
    pub shares: BTreeMap<PartitionKey, Share>,
}

/// Record batches of one partition, in one place or in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub bytes: u64,
    /// Those of which a consumer may still ask for a record.
    pub needed: u64,
}

/// One group's segments that hold anything, and what its partitions keep.
pub struct Contents {
    pub segment_bytes: u64,
    pub segments: BTreeMap<u64, SegmentContents>,
}

impl Contents {
    pub fn new(segment_bytes: u64) -> Contents {
        Contents { segment_bytes, segments: BTreeMap::new() }
    }

    /// Takes in the next entry.
    pub fn add(&mut self, entry: &Entry<'_>, state: &GroupState) {
        let header = &entry.header;
        let segment = self.segments.entry(header.position.0 / self.segment_bytes).or_default();
        segment.entries += 1;
        segment.bytes += entry.end().0 - header.position.0;
        segment.first_index.get_or_insert(header.index);
        segment.last_index = Some(header.index);
        for (run, _) in entry.runs().filter(|(run, _)| run.kind == RunKind::Records) {
            let share = segment.shares.entry(run.partition).or_default();
            share.bytes += u64::from(run.bytes);
            let partition = state.partitions.by_key(run.partition);
            if partition.is_some_and(|partition| run.last_offset >= partition.log_start()) {
                share.needed += u64::from(run.bytes);
            }
        }
    }

    /// What all segments hold of a partition.
    pub fn share(&self, key: PartitionKey) -> Share {
        let shares = self.segments.values().filter_map(|segment| segment.shares.get(&key));
        shares.fold(Share::default(), |all, share| Share {
            bytes: all.bytes + share.bytes,
            needed: all.needed + share.needed,
        })
    }

    /// The bytes that other partitions need no more and that stay on disk because this one does:
    /// those in the segment of the oldest position it needs, and in all behind.
    pub fn pinned_by(&self, partition: &Partition) -> u64 {
        let Some(oldest) = partition.oldest_position() else { return 0 };
        let segments = self.segments.range(oldest.0 / self.segment_bytes..);
        let others = segments
            .flat_map(|(_, segment)| &segment.shares)
            .filter(|(key, _)| **key != partition.key);
        others.map(|(_, share)| share.bytes - share.needed).sum()
    }
}

/// Why a group's oldest segments can't be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptFrom {
    pub position: Position,
    /// The partition that needs it, or `None`: a start reads from the checkpoint.
    pub partition: Option<PartitionKey>,
}

/// The oldest position that anybody needs, and who that is. `None` if that can't be known.
pub fn kept_from(state: &GroupState) -> Option<KeptFrom> {
    let partitions = state.partitions.iter().filter_map(|partition| {
        let position = partition.oldest_position()?;
        Some(KeptFrom { position, partition: Some(partition.key) })
    });
    let checkpoint = match &state.checkpoint {
        Some(facts) => facts.as_ref().ok()?.applied.end,
        None => Position(SEGMENT_HEADER_BYTES),
    };
    let checkpoint = KeptFrom { position: checkpoint, partition: None };
    partitions.chain([checkpoint]).min_by_key(|kept| kept.position)
}
