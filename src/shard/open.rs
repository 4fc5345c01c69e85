//! From files to a shard: recovery of its groups.

use std::collections::VecDeque;

use crate::coordinator::Store;
use crate::journal::format::{Entry, SEGMENT_HEADER_BYTES};
use crate::journal::page::Page;
use crate::journal::recovery::{self, Cut, JournalFiles, RecoverError, Recovered};
use crate::journal::segments::Segments;
use crate::journal::source::{GroupFiles, SegmentSource};
use crate::journal::{Journal, JournalTail};
use crate::metadata::Catalog;
use crate::metadata::placement;
use crate::model::ids::{GroupId, NodeId, SegmentId};
use crate::model::position::{Position, Term};
use crate::model::time::Time;
use crate::replica::vote::VoteFile;
use crate::replica::{Descriptor, Members, Replica, ReplicaStart};
use crate::shard::ShardConfig;
use crate::shard::checkpoint::{self, Checkpoint, CheckpointState};
use crate::shard::group::{AppendedEntry, Chain, ControlItem, Group, GroupParts};
use crate::shard::partitions::Partitions;
use crate::shard::repair::at_start::{Believed, DamageAtStart};
use crate::shard::replay::replay;
use crate::shard::snapshot_transfer::fill::Filling;
use crate::shard::snapshot_transfer::is_marker;

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
    let marker = files.checkpoint.as_deref().filter(|file| is_marker(file));
    if marker.is_some() || files.wants_snapshot {
        return Ok(open_filling(config, files, vote_file, marker));
    }
    let Replayed {
        applied,
        catalog,
        partitions,
        consumer_groups,
        members,
        entries,
        raft,
        recovered,
    } = replay_group(config.node, config.segment_bytes, files, source)?;
    let notes = notes(group, raft.len(), recovered.cut);
    let mut journal = Journal::new(
        group,
        config.node,
        recovered.segments,
        recovered.tail,
        config.journal_cache_bytes,
    );
    journal.prepare_segments();
    let control = entries.iter().flat_map(|entry| &entry.control);
    let found = control.filter_map(|item| match item {
        ControlItem::Members(members) => Some(members.clone()),
        _ => None,
    });
    let members = known_members(config, group, members).at_start(found.collect());
    let mut replica = start_replica(config, group, &vote_file, members, applied, raft);
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

/// A group's members as a checkpoint has them, or those that it was formed with.
fn known_members(config: &ShardConfig, group: GroupId, members: Members) -> Members {
    match members.voters.is_empty() {
        true => Members::formed(placement::replicas(group, &config.formed)),
        false => members,
    }
}

fn start_replica(
    config: &ShardConfig,
    group: GroupId,
    vote_file: &VoteFile,
    members: Members,
    applied: Chain,
    entries: Vec<(Term, Descriptor)>,
) -> Replica {
    Replica::new(ReplicaStart {
        node: config.node,
        members,
        vote: vote_file.vote,
        applied: (applied.index, applied.term, applied.end),
        entries,
        seed: config.seed ^ u64::from(group.0),
    })
}

/// A group that was being filled from a snapshot when the node ended, or, if it isn't marked as
/// one, that must be, as its journal is damaged. Nothing there counts but the vote.
fn open_filling<P: Page>(
    config: &ShardConfig,
    files: &GroupFiles,
    vote_file: VoteFile,
    marker: Option<&[u8]>,
) -> Opened<P> {
    let (id, cache_bytes) = (files.group, config.journal_cache_bytes);
    let segments = Segments::new(config.segment_bytes, SegmentId(0), SegmentId(0));
    let tail = JournalTail { append: Position(0), last_crc: 0 };
    let nothing = Chain { end: Position(SEGMENT_HEADER_BYTES), ..Chain::default() };
    let members = known_members(config, id, Members::default());
    let mut group = Group::new(GroupParts {
        id,
        journal: Journal::new(id, config.node, segments, tail, cache_bytes),
        replica: start_replica(config, id, &vote_file, members, nothing, Vec::new()),
        partitions: Partitions::default(),
        consumer_groups: Store::default(),
        vote_file,
        applied: nothing,
        checkpoint: CheckpointState::new(nothing.end),
        entries: VecDeque::new(),
    });
    group.filling = Some(Box::new(Filling::found(&files.segments, marker)));
    let why = match marker {
        Some(_) => "what this node had of it was given up",
        None => "the other nodes have let go of what is damaged here",
    };
    let note = format!("group {id}: {why}: it takes no part in the group until it has a snapshot");
    Opened { group, catalog: None, notes: vec![note] }
}

/// A group that was filled from a snapshot goes on from its checkpoint, behind which there is
/// nothing yet. Returns the checkpoint's catalog.
pub fn go_on_from<P: Page>(
    config: &ShardConfig,
    group: &mut Group<P>,
    checkpoint: Checkpoint,
) -> Option<Catalog> {
    let Checkpoint { applied, partitions, consumer_groups, members, catalog } = checkpoint;
    let members = known_members(config, group.id, members);
    let vote_file = group.vote_file();
    group.replica = start_replica(config, group.id, &vote_file, members, applied, Vec::new());
    group.go_on_from(applied, partitions, consumer_groups);
    catalog
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
    /// The group's members as of the checkpoint; nobody if there is none.
    pub members: Members,
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
    let recovered = recover(node, segment_bytes, files, start.applied, source, |entry| {
        replay.entry(entry);
    })
    .map_err(|error| error.to_string())?;
    Ok(Replayed {
        applied: start.applied,
        catalog: start.catalog,
        partitions: replay.partitions,
        consumer_groups: start.consumer_groups,
        members: start.members,
        entries: replay.entries,
        raft: replay.raft,
        recovered,
    })
}

/// Hands what is believed behind a checkpoint to `visit`, entry by entry.
fn recover(
    node: NodeId,
    segment_bytes: u64,
    files: &GroupFiles,
    from: Chain,
    source: &mut dyn SegmentSource,
    visit: impl FnMut(&Entry<'_>),
) -> Result<Recovered, RecoverError> {
    let vote_file = VoteFile::decode(&files.vote);
    let journal_files = JournalFiles {
        group: files.group,
        node,
        segment_bytes,
        segments: &files.segments,
        truncation: vote_file.ok().and_then(|file| file.truncation),
    };
    let Chain { index, term, crc, end } = from;
    let chain = recovery::Chain { index, term, crc };
    recovery::recover(&journal_files, end, Some(chain), source, visit)
}

/// What keeps a group from being opened that other nodes may mend: damage in the middle of what
/// lies behind its checkpoint. Changes nothing.
pub fn damage_at_start(
    config: &ShardConfig,
    files: &GroupFiles,
    source: &mut dyn SegmentSource,
) -> Option<DamageAtStart> {
    let applied = checkpoint_of(files).ok()?.applied;
    let mut believed = vec![Believed { end: applied.end, term: applied.term, crc: applied.crc }];
    let segment_bytes = config.segment_bytes;
    let visit = |entry: &Entry<'_>| {
        let (end, term, crc) = (entry.end(), entry.header.term, entry.crc);
        believed.push(Believed { end, term, crc });
    };
    let recovered = recover(config.node, segment_bytes, files, applied, source, visit);
    let Err(RecoverError::Damaged { later: proof, .. }) = recovered else { return None };
    let (group, segments) = (files.group, files.segments.clone());
    let VoteFile { vote, truncation, .. } = VoteFile::decode(&files.vote).ok()?;
    let term = vote.term;
    Some(DamageAtStart { group, segments, segment_bytes, believed, proof, term, truncation })
}

/// Where replay begins: at the checkpoint, or at the very beginning.
fn checkpoint_of(files: &GroupFiles) -> Result<Checkpoint, String> {
    let problem = match &files.checkpoint {
        Some(bytes) if is_marker(bytes) => {
            let why = checkpoint::decode(bytes).err().unwrap_or_default();
            return Err(format!("group {}: {why}", files.group));
        }
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
    Ok(Checkpoint::before_all(Members::default()))
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
                partition.index.evict_before(entry.end());
            }
        }
        let bytes = (entry.end().0 - position.0) as u32;
        let place = Descriptor { position, bytes, crc: entry.crc };
        self.raft.push((entry.header.term, place));
        self.entries.push_back(appended);
    }
}
