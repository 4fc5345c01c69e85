//! From files to a shard: recovery of its groups.

use std::collections::VecDeque;

use crate::coordinator::Store;
use crate::journal::Journal;
use crate::journal::format::{Entry, Run, RunKind, SEGMENT_HEADER_BYTES};
use crate::journal::page::Page;
use crate::journal::recovery::{self, Cut, JournalFiles, RecoverError, Recovered};
use crate::journal::source::{GroupFiles, SegmentSource};
use crate::kafka::record_batch;
use crate::metadata::{Catalog, Command};
use crate::model::ids::{GroupId, NodeId, PartitionKey};
use crate::model::position::{Offset, Position, Term};
use crate::model::time::Time;
use crate::partition::Partition;
use crate::partition::index::RunPlace;
use crate::partition::producers::Sequence;
use crate::replica::vote::VoteFile;
use crate::replica::{Descriptor, Replica, ReplicaStart};
use crate::shard::ShardConfig;
use crate::shard::checkpoint::{self, Checkpoint, CheckpointState};
use crate::shard::group::{
    AppendedEntry, Chain, ControlItem, Group, GroupParts, Grown, Partitions,
};

/// A group that was recovered.
pub struct Opened<P> {
    pub group: Group<P>,
    /// Of group 0: the catalog as of the checkpoint.
    pub catalog: Option<Catalog>,
    /// What is worth a line in the log.
    pub notes: Vec<String>,
}

/// Recovers one group.
///
/// # Errors
/// A sentence that names the group, segment and position of what can't be trusted.
pub fn open_group<P: Page>(
    config: &ShardConfig,
    files: &GroupFiles,
    source: &mut dyn SegmentSource,
) -> Result<Opened<P>, String> {
    let group = files.group;
    let vote_file = VoteFile::decode(&files.vote).map_err(|why| format!("group {group}: {why}"))?;
    let Replayed { applied, catalog, partitions, consumer_groups, entries, raft, recovered } =
        replay_group(config.node, config.segment_bytes, files, source)?;
    let notes = notes(group, raft.len(), recovered.cut);
    let mut journal = Journal::new(
        group,
        config.node,
        recovered.segments,
        recovered.tail,
        config.journal_cache_bytes,
    );
    journal.prepare_segments();
    let mut replica = Replica::new(ReplicaStart {
        node: config.node,
        voters: vec![config.node],
        vote: vote_file.vote,
        applied: (applied.index, applied.term, applied.end),
        entries: raft,
        seed: config.seed ^ u64::from(group.0),
    });
    replica.campaign();
    let group = Group::new(GroupParts {
        id: group,
        journal,
        replica,
        partitions,
        consumer_groups,
        vote_file,
        applied,
        checkpoint: CheckpointState::new(applied.end),
        entries,
    });
    Ok(Opened { group, catalog, notes })
}

/// What a group's checkpoint and journal say, before anything is made of it.
pub struct Replayed {
    /// What the checkpoint covers.
    pub applied: Chain,
    /// Of group 0: the catalog as of the checkpoint.
    pub catalog: Option<Catalog>,
    /// The partitions, grown by all entries; log starts are those of the checkpoint.
    pub partitions: Partitions,
    /// The consumer groups as of the checkpoint.
    pub consumer_groups: Store,
    /// The entries behind the checkpoint.
    pub entries: VecDeque<AppendedEntry>,
    raft: Vec<(Term, Descriptor)>,
    /// Where the journal ends.
    pub recovered: Recovered,
}

/// Reads a group's checkpoint and all that lies behind it in the journal. Changes nothing.
///
/// # Errors
/// A sentence that names the group, segment and position of what can't be trusted.
pub fn replay_group(
    node: NodeId,
    segment_bytes: u64,
    files: &GroupFiles,
    source: &mut dyn SegmentSource,
) -> Result<Replayed, String> {
    let start = checkpoint_of(files)?;
    let mut replay =
        Replay { partitions: start.partitions, entries: VecDeque::new(), raft: vec![] };
    let journal_files =
        JournalFiles { group: files.group, node, segment_bytes, segments: &files.segments };
    let Chain { index, term, crc, end } = start.applied;
    let chain = recovery::Chain { index, term, crc };
    let recovered = recovery::recover(&journal_files, end, Some(chain), source, |entry| {
        replay.entry(entry);
    })
    .map_err(|error| error.to_string())?;
    Ok(Replayed {
        applied: start.applied,
        catalog: start.catalog,
        partitions: replay.partitions,
        consumer_groups: start.consumer_groups,
        entries: replay.entries,
        raft: replay.raft,
        recovered,
    })
}

/// Where replay begins: at the checkpoint, or at the very beginning.
fn checkpoint_of(files: &GroupFiles) -> Result<Checkpoint, String> {
    let problem = match &files.checkpoint {
        Some(bytes) => match checkpoint::decode(bytes) {
            Ok(checkpoint) => return Ok(checkpoint),
            Err(problem) => problem,
        },
        None => "there is none".to_string(),
    };
    if let Some(first) = files.segments.first().copied().filter(|first| first.0 > 0) {
        let error = RecoverError::Checkpoint { group: files.group, first, problem };
        return Err(error.to_string());
    }
    Ok(Checkpoint {
        applied: Chain { end: Position(SEGMENT_HEADER_BYTES), ..Chain::default() },
        partitions: Partitions::default(),
        consumer_groups: Store::default(),
        catalog: None,
    })
}

fn notes(group: GroupId, replayed: usize, cut: Option<Cut>) -> Vec<String> {
    let mut notes = Vec::new();
    if replayed > 0 {
        notes.push(format!("group {group}: read {replayed} journal entries behind the checkpoint"));
    }
    if let Some(cut) = cut {
        notes.push(format!(
            "group {group}: cut a torn tail of {} entries, {} bytes, at position {}; none of them \
             was acknowledged as flushed",
            cut.entries, cut.bytes, cut.position
        ));
    }
    notes
}

/// Entries, put back into the partitions they belong to.
struct Replay {
    partitions: Partitions,
    entries: VecDeque<AppendedEntry>,
    raft: Vec<(Term, Descriptor)>,
}

impl Replay {
    fn entry(&mut self, entry: &Entry<'_>) {
        let header = &entry.header;
        let mut appended = AppendedEntry {
            index: header.index,
            term: header.term,
            crc: entry.crc,
            end: entry.end(),
            appended_at: Time(0),
            flushed_at: Some(Time(0)),
            requests: 0,
            grown: Vec::new(),
            control: Vec::new(),
        };
        for (run, data) in entry.runs() {
            match run.kind {
                RunKind::Records => {
                    let grown = self.records(entry, &run, data);
                    appended.grown.push(grown);
                }
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
                RunKind::Coordinator => appended.control.push(ControlItem::Coordinator {
                    data: entry.data(data).to_vec(),
                    batch: None,
                }),
            }
        }
        let bytes = (entry.end().0 - header.position.0) as u32;
        self.raft
            .push((header.term, Descriptor { position: header.position, bytes, crc: entry.crc }));
        self.entries.push_back(appended);
    }

    fn records(&mut self, entry: &Entry<'_>, run: &Run, data: std::ops::Range<usize>) -> Grown {
        self.ensure(run.partition);
        let slot = self.partitions.slot(run.partition).expect("it was just ensured");
        let partition = self.partitions.get_mut(slot).expect("it was just ensured");
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
        // Nothing of it is in the cache.
        partition.index.evict(entry.header.position);
        Grown { partition: slot, key: run.partition, end: partition.log_end(), bytes: run.bytes }
    }

    fn ensure(&mut self, key: PartitionKey) {
        if self.partitions.slot(key).is_none() {
            self.partitions.insert(Partition::new(key));
        }
    }
}
