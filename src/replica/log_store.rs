//! The Raft log as raft-rs reads it: descriptors in memory, bytes in the journal.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use crate::limits::RAFT_ENTRIES_PER_MESSAGE_MAX;
use crate::model::position::{LogIndex, Position, Term};

/// Where an entry lies in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub position: Position,
    /// On disk, padding included.
    pub bytes: u32,
    pub crc: u32,
}

impl Descriptor {
    /// The first position after the entry.
    pub fn end(&self) -> Position {
        Position(self.position.0 + u64::from(self.bytes))
    }

    /// As Raft carries it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16);
        bytes.extend(self.position.0.to_le_bytes());
        bytes.extend(self.bytes.to_le_bytes());
        bytes.extend(self.crc.to_le_bytes());
        bytes
    }

    /// The descriptor in an entry's context. `None` for the entries that Raft makes itself.
    pub fn decode(context: &[u8]) -> Option<Descriptor> {
        let data: &[u8; 16] = context.try_into().ok()?;
        Some(Descriptor {
            position: Position(u64::from_le_bytes(data[0..8].try_into().ok()?)),
            bytes: u32::from_le_bytes(data[8..12].try_into().ok()?),
            crc: u32::from_le_bytes(data[12..16].try_into().ok()?),
        })
    }
}

/// One entry of the log. Entries of Raft's own have no place until the journal gives them one.
struct Stored {
    entry: Entry,
    descriptor: Option<Descriptor>,
}

/// The entries behind `base`, all in memory.
pub struct LogStore {
    hard_state: HardState,
    conf_state: ConfState,
    base_index: u64,
    base_term: u64,
    base_end: Position,
    /// Where each term begins in what is compacted, as far as it was in memory: the first is that
    /// of the oldest entry, whose term may have begun before.
    terms: VecDeque<(u64, u64)>,
    entries: VecDeque<Stored>,
}

/// Terms remembered of what is compacted.
const TERMS_MAX: usize = 1024;

impl LogStore {
    /// A log that begins behind `base`.
    pub fn new(
        hard_state: HardState,
        conf_state: ConfState,
        base: (LogIndex, Term, Position),
        entries: Vec<(Term, Descriptor)>,
    ) -> LogStore {
        let (base_index, base_term, base_end) = base;
        let entries = (base_index.0 + 1..)
            .zip(entries)
            .map(|(index, (term, descriptor))| Stored {
                entry: recovered_entry(index, term, &descriptor),
                descriptor: Some(descriptor),
            })
            .collect();
        LogStore {
            hard_state,
            conf_state,
            base_index: base_index.0,
            base_term: base_term.0,
            base_end,
            terms: VecDeque::from([(base_index.0, base_term.0)]),
            entries,
        }
    }

    /// Whether term or vote differ from what was last set.
    pub fn vote_differs(&self, hard_state: &HardState) -> bool {
        hard_state.term != self.hard_state.term || hard_state.vote != self.hard_state.vote
    }

    /// Replaces term, vote and commit.
    pub fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    /// Adds an entry that Raft handed out, in the place of it and all behind it.
    pub fn append(&mut self, entry: Entry) {
        assert!(entry.index > self.base_index, "what is compacted is committed");
        assert!(entry.index <= self.last() + 1, "the log has no gap");
        self.entries.truncate((entry.index - self.base_index - 1) as usize);
        let descriptor = Descriptor::decode(&entry.context);
        self.entries.push_back(Stored { entry, descriptor });
    }

    /// Gives an entry of Raft's own its place.
    pub fn place(&mut self, index: LogIndex, descriptor: Descriptor) {
        let at = (index.0 - self.base_index - 1) as usize;
        self.entries[at].descriptor = Some(descriptor);
    }

    /// Where an entry lies, if it is in memory and has a place.
    pub fn place_of(&self, index: u64) -> Option<Descriptor> {
        self.stored(index)?.descriptor
    }

    /// Forgets the entries up to and with `index`.
    pub fn compact(&mut self, index: u64) {
        while self.base_index < index {
            let Some(first) = self.entries.pop_front() else { return };
            if first.entry.term != self.base_term {
                self.terms.push_back((first.entry.index, first.entry.term));
            }
            if self.terms.len() > TERMS_MAX {
                self.terms.pop_front();
            }
            self.base_index = first.entry.index;
            self.base_term = first.entry.term;
            self.base_end = first.descriptor.expect("what is applied has a place").end();
        }
    }

    /// The first position after an entry; for one that is compacted, where the log begins.
    pub fn end_of(&self, index: LogIndex) -> Position {
        match self.stored(index.0) {
            Some(stored) => stored.descriptor.map_or(self.base_end, |place| place.end()),
            None => self.base_end,
        }
    }

    /// The term of an entry that is in memory.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index.0 == self.base_index {
            return Some(Term(self.base_term));
        }
        self.stored(index.0).map(|stored| Term(stored.entry.term))
    }

    /// Whether the log is known to have had an entry of this term at this index, whether it is in
    /// memory or not. There can be only one: a term has one leader. What is older than all that was
    /// ever in memory is known only of the term that this began with: then it was that term's
    /// leader who made both, and put the one before the other.
    pub fn has_had(&self, index: LogIndex, term: Term) -> bool {
        if index.0 > self.base_index {
            return self.term_at(index) == Some(term);
        }
        let later = self.terms.partition_point(|(first, _)| *first <= index.0);
        let known = self.terms.get(later.saturating_sub(1));
        known.is_some_and(|(_, known)| *known == term.0)
    }

    fn stored(&self, index: u64) -> Option<&Stored> {
        let at = index.checked_sub(self.base_index + 1)?;
        self.entries.get(at as usize)
    }

    /// The last entry's index.
    pub fn last(&self) -> u64 {
        self.base_index + self.entries.len() as u64
    }
}

impl Storage for LogStore {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.base_index {
            return Err(Error::Store(StorageError::Compacted));
        }
        // The bound is on payload, not on descriptors: that is what a follower is sent.
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let mut entries = Vec::new();
        // Only what is sent is bounded: Raft asks without a bound for what it wants to look at.
        let high = if bytes_max == u64::MAX {
            high
        } else {
            high.min(low + RAFT_ENTRIES_PER_MESSAGE_MAX as u64)
        };
        for index in low..high {
            let stored = self.stored(index).ok_or(Error::Store(StorageError::Unavailable))?;
            bytes += stored.descriptor.map_or(0, |descriptor| u64::from(descriptor.bytes));
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(stored.entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> Result<u64> {
        match self.term_at(LogIndex(index)) {
            Some(term) => Ok(term.0),
            None if index < self.base_index => Err(Error::Store(StorageError::Compacted)),
            None => Err(Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.base_index + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> Result<Snapshot> {
        // Only asked for by a leader with followers that lag behind the log.
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

fn recovered_entry(index: u64, term: Term, descriptor: &Descriptor) -> Entry {
    let context = Bytes::from(descriptor.encode());
    Entry { index, term: term.0, context, ..Entry::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with an entry of a block for each of these terms behind `base`.
    fn log(base: (u64, u64), terms: &[u64]) -> LogStore {
        let place = |number: usize| Descriptor {
            position: Position(4096 * (1 + number as u64)),
            bytes: 4096,
            crc: number as u32,
        };
        let entries = terms.iter().enumerate().map(|(at, term)| (Term(*term), place(at)));
        let base = (LogIndex(base.0), Term(base.1), Position(4096));
        LogStore::new(HardState::default(), ConfState::default(), base, entries.collect())
    }

    #[test]
    fn what_the_log_has_had_is_known_as_far_as_it_was_in_memory() {
        let terms = [3, 3, 5, 5, 5, 8];
        for compacted in [0, 1, 2, 3, 5, 6] {
            let mut log = log((10, 3), &terms);
            log.compact(10 + compacted);
            for (index, term) in (11..).zip(terms) {
                for asked in 0..10 {
                    let has_had = log.has_had(LogIndex(index), Term(asked));
                    assert_eq!(has_had, asked == term, "{index}, {asked}, {compacted}");
                }
            }
            assert!(!log.has_had(LogIndex(17), Term(8)), "nothing is there yet");
            assert!(log.has_had(LogIndex(10), Term(3)) && !log.has_had(LogIndex(10), Term(2)));
            // Whoever has one of term 3 there has it from the leader who made ours of term 3.
            assert!(log.has_had(LogIndex(9), Term(3)));
            assert!(!log.has_had(LogIndex(9), Term(2)), "it may be or not");
        }
    }

    #[test]
    fn old_terms_are_forgotten_and_never_mistaken() {
        let terms: Vec<u64> = (1..=2 * TERMS_MAX as u64).collect();
        let mut log = log((0, 0), &terms);
        log.compact(terms.len() as u64);
        assert_eq!(log.terms.len(), TERMS_MAX);
        assert!(
            log.has_had(LogIndex(2000), Term(2000)) && !log.has_had(LogIndex(2000), Term(1999))
        );
        assert!(!log.has_had(LogIndex(5), Term(5)) && !log.has_had(LogIndex(5), Term(4)));
    }
}
