//! Bits that flip on a disk long after they were written, and how what they damage gets whole.
//!
//! What has rotted on a majority of the nodes that hold it is lost, and nothing is promised of it.
//! So no entry rots on a majority. Nor do on a majority of a group's nodes different entries, of
//! whatever groups, that a start must read, as they lie behind the last checkpoint, if somebody may
//! not have them: because they were never committed, or because they are trimmed elsewhere. Such a
//! node needs a leader among the others, and takes no part in any group until it has been helped.
//! One that waits for a snapshot counts like these.

use std::collections::BTreeSet;
use std::iter::empty;

use bytes::Bytes;
use hutong::journal::format::Entry;
use hutong::journal::page::MemoryPage;
use hutong::model::ids::{GroupId, NodeId, SegmentId, WriteId, shard_of_group};
use hutong::model::position::{Position, Term};
use hutong::shard::open::damage_at_start;
use hutong::shard::peers::repair_wire::{JournalPlace, NotHeld};
use hutong::shard::repair::at_start::{
    DamageAtStart, Mended, OtherNode, RunningNode, give_held, held,
};
use hutong::shard::repair::questions::{gives_snapshot, leads_since};

use crate::checkers::consensus::is_clear;
use crate::disk::Disk;
use crate::events::Event;
use crate::host::{Host, Place};
use crate::lie::Lie;
use crate::node::{Running, config};
use crate::plan::MS;
use crate::world::{Phase, World};

impl World {
    /// A bit flips on a disk.
    pub(crate) fn rot(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let next = self.now + self.random.around(self.plan.rot_every);
        self.events.push(next, Event::Rot);
        let (node, chance) = (self.random_node(), self.random.next());
        let entry = self.checks.consensus.settled_entry(node, chance);
        let Some((group, position, bytes)) = entry else { return };
        if !self.may_rot(node, group, position) {
            return;
        }
        let host = &mut self.hosts[node];
        // Most of a small entry is padding, where rot does no harm.
        let found = host.disk.entry(group, position);
        let used = found.map(|bytes| Entry::of_page(&bytes, position).used_bytes() as u32);
        let bytes = used.filter(|_| self.random.chance(95)).unwrap_or(bytes);
        if host.disk.rot(group, position, bytes, &mut self.random) {
            host.rotten.push((group, position));
            self.report.rotten += 1;
            self.trace.event(self.now, &[60, node as u64, position.0], || {
                format!("a bit flips on node {node} in group {group}'s entry at {position}")
            });
        }
    }

    /// Whether this entry stays whole on a majority if it rots on this node, and a majority of its
    /// group can start whatever the others have.
    fn may_rot(&self, node: usize, group: GroupId, position: Position) -> bool {
        if !self.is_cluster() {
            return true;
        }
        if self.lie != Lie::Honest {
            // What a disk does that lies isn't to be mistaken for what one does that is old.
            return false;
        }
        let copies = self.copies_at_rest(group);
        let minority = copies.saturating_sub(1) / 2;
        let others = self.hosts.iter().enumerate().filter(|(other, _)| *other != node);
        let others = others.map(|(_, host)| host);
        let same = others.clone().filter(|host| host.rotten.contains(&(group, position))).count();
        let may_lack = self.plan.trims() || !self.checks.consensus.is_committed(group, position);
        let waits = may_lack && is_read_at_start(&self.hosts[node], group, position);
        let is_alone = others.filter(|host| needs_others(host)).count() < minority;
        same < minority && (!waits || is_alone)
    }

    /// An entry was written again.
    pub(crate) fn mended(&mut self, node: usize, group: GroupId, write: WriteId) {
        let host = &mut self.hosts[node];
        if let Some(position) = host.mending.remove(&(group, write)) {
            host.rotten.retain(|place| *place != (group, position));
            host.mended_at = self.now;
            self.report.mended += 1;
        }
    }

    /// Has what keeps a node's groups from being opened mended by others, as the runtime does
    /// before it opens a shard. Returns those groups that are to be opened without their journals,
    /// or `None` if some can't be opened yet.
    ///
    /// # Errors
    /// Journals differ.
    pub(crate) fn mend_at_start(
        &mut self,
        node: usize,
    ) -> Result<Option<BTreeSet<GroupId>>, String> {
        let mut given_up = BTreeSet::new();
        if !self.is_cluster() {
            return Ok(Some(given_up));
        }
        for group in self.hosts[node].disk.groups_here().collect::<Vec<_>>() {
            let mut mended = None;
            loop {
                let Host { disk, shards, .. } = &mut self.hosts[node];
                let shard = shard_of_group(group, *shards);
                let config = config(&self.plan, node, *shards, shard, 0);
                let files = disk.group_files(group);
                let Some(mut damage) = damage_at_start(&config, &files, disk) else { break };
                let position = damage.position();
                match self.mend_some(node, &mut damage)? {
                    Mended::Entries(_) if mended.replace(position) != Some(position) => {}
                    Mended::Entries(_) | Mended::Nothing => return Ok(None),
                    Mended::Trimmed => {
                        self.report.given_up += 1;
                        given_up.insert(group);
                        break;
                    }
                }
            }
        }
        Ok(Some(given_up))
    }

    /// A node that waits gives those that run what they lack, as the runtime does.
    ///
    /// # Errors
    /// None of its own.
    pub(crate) fn give_at_start(&mut self, node: usize) -> Result<(), String> {
        let segment_bytes = self.plan.segment_bytes;
        let groups: Vec<GroupId> = self.hosts[node].disk.groups_here().collect();
        let mut disk = self.take_disk(node);
        let others = (0..self.hosts.len()).filter(|other| *other != node);
        for other in others.collect::<Vec<_>>() {
            if !self.is_heard(node, other) || !self.hosts[other].is_up() {
                continue;
            }
            for group in &groups {
                let host = &mut self.hosts[other];
                let mut given_to = GivenTo { host, by: node, entries: 0 };
                give_held(&mut disk, segment_bytes, *group, &mut given_to)?;
                let given = given_to.entries;
                if given > 0 {
                    let shard = shard_of_group(*group, self.hosts[other].shards).0;
                    self.schedule_turn(Place { node: other, shard }, MS);
                    self.trace.event(self.now, &[64, node as u64, other as u64, given], || {
                        format!("node {node} gives {given} entries of group {group} to {other}")
                    });
                }
            }
        }
        self.hosts[node].disk = disk;
        Ok(())
    }

    /// Takes a node's disk out, to be read while others are changed.
    fn take_disk(&mut self, node: usize) -> Disk {
        std::mem::replace(&mut self.hosts[node].disk, Disk::new(0, empty(), self.lie))
    }

    /// Asks one node after the other, until one has it.
    fn mend_some(&mut self, node: usize, damage: &mut DamageAtStart) -> Result<Mended, String> {
        let (group, segment_bytes) = (damage.group, self.plan.segment_bytes);
        let mut disk = self.take_disk(node);
        let (mut written, mut outcome) = (Vec::new(), Mended::Nothing);
        for other in (0..self.hosts.len()).filter(|other| *other != node) {
            if !self.is_heard(node, other) {
                continue;
            }
            let host = &mut self.hosts[other];
            let mut other_node = Asked { host, segment_bytes };
            let mended =
                damage.mend(&mut disk, &mut other_node, &mut |SegmentId(segment), at, bytes| {
                    written.push((Position(segment * segment_bytes + at), bytes.to_vec()));
                    Ok(())
                });
            let mended = mended.map_err(|why| {
                format!("consensus: node {node} asks node {other} for what is damaged: {why}")
            })?;
            if mended != Mended::Nothing {
                outcome = mended;
            }
            if matches!(mended, Mended::Entries(_)) {
                break;
            }
        }
        self.hosts[node].disk = disk;
        self.trace.event(self.now, &[62, node as u64, damage.position().0], || {
            let (entries, at) = (written.len(), damage.position());
            format!("node {node}: {entries} entries of group {group} mended at start, up to {at}")
        });
        for (position, bytes) in &written {
            let host = &mut self.hosts[node];
            let (segment, at) = (position.0 / segment_bytes, position.0 % segment_bytes);
            host.disk.mend(group, SegmentId(segment), at, bytes);
            host.rotten.retain(|place| *place != (group, *position));
            let page = MemoryPage::from(bytes.clone());
            self.checks.consensus.mended_at_start(node, group, *position, &page)?;
            self.report.mended += u64::from(!is_clear(&page));
        }
        Ok(outcome)
    }

    /// Whether a node can ask another one now.
    fn is_heard(&self, node: usize, other: usize) -> bool {
        let host = &self.hosts[other];
        let is_there = host.is_up() || (host.awaits_others && !host.is_gone);
        let answers = is_there && host.paused_until <= self.now;
        answers && !self.network.are_apart(node, other, self.now)
    }

    /// Faults stopped long ago, and every journal was gone through since: nothing is damaged that
    /// another node has, and nobody waits for a snapshot, so that any node may die.
    ///
    /// # Errors
    /// What is.
    pub(crate) fn all_mended(&self) -> Result<(), String> {
        for (node, host) in self.hosts.iter().enumerate() {
            let shards = host.node.iter().flat_map(|node| &node.shards);
            let mut groups = shards.flat_map(|running| running.shard.groups().iter());
            if let Some(group) = groups.find(|group| group.is_filling()) {
                let id = group.id;
                return Err(format!(
                    "liveness: node {node} still waits for a snapshot of group {id}"
                ));
            }
            if !host.rotten.is_empty() && host.node.is_none() && !host.is_gone {
                return Err(format!("liveness: node {node} isn't mended, and can't start"));
            }
            for (group, position) in &host.rotten {
                let is_damaged = host.disk.entry(*group, *position).is_none();
                let others = self.hosts.iter().enumerate().filter(|(other, _)| *other != node);
                let has_it = |host: &Host| {
                    reach(host, *group).is_some_and(|(start, end)| {
                        let found = host.disk.entry(*group, *position);
                        *position >= start && *position < end && found.is_some()
                    })
                };
                let needs_it = reach(host, *group).is_some_and(|(start, _)| *position >= start);
                if is_damaged && needs_it && others.map(|(_, host)| host).any(has_it) {
                    return Err(format!(
                        "liveness: the entry of group {group} at {position} is damaged on node \
                         {node}, and nobody mends it"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether a start would read this entry.
fn is_read_at_start(host: &Host, group: GroupId, position: Position) -> bool {
    position >= host.disk.read_from(group)
}

/// Whether there is damage that a start would come upon, or a group without a journal.
fn needs_others(host: &Host) -> bool {
    let shards = host.node.iter().flat_map(|node| &node.shards);
    let mut groups = shards.flat_map(|running| running.shard.groups().iter());
    let mut rotten = host.rotten.iter();
    groups.any(|group| group.is_filling())
        || host.disk.groups_here().any(|group| host.disk.is_given_up(group))
        || rotten.any(|(group, position)| is_read_at_start(host, *group, *position))
}

/// What of a group a node has for sure, and knows to be committed.
fn reach(host: &Host, group: GroupId) -> Option<(Position, Position)> {
    let node = host.node.as_ref()?;
    let group = node.shards[usize::from(node.shard_of(group))].shard.groups().get(group)?;
    let end = group.applied().end.min(group.journal.flush_position());
    (!group.is_filling()).then(|| (group.journal.start(), end))
}

/// A node that is asked, and runs or waits to be mended itself.
struct Asked<'a> {
    host: &'a mut Host,
    segment_bytes: u64,
}

impl OtherNode for Asked<'_> {
    fn led(&mut self, place: JournalPlace, term: Term) -> Result<Option<Vec<u8>>, String> {
        Ok(entry_led(self.host, place, term))
    }

    fn held(&mut self, place: JournalPlace) -> Result<Result<Vec<u8>, NotHeld>, String> {
        let mut end = Position(u64::MAX);
        if let Some(node) = &self.host.node {
            let shard = &node.shards[usize::from(node.shard_of(place.group))].shard;
            let Some(group) = shard.groups().get(place.group) else {
                return Ok(Err(NotHeld::Nothing));
            };
            if gives_snapshot(group, &place) {
                return Ok(Err(NotHeld::Trimmed));
            }
            end = if group.is_filling() { Position(0) } else { group.journal.flush_position() };
        } else if !self.host.disk.groups_here().any(|group| group == place.group) {
            return Ok(Err(NotHeld::Nothing));
        }
        let found = held(&mut self.host.disk, self.segment_bytes, place);
        let found = found.filter(|(at, bytes)| at.0 + bytes.len() as u64 <= end.0);
        Ok(found.map(|(_, bytes)| bytes).ok_or(NotHeld::Nothing))
    }
}

/// A node that runs, as it is given what it lacks.
struct GivenTo<'a> {
    host: &'a mut Host,
    by: usize,
    /// So many.
    entries: u64,
}

impl GivenTo<'_> {
    /// The shard that runs a group there.
    fn running(&mut self, group: GroupId) -> Option<&mut Running> {
        let node = self.host.node.as_mut()?;
        let shard = usize::from(node.shard_of(group));
        node.shards.get_mut(shard)
    }
}

impl RunningNode for GivenTo<'_> {
    fn damaged(&mut self, group: GroupId) -> Result<Vec<JournalPlace>, String> {
        let running = self.running(group);
        Ok(running.map_or(Vec::new(), |running| running.shard.damaged_everywhere(group)))
    }

    fn give(&mut self, place: JournalPlace, entry: &[u8]) -> Result<(), String> {
        let by = NodeId(self.by as u32);
        if let Some(running) = self.running(place.group) {
            running.shard.take_given(by, place, Bytes::copy_from_slice(entry));
            self.entries += 1;
        }
        Ok(())
    }
}

/// What a node that runs answers when it is asked for the entry behind a place that is committed,
/// or that it leads by.
fn entry_led(host: &Host, place: JournalPlace, term: Term) -> Option<Vec<u8>> {
    let (start, mut end) = reach(host, place.group)?;
    let node = host.node.as_ref()?;
    let shard = &node.shards[usize::from(node.shard_of(place.group))].shard;
    let group = shard.groups().get(place.group)?;
    let journal = &group.journal;
    if leads_since(group, term) {
        end = journal.flush_position();
    }
    let at = journal.entry_start(place.at);
    [at, journal.next_segment_start(at)].into_iter().filter(|at| *at >= start).find_map(|at| {
        let bytes = host.disk.entry(place.group, at)?;
        let entry = Entry::of_page(&bytes, at);
        let follows = Some(entry.header.previous_crc) == place.previous_crc;
        let is_known = entry.end() <= end;
        (follows && is_known).then_some(bytes)
    })
}
