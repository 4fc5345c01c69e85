//! An entry that this node didn't make from requests, put into the partitions it belongs to: one
//! that recovery read from disk, or that the leader has sent.

use crate::journal::format::{Entry, Run, RunKind};
use crate::kafka::record_batch;
use crate::metadata::Command;
use crate::model::ids::PartitionKey;
use crate::model::position::Offset;
use crate::model::time::Time;
use crate::partition::Partition;
use crate::partition::index::RunPlace;
use crate::partition::producers::Sequence;
use crate::replica::Members;
use crate::shard::group::{AppendedEntry, ControlItem, Grown};
use crate::shard::partitions::Partitions;

/// Grows the partitions of `entry`, and tells what applying it will do. Runs of partitions that
/// `is_deleted` knows to be gone for good are passed over. Such a partition goes right then, if it
/// is still there: a checkpoint would hold it without them, and a start knows less.
pub fn replay(
    entry: &Entry<'_>,
    partitions: &mut Partitions,
    appended_at: Time,
    is_deleted: impl Fn(PartitionKey) -> bool,
) -> AppendedEntry {
    let header = &entry.header;
    let mut appended = AppendedEntry {
        index: header.index,
        term: header.term,
        crc: entry.crc,
        end: entry.end(),
        appended_at,
        flushed_at: None,
        requests: 0,
        grown: Vec::new(),
        control: Vec::new(),
    };
    for (run, data) in entry.runs() {
        match run.kind {
            RunKind::Records if is_deleted(run.partition) => partitions.remove(run.partition),
            // A partition that isn't there, or has nothing as it was made anew from a catalog that
            // is behind, and doesn't begin here was deleted, as somebody knew before the leader
            // did; a checkpoint without it lies between.
            RunKind::Records
                if run.base_offset > Offset(0)
                    && partitions
                        .by_key(run.partition)
                        .is_none_or(|partition| partition.log_end() == Offset(0)) => {}
            RunKind::Records => appended.grown.push(records(entry, &run, data, partitions)),
            RunKind::Command => {
                // Checked when it was proposed, and guarded by the entry's checksum since.
                if let Ok(command) = Command::decode(entry.data(data)) {
                    appended.control.push(ControlItem::Command { command, ticket: None });
                }
            }
            RunKind::LogStart => appended.control.push(ControlItem::LogStart {
                partition: run.partition,
                offset: run.base_offset,
                request: None,
            }),
            RunKind::Coordinator => appended
                .control
                .push(ControlItem::Coordinator { data: entry.data(data).to_vec(), batch: None }),
            RunKind::Members => {
                if let Ok(members) = Members::decode(&mut entry.data(data)) {
                    appended.control.push(ControlItem::Members(members));
                }
            }
        }
    }
    appended
}

fn records(
    entry: &Entry<'_>,
    run: &Run,
    data: std::ops::Range<usize>,
    partitions: &mut Partitions,
) -> Grown {
    if partitions.slot(run.partition).is_none() {
        // The catalog, in another group's journal, may be behind this one.
        partitions.insert(Partition::new(run.partition));
    }
    let slot = partitions.slot(run.partition).expect("it was just ensured");
    let partition = partitions.get_mut(slot).expect("it was just ensured");
    for (_, batch) in record_batch::batches(entry.data(data.clone())) {
        if batch.producer_id >= 0 {
            let sequence = Sequence {
                producer_id: batch.producer_id,
                epoch: batch.producer_epoch,
                first: batch.base_sequence,
                count: batch.record_count,
            };
            partition.producers.appended(&sequence, Offset(batch.base_offset));
        }
    }
    partition.append(
        entry.header.term,
        RunPlace {
            base_offset: run.base_offset,
            last_offset: run.last_offset,
            entry: entry.header.position,
            at: data.start as u32,
            bytes: run.bytes,
            max_timestamp: run.max_timestamp,
        },
    );
    Grown { partition: slot, key: run.partition, end: partition.log_end(), bytes: run.bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::format::{EntryHeader, write_entry};
    use crate::model::ids::NodeId;
    use crate::model::position::{LogIndex, Position, Term};
    use crate::model::time::Wallclock;

    const KEY: PartitionKey = PartitionKey(4);

    /// An entry with one record of no bytes at this offset.
    fn entry_at(offset: i64) -> Vec<u8> {
        let header = EntryHeader {
            position: Position(4096),
            index: LogIndex(offset as u64 + 1),
            term: Term(1),
            leader: NodeId(1),
            previous_crc: 0,
            flushed: Position(0),
            appended_at: Wallclock(0),
            run_count: 1,
            body_bytes: 0,
        };
        let run = Run {
            kind: RunKind::Records,
            partition: KEY,
            base_offset: Offset(offset),
            last_offset: Offset(offset),
            bytes: 0,
            batches: 0,
            max_timestamp: 0,
        };
        let mut bytes = vec![0; 4096];
        write_entry(&mut bytes, &header, &[run], |_| {});
        bytes
    }

    #[test]
    fn a_deleted_partition_goes_with_the_first_run_that_is_passed_over() {
        let mut partitions = Partitions::default();
        let mut replay_at = |offset, deleted: bool| {
            let bytes = entry_at(offset);
            let entry = Entry::read(&bytes, Position(4096)).expect("it is whole");
            let appended = replay(&entry, &mut partitions, Time(0), |_| deleted);
            (appended.grown.len(), partitions.by_key(KEY).map(Partition::log_end))
        };
        assert_eq!(replay_at(0, false), (1, Some(Offset(1))));
        assert_eq!(replay_at(1, false), (1, Some(Offset(2))));
        assert_eq!(replay_at(2, true), (0, None));
        // Who knows less passes over what follows as well.
        assert_eq!(replay_at(3, false), (0, None));
    }
}
