//! One Raft group over one journal.
//!
//! Consensus is raft-rs; its types stop here. Its log holds small descriptors (position, size,
//! checksum) while the bytes lie in the journal, written by the same disk write as their header.
//! One entry is one turn's worth of requests, so Raft's cost for each request disappears.
//!
//! The rules that raft-rs leaves to its user, and how they are kept:
//! - No call between taking a `Ready` and handing it back: both happen inside `poll_work`.
//! - Disk completions are reported as a contiguous prefix: `Persisting` holds them in order, and
//!   with them the messages that say that something is on disk.
//! - A leader's messages leave at once, so that its followers' disks work beside its own.
//! - Answers come from the commit index, not from the list of committed entries, which this
//!   release bounds by the local disk.
//! - Its only randomness, the election time-out, is replaced after each call.

use std::collections::{BTreeMap, VecDeque};

use raft::eraftpb::{Entry as RaftEntry, HardState, Message, MessageType};
use raft::{Config, RawNode, StateRole};

use crate::limits::{RAFT_MESSAGE_BYTES_MAX, RAFT_MESSAGES_IN_FLIGHT_MAX};
use crate::model::ids::NodeId;
use crate::model::position::{LogIndex, Position, Term};
use crate::replica::log_store::LogStore;
use crate::replica::status::Leaderships;

pub mod log_store;
pub mod members;
pub mod message;
pub mod received;
pub mod status;
pub mod vote;
pub mod wire;

pub use crate::replica::log_store::Descriptor;
pub use crate::replica::members::Members;
pub use crate::replica::message::{Incoming, Outgoing};
pub use crate::replica::vote::Vote;

/// Raft ticks after which a follower that hears nothing campaigns. Drawn anew for each group from
/// here up to twice as much.
const ELECTION_TICKS: usize = 10;

// See `Replica::silent` and `Replica::aside`.
const SILENT_TICKS: usize = 2 * ELECTION_TICKS;
const ASIDE_TICKS: usize = 2 * SILENT_TICKS;

/// What a replica starts from.
#[derive(Clone, Debug)]
pub struct ReplicaStart {
    pub node: NodeId,
    /// Who belongs to the group: see [`Members::at_start`].
    pub members: Members,
    pub vote: Vote,
    /// The entry up to which everything is applied and checkpointed.
    pub applied: (LogIndex, Term, Position),
    /// The entries recovered behind it, in order.
    pub entries: Vec<(Term, Descriptor)>,
    pub seed: u64,
}

/// What must happen outside before Raft goes on. Done in the order it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Raft made an entry of its own, as at an election: append one without runs to the journal,
    /// then tell where it lies with `placed`.
    AppendEmpty { term: Term, index: LogIndex },
    /// Append an entry that came from the leader, whose bytes came with it.
    Append { term: Term, index: LogIndex, place: Descriptor },
    /// The leader's log differs from `from` on: cut the journal off at `to`.
    Truncate { from: LogIndex, to: Position },
    /// The vote must be on disk before anything that follows counts.
    WriteVote(Vote),
}

/// One member of a Raft group, seen from its own node.
pub struct Replica {
    raw: RawNode<LogStore>,
    node: NodeId,
    persisting: VecDeque<Persisting>,
    work: VecDeque<Work>,
    outbox: VecDeque<Message>,
    vote_writes: u64,
    votes_written: u64,
    flushed: Position,
    seed: u64,
    /// The term that `election_ticks` was drawn for.
    drawn_for: u64,
    election_ticks: usize,
    members: Members,
    /// It is the only voter.
    alone: bool,
    /// Ticks left in which a member with a past that was just started gives no vote. It has lost
    /// what it had in memory only, and doesn't know it: whoever still has it must get the chance to
    /// lead first.
    silent: usize,
    /// Ticks left in which it doesn't stand itself. After a start these are more than the silent
    /// ones: in between whoever stands has asked again at least once.
    aside: usize,
    /// Term and index of the last entry of the longest log that asked for a vote in silent ticks.
    /// Who has less than that gets none before this replica may stand itself.
    longest_asked: (u64, u64),
    /// The last entry that each other member has in memory, by what it said in this term.
    received: BTreeMap<u64, u64>,
    leaderships: Leaderships,
}

/// A `Ready` whose writes are out.
struct Persisting {
    number: u64,
    /// It is persisted when flush has reached this...
    position: Option<Position>,
    /// ... and this many votes have been written.
    votes: u64,
    /// An entry of Raft's own in it that has no place yet.
    unplaced: Option<u64>,
    /// What others are told once it is persisted.
    held: Vec<Message>,
}

impl Replica {
    /// A replica that goes on where its disk says. It is a follower until it wins an election.
    pub fn new(start: ReplicaStart) -> Replica {
        let (applied, applied_term, applied_end) = start.applied;
        let last_term = start.entries.last().map_or(applied_term, |(term, _)| *term);
        // An entry may have reached the disk before the vote of its term: then the term is known
        // and the vote isn't, and can't have been given to anyone else (raft thesis, 3.8).
        let term = start.vote.term.0.max(last_term.0);
        let voted_for = start.vote.voted_for.filter(|_| term == start.vote.term.0);
        let vote = voted_for.map_or(0, raft_id);
        let hard_state = HardState { term, vote, commit: applied.0, ..HardState::default() };
        let conf_state = start.members.conf_state();
        let flushed = start.entries.last().map_or(applied_end, |(_, entry)| entry.end());
        let store = LogStore::new(hard_state, conf_state, start.applied, start.entries);
        let config = Config {
            id: raft_id(start.node),
            election_tick: ELECTION_TICKS,
            min_election_tick: ELECTION_TICKS,
            max_election_tick: ASIDE_TICKS + ELECTION_TICKS,
            heartbeat_tick: 1,
            applied: applied.0,
            check_quorum: true,
            pre_vote: true,
            max_inflight_msgs: RAFT_MESSAGES_IN_FLIGHT_MAX,
            max_size_per_msg: RAFT_MESSAGE_BYTES_MAX,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, store, &logger).expect("the configuration is ours");
        let is_new = start.vote == Vote::default() && last_term == Term::default();
        let alone = start.members.is_only_voter(start.node);
        let mut replica = Replica {
            raw,
            node: start.node,
            persisting: VecDeque::new(),
            work: VecDeque::new(),
            outbox: VecDeque::new(),
            vote_writes: 0,
            votes_written: 0,
            flushed,
            seed: start.seed,
            drawn_for: u64::MAX,
            election_ticks: ELECTION_TICKS,
            members: start.members,
            alone,
            silent: if is_new { 0 } else { SILENT_TICKS },
            aside: if is_new { 0 } else { ASIDE_TICKS },
            longest_asked: (0, 0),
            received: BTreeMap::new(),
            leaderships: Leaderships::default(),
        };
        replica.after_call();
        replica
    }

    /// Stands for election. The only voter of its group wins at once.
    pub fn campaign(&mut self) {
        if self.is_alone() {
            // Nothing may be unpersisted when the only voter becomes leader: raft-rs asserts it.
            assert!(self.persisting.is_empty(), "a lone voter campaigns once, at the start");
        }
        self.raw.campaign().expect("a voter may campaign");
        self.after_call();
    }

    /// Whether it is the only voter of its group.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// One tick of Raft's clock.
    pub fn tick(&mut self) {
        if self.is_alone() && !self.is_leader() {
            return;
        }
        self.silent = self.silent.saturating_sub(1);
        self.aside = self.aside.saturating_sub(1);
        self.raw.tick();
        self.after_call();
    }

    /// The term and index the next proposal gets, if this replica leads.
    pub fn next_entry(&self) -> Option<(Term, LogIndex)> {
        let raft = &self.raw.raft;
        let leads = self.is_leader() && raft.lead_transferee.is_none();
        leads.then(|| (Term(raft.term), LogIndex(raft.raft_log.last_index() + 1)))
    }

    /// Proposes the entry that has just been appended to the journal, under the term and index
    /// that `next_entry` gave in this turn.
    pub fn propose(&mut self, index: LogIndex, descriptor: Descriptor) {
        self.raw.propose(descriptor.encode(), Vec::new()).expect("only a leader proposes");
        assert_eq!(self.raw.raft.raft_log.last_index(), index.0, "nothing came between");
        self.after_call();
    }

    /// An entry of Raft's own has been appended to the journal.
    pub fn placed(&mut self, index: LogIndex, descriptor: Descriptor) {
        self.raw.mut_store().place(index, descriptor);
        let waiting = self.persisting.iter_mut().find(|it| it.unplaced == Some(index.0));
        if let Some(waiting) = waiting {
            waiting.unplaced = None;
            waiting.position = waiting.position.max(Some(descriptor.end()));
        }
        self.report_persisted();
    }

    /// Everything before `position` is on disk.
    pub fn on_flushed(&mut self, position: Position) {
        self.flushed = position;
        self.report_persisted();
    }

    /// The vote asked for is on disk.
    pub fn on_vote_written(&mut self) {
        self.votes_written += 1;
        self.report_persisted();
    }

    /// Takes what Raft has ready, and gives the next thing that must be done for it. Work is done
    /// in the order it is given: an entry is in the journal before the next call.
    pub fn poll_work(&mut self) -> Option<Work> {
        while self.raw.has_ready() {
            self.take_ready();
        }
        self.work.pop_front()
    }

    fn take_ready(&mut self) {
        let mut ready = self.raw.ready();
        let mut persisting = Persisting {
            number: ready.number(),
            position: None,
            votes: self.vote_writes,
            unplaced: None,
            held: Vec::new(),
        };
        if let Some(hard_state) = ready.hs() {
            if ready.must_sync() && self.raw.store().vote_differs(hard_state) {
                self.vote_writes += 1;
                persisting.votes = self.vote_writes;
                self.work.push_back(Work::WriteVote(vote_of(hard_state)));
            }
            self.raw.mut_store().set_hard_state(hard_state.clone());
        }
        for entry in ready.take_entries() {
            self.take_entry(entry, &mut persisting);
        }
        self.outbox.extend(ready.take_messages());
        for message in ready.take_persisted_messages() {
            // It promises nothing but the term, and a slow disk must not look like a dead node.
            let early = message.msg_type == MessageType::MsgHeartbeatResponse
                && self.votes_written == self.vote_writes;
            if early {
                self.outbox.push_back(message);
            } else {
                persisting.held.push(message);
            }
        }
        self.persisting.push_back(persisting);
        let committed = ready.committed_entries().last().map(|last| last.index);
        self.raw.advance_append_async(ready);
        if let Some(index) = committed {
            self.raw.advance_apply_to(index);
        }
        self.after_call();
        self.report_persisted();
    }

    fn take_entry(&mut self, entry: RaftEntry, persisting: &mut Persisting) {
        let index = LogIndex(entry.index);
        let store = self.raw.store();
        if entry.index <= store.last() {
            let to = store.end_of(LogIndex(entry.index - 1));
            self.work.push_back(Work::Truncate { from: index, to });
            self.give_up_behind(to);
        }
        let term = Term(entry.term);
        match Descriptor::decode(&entry.context) {
            Some(place) => {
                persisting.position = Some(place.end());
                if !self.is_leader() {
                    self.work.push_back(Work::Append { term, index, place });
                }
            }
            None => {
                // Not placed yet, so not persisted before `placed` has said where it ends.
                persisting.unplaced = Some(entry.index);
                self.work.push_back(Work::AppendEmpty { term, index });
            }
        }
        self.raw.mut_store().append(entry);
    }

    /// What lies behind a cut will never be on disk, and nobody may be told that it is.
    fn give_up_behind(&mut self, cut: Position) {
        self.flushed = self.flushed.min(cut);
        for persisting in &mut self.persisting {
            let behind = persisting.position.is_some_and(|position| position > cut);
            if behind || persisting.unplaced.is_some() {
                persisting.position = None;
                persisting.unplaced = None;
                persisting.held.clear();
            }
        }
    }

    fn report_persisted(&mut self) {
        let mut number = None;
        while let Some(front) = self.persisting.front() {
            let flushed = front.position.is_none_or(|position| position <= self.flushed);
            if !flushed || front.unplaced.is_some() || front.votes > self.votes_written {
                break;
            }
            number = Some(front.number);
            let persisted = self.persisting.pop_front().expect("it was just seen");
            self.outbox.extend(persisted.held);
        }
        if let Some(number) = number {
            self.raw.on_persist_ready(number);
            self.after_call();
        }
    }

    /// raft-rs draws a new election time-out from the system's randomness now and then. This
    /// overrides it with one of our own seed's, another for each term.
    fn after_call(&mut self) {
        let term = self.raw.raft.term;
        if self.drawn_for != term {
            self.drawn_for = term;
            self.received.clear();
            let drawn = mix(self.seed, term) % ELECTION_TICKS as u64;
            self.election_ticks = ELECTION_TICKS + drawn as usize;
        }
        let stands_aside = self.aside > 0 && !self.alone;
        let ticks = if stands_aside { ASIDE_TICKS } else { self.election_ticks };
        self.raw.raft.set_randomized_election_timeout(ticks);
        self.leaderships.note(self.is_leader().then_some(term));
    }

    /// Raft needs the entries up to and with `index` no more: they are applied, and whoever lacks
    /// them gets them another way.
    pub fn compact(&mut self, index: LogIndex) {
        let applied = self.raw.raft.raft_log.applied;
        self.raw.mut_store().compact(index.0.min(applied));
    }

    /// Whether this replica leads its group.
    pub fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Who leads, as far as it knows.
    pub fn leader(&self) -> Option<NodeId> {
        node_of(self.raw.raft.leader_id)
    }

    /// This replica's node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The nodes that vote, ascending.
    pub fn voters(&self) -> &[NodeId] {
        &self.members.voters
    }

    /// The current term.
    pub fn term(&self) -> Term {
        Term(self.raw.raft.term)
    }

    /// The last entry on the disks of a majority, and the first position after it.
    pub fn committed(&self) -> (LogIndex, Position) {
        let index = LogIndex(self.raw.raft.raft_log.committed);
        (index, self.raw.store().end_of(index))
    }
}

/// A number drawn from two: splitmix64's finisher.
fn mix(seed: u64, number: u64) -> u64 {
    let mut x = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn node_of(raft_id: u64) -> Option<NodeId> {
    (raft_id != 0).then(|| NodeId((raft_id - 1) as u32))
}

fn raft_id(node: NodeId) -> u64 {
    // Raft keeps 0 for "nobody".
    u64::from(node.0) + 1
}

fn vote_of(hard_state: &HardState) -> Vote {
    Vote {
        term: Term(hard_state.term),
        voted_for: (hard_state.vote != 0).then(|| NodeId((hard_state.vote - 1) as u32)),
    }
}

#[cfg(test)]
mod tests;
