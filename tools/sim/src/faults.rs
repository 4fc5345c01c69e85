//! What goes wrong on a machine: the process is killed or gets no time, the disk stands still, is
//! full or fails, the clock is set, clients vanish. `network` has what goes wrong between machines.

use std::collections::BTreeSet;

use hutong::model::ids::ConnectionId;
use hutong::shard::input::Input;

use crate::checkers::liveness;
use crate::events::Event;
use crate::host::Place;
use crate::node::Node;
use crate::plan::{MS, SECOND};
use crate::world::{Phase, World};

/// In a cluster a node may be unable to stop in order, for want of a leader. So long it may try.
const STOP_TIMEOUT: u64 = 5 * SECOND;

impl World {
    /// Time for a crash or a clean stop.
    pub(crate) fn crash_or_stop(&mut self) -> Result<(), String> {
        if self.phase != Phase::Faults {
            return Ok(());
        }
        let next = self.now + self.random.around(self.plan.crash_every);
        self.events.push(next, Event::Crash);
        if self.is_cluster() && self.random.chance(self.plan.power_percent) {
            for node in 0..self.hosts.len() {
                self.crash(node)?;
            }
            return Ok(());
        }
        let node = self.random_node();
        if self.hosts[node].node.is_none() {
            return Ok(());
        }
        let clean = self.random.chance(self.plan.clean_percent);
        if clean && self.hosts[node].stopping_since.is_none() {
            self.stop(node);
            return Ok(());
        }
        self.crash(node)
    }

    fn stop(&mut self, node: usize) {
        self.trace.event(self.now, &[50, node as u64], || format!("stop node {node}"));
        let cluster = self.is_cluster();
        let host = &mut self.hosts[node];
        host.stopping_since = Some(self.now);
        if cluster {
            let event = Event::StopTimeout { node, life: host.life };
            self.events.push(self.now + STOP_TIMEOUT, event);
        }
        let Some(process) = &mut host.node else { return };
        process.stopping = true;
        for shard in 0..process.shards.len() as u16 {
            self.input(Place { node, shard }, Input::Shutdown);
        }
    }

    /// All shards of a node have stopped: the process ends, and nothing may be lost.
    pub(crate) fn stopped(&mut self, node: usize) -> Result<(), String> {
        self.trace.event(self.now, &[51, node as u64], || format!("node {node} has stopped"));
        self.report.clean_stops += 1;
        self.checks.stopped(node);
        self.end_life(node, true)
    }

    /// Kills a process, if it runs.
    pub(crate) fn crash(&mut self, node: usize) -> Result<(), String> {
        if self.hosts[node].node.is_none() {
            return Ok(());
        }
        self.trace.event(self.now, &[52, node as u64], || format!("node {node} crashes"));
        self.report.crashes += 1;
        let alone = !self.is_cluster();
        self.checks.crashed(node, alone, self.now);
        self.end_life(node, false)
    }

    fn end_life(&mut self, node: usize, clean: bool) -> Result<(), String> {
        let host = &mut self.hosts[node];
        host.node = None;
        host.life += 1;
        host.stopping_since = None;
        host.starting_since = None;
        // What is left of a clean stop are reads, and segments made ahead of need.
        host.disk.crash(&mut self.random);
        host.mending.clear();
        self.hang_up(node);
        let of_node = self.connections.iter().filter(|(_, c)| c.place.node == node);
        let connections: Vec<u64> = of_node.map(|(id, _)| *id).collect();
        for id in connections {
            // What was given out may still arrive.
            while self.random.chance(50)
                && self.connections.get(&id).is_some_and(|c| !c.to_client.is_empty())
            {
                self.hand_over(id)?;
            }
            if let Some(connection) = self.connections.remove(&id)
                && let Some(client) = &mut self.clients[connection.client]
                && client.connection == Some(id)
            {
                client.disconnected();
            }
        }
        if self.random.chance(self.plan.move_percent) {
            self.hosts[node].shards = self.random.between(1, 3) as u16;
        }
        self.topics.forget_leaders(node);
        if self.random.chance(20) && !clean {
            // Clocks are set while a machine starts.
            self.hosts[node].wallclock_ahead += self.random.between(0, 4000) as i64 - 2000;
        }
        let at = self.now + self.random.around(self.plan.restart);
        self.events.push(at, Event::Start { node });
        Ok(())
    }

    /// Starts a node's process.
    pub(crate) fn start(&mut self, node: usize) -> Result<(), String> {
        let seed = self.random.next();
        let now = self.clocks(node);
        let host = &mut self.hosts[node];
        if host.is_gone || host.node.is_some() {
            return Ok(());
        }
        if !self.may_start(node) {
            return Ok(());
        }
        let host = &self.hosts[node];
        if host.failing_until > self.now {
            // What can't be read can't be started from: somebody tries again.
            self.events.push(host.failing_until, Event::Start { node });
            return Ok(());
        }
        let mut given_up = BTreeSet::new();
        if !host.rotten.is_empty() {
            let mended = self.mend_at_start(node)?;
            self.hosts[node].awaits_others = mended.is_none();
            let Some(mended) = mended else {
                self.give_at_start(node)?;
                self.events.push(self.now + SECOND, Event::Start { node });
                return Ok(());
            };
            given_up = mended;
        }
        let cluster = self.is_cluster();
        let host = &mut self.hosts[node];
        host.failed_at = None;
        host.starting_since = Some(self.now);
        let (shards, disk) = (host.shards, &mut host.disk);
        let started = Node::start(&self.plan, node, shards, disk, &given_up, now, seed);
        let process = match started {
            Err(why) if !cluster && !host.rotten.is_empty() => {
                // A lone node has nobody who still has what is damaged: the best it can do.
                self.trace.event(self.now, &[61, node as u64], || why);
                self.phase = Phase::Done;
                return Ok(());
            }
            started => started?,
        };
        let shards = host.shards;
        host.node = Some(process);
        self.trace.event(self.now, &[53, node as u64, u64::from(shards)], || {
            format!("node {node} starts with {shards} shards")
        });
        for shard in 0..shards {
            self.schedule_turn(Place { node, shard }, MS);
        }
        Ok(())
    }

    pub(crate) fn stall(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let node = self.random_node();
        if self.random.chance(60) {
            self.hosts[node].stalled_until = self.now + self.random.around(2 * SECOND);
        } else {
            self.hosts[node].slow_until = self.now + self.random.around(4 * SECOND);
        }
        let until = self.hosts[node].stalled_until;
        self.trace.event(self.now, &[54, node as u64, until], || {
            format!("the disk of node {node} stands still to {until}, or is slow")
        });
        let next = self.now + self.random.around(self.plan.stall_every);
        self.events.push(next, Event::Stall);
    }

    pub(crate) fn pause_node(&mut self) {
        if self.phase != Phase::Faults || !self.is_cluster() {
            return;
        }
        let node = self.random_node();
        let until = self.now + self.random.around(self.plan.pause_for);
        let until = until.max(self.hosts[node].paused_until);
        self.hosts[node].paused_until = until;
        self.trace.event(self.now, &[57, node as u64, until], || {
            format!("node {node} is paused until {:.6}", until as f64 / 1e9)
        });
        let next = self.now + self.random.around(self.plan.pause_every);
        self.events.push(next, Event::Pause);
    }

    pub(crate) fn fill_disk(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let node = self.random_node();
        let until = self.now + self.random.around(5 * SECOND);
        let host = &mut self.hosts[node];
        host.full_until = until;
        host.full_last = until;
        host.full_since_start = true;
        self.trace.event(self.now, &[55, node as u64, until], || {
            format!("the disk of node {node} is full until {until}")
        });
        let next = self.now + self.random.around(self.plan.full_every);
        self.events.push(next, Event::Full);
    }

    /// Some of what a disk is asked for fails, for a short while.
    pub(crate) fn fail_disk(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let node = self.random_node();
        let until = self.now + self.random.around(200 * MS);
        self.hosts[node].failing_until = until;
        self.trace.event(self.now, &[58, node as u64, until], || {
            format!("the disk of node {node} fails until {:.6}", until as f64 / 1e9)
        });
        let next = self.now + self.random.around(self.plan.fail_every);
        self.events.push(next, Event::Fail);
    }

    /// A shard ends its process, as its disk has failed. Somebody will start it again.
    ///
    /// # Errors
    /// It has no reason.
    pub(crate) fn gives_up(&mut self, place: Place, reason: &str) -> Result<(), String> {
        if self.hosts[place.node].failed_at.is_none() {
            return Err(format!("fatal: {place:?}: {reason}"));
        }
        self.report.disk_failures += 1;
        self.trace.event(self.now, &[59], || format!("{place:?} gives up: {reason}"));
        self.crash(place.node)
    }

    /// A wall clock is set, forward or back.
    pub(crate) fn set_clock(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let node = self.random_node();
        self.hosts[node].wallclock_ahead += self.random.between(0, 6000) as i64 - 3000;
        let next = self.now + self.random.around(self.plan.step_every);
        self.events.push(next, Event::Step);
    }

    pub(crate) fn disconnect_someone(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let next = self.now + self.random.around(self.plan.disconnect_every);
        self.events.push(next, Event::Disconnect);
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        if !ids.is_empty() {
            let id = self.random.pick(&ids);
            self.disconnect(id);
        }
    }

    /// A client's connection ends: frames that haven't reached the node never will. It may learn of
    /// that much later.
    pub(crate) fn disconnect(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.trace.event(self.now, &[56, id], || format!("connection {id} ends"));
        let Place { node, shard } = connection.place;
        let late = self.phase == Phase::Faults && self.random.chance(5);
        if late {
            let (at, life) = (self.now + self.random.around(SECOND), self.hosts[node].life);
            self.events.push(at, Event::HangUp { node, life, shard, connection: id });
        } else {
            let input = Input::ConnectionClosed { connection: ConnectionId(id) };
            self.input(connection.place, input);
        }
        if let Some(client) = &mut self.clients[connection.client] {
            client.disconnected();
        }
    }

    /// Looks whether a start or a stop takes too long. In a cluster both may have to wait for
    /// other nodes, so there it is looked at once faults have stopped.
    pub(crate) fn check_patience(&self) -> Result<(), String> {
        if self.is_cluster() {
            return Ok(());
        }
        for host in &self.hosts {
            let excuse = host.stalled_until.max(host.full_until).max(host.slow_until);
            let excuse = excuse.max(host.failing_until);
            for (what, since) in [("a stop", host.stopping_since), ("a start", host.starting_since)]
            {
                if let Some(since) = since {
                    liveness::patience(what, since.max(excuse), self.now)?;
                }
            }
        }
        Ok(())
    }
}
