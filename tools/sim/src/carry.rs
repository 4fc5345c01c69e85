//! The driver's part: takes turns, and carries inputs to the shards and their outputs away;
//! `storage` carries those for the disk.

use hutong::journal::page::{MemoryPage, Page};
use hutong::model::ids::{ConnectionId, ShardId};
use hutong::model::time::Time;
use hutong::shard::input::Input;
use hutong::shard::message::ShardMessage;
use hutong::shard::output::{Output, Part};

use crate::checkers::responses;
use crate::events::Event;
use crate::host::{Host, Place};
use crate::node::Running;
use crate::plan::{MS, SECOND};
use crate::world::World;

/// How long after an input a turn may begin.
const TURN_SPREAD: u64 = 30_000;
/// Turns in a row without an input after which a shard is said never to rest.
const RESTLESS_TURNS: u64 = 10_000;

impl World {
    /// Something happened to a shard.
    pub(crate) fn input(&mut self, place: Place, input: Input<MemoryPage>) {
        let Some(node) = &mut self.hosts[place.node].node else { return };
        let Some(running) = node.shards.get_mut(usize::from(place.shard)) else { return };
        running.inbox.push_back(input);
        self.schedule_turn(place, TURN_SPREAD);
    }

    pub(crate) fn schedule_turn(&mut self, place: Place, spread: u64) {
        let at = self.now + 1 + self.random.below(spread);
        let Place { node, shard } = place;
        let host = &mut self.hosts[node];
        let Some(process) = &mut host.node else { return };
        let running = &mut process.shards[usize::from(shard)];
        if !running.turn_scheduled {
            running.turn_scheduled = true;
            self.events.push(at, Event::Turn { node, life: host.life, shard });
        }
    }

    pub(crate) fn running(&mut self, place: Place) -> Option<&mut Running> {
        self.hosts[place.node].node.as_mut()?.shards.get_mut(usize::from(place.shard))
    }

    pub(crate) fn wake(&mut self, place: Place, at: u64) {
        let Some(running) = self.running(place) else { return };
        if running.wake_at == at {
            running.wake_at = u64::MAX;
            self.schedule_turn(place, TURN_SPREAD);
        }
    }

    /// The nodes that may have had no say when this one was elected: those that it couldn't talk to
    /// in the last seconds, or that didn't serve.
    fn away_from(&self, node: usize) -> Vec<usize> {
        let since = self.now.saturating_sub(2 * SECOND);
        let serves = |host: &Host| {
            let mut shards = host.node.iter().flat_map(|process| &process.shards);
            host.is_ready() && host.is_up() && shards.all(|shard| shard.ready_at <= since)
        };
        let is_away = |other: &usize| {
            let host = &self.hosts[*other];
            let is_there = serves(host) && host.paused_until <= since;
            !host.is_gone
                && *other != node
                && (!is_there || self.network.are_apart(node, *other, since))
        };
        (0..self.hosts.len()).filter(is_away).collect()
    }

    /// One turn of a shard: all inputs, `advance`, all outputs.
    pub(crate) fn turn(&mut self, place: Place) -> Result<(), String> {
        let now = self.clocks(place.node);
        let Place { node, shard } = place;
        let host = &mut self.hosts[node];
        if host.paused_until > self.now {
            let at = host.paused_until;
            self.events.push(at, Event::Turn { node, life: host.life, shard });
            return Ok(());
        }
        let life = host.life;
        let Some(process) = &mut host.node else { return Ok(()) };
        let running = &mut process.shards[usize::from(shard)];
        running.turn_scheduled = false;
        if running.stopped {
            running.inbox.clear();
            return Ok(());
        }
        let inputs = running.inbox.len() as u64;
        host.restless = if inputs == 0 { host.restless + 1 } else { 0 };
        if host.restless > RESTLESS_TURNS {
            return Err(format!("liveness: {place:?} never comes to rest"));
        }
        while let Some(input) = running.inbox.pop_front() {
            running.shard.handle(now, input);
        }
        running.shard.advance(now);
        let mut outputs = Vec::new();
        while let Some(output) = running.shard.poll_output() {
            outputs.push(output);
        }
        let what = [1, node as u64, u64::from(shard), inputs, outputs.len() as u64];
        self.trace.event(self.now, &what, || {
            format!("node {node} shard {shard}: {inputs} inputs, {} outputs", outputs.len())
        });
        let deadline = running.shard.next_deadline().unwrap_or(Time::NEVER).0;
        let elected = self.checks.turned(place, &running.shard, self.now)?;
        for (group, term) in elected {
            self.checks.durability.elected(group, node, &self.away_from(node));
            self.trace.event(self.now, &[10], || {
                format!("node {node} leads group {group} in term {term}")
            });
        }
        for output in outputs {
            self.carry(place, output)?;
            if !self.lives(node, life) {
                return Ok(());
            }
        }
        self.plan_wake(place, deadline);
        self.all_stopped(node)
    }

    fn plan_wake(&mut self, place: Place, deadline: u64) {
        let Place { node, shard } = place;
        let now = self.clocks(node).time.0;
        let (at, life) = (self.hosts[node].moment(deadline), self.hosts[node].life);
        if deadline <= now {
            self.schedule_turn(place, TURN_SPREAD);
        } else if deadline < Time::NEVER.0
            && let Some(running) = self.running(place)
            && running.wake_at != at
        {
            running.wake_at = at;
            self.events.push(at, Event::Wake { node, life, shard, at });
        }
    }

    fn all_stopped(&mut self, node: usize) -> Result<(), String> {
        let process = self.hosts[node].node.as_ref();
        match process.is_some_and(|node| node.stopping && node.shards.iter().all(|s| s.stopped)) {
            true => self.stopped(node),
            false => Ok(()),
        }
    }

    fn carry(&mut self, place: Place, output: Output<MemoryPage>) -> Result<(), String> {
        match output {
            Output::Respond { connection, parts } => self.respond(place, connection, parts),
            Output::CloseConnection { connection } => self.close(place, connection),
            Output::PauseReading { connection } => self.pause(place, connection, true),
            Output::ResumeReading { connection } => self.pause(place, connection, false),
            Output::Dial { connection, host, port } => self.dial(place, connection, &host, port),
            Output::SendShard { to, message } => {
                self.send_message(place, to, message);
                Ok(())
            }
            Output::Log { line, .. } => {
                self.trace.event(self.now, &[5], || format!("  {place:?} says: {line}"));
                Ok(())
            }
            Output::Ready => self.ready(place),
            Output::Stopped => {
                if let Some(running) = self.running(place) {
                    running.stopped = true;
                }
                Ok(())
            }
            Output::Fatal { reason } => self.gives_up(place, &reason),
            output => self
                .carry_to_disk(place, output)
                .map_err(|why| format!("contract: {place:?}: {why}")),
        }
    }

    fn ready(&mut self, place: Place) -> Result<(), String> {
        self.trace.event(self.now, &[6, u64::from(place.shard)], || format!("{place:?} is ready"));
        let now = self.now;
        let Some(running) = self.running(place) else { return Ok(()) };
        running.ready_at = now;
        if std::mem::replace(&mut running.ready, true) {
            return Err(format!("contract: {place:?} is ready twice"));
        }
        let host = &mut self.hosts[place.node];
        if host.is_ready() {
            host.starting_since = None;
        }
        Ok(())
    }

    fn send_message(&mut self, place: Place, to: ShardId, message: ShardMessage) {
        let delay = self.random.around(MS / 20);
        let (node, from) = (place.node, ShardId(place.shard));
        let life = self.hosts[node].life;
        let Some(process) = &mut self.hosts[node].node else { return };
        let lane = process.mesh.entry((from.0, to.0)).or_default();
        lane.last_at = lane.last_at.max(self.now + delay);
        lane.messages.push_back(message);
        self.events.push(lane.last_at, Event::Mesh { node, life, from, to });
    }

    pub(crate) fn deliver_message(&mut self, node: usize, from: ShardId, to: ShardId) {
        let Some(process) = &mut self.hosts[node].node else { return };
        let lane = process.mesh.get_mut(&(from.0, to.0));
        let Some(message) = lane.and_then(|lane| lane.messages.pop_front()) else { return };
        self.input(Place { node, shard: to.0 }, Input::FromShard { from, message });
    }

    fn pause(
        &mut self,
        place: Place,
        connection: ConnectionId,
        paused: bool,
    ) -> Result<(), String> {
        let Some(found) = self.connections.get_mut(&connection.0) else {
            self.pause_link(place, connection, paused);
            return Ok(());
        };
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

    fn close(&mut self, place: Place, connection: ConnectionId) -> Result<(), String> {
        let Some(found) = self.connections.get_mut(&connection.0) else {
            self.close_link(place, connection);
            return Ok(());
        };
        responses::closed(found)?;
        found.closing = true;
        let at = found.last_response_at.max(self.now) + 1;
        self.events.push(at, Event::Response { connection: connection.0 });
        Ok(())
    }

    fn respond(
        &mut self,
        place: Place,
        id: ConnectionId,
        parts: Vec<Part<MemoryPage>>,
    ) -> Result<(), String> {
        let mut bytes = Vec::with_capacity(parts.iter().map(Part::len).sum());
        for part in &parts {
            match part {
                Part::Bytes(part) => bytes.extend_from_slice(part),
                Part::Page { page, start, end } => {
                    bytes.extend_from_slice(&page.bytes()[*start..*end]);
                }
            }
        }
        let Some(connection) = self.connections.get_mut(&id.0) else {
            return self.send_to_node(place, id, bytes);
        };
        if connection.closing || connection.place != place {
            return Err(format!("contract: bytes for connection {id}, which isn't theirs"));
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
