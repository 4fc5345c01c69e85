//! Which segment files there are, where in them an entry goes, and which come next.
//!
//! Segments have one size, are laid end to end in the space of positions, and each begins with a
//! header. An entry never crosses from one to the next; what is left over stays unused, and begins
//! with zeros.

use crate::journal::format::SEGMENT_HEADER_BYTES;
use crate::limits::SEGMENTS_AHEAD;
use crate::model::ids::SegmentId;
use crate::model::position::Position;

/// The segments of one journal: an unbroken range of ids.
#[derive(Clone, Debug)]
pub struct Segments {
    segment_bytes: u64,
    first: u64,
    /// One past the last that is there.
    end: u64,
    creating: bool,
}

impl Segments {
    /// The segments from `first` up to but without `end`.
    pub fn new(segment_bytes: u64, first: SegmentId, end: SegmentId) -> Segments {
        assert!(first <= end, "segments are a range");
        Segments { segment_bytes, first: first.0, end: end.0, creating: false }
    }

    /// Where an entry of `bytes` bytes goes if `append` is the end of what there is: there, or at
    /// the start of the next segment. `None` while that segment isn't there.
    pub fn place(&self, append: Position, bytes: u64) -> Option<Position> {
        let (segment, at) = self.locate(append);
        let position = if at == 0 {
            Position(append.0 + SEGMENT_HEADER_BYTES)
        } else if at + bytes <= self.segment_bytes {
            append
        } else {
            Position((segment.0 + 1) * self.segment_bytes + SEGMENT_HEADER_BYTES)
        };
        (position.0 / self.segment_bytes < self.end).then_some(position)
    }

    /// Where the rest of a segment begins that stays unused, if any, as the entry that could have
    /// been at `append` lies at `position`.
    pub fn unused_before(&self, append: Position, position: Position) -> Option<Position> {
        let (segment, at) = self.locate(append);
        (at != 0 && segment != self.locate(position).0).then_some(append)
    }

    /// The segment to make now, if one is wanted and none is being made.
    pub fn begin_create(&mut self, append: Position) -> Option<SegmentId> {
        let wanted = append.0 / self.segment_bytes + 1 + SEGMENTS_AHEAD;
        if self.creating || self.end >= wanted {
            return None;
        }
        self.creating = true;
        Some(SegmentId(self.end))
    }

    /// The segment being made is there.
    pub fn created(&mut self, segment: SegmentId) {
        assert!(self.creating && segment.0 == self.end, "segments are made one by one, in order");
        self.creating = false;
        self.end += 1;
    }

    /// The segment being made could not be made.
    pub fn create_failed(&mut self, segment: SegmentId) {
        assert!(self.creating && segment.0 == self.end, "segments are made one by one, in order");
        self.creating = false;
    }

    /// Whether a segment is being made.
    pub fn is_creating(&self) -> bool {
        self.creating
    }

    /// Forgets all segments, to go on with `first`, and returns them.
    pub fn restart(&mut self, first: SegmentId) -> Vec<SegmentId> {
        assert!(!self.creating, "what is being made would come too late");
        let removed = (self.first..self.end).map(SegmentId).collect();
        (self.first, self.end) = (first.0, first.0);
        removed
    }

    /// Forgets the segments that end at or before `position`, and returns them.
    pub fn trim(&mut self, position: Position) -> Vec<SegmentId> {
        let keep = (position.0 / self.segment_bytes).min(self.end.saturating_sub(1));
        let removed = (self.first..keep).map(SegmentId).collect();
        self.first = self.first.max(keep);
        removed
    }

    /// The segment that holds a position, and the byte in it.
    pub fn locate(&self, position: Position) -> (SegmentId, u64) {
        (SegmentId(position.0 / self.segment_bytes), position.0 % self.segment_bytes)
    }

    /// Where the entry behind one that ends at `end` begins, if it lies next to it: behind the
    /// header, when `end` is the very end of a segment.
    pub fn entry_start(&self, end: Position) -> Position {
        match self.locate(end) {
            (_, 0) => Position(end.0 + SEGMENT_HEADER_BYTES),
            _ => end,
        }
    }

    /// The first entry position of the segment after the one that holds `position`.
    pub fn next_segment_start(&self, position: Position) -> Position {
        let segment = position.0 / self.segment_bytes + 1;
        Position(segment * self.segment_bytes + SEGMENT_HEADER_BYTES)
    }

    /// The first entry position of the oldest segment.
    pub fn start(&self) -> Position {
        Position(self.first * self.segment_bytes + SEGMENT_HEADER_BYTES)
    }

    /// The size of each.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }
}
