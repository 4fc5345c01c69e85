//! One Raft group over one journal.
//!
//! Consensus is raft-rs; its types stop here. Its log holds small descriptors (position, size,
//! checksum) while the bytes lie in the journal, written by the same disk write as their header.
//! One entry is one turn's worth of requests, so Raft's cost for each request disappears.
//!
//! The rules that raft-rs leaves to its user, and how they are kept:
//! - No call between taking a `Ready` and handing it back: both happen inside `poll_work`.
//! - Disk completions are reported as a contiguous prefix: `Persisting` holds them in order.
//! - Answers come from the commit index, not from the list of committed entries, which this
//!   release bounds by the local disk.
//! - Its only randomness, the election time-out, is replaced after each call.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry as RaftEntry, HardState};
use raft::{Config, RawNode, StateRole};

use crate::model::ids::NodeId;
use crate::model::position::{LogIndex, Position, Term};
use crate::replica::log_store::LogStore;

pub mod log_store;
pub mod vote;

pub use crate::replica::log_store::Descriptor;
pub use crate::replica::vote::Vote;

/// Raft ticks after which a follower that hears nothing campaigns. Drawn anew for each group from
/// here up to twice as much.
const ELECTION_TICKS: usize = 10;

/// Raft entries kept in memory behind the applied one, for followers that lag a little.
const ENTRIES_KEPT: u64 = 4096;

/// What a replica starts from.
#[derive(Clone, Debug)]
pub struct ReplicaStart {
    pub node: NodeId,
    pub voters: Vec<NodeId>,
    pub vote: Vote,
    /// The entry up to which everything is applied and checkpointed.
    pub applied: (LogIndex, Term, Position),
    /// The entries recovered behind it, in order.
    pub entries: Vec<(Term, Descriptor)>,
    pub seed: u64,
}

/// What must happen outside before Raft goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Raft made an entry of its own, as at an election: append one without runs to the journal,
    /// then tell where it lies with `placed`.
    AppendEmpty { term: Term, index: LogIndex },
    /// The vote must be on disk before anything that follows counts.
    WriteVote(Vote),
}

/// One member of a Raft group, seen from its own node.
pub struct Replica {
    raw: RawNode<LogStore>,
    node: NodeId,
    persisting: VecDeque<Persisting>,
    work: VecDeque<Work>,
    vote_writes: u64,
    votes_written: u64,
    flushed: Position,
    election_ticks: usize,
}

/// A `Ready` whose writes are out.
struct Persisting {
    number: u64,
    /// It is persisted when flush has reached this...
    position: Option<Position>,
    /// ... and this many votes have been written.
    votes: u64,
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
        let voters = start.voters.iter().copied().map(raft_id).collect();
        let conf_state = ConfState { voters, ..ConfState::default() };
        let flushed = start.entries.last().map_or(applied_end, |(_, entry)| entry.end());
        let store = LogStore::new(hard_state, conf_state, start.applied, start.entries);
        let election_ticks = ELECTION_TICKS + (start.seed % ELECTION_TICKS as u64) as usize;
        let config = Config {
            id: raft_id(start.node),
            election_tick: ELECTION_TICKS,
            min_election_tick: election_ticks,
            max_election_tick: election_ticks + 1,
            heartbeat_tick: 1,
            applied: applied.0,
            check_quorum: true,
            pre_vote: true,
            max_inflight_msgs: 256,
            max_size_per_msg: 1 << 20,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, store, &logger).expect("the configuration is ours");
        Replica {
            raw,
            node: start.node,
            persisting: VecDeque::new(),
            work: VecDeque::new(),
            vote_writes: 0,
            votes_written: 0,
            flushed,
            election_ticks,
        }
    }

    /// Stands for election. The only voter of its group wins at once.
    pub fn campaign(&mut self) {
        let voters = self.raw.raft.prs().conf().voters().ids().len();
        if voters == 1 {
            // Nothing may be unpersisted when the only voter becomes leader: raft-rs asserts it.
            assert!(self.persisting.is_empty(), "a lone voter campaigns once, at the start");
        }
        self.raw.campaign().expect("a voter may campaign");
        self.after_call();
    }

    /// One tick of Raft's clock.
    pub fn tick(&mut self) {
        let lone = self.raw.raft.prs().conf().voters().ids().len() == 1;
        if lone && !self.is_leader() {
            return;
        }
        self.raw.tick();
        self.after_call();
    }

    /// The term and index the next proposal gets, if this replica leads.
    pub fn next_entry(&self) -> Option<(Term, LogIndex)> {
        let raft = &self.raw.raft;
        self.is_leader().then(|| (Term(raft.term), LogIndex(raft.raft_log.last_index() + 1)))
    }

    /// Proposes the entry that has just been appended to the journal, under the term and index
    /// that `next_entry` gave in this turn.
    pub fn propose(&mut self, index: LogIndex, descriptor: Descriptor) {
        self.raw.propose(Vec::new(), descriptor.encode()).expect("only a leader proposes");
        assert_eq!(self.raw.raft.raft_log.last_index(), index.0, "nothing came between");
        self.after_call();
    }

    /// An entry of Raft's own has been appended to the journal.
    pub fn placed(&mut self, index: LogIndex, descriptor: Descriptor) {
        self.raw.mut_store().place(index, descriptor);
        let waiting = self.persisting.back_mut().expect("the ready that asked for it");
        waiting.position = Some(descriptor.end());
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
    /// in the order it is given: an entry is `placed` before the next call.
    pub fn poll_work(&mut self) -> Option<Work> {
        while self.work.is_empty() && self.raw.has_ready() {
            self.take_ready();
        }
        self.work.pop_front()
    }

    fn take_ready(&mut self) {
        let mut ready = self.raw.ready();
        let mut persisting =
            Persisting { number: ready.number(), position: None, votes: self.vote_writes };
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
        self.persisting.push_back(persisting);
        if let Some(last) = ready.committed_entries().last() {
            let index = last.index;
            self.raw.advance_append_async(ready);
            self.raw.advance_apply_to(index);
            self.raw.mut_store().compact(index.saturating_sub(ENTRIES_KEPT));
        } else {
            self.raw.advance_append_async(ready);
        }
        self.after_call();
        self.report_persisted();
    }

    fn take_entry(&mut self, entry: RaftEntry, persisting: &mut Persisting) {
        let index = LogIndex(entry.index);
        match Descriptor::decode(&entry.data) {
            Some(descriptor) => persisting.position = Some(descriptor.end()),
            None => {
                // Not placed yet, so not persisted before `placed` has said where it ends.
                persisting.position = Some(Position(u64::MAX));
                self.work.push_back(Work::AppendEmpty { term: Term(entry.term), index });
            }
        }
        self.raw.mut_store().append(entry);
    }

    fn report_persisted(&mut self) {
        let mut number = None;
        while let Some(front) = self.persisting.front() {
            let flushed = front.position.is_none_or(|position| position <= self.flushed);
            if !flushed || front.votes > self.votes_written {
                break;
            }
            number = Some(front.number);
            self.persisting.pop_front();
        }
        if let Some(number) = number {
            self.raw.on_persist_ready(number);
            self.after_call();
        }
    }

    /// raft-rs draws a new election time-out from the system's randomness now and then. The range
    /// has one value, so this only keeps it so, whatever the library does.
    fn after_call(&mut self) {
        self.raw.raft.set_randomized_election_timeout(self.election_ticks);
    }

    /// Whether this replica leads its group.
    pub fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// This replica's node.
    pub fn node(&self) -> NodeId {
        self.node
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
