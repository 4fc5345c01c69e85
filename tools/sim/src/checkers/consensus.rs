//! One leader a term; what one node has applied, every node has, byte for byte, for good.
//!
//! An entry's checksum covers its header and its data, and the header has the checksum of the entry
//! before. So two journals that agree in one entry's checksum agree in all before it.

use std::collections::BTreeMap;
use std::ops::Range;

use hutong::journal::format::{Entry, EntryHead};
use hutong::journal::page::{MemoryPage, Page};
use hutong::journal::source::SegmentSource;
use hutong::metadata::Layout;
use hutong::model::ids::{GroupId, NodeId, SegmentId};
use hutong::model::position::Position;
use hutong::shard::Shard;

use crate::checkers::placement::Placement;
use crate::connection::PartitionId;
use crate::host::Host;

/// More entries than may be in flight beside one, or be cut by a new leader.
const ENTRIES_BEHIND: usize = 64;

/// What is known of all journals.
#[derive(Debug, Default)]
pub struct Consensus {
    /// Who led, by group and term, and from when on.
    leaders: BTreeMap<(u32, u64), (usize, u64)>,
    /// The catalog, from what was applied of group 0's journal anywhere.
    placement: Placement,
    /// What each node has written of each group, by index.
    written: BTreeMap<(usize, u32), Vec<Option<Written>>>,
    /// What was applied anywhere.
    committed: BTreeMap<u32, Vec<Option<Written>>>,
    /// As far as each node's entries were compared with what was applied anywhere.
    compared: BTreeMap<(usize, u32), u64>,
    /// As far as each node's disk has them for sure.
    flushed: BTreeMap<(usize, u32), u64>,
    /// As far as the disk of a node had them that waits for a snapshot. What it has acknowledged
    /// before may still be on its way, and is counted: it has that again before it votes.
    had: BTreeMap<(usize, u32), u64>,
}

/// An entry, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    term: u64,
    position: u64,
    bytes: u32,
    crc: u32,
}

impl Written {
    fn of(head: &EntryHead) -> Written {
        Written {
            term: head.header.term.0,
            position: head.header.position.0,
            bytes: head.entry_bytes() as u32,
            crc: head.crc,
        }
    }

    fn end(&self) -> u64 {
        self.position + u64::from(self.bytes)
    }
}

impl Consensus {
    /// Begins with an empty catalog of so many groups, on these nodes.
    pub fn begin(&mut self, groups: u32, nodes: &[NodeId]) {
        self.placement.begin(groups, nodes);
    }

    /// Elections that were won.
    pub fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// A node writes an entry, or the copy of several that follow each other, or zeros where the
    /// unused rest of a segment begins.
    ///
    /// # Errors
    /// What it writes is none of these, or clears what is flushed.
    pub fn wrote(
        &mut self,
        node: usize,
        group: GroupId,
        position: Position,
        page: &MemoryPage,
    ) -> Result<(), String> {
        if is_clear(page) {
            let flushed = self.flushed.get(&(node, group.0)).copied().unwrap_or(0);
            if position.0 < flushed {
                return Err(format!("consensus: node {node} clears {position}, which is flushed"));
            }
            return Ok(());
        }
        let mut rest = page.bytes();
        let mut position = position;
        while !rest.is_empty() {
            let head = EntryHead::read(rest, position);
            let bytes = head.map(|head| head.entry_bytes()).filter(|bytes| *bytes <= rest.len());
            let (Some(head), Some(bytes)) = (head, bytes) else {
                return Err(format!("consensus: node {node} writes what is no entry"));
            };
            let (entry, behind) = rest.split_at(bytes);
            self.wrote_entry(node, group, &head, entry);
            (rest, position) = (behind, head.end());
        }
        Ok(())
    }

    fn wrote_entry(&mut self, node: usize, group: GroupId, head: &EntryHead, bytes: &[u8]) {
        let written = self.written.entry((node, group.0)).or_default();
        let at = head.header.index.0 as usize - 1;
        // With an entry that is written anew all behind it are gone.
        written.truncate(at);
        written.resize(at, None);
        written.push(Some(Written::of(head)));
        if group.0 == 0 {
            self.placement.wrote(head, bytes);
        }
        let compared = self.compared.entry((node, group.0)).or_default();
        *compared = (*compared).min(at as u64);
    }

    /// A node writes a damaged entry again.
    ///
    /// # Errors
    /// It wasn't on its disk, or is another one than was applied there.
    pub fn repairs(
        &self,
        node: usize,
        group: GroupId,
        position: Position,
        page: &MemoryPage,
    ) -> Result<(), String> {
        let entry = Entry::read(page.bytes(), position)
            .ok_or_else(|| format!("consensus: node {node} repairs with what is no entry"))?;
        let at = entry.header.index.0 as usize - 1;
        let known = |entries: Option<&Vec<Option<Written>>>| *entries?.get(at)?;
        let written = known(self.written.get(&(node, group.0)));
        let committed = known(self.committed.get(&group.0));
        let flushed = self.flushed.get(&(node, group.0)).copied().unwrap_or(0);
        let differs = [written, committed]
            .into_iter()
            .flatten()
            .find(|known| (known.position, known.crc) != (position.0, entry.crc));
        if differs.is_none() && entry.end().0 <= flushed {
            return Ok(());
        }
        Err(format!(
            "consensus: node {node}, which has flushed group {group} up to {flushed}, repairs \
             entry {} at {position}, checksum {:08x}, and {differs:?} was there",
            entry.header.index, entry.crc
        ))
    }

    /// A start has written what another node has, in the place of what was damaged, or has cleared
    /// what was never committed.
    ///
    /// # Errors
    /// It is no entry.
    pub fn mended_at_start(
        &mut self,
        node: usize,
        group: GroupId,
        position: Position,
        page: &MemoryPage,
    ) -> Result<(), String> {
        if is_clear(page) {
            return Ok(());
        }
        let head = EntryHead::read(page.bytes(), position);
        let known = head.and_then(|head| {
            let written = self.written.get(&(node, group.0))?;
            let entry = written.get(head.header.index.0 as usize - 1)?;
            entry.filter(|entry| *entry == Written::of(&head))
        });
        match known {
            Some(_) => Ok(()),
            None => self.wrote(node, group, position, page),
        }
    }

    /// A node lets go of a part of a journal: of what nobody needs, or of all it has, to be filled
    /// anew.
    pub fn removed(&mut self, node: usize, group: GroupId, positions: Range<u64>) {
        let Some(written) = self.written.get_mut(&(node, group.0)) else { return };
        for entry in written {
            if entry.is_some_and(|entry| positions.contains(&entry.position)) {
                *entry = None;
            }
        }
    }

    /// A node lets go of a group, and of its journal.
    pub fn let_go(&mut self, node: usize, group: GroupId) {
        self.lost(node, group);
        self.flushed.remove(&(node, group.0));
        self.had.remove(&(node, group.0));
    }

    /// A node loses a group's journal with its disk. What it has acknowledged before may still be
    /// counted.
    pub fn lost(&mut self, node: usize, group: GroupId) {
        self.written.remove(&(node, group.0));
        self.compared.remove(&(node, group.0));
    }

    /// Which nodes there were and what each should hold, from the beginning until now.
    pub fn layouts(&self) -> &[Layout] {
        &self.placement.layouts
    }

    /// What each of these nodes has of an entry that one of them leads the others by: where its
    /// disk reaches for sure, and what it wrote there, if that is known. `None` if nobody has been
    /// seen writing it.
    fn on_disk(&self, group: u32, index: u64, node: NodeId) -> (u64, Option<Written>) {
        let place = (node.0 as usize, group);
        let at = (index as usize).checked_sub(1);
        let written = self.written.get(&place).zip(at).and_then(|(all, at)| *all.get(at)?);
        let flushed = self.flushed.get(&place).copied().unwrap_or(0);
        let had = self.had.get(&place).copied().filter(|_| written.is_some());
        (flushed.max(had.unwrap_or(0)), written)
    }

    /// Looks whether a majority of these nodes has an entry on disk that one of them leads the
    /// others by. Where it isn't known any more what a node wrote, as after a crash, it counts how
    /// far its disk reaches.
    ///
    /// # Errors
    /// What each has.
    pub fn majority_has(
        &self,
        leader: usize,
        group: u32,
        index: u64,
        nodes: &[NodeId],
    ) -> Result<(), String> {
        let found: Vec<_> = nodes.iter().map(|node| self.on_disk(group, index, *node)).collect();
        let of_leader = self.on_disk(group, index, NodeId(leader as u32)).1;
        let of_others = found.iter().filter_map(|(_, written)| *written);
        let entry = of_leader.or_else(|| of_others.max_by_key(|entry| entry.term));
        let Some(entry) = entry else { return Ok(()) };
        let has_it = |(flushed, written): &&(u64, Option<Written>)| {
            *flushed >= entry.end() && written.is_none_or(|written| written == entry)
        };
        match found.iter().filter(has_it).count() > nodes.len() / 2 {
            true => Ok(()),
            false => Err(format!("{entry:?} isn't: {nodes:?} have {found:?}")),
        }
    }

    /// A shard has taken a turn. Returns the groups that this node leads since, and in which term.
    ///
    /// # Errors
    /// Two leaders of one term, or two journals that differ.
    pub fn turned(
        &mut self,
        node: usize,
        shard: &Shard<MemoryPage>,
        now: u64,
    ) -> Result<Vec<(u32, u64)>, String> {
        let mut elected = Vec::new();
        for group in shard.groups().iter() {
            let (id, term) = (group.id.0, group.replica.term().0);
            if group.replica.is_leader() {
                let leader = *self.leaders.entry((id, term)).or_insert_with(|| {
                    elected.push((id, term));
                    (node, now)
                });
                if leader.0 != node {
                    let other = leader.0;
                    return Err(format!(
                        "consensus: nodes {other} and {node} both lead group {id} in term {term}"
                    ));
                }
            }
            let applied = group.applied();
            let flush = group.progress().flush.0;
            // One that is being filled has given up what it had.
            let counts = if group.is_filling() { 0 } else { flush };
            let before = self.flushed.insert((node, id), counts).unwrap_or(0);
            if !group.is_filling() {
                self.had.remove(&(node, id));
            } else if before > 0 {
                self.had.insert((node, id), before);
            }
            self.compare(node, id, applied.index.0, flush)?;
            if id == 0 {
                self.placement.committed(applied.index.0, applied.crc);
            }
            let committed = self.committed.entry(id).or_default();
            let at = (applied.index.0 as usize).checked_sub(1);
            if let Some(Some(entry)) = at.and_then(|at| committed.get(at)) {
                let end = entry.end();
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
            if entry.is_some_and(|entry| entry.end() > flush) {
                // To be written, maybe in the place of another one.
                break;
            }
            *compared += 1;
            let Some(entry) = entry else { continue };
            if committed.len() <= at {
                committed.resize(at + 1, None);
            }
            let known = *committed[at].get_or_insert(entry);
            if group == 0 {
                self.placement.committed(at as u64 + 1, known.crc);
            }
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

    /// The group that holds a partition, as far as is known.
    pub fn group_of(&self, partition: &PartitionId) -> Option<u32> {
        self.placement.groups.get(&partition.0)?.get(partition.1 as usize).copied()
    }

    /// The group that keeps a consumer group.
    pub fn home_of(&self, consumer_group: &str) -> Option<u32> {
        self.placement.home_of(consumer_group)
    }

    /// Whether nobody has led a group in a later term.
    pub fn is_newest(&self, group: u32, term: u64) -> bool {
        self.leaders.range((group, term + 1)..=(group, u64::MAX)).next().is_none()
    }

    /// Whether a node has been the only one to lead a group since a moment.
    pub fn led_since(&self, node: usize, group: u32, since: u64) -> bool {
        let mut terms = self.leaders.range((group, 0)..=(group, u64::MAX)).rev();
        // The last of those before counts, too.
        let mut is_last = true;
        terms.all(|(_, (leader, at))| {
            let counts = *at >= since || is_last;
            is_last = false;
            !counts || *leader == node
        })
    }

    /// An entry that a node has on disk for sure, with so many behind it that no crash excuses its
    /// loss: group, position and size. `chance` chooses.
    pub fn settled_entry(&self, node: usize, chance: u64) -> Option<(GroupId, Position, u32)> {
        let mut found = Vec::new();
        for ((_, group), written) in self.written.range((node, 0)..(node + 1, 0)) {
            let flushed = self.flushed.get(&(node, *group)).copied().unwrap_or(0);
            let settled = written.len().saturating_sub(ENTRIES_BEHIND);
            let on_disk = written[..settled].iter().flatten();
            found.extend(
                on_disk
                    .filter(|entry| entry.end() <= flushed)
                    .map(|entry| (GroupId(*group), Position(entry.position), entry.bytes)),
            );
        }
        (!found.is_empty()).then(|| found[chance as usize % found.len()])
    }

    /// Whether what lies at a position of a group's journal was applied anywhere.
    pub fn is_committed(&self, group: GroupId, position: Position) -> bool {
        let committed = self.committed.get(&group.0).map_or(&[][..], Vec::as_slice);
        committed.iter().rev().flatten().any(|entry| entry.position == position.0)
    }

    /// A process has ended: what it was writing may be there or not, and what it was writing over
    /// may be back.
    pub fn restarted(&mut self, node: usize) {
        for ((of, group), written) in &mut self.written {
            let flushed = self.flushed.get(&(*of, *group)).copied().unwrap_or(0);
            for entry in written.iter_mut().rev().filter(|_| *of == node) {
                if entry.is_none_or(|entry| entry.end() <= flushed) {
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
            let Host { node, disk, rotten, .. } = host;
            let groups = node.iter().flat_map(|node| &node.shards);
            for group in groups.flat_map(|running| running.shard.groups().iter()) {
                let start = group.journal.start();
                let end = group.applied().end.min(group.journal.flush_position());
                let committed = self.committed.get(&group.id.0).map_or(&[][..], Vec::as_slice);
                let held = committed
                    .iter()
                    .flatten()
                    .filter(|entry| entry.position >= start.0 && entry.end() <= end.0);
                for entry in held {
                    let segment_bytes = group.journal.segment_bytes();
                    let segment = SegmentId(entry.position / segment_bytes);
                    let mut bytes = vec![0; entry.bytes as usize];
                    disk.read(group.id, segment, entry.position % segment_bytes, &mut bytes)?;
                    let found = Entry::read(&bytes, Position(entry.position));
                    let is_rotten = rotten.contains(&(group.id, Position(entry.position)));
                    if found.is_none_or(|found| found.crc != entry.crc) && !is_rotten {
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

/// Whether a page is what journals begin the unused rest of a segment with.
pub fn is_clear(page: &MemoryPage) -> bool {
    page.bytes().iter().all(|byte| *byte == 0)
}
