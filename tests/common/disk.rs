//! The files of group 0 of a node, in memory.

use std::collections::{BTreeMap, BTreeSet};

use hutong::journal::page::{MemoryPage, Page};
use hutong::journal::source::{GroupFiles, SegmentSource};
use hutong::model::ids::{GroupId, SegmentId};
use hutong::shard::input::{Input, IoFailure};
use hutong::shard::output::Output;

const BLOCK: usize = 4096;

#[derive(Clone, Default)]
pub struct Disk {
    blocks: BTreeMap<(u64, u64), Vec<u8>>,
    pub segments: Vec<SegmentId>,
    vote: Vec<u8>,
    pub checkpoint: Option<Vec<u8>>,
    /// Blocks that the disk can't read until they are written again.
    lost: BTreeSet<(u64, u64)>,
    /// Read so far while it runs.
    pub read_bytes: u64,
}

impl SegmentSource for Disk {
    fn read(
        &mut self,
        _group: GroupId,
        segment: SegmentId,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), String> {
        for (number, into) in (at / BLOCK as u64..).zip(into.chunks_mut(BLOCK)) {
            match self.blocks.get(&(segment.0, number)) {
                Some(block) => into.copy_from_slice(&block[..into.len()]),
                None => into.fill(0),
            }
        }
        Ok(())
    }
}

impl Disk {
    pub fn write(&mut self, segment: SegmentId, at: u64, bytes: &[u8]) {
        for (number, block) in (at / BLOCK as u64..).zip(bytes.chunks(BLOCK)) {
            self.blocks.insert((segment.0, number), block.to_vec());
            self.lost.remove(&(segment.0, number));
        }
    }

    /// Bytes rot: every bit of them turns over.
    #[allow(dead_code, reason = "not every rig has damage")]
    pub fn rot(&mut self, segment: SegmentId, at: u64, bytes: u64) {
        for at in at..at + bytes {
            let block = self.blocks.get_mut(&(segment.0, at / BLOCK as u64)).expect("written once");
            block[at as usize % BLOCK] ^= 0xff;
        }
    }

    /// The disk can't read a block any more.
    #[allow(dead_code, reason = "not every rig has damage")]
    pub fn lose(&mut self, segment: SegmentId, at: u64) {
        self.lost.insert((segment.0, at / BLOCK as u64));
    }

    /// What a start finds.
    pub fn files(&self) -> GroupFiles {
        GroupFiles {
            segments: self.segments.clone(),
            vote: self.vote.clone(),
            checkpoint: self.checkpoint.clone(),
            ..GroupFiles::new(GroupId(0))
        }
    }

    fn is_lost(&self, segment: SegmentId, at: u64, bytes: usize) -> bool {
        let block = |at: u64| (segment.0, at / BLOCK as u64);
        self.lost.range(block(at)..block(at + bytes as u64)).next().is_some()
    }

    /// Does at once whatever an output asks of the disk, but for journal writes. `None` if it asks
    /// for nothing else.
    pub fn perform(&mut self, output: Output<MemoryPage>) -> Option<Input<MemoryPage>> {
        Some(match output {
            Output::ReadJournal { group, read, segment, at, bytes }
                if self.is_lost(segment, at, bytes) =>
            {
                let result = Err(IoFailure::Failed("a bad sector".into()));
                Input::JournalRead { group, read, result }
            }
            Output::ReadJournal { group, read, segment, .. }
                if !self.segments.contains(&segment) =>
            {
                let result = Err(IoFailure::Failed("no such file".into()));
                Input::JournalRead { group, read, result }
            }
            Output::ReadJournal { group, read, segment, at, bytes } => {
                self.read_bytes += bytes as u64;
                let page = MemoryPage::build(bytes, |into| {
                    self.read(group, segment, at, into).expect("it is there");
                });
                Input::JournalRead { group, read, result: Ok(page) }
            }
            Output::WriteVote { group, write, at, page } => {
                self.vote.resize(2 * BLOCK, 0);
                self.vote[at as usize..at as usize + BLOCK].copy_from_slice(page.bytes());
                Input::VoteWritten { group, write, result: Ok(()) }
            }
            Output::CreateSegment { group, segment, header } => {
                self.write(segment, 0, &header);
                self.segments.push(segment);
                Input::SegmentCreated { group, segment, result: Ok(()) }
            }
            Output::WriteCheckpoint { group, position, bytes } => {
                self.checkpoint = Some(bytes.to_vec());
                Input::CheckpointWritten { group, position, result: Ok(()) }
            }
            Output::RemoveSegment { segment, .. } => {
                self.segments.retain(|it| *it != segment);
                self.blocks.retain(|(of, _), _| *of != segment.0);
                return None;
            }
            _ => return None,
        })
    }
}
