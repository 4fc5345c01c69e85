//! The member's side of a snapshot: a group that is being filled.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::journal::format::{EntryHead, SEGMENT_HEADER_BYTES};
use crate::journal::page::Page;
use crate::limits::{PEER_QUEUE_BYTES_MAX, SNAPSHOT_CHECKPOINT_BYTES_MAX};
use crate::model::ids::{NodeId, SegmentId, WriteId};
use crate::model::position::{LogIndex, Position};
use crate::model::time::Time;
use crate::shard::catch_up::{Found, whole_entries};
use crate::shard::checkpoint::{self, Checkpoint};
use crate::shard::follow::ReplyTo;
use crate::shard::group::{Chain, Group};
use crate::shard::input::IoFailure;
use crate::shard::output::LogLevel;
use crate::shard::peers::snapshot_wire::{Filled, Offer, PartHead, PartOf, Standing};
use crate::shard::snapshot_transfer::send::before_first;
use crate::shard::snapshot_transfer::{given_up, helps, marker};

/// A member that hears nothing for so long, and has nothing to do, tells its leader so.
const NUDGE_INTERVAL: Duration = Duration::from_secs(1);

/// A checkpoint that could not be written is tried again after so long.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// What a group that is being filled wants done.
#[derive(Debug)]
pub enum FillWork<P> {
    Answer {
        to: ReplyTo,
        standing: Standing,
    },
    /// A message of Raft's is not taken in.
    Refuse {
        to: ReplyTo,
    },
    WriteVote {
        write: WriteId,
        at: u64,
        page: P,
    },
    WriteCheckpoint {
        position: Position,
        bytes: Bytes,
    },
    Note(LogLevel, String),
    /// What the journal held is gone.
    Cleared,
    /// All is on disk: make a group of it.
    Filled,
}

/// A group that is being filled.
#[derive(Debug)]
pub struct Filling {
    stage: Stage,
    /// Whether the marker is on disk.
    marked: bool,
    /// No entry behind this one, if it is known, was acknowledged here and counts for anybody: any
    /// snapshot that reaches so far has all that was given up.
    given_up: Option<LogIndex>,
    offered: Option<Offered>,
    checkpoint: Vec<u8>,
    /// The same, read.
    decoded: Option<Checkpoint>,
    /// The last entry that has come; index 0 as long as there is none.
    last: Chain,
    /// What has come and found no room in the journal.
    waiting: VecDeque<Piece>,
    waiting_bytes: usize,
    /// Parts to be answered when everything before this is on disk.
    unanswered: VecDeque<(Position, ReplyTo)>,
    /// Answers that can be given.
    answers: Vec<ReplyTo>,
    /// Segments that were there when the node was started.
    leftovers: Vec<SegmentId>,
    heard: Time,
    began: Time,
    /// No checkpoint is written before then.
    retry: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For an offer.
    Waiting,
    /// Until nothing of the old journal is under way.
    Resting,
    /// The marker is being written.
    Marking,
    /// Parts are taken.
    Taking,
    /// The checkpoint is being written.
    Finishing,
}

#[derive(Clone, Copy, Debug)]
struct Offered {
    from: NodeId,
    offer: Offer,
    /// Whom to tell that parts can be taken.
    reply: Option<ReplyTo>,
}

/// Whole entries that lie in one segment.
#[derive(Debug)]
struct Piece {
    at: Position,
    bytes: Bytes,
    /// The last of them.
    last: Chain,
    reply: ReplyTo,
}

impl Filling {
    fn new(stage: Stage, marked: bool, now: Time) -> Filling {
        Filling {
            stage,
            marked,
            given_up: None,
            offered: None,
            checkpoint: Vec::new(),
            decoded: None,
            last: Chain::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            unanswered: VecDeque::new(),
            answers: Vec::new(),
            leftovers: Vec::new(),
            heard: now,
            began: now,
            retry: None,
        }
    }

    /// What a start finds: these segments, none of which counts. With a marker in the directory
    /// they can go at once; without one they stay until a snapshot is offered.
    pub fn found(leftovers: &[SegmentId], marker: Option<&[u8]>) -> Filling {
        let (leftovers, given_up) = (leftovers.to_vec(), marker.and_then(given_up));
        Filling { leftovers, given_up, ..Filling::new(Stage::Waiting, marker.is_some(), Time(0)) }
    }

    /// Forgets what has come; all of it is answered.
    fn drop_parts(&mut self) {
        self.checkpoint = Vec::new();
        self.decoded = None;
        self.last = Chain::default();
        self.waiting_bytes = 0;
        self.answers.extend(self.waiting.drain(..).map(|piece| piece.reply));
        self.answers.extend(self.unanswered.drain(..).map(|(_, reply)| reply));
        self.answers.extend(self.offered.take().and_then(|offered| offered.reply));
    }

    fn offer(&self) -> Option<Offer> {
        self.offered.map(|offered| offered.offer)
    }

    /// Whether all of the journal has come.
    fn has_journal(&self) -> bool {
        self.offer().is_some_and(|offer| {
            self.last == offer.until || (offer.until.end <= offer.start && self.has_checkpoint())
        })
    }

    fn has_checkpoint(&self) -> bool {
        self.offer().is_some_and(|offer| self.checkpoint.len() as u64 == offer.checkpoint_bytes)
    }

    fn may_write_checkpoint(&self, now: Time) -> bool {
        self.retry.is_none_or(|retry| retry <= now)
    }
}

impl<P: Page> Group<P> {
    /// Whether it is being filled: it has no Raft as long as that lasts.
    pub fn is_filling(&self) -> bool {
        self.filling.is_some()
    }

    /// How this member stands.
    pub fn standing(&self) -> Standing {
        let Some(filling) = &self.filling else { return Standing::Reaches(self.reach()) };
        match (filling.stage, filling.offer()) {
            (Stage::Taking | Stage::Finishing, Some(offer)) => Standing::Filling(Filled {
                offer,
                checkpoint: filling.checkpoint.len() as u64,
                last: filling.last,
                flushed: self.journal.flush_position(),
            }),
            _ => Standing::Empty { term: self.replica.term(), given_up: filling.given_up },
        }
    }

    /// The group's leader can bring it up by a snapshot. Returns what is answered at once.
    pub(crate) fn on_offer(
        &mut self,
        from: NodeId,
        offer: Offer,
        reply: ReplyTo,
        now: Time,
    ) -> Vec<FillWork<P>> {
        let segment_bytes = self.journal.segment_bytes();
        let is_sound = offer.start.0 % segment_bytes == SEGMENT_HEADER_BYTES
            && offer.until.end.0 + SEGMENT_HEADER_BYTES >= offer.start.0
            && offer.checkpoint_bytes <= SNAPSHOT_CHECKPOINT_BYTES_MAX;
        let takes_it = match &self.filling {
            // Who led before may lack what was acknowledged here under another leader since.
            Some(filling) => filling.stage != Stage::Finishing && offer.term >= self.replica.term(),
            None => self.may_be_filled() && helps(&offer.until, &self.reach()),
        };
        let mut work = Vec::new();
        if !is_sound || !takes_it {
            if !is_sound {
                let line = format!("node {from} offers a snapshot that can't be: {offer:?}");
                work.push(FillWork::Note(LogLevel::Warn, line));
            }
            work.push(FillWork::Answer { to: reply, standing: self.standing() });
            return work;
        }
        if self.filling.is_none() {
            let line = format!(
                "gives up its journal, which ends at position {}, for a snapshot of node {from}: \
                 a checkpoint of {} bytes and the journal from position {} to {}",
                self.journal.append_position(),
                offer.checkpoint_bytes,
                offer.start,
                offer.until.end
            );
            work.push(FillWork::Note(LogLevel::Info, line));
        }
        let begin = || Box::new(Filling::new(Stage::Resting, false, now));
        let filling = self.filling.get_or_insert_with(begin);
        filling.drop_parts();
        if filling.stage != Stage::Marking {
            filling.stage = Stage::Resting;
        }
        // It was made for a member with this journal, or for one of which nothing was known.
        filling.given_up.get_or_insert(offer.until.index);
        filling.offered = Some(Offered { from, offer, reply: Some(reply) });
        (filling.heard, filling.began) = (now, now);
        work.extend(self.following.abandon().into_iter().map(|to| FillWork::Refuse { to }));
        work
    }

    fn may_be_filled(&self) -> bool {
        !self.replica.is_leader() && !self.following.is_closed() && !self.led()
    }

    fn filling_mut(&mut self) -> &mut Filling {
        self.filling.as_mut().expect("only asked of a group that is being filled")
    }

    /// A part has come. It is answered by `fill`.
    pub(crate) fn on_part(
        &mut self,
        head: PartHead,
        bytes: Bytes,
        reply: ReplyTo,
        now: Time,
    ) -> Vec<FillWork<P>> {
        let is_closed = self.following.is_closed();
        let offer = self.filling.as_ref().and_then(|filling| match filling.stage {
            Stage::Taking => filling.offer(),
            _ => None,
        });
        let offer = offer.filter(|it| it.until.index == head.snapshot && !is_closed);
        let Some(offer) = offer else {
            return vec![FillWork::Answer { to: reply, standing: self.standing() }];
        };
        self.filling_mut().heard = now;
        let count = bytes.len() as u64;
        let taken = match head.of {
            PartOf::Checkpoint => self.take_checkpoint_part(&offer, head.at, &bytes, reply),
            PartOf::Journal => self.take_journal_part(&offer, Position(head.at), bytes, reply),
        };
        match taken {
            Ok(true) => self.snapshots.metrics.received_bytes += count,
            Ok(false) => self.filling_mut().answers.push(reply),
            Err(why) => {
                self.filling_mut().answers.push(reply);
                return vec![self.begin_anew(&why)];
            }
        }
        Vec::new()
    }

    /// Returns whether it was the next one. If it was the last, it is looked at.
    fn take_checkpoint_part(
        &mut self,
        offer: &Offer,
        at: u64,
        bytes: &[u8],
        reply: ReplyTo,
    ) -> Result<bool, String> {
        let filling = self.filling_mut();
        let have = filling.checkpoint.len() as u64;
        if at != have || have + bytes.len() as u64 > offer.checkpoint_bytes {
            return Ok(false);
        }
        filling.checkpoint.extend_from_slice(bytes);
        if !filling.has_checkpoint() {
            filling.answers.push(reply);
            return Ok(true);
        }
        let decoded = checkpoint::decode(&filling.checkpoint)?;
        if decoded.applied != offer.until {
            return Err("it is as of another entry than was said".into());
        }
        filling.decoded = Some(decoded);
        match filling.has_journal() {
            true => filling.unanswered.push_back((offer.until.end, reply)),
            false => filling.answers.push(reply),
        }
        Ok(true)
    }

    /// Returns whether it was the next one, and is what it should be.
    fn take_journal_part(
        &mut self,
        offer: &Offer,
        at: Position,
        bytes: Bytes,
        reply: ReplyTo,
    ) -> Result<bool, String> {
        let segment_bytes = self.journal.segment_bytes();
        let filling = self.filling.as_ref().expect("it is being filled");
        let (due, previous) = match filling.last.index {
            LogIndex(0) => (offer.start, before_first(&bytes, at)),
            _ => (self.journal.entry_start(filling.last.end), Some(filling.last)),
        };
        let has_room = filling.waiting_bytes + bytes.len() <= PEER_QUEUE_BYTES_MAX;
        let fits = at.0 % segment_bytes + bytes.len() as u64 <= segment_bytes;
        let is_next = at == due || (filling.last.index.0 > 0 && at > due);
        let Some(previous) = previous else { return Ok(false) };
        if !filling.has_checkpoint() || filling.has_journal() || !has_room || !fits || !is_next {
            return Ok(false);
        }
        let last = match whole_entries(&bytes, at, previous, offer.until.end) {
            Found::Entries { last, end, .. } if end == bytes.len() => last,
            _ => {
                self.following.damaged_messages += 1;
                return Ok(false);
            }
        };
        if last.index >= offer.until.index && last != offer.until {
            return Err("its last entry is another than the one of its checkpoint".into());
        }
        let filling = self.filling_mut();
        filling.last = last;
        filling.waiting_bytes += bytes.len();
        filling.waiting.push_back(Piece { at, bytes, last, reply });
        Ok(true)
    }

    /// What has come is of no use.
    fn begin_anew(&mut self, why: &str) -> FillWork<P> {
        let filling = self.filling_mut();
        let from = filling.offered.map(|offered| offered.from);
        filling.drop_parts();
        filling.stage = Stage::Waiting;
        let from = from.map_or("a node".into(), |from| format!("node {from}"));
        let line = format!("the snapshot of {from} can't be used, and is asked for again: {why}");
        FillWork::Note(LogLevel::Warn, line)
    }

    /// A turn of a group that is being filled.
    pub(crate) fn fill(&mut self, now: Time) -> Vec<FillWork<P>> {
        let mut work = Vec::new();
        match self.filling_mut().stage {
            Stage::Waiting | Stage::Marking | Stage::Finishing => {}
            Stage::Resting => self.rest(now, &mut work),
            Stage::Taking => self.take(now, &mut work),
        }
        let standing = self.standing();
        let answers = std::mem::take(&mut self.filling_mut().answers);
        work.extend(answers.into_iter().map(|to| FillWork::Answer { to, standing }));
        work
    }

    /// Waits until nothing is under way, then marks the group as one that is being filled.
    fn rest(&mut self, now: Time, work: &mut Vec<FillWork<P>>) {
        // What Raft has asked for while there was one.
        if let Some((write, at, page)) = self.poll_vote() {
            work.push(FillWork::WriteVote { write, at, page });
        }
        let is_closed = self.following.is_closed();
        let filling = self.filling_mut();
        let (is_marked, may_write) = (filling.marked, filling.may_write_checkpoint(now));
        if is_closed || !self.is_quiet() || !may_write {
            return;
        }
        if is_marked {
            return self.clear(now, work);
        }
        let filling = self.filling_mut();
        filling.stage = Stage::Marking;
        let given_up = filling.given_up;
        self.checkpoint.begin();
        let bytes = marker(self.id, given_up).into();
        work.push(FillWork::WriteCheckpoint { position: self.checkpoint.position, bytes });
    }

    /// The marker is on disk, and nothing is under way: the journal goes.
    fn clear(&mut self, now: Time, work: &mut Vec<FillWork<P>>) {
        let segment_bytes = self.journal.segment_bytes();
        let filling = self.filling_mut();
        let Some(offered) = &mut filling.offered else {
            filling.stage = Stage::Waiting;
            return;
        };
        let Offer { start, until, .. } = offered.offer;
        filling.answers.extend(offered.reply.take());
        filling.stage = Stage::Taking;
        (filling.heard, filling.last.end) = (now, start);
        let leftovers = std::mem::take(&mut filling.leftovers);
        let first = SegmentId(start.0 / segment_bytes);
        self.journal.restart(first, until.crc, &leftovers);
        self.forget_all();
        work.push(FillWork::Cleared);
    }

    /// Puts what has come into the journal, answers what is on disk, and ends when that is all.
    fn take(&mut self, now: Time, work: &mut Vec<FillWork<P>>) {
        if let Err(why) = self.write_waiting() {
            work.push(self.begin_anew(&why));
            return;
        }
        let flushed = self.journal.flush_position();
        let until = self.filling_mut().offer().map_or(Position(0), |offer| offer.until.end);
        let filling = self.filling_mut();
        // The last one is answered when the group is there.
        while let Some((end, reply)) = filling.unanswered.front().copied()
            && end <= flushed
            && end < until
        {
            filling.answers.push(reply);
            filling.unanswered.pop_front();
        }
        let is_all = filling.decoded.is_some()
            && filling.has_journal()
            && filling.waiting.is_empty()
            && flushed >= until;
        if is_all && filling.may_write_checkpoint(now) && !self.following.is_closed() {
            let filling = self.filling_mut();
            filling.stage = Stage::Finishing;
            let bytes = Bytes::copy_from_slice(&filling.checkpoint);
            self.checkpoint.begin();
            work.push(FillWork::WriteCheckpoint { position: until, bytes });
        }
    }

    fn write_waiting(&mut self) -> Result<(), String> {
        if self.following.is_closed() {
            // They come again.
            return Ok(());
        }
        while let Some(piece) = self.filling_mut().waiting.pop_front() {
            let first = EntryHead::read(&piece.bytes, piece.at).expect("it was checked");
            let bytes = first.entry_bytes();
            if self.room(bytes).is_err() {
                self.filling_mut().waiting.push_front(piece);
                return Ok(());
            }
            if self.journal.due(bytes) != Some(piece.at) {
                self.filling_mut().answers.push(piece.reply);
                return Err(format!("an entry lies at position {}, where none is due", piece.at));
            }
            let page = P::build(piece.bytes.len(), |into| into.copy_from_slice(&piece.bytes));
            self.journal.copy(piece.at, page, piece.last.crc);
            let filling = self.filling_mut();
            filling.waiting_bytes -= piece.bytes.len();
            filling.unanswered.push_back((piece.last.end, piece.reply));
        }
        Ok(())
    }

    /// The marker, or the snapshot's checkpoint, was written, or could not be.
    pub(crate) fn on_fill_checkpoint(
        &mut self,
        result: Result<(), IoFailure>,
        now: Time,
    ) -> Vec<FillWork<P>> {
        let mut work = Vec::new();
        let position = self.checkpoint.position;
        self.checkpoint.done(position, result.is_ok());
        let filling = self.filling_mut();
        match (filling.stage, result) {
            (Stage::Finishing, Ok(())) => work.push(FillWork::Filled),
            (Stage::Marking, Ok(())) => {
                filling.marked = true;
                filling.stage = Stage::Resting;
            }
            (stage @ (Stage::Marking | Stage::Finishing), Err(failure)) => {
                filling.stage = match stage {
                    Stage::Finishing => Stage::Taking,
                    _ => Stage::Resting,
                };
                if filling.retry.is_none() {
                    let line = format!(
                        "the checkpoint of a snapshot could not be written: {failure:?}. This \
                         node takes no part in the group until it can be"
                    );
                    work.push(FillWork::Note(LogLevel::Error, line));
                }
                filling.retry = Some(now + WRITE_RETRY);
            }
            // One of the group as it was before, which was on its way.
            (Stage::Waiting | Stage::Resting | Stage::Taking, _) => {}
        }
        work
    }

    /// If nothing was heard for a while, and nothing is to be done: what to tell the leader.
    pub(crate) fn nudge(&mut self, now: Time) -> Option<Standing> {
        let at_rest = self.journal.is_at_rest();
        let filling = self.filling.as_mut()?;
        let is_idle = match filling.stage {
            Stage::Waiting => true,
            Stage::Taking => filling.waiting.is_empty() && !filling.has_journal() && at_rest,
            Stage::Resting | Stage::Marking | Stage::Finishing => false,
        };
        let is_due = filling.heard == Time(0) || now.since(filling.heard) >= NUDGE_INTERVAL;
        if !is_idle || !is_due {
            return None;
        }
        filling.heard = now;
        Some(self.standing())
    }

    /// The group goes: those who wait for an answer about its snapshot.
    pub(crate) fn give_up_filling(&mut self) -> Vec<ReplyTo> {
        let Some(mut filling) = self.filling.take() else { return Vec::new() };
        filling.drop_parts();
        filling.answers
    }

    /// Takes out what a filled group is made of: its checkpoint, the parts that its leader waits to
    /// be answered, and what is to be logged.
    pub(crate) fn take_filled(&mut self, now: Time) -> Option<(Checkpoint, Vec<ReplyTo>, String)> {
        let mut filling = self.filling.take()?;
        let took = now.since(filling.began);
        let offered = filling.offered?;
        let decoded = filling.decoded.take()?;
        filling.drop_parts();
        let until = offered.offer.until;
        let line = format!(
            "goes on from the snapshot of node {} as of entry {}, position {}, after {took:.1?}",
            offered.from, until.index, until.end
        );
        Some((decoded, filling.answers, line))
    }
}
