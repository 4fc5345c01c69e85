//! Pieces of the journal read back from disk, for consumers who are behind.
//!
//! A chunk begins at an entry and holds whole entries, each checked once. Readers that follow one
//! another through the journal ask for chunks at the same places, so one read serves them all; and
//! when a reader moves on from one chunk to the next, the few after that are read ahead. No more
//! than a few: what is read faster than it is used pushes out what somebody still needs.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::journal::Journal;
use crate::journal::format::{Entry, EntryHead};
use crate::journal::page::Page;
use crate::limits::{ENTRY_ALIGN_BYTES, READ_AHEAD_CHUNKS, READ_CHUNK_BYTES, READ_CHUNKS_KEPT};
use crate::model::ids::{GroupId, ReadId};
use crate::model::position::Position;
use crate::shard::input::IoFailure;
use crate::shard::output::Output;

/// Entries in memory, from `start` on.
#[derive(Clone, Debug)]
pub struct Chunk<P> {
    pub group: GroupId,
    pub start: Position,
    pub page: P,
    /// The whole entries end here.
    pub end: Position,
    pub then: Then,
    /// How many chunks it was read ahead of one that is used; 0 once it is used itself.
    ahead: u32,
}

/// What comes after a chunk's whole entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Another chunk, which must have so many bytes at least.
    More { bytes: usize },
    /// Nothing more in this segment.
    NextSegment,
    /// An entry whose checksum is wrong, if it is one that follows that of this checksum.
    Damaged(Damaged),
}

/// What an entry says that can't be believed, of itself and of what is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub previous_crc: u32,
    pub crc: u32,
    pub end: Position,
}

/// A reader that waits for a chunk: its job.
pub type Reader = usize;

/// The chunks of a shard, and the reads under way.
#[derive(Debug)]
pub struct Chunks<P> {
    /// Least recently used first.
    kept: VecDeque<Chunk<P>>,
    reads: FxHashMap<(GroupId, ReadId), Reading>,
    next_read: u64,
    /// What is to be read ahead.
    wanted: Vec<Ahead>,
}

/// A chunk that nobody needs yet.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    pub group: GroupId,
    pub position: Position,
    /// How many chunks ahead of one that is used.
    ahead: u32,
}

/// Who a chunk is read for.
#[derive(Clone, Copy, Debug)]
pub enum For {
    Reader(Reader),
    Later(Ahead),
}

#[derive(Debug)]
struct Reading {
    start: Position,
    /// No entry ends behind this that begins in what is read.
    until: Position,
    readers: Vec<Reader>,
    ahead: u32,
    /// The journal was cut off since: what is read may be what was there before.
    stale: bool,
}

impl<P> Default for Chunks<P> {
    fn default() -> Self {
        let (kept, reads) = (VecDeque::new(), FxHashMap::default());
        Chunks { kept, reads, next_read: 1, wanted: Vec::new() }
    }
}

impl<P: Page> Chunks<P> {
    /// The chunk that holds a whole entry at `position`, or ends there for a reason other than
    /// more to read.
    pub fn find(&mut self, group: GroupId, position: Position) -> Option<&Chunk<P>> {
        let at = self.kept.iter().position(|chunk| {
            let within = chunk.start <= position && position < chunk.end;
            let ends = position == chunk.end && !matches!(chunk.then, Then::More { .. });
            chunk.group == group && (within || ends)
        })?;
        let mut chunk = self.kept.remove(at)?;
        if std::mem::take(&mut chunk.ahead) > 0 {
            self.want_ahead(&chunk);
        }
        self.kept.push_back(chunk);
        self.kept.back()
    }

    /// What is read ahead moves on with what is used.
    fn want_ahead(&mut self, used: &Chunk<P>) {
        let (group, mut last) = (used.group, used);
        for ahead in 1..=READ_AHEAD_CHUNKS {
            if !matches!(last.then, Then::More { .. }) {
                return;
            }
            let position = last.end;
            match self.kept.iter().find(|kept| kept.group == group && kept.start == position) {
                Some(next) => last = next,
                None => return self.wanted.push(Ahead { group, position, ahead }),
            }
        }
    }

    /// Takes out one of what is to be read ahead.
    pub fn next_ahead(&mut self) -> Option<Ahead> {
        self.wanted.pop()
    }

    /// The bytes a chunk at `position` must have to hold a whole entry, as far as is known.
    pub fn bytes_needed(&self, group: GroupId, position: Position) -> usize {
        let before = |chunk: &&Chunk<P>| chunk.group == group && chunk.end == position;
        match self.kept.iter().rev().find(before).map(|chunk| chunk.then) {
            Some(Then::More { bytes }) => bytes,
            _ => ENTRY_ALIGN_BYTES,
        }
    }

    /// Has the chunk at `position` read; a reader is told through `on_read`. If it is known where
    /// that chunk ends, what is read ahead behind it needn't wait for it.
    pub fn read(
        &mut self,
        journal: &Journal<P>,
        group: GroupId,
        position: Position,
        bytes_min: usize,
        wanted_by: For,
        outputs: &mut VecDeque<Output<P>>,
    ) {
        let (reader, ahead) = match wanted_by {
            For::Reader(reader) => (Some(reader), 0),
            For::Later(later) => (None, later.ahead),
        };
        let end = journal.chunk_end(position).filter(|end| {
            // Otherwise an entry begins there no longer.
            end.0 - position.0 >= bytes_min as u64
        });
        if let (For::Later(later), Some(position)) = (wanted_by, end)
            && ahead < READ_AHEAD_CHUNKS
            && !self.holds(group, position)
        {
            self.wanted.push(Ahead { position, ahead: ahead + 1, ..later });
        }
        let under_way = self
            .reads
            .iter_mut()
            .find(|((of, _), reading)| *of == group && reading.start == position && !reading.stale);
        if let Some((_, reading)) = under_way {
            reading.readers.extend(reader);
            reading.ahead = reading.ahead.min(ahead);
            return;
        }
        let (segment, at) = journal.locate(position);
        let until = journal.readable_until(position);
        let left = until.0 - position.0;
        let bytes = match end {
            Some(end) => end.0 - position.0,
            None => (bytes_min.max(READ_CHUNK_BYTES) as u64).min(left),
        } as usize;
        let read = ReadId(self.next_read);
        self.next_read += 1;
        let readers = reader.into_iter().collect();
        let reading = Reading { start: position, until, readers, ahead, stale: false };
        self.reads.insert((group, read), reading);
        outputs.push_back(Output::ReadJournal { group, read, segment, at, bytes });
    }

    /// A read is done. Returns who waited for it; if it has failed, also where it began and what
    /// the system said.
    pub fn on_read(
        &mut self,
        group: GroupId,
        read: ReadId,
        result: Result<P, IoFailure>,
    ) -> (Vec<Reader>, Result<(), (Position, IoFailure)>) {
        let Some(reading) = self.reads.remove(&(group, read)) else {
            return (Vec::new(), Ok(()));
        };
        let page = match result {
            Ok(page) => page,
            Err(failure) => return (reading.readers, Err((reading.start, failure))),
        };
        if reading.stale {
            return (reading.readers, Ok(()));
        }
        let chunk = Chunk::check(group, reading.start, reading.until, reading.ahead, page);
        let follows = self.kept.iter().any(|kept| kept.group == group && kept.end == chunk.start);
        let more = matches!(chunk.then, Then::More { .. }) && follows;
        if more && chunk.ahead < READ_AHEAD_CHUNKS && !self.holds(group, chunk.end) {
            let (position, ahead) = (chunk.end, chunk.ahead + 1);
            self.wanted.push(Ahead { group, position, ahead });
        }
        if self.kept.len() >= READ_CHUNKS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(chunk);
        (reading.readers, Ok(()))
    }

    /// A group's journal was cut off: what was read of what lay behind the cut is no longer there.
    pub fn truncate(&mut self, group: GroupId, cut: Position) {
        self.kept.retain(|chunk| {
            let read_to = chunk.start.0 + chunk.page.bytes().len() as u64;
            chunk.group != group || read_to <= cut.0
        });
        for ((of, _), reading) in &mut self.reads {
            reading.stale |= *of == group;
        }
        self.wanted.retain(|ahead| ahead.group != group);
    }

    fn holds(&self, group: GroupId, start: Position) -> bool {
        self.kept.iter().any(|chunk| chunk.group == group && chunk.start == start)
    }
}

impl<P: Page> Chunk<P> {
    /// Checks the entries of a page that was read from `start`, none of which ends behind `until`.
    fn check(group: GroupId, start: Position, until: Position, ahead: u32, page: P) -> Chunk<P> {
        let bytes = page.bytes();
        let mut at = 0;
        let then = loop {
            let rest = &bytes[at..];
            let position = Position(start.0 + at as u64);
            if rest.is_empty() {
                break Then::More { bytes: ENTRY_ALIGN_BYTES };
            }
            let head = EntryHead::read(rest, position).filter(|head| head.end() <= until);
            let Some(head) = head else { break Then::NextSegment };
            if head.entry_bytes() > rest.len() {
                break Then::More { bytes: head.entry_bytes() };
            }
            if Entry::read(rest, position).is_none() {
                let previous_crc = head.header.previous_crc;
                break Then::Damaged(Damaged { previous_crc, crc: head.crc, end: head.end() });
            }
            at += head.entry_bytes();
        };
        Chunk { group, start, page, end: Position(start.0 + at as u64), then, ahead }
    }

    /// The entry at a position within the chunk, and where in the page it begins. If the position
    /// is what a damaged entry says that it ends at, it isn't `sure` that another one begins there.
    pub fn entry(&self, position: Position, sure: bool) -> Option<(Entry<'_>, usize)> {
        let at = (position.0 - self.start.0) as usize;
        let bytes = &self.page.bytes()[at..];
        let entry = match sure {
            // Its checksum was right when the chunk came.
            true => Entry::of_page(bytes, position),
            false => Entry::read(bytes, position)?,
        };
        Some((entry, at))
    }
}
