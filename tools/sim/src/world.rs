//! The run of one seed: takes events in order of time until everything has been checked.

use std::collections::BTreeMap;

use hutong::model::time::{Now, Time, Wallclock};

use crate::Report;
use crate::checkers::{Checks, liveness};
use crate::clients::auditor::Auditor;
use crate::clients::{Client, Kind};
use crate::connection::Connection;
use crate::disk::{Disk, Lie};
use crate::events::{Event, Events};
use crate::node::Node;
use crate::plan::{MS, Plan, SECOND};
use crate::random::Random;
use crate::topics::Topics;
use crate::trace::Trace;

/// What the run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Faults happen.
    Faults,
    /// They have stopped; what is under way comes to an end.
    Settling,
    /// Everything is fetched. The first time from the process that wrote it, the second time after
    /// a last crash.
    Auditing {
        round: u32,
        since: u64,
    },
    Done,
}

/// Everything there is.
pub struct World {
    pub plan: Plan,
    pub random: Random,
    pub now: u64,
    /// What the wall clock is ahead, in milliseconds.
    pub wallclock_ahead: i64,
    pub events: Events,
    pub disk: Disk,
    pub node: Option<Node>,
    pub shards: u16,
    /// Counts the process's lives.
    pub life: u64,
    pub stopping_since: Option<u64>,
    pub starting_since: Option<u64>,
    pub stalled_until: u64,
    pub full_until: u64,
    /// The last moment at which the disk was full, if it ever was.
    pub full_last: u64,
    pub full_since_start: bool,
    pub slow_until: u64,
    pub clients: Vec<Option<Client>>,
    pub connections: BTreeMap<u64, Connection>,
    pub next_connection: u64,
    pub next_correlation: i32,
    pub topics: Topics,
    pub checks: Checks,
    pub report: Report,
    pub trace: Trace,
    pub phase: Phase,
    pub produced_bytes: u64,
    /// Turns in a row that a shard asked for without anything new.
    pub restless: u64,
}

/// The wall clock at the start: some day in 2024.
const WALLCLOCK_START: i64 = 1_718_000_000_000;

impl World {
    /// The world of a seed.
    pub fn new(seed: u64, lie: Lie, print: bool) -> World {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        let disk = Disk::new(plan.segment_bytes, plan.groups, lie);
        let mut trace = Trace::new(print);
        trace.event(0, &[seed], || format!("seed {seed}: {plan:?}"));
        let mut world = World {
            shards: plan.shards,
            random,
            now: 0,
            wallclock_ahead: 0,
            events: Events::default(),
            disk,
            node: None,
            life: 0,
            stopping_since: None,
            starting_since: None,
            stalled_until: 0,
            full_until: 0,
            full_last: 0,
            full_since_start: false,
            slow_until: 0,
            clients: Vec::new(),
            connections: BTreeMap::new(),
            next_connection: 1,
            next_correlation: 1,
            topics: Topics::default(),
            checks: Checks::default(),
            report: Report::default(),
            trace,
            phase: Phase::Faults,
            produced_bytes: 0,
            restless: 0,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.events.push(0, Event::Start);
        self.add_client(Kind::admin());
        for number in 0..self.plan.producers {
            let kind = Kind::producer(number, &mut self.random);
            self.add_client(kind);
        }
        for _ in 0..self.plan.consumers {
            let kind = Kind::consumer(&mut self.random);
            self.add_client(kind);
        }
        if self.random.chance(30) {
            self.add_client(Kind::vandal());
        }
        let plan = self.plan.clone();
        for (every, event) in [
            (plan.crash_every, Event::Crash),
            (plan.stall_every, Event::Stall),
            (plan.full_every, Event::Full),
            (plan.disconnect_every, Event::Disconnect),
        ] {
            let at = self.random.around(every);
            self.events.push(at, event);
        }
        self.events.push(plan.faults_for, Event::Heal);
    }

    pub(crate) fn add_client(&mut self, kind: Kind) -> usize {
        let client = self.clients.len();
        self.clients.push(Some(Client { number: client, connection: None, kind }));
        let at = self.now + self.random.below(50 * MS);
        self.events.push(at, Event::Client { client });
        client
    }

    /// Both clocks.
    pub fn clocks(&self) -> Now {
        let wallclock = WALLCLOCK_START + (self.now / MS) as i64 + self.wallclock_ahead;
        Now { time: Time(self.now), wallclock: Wallclock(wallclock) }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The rule that was broken, in words.
    pub fn run(mut self) -> Result<Report, String> {
        while self.phase != Phase::Done {
            let (at, event) = self.events.pop().ok_or("nothing is to happen any more")?;
            assert!(at >= self.now, "time goes forward");
            self.now = at;
            let seconds = at as f64 / 1e9;
            self.event(event).map_err(|why| format!("at {seconds:.6} s: {why}"))?;
        }
        self.report.trace_hash = self.trace.hash();
        self.report.simulated = self.now;
        self.report.acknowledged = self.checks.durability.acknowledged;
        Ok(self.report)
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Turn { life, shard } if life == self.life => self.turn(shard),
            Event::Wake { life, shard, at } if life == self.life => {
                self.wake(shard, at);
                Ok(())
            }
            Event::Mesh { life, from, to } if life == self.life => {
                self.deliver_message(from, to);
                Ok(())
            }
            Event::Turn { .. } | Event::Wake { .. } | Event::Mesh { .. } => Ok(()),
            Event::Disk { operation } => {
                self.disk_done(operation);
                Ok(())
            }
            Event::Request { connection } => {
                self.deliver_request(connection);
                Ok(())
            }
            Event::Response { connection } => self.deliver_response(connection),
            Event::Client { client } => self.step_client(client),
            Event::Crash => self.crash_or_stop(),
            Event::Start => self.start(),
            Event::Stall => {
                self.stall();
                Ok(())
            }
            Event::Full => {
                self.fill_disk();
                Ok(())
            }
            Event::Disconnect => self.disconnect_someone(),
            Event::Heal => {
                self.heal();
                Ok(())
            }
            Event::Check => self.check(),
        }
    }

    fn heal(&mut self) {
        self.trace.event(self.now, &[99], || "faults stop".into());
        self.phase = Phase::Settling;
        self.stalled_until = self.stalled_until.min(self.now);
        self.full_until = 0;
        self.slow_until = 0;
        self.events.push(self.now + liveness::SETTLE, Event::Check);
    }

    fn check(&mut self) -> Result<(), String> {
        match self.phase {
            Phase::Settling => {
                if self.node.as_ref().is_none_or(|node| node.shards.iter().any(|s| !s.ready)) {
                    return Err("liveness: the node doesn't serve though nothing is wrong".into());
                }
                liveness::settled(&self.connections)?;
                self.audit(1);
            }
            Phase::Auditing { round, since } => {
                liveness::patience("an audit", since, self.now)?;
                let done = self.clients.iter().flatten().all(|client| match &client.kind {
                    Kind::Auditor(auditor) => auditor.is_done(),
                    _ => true,
                });
                match (done, round) {
                    (false, _) => self.events.push(self.now + SECOND, Event::Check),
                    (true, 1) => {
                        self.crash()?;
                        self.audit(2);
                    }
                    (true, _) => self.phase = Phase::Done,
                }
            }
            Phase::Faults | Phase::Done => {}
        }
        Ok(())
    }

    fn audit(&mut self, round: u32) {
        self.trace.event(self.now, &[98, u64::from(round)], || format!("audit {round}"));
        self.phase = Phase::Auditing { round, since: self.now };
        self.add_client(Kind::Auditor(Auditor::new()));
        self.events.push(self.now + SECOND, Event::Check);
    }

    /// Whether clients should go on making load.
    pub fn is_loaded(&self) -> bool {
        self.phase == Phase::Faults
    }
}
