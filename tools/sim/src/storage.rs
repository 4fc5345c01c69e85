//! The driver's part that is about the disk: what shards ask of it, and what they are told.

use hutong::journal::REPAIR_WRITE;
use hutong::journal::page::MemoryPage;
use hutong::model::ids::{GroupId, SegmentId};
use hutong::model::position::Position;
use hutong::shard::input::Input;
use hutong::shard::output::Output;
use hutong::shard::snapshot_transfer::is_marker;

use crate::disk::Done;
use crate::events::Event;
use crate::host::Place;
use crate::lie::Lie;
use crate::plan::MS;
use crate::world::World;

impl World {
    /// A shard asks something of its disk.
    ///
    /// # Errors
    /// What it must not ask for.
    pub(crate) fn carry_to_disk(
        &mut self,
        place: Place,
        output: Output<MemoryPage>,
    ) -> Result<(), String> {
        let node = place.node;
        let disk = &mut self.hosts[node].disk;
        let operation = match output {
            Output::WriteJournal { group, write, segment, at, page } => {
                let told = || format!("  group {group} write {write} at {segment}:{at}");
                self.trace.event(self.now, &[2, write.0, at], told);
                let position = Position(segment.0 * self.plan.segment_bytes + at);
                if write.0 & REPAIR_WRITE == 0 {
                    self.checks.consensus.wrote(node, group, position, &page)?;
                } else {
                    self.checks.consensus.repairs(node, group, position, &page)?;
                    self.hosts[node].mending.insert((group, write), position);
                }
                self.hosts[node].disk.write_journal(group, write, segment, at, page)?
            }
            Output::ReadJournal { group, read, segment, at, bytes } => {
                let told = || format!("  group {group} read {read} of {bytes} at {segment}:{at}");
                self.trace.event(self.now, &[13, read.0, at], told);
                self.report.journal_reads += 1;
                let operation = disk.read_journal(group, read, segment, at, bytes);
                if let Some(running) = self.running(place) {
                    running.reads += 1;
                }
                operation?
            }
            Output::WriteVote { group, write, at, page } => {
                disk.write_vote(group, write, at, page)?
            }
            Output::CreateSegment { group, segment, header } => {
                disk.create_segment(group, segment, header)?
            }
            Output::RemoveSegment { group, segment } => {
                self.removes(node, group, segment);
                self.hosts[node].disk.remove_segment(group, segment)
            }
            Output::WriteCheckpoint { group, position, bytes } => {
                self.trace.event(self.now, &[4, position.0], || {
                    format!("  group {group} checkpoint at {position}")
                });
                self.report.checkpoints += 1;
                self.report.snapshots += u64::from(is_marker(&bytes));
                disk.write_checkpoint(group, position, bytes)?
            }
            Output::CreateGroup { group, checkpoint } => {
                self.trace.event(self.now, &[11, u64::from(group.0)], || {
                    format!("  group {group} comes to node {node}")
                });
                self.report.groups_moved += 1;
                disk.create_group(group, checkpoint)?
            }
            Output::RemoveGroup { group, checkpoint } => {
                self.trace.event(self.now, &[12, u64::from(group.0)], || {
                    format!("  group {group} goes from node {node}")
                });
                self.let_go(node, group);
                self.hosts[node].disk.remove_group(group, checkpoint)?
            }
            Output::RememberNodes { nodes } => disk.remember(nodes),
            other => return Err(format!("{other:?}, which nobody asked for")),
        };
        self.schedule_disk(node, operation);
        Ok(())
    }

    fn removes(&mut self, node: usize, group: GroupId, segment: SegmentId) {
        self.trace.event(self.now, &[3, segment.0], || {
            format!("  group {group} removes segment {segment}")
        });
        self.report.segments_removed += 1;
        let first = segment.0 * self.plan.segment_bytes;
        let gone = first..first + self.plan.segment_bytes;
        let host = &mut self.hosts[node];
        let before = host.rotten.len();
        host.rotten.retain(|(of, position)| *of != group || !gone.contains(&position.0));
        if host.rotten.len() < before {
            // Who waits for it hears so soon.
            host.mended_at = self.now;
        }
        self.checks.consensus.removed(node, group, gone);
    }

    fn schedule_disk(&mut self, node: usize, operation: u64) {
        if let Some(done) = self.hosts[node].disk.early_report(operation) {
            self.report_done(node, done);
        }
        let slow = if self.hosts[node].slow_until > self.now { 20 } else { 1 };
        let mean = if self.random.chance(50) { self.plan.write } else { self.plan.read };
        let at = self.now + self.random.around(mean) * slow;
        self.events.push(at, Event::Disk { node, operation });
    }

    pub(crate) fn disk_done(&mut self, node: usize, operation: u64) {
        let host = &mut self.hosts[node];
        if self.now < host.stalled_until || host.disk.is_behind(operation) {
            let from = self.now.max(host.stalled_until);
            let at = from + self.random.between(1, MS);
            return self.events.push(at, Event::Disk { node, operation });
        }
        let fails =
            host.failing_until > self.now && self.lie == Lie::Honest && self.random.chance(30);
        let done = if fails {
            host.failed_at = Some(self.now);
            host.disk.fail(operation, &mut self.random)
        } else {
            host.disk.complete(operation, host.full_until > self.now)
        };
        if let Some(done) = done {
            self.report_done(node, done);
        }
    }

    fn report_done(&mut self, node: usize, done: Done) {
        let life = self.hosts[node].life;
        let Some(process) = &mut self.hosts[node].node else { return };
        let shard = process.shard_of(done.group);
        if matches!(done.input, Input::JournalRead { .. }) {
            process.shards[usize::from(shard)].reads -= 1;
            process.shards[usize::from(shard)].last_read_at = self.now;
        }
        if let Input::JournalWritten { group, write, result: Ok(()) } = &done.input {
            self.mended(node, *group, *write);
        }
        if matches!(done.input, Input::VoteWritten { .. })
            && self.plan.vote_crash_percent > 0
            && self.random.chance(self.plan.vote_crash_percent)
        {
            // Just after it was promised is the best moment to forget it.
            let at = self.now + self.random.around(2 * MS);
            self.events.push(at, Event::CrashOf { node, life });
        }
        self.trace.event(self.now, &[7, node as u64, u64::from(shard)], || {
            format!("node {node}: {:.90?}", done.input)
        });
        self.input(Place { node, shard }, done.input);
    }
}
