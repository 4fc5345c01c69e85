//! Which writes are out, and up to where everything is on disk.
//!
//! Writes complete in any order; *flush* moves over the contiguous prefix only.

use std::collections::VecDeque;

use crate::model::ids::WriteId;
use crate::model::position::Position;

/// The writes in flight of one journal.
#[derive(Debug)]
pub struct Flush {
    writes: VecDeque<Write>,
    flushed: Position,
    next: u64,
}

#[derive(Debug)]
struct Write {
    end: Position,
    done: bool,
}

impl Flush {
    /// Nothing in flight, everything before `flushed` on disk.
    pub fn new(flushed: Position) -> Flush {
        Flush { writes: VecDeque::new(), flushed, next: 1 }
    }

    /// A write of everything up to `end`, behind those begun before.
    pub fn begin(&mut self, end: Position) -> WriteId {
        self.writes.push_back(Write { end, done: false });
        self.next += 1;
        WriteId(self.next - 1)
    }

    /// A write is on disk. Returns the flush position if it moved.
    ///
    /// # Panics
    /// If the write wasn't out: each has just one completion.
    pub fn complete(&mut self, write: WriteId) -> Option<Position> {
        let first = self.next - self.writes.len() as u64;
        let at = write.0.checked_sub(first).expect("a write completes once") as usize;
        let completed = &mut self.writes[at];
        assert!(!completed.done, "a write completes once");
        completed.done = true;
        let before = self.flushed;
        while self.writes.front().is_some_and(|write| write.done) {
            self.flushed = self.writes.pop_front().expect("it was just seen").end;
        }
        (self.flushed > before).then_some(self.flushed)
    }

    /// Nothing behind `cut` counts any more. Writes that were begun behind it go on, as none is
    /// ever taken back. Returns the first number that a write behind the cut may have.
    pub fn truncate(&mut self, cut: Position) -> WriteId {
        self.flushed = self.flushed.min(cut);
        for write in &mut self.writes {
            write.end = write.end.min(cut);
        }
        WriteId(self.next)
    }

    /// Whether every write before this one is on disk.
    pub fn all_done_before(&self, write: WriteId) -> bool {
        let first = self.next - self.writes.len() as u64;
        first >= write.0
    }

    /// Everything before this is on disk.
    pub fn flushed(&self) -> Position {
        self.flushed
    }

    /// Writes begun whose place in the prefix isn't decided.
    pub fn in_flight(&self) -> usize {
        self.writes.len()
    }
}
