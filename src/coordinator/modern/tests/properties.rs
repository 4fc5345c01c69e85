//! Whatever joins, leaves, pauses, is lost or dies: no partition is used by two, and once it is
//! quiet, everything has an owner and shares are equal.
//!
//! Clients behave as Kafka's do: they use what they were told to, give up first what is no longer
//! among it, and say what they have when they have given it up.

use proptest::prelude::*;

use super::*;

/// A consumer.
#[derive(Clone, Debug, Default)]
struct Client {
    /// Its process, for each start another id.
    life: usize,
    alive: bool,
    instance: Option<String>,
    wants_all: bool,
    /// 0: is to join.
    epoch: i32,
    /// What it uses now.
    owned: Partitions,
    /// What it was told to use.
    told: Partitions,
    /// Its last request had no answer: it says everything again.
    unsure: bool,
}

#[derive(Clone, Debug)]
enum Step {
    /// Sends a heartbeat; the answer may be lost.
    Beat {
        client: usize,
        lost: bool,
    },
    /// Gives up what it was told to give up, and takes what it was told to take.
    Obey(usize),
    /// Starts or, if it runs, wants other topics.
    Start(usize),
    Leave {
        client: usize,
        for_a_while: bool,
    },
    Die(usize),
    /// So many seconds go by.
    Wait(u64),
    Grow,
    DeleteOrMake,
    FailOver,
}

const CLIENTS: usize = 5;

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    prop_oneof![
        12 => (client(), prop::bool::weighted(0.2))
            .prop_map(|(client, lost)| Step::Beat { client, lost }),
        8 => client().prop_map(Step::Obey),
        4 => client().prop_map(Step::Start),
        1 => (client(), any::<bool>())
            .prop_map(|(client, for_a_while)| Step::Leave { client, for_a_while }),
        1 => client().prop_map(Step::Die),
        2 => (1..25u64).prop_map(Step::Wait),
        1 => Just(Step::Grow),
        1 => Just(Step::DeleteOrMake),
        1 => Just(Step::FailOver),
    ]
}

struct World {
    rig: Rig,
    clients: Vec<Client>,
    partitions: i32,
    has_b: bool,
    topic_id: u8,
}

impl World {
    fn new() -> World {
        let rig = Rig::new(&[("a", 3), ("b", 4)]);
        let client = |number: usize| Client {
            instance: (number >= 3).then(|| format!("instance-{number}")),
            ..Client::default()
        };
        let clients = (0..CLIENTS).map(client).collect();
        World { rig, clients, partitions: 3, has_b: true, topic_id: 2 }
    }

    fn id(&self, client: usize) -> String {
        format!("client-{client}-{}", self.clients[client].life)
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Beat { client, lost } => self.beat(client, lost),
            Step::Obey(client) => {
                let client = &mut self.clients[client];
                client.owned = client.told.clone();
            }
            Step::Start(client) => self.start(client),
            Step::Leave { client, for_a_while } => self.leave(client, for_a_while),
            // A dead process uses nothing.
            Step::Die(client) => self.stop(client),
            Step::Wait(seconds) => {
                self.rig.after(seconds);
            }
            Step::Grow => {
                self.partitions += 1;
                self.rig.set_topic("a", 1, self.partitions);
            }
            Step::DeleteOrMake if self.has_b => {
                self.has_b = false;
                self.rig.delete_topic("b");
            }
            Step::DeleteOrMake => {
                (self.has_b, self.topic_id) = (true, self.topic_id + 1);
                self.rig.set_topic("b", self.topic_id, 4);
            }
            Step::FailOver => self.rig.fail_over(),
        }
        self.check();
    }

    fn start(&mut self, client: usize) {
        let client = &mut self.clients[client];
        if client.alive {
            client.wants_all = !client.wants_all;
            client.unsure = true;
            return;
        }
        let instance = client.instance.take();
        *client = Client { life: client.life + 1, alive: true, instance, ..Client::default() };
    }

    fn stop(&mut self, client: usize) {
        let client = &mut self.clients[client];
        (client.owned, client.told) = Default::default();
        (client.alive, client.epoch) = (false, 0);
    }

    fn leave(&mut self, client: usize, for_a_while: bool) {
        let (id, is_in) = (self.id(client), self.clients[client].epoch > 0);
        let instance = self.clients[client].instance.clone();
        self.stop(client);
        let epoch = if for_a_while && instance.is_some() { -2 } else { -1 };
        if is_in {
            let request = Heartbeat { instance_id: instance.as_deref(), ..staying(&id, epoch) };
            // Refused, if it was removed meanwhile.
            let _ = self.rig.beat(request);
        }
    }

    fn beat(&mut self, client: usize, lost: bool) {
        let (id, state) = (self.id(client), self.clients[client].clone());
        if !state.alive {
            return;
        }
        let names = if state.wants_all { vec!["a", "b"] } else { vec!["a"] };
        let full = state.epoch == 0 || state.unsure;
        let request = Heartbeat {
            member_epoch: state.epoch,
            instance_id: state.instance.as_deref(),
            owned: (full || state.owned == state.told).then(|| state.owned.clone()),
            rebalance_timeout_ms: full.then_some(20_000),
            subscribed_topic_names: full.then_some(names),
            ..staying(&id, 0)
        };
        let answer = self.rig.beat(request);
        let client = &mut self.clients[client];
        client.unsure = lost || (client.unsure && answer.is_err());
        match answer {
            _ if lost => {}
            Ok(answer) => {
                client.epoch = answer.member_epoch;
                if let Some(assignment) = answer.assignment {
                    client.told = assignment;
                    // What it didn't have before it may use once it has given up the rest.
                    if client.owned.is_subset(&client.told) {
                        client.owned = client.told.clone();
                    }
                }
            }
            // Told that it is out, it stops at once, and joins again.
            Err(_) => {
                (client.owned, client.told) = Default::default();
                client.epoch = 0;
            }
        }
    }

    /// No two members use one partition. Who was removed and hasn't heard of it is none.
    fn check(&self) {
        let mut users: BTreeMap<TopicPartition, String> = BTreeMap::new();
        for number in 0..CLIENTS {
            let id = self.id(number);
            let Some(member) = self.rig.group.state().members().get(&*id) else { continue };
            let client = &self.clients[number];
            for partition in client.owned.plus(&client.told).iter() {
                if let Some(other) = users.insert(*partition, id.clone()) {
                    panic!("{partition:?} is used by {other} and {id}: {member:?}");
                }
            }
            for partition in client.owned.iter() {
                let owner = self.rig.group.state().owner(partition);
                assert_eq!(owner, Some(&*id), "it was told to use {partition:?}");
            }
        }
    }

    /// All clients that run go on without disturbance, until nothing happens any more.
    fn settle(&mut self) {
        // Whoever is gone is noticed; the others are heard of all the time.
        for round in 0..40 {
            for client in 0..CLIENTS {
                self.take(&Step::Beat { client, lost: false });
                self.take(&Step::Obey(client));
            }
            self.take(&Step::Wait(if round < 20 { 5 } else { 1 }));
        }
    }

    fn check_settled(&self) {
        let running: Vec<usize> = (0..CLIENTS).filter(|n| self.clients[*n].alive).collect();
        let group = &self.rig.group;
        assert_eq!(group.state().members().len(), running.len());
        if running.is_empty() {
            return;
        }
        assert_eq!(self.rig.state(), GroupState::Stable);
        let b_wanted = self.has_b && running.iter().any(|n| self.clients[*n].wants_all);
        let total = self.partitions as usize + if b_wanted { 4 } else { 0 };
        let shares: Vec<usize> = running.iter().map(|n| self.clients[*n].owned.len()).collect();
        assert_eq!(shares.iter().sum::<usize>(), total, "everything has an owner");
        let alike = running.iter().all(|n| self.clients[*n].wants_all)
            || running.iter().all(|n| !self.clients[*n].wants_all)
            || !b_wanted;
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(!alike || most - least <= 1, "shares are equal: {shares:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn no_partition_has_two_users(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.settle();
        world.check_settled();
    }
}
