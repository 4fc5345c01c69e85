//! A segment file: blocks that are parts of the pages written, so that a write copies nothing.

use hutong::journal::format::{Entry, EntryHead};
use hutong::journal::page::{MemoryPage, Page};
use hutong::limits::ENTRY_ALIGN_BYTES;
use hutong::model::position::Position;

/// One file. Blocks that were never written are zeros.
#[derive(Debug)]
pub struct Segment {
    blocks: Vec<Option<(MemoryPage, u32)>>,
}

impl Segment {
    /// A file of so many blocks of zeros.
    pub fn new(blocks: u64) -> Segment {
        Segment { blocks: vec![None; blocks as usize] }
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.blocks.len() * ENTRY_ALIGN_BYTES
    }

    /// Puts a page at byte `at`, which is aligned.
    pub fn write(&mut self, at: u64, page: &MemoryPage) {
        let first = at as usize / ENTRY_ALIGN_BYTES;
        for number in 0..page.bytes().len() / ENTRY_ALIGN_BYTES {
            self.blocks[first + number] = Some((page.clone(), number as u32));
        }
    }

    /// Fills `into` from byte `at`, which is aligned.
    pub fn read(&self, at: u64, into: &mut [u8]) {
        let first = at as usize / ENTRY_ALIGN_BYTES;
        for (number, into) in into.chunks_mut(ENTRY_ALIGN_BYTES).enumerate() {
            match self.blocks.get(first + number) {
                Some(Some((page, block))) => {
                    let from = *block as usize * ENTRY_ALIGN_BYTES;
                    into.copy_from_slice(&page.bytes()[from..from + into.len()]);
                }
                _ => into.fill(0),
            }
        }
    }

    /// The bytes at byte `at`, if they are a whole entry that says that it belongs at `position`.
    pub fn entry(&self, at: u64, position: Position) -> Option<Vec<u8>> {
        let mut bytes = vec![0; ENTRY_ALIGN_BYTES];
        self.read(at, &mut bytes);
        let head = EntryHead::read(&bytes, position)?;
        if at as usize + head.entry_bytes() > self.bytes() {
            return None;
        }
        bytes.resize(head.entry_bytes(), 0);
        self.read(at, &mut bytes);
        Entry::read(&bytes, position).is_some().then_some(bytes)
    }
}
