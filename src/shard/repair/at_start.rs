//! Damage that a start finds behind the last checkpoint: there it must know every entry.
//!
//! A node must not take part without entries that it once had on disk: it has said so, and others
//! may have counted on it. So before its group is opened at all, the damaged entry is asked for by
//! what comes before it, and written in its place. What another node gives is committed there.
//!
//! It may be that what lies here around the damage was never committed: this node led once, and
//! nobody else had it. Then the others have something else in its place, and go back to where both
//! are the same. The first entry that follows there is written over what was here, and recovery
//! lets go of the rest, which is of an earlier term.

use crate::journal::format::{Entry, EntryHead, SEGMENT_HEADER_BYTES};
use crate::journal::segments::Segments;
use crate::journal::source::SegmentSource;
use crate::limits::ENTRY_ALIGN_BYTES;
use crate::model::ids::{GroupId, SegmentId};
use crate::model::position::{Position, Term};
use crate::shard::peers::repair_wire::JournalPlace;

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
}

/// Asks a node for the entry that follows a place: it has it, or doesn't, or can't be asked.
pub type Ask<'a> = dyn FnMut(JournalPlace) -> Result<Option<Vec<u8>>, String> + 'a;

/// Writes into a segment's file, and has it on disk.
pub type Write<'a> = dyn FnMut(SegmentId, u64, &[u8]) -> Result<(), String> + 'a;

impl DamageAtStart {
    /// Where the damage is.
    pub fn position(&self) -> Position {
        self.layout().entry_start(self.last().end)
    }

    /// Writes what a node has in the place of what is damaged. Returns how many entries that were;
    /// if there were any, the group is to be looked at anew.
    ///
    /// # Errors
    /// A sentence, if the node can't be asked, its journal differs, or the disk can't be written.
    pub fn mend(
        &mut self,
        source: &mut dyn SegmentSource,
        ask: &mut Ask<'_>,
        write: &mut Write<'_>,
    ) -> Result<u64, String> {
        let Some((position, mut bytes)) = self.find(ask)? else { return Ok(0) };
        let mut at = position;
        let mut written = 0;
        loop {
            let (segment, byte) = self.layout().locate(at);
            if !self.segments.contains(&segment) {
                return Ok(written);
            }
            write(segment, byte, &bytes)?;
            written += 1;
            let entry = Entry::of_page(&bytes, at);
            let (end, term, crc) = (entry.end(), entry.header.term, entry.crc);
            self.believed.push(Believed { end, term, crc });
            if self.goes_on(source) {
                return Ok(written);
            }
            match self.ask_behind(self.believed.len() - 1, ask)? {
                Some(next) => (at, bytes) = next,
                None => return Ok(written),
            }
        }
    }

    /// The entry that belongs where the damage is; or else the first that follows what both nodes
    /// have and that is another one than here. Forgets what doesn't come before it.
    fn find(&mut self, ask: &mut Ask<'_>) -> Result<Option<(Position, Vec<u8>)>, String> {
        let last = self.believed.len() - 1;
        if let Some(found) = self.ask_behind(last, ask)? {
            return Ok(Some(found));
        }
        // It has what follows the first of these, and not what follows the last, if it has any.
        let (mut same, mut none) = (0, last);
        while same < none {
            let at = (same + none) / 2;
            let Some((position, bytes)) = self.ask_behind(at, ask)? else {
                none = at;
                continue;
            };
            let (there, here) = (Entry::of_page(&bytes, position), self.believed[at + 1]);
            if there.crc == here.crc {
                same = at + 1;
                continue;
            }
            if there.header.term <= here.term {
                return Err(format!(
                    "its journal has another entry at position {position}, of term {}, and here \
                     one of term {} lies there: compare the nodes with 'hutong journal verify \
                     --against'",
                    there.header.term, here.term
                ));
            }
            self.believed.truncate(at + 1);
            return Ok(Some((position, bytes)));
        }
        Ok(None)
    }

    /// The entry that a node has behind one that is believed, and where it lies.
    fn ask_behind(
        &self,
        at: usize,
        ask: &mut Ask<'_>,
    ) -> Result<Option<(Position, Vec<u8>)>, String> {
        let Believed { end, crc, .. } = self.believed[at];
        let place = JournalPlace { group: self.group, at: end, previous_crc: Some(crc) };
        let Some(bytes) = ask(place)? else { return Ok(None) };
        let fits = |position: &Position| {
            let (_, byte) = self.layout().locate(*position);
            byte + bytes.len() as u64 <= self.segment_bytes
                && Entry::read(&bytes, *position).is_some_and(|entry| {
                    entry.header.previous_crc == crc
                        && entry.end().0 - position.0 == bytes.len() as u64
                })
        };
        match self.places_behind(end).into_iter().find(fits) {
            Some(position) => Ok(Some((position, bytes))),
            None => Err(format!("what it sent is no entry that follows position {end}")),
        }
    }

    /// Whether what lies here behind the last entry follows it.
    fn goes_on(&self, source: &mut dyn SegmentSource) -> bool {
        let last = *self.last();
        self.places_behind(last.end).into_iter().any(|position| {
            let (segment, byte) = self.layout().locate(position);
            let mut read = |bytes: usize| {
                let mut into = vec![0; bytes];
                let fits = byte + bytes as u64 <= self.segment_bytes;
                let there = fits && self.segments.contains(&segment);
                (there && source.read(self.group, segment, byte, &mut into).is_ok()).then_some(into)
            };
            let head = read(ENTRY_ALIGN_BYTES).and_then(|block| EntryHead::read(&block, position));
            let follows = head.filter(|head| head.header.previous_crc == last.crc);
            let bytes = follows.and_then(|head| read(head.entry_bytes()));
            bytes.is_some_and(|bytes| Entry::read(&bytes, position).is_some())
        })
    }

    fn last(&self) -> &Believed {
        self.believed.last().expect("the checkpoint's is there")
    }

    fn layout(&self) -> Segments {
        Segments::new(self.segment_bytes, SegmentId(0), SegmentId(0))
    }

    fn places_behind(&self, end: Position) -> [Position; 2] {
        let layout = self.layout();
        let at = layout.entry_start(end);
        match layout.locate(at).1 {
            SEGMENT_HEADER_BYTES => [at, at],
            _ => [at, layout.next_segment_start(at)],
        }
    }
}
