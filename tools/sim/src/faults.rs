//! What goes wrong: the process is killed, the disk stands still or is full, clients vanish.

use hutong::shard::input::Input;

use crate::checkers::liveness;
use crate::events::Event;
use crate::node::Node;
use crate::plan::{MS, SECOND};
use crate::world::{Phase, World};
use hutong::model::ids::ConnectionId;

impl World {
    /// Time for a crash or a clean stop.
    pub(crate) fn crash_or_stop(&mut self) -> Result<(), String> {
        if self.phase != Phase::Faults {
            return Ok(());
        }
        let next = self.now + self.random.around(self.plan.crash_every);
        self.events.push(next, Event::Crash);
        if self.node.is_none() {
            return Ok(());
        }
        if self.random.chance(self.plan.clean_percent) && self.stopping_since.is_none() {
            self.stop();
            return Ok(());
        }
        self.crash()
    }

    fn stop(&mut self) {
        self.trace.event(self.now, &[50], || "stop".into());
        self.stopping_since = Some(self.now);
        let Some(node) = &mut self.node else { return };
        node.stopping = true;
        for shard in 0..node.shards.len() {
            self.input(shard as u16, Input::Shutdown);
        }
    }

    /// All shards have stopped: the process ends, and nothing may be lost.
    pub(crate) fn stopped(&mut self) -> Result<(), String> {
        self.trace.event(self.now, &[51], || "stopped".into());
        self.report.clean_stops += 1;
        self.checks.stopped();
        self.end_life(true)
    }

    /// Kills the process.
    pub(crate) fn crash(&mut self) -> Result<(), String> {
        self.trace.event(self.now, &[52], || "crash".into());
        self.report.crashes += 1;
        self.checks.crashed();
        self.end_life(false)
    }

    fn end_life(&mut self, clean: bool) -> Result<(), String> {
        self.node = None;
        self.life += 1;
        self.stopping_since = None;
        self.starting_since = None;
        // What is left of a clean stop are reads, and segments made ahead of need.
        self.disk.crash(&mut self.random);
        let connections: Vec<u64> = self.connections.keys().copied().collect();
        for id in connections {
            // What was given out may still arrive.
            while self.random.chance(50)
                && self.connections.get(&id).is_some_and(|c| !c.to_client.is_empty())
            {
                self.hand_over(id)?;
            }
            self.connections.remove(&id);
        }
        for client in self.clients.iter_mut().flatten() {
            client.disconnected();
        }
        if self.random.chance(self.plan.move_percent) {
            self.shards = self.random.between(1, 3) as u16;
        }
        self.topics.forget_leaders();
        if self.random.chance(20) && !clean {
            // Clocks are set while a machine starts.
            self.wallclock_ahead += self.random.between(0, 4000) as i64 - 2000;
        }
        let at = self.now + self.random.around(500 * MS);
        self.events.push(at, Event::Start);
        Ok(())
    }

    /// Starts the process.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        let seed = self.random.next();
        let now = self.clocks();
        self.starting_since = Some(self.now);
        let node = Node::start(&self.plan, self.shards, &mut self.disk, now, seed)?;
        let shards = node.shards.len() as u64;
        self.trace.event(self.now, &[53, shards], || format!("start with {shards} shards"));
        self.node = Some(node);
        for shard in 0..self.shards {
            self.schedule_turn(shard, MS);
        }
        Ok(())
    }

    pub(crate) fn stall(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        if self.random.chance(60) {
            self.stalled_until = self.now + self.random.around(2 * SECOND);
        } else {
            self.slow_until = self.now + self.random.around(4 * SECOND);
        }
        let until = self.stalled_until;
        self.trace.event(self.now, &[54, until], || format!("the disk stands still to {until}"));
        let next = self.now + self.random.around(self.plan.stall_every);
        self.events.push(next, Event::Stall);
    }

    pub(crate) fn fill_disk(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        self.full_until = self.now + self.random.around(5 * SECOND);
        self.full_last = self.full_until;
        self.full_since_start = true;
        let until = self.full_until;
        self.trace.event(self.now, &[55, until], || format!("the disk is full until {until}"));
        let next = self.now + self.random.around(self.plan.full_every);
        self.events.push(next, Event::Full);
    }

    pub(crate) fn disconnect_someone(&mut self) -> Result<(), String> {
        if self.phase != Phase::Faults {
            return Ok(());
        }
        let next = self.now + self.random.around(self.plan.disconnect_every);
        self.events.push(next, Event::Disconnect);
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let id = self.random.pick(&ids);
        self.disconnect(id);
        Ok(())
    }

    /// A connection ends: frames that haven't reached the node never will.
    pub(crate) fn disconnect(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.trace.event(self.now, &[56, id], || format!("connection {id} ends"));
        let input = Input::ConnectionClosed { connection: ConnectionId(id) };
        self.input(connection.shard, input);
        if let Some(client) = &mut self.clients[connection.client] {
            client.disconnected();
        }
    }

    /// Looks whether a start or a stop takes too long.
    pub(crate) fn check_patience(&self) -> Result<(), String> {
        let excuse = self.stalled_until.max(self.full_until).max(self.slow_until);
        for (what, since) in [("a stop", self.stopping_since), ("a start", self.starting_since)] {
            if let Some(since) = since {
                liveness::patience(what, since.max(excuse), self.now)?;
            }
        }
        Ok(())
    }
}
