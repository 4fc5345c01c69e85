//! A member of a consumer group, as clients of the classic protocol are: it finds the coordinator,
//! joins, assigns if it is the one that leads, finds what was committed, then sends heartbeats and
//! commits, and does what errors say. Or as those of the protocol in which the coordinator assigns:
//! then heartbeats do it all. In a group that is switched, members go, and come back speaking the
//! other one, one after the other, and later back again. A *solo* one belongs to no group: it
//! commits and looks.

use std::collections::{BTreeMap, BTreeSet};

use hutong::kafka::error_code::ErrorCode;

use crate::checkers::groups::View;
use crate::clients::group_requests::{self, Beat, Identity};
use crate::connection::{Claim, PartitionId, Reply};
use crate::host::Place;
use crate::plan::{MS, SECOND};
use crate::random::Random;
use crate::world::{Phase, World};

/// A member.
#[derive(Debug)]
pub struct Member {
    who: Identity,
    is_solo: bool,
    number: u32,
    /// How often it began anew.
    lives: u32,
    /// It belongs to a group that is switched to the other protocol and back;
    may_switch: bool,
    /// and there, as a member of the classic one, keeps what it has while it joins again.
    keeps: bool,
    /// What one needs whose coordinator assigns.
    modern: Option<Modern>,
    /// The topics it has said it wants.
    subscribed: Vec<String>,
    /// Of JoinGroup.
    version: i16,
    session: u64,
    rebalance: u64,
    state: State,
    /// A member leads its generation, and assigns.
    is_led: bool,
    /// The members of its generation, if it leads.
    leads: Option<Vec<Claim>>,
    /// It leads, and is not to assign: what there is stands.
    skips: bool,
    /// The partitions there were when it last assigned them; `None` if it doesn't know.
    assigned: Option<BTreeSet<PartitionId>>,
    owns: Vec<PartitionId>,
    coordinator: Option<Place>,
    connected_to: Option<Place>,
    waiting_since: Option<u64>,
    next_heartbeat: u64,
    /// It is gone, and comes back then.
    away_until: u64,
}

/// A member of a group whose coordinator assigns.
#[derive(Debug)]
struct Modern {
    /// Of ConsumerGroupHeartbeat. From 1 on members make their ids themselves.
    version: i16,
    /// It must say what it owns, for that has changed;
    says_owned: bool,
    /// or everything, for it doesn't know what was heard.
    says_all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Joining,
    Syncing,
    /// It looks where to go on.
    Finding,
    Stable,
    /// It says that it goes.
    Leaving,
}

/// What the names of groups begin with in which both protocols are spoken.
pub const BOTH: &str = "both-";
/// How long it waits for an answer beyond what the request itself allows.
const REQUEST_TIMEOUT: u64 = 5 * SECOND;

impl Member {
    /// A member of a group, static or not.
    pub fn new(group: u32, number: u32, random: &mut Random) -> Member {
        let instance = random.chance(30).then(|| format!("static-{number}"));
        // Before 9 a static member that comes back may be the leader and not be told so, and then
        // nobody looks after new topics.
        let versions: &[i16] = if instance.is_some() { &[9] } else { &[2, 5, 9] };
        Member {
            who: Identity {
                group: format!("group-{group}"),
                id: String::new(),
                instance,
                generation: -1,
            },
            is_solo: false,
            number,
            lives: 0,
            may_switch: false,
            keeps: false,
            modern: None,
            subscribed: Vec::new(),
            version: random.pick(versions),
            session: random.pick(&[6, 8, 10]) * SECOND,
            rebalance: random.pick(&[1, 3, 8]) * SECOND,
            state: State::Joining,
            is_led: false,
            leads: None,
            skips: false,
            assigned: None,
            owns: Vec::new(),
            coordinator: None,
            connected_to: None,
            waiting_since: None,
            next_heartbeat: 0,
            away_until: 0,
        }
    }

    /// A member of a group whose coordinator assigns, static or not.
    pub fn modern(group: u32, number: u32, random: &mut Random) -> Member {
        let mut member = Member::new(group, number, random);
        member.who.group = format!("modern-{group}");
        member.modern = Some(Modern::new(random));
        member.begin_anew();
        member
    }

    /// A member of a group that is switched from one protocol to the other and back, static or
    /// not. All that join it keep what they have, or none.
    pub fn mixed(group: u32, number: u32, keeps: bool, random: &mut Random) -> Member {
        let mut member = Member::new(group, number, random);
        member.who.group = format!("{BOTH}{group}");
        (member.may_switch, member.keeps) = (true, keeps);
        member.modern = random.chance(50).then(|| Modern::new(random));
        member.begin_anew();
        member
    }

    /// One that commits for a group without members.
    pub fn solo(number: u32, random: &mut Random) -> Member {
        let mut member = Member::new(0, number, random);
        member.who = Identity {
            group: format!("solo-{number}"),
            id: String::new(),
            instance: None,
            generation: -1,
        };
        member.is_solo = true;
        member.state = State::Finding;
        member
    }

    /// Its connection is gone.
    pub fn disconnected(&mut self) {
        self.waiting_since = None;
        self.connected_to = None;
        self.not_synced();
        if let Some(modern) = &mut self.modern {
            modern.says_all = true;
        }
    }

    /// Whoever got no assignment joins again, as Java's client does: one that leads doesn't know
    /// whether what it assigned was heard, and what it would assign now may be something else.
    fn not_synced(&mut self) {
        if self.state == State::Syncing {
            self.state = State::Joining;
        }
    }

    /// What it believes, unless it is a solo one.
    pub fn view(&self) -> Option<View<'_>> {
        let says = self.modern.as_ref().is_some_and(|modern| modern.says_owned);
        let is_stable = self.state == State::Stable && !says;
        (!self.is_solo).then(|| View {
            group: &self.who.group,
            owner: self.who.owner(),
            generation: is_stable.then_some(self.who.generation),
            owns: &self.owns,
        })
    }

    /// Does what is next. Returns when to come back. Goes on after faults have stopped, until all
    /// groups have come to rest.
    pub fn step(
        &mut self,
        world: &mut World,
        connection: &mut Option<u64>,
        number: usize,
    ) -> Option<u64> {
        if matches!(world.phase, Phase::Auditing { .. } | Phase::Done) {
            return None;
        }
        let again = match world.is_loaded() {
            true => world.random.around(60 * MS),
            // Nobody is late any more.
            false => world.random.between(50 * MS, 300 * MS),
        };
        if world.is_loaded() && self.away_until > world.now {
            return Some(self.away_until.min(world.plan.faults_for) - world.now + 1);
        }
        if let Some(since) = self.waiting_since {
            let patience = REQUEST_TIMEOUT + self.rebalance;
            if world.now > since + patience {
                self.hang_up(world, connection);
                self.coordinator = None;
            }
            return Some(again);
        }
        self.act_up(world, connection);
        if self.away_until <= world.now || !world.is_loaded() {
            self.go_on(world, connection, number);
        }
        Some(again)
    }

    fn hang_up(&mut self, world: &mut World, connection: &mut Option<u64>) {
        if let Some(id) = connection.take() {
            world.disconnect(id);
        }
        self.disconnected();
    }

    /// Goes without a word, or says that it does, or joins again for no reason, or loses its
    /// connection.
    fn act_up(&mut self, world: &mut World, connection: &mut Option<u64>) {
        if !world.is_loaded() {
            return;
        }
        match world.random.below(1000) {
            0..3 => {
                self.hang_up(world, connection);
                self.away_until = world.now + world.random.around(6 * SECOND);
                self.restart(world);
                self.coordinator = None;
            }
            3..5 if self.state == State::Stable && !self.is_solo => self.state = State::Leaving,
            5..8 if self.state == State::Stable && !self.is_solo => self.state = State::Joining,
            8..14 => self.hang_up(world, connection),
            14..44 if self.is_to_switch(world) => {
                // Most say that they go.
                if self.state == State::Stable && world.random.chance(70) {
                    self.state = State::Leaving;
                    return;
                }
                self.hang_up(world, connection);
                self.away_until = world.now + world.random.around(SECOND);
                self.restart(world);
            }
            _ => {}
        }
    }

    /// Whether it is time for the other protocol.
    fn is_to_switch(&self, world: &World) -> bool {
        let to_modern = (world.now / world.plan.switch_every) % 2 == 1;
        self.may_switch && self.modern.is_some() != to_modern
    }

    /// A new process knows nothing but its configuration, which may be another one.
    fn restart(&mut self, world: &mut World) {
        // Somebody forgets it now and then, or does it too early.
        let follows = !self.may_switch || world.random.chance(90);
        if self.may_switch && self.is_to_switch(world) == follows {
            self.modern = match self.modern {
                Some(_) => None,
                None => Some(Modern::new(&mut world.random)),
            };
        }
        self.begin_anew();
    }

    /// This life's name, for the checks.
    fn life(&self) -> String {
        format!("{}-{}", self.number, self.lives)
    }

    /// It is a member no more.
    fn begin_anew(&mut self) {
        self.lives += 1;
        self.subscribed.clear();
        self.who.id.clear();
        self.who.generation = -1;
        if let Some(modern) = &mut self.modern {
            (modern.says_owned, modern.says_all) = (false, true);
            self.who.generation = 0;
            if modern.version > 0 {
                self.who.id = format!("member-{}", self.life());
            }
        }
        self.owns.clear();
        self.leads = None;
        self.state = if self.is_solo { State::Finding } else { State::Joining };
    }

    fn go_on(&mut self, world: &mut World, connection: &mut Option<u64>, number: usize) {
        let place = self.coordinator.unwrap_or_else(|| world.random_place());
        if connection.is_some() && self.connected_to != Some(place) && self.coordinator.is_some() {
            self.hang_up(world, connection);
        }
        if connection.is_none() {
            *connection = world.connect(number, place);
            self.connected_to = connection.map(|_| place);
        }
        let Some(id) = *connection else {
            self.coordinator = None;
            return;
        };
        self.waiting_since = Some(world.now);
        if self.coordinator.is_none() {
            return group_requests::find(world, id, &self.who.group);
        }
        match self.state {
            State::Joining | State::Leaving | State::Syncing if self.modern.is_some() => {
                self.beat(world, id);
            }
            State::Joining => {
                let times = (self.session, self.rebalance);
                self.subscribed = topics(world);
                self.has_only(world, self.keeps);
                let keeps = self.keeps.then_some(&self.owns[..]);
                group_requests::join(world, id, &self.who, self.version, times, keeps);
            }
            State::Syncing => {
                let assignments = self.assign(world);
                let says = (&self.life()[..], self.keeps, self.is_led);
                group_requests::sync(world, id, &self.who, says, &assignments);
            }
            State::Finding => {
                let wanted = if self.is_solo { all_partitions(world) } else { self.owns.clone() };
                group_requests::fetch_offsets(world, id, &self.who.group, &wanted);
            }
            State::Leaving => {
                self.has_only(world, false);
                group_requests::leave(world, id, &self.who);
            }
            State::Stable => self.be_a_member(world, id),
        }
    }

    /// A member of the classic protocol joins or leaves: it has nothing any more, if it doesn't
    /// keep what it has.
    fn has_only(&mut self, world: &mut World, keeps: bool) {
        if !keeps {
            self.owns.clear();
        }
        if self.may_switch {
            world.checks.groups.has_only(&self.who.group, &self.life(), &self.owns);
        }
    }

    fn be_a_member(&mut self, world: &mut World, id: u64) {
        // Others would look at the topics every few minutes. Here they come and go more often.
        let looks = !world.is_loaded() || world.random.chance(2);
        let wants = looks && self.subscribed != topics(world);
        let lacks = looks && self.leads.is_some() && self.assigned != Some(live_partitions(world));
        if lacks || wants && self.may_switch && self.modern.is_none() {
            self.state = State::Joining;
            self.waiting_since = None;
            return;
        }
        let wants = wants && self.modern.is_some();
        let says = self.modern.as_ref().is_some_and(|modern| modern.says_owned);
        let is_due = world.now >= self.next_heartbeat || wants || says;
        if self.modern.is_some() && is_due {
            return self.beat(world, id);
        }
        if !self.is_solo && is_due {
            self.next_heartbeat = next_heartbeat(world);
            return group_requests::heartbeat(world, id, &self.who, &self.life());
        }
        let owns = if self.is_solo { all_partitions(world) } else { self.owns.clone() };
        if owns.is_empty() || !world.is_loaded() || !world.random.chance(50) {
            if self.is_solo && world.is_loaded() && world.random.chance(20) {
                self.state = State::Finding;
            }
            self.waiting_since = None;
            return;
        }
        let first = world.random.below(owns.len() as u64) as usize;
        let count = world.random.between(1, 3) as usize;
        let some: Vec<_> = owns[first..].iter().take(count).copied().collect();
        let version = if self.modern.is_some() { 9 } else { 8 };
        group_requests::commit(world, id, &self.who, version, &some);
    }

    /// Says that it comes, is there or goes, where the coordinator assigns.
    fn beat(&mut self, world: &mut World, id: u64) {
        let life = self.life();
        let Some(modern) = &mut self.modern else { return };
        let mut who = self.who.clone();
        match self.state {
            State::Joining => {
                who.generation = 0;
                self.owns.clear();
            }
            State::Leaving if who.instance.is_some() => who.generation = -2,
            State::Leaving => who.generation = -1,
            _ => {}
        }
        let wants = topics(world);
        let says_all = modern.says_all || self.state == State::Joining;
        let says_topics = says_all || self.subscribed != wants;
        let says_owned = says_all || modern.says_owned;
        self.subscribed = wants;
        let beat = Beat {
            version: modern.version,
            life,
            rebalance: says_all.then_some(self.rebalance),
            topics: says_topics.then_some(&self.subscribed),
            owns: says_owned.then_some(&self.owns),
        };
        self.next_heartbeat = next_heartbeat(world);
        group_requests::beat(world, id, &who, &beat);
    }

    /// The coordinator has heard it, and maybe says what it shall own.
    fn beaten(
        &mut self,
        world: &mut World,
        member: String,
        epoch: i32,
        owns: Option<Vec<PartitionId>>,
    ) {
        let Some(modern) = &mut self.modern else { return };
        if self.state == State::Leaving {
            self.restart(world);
            self.away_until = world.now + world.random.around(3 * SECOND);
            return;
        }
        (modern.says_all, modern.says_owned) = (false, false);
        self.who.id = member;
        self.who.generation = epoch;
        if self.state == State::Joining {
            self.state = State::Stable;
        }
        let Some(owns) = owns else { return };
        let has_new = owns.iter().any(|partition| !self.owns.contains(partition));
        modern.says_owned = has_new || owns.len() != self.owns.len();
        self.owns = owns;
        if has_new {
            self.state = State::Finding;
        }
    }

    /// What each member is to own, if this one leads.
    fn assign(&mut self, world: &World) -> BTreeMap<String, Vec<PartitionId>> {
        let mut assignments = BTreeMap::new();
        let Some(members) = &self.leads else { return assignments };
        if self.skips {
            // It doesn't know what there is, and will assign when it joins again.
            self.assigned = None;
            return assignments;
        }
        let partitions = live_partitions(world);
        for (n, partition) in partitions.iter().enumerate() {
            let member = &members[n % members.len()].0;
            let holder = members.iter().find(|(_, has)| self.keeps && has.contains(partition));
            // It is given to nobody else before that one has joined again without it.
            if holder.is_none_or(|(holder, _)| holder == member) {
                assignments.entry(member.clone()).or_insert_with(Vec::new).push(*partition);
            }
        }
        self.assigned = Some(partitions);
        assignments
    }

    /// An answer has come.
    pub fn told(&mut self, world: &mut World, reply: Reply) {
        self.waiting_since = None;
        match reply {
            Reply::Coordinator(place) => self.coordinator = place,
            Reply::Joined { code: 0, member, generation, is_led, members, skips } => {
                self.who.id = member;
                self.who.generation = generation;
                self.is_led = is_led;
                self.leads = members;
                self.skips = skips;
                self.state = State::Syncing;
            }
            Reply::Joined { code, member, .. }
                if ErrorCode(code) == ErrorCode::MEMBER_ID_REQUIRED =>
            {
                self.who.id = member;
            }
            Reply::Joined { code, .. } | Reply::Told { code } if code != 0 => self.heed(code),
            Reply::Synced { code: 0, owns } => self.synced(world, owns),
            Reply::Synced { code, .. } => {
                self.not_synced();
                self.heed(code);
            }
            Reply::Beaten { code: 0, member, epoch, owns } => {
                self.beaten(world, member, epoch, owns);
            }
            Reply::Beaten { code, .. } => self.heed(code),
            Reply::Told { .. } if self.state == State::Leaving => {
                self.restart(world);
                self.away_until = world.now + world.random.around(3 * SECOND);
            }
            Reply::Told { .. } if self.state == State::Finding => self.state = State::Stable,
            _ => {}
        }
    }

    fn synced(&mut self, world: &mut World, owns: Vec<PartitionId>) {
        let loses = self.keeps && self.owns.iter().any(|partition| !owns.contains(partition));
        let has_new = owns.iter().any(|partition| !self.owns.contains(partition));
        self.owns = owns;
        self.next_heartbeat = world.now;
        // What it has lost is given to others when it joins again.
        self.state = match (loses, has_new) {
            (true, _) => State::Joining,
            (false, true) => State::Finding,
            (false, false) => State::Stable,
        };
        if self.keeps {
            self.has_only(world, true);
        }
    }

    fn heed(&mut self, code: i16) {
        if let Some(modern) = &mut self.modern {
            modern.says_all = true;
        }
        match ErrorCode(code) {
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                self.coordinator = None;
            }
            ErrorCode::REBALANCE_IN_PROGRESS if !self.is_solo => self.state = State::Joining,
            ErrorCode::ILLEGAL_GENERATION if !self.is_solo => {
                self.who.generation = -1;
                self.owns.clear();
                self.leads = None;
                self.state = State::Joining;
            }
            ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_INSTANCE_ID
            | ErrorCode::FENCED_MEMBER_EPOCH
            | ErrorCode::GROUP_ID_NOT_FOUND => self.begin_anew(),
            ErrorCode::STALE_MEMBER_EPOCH => self.next_heartbeat = 0,
            _ => {}
        }
    }
}

impl Modern {
    fn new(random: &mut Random) -> Modern {
        Modern { version: random.pick(&[0, 1]), says_owned: false, says_all: true }
    }
}

/// When a member says that it is alive. With faults go members that are late for that; without them
/// nobody is expelled, or groups that have many would never all be at rest at one time.
fn next_heartbeat(world: &mut World) -> u64 {
    let pause = match world.is_loaded() {
        true => world.random.around(SECOND),
        false => world.random.between(300 * MS, SECOND),
    };
    world.now + pause
}

fn topics(world: &World) -> Vec<String> {
    world.topics.live().map(|topic| topic.name.clone()).collect()
}

fn live_partitions(world: &World) -> BTreeSet<PartitionId> {
    world.topics.partitions().map(|(_, partition, _)| partition).collect()
}

fn all_partitions(world: &World) -> Vec<PartitionId> {
    live_partitions(world).into_iter().collect()
}
