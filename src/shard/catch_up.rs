//! A leader brings members up to date that lack what its journal cache no longer holds.
//!
//! Raft's own messages take their entries from the cache. Behind that, the leader asks a member
//! where its journal ends, reads its own from there on, and sends it in messages that are Raft's
//! in all but where they were made. A few are on their way at a time, so the live tail of other
//! members has the disk and the connection to itself most of the time. Once a member has come
//! to where the cache begins, Raft's own messages go on.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::journal::format::{self, EntryHead};
use crate::journal::page::Page;
use crate::limits::{ENTRY_ALIGN_BYTES, ENTRY_BYTES_MAX, READ_CHUNK_BYTES};
use crate::model::ids::{NodeId, ReadId, SegmentId};
use crate::model::position::{LogIndex, Position, Term};
use crate::model::time::Time;
use crate::replica::{Descriptor, Outgoing};
use crate::shard::group::{Chain, Group};
use crate::shard::output::{LogLevel, Part};
use crate::shard::peers::snapshot_wire::{Offer, PartHead};
use crate::shard::peers::wire::Reach;

/// Messages on their way to a member.
const IN_FLIGHT_MAX: usize = 4;

/// A member that says nothing for so long is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Set in the numbers of reads made here, and in no others.
pub const CATCH_UP_READ: u64 = 1 << 63;

/// Members that are being brought up to date.
#[derive(Debug, Default)]
pub struct CatchUps {
    members: BTreeMap<NodeId, CatchUp>,
    /// Those that were asked in this term whether they have what is applied here.
    probed: BTreeSet<NodeId>,
    next_read: u64,
    /// Bytes sent so far.
    pub bytes: u64,
    /// Where an entry was damaged here in this term that wasn't known to be committed.
    damaged: Option<Position>,
}

#[derive(Debug)]
struct CatchUp {
    state: State,
    /// The last entry that was sent, or that the member has: one of ours.
    sent: Chain,
    /// Where to begin if its last entry isn't ours.
    applied: Option<Chain>,
    /// What it said when it was asked.
    reach: Reach,
    /// Where nothing was found that follows `sent`: the end of a segment, or damage.
    passed: Option<Position>,
    /// Whether something else was found there.
    left_over: bool,
    /// The last entry of each message on its way.
    in_flight: VecDeque<LogIndex>,
    heard: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has been asked where its journal ends.
    Asked,
    /// It is to be asked whether it has what is applied here.
    Probe,
    /// To be read from here: so many bytes, or as many as make a chunk.
    Next { at: Position, bytes: Option<usize> },
    /// It lacks what isn't here any more: only a snapshot can help it.
    Trimmed,
    /// What comes next is damaged here, and being fetched from another node.
    Damaged,
    /// What it needs could not be read: it is asked again after a while.
    Resting,
    /// Being read.
    Reading { read: ReadId, at: Position, bytes: usize },
}

impl CatchUp {
    fn asked(now: Time) -> CatchUp {
        CatchUp {
            state: State::Asked,
            sent: Chain::default(),
            applied: None,
            reach: Reach::default(),
            passed: None,
            left_over: false,
            in_flight: VecDeque::new(),
            heard: now,
        }
    }
}

impl CatchUps {
    /// A member can't be talked to: when it comes back it is asked anew.
    pub fn forget(&mut self, member: NodeId) {
        self.members.remove(&member);
    }
}

/// What catching up wants done.
#[derive(Debug)]
pub enum CatchUpWork<P> {
    Ask {
        to: NodeId,
    },
    Read {
        read: ReadId,
        segment: SegmentId,
        at: u64,
        bytes: usize,
    },
    Send {
        message: Box<Outgoing>,
        entries: Option<Part<P>>,
    },
    Offer {
        to: NodeId,
        offer: Offer,
    },
    Part {
        to: NodeId,
        head: PartHead,
        part: Part<P>,
    },
    /// The entry that follows the one of this checksum, which ends here, is damaged; without a
    /// checksum, the one that lies here.
    Damaged {
        at: Position,
        previous_crc: Option<u32>,
    },
    Note(LogLevel, String),
}

impl<P: Page> Group<P> {
    /// Looks for members that need to be brought up to date, and goes on with those that are.
    pub fn catch_up(&mut self, now: Time) -> Vec<CatchUpWork<P>> {
        let mut work = Vec::new();
        if !self.replica.is_leader() {
            self.catch_ups.members.clear();
            self.snapshots.clear();
            return work;
        }
        self.lead_in_this_term();
        let cached_from = self.cached_from();
        let lagging = self.replica.lagging(cached_from);
        let is_patient = |up: &CatchUp| now.since(up.heard) < PATIENCE;
        self.catch_ups.members.retain(|node, up| lagging.contains_key(node) && is_patient(up));
        for (to, is_heard) in lagging {
            if is_heard && let Entry::Vacant(free) = self.catch_ups.members.entry(to) {
                free.insert(CatchUp::asked(now));
                work.push(CatchUpWork::Ask { to });
            }
        }
        work.extend(self.probe(now));
        work.extend(self.read_on(cached_from));
        let trimmed = |(node, up): (&NodeId, &CatchUp)| {
            (up.state == State::Trimmed).then_some((*node, up.reach))
        };
        let trimmed: Vec<_> = self.catch_ups.members.iter().filter_map(trimmed).collect();
        for (node, reach) in trimmed {
            self.snapshots.want(node, reach, now);
        }
        work.extend(self.send_snapshots(now));
        work
    }

    /// Forgets whom it brought up to date in another term: what was sent may be cut off since.
    fn lead_in_this_term(&mut self) {
        if self.snapshots.lead(self.replica.term()) {
            self.catch_ups.members.clear();
            self.catch_ups.probed.clear();
            self.catch_ups.damaged = None;
        }
    }

    /// The first entry of those that are all in the cache.
    fn cached_from(&self) -> LogIndex {
        let first = self.journal.first_cached().map(|entry| entry.index);
        first.unwrap_or(LogIndex(self.replica.last_index().0 + 1))
    }

    /// Begins the reads that may begin.
    fn read_on(&mut self, cached_from: LogIndex) -> Vec<CatchUpWork<P>> {
        let mut work = Vec::new();
        let CatchUps { members, next_read, .. } = &mut self.catch_ups;
        for up in members.values_mut() {
            let State::Next { at, bytes } = up.state else { continue };
            if up.in_flight.len() >= IN_FLIGHT_MAX || up.sent.index.0 + 1 >= cached_from.0 {
                continue;
            }
            *next_read += 1;
            let read = ReadId(CATCH_UP_READ | *next_read);
            let (segment, byte) = self.journal.locate(at);
            // Up to where an entry is known to begin: what is cut off would be read twice.
            let whole = self.journal.chunk_end(at).map(|end| (end.0 - at.0) as usize);
            let bytes = bytes.or(whole).unwrap_or(READ_CHUNK_BYTES);
            let bytes = bytes.min((self.journal.segment_bytes() - byte) as usize);
            up.state = State::Reading { read, at, bytes };
            work.push(CatchUpWork::Read { read, segment, at: byte, bytes });
        }
        work
    }

    /// What was damaged is whole again: members that needed it are asked anew.
    pub fn catch_ups_mended(&mut self) {
        self.catch_ups.members.retain(|_, up| up.state != State::Damaged);
        self.snapshots_mended();
    }

    /// How far the journal reaches here.
    pub fn reach(&self) -> Reach {
        Reach { last: self.last_entry(), applied: self.applied() }
    }

    /// A member says so again, since it has gone on from a snapshot, or doesn't want one.
    pub fn ask_again(&mut self, member: NodeId) {
        if let Some(up) = self.catch_ups.members.get_mut(&member)
            && up.state == State::Trimmed
        {
            up.state = State::Asked;
        }
    }

    /// A member says how far its journal reaches.
    pub fn on_reach(&mut self, from: NodeId, reach: Reach, now: Time) -> Vec<CatchUpWork<P>> {
        self.lead_in_this_term();
        let Some(up) = self.catch_ups.members.get_mut(&from) else { return Vec::new() };
        if up.state != State::Asked {
            return Vec::new();
        }
        up.heard = now;
        up.applied = Some(reach.applied);
        up.reach = reach;
        up.sent = reach.last;
        let Reach { last, applied } = reach;
        // Behind what isn't ours there may lie here what is left over of the same other leader's,
        // at a segment's end of before such places were cleared: it would follow, too.
        if last == applied || self.replica.has_had_entry(last.index, last.term) {
            self.begin_behind(from);
        } else {
            self.begin_in_common(from);
        }
        let Some(message) = self.hand_to_raft(from) else { return self.catch_up(now) };
        if let Some(up) = self.catch_ups.members.get_mut(&from) {
            up.state = State::Asked;
        }
        vec![message]
    }

    /// A member that has all that comes before the cache, which Raft doesn't know: it may have to
    /// ask for entries that its log in memory doesn't reach back to. An append without entries has
    /// the member say what it has, and Raft goes on from there.
    fn hand_to_raft(&mut self, node: NodeId) -> Option<CatchUpWork<P>> {
        let cached_from = self.cached_from();
        let reaches = |sent: Chain| sent.index.0 + 1 >= cached_from.0;
        let up = self.catch_ups.members.get(&node)?;
        if up.state == State::Probe {
            return None;
        }
        let mut sent = up.sent;
        if reaches(sent) && !self.replica.has_entry(sent.index, sent.term) {
            // Its last entries differ.
            self.begin_in_common(node);
            sent = self.catch_ups.members.get(&node)?.sent;
        }
        if !reaches(sent) || !self.replica.has_entry(sent.index, sent.term) {
            return None;
        }
        self.append_nothing(node, sent)
    }

    /// Goes on behind the last entry that a member has, if that is still here.
    fn begin_behind(&mut self, node: NodeId) {
        let Some(up) = self.catch_ups.members.get_mut(&node) else { return };
        let end = up.sent.end;
        if end > self.journal.append_position() {
            // Longer than ours: it differs, and is cut off where it does.
            return self.begin_in_common(node);
        }
        let at = self.journal.entry_start(end);
        up.state = match at >= self.journal.start() {
            true => State::Next { at, bytes: None },
            false => State::Trimmed,
        };
    }

    /// Its last entries differ: goes on behind what is applied here, if the member is known to have
    /// that, too, which it is asked first; or else behind what it has applied itself.
    fn begin_in_common(&mut self, node: NodeId) {
        let own = self.applied();
        let matched = self.replica.matched(node);
        let CatchUps { members, probed, .. } = &mut self.catch_ups;
        let Some(up) = members.get_mut(&node) else { return };
        let Some(applied) = up.applied else { return };
        let may_have = applied.index < own.index && own.index <= up.reach.last.index;
        if may_have && matched < own.index && probed.insert(node) {
            up.state = State::Probe;
            return;
        }
        up.applied = None;
        up.sent = if may_have && matched >= own.index { own } else { applied };
        up.passed = None;
        self.begin_behind(node);
    }

    /// Asks members whether they have what is applied here. What they say Raft keeps; they are
    /// asked for their reach again in a while.
    fn probe(&mut self, now: Time) -> Vec<CatchUpWork<P>> {
        let mut nodes = Vec::new();
        for (node, up) in &mut self.catch_ups.members {
            if up.state == State::Probe {
                (up.state, up.heard) = (State::Asked, now);
                nodes.push(*node);
            }
        }
        nodes.into_iter().filter_map(|node| self.append_nothing(node, self.applied())).collect()
    }

    /// An append without entries has a member say whether it has an entry.
    fn append_nothing(&self, node: NodeId, behind: Chain) -> Option<CatchUpWork<P>> {
        let message = self.replica.append_message(node, (behind.index, behind.term), &[])?;
        Some(CatchUpWork::Send { message: Box::new(message), entries: None })
    }

    /// Nothing that follows what was sent lies where it should.
    fn missing(&mut self, node: NodeId, at: Position, now: Time) -> Option<CatchUpWork<P>> {
        let (applied, flushed) = (self.applied().end, self.journal.flush_position());
        let up = self.catch_ups.members.get_mut(&node)?;
        if at >= applied.min(flushed) {
            // Overtaken, or damaged: begins anew.
            let is_damaged = at < flushed && !up.left_over;
            self.try_later(node, now);
            return if is_damaged { self.give_way(at) } else { None };
        }
        up.state = State::Damaged;
        Some(CatchUpWork::Damaged { at, previous_crc: Some(up.sent.crc) })
    }

    /// An entry is damaged that isn't known to be committed, and a member needs it. It isn't asked
    /// for: what others have in its place may be another one. If a majority has it, one of them
    /// can lead; and if none has, nobody needs it. So when this is seen a second time, this node
    /// leads no more and stands aside, if others can elect a leader without it.
    fn give_way(&mut self, at: Position) -> Option<CatchUpWork<P>> {
        if self.catch_ups.damaged.replace(at) != Some(at) || !self.can_elect_another() {
            return None;
        }
        self.replica.give_way();
        let line = format!(
            "the entry at position {at}, which isn't known to be committed, is damaged here, and \
             others need it: this node leads the group no more, so that another one can"
        );
        Some(CatchUpWork::Note(LogLevel::Error, line))
    }

    /// Whether the others that are heard are a majority. One that gets a snapshot from here doesn't
    /// vote before it has it, and who lacks what is here gets no vote of this node's.
    fn can_elect_another(&self) -> bool {
        let voters = self.replica.voters();
        let can_vote = |node: &&NodeId| self.replica.hears(**node) && !self.snapshots.needs(**node);
        voters.iter().filter(can_vote).count() > voters.len() / 2
    }

    /// A member has taken in a message. Returns whether it was one of those sent here.
    pub fn on_caught_up(&mut self, from: NodeId, index: LogIndex, now: Time) -> bool {
        let Some(up) = self.catch_ups.members.get_mut(&from) else { return false };
        if index.0 > 0 && up.in_flight.front().is_some_and(|first| *first <= index) {
            up.heard = now;
            self.snapshots.heard(from, now);
            while up.in_flight.front().is_some_and(|first| *first <= index) {
                up.in_flight.pop_front();
            }
            return true;
        }
        false
    }

    /// A part of the journal was read for a member. `None`: it can't be.
    pub fn on_catch_up_read(
        &mut self,
        read: ReadId,
        page: Option<P>,
        now: Time,
    ) -> Vec<CatchUpWork<P>> {
        self.lead_in_this_term();
        let mut members = self.catch_ups.members.iter();
        let found = members.find_map(|(node, up)| match up.state {
            State::Reading { read: awaited, at, bytes } if awaited == read => {
                Some((*node, at, bytes))
            }
            _ => None,
        });
        let Some((node, at, bytes)) = found else { return Vec::new() };
        let Some(page) = page else {
            self.try_later(node, now);
            return Vec::new();
        };
        let mut work: Vec<_> = self.send_read(node, at, bytes, page, now).into_iter().collect();
        work.extend(self.catch_up(now));
        work
    }

    /// What comes next did not fit there, so it begins the next segment; unless this was its start.
    /// Something else may be `left_over` in its place, that was cut off once.
    fn pass(
        &mut self,
        node: NodeId,
        at: Position,
        left_over: bool,
        now: Time,
    ) -> Option<CatchUpWork<P>> {
        let up = self.catch_ups.members.get_mut(&node)?;
        let next = self.journal.next_segment_start(at);
        if self.journal.is_segment_start(at) || next >= self.journal.flush_position() {
            let first = up.passed.unwrap_or(at);
            return self.missing(node, first, now);
        }
        (up.passed, up.left_over) = (Some(at), left_over);
        up.state = State::Next { at: next, bytes: None };
        None
    }

    fn try_later(&mut self, node: NodeId, now: Time) {
        if let Some(up) = self.catch_ups.members.get_mut(&node) {
            up.state = State::Resting;
            up.heard = now;
        }
    }

    /// Sends the whole entries of what was read, or says what to read instead.
    fn send_read(
        &mut self,
        node: NodeId,
        at: Position,
        bytes: usize,
        page: P,
        now: Time,
    ) -> Option<CatchUpWork<P>> {
        let up = self.catch_ups.members.get_mut(&node)?;
        let found = whole_entries(page.bytes(), at, up.sent, self.journal.readable_until(at));
        match found {
            Found::Entries { entries, last, end, cut_off } => {
                let previous = (up.sent.index, up.sent.term);
                let message = self.replica.append_message(node, previous, &entries)?;
                up.in_flight.push_back(last.index);
                up.passed = None;
                up.sent = last;
                let next = self.journal.entry_start(last.end);
                // A large one is read by itself: whole chunks would have most of it read twice.
                let large = cut_off.filter(|bytes| *bytes > READ_CHUNK_BYTES / 2);
                up.state = State::Next { at: next, bytes: large.map(with_next_head) };
                self.catch_ups.bytes += end as u64;
                let entries = Some(Part::Page { page, start: 0, end });
                Some(CatchUpWork::Send { message: Box::new(message), entries })
            }
            Found::Larger(needed) if needed > bytes => {
                up.state = State::Next { at, bytes: Some(with_next_head(needed)) };
                None
            }
            Found::Nothing | Found::Larger(_) => self.pass(node, at, false, now),
            Found::Differs if up.passed.is_none() && !self.journal.is_segment_start(at) => {
                self.pass(node, at, true, now)
            }
            Found::Differs if up.passed.is_some() && !up.left_over => {
                let at = up.passed.take().unwrap_or(at);
                self.missing(node, at, now)
            }
            Found::Differs => {
                let known = up.applied.is_some();
                if !known {
                    self.catch_ups.members.remove(&node);
                    let line = format!(
                        "the journal of node {node} differs from this one before position {at}, \
                         in what it has applied: compare them with 'hutong journal verify'"
                    );
                    return Some(CatchUpWork::Note(LogLevel::Error, line));
                }
                self.begin_in_common(node);
                None
            }
        }
    }
}

/// What lies at a place of the journal.
pub(super) enum Found {
    /// Entries, up to and with `last`, that take the first `end` bytes; and how many bytes the next
    /// one has, if just its beginning is there.
    Entries {
        entries: Vec<(Term, LogIndex, Descriptor)>,
        last: Chain,
        end: usize,
        cut_off: Option<usize>,
    },
    /// The beginning of an entry of so many bytes.
    Larger(usize),
    /// No entry begins there.
    Nothing,
    /// An entry that doesn't follow the one before.
    Differs,
}

/// What to read of an entry of so many bytes: also the head of the one behind it, which says how
/// many that one has.
fn with_next_head(entry_bytes: usize) -> usize {
    entry_bytes + ENTRY_ALIGN_BYTES
}

/// The whole entries at the front of `bytes`, which lie at `position` and follow `previous`. None
/// of them ends behind `until`.
pub(super) fn whole_entries(
    bytes: &[u8],
    position: Position,
    previous: Chain,
    until: Position,
) -> Found {
    let mut entries = Vec::new();
    let mut last = previous;
    let mut cut_off = None;
    let mut at = 0;
    while at < bytes.len() {
        let here = Position(position.0 + at as u64);
        let Some(head) = EntryHead::read(&bytes[at..], here) else { break };
        let size = head.entry_bytes();
        if head.end() > until || size > ENTRY_BYTES_MAX {
            break;
        }
        if at + size > bytes.len() {
            if entries.is_empty() {
                return Found::Larger(size);
            }
            cut_off = Some(size);
            break;
        }
        // First whether it is whole: the checksum of the one before may have rotted, too.
        let Some(entry) = format::Entry::read(&bytes[at..], here) else { break };
        if head.header.previous_crc != last.crc || head.header.index.0 != last.index.0 + 1 {
            if entries.is_empty() {
                return Found::Differs;
            }
            break;
        }
        let (term, index) = (head.header.term, head.header.index);
        entries.push((
            term,
            index,
            Descriptor { position: here, bytes: size as u32, crc: entry.crc },
        ));
        last = Chain { index, term, crc: entry.crc, end: entry.end() };
        at += size;
    }
    match entries.is_empty() {
        true => Found::Nothing,
        false => Found::Entries { entries, last, end: at, cut_off },
    }
}
