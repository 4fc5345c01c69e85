//! The leader's side of a snapshot.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::journal::Journal;
use crate::journal::format::EntryHead;
use crate::journal::page::Page;
use crate::limits::READ_CHUNK_BYTES;
use crate::model::ids::{NodeId, ReadId};
use crate::model::position::{LogIndex, Position, Term};
use crate::model::time::Time;
use crate::shard::catch_up::{CATCH_UP_READ, CatchUpWork, Found, whole_entries};
use crate::shard::group::{Chain, Group};
use crate::shard::output::{LogLevel, Part};
use crate::shard::peers::snapshot_wire::{Filled, Offer, PartHead, PartOf, Standing};
use crate::shard::peers::wire::Reach;
use crate::shard::snapshot_transfer::helps;

/// Parts on their way to a member.
const IN_FLIGHT_MAX: usize = 4;

/// A member that is silent for so long is given up: what was kept for it may be trimmed.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A checkpoint that could not be taken is tried again, and an offer without an answer repeated.
const PATIENCE: Duration = Duration::from_secs(2);

/// What can't be read is tried again, and complained about again, after so long.
const DAMAGE_PAUSE: Duration = Duration::from_secs(60);

/// Set, beside `CATCH_UP_READ`, in the numbers of reads made here.
pub const SNAPSHOT_READ: u64 = 1 << 61;

/// The snapshots that a leader is giving.
#[derive(Debug, Default)]
pub struct Snapshots {
    members: BTreeMap<NodeId, Sending>,
    /// The last checkpoint that was taken for one.
    kept: Option<Kept>,
    /// When to take another if that is wanted.
    next_checkpoint: Option<Time>,
    /// In which this node leads. What members have said in another one says nothing now.
    term: Term,
    next_read: u64,
    pub metrics: SnapshotMetrics,
}

/// What was sent and received in the way of snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMetrics {
    /// Members that have a whole snapshot of this node's.
    pub sent: u64,
    pub sent_bytes: u64,
    /// Snapshots that this node went on from.
    pub received: u64,
    pub received_bytes: u64,
}

#[derive(Clone, Debug)]
struct Kept {
    offer: Offer,
    checkpoint: Bytes,
}

/// One member.
#[derive(Debug)]
struct Sending {
    stage: Stage,
    offer: Offer,
    /// Not at hand if another leader has sent all of it.
    checkpoint: Option<Bytes>,
    /// The last entry that was sent; index 0 as long as there is none.
    sent: Chain,
    /// Where each part on its way ends.
    in_flight: VecDeque<(PartOf, u64)>,
    /// The member has everything before this: what lies behind must stay here.
    has: Position,
    heard: Time,
    began: Time,
    sent_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It waits for a checkpoint that helps a member that reaches so far.
    Wanting(Reach),
    /// It has been offered this one, then.
    Offered(Time),
    /// The checkpoint is to be sent from this byte on.
    Checkpoint {
        at: u64,
    },
    /// The journal is to be read from here, so many bytes.
    Next {
        at: Position,
        bytes: usize,
    },
    Reading {
        read: ReadId,
        at: Position,
        bytes: usize,
    },
    /// All was sent.
    Sent,
    /// It has it, and catches up with what comes behind.
    Done,
    /// What comes next can't be read here.
    Damaged(Time),
}

impl Sending {
    fn new(stage: Stage, offer: Offer, checkpoint: Option<Bytes>, now: Time) -> Sending {
        Sending {
            stage,
            offer,
            checkpoint,
            sent: Chain::default(),
            in_flight: VecDeque::new(),
            has: offer.start,
            heard: now,
            began: now,
            sent_bytes: 0,
        }
    }

    /// Goes on behind what the member has.
    fn go_on(&mut self, filled: &Filled, at: Position) {
        self.in_flight.clear();
        self.sent = filled.last;
        self.stage = if filled.checkpoint < self.offer.checkpoint_bytes {
            Stage::Checkpoint { at: filled.checkpoint }
        } else if is_all(&self.offer, &filled.last) {
            Stage::Sent
        } else {
            Stage::Next { at, bytes: READ_CHUNK_BYTES }
        };
    }

    fn is_over(&self, now: Time) -> bool {
        match self.stage {
            Stage::Damaged(since) => now.since(since) >= DAMAGE_PAUSE,
            _ => now.since(self.heard) >= SILENCE_MAX,
        }
    }
}

/// Whether a member whose last entry this is has all of a snapshot's journal.
fn is_all(offer: &Offer, last: &Chain) -> bool {
    last.index == offer.until.index || offer.until.end <= offer.start
}

impl Snapshots {
    /// This node doesn't lead: somebody else goes on.
    pub fn clear(&mut self) {
        self.members.clear();
        self.kept = None;
    }

    /// This node leads, in this term. Returns whether that is a new one.
    pub fn lead(&mut self, term: Term) -> bool {
        let is_new = self.term != term;
        if is_new {
            self.clear();
            self.term = term;
        }
        is_new
    }

    /// A member that reaches so far needs one.
    pub fn want(&mut self, node: NodeId, reach: Reach, now: Time) {
        let stage = Stage::Wanting(reach);
        let known = self.members.get_mut(&node).filter(|it| it.stage != Stage::Done);
        match known {
            Some(Sending { stage: known @ Stage::Wanting(_), heard, .. }) => {
                (*known, *heard) = (stage, now);
            }
            // It may not have taken the offer in.
            Some(sending) => sending.heard = now,
            None => {
                let (start, until, term) = (Position(0), Chain::default(), self.term);
                let nothing = Offer { start, until, checkpoint_bytes: 0, term };
                self.members.insert(node, Sending::new(stage, nothing, None, now));
            }
        }
    }

    /// Whether a checkpoint of what is applied is to be taken now, for a member that none at hand
    /// helps.
    fn wants_checkpoint(&mut self, applied: &Chain, now: Time) -> bool {
        let is_helped = |stage| matches!(stage, Stage::Wanting(reach) if helps(applied, &reach));
        let wanting = self.members.values().any(|it| is_helped(it.stage));
        if !wanting || self.next_checkpoint.is_some_and(|next| now < next) {
            return false;
        }
        self.next_checkpoint = Some(now + PATIENCE);
        true
    }

    /// A checkpoint was taken, of a journal that begins at `start`.
    pub fn keep(&mut self, start: Position, until: Chain, checkpoint: &Bytes) {
        if self.members.values().any(|it| matches!(it.stage, Stage::Wanting(_))) {
            let (checkpoint_bytes, term) = (checkpoint.len() as u64, self.term);
            let offer = Offer { start, until, checkpoint_bytes, term };
            self.kept = Some(Kept { offer, checkpoint: checkpoint.clone() });
        }
    }

    /// Everything from here on is needed for members that get a snapshot.
    pub fn pin(&self) -> Option<Position> {
        let kept = self.kept.as_ref().map(|kept| kept.offer.start);
        // What can't be read, and all others may have trimmed, must not stay for ever.
        let pins = |it: &&Sending| !matches!(it.stage, Stage::Wanting(_) | Stage::Damaged(_));
        let members = self.members.values().filter(pins);
        members.map(|it| it.has).chain(kept).min()
    }

    /// Members that are being given one, or will be.
    pub fn count(&self) -> usize {
        self.members.values().filter(|it| it.stage != Stage::Done).count()
    }

    /// Whether a member is one of these.
    pub fn needs(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|it| it.stage != Stage::Done)
    }

    /// A member that has its snapshot catches up.
    pub fn heard(&mut self, node: NodeId, now: Time) {
        if let Some(sending) = self.members.get_mut(&node) {
            sending.heard = now;
        }
    }

    /// Whether a member is being filled by what is sent from here.
    fn is_filling(&self, node: NodeId) -> bool {
        let member = self.members.get(&node);
        member.is_some_and(|it| !matches!(it.stage, Stage::Wanting(_) | Stage::Done))
    }

    /// Offers what is at hand to those that it helps.
    fn offer<P>(&mut self, now: Time) -> Vec<CatchUpWork<P>> {
        let mut work = Vec::new();
        let Some(Kept { offer, checkpoint }) = self.kept.clone() else { return work };
        for (node, sending) in &mut self.members {
            let Stage::Wanting(reach) = sending.stage else { continue };
            if !helps(&offer.until, &reach) {
                continue;
            }
            let stage = Stage::Offered(now);
            *sending = Sending::new(stage, offer, Some(checkpoint.clone()), now);
            work.push(CatchUpWork::Offer { to: *node, offer });
            let line = format!(
                "node {node} lacks what was trimmed here: it is offered a snapshot as of entry {}, \
                 a checkpoint of {} bytes and the journal from position {} to {}",
                offer.until.index, offer.checkpoint_bytes, offer.start, offer.until.end
            );
            work.push(CatchUpWork::Note(LogLevel::Info, line));
        }
        work
    }
}

impl<P: Page> Group<P> {
    /// A member has answered a message of this leader's. If it is being filled it takes no part in
    /// Raft, so Raft doesn't know that it is there. It votes for nobody else, either: a leader that
    /// has no majority but with it must not give way before it has its snapshot, as there may be
    /// none after.
    pub(crate) fn on_answer(&mut self, from: NodeId, term: Term) {
        if self.snapshots.is_filling(from) {
            self.replica.hear(from, term);
        }
    }

    /// Goes on with the members that get a snapshot.
    pub(crate) fn send_snapshots(&mut self, now: Time) -> Vec<CatchUpWork<P>> {
        let journal = &self.journal;
        self.snapshots.members.retain(|_, sending| {
            let is_damaged = matches!(sending.stage, Stage::Damaged(_));
            let is_trimmed = is_damaged && next_place(journal, sending) < journal.start();
            !sending.is_over(now) && !is_trimmed
        });
        if self.snapshots.members.is_empty() {
            self.snapshots.kept = None;
            return Vec::new();
        }
        let mut work = self.snapshots.offer(now);
        // Before it serves, too: it may have no majority but with this member.
        let applied = self.applied();
        if self.snapshots.wants_checkpoint(&applied, now) {
            self.checkpoint.hurry(applied.end);
        }
        work.extend(self.send_checkpoints());
        work.extend(self.read_for_snapshots());
        work
    }

    fn send_checkpoints(&mut self) -> Vec<CatchUpWork<P>> {
        let mut work = Vec::new();
        let Snapshots { members, metrics, .. } = &mut self.snapshots;
        for (to, sending) in members {
            while let Stage::Checkpoint { at } = sending.stage
                && sending.in_flight.len() < IN_FLIGHT_MAX
            {
                let Some(checkpoint) = &sending.checkpoint else { break };
                let end = checkpoint.len().min(at as usize + READ_CHUNK_BYTES);
                let part = Part::Bytes(checkpoint.slice(at as usize..end));
                metrics.sent_bytes += part.len() as u64;
                sending.sent_bytes += part.len() as u64;
                let (snapshot, of) = (sending.offer.until.index, PartOf::Checkpoint);
                let head = PartHead { snapshot, of, at };
                work.push(CatchUpWork::Part { to: *to, head, part });
                sending.in_flight.push_back((of, end as u64));
                sending.stage = match end == checkpoint.len() {
                    false => Stage::Checkpoint { at: end as u64 },
                    true if is_all(&sending.offer, &sending.sent) => Stage::Sent,
                    true => Stage::Next { at: sending.offer.start, bytes: READ_CHUNK_BYTES },
                };
            }
        }
        work
    }

    fn read_for_snapshots(&mut self) -> Vec<CatchUpWork<P>> {
        let mut work = Vec::new();
        let Snapshots { members, next_read, .. } = &mut self.snapshots;
        for sending in members.values_mut() {
            let Stage::Next { at, bytes } = sending.stage else { continue };
            if sending.in_flight.len() >= IN_FLIGHT_MAX {
                continue;
            }
            *next_read += 1;
            let read = ReadId(CATCH_UP_READ | SNAPSHOT_READ | *next_read);
            let (segment, byte) = self.journal.locate(at);
            let bytes = bytes.min((self.journal.segment_bytes() - byte) as usize);
            sending.stage = Stage::Reading { read, at, bytes };
            work.push(CatchUpWork::Read { read, segment, at: byte, bytes });
        }
        work
    }

    /// A member says how it stands: as the answer to an offer, to a part, or `unasked`.
    pub(crate) fn on_standing(
        &mut self,
        from: NodeId,
        standing: Standing,
        unasked: bool,
        now: Time,
    ) -> Vec<CatchUpWork<P>> {
        if !self.replica.is_leader() {
            return Vec::new();
        }
        match standing {
            Standing::Absent => Vec::new(),
            Standing::Reaches(reach) => {
                let mut work: Vec<_> =
                    self.on_snapshot_done(from, reach, now).into_iter().collect();
                self.ask_again(from);
                work.extend(self.on_reach(from, reach, now));
                work
            }
            Standing::Empty { term, .. } if term > self.replica.term() => {
                // Who has led since may have counted on what it had: that has to be found out.
                self.replica.hear_of_term(from, term);
                Vec::new()
            }
            Standing::Empty { given_up, .. } => {
                let offered = self.snapshots.members.get(&from).map(|sending| sending.stage);
                match offered {
                    // It is busy giving up its own journal.
                    Some(Stage::Offered(since)) if now.since(since) < PATIENCE => {
                        self.snapshots.heard(from, now);
                    }
                    Some(Stage::Damaged(_)) => {}
                    _ => self.want_anew(from, given_up, now),
                }
                self.catch_up(now)
            }
            Standing::Filling(filled) => {
                self.on_filled(from, &filled, unasked, now);
                self.catch_up(now)
            }
        }
    }

    /// A member has nothing. What it had and has acknowledged to this leader, or to one before,
    /// lies up to the entry `given_up`; if that isn't known, before the last entry here by now. Or
    /// it doesn't count. A snapshot that reaches so far has it.
    fn want_anew(&mut self, from: NodeId, given_up: Option<LogIndex>, now: Time) {
        let own = self.reach().last;
        let last = Chain { index: given_up.unwrap_or(own.index), ..own };
        let reach = Reach { last, applied: Chain::default() };
        let known = self.snapshots.members.get_mut(&from);
        if let Some(wanting) = known.filter(|it| matches!(it.stage, Stage::Wanting(_))) {
            wanting.heard = now;
            if given_up.is_some() {
                wanting.stage = Stage::Wanting(reach);
            }
            return;
        }
        self.snapshots.members.remove(&from);
        self.snapshots.want(from, reach, now);
    }

    fn on_snapshot_done(
        &mut self,
        from: NodeId,
        reach: Reach,
        now: Time,
    ) -> Option<CatchUpWork<P>> {
        let sending = self.snapshots.members.get_mut(&from)?;
        sending.heard = now;
        match sending.stage {
            Stage::Wanting(_) | Stage::Done => return None,
            _ if reach.applied.index < sending.offer.until.index => {
                // It won't have it: what it has said since is what counts.
                self.snapshots.members.remove(&from);
                return None;
            }
            _ => {}
        }
        let took = now.since(sending.began);
        sending.stage = Stage::Done;
        sending.has = sending.offer.until.end;
        sending.checkpoint = None;
        self.snapshots.metrics.sent += 1;
        let line = format!(
            "node {from} goes on from the snapshot as of entry {}: {} bytes in {took:.1?}",
            sending.offer.until.index, sending.sent_bytes
        );
        Some(CatchUpWork::Note(LogLevel::Info, line))
    }

    fn on_filled(&mut self, from: NodeId, filled: &Filled, unasked: bool, now: Time) {
        let at = match filled.last.index {
            LogIndex(0) => filled.offer.start,
            _ => self.journal.entry_start(filled.last.end),
        };
        let known = self.snapshots.members.get_mut(&from).filter(|sending| {
            let same = sending.offer == filled.offer;
            same && !matches!(sending.stage, Stage::Wanting(_) | Stage::Done)
        });
        let Some(sending) = known else {
            return self.take_over(from, filled, at, now);
        };
        sending.heard = now;
        sending.has = at.max(filled.offer.start);
        let taken = |(of, end): &(PartOf, u64)| match of {
            PartOf::Checkpoint => *end <= filled.checkpoint,
            PartOf::Journal => *end <= filled.flushed.0,
        };
        sending.in_flight.retain(|part| !taken(part));
        match sending.stage {
            Stage::Offered(_) => sending.go_on(filled, at),
            // It has heard nothing for a while and has nothing to do: what was on its way is lost.
            Stage::Checkpoint { .. } | Stage::Next { .. } | Stage::Sent if unasked => {
                sending.go_on(filled, at);
            }
            _ => {}
        }
    }

    /// A member is in the middle of a snapshot that this node didn't begin to send, or doesn't
    /// know of any more. If it has the checkpoint, the rest can come from anyone.
    fn take_over(&mut self, from: NodeId, filled: &Filled, at: Position, now: Time) {
        let offer = filled.offer;
        let has_rest = self.is_serving()
            && filled.checkpoint == offer.checkpoint_bytes
            && at >= self.journal.start()
            && offer.until.end <= self.applied().end;
        if !has_rest {
            // It took the offer, so it has given up nothing behind that.
            return self.want_anew(from, Some(offer.until.index), now);
        }
        let mut sending = Sending::new(Stage::Sent, offer, None, now);
        sending.has = at;
        sending.go_on(filled, at);
        self.snapshots.members.insert(from, sending);
    }

    /// A part of the journal was read for a snapshot. `None`: it can't be.
    pub(crate) fn on_snapshot_read(
        &mut self,
        read: ReadId,
        page: Option<P>,
        now: Time,
    ) -> Vec<CatchUpWork<P>> {
        let mut members = self.snapshots.members.iter();
        let found = members.find_map(|(node, sending)| match sending.stage {
            Stage::Reading { read: awaited, at, bytes } if awaited == read => {
                Some((*node, at, bytes))
            }
            _ => None,
        });
        let Some((node, at, bytes)) = found else { return Vec::new() };
        let part = match page {
            Some(page) => self.snapshot_part(node, at, bytes, page, now),
            None => self.damaged(node, now),
        };
        let mut work: Vec<_> = part.into_iter().collect();
        work.extend(self.send_snapshots(now));
        work
    }

    fn snapshot_part(
        &mut self,
        node: NodeId,
        at: Position,
        bytes: usize,
        page: P,
        now: Time,
    ) -> Option<CatchUpWork<P>> {
        let sending = self.snapshots.members.get_mut(&node)?;
        let until = sending.offer.until;
        let previous = match sending.sent.index {
            LogIndex(0) => before_first(page.bytes(), at),
            _ => Some(sending.sent),
        };
        let found = previous.map_or(Found::Nothing, |previous| {
            let until = until.end.min(self.journal.readable_until(at));
            whole_entries(page.bytes(), at, previous, until)
        });
        match found {
            Found::Entries { last, end, .. } => {
                sending.in_flight.push_back((PartOf::Journal, last.end.0));
                sending.sent = last;
                sending.stage = match is_all(&sending.offer, &last) {
                    true => Stage::Sent,
                    false => {
                        let at = self.journal.entry_start(last.end);
                        Stage::Next { at, bytes: READ_CHUNK_BYTES }
                    }
                };
                sending.sent_bytes += end as u64;
                self.snapshots.metrics.sent_bytes += end as u64;
                let (snapshot, of) = (until.index, PartOf::Journal);
                let head = PartHead { snapshot, of, at: at.0 };
                let part = Part::Page { page, start: 0, end };
                Some(CatchUpWork::Part { to: node, head, part })
            }
            Found::Larger(needed) if needed > bytes => {
                sending.stage = Stage::Next { at, bytes: needed };
                None
            }
            Found::Nothing | Found::Larger(_) | Found::Differs => {
                // It did not fit there, so it begins the next segment; unless this was its start.
                // What differs is left over from before a cut.
                let next = self.journal.next_segment_start(at);
                if self.journal.is_segment_start(at) || next >= until.end {
                    return self.damaged(node, now);
                }
                sending.stage = Stage::Next { at: next, bytes: READ_CHUNK_BYTES };
                None
            }
        }
    }

    /// Nothing that follows what was sent lies where it should.
    fn damaged(&mut self, node: NodeId, now: Time) -> Option<CatchUpWork<P>> {
        let sending = self.snapshots.members.get_mut(&node)?;
        let at = next_place(&self.journal, sending);
        if at < self.journal.start() || sending.offer.until.end > self.journal.flush_position() {
            // Trimmed since, or this node's own disk is behind: begins anew.
            self.snapshots.members.remove(&node);
            return None;
        }
        sending.stage = Stage::Damaged(now);
        self.snapshots.kept = None;
        let sending = self.snapshots.members.get(&node)?;
        // Of where the journal begins, nothing is known that comes before.
        let previous_crc = (sending.sent.index.0 > 0).then_some(sending.sent.crc);
        Some(CatchUpWork::Damaged { at, previous_crc })
    }

    /// What was damaged is whole again: it is sent.
    pub(crate) fn snapshots_mended(&mut self) {
        for sending in self.snapshots.members.values_mut() {
            if matches!(sending.stage, Stage::Damaged(_)) {
                let at = next_place(&self.journal, sending);
                sending.stage = Stage::Next { at, bytes: READ_CHUNK_BYTES };
            }
        }
    }
}

/// Where the next entry of a snapshot is due.
fn next_place<P: Page>(journal: &Journal<P>, sending: &Sending) -> Position {
    match sending.sent.index {
        LogIndex(0) => sending.offer.start,
        _ => journal.entry_start(sending.sent.end),
    }
}

/// What the entry at the front of `bytes` says of the one before it.
pub(super) fn before_first(bytes: &[u8], position: Position) -> Option<Chain> {
    let head = EntryHead::read(bytes, position)?;
    let index = LogIndex(head.header.index.0.checked_sub(1)?);
    let term = head.header.term;
    Some(Chain { index, term, crc: head.header.previous_crc, end: position })
}
