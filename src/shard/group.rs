//! One Raft group as its shard sees it: journal, replica and partitions, moved together.
//!
//! Every entry goes the same way: queue -> append -> (flush and replicate, side by side) -> commit
//! -> apply. This file keeps the order; `append` turns the queue into entries.

use std::collections::{BTreeMap, VecDeque};

use crate::coordinator::{Record, Store};
use crate::journal::cache::CachedEntry;
use crate::journal::format::Entry;
use crate::journal::page::Page;
use crate::journal::recovery::Truncation;
use crate::journal::{Blocked, EntryStamp, Journal};
use crate::limits::SEGMENT_BYTES_MIN;
use crate::metadata::Command;
use crate::model::ids::{GroupId, PartitionKey, SegmentId, WriteId};
use crate::model::position::{LogIndex, Offset, Position, Term};
use crate::model::time::{Now, Time, Wallclock};
use crate::replica::vote::VoteFile;
use crate::replica::{Descriptor, Members, Replica, Vote};
use crate::shard::catch_up::CatchUps;
use crate::shard::checkpoint::CheckpointState;
use crate::shard::control::CommandTicket;
use crate::shard::follow::Following;
use crate::shard::input::IoFailure;
use crate::shard::metrics::GroupMetrics;
use crate::shard::partitions::{PartitionSlot, Partitions};
use crate::shard::pending_responses::{PendingResponses, Progress};
use crate::shard::produce::PendingProduce;
use crate::shard::request_queue::RequestQueue;
use crate::shard::snapshot_transfer::fill::Filling;
use crate::shard::snapshot_transfer::send::Snapshots;

/// One group of this shard.
pub struct Group<P> {
    pub id: GroupId,
    pub journal: Journal<P>,
    pub replica: Replica,
    pub partitions: Partitions,
    /// The consumer groups that are kept here, as committed.
    pub consumer_groups: Store,
    pub queue: RequestQueue,
    pub pending: PendingResponses<PendingProduce>,
    pub checkpoint: CheckpointState,
    pub metrics: GroupMetrics,
    /// What is to be appended beside the queue: changes of the catalog and of log starts.
    pub control: Vec<ControlItem>,
    vote_file: VoteFile,
    /// What is under way with the group's other members.
    pub following: Following,
    pub catch_ups: CatchUps,
    pub snapshots: Snapshots,
    /// As long as it is being filled from a snapshot.
    pub(super) filling: Option<Box<Filling>>,
    /// What somebody waits for in entries that were cut off.
    pub(super) lost: Vec<ControlItem>,
    /// The term in which this node led when it was last looked at.
    led: Option<Term>,
    serves: bool,
    /// Appended and not yet applied, oldest first.
    entries: VecDeque<AppendedEntry>,
    applied: Chain,
    progress: Progress,
    /// Since when the disk has had no space for another segment, and when to try again.
    no_space: Option<Time>,
    next_vote_write: u64,
    /// What Raft has asked to be written into the vote file and isn't there yet.
    votes: Votes,
}

/// The vote file is written once at a time, for with both of its slots under way a crash could tear
/// both. What is asked for meanwhile waits, and of several only the last is written.
#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    /// How many of Raft's votes the write that is out stands for.
    out: Option<u64>,
    /// The next one, and how many it stands for.
    waiting: Option<(Vote, u64)>,
    /// The journal was cut off, and the vote file doesn't say so yet: `Some(true)` if the write
    /// that is out does.
    cut: Option<bool>,
}

/// The last entry applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    pub index: LogIndex,
    pub term: Term,
    pub crc: u32,
    /// The first position after it.
    pub end: Position,
}

/// Something other than record batches that goes into a journal.
#[derive(Clone, Debug)]
pub enum ControlItem {
    /// A change of the catalog, and who asked for it.
    Command { command: Command, ticket: Option<CommandTicket> },
    /// A partition's log start moves.
    LogStart { partition: PartitionKey, offset: Offset, request: Option<LogStartRequest> },
    /// Records about consumer groups, and the number by which their coordinator knows them.
    Coordinator { data: Vec<u8>, batch: Option<u64> },
    /// Who belongs to the group from there on.
    Members(Members),
}

/// The part of a DeleteRecords request that waits for a log start to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStartRequest {
    pub request: usize,
    pub part: usize,
}

/// What an entry did, remembered until it is applied.
#[derive(Debug)]
pub struct AppendedEntry {
    pub index: LogIndex,
    pub term: Term,
    pub crc: u32,
    pub end: Position,
    pub appended_at: Time,
    pub flushed_at: Option<Time>,
    /// Produce requests in it.
    pub requests: u32,
    /// The partitions it grew, and their ends after it.
    pub grown: Vec<Grown>,
    pub control: Vec<ControlItem>,
}

/// How many bytes each partition has of some entries.
pub fn bytes_grown<'a>(
    entries: impl IntoIterator<Item = &'a AppendedEntry>,
) -> BTreeMap<PartitionKey, u64> {
    let mut bytes = BTreeMap::new();
    for grown in entries.into_iter().flat_map(|entry| &entry.grown) {
        *bytes.entry(grown.key).or_default() += u64::from(grown.bytes);
    }
    bytes
}

/// A partition's end after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    pub partition: PartitionSlot,
    pub key: PartitionKey,
    pub end: Offset,
    pub bytes: u32,
}

/// What a group has to tell its shard.
#[derive(Debug)]
pub enum GroupEvent {
    /// Consumers of the partition may see so many more bytes.
    Committed { partition: PartitionKey, bytes: u32 },
    /// Apply this command, of group 0, to the catalog.
    Command { command: Command, ticket: Option<CommandTicket> },
    /// A partition's log start has moved.
    LogStart { partition: PartitionKey, request: Option<LogStartRequest> },
    /// A batch of records about consumer groups has been applied.
    Coordinator { batch: u64 },
}

/// What of group and disk a new group starts from.
pub struct GroupParts<P> {
    pub id: GroupId,
    pub journal: Journal<P>,
    pub replica: Replica,
    pub partitions: Partitions,
    pub consumer_groups: Store,
    pub vote_file: VoteFile,
    pub applied: Chain,
    pub checkpoint: CheckpointState,
    pub entries: VecDeque<AppendedEntry>,
}

/// How long to wait before asking for disk space again.
const SPACE_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Without space for another segment, so much of the last one is left to what frees space again.
const CONTROL_RESERVE_BYTES: u64 = SEGMENT_BYTES_MIN / 4;

impl<P: Page> Group<P> {
    /// A group that goes on where its disk says.
    pub fn new(parts: GroupParts<P>) -> Group<P> {
        let append = parts.journal.append_position();
        Group {
            id: parts.id,
            progress: Progress {
                append,
                flush: append,
                received: append,
                commit: parts.applied.end,
            },
            journal: parts.journal,
            replica: parts.replica,
            partitions: parts.partitions,
            consumer_groups: parts.consumer_groups,
            queue: RequestQueue::default(),
            pending: PendingResponses::default(),
            checkpoint: parts.checkpoint,
            metrics: GroupMetrics::default(),
            control: Vec::new(),
            vote_file: parts.vote_file,
            following: Following::default(),
            catch_ups: CatchUps::default(),
            snapshots: Snapshots::default(),
            filling: None,
            lost: Vec::new(),
            led: None,
            serves: false,
            entries: parts.entries,
            applied: parts.applied,
            no_space: None,
            next_vote_write: 1,
            votes: Votes::default(),
        }
    }

    /// Raft wants this vote on disk.
    pub(super) fn wants_vote(&mut self, vote: Vote) {
        let count = self.votes.waiting.map_or(0, |(_, count)| count);
        self.votes.waiting = Some((vote, count + 1));
    }

    /// The journal was cut off at `cut`. Nothing is written behind it before the vote file says so.
    pub(super) fn note_truncation(&mut self, cut: Position) {
        self.vote_file.truncation = Some(Truncation { position: cut, term: self.replica.term() });
        self.votes.cut = Some(false);
        let vote = self.vote_file.vote;
        self.votes.waiting.get_or_insert((vote, 0));
    }

    /// The next write of the vote file, if there is something to write and none is out.
    pub(super) fn poll_vote(&mut self) -> Option<(WriteId, u64, P)> {
        let (vote, count) = self.votes.waiting.take_if(|_| self.votes.out.is_none())?;
        self.votes.out = Some(count);
        self.votes.cut = self.votes.cut.map(|_| true);
        let (at, slot) = self.vote_file.next(vote);
        let write = WriteId(self.next_vote_write);
        self.next_vote_write += 1;
        Some((write, at, P::build(slot.len(), |into| into.copy_from_slice(&slot))))
    }

    /// Appends an entry of Raft's own, if there is room.
    pub(super) fn append_empty(&mut self, term: Term, index: LogIndex, now: Now) -> bool {
        if self.room(crate::limits::ENTRY_ALIGN_BYTES).is_err() {
            return false;
        }
        let stamp = self.stamp(term, index, now.wallclock);
        let appended = self.journal.append(stamp, &[], |_| {});
        let bytes = (appended.end.0 - appended.position.0) as u32;
        let entry = AppendedEntry {
            index,
            term,
            crc: appended.crc,
            end: appended.end,
            appended_at: now.time,
            flushed_at: None,
            requests: 0,
            grown: Vec::new(),
            control: Vec::new(),
        };
        let descriptor = Descriptor { position: appended.position, bytes, crc: appended.crc };
        self.replica.placed(index, descriptor);
        self.took(entry, appended.end);
        true
    }

    /// An entry is in the journal and in Raft's log.
    pub(super) fn took(&mut self, entry: AppendedEntry, end: Position) {
        self.progress.append = end;
        self.entries.push_back(entry);
    }

    /// Takes out the entries from `from` on. With them comes the checksum of the last one left.
    pub(super) fn cut_entries(&mut self, from: LogIndex) -> (VecDeque<AppendedEntry>, u32) {
        assert!(from > self.applied.index, "what is applied is committed");
        let keep = self.entries.partition_point(|entry| entry.index < from);
        let cut = self.entries.split_off(keep);
        let last_crc = self.entries.back().map_or(self.applied.crc, |entry| entry.crc);
        (cut, last_crc)
    }

    /// Whether a change of members is on its way.
    pub(super) fn changes_members(&self) -> bool {
        let appended = self.entries.iter().flat_map(|entry| &entry.control);
        appended.chain(&self.control).any(|item| matches!(item, ControlItem::Members(_)))
    }

    /// This node's coordinator of consumer groups is gone: another one that it may have later
    /// counts
    /// its batches anew.
    pub(super) fn forget_batches(&mut self) {
        let control = self.entries.iter_mut().flat_map(|entry| &mut entry.control);
        for item in control {
            if let ControlItem::Coordinator { batch, .. } = item {
                *batch = None;
            }
        }
    }

    /// Where a partition ends by what is appended and not applied.
    pub(super) fn end_of_appended(&self, key: PartitionKey) -> Option<Offset> {
        let grown = self.entries.iter().rev().flat_map(|entry| &entry.grown);
        grown.filter(|grown| grown.key == key).map(|grown| grown.end).next()
    }

    /// The journal was cut off.
    pub(super) fn cut_progress(&mut self, cut: Position) {
        self.progress.append = cut;
        self.progress.flush = self.progress.flush.min(cut);
        self.progress.received = self.progress.received.min(cut);
    }

    /// What an entry appended now says of itself.
    pub fn stamp(&self, term: Term, index: LogIndex, appended_at: Wallclock) -> EntryStamp {
        EntryStamp { term, index, leader: self.replica.node(), appended_at }
    }

    /// Whether an entry of `bytes` bytes can be appended now.
    ///
    /// # Errors
    /// What it has to wait for.
    pub fn room(&self, bytes: usize) -> Result<(), Blocked> {
        self.journal.room(bytes)
    }

    /// Whether record batches of this size must be refused, for lack of disk space.
    pub fn refuses_records(&self, bytes: usize) -> bool {
        let needed = bytes.max(CONTROL_RESERVE_BYTES as usize);
        self.no_space.is_some() && self.journal.room(needed) == Err(Blocked::NoSegment)
    }

    /// An entry has been appended to the journal and is now proposed to Raft.
    pub fn appended(&mut self, entry: AppendedEntry, descriptor: Descriptor) {
        self.replica.propose(entry.index, descriptor);
        let end = entry.end;
        self.took(entry, end);
    }

    /// A journal write is on disk.
    pub fn on_written(&mut self, write: WriteId, now: Time) {
        let Some(flushed) = self.journal.on_written(write) else { return };
        if self.is_filling() {
            return;
        }
        self.progress.flush = flushed;
        let newly = self
            .entries
            .iter_mut()
            .filter(|entry| entry.end <= flushed && entry.flushed_at.is_none());
        for entry in newly {
            entry.flushed_at = Some(now);
            self.metrics.flush_stage(now.since(entry.appended_at), entry.requests);
        }
        self.replica.on_flushed(flushed);
    }

    /// A vote is on disk.
    pub fn on_vote_written(&mut self) {
        for _ in 0..self.votes.out.take().unwrap_or(0) {
            self.replica.on_vote_written();
        }
        if self.votes.cut == Some(true) {
            self.votes.cut = None;
            self.journal.release_writes();
        }
    }

    /// A segment was made, or could not be.
    ///
    /// # Errors
    /// A failure that more space would not mend.
    pub fn on_segment_created(
        &mut self,
        segment: SegmentId,
        result: Result<(), IoFailure>,
        now: Time,
    ) -> Result<(), String> {
        match result {
            Ok(()) => {
                self.no_space = None;
                self.journal.on_segment_created(segment);
                Ok(())
            }
            Err(IoFailure::NoSpace) => {
                self.no_space = Some(now + SPACE_RETRY);
                self.journal.on_segment_failed(segment);
                Ok(())
            }
            Err(IoFailure::Failed(problem)) => Err(problem),
        }
    }

    /// Asks again for the space that wasn't there.
    pub fn retry_space(&mut self, now: Time) {
        if self.no_space.is_some_and(|retry| retry <= now) {
            self.no_space = Some(now + SPACE_RETRY);
            self.journal.prepare_segments();
        }
    }

    /// When `retry_space` is to be called.
    pub fn space_deadline(&self) -> Option<Time> {
        self.no_space
    }

    /// Whether nothing of it is on its way to the disk.
    pub(super) fn is_quiet(&self) -> bool {
        let votes = self.votes.out.is_some() || self.votes.waiting.is_some();
        self.journal.is_at_rest() && !votes && !self.checkpoint.is_writing()
    }

    /// Whether it led when it was last looked at, so that somebody may still be waiting for that.
    pub(super) fn led(&self) -> bool {
        self.led.is_some()
    }

    /// Term, vote and the last cut, as they were written last.
    pub(super) fn vote_file(&self) -> VoteFile {
        self.vote_file
    }

    /// Its journal was given up, and begins anew where it ends now.
    pub(super) fn forget_all(&mut self) {
        let nothing = Chain { end: self.journal.append_position(), ..Chain::default() };
        self.go_on_from(nothing, Partitions::default(), Store::default());
    }

    /// Goes on from a checkpoint, behind which there is nothing in the journal.
    pub(super) fn go_on_from(
        &mut self,
        applied: Chain,
        partitions: Partitions,
        consumer_groups: Store,
    ) {
        let end = applied.end;
        self.partitions = partitions;
        self.consumer_groups = consumer_groups;
        self.checkpoint = CheckpointState::new(end);
        self.progress = Progress { append: end, flush: end, received: end, commit: end };
        self.entries.clear();
        self.lost.clear();
        (self.applied, self.led, self.serves) = (applied, None, false);
    }

    /// Moves commit and applies what it allows. On one node a majority is this one.
    pub fn apply(&mut self, now: Time, mut event: impl FnMut(GroupEvent)) {
        let (index, commit) = self.replica.committed();
        // Raft may know of a commit before the entry has found room in the journal.
        self.progress.commit = commit.min(self.progress.append).max(self.progress.commit);
        let received = self.replica.received().unwrap_or(self.progress.commit);
        self.progress.received = received.max(self.progress.commit).min(self.progress.append);
        // Also before it is on this node's disk: a majority has it, and whoever was told that a
        // record is durable may read it.
        while self.entries.front().is_some_and(|entry| entry.index <= index) {
            let entry = self.entries.pop_front().expect("it was just seen");
            self.apply_entry(entry, now, &mut event);
        }
        assert!(self.progress.commit <= self.progress.append);
        assert!(self.progress.flush <= self.progress.append);
        self.serves = self.replica.is_leader() && self.applied.term == self.replica.term();
    }

    fn apply_entry(&mut self, entry: AppendedEntry, now: Time, event: &mut impl FnMut(GroupEvent)) {
        let flushed_at = entry.flushed_at.unwrap_or(now);
        self.metrics.commit_stage(now.since(flushed_at), entry.requests);
        for grown in entry.grown {
            let Some(partition) = self.partitions.get_live(grown.partition, grown.key) else {
                continue;
            };
            partition.commit(grown.end);
            event(GroupEvent::Committed { partition: grown.key, bytes: grown.bytes });
        }
        for item in entry.control {
            match item {
                ControlItem::Command { command, ticket } => {
                    event(GroupEvent::Command { command, ticket });
                }
                ControlItem::LogStart { partition, offset, request } => {
                    if let Some(partition) = self.partitions.by_key_mut(partition) {
                        partition.trim(offset);
                    }
                    event(GroupEvent::LogStart { partition, request });
                }
                ControlItem::Coordinator { data, batch } => {
                    // Checked when they were made, and guarded by the entry's checksum since.
                    for record in Record::decode_all(&data).flatten() {
                        self.consumer_groups.apply(record);
                    }
                    if let Some(batch) = batch {
                        event(GroupEvent::Coordinator { batch });
                    }
                }
                ControlItem::Members(members) => {
                    self.replica.change_members(&members);
                    // A restart knows that it was committed by the checkpoint alone.
                    self.checkpoint.hurry(entry.end);
                }
            }
        }
        self.applied =
            Chain { index: entry.index, term: entry.term, crc: entry.crc, end: entry.end };
    }

    /// Lets go of cached entries beyond the bound; their runs are found on disk from then on.
    pub fn evict(&mut self) {
        let mut runs = 0;
        self.journal.evict(self.applied.end, |CachedEntry { page, position, .. }| {
            runs += Entry::of_page(page.bytes(), position).header.run_count as usize;
        });
        self.partitions.evict(runs, self.journal.cache_start());
        // What isn't in the cache is not sent by Raft's own messages.
        let first = self.journal.first_cached().map(|entry| LogIndex(entry.index.0 - 1));
        self.replica.compact(first.unwrap_or(self.applied.index));
    }

    /// How many bytes each partition has that aren't applied yet.
    pub fn unapplied_bytes(&self) -> BTreeMap<PartitionKey, u64> {
        bytes_grown(&self.entries)
    }

    /// How far each level has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The last entry applied.
    pub fn applied(&self) -> Chain {
        self.applied
    }

    /// The last entry in the journal.
    pub fn last_entry(&self) -> Chain {
        self.entries.back().map_or(self.applied, |entry| Chain {
            index: entry.index,
            term: entry.term,
            crc: entry.crc,
            end: entry.end,
        })
    }

    /// Whether all that was appended has been applied, and is on disk.
    pub fn is_settled(&self) -> bool {
        self.entries.is_empty()
            && self.journal.writes_in_flight() == 0
            && !self.following.is_blocked()
    }

    /// Whether nothing of it is on its way to the disk.
    pub fn is_at_rest(&self) -> bool {
        self.journal.writes_in_flight() == 0
            && self.votes.out.is_none()
            && !self.checkpoint.is_writing()
    }

    /// Whether this node leads the group and has applied an entry of its own term, so that
    /// whatever was recovered is applied as well.
    pub fn is_serving(&self) -> bool {
        self.serves
    }

    /// Whether it leads, or its leader has spoken lately.
    pub fn hears_leader(&self) -> bool {
        !self.is_filling() && self.replica.hears_leader()
    }

    /// Whether it knows who leads and has applied an entry of that leader's term: then it has
    /// applied all that was committed when that leader was elected.
    pub fn is_current(&self) -> bool {
        !self.is_filling()
            && self.replica.leader().is_some()
            && self.applied.term == self.replica.term()
    }

    /// Whether leadership was lost since this was last asked.
    pub fn has_lost_leadership(&mut self) -> bool {
        let led = self.led;
        self.led = self.replica.is_leader().then(|| self.replica.term());
        led.is_some() && led != self.led
    }
}
