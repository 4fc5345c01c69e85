//! Bits that flip on a disk long after they were written, and how what they damage gets whole.
//!
//! What has rotted on a majority of the nodes that hold it is lost, and nothing is promised of it.
//! So no entry rots on a majority. Nor do on several nodes, of whatever groups, those entries that
//! a start must read, which lie behind the last checkpoint: nodes that can't start say nothing, and
//! a minority doesn't know what is committed. After a loss of power they would wait for each other.
//! Nor where journals are trimmed: a start waits for ever for what all others have let go of.

use std::iter::empty;

use hutong::journal::format::Entry;
use hutong::journal::page::MemoryPage;
use hutong::model::ids::{GroupId, SegmentId, WriteId, shard_of_group};
use hutong::model::position::Position;
use hutong::shard::open::damage_at_start;
use hutong::shard::peers::repair_wire::JournalPlace;
use hutong::shard::repair::at_start::DamageAtStart;

use crate::disk::Disk;
use crate::events::Event;
use crate::host::Host;
use crate::lie::Lie;
use crate::node::config;
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

    /// Whether this entry stays whole on a majority if it rots on this node, and all but a minority
    /// can start by themselves.
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
        let cant_start =
            |host: &&Host| host.rotten.iter().any(|(of, at)| *at >= host.disk.read_from(*of));
        let is_read_at_start = position >= self.hosts[node].disk.read_from(group);
        // Nobody has what all others have trimmed: then such a node never starts.
        let may_be_lost = self.plan.trims() || others.filter(cant_start).count() >= minority;
        same < minority && !(is_read_at_start && may_be_lost)
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
    /// before it opens a shard. Returns whether all can be opened.
    ///
    /// # Errors
    /// Journals differ.
    pub(crate) fn mend_at_start(&mut self, node: usize) -> Result<bool, String> {
        if !self.is_cluster() {
            return Ok(true);
        }
        for group in self.hosts[node].disk.groups_here().collect::<Vec<_>>() {
            loop {
                let Host { disk, shards, .. } = &mut self.hosts[node];
                let shard = shard_of_group(group, *shards);
                let config = config(&self.plan, node, *shards, shard, 0);
                let files = disk.group_files(group);
                let Some(mut damage) = damage_at_start(&config, &files, disk) else { break };
                if !self.mend_some(node, &mut damage)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Asks one node after the other. Returns whether something was mended.
    fn mend_some(&mut self, node: usize, damage: &mut DamageAtStart) -> Result<bool, String> {
        let (group, segment_bytes) = (damage.group, self.plan.segment_bytes);
        let mut disk =
            std::mem::replace(&mut self.hosts[node].disk, Disk::new(0, empty(), self.lie));
        let mut written = Vec::new();
        for other in (0..self.hosts.len()).filter(|other| *other != node) {
            if !self.is_heard(node, other) {
                continue;
            }
            let host = &self.hosts[other];
            let mended = damage.mend(
                &mut disk,
                &mut |place| Ok(entry_behind(host, place)),
                &mut |SegmentId(segment), at, bytes| {
                    written.push((Position(segment * segment_bytes + at), bytes.to_vec()));
                    Ok(())
                },
            );
            let mended = mended.map_err(|why| {
                format!("consensus: node {node} asks node {other} for what is damaged: {why}")
            })?;
            if mended > 0 {
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
            self.report.mended += 1;
        }
        Ok(!written.is_empty())
    }

    /// Whether a node can ask another one now.
    fn is_heard(&self, node: usize, other: usize) -> bool {
        let silent = |from, to| self.network.silent_until(from, to, self.now).is_some();
        let is_up = self.hosts[other].is_up() && self.hosts[other].paused_until <= self.now;
        is_up && !silent(node, other) && !silent(other, node)
    }

    /// Faults stopped long ago, and every journal was gone through since: nothing is damaged that
    /// another node has.
    ///
    /// # Errors
    /// What is.
    pub(crate) fn all_mended(&self) -> Result<(), String> {
        for (node, host) in self.hosts.iter().enumerate() {
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

/// What of a group a node has for sure, and knows to be committed.
fn reach(host: &Host, group: GroupId) -> Option<(Position, Position)> {
    let node = host.node.as_ref()?;
    let group = node.shards[usize::from(node.shard_of(group))].shard.groups().get(group)?;
    let end = group.applied().end.min(group.journal.flush_position());
    (!group.is_filling()).then(|| (group.journal.start(), end))
}

/// What a node that runs answers when it is asked for the entry behind a place.
fn entry_behind(host: &Host, place: JournalPlace) -> Option<Vec<u8>> {
    let (start, end) = reach(host, place.group)?;
    let node = host.node.as_ref()?;
    let shard = &node.shards[usize::from(node.shard_of(place.group))].shard;
    let journal = &shard.groups().get(place.group)?.journal;
    let at = journal.entry_start(place.at);
    [at, journal.next_segment_start(at)].into_iter().filter(|at| *at >= start).find_map(|at| {
        let bytes = host.disk.entry(place.group, at)?;
        let entry = Entry::of_page(&bytes, at);
        let follows = Some(entry.header.previous_crc) == place.previous_crc;
        let is_known = entry.end() <= end;
        (follows && is_known).then_some(bytes)
    })
}
