//! Raft's messages as the shard carries them: it knows whom they are for and which entries' bytes
//! go with them, and nothing else of them.

use std::collections::BTreeMap;

use raft::INVALID_ID;
use raft::eraftpb::{Entry, Message, MessageType};

use crate::model::ids::NodeId;
use crate::model::position::{LogIndex, Term};
use crate::replica::log_store::Descriptor;
use crate::replica::wire::{self, WireError};
use crate::replica::{ASIDE_TICKS, Replica, node_of, raft_id};

/// A member that lacks no more entries than this has them in a moment.
const NEARLY_ALL: u64 = 64;

/// A message for another member.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub to: NodeId,
    /// Where the entries lie whose bytes go with it.
    pub places: Vec<Descriptor>,
    message: Message,
}

impl Outgoing {
    /// Appends its bytes on the wire; those of its entries come behind them.
    pub fn encode(&self, out: &mut Vec<u8>) {
        wire::encode(&self.message, &self.places, out);
    }

    /// The last entry it brings, if it brings any.
    pub fn last_index(&self) -> Option<LogIndex> {
        self.message.entries.last().map(|entry| LogIndex(entry.index))
    }
}

/// A message from another member.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Where the entries lie whose bytes came with it.
    pub places: Vec<Descriptor>,
    message: Message,
}

impl Incoming {
    /// The message at the front of `bytes`. What is left of them is what came with it.
    ///
    /// # Errors
    /// If there is none.
    pub fn decode(from: NodeId, bytes: &mut &[u8]) -> Result<Incoming, WireError> {
        let (mut message, places) = wire::decode(bytes)?;
        message.from = raft_id(from);
        Ok(Incoming { places, message })
    }

    /// Whether it may bring entries, so that the journal must have room for them. All others
    /// can be stepped at any time.
    pub fn brings_entries(&self) -> bool {
        matches!(self.message.msg_type, MessageType::MsgAppend | MessageType::MsgSnapshot)
            && !self.message.entries.is_empty()
    }

    /// Whether it names the entry that its sender takes the receiver's log to reach to: it means
    /// something only behind what brings that one.
    pub fn names_entry(&self) -> bool {
        self.message.msg_type == MessageType::MsgAppend
    }

    /// Whether it has its receiver stand for election at once.
    pub fn has_lead_taken(&self) -> bool {
        self.message.msg_type == MessageType::MsgTimeoutNow
    }

    /// Term and index of each entry it brings.
    pub fn entries(&self) -> impl Iterator<Item = (Term, LogIndex)> {
        self.message.entries.iter().map(|entry| (Term(entry.term), LogIndex(entry.index)))
    }

    /// The sender's term.
    pub fn term(&self) -> Term {
        Term(self.message.term)
    }
}

impl Replica {
    /// The next message for another member. One whose entries have no place yet waits, and those
    /// behind it.
    pub fn poll_message(&mut self) -> Option<Outgoing> {
        loop {
            let message = self.outbox.front()?;
            let store = self.raw.store();
            let places: Vec<_> =
                message.entries.iter().map_while(|entry| store.place_of(entry.index)).collect();
            if places.len() < message.entries.len() && self.has_unplaced() {
                return None;
            }
            let message = self.outbox.pop_front().expect("it was just seen");
            // Cut off or compacted since: Raft will send what holds now.
            let stale = places.len() < message.entries.len();
            if let Some(to) = node_of(message.to).filter(|_| !stale) {
                return Some(Outgoing { to, places, message });
            }
        }
    }

    fn has_unplaced(&self) -> bool {
        self.persisting.iter().any(|persisting| persisting.unplaced.is_some())
    }

    /// Takes a message of another member. Not between `poll_work` calls that gave work: what it
    /// brings comes out as work.
    pub fn step(&mut self, incoming: Incoming) {
        let mut message = incoming.message;
        let asks_for_vote = matches!(
            message.msg_type,
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote
        );
        if asks_for_vote && !self.may_vote_for((message.log_term, message.index)) {
            return;
        }
        message.to = raft_id(self.node);
        // An error is a message that means nothing now, of a node that is no member or the like.
        let _ = self.raw.step(message);
        self.after_call();
    }

    /// Whether a vote may be given, by what was just started and who else asked, to a member whose
    /// last entry has this term and index.
    fn may_vote_for(&mut self, last: (u64, u64)) -> bool {
        if self.silent > 0 {
            self.longest_asked = self.longest_asked.max(last);
        }
        self.silent == 0 && (self.aside == 0 || last >= self.longest_asked)
    }

    /// Another member says that it knows of this term. If it is a later one, this replica doesn't
    /// lead any more, and whoever is elected next leads in a term behind it.
    pub fn hear_of_term(&mut self, from: NodeId, term: Term) {
        if self.members.has(from) && term > self.term() {
            self.step_down(term);
        }
    }

    /// Leads no more, and stands again only when all others had the time to.
    pub fn give_way(&mut self) {
        self.aside = ASIDE_TICKS;
        self.step_down(self.term());
    }

    /// Follows nobody in particular from here on, in this term or a later one.
    pub fn step_down(&mut self, term: Term) {
        self.raw.raft.become_follower(term.0, INVALID_ID);
        self.after_call();
    }

    /// Whether the log has this entry, as far back as it is in memory.
    pub fn has_entry(&self, index: LogIndex, term: Term) -> bool {
        self.raw.store().term_at(index) == Some(term)
    }

    /// Whether the log is known to have, or to have had before it was trimmed, this entry. Not all
    /// is known of what is older than the process.
    pub fn has_had_entry(&self, index: LogIndex, term: Term) -> bool {
        self.raw.store().has_had(index, term)
    }

    /// The last entry in the log.
    pub fn last_index(&self) -> LogIndex {
        LogIndex(self.raw.store().last())
    }

    /// If this replica leads: the members that are known to have less than what comes before
    /// `from`, and of each whether it was heard of since Raft last counted who is there. It counts
    /// each election time-out, so one that is there may be unheard of for a moment.
    pub fn lagging(&self, from: LogIndex) -> BTreeMap<NodeId, bool> {
        if !self.is_leader() {
            return BTreeMap::new();
        }
        let progress = self.raw.raft.prs().iter();
        let lags = progress
            .filter(|(id, progress)| **id != raft_id(self.node) && progress.matched + 1 < from.0);
        lags.filter_map(|(id, progress)| Some((node_of(*id)?, progress.recent_active))).collect()
    }

    /// If this replica leads: the last entry that a member is known to have.
    pub fn matched(&self, member: NodeId) -> LogIndex {
        let progress = self.raw.raft.prs().get(raft_id(member)).filter(|_| self.is_leader());
        LogIndex(progress.map_or(0, |progress| progress.matched))
    }

    /// What Raft would send a member that has all entries up to `previous` and that the log in
    /// memory doesn't reach back to: the entries behind it, read from the journal. `None` if this
    /// replica doesn't lead.
    pub fn append_message(
        &self,
        to: NodeId,
        previous: (LogIndex, Term),
        entries: &[(Term, LogIndex, Descriptor)],
    ) -> Option<Outgoing> {
        if !self.is_leader() {
            return None;
        }
        let mut message = Message {
            msg_type: MessageType::MsgAppend,
            to: raft_id(to),
            from: raft_id(self.node),
            term: self.raw.raft.term,
            index: previous.0.0,
            log_term: previous.1.0,
            commit: self.raw.raft.raft_log.committed,
            ..Message::default()
        };
        for (term, index, place) in entries {
            message.entries.push(Entry {
                term: term.0,
                index: index.0,
                context: place.encode().into(),
                ..Entry::default()
            });
        }
        let places = entries.iter().map(|(_, _, place)| *place).collect();
        Some(Outgoing { to, places, message })
    }

    /// Another node can't be reached: what was on its way may be lost.
    pub fn unreachable(&mut self, node: NodeId) {
        self.raw.report_unreachable(raft_id(node));
        self.after_call();
    }

    /// Whether a member lacks next to nothing, if this replica leads. Whether it can be talked to
    /// isn't for Raft to say: it forgets once in an election time-out who was heard, and who always
    /// asks just then would never hear of anybody.
    pub fn has_all(&self, node: NodeId) -> bool {
        let last = self.raw.raft.raft_log.last_index();
        let progress = self.raw.raft.prs().get(raft_id(node));
        node != self.node
            && self.is_leader()
            // Of one that has said nothing yet, nothing is known, however little there is to lack.
            && progress.is_some_and(|it| {
                it.matched > 0 && it.matched + NEARLY_ALL >= last
            })
    }

    /// Whether leadership is being handed over.
    pub fn is_transferring(&self) -> bool {
        self.raw.raft.lead_transferee.is_some()
    }

    /// Hands leadership to another member as soon as it has all entries.
    pub fn transfer(&mut self, to: NodeId) {
        self.raw.transfer_leader(raft_id(to));
        self.after_call();
    }
}
