//! The run of one seed: takes events in order of time until everything has been checked.

use std::collections::BTreeMap;

use bytes::Bytes;
use hutong::model::ids::{ConnectionId, GroupId};
use hutong::model::time::Now;
use hutong::shard::input::Input;

use crate::checkers::{Checks, groups, liveness};
use crate::clients::auditor::Auditor;
use crate::clients::offset_auditor::OffsetAuditor;
use crate::clients::{Client, Kind};
use crate::connection::{Connection, PartitionId};
use crate::disk::Disk;
use crate::events::{Event, Events};
use crate::host::{Host, Place};
use crate::lie::Lie;
use crate::membership::Operations;
use crate::network::Network;
use crate::node::{holds, node_ids};
use crate::plan::{MS, Plan, SECOND};
use crate::random::Random;
use crate::topics::Topics;
use crate::trace::Trace;
use crate::{Options, Report};

/// What the run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Faults happen.
    Faults,
    /// They have stopped; what is under way comes to an end.
    Settling,
    /// Everything is fetched. First from the processes that wrote it, then after a crash of all
    /// nodes, and in a cluster once more with one node down.
    Auditing {
        round: u32,
        since: u64,
    },
    Done,
}

/// Everything there is.
pub struct World {
    pub plan: Plan,
    pub lie: Lie,
    pub random: Random,
    pub now: u64,
    pub events: Events,
    pub hosts: Vec<Host>,
    pub network: Network,
    pub clients: Vec<Option<Client>>,
    pub connections: BTreeMap<u64, Connection>,
    pub next_connection: u64,
    pub next_correlation: i32,
    pub topics: Topics,
    pub checks: Checks,
    pub report: Report,
    pub trace: Trace,
    pub phase: Phase,
    /// When faults stopped.
    pub healed_at: u64,
    pub produced_bytes: u64,
    /// What a member of a consumer group was given last, for a lie.
    pub last_assignment: Bytes,
    pub last_owned: Vec<PartitionId>,
    /// What consumer groups may do was set.
    pub configured: bool,
    /// What was done about which nodes and groups there are.
    pub operations: Operations,
}

impl World {
    /// The world of a seed.
    pub fn new(options: &Options) -> World {
        let mut random = Random::new(options.seed);
        let mut plan = Plan::new(&mut random, options.nodes);
        if options.lie == Lie::SaysAllIsWell {
            // Where it is seen.
            plan.mixed_groups = 2;
        }
        let mut trace = Trace::new(options.print);
        let seed = options.seed;
        trace.event(0, &[seed], || format!("seed {seed}: {plan:?}"));
        let hosts = (0..plan.nodes + plan.spares)
            .map(|node| new_host(&plan, node, options.lie, &mut random))
            .collect();
        let mut world = World {
            lie: options.lie,
            random,
            now: 0,
            events: Events::default(),
            hosts,
            network: Network::default(),
            clients: Vec::new(),
            connections: BTreeMap::new(),
            next_connection: 1,
            next_correlation: 1,
            topics: Topics::default(),
            checks: Checks::default(),
            report: Report::default(),
            trace,
            phase: Phase::Faults,
            healed_at: 0,
            produced_bytes: 0,
            last_assignment: Bytes::new(),
            last_owned: Vec::new(),
            configured: false,
            operations: Operations::default(),
            plan,
        };
        let nodes = node_ids(&world.plan);
        world.checks.consensus.begin(world.plan.groups, &nodes);
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in 0..self.hosts.len() {
            self.events.push(0, Event::Start { node });
        }
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
        if self.plan.has_changes() {
            self.add_client(Kind::operator());
        }
        for group in 0..self.plan.consumer_groups {
            for number in 0..self.random.between(1, 4) as u32 {
                let kind = Kind::member(group, number, &mut self.random);
                self.add_client(kind);
            }
        }
        for group in 0..self.plan.modern_groups {
            for number in 0..self.random.between(1, 4) as u32 {
                let kind = Kind::modern(group, number, &mut self.random);
                self.add_client(kind);
            }
        }
        for group in 0..self.plan.mixed_groups {
            let keeps = self.random.chance(50);
            for number in 0..self.random.between(2, 4) as u32 {
                let kind = Kind::mixed(group, number, keeps, &mut self.random);
                self.add_client(kind);
            }
        }
        if self.plan.consumer_groups > 0 {
            let kind = Kind::solo(0, &mut self.random);
            self.add_client(kind);
        }
        let plan = self.plan.clone();
        for (every, event) in [
            (plan.crash_every, Event::Crash),
            (plan.stall_every, Event::Stall),
            (plan.full_every, Event::Full),
            (plan.fail_every, Event::Fail),
            (plan.step_every, Event::Step),
            (plan.rot_every, Event::Rot),
            (plan.disconnect_every, Event::Disconnect),
            (plan.cut_every, Event::Cut),
            (plan.pause_every, Event::Pause),
        ] {
            let at = self.random.around(every);
            self.events.push(at, event);
        }
        self.events.push(plan.wipe_at, Event::Wipe);
        self.events.push(plan.faults_for, Event::Heal);
    }

    pub(crate) fn add_client(&mut self, kind: Kind) -> usize {
        let client = self.clients.len();
        self.clients.push(Some(Client { number: client, connection: None, kind }));
        let at = self.now + self.random.below(50 * MS);
        self.events.push(at, Event::Client { client });
        client
    }

    /// Both clocks of a node.
    pub fn clocks(&self, node: usize) -> Now {
        self.hosts[node].clocks(self.now)
    }

    /// Whether there are several nodes.
    pub fn is_cluster(&self) -> bool {
        self.plan.nodes > 1
    }

    /// Some node.
    pub fn random_node(&mut self) -> usize {
        match self.hosts.len() {
            1 => 0,
            nodes => self.random.below(nodes as u64) as usize,
        }
    }

    /// Some shard of some node.
    pub fn random_place(&mut self) -> Place {
        let node = self.random_node();
        let shard = self.random.below(u64::from(self.hosts[node].shards)) as u16;
        Place { node, shard }
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
        self.report.elections = self.checks.consensus.elections();
        self.report.assignments = self.checks.groups.assignments;
        self.report.commits = self.checks.groups.acknowledged;
        self.report.switches = self.checks.groups.switches;
        Ok(self.report)
    }

    /// Whether this life of a node's process goes on.
    pub(crate) fn lives(&self, node: usize, life: u64) -> bool {
        self.hosts[node].life == life && self.hosts[node].node.is_some()
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Turn { node, life, shard } if self.lives(node, life) => {
                return self.turn(Place { node, shard });
            }
            Event::Wake { node, life, shard, at } if self.lives(node, life) => {
                self.wake(Place { node, shard }, at);
            }
            Event::Mesh { node, life, from, to } if self.lives(node, life) => {
                self.deliver_message(node, from, to);
            }
            Event::CrashOf { node, life } if self.lives(node, life) => {
                if self.phase == Phase::Faults {
                    return self.crash(node);
                }
            }
            Event::StopTimeout { node, life } if self.lives(node, life) => return self.crash(node),
            Event::HangUp { node, life, shard, connection } if self.lives(node, life) => {
                let connection = ConnectionId(connection);
                self.input(Place { node, shard }, Input::ConnectionClosed { connection });
            }
            Event::Turn { .. }
            | Event::HangUp { .. }
            | Event::Wake { .. }
            | Event::Mesh { .. }
            | Event::CrashOf { .. }
            | Event::StopTimeout { .. } => {}
            Event::Disk { node, operation } => self.disk_done(node, operation),
            Event::Dial { link, since } => self.dialed(link, since),
            Event::Parcel { link, to } => self.parcel(link, to),
            Event::Request { connection } => self.deliver_request(connection),
            Event::Response { connection } => return self.deliver_response(connection),
            Event::Client { client } => return self.step_client(client),
            Event::Crash => return self.crash_or_stop(),
            Event::Start { node } => return self.start(node),
            Event::Stall => self.stall(),
            Event::Full => self.fill_disk(),
            Event::Fail => self.fail_disk(),
            Event::Rot => self.rot(),
            Event::Wipe => return self.wipe(),
            Event::Step => self.set_clock(),
            Event::Pause => self.pause_node(),
            Event::Cut => self.cut(),
            Event::Disconnect => self.disconnect_someone(),
            Event::Heal => self.heal(),
            Event::Check => return self.check(),
        }
        Ok(())
    }

    fn heal(&mut self) {
        self.trace.event(self.now, &[99], || "faults stop".into());
        self.phase = Phase::Settling;
        self.healed_at = self.now;
        for node in 0..self.hosts.len() {
            let was_paused = self.hosts[node].paused_until > self.now;
            self.hosts[node].heal(self.now);
            let (life, shards) = (self.hosts[node].life, self.hosts[node].shards);
            if self.hosts[node].node.is_none() {
                self.events.push(self.now, Event::Start { node });
            }
            for shard in (0..shards).filter(|_| was_paused) {
                self.events.push(self.now, Event::Turn { node, life, shard });
            }
        }
        self.heal_network();
        self.events.push(self.now + liveness::SETTLE, Event::Check);
    }

    fn check(&mut self) -> Result<(), String> {
        match self.phase {
            Phase::Settling => {
                if let Err(why) = self.members_at_rest() {
                    return self.check_again("a change's coming into force", self.healed_at, &why);
                }
                liveness::serving(&self.hosts, |node| self.belongs(node))?;
                liveness::settled(&self.connections, self.now)?;
                if let Err(why) = self.groups_at_rest() {
                    return self.check_again("a group's coming to rest", self.healed_at, &why);
                }
                self.audit(1);
            }
            Phase::Auditing { round, since } => {
                let audit = format!("audit {round}");
                let done = self.clients.iter().flatten().all(|client| match &client.kind {
                    Kind::Auditor(auditor) => auditor.is_done(),
                    Kind::OffsetAuditor(auditor) => auditor.is_done(),
                    _ => true,
                });
                if !done {
                    return self.check_again(&audit, since, "it goes on");
                }
                // The processes that were started for this audit go through their journals.
                if round > 1
                    && let Err(why) = self.all_mended()
                {
                    return self.check_again(&audit, since, &why);
                }
                self.checks.consensus.at_rest(&mut self.hosts)?;
                self.after_audit(round)?;
            }
            Phase::Faults | Phase::Done => {}
        }
        Ok(())
    }

    /// Something isn't so yet: it is looked at again, unless that takes too long.
    fn check_again(&mut self, what: &str, since: u64, why: &str) -> Result<(), String> {
        liveness::patience(what, since, self.now)
            .map_err(|late| format!("{late}: {why}; {}", liveness::state(&self.hosts)))?;
        self.events.push(self.now + SECOND, Event::Check);
        Ok(())
    }

    /// Whether in each consumer group every partition has one owner.
    fn groups_at_rest(&self) -> Result<(), String> {
        let partitions = self.topics.partitions().map(|(_, partition, _)| partition).collect();
        let members = self.clients.iter().flatten().filter_map(|client| match &client.kind {
            Kind::Member(member) => member.view(),
            _ => None,
        });
        groups::stable(&members.collect::<Vec<_>>(), &partitions)
    }

    fn after_audit(&mut self, round: u32) -> Result<(), String> {
        match round {
            1 => {
                for node in 0..self.hosts.len() {
                    self.crash(node)?;
                }
                self.audit(2);
            }
            // Any one node may die.
            2 if self.plan.nodes > 2 => {
                let Some(node) = self.dispensable_node() else {
                    self.phase = Phase::Done;
                    return Ok(());
                };
                self.hosts[node].is_gone = true;
                self.crash(node)?;
                self.audit(3);
            }
            _ => self.phase = Phase::Done,
        }
        Ok(())
    }

    fn audit(&mut self, round: u32) {
        self.trace.event(self.now, &[98, u64::from(round)], || format!("audit {round}"));
        self.phase = Phase::Auditing { round, since: self.now };
        self.add_client(Kind::Auditor(Auditor::new(round)));
        let committed = self.checks.groups.places();
        self.add_client(Kind::OffsetAuditor(OffsetAuditor::new(committed)));
        self.events.push(self.now + SECOND, Event::Check);
    }

    /// Whether clients should go on making load.
    pub fn is_loaded(&self) -> bool {
        self.phase == Phase::Faults
    }

    /// Whether every node must know by now what was true at a moment: faults have stopped since
    /// long before.
    pub fn is_calm_since(&self, at: u64) -> bool {
        !self.is_cluster() || self.phase != Phase::Faults && at > self.healed_at + liveness::SETTLE
    }
}

fn new_host(plan: &Plan, node: usize, lie: Lie, random: &mut Random) -> Host {
    let groups = (0..plan.groups).filter(|group| holds(plan, node, GroupId(*group)));
    let disk = Disk::new(plan.segment_bytes, groups, lie);
    if plan.nodes == 1 {
        return Host::new(disk, plan.shards, 0, 1_000_000);
    }
    let shards = random.between(1, 3) as u16;
    let clock_start = random.below(1000 * SECOND);
    let clock_rate = 1_000_000 - plan.drift + random.below(2 * plan.drift + 1);
    let mut host = Host::new(disk, shards, clock_start, clock_rate);
    // Who may join waits for that.
    host.is_gone = node >= plan.nodes;
    host
}
