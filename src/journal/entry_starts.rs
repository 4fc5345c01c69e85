//! Where some of the entries begin, so that readers may ask for several chunks at once.
//!
//! Entries tell their sizes themselves, so whoever reads from one to the next doesn't know where a
//! second read should begin before the first is there, and a disk that is asked for one thing at a
//! time gives half of what it has. What was written since the start of the process is remembered
//! here, a place for about every chunk: 8 bytes for each MiB of journal.

use std::collections::VecDeque;

use crate::limits::READ_CHUNK_BYTES;
use crate::model::position::Position;

/// A chunk that ends where an entry is known to begin may be so much larger than others.
const CHUNK_BYTES_MAX: u64 = READ_CHUNK_BYTES as u64 / 4 * 5;

/// See the module.
#[derive(Debug, Default)]
pub struct EntryStarts {
    /// In order, a chunk apart or more.
    starts: VecDeque<Position>,
}

impl EntryStarts {
    /// An entry begins here, behind all that are known.
    pub fn note(&mut self, position: Position) {
        let near = |last: &Position| position.0 < last.0 + READ_CHUNK_BYTES as u64;
        if !self.starts.back().is_some_and(near) {
            self.starts.push_back(position);
        }
    }

    /// What lies at `cut` or behind it is no more.
    pub fn truncate(&mut self, cut: Position) {
        self.starts.truncate(self.starts.partition_point(|start| *start < cut));
    }

    /// What lies before `start` is no more.
    pub fn trim(&mut self, start: Position) {
        self.starts.drain(..self.starts.partition_point(|first| *first < start));
    }

    /// The end of a chunk of whole entries that begins at `position`, if one is known near enough.
    pub fn chunk_end(&self, position: Position) -> Option<Position> {
        let next = self.starts.partition_point(|start| *start <= position);
        let end = *self.starts.get(next)?;
        (end.0 - position.0 <= CHUNK_BYTES_MAX).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = READ_CHUNK_BYTES as u64;

    #[test]
    fn a_chunk_ends_where_an_entry_begins_that_was_written_and_is_still_there() {
        let mut starts = EntryStarts::default();
        assert_eq!(starts.chunk_end(Position(0)), None);
        let entry = CHUNK / 4 - 4096;
        for n in 0..20 {
            starts.note(Position(4096 + n * entry));
        }
        // Five entries are just more than a chunk.
        let end = |n| Some(Position(4096 + n * entry));
        assert_eq!(starts.chunk_end(Position(4096)), end(5));
        assert_eq!(starts.chunk_end(Position(4096 + 3 * entry)), end(5));
        assert_eq!(starts.chunk_end(Position(4096 + 5 * entry)), end(10));
        assert_eq!(starts.chunk_end(Position(4096 + 15 * entry)), None);
        starts.truncate(Position(4096 + 10 * entry));
        assert_eq!(starts.chunk_end(Position(4096 + 5 * entry)), None);
        starts.note(Position(4096 + 10 * entry));
        assert_eq!(starts.chunk_end(Position(4096 + 5 * entry)), end(10));
        starts.trim(Position(4096 + 6 * entry));
        assert_eq!(starts.chunk_end(Position(4096 + 4 * entry)), None, "too far to the next");
        assert_eq!(starts.chunk_end(Position(4096 + 6 * entry)), end(10));
    }
}
