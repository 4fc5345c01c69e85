//! Recent entries in memory: all that isn't flushed and committed yet, and as much of what came
//! before as the bound allows. Serves tail readers and lagging followers.

use std::collections::VecDeque;

use crate::journal::page::Page;
use crate::model::position::{LogIndex, Position};

/// An entry with its page.
#[derive(Clone, Debug)]
pub struct CachedEntry<P> {
    pub position: Position,
    /// The first position after it.
    pub end: Position,
    pub index: LogIndex,
    pub page: P,
}

/// Entries in position order, without a gap but for the ends of segments.
#[derive(Debug)]
pub struct Cache<P> {
    entries: VecDeque<CachedEntry<P>>,
    bytes: usize,
    bytes_max: usize,
}

impl<P: Page> Cache<P> {
    /// An empty cache that holds about `bytes_max` bytes, and more while they can't be evicted.
    pub fn new(bytes_max: usize) -> Cache<P> {
        Cache { entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds the newest entry.
    pub fn push(&mut self, entry: CachedEntry<P>) {
        if let Some(last) = self.entries.back() {
            assert!(last.end <= entry.position, "entries are appended in position order");
        }
        self.bytes += entry.page.bytes().len();
        self.entries.push_back(entry);
    }

    /// Takes the oldest entries out while there is too much, but none that ends after `keep_from`.
    pub fn evict(&mut self, keep_from: Position, mut evicted: impl FnMut(CachedEntry<P>)) {
        while self.bytes > self.bytes_max {
            match self.entries.front() {
                Some(entry) if entry.end <= keep_from => {}
                _ => return,
            }
            let entry = self.entries.pop_front().expect("it was just seen");
            self.bytes -= entry.page.bytes().len();
            evicted(entry);
        }
    }

    /// Takes out what lies at `cut` or behind it.
    pub fn truncate(&mut self, cut: Position) {
        while self.entries.back().is_some_and(|entry| entry.position >= cut) {
            let entry = self.entries.pop_back().expect("it was just seen");
            self.bytes -= entry.page.bytes().len();
        }
    }

    /// The oldest entry.
    pub fn first(&self) -> Option<&CachedEntry<P>> {
        self.entries.front()
    }

    /// The entry that begins at just this position.
    pub fn get(&self, position: Position) -> Option<&CachedEntry<P>> {
        let at = self.entries.partition_point(|entry| entry.position < position);
        self.entries.get(at).filter(|entry| entry.position == position)
    }

    /// Where the oldest entry begins.
    pub fn start(&self) -> Option<Position> {
        self.entries.front().map(|entry| entry.position)
    }
}
