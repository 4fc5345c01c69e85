//! The driver's part: takes turns, and carries inputs to the shards and their outputs away.

use hutong::journal::page::{MemoryPage, Page};
use hutong::model::ids::{ConnectionId, ShardId};
use hutong::model::time::Time;
use hutong::shard::input::Input;
use hutong::shard::message::ShardMessage;
use hutong::shard::output::{Output, Part};

use crate::checkers::{queues, responses};
use crate::disk::Done;
use crate::events::Event;
use crate::plan::MS;
use crate::world::World;

/// How long after an input a turn may begin.
const TURN_SPREAD: u64 = 30_000;
/// Turns in a row without an input after which a shard is said never to rest.
const RESTLESS_TURNS: u64 = 10_000;

impl World {
    /// Something happened to a shard.
    pub(crate) fn input(&mut self, shard: u16, input: Input<MemoryPage>) {
        let Some(node) = &mut self.node else { return };
        let Some(running) = node.shards.get_mut(usize::from(shard)) else { return };
        running.inbox.push_back(input);
        self.schedule_turn(shard, TURN_SPREAD);
    }

    pub(crate) fn schedule_turn(&mut self, shard: u16, spread: u64) {
        let at = self.now + 1 + self.random.below(spread);
        let Some(node) = &mut self.node else { return };
        let running = &mut node.shards[usize::from(shard)];
        if !running.turn_scheduled {
            running.turn_scheduled = true;
            self.events.push(at, Event::Turn { life: self.life, shard });
        }
    }

    pub(crate) fn wake(&mut self, shard: u16, at: u64) {
        let Some(node) = &mut self.node else { return };
        if node.shards[usize::from(shard)].wake_at == at {
            node.shards[usize::from(shard)].wake_at = u64::MAX;
            self.schedule_turn(shard, TURN_SPREAD);
        }
    }

    /// One turn of a shard: all inputs, `advance`, all outputs.
    pub(crate) fn turn(&mut self, shard: u16) -> Result<(), String> {
        let now = self.clocks();
        let Some(node) = &mut self.node else { return Ok(()) };
        let running = &mut node.shards[usize::from(shard)];
        running.turn_scheduled = false;
        if running.stopped {
            running.inbox.clear();
            return Ok(());
        }
        let inputs = running.inbox.len() as u64;
        self.restless = if inputs == 0 { self.restless + 1 } else { 0 };
        if self.restless > RESTLESS_TURNS {
            return Err(format!("liveness: shard {shard} never comes to rest"));
        }
        while let Some(input) = running.inbox.pop_front() {
            running.shard.handle(now, input);
        }
        running.shard.advance(now);
        let mut outputs = Vec::new();
        while let Some(output) = running.shard.poll_output() {
            outputs.push(output);
        }
        self.trace.event(self.now, &[1, u64::from(shard), inputs, outputs.len() as u64], || {
            format!("shard {shard}: {inputs} inputs, {} outputs", outputs.len())
        });
        self.checks.progress.turned(&running.shard)?;
        queues::turned(&running.shard)?;
        let deadline = running.shard.next_deadline().unwrap_or(Time::NEVER).0;
        for output in outputs {
            self.carry(shard, output)?;
        }
        self.plan_wake(shard, deadline);
        self.all_stopped()
    }

    fn plan_wake(&mut self, shard: u16, deadline: u64) {
        if deadline <= self.now {
            self.schedule_turn(shard, TURN_SPREAD);
        } else if deadline < Time::NEVER.0
            && let Some(node) = &mut self.node
            && node.shards[usize::from(shard)].wake_at != deadline
        {
            node.shards[usize::from(shard)].wake_at = deadline;
            let life = self.life;
            self.events.push(deadline, Event::Wake { life, shard, at: deadline });
        }
    }

    fn all_stopped(&mut self) -> Result<(), String> {
        let node = self.node.as_ref();
        match node.is_some_and(|node| node.stopping && node.shards.iter().all(|s| s.stopped)) {
            true => self.stopped(),
            false => Ok(()),
        }
    }

    fn carry(&mut self, shard: u16, output: Output<MemoryPage>) -> Result<(), String> {
        let at_shard = |why: String| format!("contract: shard {shard}: {why}");
        let operation = match output {
            Output::Respond { connection, parts } => return self.respond(shard, connection, parts),
            Output::CloseConnection { connection } => return self.close(connection),
            Output::PauseReading { connection } => return self.pause(connection, true),
            Output::ResumeReading { connection } => return self.pause(connection, false),
            Output::Dial { .. } => return Err(at_shard("a node that is alone dials".into())),
            Output::SendShard { to, message } => {
                self.send_message(ShardId(shard), to, message);
                return Ok(());
            }
            Output::WriteJournal { group, write, segment, at, page } => {
                self.trace.event(self.now, &[2, write.0, at], || {
                    let bytes = page.bytes().len();
                    format!("  group {group} write {write}: {bytes} bytes at {segment}:{at}")
                });
                self.disk.write_journal(group, write, segment, at, page).map_err(at_shard)?
            }
            Output::ReadJournal { group, read, segment, at, bytes } => {
                self.report.journal_reads += 1;
                if let Some(node) = &mut self.node {
                    node.shards[usize::from(shard)].reads += 1;
                }
                self.disk.read_journal(group, read, segment, at, bytes).map_err(at_shard)?
            }
            Output::WriteVote { group, write, at, page } => {
                self.disk.write_vote(group, write, at, page).map_err(at_shard)?
            }
            Output::CreateSegment { group, segment, header } => {
                self.disk.create_segment(group, segment, header).map_err(at_shard)?
            }
            Output::RemoveSegment { group, segment } => {
                self.trace.event(self.now, &[3, segment.0], || {
                    format!("  group {group} removes segment {segment}")
                });
                self.report.segments_removed += 1;
                self.disk.remove_segment(group, segment)
            }
            Output::WriteCheckpoint { group, position, bytes } => {
                self.trace.event(self.now, &[4, position.0], || {
                    format!("  group {group} checkpoint at {position}")
                });
                self.report.checkpoints += 1;
                self.disk.write_checkpoint(group, position, bytes).map_err(at_shard)?
            }
            Output::Log { line, .. } => {
                self.trace.event(self.now, &[5], || format!("  shard {shard} says: {line}"));
                return Ok(());
            }
            Output::Ready => return self.ready(shard),
            Output::Stopped => {
                if let Some(node) = &mut self.node {
                    node.shards[usize::from(shard)].stopped = true;
                }
                return Ok(());
            }
            Output::Fatal { reason } => return Err(format!("fatal: {reason}")),
        };
        self.schedule_disk(operation);
        Ok(())
    }

    fn ready(&mut self, shard: u16) -> Result<(), String> {
        self.trace.event(self.now, &[6, u64::from(shard)], || format!("shard {shard} is ready"));
        let Some(node) = &mut self.node else { return Ok(()) };
        if std::mem::replace(&mut node.shards[usize::from(shard)].ready, true) {
            return Err(format!("contract: shard {shard} is ready twice"));
        }
        if node.shards.iter().all(|shard| shard.ready) {
            self.starting_since = None;
        }
        Ok(())
    }

    fn schedule_disk(&mut self, operation: u64) {
        if let Some(done) = self.disk.early_report(operation) {
            self.report_done(done);
        }
        let slow = if self.slow_until > self.now { 20 } else { 1 };
        let mean = if self.random.chance(50) { self.plan.write } else { self.plan.read };
        let at = self.now + self.random.around(mean) * slow;
        self.events.push(at, Event::Disk { operation });
    }

    pub(crate) fn disk_done(&mut self, operation: u64) {
        if self.now < self.stalled_until || self.disk.is_behind(operation) {
            let from = self.now.max(self.stalled_until);
            let at = from + self.random.between(1, MS);
            return self.events.push(at, Event::Disk { operation });
        }
        let full = self.full_until > self.now;
        if let Some(done) = self.disk.complete(operation, full) {
            self.report_done(done);
        }
    }

    fn report_done(&mut self, done: Done) {
        let Some(node) = &mut self.node else { return };
        let shard = node.shard_of(done.group);
        if matches!(done.input, Input::JournalRead { .. }) {
            node.shards[usize::from(shard)].reads -= 1;
            node.shards[usize::from(shard)].last_read_at = self.now;
        }
        self.trace.event(self.now, &[7, u64::from(shard)], || format!("{:.90?}", done.input));
        self.input(shard, done.input);
    }

    fn send_message(&mut self, from: ShardId, to: ShardId, message: ShardMessage) {
        let delay = self.random.around(MS / 20);
        let Some(node) = &mut self.node else { return };
        let lane = node.mesh.entry((from.0, to.0)).or_default();
        lane.last_at = lane.last_at.max(self.now + delay);
        lane.messages.push_back(message);
        self.events.push(lane.last_at, Event::Mesh { life: self.life, from, to });
    }

    pub(crate) fn deliver_message(&mut self, from: ShardId, to: ShardId) {
        let Some(node) = &mut self.node else { return };
        let lane = node.mesh.get_mut(&(from.0, to.0));
        let Some(message) = lane.and_then(|lane| lane.messages.pop_front()) else { return };
        self.input(to.0, Input::FromShard { from, message });
    }

    fn pause(&mut self, connection: ConnectionId, paused: bool) -> Result<(), String> {
        let Some(found) = self.connections.get_mut(&connection.0) else { return Ok(()) };
        if found.paused == paused {
            return Err(format!("contract: connection {connection} is paused or resumed twice"));
        }
        found.paused = paused;
        found.paused_at = self.now;
        self.trace.event(self.now, &[8, connection.0, u64::from(paused)], || {
            format!("  connection {connection} paused: {paused}")
        });
        if !paused && !found.to_node.is_empty() {
            self.events.push(self.now, Event::Request { connection: connection.0 });
        }
        Ok(())
    }

    fn close(&mut self, connection: ConnectionId) -> Result<(), String> {
        let Some(found) = self.connections.get_mut(&connection.0) else { return Ok(()) };
        responses::closed(found)?;
        found.closing = true;
        let at = found.last_response_at.max(self.now) + 1;
        self.events.push(at, Event::Response { connection: connection.0 });
        Ok(())
    }

    fn respond(
        &mut self,
        shard: u16,
        id: ConnectionId,
        parts: Vec<Part<MemoryPage>>,
    ) -> Result<(), String> {
        let Some(connection) = self.connections.get_mut(&id.0) else { return Ok(()) };
        if connection.closing || connection.shard != shard {
            return Err(format!("contract: bytes for connection {id}, which isn't theirs"));
        }
        let mut bytes = Vec::with_capacity(parts.iter().map(Part::len).sum());
        for part in &parts {
            match part {
                Part::Bytes(part) => bytes.extend_from_slice(part),
                Part::Page { page, start, end } => {
                    bytes.extend_from_slice(&page.bytes()[*start..*end]);
                }
            }
        }
        self.trace.bytes(&bytes);
        let length = bytes.len();
        if connection.vandal {
            connection.to_client.push_back((None, length));
        } else {
            let frames = connection.cut(bytes);
            for frame in frames {
                self.answered(id.0, frame)?;
            }
            let Some(connection) = self.connections.get_mut(&id.0) else { return Ok(()) };
            connection.to_client.push_back((None, length));
        }
        self.schedule_responses(id.0);
        Ok(())
    }
}
