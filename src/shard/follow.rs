//! A group's other members: what they send, what they are sent, and what this node does as long
//! as another one leads.
//!
//! A leader's message brings entries byte for byte as they lie in its journal. They are checked
//! here, then Raft decides, then they go the same way as the leader's own: cache, disk, commit,
//! apply. `received` is answered once they are in the cache; that they are on disk is told by
//! Raft's own answer, when it is so.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::duplex::Serial;
use crate::journal::format::{Entry, EntryHead};
use crate::journal::page::Page;
use crate::limits::PEER_QUEUE_BYTES_MAX;
use crate::model::ids::{ConnectionId, NodeId, PartitionKey, WriteId};
use crate::model::position::{LogIndex, Position, Term};
use crate::model::time::Now;
use crate::replica::{Descriptor, Incoming, Outgoing, Work};
use crate::shard::group::{ControlItem, Group, bytes_grown};
use crate::shard::replay::replay;

/// What a group wants done for its members.
#[derive(Debug)]
pub enum GroupWork<P> {
    /// Write this into the vote file, at this place.
    WriteVote { write: WriteId, at: u64, page: P },
    /// A message for another member.
    Send(Outgoing),
    /// A member's message has been taken in.
    Received(ReceivedAnswer),
    /// An entry of ours was cut off, and with it what somebody waits for.
    Lost(ControlItem),
    /// The journal was cut off here.
    Truncated(Position),
    /// The journals of two nodes differ: a sentence.
    Differs(String),
}

/// Whom to tell that a message has been taken in: the request it came as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub connection: ConnectionId,
    pub serial: Serial,
}

/// What is in memory here, as the answer to a leader's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedAnswer {
    pub to: ReplyTo,
    pub term: Term,
    /// The last of its entries; 0 if they weren't taken.
    pub index: LogIndex,
}

impl ReceivedAnswer {
    /// Nothing was taken, whatever term it is.
    pub fn nothing(to: ReplyTo) -> ReceivedAnswer {
        ReceivedAnswer { to, term: Term(0), index: LogIndex(0) }
    }
}

/// A leader's message that waits for the writer, with the bytes of its entries. One without
/// entries waits for those before it, and has been answered.
#[derive(Debug)]
struct Waiting {
    incoming: Incoming,
    payload: Bytes,
    reply: Option<ReplyTo>,
}

/// What is under way with other members.
#[derive(Debug, Default)]
pub struct Following {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// The message that was stepped last: its entries' bytes, until they are appended.
    staged: VecDeque<Staged>,
    /// What answers it once they are.
    reply: Option<(ReplyTo, Term, LogIndex)>,
    /// Work that has no room.
    blocked: Option<Work>,
    /// Where the journal was just cut off.
    cut: Option<Position>,
    /// Nothing is taken in any more: the node stops.
    closed: bool,
    /// Messages of peers that were not what they say.
    pub damaged_messages: u64,
}

impl Following {
    /// Takes nothing in any more.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Drops what is under way; the messages that waited for an answer are handed back.
    pub fn abandon(&mut self) -> Vec<ReplyTo> {
        let replies = self.waiting.drain(..).filter_map(|waiting| waiting.reply);
        let replies = replies.chain(self.reply.take().map(|(to, ..)| to)).collect();
        self.waiting_bytes = 0;
        self.staged.clear();
        (self.blocked, self.cut) = (None, None);
        replies
    }

    /// Whether a message of Raft's would be seen before others that were sent before it, and must
    /// not be: Raft refuses one that names an entry it hasn't got yet, and the leader begins anew
    /// behind what is on disk here, though all of it has come.
    fn overtakes(&self, incoming: &Incoming) -> bool {
        !self.waiting.is_empty() && incoming.names_entry()
    }

    /// A message without entries waits behind the last that brings some, in the place of an earlier
    /// one there: it says all that one did.
    fn wait_in_turn(&mut self, incoming: Incoming) {
        if self.waiting.back().is_some_and(|last| !last.incoming.brings_entries()) {
            self.waiting.pop_back();
        }
        self.waiting.push_back(Waiting { incoming, payload: Bytes::new(), reply: None });
    }

    /// Whether nothing is taken in any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether work of Raft's waits for room in the journal.
    pub fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }
}

#[derive(Debug)]
struct Staged {
    index: LogIndex,
    term: Term,
    bytes: Bytes,
}

impl<P: Page> Group<P> {
    /// Takes a message of another member. One that brings entries waits for the writer.
    pub fn on_peer_message(
        &mut self,
        incoming: Incoming,
        payload: Bytes,
        reply: ReplyTo,
    ) -> Option<ReceivedAnswer> {
        let refused = ReceivedAnswer { to: reply, term: incoming.term(), index: LogIndex(0) };
        if self.is_filling() {
            return Some(refused);
        }
        if !incoming.brings_entries() {
            if self.following.overtakes(&incoming) {
                self.following.wait_in_turn(incoming);
            } else if !incoming.has_lead_taken() || self.may_campaign() {
                self.replica.step(incoming);
            }
            return Some(refused);
        }
        let following = &mut self.following;
        if following.closed || following.waiting_bytes + payload.len() > PEER_QUEUE_BYTES_MAX {
            return Some(refused);
        }
        following.waiting_bytes += payload.len();
        following.waiting.push_back(Waiting { incoming, payload, reply: Some(reply) });
        None
    }

    /// The next thing to be done for Raft. What the journal has no room for waits, and what other
    /// members bring waits behind it.
    pub fn work(
        &mut self,
        now: Now,
        is_deleted: &impl Fn(PartitionKey) -> bool,
    ) -> Option<GroupWork<P>> {
        loop {
            if let Some(cut) = self.following.cut.take() {
                return Some(GroupWork::Truncated(cut));
            }
            if let Some(lost) = self.lost.pop() {
                return Some(GroupWork::Lost(lost));
            }
            if let Some((write, at, page)) = self.poll_vote() {
                return Some(GroupWork::WriteVote { write, at, page });
            }
            let next = self.following.blocked.take().or_else(|| self.replica.poll_work());
            if let Some(work) = next {
                match self.carry_out(work, now, is_deleted) {
                    Ok(()) if !self.following.is_blocked() => continue,
                    Ok(()) => {}
                    Err(differs) => return Some(GroupWork::Differs(differs)),
                }
            }
            if let Some(message) = self.replica.poll_message() {
                return Some(GroupWork::Send(message));
            }
            if self.following.blocked.is_some() {
                return None;
            }
            self.following.staged.clear();
            if let Some((to, term, index)) = self.following.reply.take() {
                // What the message brought is in the log now, unless Raft did not take it.
                let taken = self.replica.has_entry(index, term);
                let index = if taken { index } else { LogIndex(0) };
                return Some(GroupWork::Received(ReceivedAnswer { to, term, index }));
            }
            if self.following.closed || !self.take_waiting() {
                return None;
            }
        }
    }

    /// Does one piece of Raft's work.
    fn carry_out(
        &mut self,
        work: Work,
        now: Now,
        is_deleted: &impl Fn(PartitionKey) -> bool,
    ) -> Result<(), String> {
        match work {
            Work::AppendEmpty { term, index } => {
                if !self.append_empty(term, index, now) {
                    self.following.blocked = Some(work);
                }
            }
            Work::Append { term, index, place } => {
                if self.room(place.bytes as usize).is_err() {
                    self.following.blocked = Some(work);
                } else {
                    self.append_staged(term, index, place, now, is_deleted)?;
                }
            }
            Work::Truncate { from, to } => self.truncate(from, to),
            Work::WriteVote(vote) => self.wants_vote(vote),
        }
        Ok(())
    }

    /// Steps the next message that waits. Returns whether there was one.
    fn take_waiting(&mut self) -> bool {
        let Some(waiting) = self.following.waiting.pop_front() else { return false };
        let Waiting { incoming, payload, reply } = waiting;
        let Some(reply) = reply else {
            self.replica.step(incoming);
            return true;
        };
        self.following.waiting_bytes -= payload.len();
        match stage(&incoming, &payload) {
            Some(staged) => {
                let last = incoming.entries().last().expect("it brings entries");
                self.following.reply = Some((reply, last.0, last.1));
                self.following.staged = staged;
                self.replica.step(incoming);
            }
            None => {
                self.following.damaged_messages += 1;
                self.following.reply = Some((reply, Term(0), LogIndex(0)));
            }
        }
        true
    }

    fn append_staged(
        &mut self,
        term: Term,
        index: LogIndex,
        place: Descriptor,
        now: Now,
        is_deleted: &impl Fn(PartitionKey) -> bool,
    ) -> Result<(), String> {
        let staged = loop {
            let staged = self.following.staged.pop_front().expect("its bytes came with it");
            if (staged.index, staged.term) == (index, term) {
                break staged;
            }
        };
        let head = EntryHead::read(&staged.bytes, place.position).expect("it was checked");
        let appended = self.journal.adopt(&head, &staged.bytes)?;
        let entry = Entry::of_page(&staged.bytes, place.position);
        let entry = replay(&entry, &mut self.partitions, now.time, is_deleted);
        self.metrics.entry(0, place.bytes);
        self.took(entry, appended.end);
        Ok(())
    }

    /// Cuts off the entries from `from` on, which begin at `to`.
    fn truncate(&mut self, from: LogIndex, to: Position) {
        let (cut, last_crc) = self.cut_entries(from);
        for (key, bytes) in bytes_grown(&cut) {
            let end = self.end_of_appended(key);
            if let Some(partition) = self.partitions.by_key_mut(key) {
                partition.truncate(to, end.unwrap_or(partition.high_watermark()), bytes);
            }
        }
        self.lost.extend(cut.into_iter().flat_map(|entry| entry.control));
        self.journal.truncate(to, last_crc);
        self.following.cut = Some(to);
        self.note_truncation(to);
        self.cut_progress(to);
    }

    /// One tick of Raft's clock. A follower that may not campaign now waits with it; in a group
    /// that is being filled there is none.
    pub fn tick(&mut self) {
        if self.is_filling() {
            return;
        }
        if self.replica.is_leader() || self.may_campaign() {
            self.replica.tick();
        }
    }

    /// Whether all that is known to be committed is applied here, and so all changes of members
    /// that are: with older members a majority might be none.
    fn may_campaign(&self) -> bool {
        self.applied().index >= self.replica.committed().0
    }

    /// Another node can't be reached.
    pub fn unreachable(&mut self, node: NodeId) {
        self.replica.unreachable(node);
        self.catch_ups.forget(node);
    }
}

/// The entries of a message with their bytes, if they are what they say.
fn stage(incoming: &Incoming, payload: &Bytes) -> Option<VecDeque<Staged>> {
    let mut staged = VecDeque::new();
    let mut at = 0;
    for ((term, index), place) in incoming.entries().zip(&incoming.places) {
        let end = at + place.bytes as usize;
        let bytes = payload.get(at..end)?;
        let entry = Entry::read(bytes, place.position)?;
        let header = &entry.header;
        let fits = (header.index, header.term, entry.crc, entry.end())
            == (index, term, place.crc, place.end());
        if !fits {
            return None;
        }
        staged.push_back(Staged { index, term, bytes: payload.slice(at..end) });
        at = end;
    }
    (at == payload.len()).then_some(staged)
}
