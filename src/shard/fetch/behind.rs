//! The parts of a fetch that are behind the journal cache, on their way through the journal.
//!
//! Many partitions share a journal, so a chunk of it has something for most of them. Read one after
//! the other, sixteen partitions would need each chunk sixteen times; here the one furthest behind
//! goes first, a chunk at a time, so that all come to each chunk together and it is read once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::limits::FETCH_CHUNKS_MAX;
use crate::model::ids::GroupId;
use crate::model::position::Position;

/// A part, and where in which journal it goes on.
type Place = (GroupId, Position, usize);

/// See the module.
#[derive(Debug, Default)]
pub struct Behind {
    /// May find their chunks in memory.
    moving: BinaryHeap<Reverse<Place>>,
    /// Need a chunk that has to be read.
    waiting: Vec<Place>,
    /// What is being read.
    reading: Option<(GroupId, Position)>,
    chunks_read: u32,
    /// A part has all that it may have, and there is more.
    is_full: bool,
}

impl Behind {
    /// Whether there is no such part.
    pub fn is_empty(&self) -> bool {
        self.moving.is_empty() && self.waiting.is_empty()
    }

    /// A part needs the chunk at a position; whether that may be in memory.
    pub fn put(&mut self, part: usize, group: GroupId, position: Position, in_memory: bool) {
        let place = (group, position, part);
        match in_memory {
            true => self.moving.push(Reverse(place)),
            false => self.waiting.push(place),
        }
    }

    /// Takes out the part that is furthest behind of those that don't wait.
    pub fn furthest(&mut self) -> Option<usize> {
        self.moving.pop().map(|Reverse((_, _, part))| part)
    }

    /// A part needs no more. If it `is_full`, others wait for its next turn: what keeps together
    /// shares its chunks.
    pub fn done(&mut self, is_full: bool) {
        self.is_full |= is_full;
    }

    /// Whether a fetch that has something should rather be answered than wait for another chunk.
    pub fn is_enough(&self) -> bool {
        self.is_full || self.chunks_read >= FETCH_CHUNKS_MAX
    }

    /// The chunk to be read next, for those who wait. None if nobody does.
    pub fn next_read(&mut self) -> Option<(GroupId, Position)> {
        // The first is for the first part of the request: clients ask first for what they got
        // nothing of, and it must not wait until another has caught up with it.
        let next = match self.chunks_read {
            0 => self.waiting.iter().min_by_key(|(_, _, part)| *part),
            _ => self.waiting.iter().min(),
        };
        self.reading = next.map(|&(group, position, _)| (group, position));
        self.chunks_read += u32::from(self.reading.is_some());
        self.reading
    }

    /// The chunk that is being read, after which all look again.
    pub fn reading(&self) -> Option<(GroupId, Position)> {
        self.reading
    }

    /// The read is done: all who waited look again.
    pub fn go_on(&mut self) {
        self.reading = None;
        self.moving.extend(self.waiting.drain(..).map(Reverse));
    }

    /// The read has failed. Returns the parts that needed it.
    pub fn failed(&self) -> Vec<usize> {
        let needed = |place: &&Place| Some((place.0, place.1)) == self.reading;
        self.waiting.iter().filter(needed).map(|(_, _, part)| *part).collect()
    }

    /// Returns all who wait, who will not be served this time.
    pub fn give_up(&mut self) -> Vec<usize> {
        self.waiting.drain(..).map(|(_, _, part)| part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(0);

    #[test]
    fn the_furthest_behind_goes_first_and_the_first_read_is_for_the_first_asked() {
        let mut behind = Behind::default();
        for (part, position) in [(0, 300), (1, 100), (2, 200)] {
            behind.put(part, GROUP, Position(position), true);
        }
        let order: Vec<usize> = std::iter::from_fn(|| behind.furthest()).collect();
        assert_eq!(order, [1, 2, 0]);
        for (part, position) in [(0, 300), (1, 100), (2, 200)] {
            behind.put(part, GROUP, Position(position), false);
        }
        assert_eq!(behind.next_read(), Some((GROUP, Position(300))));
        assert_eq!(behind.failed(), [0]);
        behind.go_on();
        assert_eq!(behind.furthest(), Some(1));
        behind.put(1, GROUP, Position(100), false);
        assert_eq!(behind.next_read(), Some((GROUP, Position(100))));
    }

    #[test]
    fn a_fetch_ends_when_a_part_is_full_or_enough_was_read() {
        let mut behind = Behind::default();
        assert_eq!(behind.next_read(), None);
        for _ in 0..FETCH_CHUNKS_MAX {
            assert!(!behind.is_enough());
            behind.put(0, GROUP, Position(1), false);
            assert!(behind.next_read().is_some());
            assert_eq!(behind.give_up(), [0]);
        }
        assert!(behind.is_enough());
        let mut behind = Behind::default();
        behind.done(false);
        assert!(!behind.is_enough());
        behind.done(true);
        assert!(behind.is_enough());
    }
}
