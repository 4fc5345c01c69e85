//! From files to a shard: recovery of its groups.

use std::collections::VecDeque;

use crate::coordinator::Store;
use crate::journal::Journal;
use crate::journal::format::{Entry, SEGMENT_HEADER_BYTES};
use crate::journal::page::Page;
use crate::journal::recovery::{self, Cut, JournalFiles, RecoverError, Recovered};
use crate::journal::source::{GroupFiles, SegmentSource};
use crate::metadata::Catalog;
use crate::metadata::placement;
use crate::model::ids::{GroupId, NodeId};
use crate::model::position::{Position, Term};
use crate::model::time::Time;
use crate::replica::vote::VoteFile;
use crate::replica::{Descriptor, Replica, ReplicaStart};
use crate::shard::ShardConfig;
use crate::shard::checkpoint::{self, Checkpoint, CheckpointState};
use crate::shard::group::{AppendedEntry, Chain, Group, GroupParts, Partitions};
use crate::shard::replay::replay;

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
    let nodes: Vec<NodeId> = config.nodes.iter().map(|address| address.node).collect();
    let mut replica = Replica::new(ReplicaStart {
        node: config.node,
        voters: placement::replicas(group, &nodes),
        vote: vote_file.vote,
        applied: (applied.index, applied.term, applied.end),
        entries: raft,
        seed: config.seed ^ u64::from(group.0),
    });
    if replica.is_alone() {
        replica.campaign();
    }
    let group = Group::new(GroupParts {
        id: group,
        journal,
        replica,
        partitions,
        consumer_groups,
        vote_file,
        applied,
        checkpoint: CheckpointState::new(applied.end).every(config.checkpoint_bytes),
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
    let vote_file = VoteFile::decode(&files.vote);
    let journal_files = JournalFiles {
        group: files.group,
        node,
        segment_bytes,
        segments: &files.segments,
        truncation: vote_file.ok().and_then(|file| file.truncation),
    };
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
        let position = entry.header.position;
        // Who was deleted is known when the catalog is.
        let mut appended = replay(entry, &mut self.partitions, Time(0), |_| false);
        appended.flushed_at = Some(Time(0));
        for grown in &appended.grown {
            // Nothing of it is in the cache.
            if let Some(partition) = self.partitions.get_mut(grown.partition) {
                partition.index.evict(position);
            }
        }
        let bytes = (entry.end().0 - position.0) as u32;
        let place = Descriptor { position, bytes, crc: entry.crc };
        self.raft.push((entry.header.term, place));
        self.entries.push_back(appended);
    }
}
