//! Whatever joins, leaves, pauses and dies: no partition has two owners in one generation, all have
//! one once the group is stable, and committed offsets never go back by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::*;
use crate::coordinator::live::Coordinator;
use crate::coordinator::record::CommittedOffset;
use crate::model::ids::PartitionKey;
use crate::model::time::Wallclock;

const CLIENTS: usize = 4;
const PARTITIONS: u8 = 5;

#[derive(Clone, Debug)]
enum Step {
    /// The client does what a consumer does next.
    Act(usize),
    Leave(usize),
    /// It forgets everything, as a process that is killed and started again.
    Die(usize),
    Wait(u64),
    /// What was decided is applied.
    Apply,
    /// Another leader starts from what was applied.
    Lead,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..CLIENTS).prop_map(Step::Act),
        1 => (0..CLIENTS).prop_map(Step::Leave),
        1 => (0..CLIENTS).prop_map(Step::Die),
        2 => (0..1500u64).prop_map(Step::Wait),
        6 => Just(Step::Apply),
        1 => Just(Step::Lead),
    ]
}

/// A consumer, as far as the coordinator can tell.
#[derive(Clone, Debug, Default)]
struct Client {
    member_id: String,
    instance_id: Option<String>,
    generation: i32,
    /// Of the leader: who is to be assigned to.
    members: Vec<String>,
    phase: Phase,
    owns: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Out,
    Asked,
    Joined,
    Stable,
}

struct World {
    coordinator: Coordinator,
    store: Store,
    unapplied: Vec<(u64, Vec<u8>)>,
    now: Time,
    clients: Vec<Client>,
    callers: BTreeMap<Caller, usize>,
    next: u64,
    /// Every assignment ever told, by generation and partition.
    owners: BTreeMap<(u64, i32, u8), String>,
    /// How often a new leader began: generations it doesn't know of begin anew.
    leaders: u64,
}

const SETTINGS: GroupSettings = GroupSettings {
    initial_rebalance_delay: Duration::ZERO,
    session_timeout_min: Duration::ZERO,
    session_timeout_max: Duration::from_secs(60),
    members_max: 100,
};

impl World {
    fn new() -> World {
        let store = Store::default();
        let mut clients = vec![Client::default(); CLIENTS];
        clients[0].instance_id = Some("static".to_owned());
        World {
            coordinator: Coordinator::default(),
            store,
            unapplied: Vec::new(),
            now: Time(0),
            clients,
            callers: BTreeMap::new(),
            next: 0,
            owners: BTreeMap::new(),
            leaders: 0,
        }
    }

    fn with<T>(&mut self, decide: impl FnOnce(&mut Coordinator, Context<'_>) -> T) -> T {
        let now = Now { time: self.now, wallclock: Wallclock(self.now.0 as i64 / 1_000_000) };
        let context = Context { now, settings: &SETTINGS, store: &self.store };
        decide(&mut self.coordinator, context)
    }

    fn caller(&mut self, client: usize) -> Caller {
        self.next += 1;
        self.callers.insert(Caller(self.next), client);
        Caller(self.next)
    }

    fn member(&self, client: usize) -> MemberRef {
        let client = &self.clients[client];
        MemberRef {
            group: "g".to_owned(),
            generation: client.generation,
            member_id: client.member_id.clone(),
            instance_id: client.instance_id.clone(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Act(client) => self.act(client),
            Step::Leave(client) => {
                let id = self.clients[client].member_id.clone();
                let _ = self.with(|c, context| c.classic.leave(context, "g", &id, None));
                self.reset(client);
            }
            Step::Die(client) => self.reset(client),
            Step::Wait(ms) => {
                self.now = self.now + Duration::from_millis(ms);
                self.with(|c, context| c.classic.expire(context));
            }
            Step::Apply => self.apply(),
            Step::Lead => {
                self.unapplied.clear();
                self.leaders += 1;
                self.coordinator = super::script::recover(&self.store, self.now);
                for client in std::mem::take(&mut self.callers).into_values() {
                    self.clients[client].phase = Phase::Out;
                }
            }
        }
        self.settle();
    }

    fn reset(&mut self, client: usize) {
        self.callers.retain(|_, waits| *waits != client);
        let instance_id = self.clients[client].instance_id.clone();
        self.clients[client] = Client { instance_id, ..Client::default() };
    }

    fn act(&mut self, client: usize) {
        match self.clients[client].phase {
            Phase::Asked => {}
            Phase::Out => self.join(client),
            Phase::Joined => self.sync(client),
            Phase::Stable => self.work(client),
        }
    }

    fn join(&mut self, client: usize) {
        let caller = self.caller(client);
        self.clients[client].phase = Phase::Asked;
        let member = self.member(client);
        let join = Join {
            caller,
            group: member.group,
            member_id: member.member_id,
            instance_id: member.instance_id,
            client_id: String::new(),
            client_host: String::new(),
            session_timeout: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(4),
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::new())],
            takes_id_first: client.is_multiple_of(2),
            skips_assignment: client < 2,
            new_member_id: format!("{client}-{}", self.next),
        };
        self.with(|c, context| c.classic.join(context, join));
    }

    fn sync(&mut self, client: usize) {
        let caller = self.caller(client);
        self.clients[client].phase = Phase::Asked;
        let members = self.clients[client].members.clone();
        let mut assignments: Vec<(String, Vec<u8>)> =
            members.into_iter().map(|member| (member, Vec::new())).collect();
        let count = assignments.len();
        for partition in 0..PARTITIONS {
            if count > 0 {
                assignments[usize::from(partition) % count].1.push(partition);
            }
        }
        let sync = Sync {
            caller,
            member: self.member(client),
            protocol_type: None,
            protocol: None,
            assignments: assignments.into_iter().map(|(id, a)| (id, a.into())).collect(),
        };
        self.with(|c, context| c.classic.sync(context, sync));
    }

    /// Commits one record more than is known of a partition it owns, and says that it is alive.
    fn work(&mut self, client: usize) {
        let member = self.member(client);
        if let Some(partition) = self.clients[client].owns.first().copied()
            && self.unapplied.is_empty()
            && self.with(|c, context| c.classic.may_commit(context, &member)).is_ok()
        {
            let key = PartitionKey(partition.into());
            let offsets = self.store.group("g").map(|stored| &stored.offsets);
            let known = offsets.and_then(|offsets| offsets.get(&key)).map_or(0, |o| o.offset);
            let offset = CommittedOffset {
                offset: known + 1,
                leader_epoch: -1,
                metadata: String::new(),
                committed_at: 0,
                expires_at: None,
            };
            let caller = Caller(u64::MAX);
            self.with(|c, context| c.commit(context, caller, "g".to_owned(), vec![(key, offset)]))
                .expect("there is room");
        }
        if self.with(|c, context| c.classic.heartbeat(context, &member)).is_err() {
            self.clients[client].phase = Phase::Out;
        }
    }

    fn settle(&mut self) {
        while let Some(batch) = self.coordinator.take_batch() {
            self.unapplied.push(batch);
        }
        for (caller, answer) in self.coordinator.take_answers() {
            let Some(client) = self.callers.remove(&caller) else { continue };
            self.told(client, answer);
        }
    }

    fn apply(&mut self) {
        for (batch, data) in std::mem::take(&mut self.unapplied) {
            let offsets = |store: &Store| {
                store.group("g").map(|stored| stored.offsets.clone()).unwrap_or_default()
            };
            let before = offsets(&self.store);
            for record in Record::decode_all(&data) {
                self.store.apply(record.expect("we have just encoded it"));
            }
            let after = offsets(&self.store);
            for (key, offset) in before {
                assert!(after[&key].offset >= offset.offset, "an offset went back");
            }
            self.with(|c, context| c.applied(context, batch));
        }
    }

    fn told(&mut self, number: usize, answer: Answer) {
        let client = &mut self.clients[number];
        match answer {
            Answer::Done => {}
            Answer::Heartbeat(_) | Answer::Left(_) => unreachable!("nobody asked that"),
            Answer::Join(joined) => match joined.fault {
                None => {
                    client.member_id = joined.member_id;
                    client.generation = joined.generation;
                    let leads = !joined.skip_assignment;
                    let members = joined.members.into_iter().filter(|_| leads);
                    client.members = members.map(|member| member.id).collect();
                    client.phase = Phase::Joined;
                }
                Some(Fault::MemberIdRequired) => {
                    client.member_id = joined.member_id;
                    client.phase = Phase::Out;
                }
                Some(_) => self.reset(number),
            },
            Answer::Sync(Ok(synced)) => {
                client.owns = synced.assignment.to_vec();
                client.phase = Phase::Stable;
                let (generation, name) = (client.generation, format!("client {number}"));
                for partition in &self.clients[number].owns {
                    let key = (self.leaders, generation, *partition);
                    let owner = self.owners.entry(key).or_insert_with(|| name.clone());
                    assert_eq!(*owner, name, "partition {partition} of generation {generation}");
                }
            }
            Answer::Sync(Err(fault)) => {
                self.clients[number].phase = Phase::Out;
                if matches!(fault, Fault::UnknownMember | Fault::FencedInstance) {
                    self.reset(number);
                }
            }
        }
    }

    /// Lets everybody work undisturbed until nothing changes any more.
    fn calm_down(&mut self) {
        for _ in 0..40 {
            for client in 0..CLIENTS {
                self.step(Step::Act(client));
                self.step(Step::Apply);
                self.settle();
            }
            self.step(Step::Wait(1000));
            self.step(Step::Apply);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_partition_has_two_owners_and_no_offset_goes_back(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.calm_down();
        let phases: Vec<Phase> = world.clients.iter().map(|client| client.phase).collect();
        prop_assert_eq!(phases, vec![Phase::Stable; CLIENTS]);
        let mut owned: Vec<u8> =
            world.clients.iter().flat_map(|client| client.owns.iter().copied()).collect();
        owned.sort_unstable();
        prop_assert_eq!(owned, (0..PARTITIONS).collect::<Vec<u8>>());
        let group = world.coordinator.classic.group("g").expect("it has members");
        prop_assert_eq!(group.members().len(), CLIENTS);
    }
}
