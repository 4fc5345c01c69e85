//! Looking at what a journal holds at some place of the disk: which whole entries follow the one
//! that ends there.
//!
//! They lie next to it or, if the first of them did not fit there, at the start of the next
//! segment. Only what is committed and on this disk is looked at: nothing of that changes any more
//! but by a repair.

use crate::journal::Journal;
use crate::journal::format::{Entry, EntryHead};
use crate::journal::page::Page;
use crate::limits::ENTRY_ALIGN_BYTES;
use crate::model::position::Position;
use crate::shard::peers::repair_wire::JournalPlace;

/// A look, from its first read to its last.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub place: JournalPlace,
    /// What is being read.
    reading: Position,
    bytes: usize,
    /// A larger read has failed: one entry at a time.
    careful: bool,
}

/// What a look has come to.
#[derive(Debug)]
pub enum Looked<P> {
    /// It needs this read, which lies in one segment.
    Read { position: Position, bytes: usize },
    /// These whole entries follow, each the one before it, from the front of the page to `end`.
    Entries { page: P, heads: Vec<EntryHead>, end: Position },
    /// One should follow, and there is none.
    Bad {
        /// The end of what lies there, as it says.
        says: Option<Position>,
    },
    /// Nothing follows before the end of what can be looked at.
    End,
}

impl Look {
    /// A look at what follows `place`, so many bytes at a time.
    pub fn new(place: JournalPlace, bytes: usize) -> Look {
        Look { place, reading: place.at, bytes, careful: false }
    }

    /// Begins. `limit` is the end of what can be looked at.
    pub fn begin<P: Page>(&mut self, journal: &Journal<P>, limit: Position) -> Looked<P> {
        self.reading = journal.entry_start(self.place.at);
        self.read(journal, limit)
    }

    fn read<P: Page>(&self, journal: &Journal<P>, limit: Position) -> Looked<P> {
        if self.reading >= limit {
            return Looked::End;
        }
        let left = self.until(journal, limit).0 - self.reading.0;
        let bytes = (self.bytes as u64).min(left) as usize;
        Looked::Read { position: self.reading, bytes }
    }

    /// The end of what can be looked at where it reads.
    fn until<P: Page>(&self, journal: &Journal<P>, limit: Position) -> Position {
        journal.readable_until(self.reading).min(limit)
    }

    /// Goes on with what was read, or with that it can't be.
    pub fn on_read<P: Page>(
        &mut self,
        journal: &Journal<P>,
        limit: Position,
        page: Option<P>,
    ) -> Looked<P> {
        let Some(page) = page else {
            if self.careful {
                return self.not_here(journal, limit, None);
            }
            self.careful = true;
            self.bytes = ENTRY_ALIGN_BYTES;
            return self.read(journal, limit);
        };
        let bytes = page.bytes();
        let until = self.until(journal, limit);
        let head = EntryHead::read(bytes, self.reading).filter(|head| head.end() <= until);
        let Some(head) = head else { return self.not_here(journal, limit, None) };
        if head.entry_bytes() > bytes.len() {
            if head.entry_bytes() > self.bytes {
                self.bytes = head.entry_bytes();
                return self.read(journal, limit);
            }
            return self.not_here(journal, limit, None);
        }
        let (heads, end) = follow(bytes, self.reading, limit, self.place.previous_crc);
        if heads.is_empty() {
            return self.not_here(journal, limit, Some(head));
        }
        Looked::Entries { page, heads, end }
    }

    /// What is looked for isn't where it was looked for.
    fn not_here<P: Page>(
        &mut self,
        journal: &Journal<P>,
        limit: Position,
        there: Option<EntryHead>,
    ) -> Looked<P> {
        let next = journal.next_segment_start(self.place.at);
        let at = journal.entry_start(self.place.at);
        // Without the checksum before it nobody can tell it from something else, and the first
        // entry of a segment is always there.
        let may_be_next = self.place.previous_crc.is_some() && self.reading == at && next < limit;
        if may_be_next && !journal.is_segment_start(at) {
            self.reading = next;
            return self.read(journal, limit);
        }
        let is_ours = |head: &EntryHead| {
            self.place.previous_crc.is_none_or(|crc| crc == head.header.previous_crc)
        };
        Looked::Bad { says: there.filter(is_ours).map(|head| head.end()) }
    }
}

/// The whole entries at the front of `bytes`, which lie at `position`: the first follows that of
/// the checksum `previous_crc`, each other one the one before.
fn follow(
    bytes: &[u8],
    position: Position,
    limit: Position,
    mut previous_crc: Option<u32>,
) -> (Vec<EntryHead>, Position) {
    let (mut heads, mut end) = (Vec::new(), position);
    while let Some(entry) = bytes.get((end.0 - position.0) as usize..)
        && let Some(entry) = Entry::read(entry, end)
        && entry.end() <= limit
        && previous_crc.is_none_or(|crc| crc == entry.header.previous_crc)
    {
        heads.push(EntryHead { header: entry.header, crc: entry.crc });
        previous_crc = Some(entry.crc);
        end = entry.end();
    }
    (heads, end)
}

#[cfg(test)]
mod tests;
