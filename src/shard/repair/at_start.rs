//! Damage that a start finds behind the last checkpoint: there it must know every entry.
//!
//! A node must not take part without entries that it once had on disk: it has said so, and others
//! may have counted on it. So before its group is opened at all, the damaged entry is asked for by
//! what comes before it, and written in its place.
//!
//! What lay here is told from all else by the entries behind it: the first whole one names the
//! checksum of the one before, and so of all before that. A run of entries of another node's that
//! leads up to it is what lay here, byte for byte, whether it was ever committed or not. So any
//! node may give it that has it, also one that waits to be mended itself (`held`).
//!
//! It may be that what lies here around the damage was never committed: this node led once, and
//! nobody else had it. Then the others have something else in its place, which follows where both
//! are the same. It is taken if it is known to be committed, or from a leader in a term that isn't
//! before the last this node knows: whoever runs gives up for that leader what it doesn't have. So
//! a leader needs no majority for it, which it may not have before this node is open. What follows
//! is written over what was here, and recovery lets go of the rest, which is of an earlier term.
//!
//! It may also be that the others have let go of it. Then the group is opened without its journal,
//! and waits for a snapshot (`snapshot_transfer`); but not before one of them leads it, so that
//! they can do without this node, and without what it can still give to others.
//!
//! As long as a node waits it gives others what they ask for (`held`); and those that run, and so
//! can't ask it, it asks what they lack (`give_held`).

use crate::journal::format::{Entry, EntryHead, SEGMENT_HEADER_BYTES};
use crate::journal::recovery::Truncation;
use crate::journal::segments::Segments;
use crate::journal::source::SegmentSource;
use crate::limits::{ENTRY_ALIGN_BYTES, ENTRY_BYTES_MAX};
use crate::model::ids::{GroupId, SegmentId};
use crate::model::position::{Position, Term};
use crate::shard::peers::repair_wire::{JournalPlace, NotHeld};

/// An entry that is believed, as far as it matters to the one behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Believed {
    /// The first position after it.
    pub end: Position,
    pub term: Term,
    pub crc: u32,
}

/// A group that can't be opened as it is.
#[derive(Debug)]
pub struct DamageAtStart {
    pub group: GroupId,
    /// The segments there are.
    pub segments: Vec<SegmentId>,
    pub segment_bytes: u64,
    /// What comes before the damage: what the checkpoint ends with, then the entries behind it.
    pub believed: Vec<Believed>,
    /// Where the entry lies that proves that something else lay before it.
    pub proof: Position,
    /// The last term that this node has promised to know of: it has acknowledged nothing of a later
    /// one.
    pub term: Term,
    /// The last time that a leader had entries cut off here, if ever.
    pub truncation: Option<Truncation>,
}

/// Another node, as it is asked for what is damaged here.
pub trait OtherNode {
    /// The entry that follows a place and is known to be committed there, if any; or any that
    /// follows, if the node leads the group in this term or a later one.
    ///
    /// # Errors
    /// A sentence, if the node can't be asked.
    fn led(&mut self, place: JournalPlace, term: Term) -> Result<Option<Vec<u8>>, String>;

    /// The entry that follows a place there, committed or not.
    ///
    /// # Errors
    /// A sentence, if the node can't be asked.
    fn held(&mut self, place: JournalPlace) -> Result<Result<Vec<u8>, NotHeld>, String>;
}

/// Another node, which may run, as it is given what is damaged there.
pub trait RunningNode {
    /// The places of a group where entries are damaged there that no node has which runs.
    ///
    /// # Errors
    /// A sentence, if the node can't be asked.
    fn damaged(&mut self, group: GroupId) -> Result<Vec<JournalPlace>, String>;

    /// Gives it the entry that follows such a place here, committed or not.
    ///
    /// # Errors
    /// A sentence, if it can't be given.
    fn give(&mut self, place: JournalPlace, entry: &[u8]) -> Result<(), String>;
}

/// What has come of asking a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// So many entries were written; the group is to be looked at anew.
    Entries(u64),
    /// It doesn't have what is damaged.
    Nothing,
    /// It has let go of it, and leads the group: it can give a snapshot.
    Trimmed,
}

/// Writes into a segment's file, and has it on disk.
pub type Write<'a> = dyn FnMut(SegmentId, u64, &[u8]) -> Result<(), String> + 'a;

/// Entries and where they belong, each behind the one before.
type Run = Vec<(Position, Vec<u8>)>;

impl DamageAtStart {
    /// Where the damage is.
    pub fn position(&self) -> Position {
        layout(self.segment_bytes).entry_start(self.last().end)
    }

    /// Writes what a node has in the place of what is damaged.
    ///
    /// # Errors
    /// A sentence, if the node can't be asked, its journal differs, or the disk can't be written.
    pub fn mend(
        &mut self,
        source: &mut dyn SegmentSource,
        other: &mut dyn OtherNode,
        write: &mut Write<'_>,
    ) -> Result<Mended, String> {
        let run = match self.what_lay_here(source, other)? {
            Ok(run) => run,
            Err(NotHeld::Trimmed) => return Ok(Mended::Trimmed),
            Err(NotHeld::Nothing) => return self.take_led(source, other, write),
        };
        let mut before = self.last().end;
        for (position, bytes) in &run {
            self.put(before, *position, bytes, write)?;
            before = Position(position.0 + bytes.len() as u64);
        }
        Ok(Mended::Entries(run.len() as u64))
    }

    /// Writes an entry behind one that ends at `before`. If it lies in the next segment, what is
    /// left of this one begins with zeros from now on, as a journal writes them: else recovery
    /// would come upon what was never committed there, and take that.
    fn put(
        &self,
        before: Position,
        position: Position,
        bytes: &[u8],
        write: &mut Write<'_>,
    ) -> Result<(), String> {
        let layout = layout(self.segment_bytes);
        let (segment, byte) = layout.locate(position);
        write(segment, byte, bytes)?;
        if let Some(unused) = layout.unused_before(before, position) {
            let (segment, byte) = layout.locate(unused);
            write(segment, byte, &[0; ENTRY_ALIGN_BYTES])?;
        }
        Ok(())
    }

    /// Entries of another node's from the damage on, up to one that is whole here.
    fn what_lay_here(
        &self,
        source: &mut dyn SegmentSource,
        other: &mut dyn OtherNode,
    ) -> Result<Result<Run, NotHeld>, String> {
        let mut run = Run::new();
        let mut last = *self.last();
        loop {
            let bytes = match other.held(self.place_behind(&last))? {
                Ok(bytes) => bytes,
                Err(why) if run.is_empty() => return Ok(Err(why)),
                Err(_) => return Ok(Err(NotHeld::Nothing)),
            };
            let position = self.position_of(&last, &bytes)?;
            last = believed(&Entry::of_page(&bytes, position));
            if last.end > self.proof || !self.has_segment(position) {
                // It leads past what is whole here.
                return Ok(Err(NotHeld::Nothing));
            }
            run.push((position, bytes));
            if self.goes_on(&last, source) {
                return Ok(Ok(run));
            }
        }
    }

    /// Writes what is committed elsewhere, or what a leader has, over what was never committed
    /// here, or in the place of what is damaged in several places.
    fn take_led(
        &mut self,
        source: &mut dyn SegmentSource,
        other: &mut dyn OtherNode,
        write: &mut Write<'_>,
    ) -> Result<Mended, String> {
        let Some((position, mut bytes)) = self.find(other)? else { return Ok(Mended::Nothing) };
        let mut at = position;
        let mut written = 0;
        while self.has_segment(at) {
            self.put(self.last().end, at, &bytes, write)?;
            written += 1;
            let last = believed(&Entry::of_page(&bytes, at));
            self.believed.push(last);
            if self.goes_on(&last, source) {
                break;
            }
            match self.ask_behind(self.believed.len() - 1, other)? {
                Some(next) => (at, bytes) = next,
                None => break,
            }
        }
        Ok(if written > 0 { Mended::Entries(written) } else { Mended::Nothing })
    }

    /// The entry that belongs where the damage is; or else the first that follows what both nodes
    /// have and that is another one than here. Forgets what doesn't come before it.
    fn find(&mut self, other: &mut dyn OtherNode) -> Result<Option<(Position, Vec<u8>)>, String> {
        let last = self.believed.len() - 1;
        if let Some(found) = self.ask_behind(last, other)? {
            return Ok(Some(found));
        }
        // It has what follows the first of these, if it has any. What is damaged there it has not,
        // too, so the way goes from the last one back: by ever longer steps to one that it has, and
        // from there one by one.
        let mut step = 1;
        let mut first = last;
        while first > 0 {
            first = last.saturating_sub(step);
            step *= 2;
            if self.ask_behind(first, other)?.is_some() {
                break;
            }
        }
        for at in (first..last).rev() {
            let Some((position, bytes)) = self.ask_behind(at, other)? else { continue };
            let (there, here) = (Entry::of_page(&bytes, position), self.believed[at + 1]);
            if there.crc == here.crc {
                return Ok(None);
            }
            if there.header.term == here.term {
                return Err(format!(
                    "its journal has another entry at position {position} than lies here, and \
                     both are of term {}: compare the nodes with 'hutong journal verify --against'",
                    here.term
                ));
            }
            self.believed.truncate(at + 1);
            return Ok(Some((position, bytes)));
        }
        Ok(None)
    }

    /// The entry that a node has behind one that is believed, and where it lies; see
    /// [`OtherNode::led`].
    fn ask_behind(
        &self,
        at: usize,
        other: &mut dyn OtherNode,
    ) -> Result<Option<(Position, Vec<u8>)>, String> {
        let last = &self.believed[at];
        let Some(bytes) = other.led(self.place_behind(last), self.term)? else { return Ok(None) };
        Ok(Some((self.position_of(last, &bytes)?, bytes)))
    }

    fn place_behind(&self, last: &Believed) -> JournalPlace {
        JournalPlace { group: self.group, at: last.end, previous_crc: Some(last.crc) }
    }

    /// Where an entry belongs that another node has behind `last`.
    fn position_of(&self, last: &Believed, bytes: &[u8]) -> Result<Position, String> {
        let layout = layout(self.segment_bytes);
        let fits = |position: &Position| {
            let (_, byte) = layout.locate(*position);
            byte + bytes.len() as u64 <= self.segment_bytes
                && Entry::read(bytes, *position).is_some_and(|entry| {
                    entry.header.previous_crc == last.crc
                        && entry.end().0 - position.0 == bytes.len() as u64
                })
        };
        let found = places_behind(&layout, last.end).into_iter().find(fits);
        found.ok_or_else(|| format!("what it sent is no entry that follows position {}", last.end))
    }

    /// Whether what lies here behind an entry follows it, and isn't left over from before a cut.
    fn goes_on(&self, last: &Believed, source: &mut dyn SegmentSource) -> bool {
        let (at, previous_crc) = (last.end, Some(last.crc));
        let place = JournalPlace { group: self.group, at, previous_crc };
        let found = held(source, self.segment_bytes, place);
        let head = found.and_then(|(position, bytes)| EntryHead::read(&bytes, position));
        head.is_some_and(|head| !self.truncation.is_some_and(|cut| cut.may_have_cut(&head)))
    }

    fn has_segment(&self, position: Position) -> bool {
        self.segments.contains(&layout(self.segment_bytes).locate(position).0)
    }

    fn last(&self) -> &Believed {
        self.believed.last().expect("the checkpoint's is there")
    }
}

/// What the files of a group hold behind a place: what a node can give to others though it isn't
/// open. It may never have been committed.
pub fn held(
    source: &mut dyn SegmentSource,
    segment_bytes: u64,
    place: JournalPlace,
) -> Option<(Position, Vec<u8>)> {
    let layout = layout(segment_bytes);
    let group = place.group;
    let places = places_behind(&layout, place.at);
    let places = &places[..1 + usize::from(place.previous_crc.is_some())];
    places.iter().find_map(|&position| {
        let (segment, byte) = layout.locate(position);
        let mut read = |bytes: usize| {
            let mut into = vec![0; bytes];
            let fits = byte + bytes as u64 <= segment_bytes;
            (fits && source.read(group, segment, byte, &mut into).is_ok()).then_some(into)
        };
        let head = read(ENTRY_ALIGN_BYTES).and_then(|block| EntryHead::read(&block, position))?;
        let follows = place.previous_crc.is_none_or(|crc| crc == head.header.previous_crc);
        if head.entry_bytes() > ENTRY_BYTES_MAX || !follows {
            return None;
        }
        let bytes = read(head.entry_bytes())?;
        Entry::read(&bytes, position).is_some().then_some((position, bytes))
    })
}

/// Gives another node what is damaged there of a group, as far as these files hold it.
///
/// # Errors
/// A sentence, if the node can't be asked.
pub fn give_held(
    source: &mut dyn SegmentSource,
    segment_bytes: u64,
    group: GroupId,
    other: &mut dyn RunningNode,
) -> Result<(), String> {
    for place in other.damaged(group)? {
        if let Some((_, bytes)) = held(source, segment_bytes, place) {
            other.give(place, &bytes)?;
        }
    }
    Ok(())
}

fn believed(entry: &Entry<'_>) -> Believed {
    Believed { end: entry.end(), term: entry.header.term, crc: entry.crc }
}

fn layout(segment_bytes: u64) -> Segments {
    Segments::new(segment_bytes, SegmentId(0), SegmentId(0))
}

fn places_behind(layout: &Segments, end: Position) -> [Position; 2] {
    let at = layout.entry_start(end);
    match layout.locate(at).1 {
        SEGMENT_HEADER_BYTES => [at, at],
        _ => [at, layout.next_segment_start(at)],
    }
}
