//! One leader a term; what one node has applied, every node has, byte for byte, for good.
//!
//! An entry's checksum covers its header and its data, and the header has the checksum of the entry
//! before. So two journals that agree in one entry's checksum agree in all before it.

use std::collections::BTreeMap;

use hutong::journal::format::{Entry, EntryHead};
use hutong::journal::page::MemoryPage;
use hutong::journal::source::SegmentSource;
use hutong::model::ids::{GroupId, SegmentId};
use hutong::model::position::Position;
use hutong::shard::Shard;

use crate::host::{Host, Place};

/// What is known of all journals.
#[derive(Debug, Default)]
pub struct Consensus {
    /// Who led, by group and term.
    leaders: BTreeMap<(u32, u64), usize>,
    /// What each node has written of each group, by index.
    written: BTreeMap<(usize, u32), Vec<Option<Written>>>,
    /// What was applied anywhere.
    committed: BTreeMap<u32, Vec<Option<Written>>>,
    /// As far as each node's entries were compared with what was applied anywhere.
    compared: BTreeMap<(usize, u32), u64>,
    /// As far as each node's disk has them for sure.
    flushed: BTreeMap<(usize, u32), u64>,
}

/// An entry, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    term: u64,
    position: u64,
    bytes: u32,
    crc: u32,
}

/// The groups that a shard leads, and in what term.
#[derive(Clone, Debug, Default)]
pub struct Leading {
    pub node: usize,
    pub groups: Vec<u32>,
    /// Another node has led one of them in a later term: this one doesn't know it yet.
    pub is_late: bool,
}

impl Consensus {
    /// Elections that were won.
    pub fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// A node writes an entry.
    ///
    /// # Errors
    /// What it writes is none.
    pub fn wrote(
        &mut self,
        node: usize,
        group: GroupId,
        position: Position,
        page: &[u8],
    ) -> Result<(), String> {
        let head = EntryHead::read(page, position)
            .ok_or_else(|| format!("consensus: node {node} writes what is no entry"))?;
        let written = self.written.entry((node, group.0)).or_default();
        let at = head.header.index.0 as usize - 1;
        // With an entry that is written anew all behind it are gone.
        written.truncate(at);
        written.resize(at, None);
        written.push(Some(Written {
            term: head.header.term.0,
            position: position.0,
            bytes: page.len() as u32,
            crc: head.crc,
        }));
        let compared = self.compared.entry((node, group.0)).or_default();
        *compared = (*compared).min(at as u64);
        Ok(())
    }

    /// A shard has taken a turn. Returns group, node and term of each leader that is new.
    ///
    /// # Errors
    /// Two leaders of one term, or two journals that differ.
    pub fn turned(
        &mut self,
        node: usize,
        shard: &Shard<MemoryPage>,
    ) -> Result<Vec<(u32, usize, u64)>, String> {
        let mut elected = Vec::new();
        for group in shard.groups().iter() {
            let (id, term) = (group.id.0, group.replica.term().0);
            if group.replica.is_leader() {
                let known = self.leaders.insert((id, term), node);
                if known.is_none() {
                    elected.push((id, node, term));
                }
                if let Some(other) = known.filter(|other| *other != node) {
                    return Err(format!(
                        "consensus: nodes {other} and {node} both lead group {id} in term {term}"
                    ));
                }
            }
            let applied = group.applied();
            let flush = group.progress().flush.0;
            self.flushed.insert((node, id), flush);
            self.compare(node, id, applied.index.0, flush)?;
            let committed = self.committed.entry(id).or_default();
            let at = (applied.index.0 as usize).checked_sub(1);
            if let Some(Some(entry)) = at.and_then(|at| committed.get(at)) {
                let end = entry.position + u64::from(entry.bytes);
                if (entry.term, entry.crc, end) != (applied.term.0, applied.crc, applied.end.0) {
                    return Err(format!(
                        "consensus: node {node} has applied {applied:?} of group {id}, and \
                         {entry:?} was applied before"
                    ));
                }
            }
        }
        Ok(elected)
    }

    /// Compares what a node has applied and has on its disk.
    fn compare(&mut self, node: usize, group: u32, applied: u64, flush: u64) -> Result<(), String> {
        let compared = self.compared.entry((node, group)).or_default();
        let written = self.written.entry((node, group)).or_default();
        let committed = self.committed.entry(group).or_default();
        while *compared < applied {
            let at = *compared as usize;
            let entry = written.get(at).copied().flatten();
            if entry.is_some_and(|entry| entry.position + u64::from(entry.bytes) > flush) {
                // To be written, maybe in the place of another one.
                break;
            }
            *compared += 1;
            let Some(entry) = entry else { continue };
            if committed.len() <= at {
                committed.resize(at + 1, None);
            }
            let known = *committed[at].get_or_insert(entry);
            if known != entry {
                return Err(format!(
                    "consensus: entry {} of group {group} is {entry:?} on node {node}, and \
                     {known:?} was applied before",
                    at + 1
                ));
            }
        }
        Ok(())
    }

    /// What a shard leads.
    pub fn leads(&self, place: Place, shard: &Shard<MemoryPage>) -> Leading {
        let mut leading = Leading { node: place.node, ..Leading::default() };
        for group in shard.groups().iter().filter(|group| group.replica.is_leader()) {
            let (id, term) = (group.id.0, group.replica.term().0);
            leading.groups.push(id);
            let later = self.leaders.range((id, term + 1)..=(id, u64::MAX));
            leading.is_late |= later.into_iter().any(|(_, node)| *node != place.node);
        }
        leading
    }

    /// A process has ended: what it was writing may be there or not, and what it was writing over
    /// may be back.
    pub fn restarted(&mut self, node: usize) {
        for ((of, group), written) in &mut self.written {
            let flushed = self.flushed.get(&(*of, *group)).copied().unwrap_or(0);
            for entry in written.iter_mut().rev().filter(|_| *of == node) {
                if entry.is_none_or(|entry| entry.position + u64::from(entry.bytes) <= flushed) {
                    break;
                }
                *entry = None;
            }
        }
        for (_, compared) in self.compared.iter_mut().filter(|((of, _), _)| *of == node) {
            *compared = 0;
        }
    }

    /// Nothing is written any more: each disk holds what was applied, byte for byte.
    ///
    /// # Errors
    /// A disk that doesn't.
    pub fn at_rest(&self, hosts: &mut [Host]) -> Result<(), String> {
        for (number, host) in hosts.iter_mut().enumerate() {
            let Host { node, disk, .. } = host;
            let groups = node.iter().flat_map(|node| &node.shards);
            for group in groups.flat_map(|running| running.shard.groups().iter()) {
                let start = group.journal.start();
                let end = group.applied().end.min(group.journal.flush_position());
                let committed = self.committed.get(&group.id.0).map_or(&[][..], Vec::as_slice);
                let held = committed.iter().flatten().filter(|entry| {
                    entry.position >= start.0 && entry.position + u64::from(entry.bytes) <= end.0
                });
                for entry in held {
                    let segment_bytes = group.journal.segment_bytes();
                    let segment = SegmentId(entry.position / segment_bytes);
                    let mut bytes = vec![0; entry.bytes as usize];
                    disk.read(group.id, segment, entry.position % segment_bytes, &mut bytes)?;
                    let found = Entry::read(&bytes, Position(entry.position));
                    if found.is_none_or(|found| found.crc != entry.crc) {
                        return Err(format!(
                            "consensus: the disk of node {number} doesn't hold {entry:?} of group \
                             {}",
                            group.id
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
