//! What the coordinator spends on a large consumer group: all targets computed anew, one member
//! more or less, and a heartbeat that says nothing new.
//!
//! Times are the thread's CPU time. `cargo bench --bench group_assignment`; `cargo test --benches`
//! runs it with a small group.

use std::collections::BTreeMap;
use std::time::Duration;

use hutong::coordinator::modern::assignor::{Plan, PlanMember};
use hutong::coordinator::modern::{
    Assignor, ConsumerGroup, Env, Heartbeat, Partitions, Settings, Topics,
};
use hutong::model::ids::TopicId;
use hutong::model::time::Time;

/// One topic.
struct OneTopic(i32);

const TOPIC: TopicId = TopicId([7; 16]);

impl Topics for OneTopic {
    fn version(&self) -> u64 {
        1
    }

    fn partitions(&self) -> usize {
        self.0 as usize
    }

    fn topic(&self, name: &str) -> Option<(TopicId, i32)> {
        (name == "topic").then_some((TOPIC, self.0))
    }

    fn name(&self, id: &TopicId) -> Option<String> {
        (*id == TOPIC).then(|| "topic".to_owned())
    }

    fn each_name(&self, see: &mut dyn FnMut(&str)) {
        see("topic");
    }
}

/// The CPU time of this thread: what a group costs, whatever else the machine is doing.
fn cpu_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    clock.now().expect("there is such a clock").into()
}

fn main() {
    // Cargo says so when it benches, and not when it tests.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let (members, partitions) = if is_bench { (1000, 10_000) } else { (10, 100) };
    println!("{members} members, {partitions} partitions:");
    for assignor in Assignor::ALL {
        alone(assignor, members, partitions);
    }
    whole_group(members, partitions);
}

/// The assignor by itself.
fn alone(assignor: Assignor, members: usize, partitions: i32) {
    let name = assignor.name();
    let subscriptions = vec![BTreeMap::from([(TOPIC, partitions)])];
    let mut targets = vec![Partitions::EMPTY; members];
    for what in ["anew", "again", "one more", "one less"] {
        match what {
            "one more" => targets.push(Partitions::EMPTY),
            "one less" => _ = targets.remove(0),
            _ => {}
        }
        let planned =
            targets.iter().map(|target| PlanMember { instance_id: None, subscription: 0, target });
        let plan = Plan { subscriptions: subscriptions.clone(), members: planned.collect() };
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let start = cpu_time();
            std::hint::black_box(assignor.assign(&plan));
            best = best.min(cpu_time() - start);
        }
        let given = assignor.assign(&plan);
        let moved: usize = given.iter().zip(&targets).map(|(new, old)| new.minus(old).len()).sum();
        println!("  {name:7} {what:8} {best:9.1?}, {moved:5} partitions go to another member");
        targets = given;
    }
}

/// Heartbeats, as the shard gives them to a group.
fn whole_group(members: usize, partitions: i32) {
    let (topics, settings) = (OneTopic(partitions), Settings::default());
    let env = Env { now: Time(1), topics: &topics, settings: &settings };
    let mut group = ConsumerGroup::new();
    let ids: Vec<String> = (0..members).map(|number| format!("member-{number:05}")).collect();
    let start = cpu_time();
    let mut slowest = Duration::ZERO;
    for id in &ids {
        let start = cpu_time();
        join(&mut group, id, &env);
        slowest = slowest.max(cpu_time() - start);
    }
    let all = cpu_time() - start;
    println!("  all join, one after another: {all:.1?}, the slowest heartbeat {slowest:.1?}");
    let mut rounds = 0;
    let start = cpu_time();
    while ids.iter().map(|id| beat(&mut group, id, &env)).sum::<usize>() > 0 {
        rounds += 1;
        assert!(rounds < 10, "a group at rest has nothing to write");
    }
    println!("  all has settled after {rounds} rounds of heartbeats in {:.1?}", cpu_time() - start);
    let start = cpu_time();
    join(&mut group, "one-more", &env);
    println!("  one more joins: {:.1?}", cpu_time() - start);
    let start = cpu_time();
    for id in &ids {
        beat(&mut group, id, &env);
    }
    let each = (cpu_time() - start) / members as u32;
    println!("  a heartbeat of the others then: {each:.1?}");
    let start = cpu_time();
    let rounds = 100;
    for _ in 0..rounds {
        for id in &ids {
            let request = Heartbeat { member_id: id, member_epoch: -9, ..Heartbeat::default() };
            std::hint::black_box(group.heartbeat(&request, &env)).answer.expect_err("no epoch");
        }
    }
    println!("  a refused heartbeat: {:.0?}", (cpu_time() - start) / (rounds * members as u32));
    let epochs: Vec<i32> = ids.iter().map(|id| epoch(&group, id)).collect();
    let start = cpu_time();
    for _ in 0..rounds {
        for (id, epoch) in ids.iter().zip(&epochs) {
            let request = Heartbeat { member_id: id, member_epoch: *epoch, ..Heartbeat::default() };
            std::hint::black_box(group.heartbeat(&request, &env)).answer.expect("it is a member");
        }
    }
    println!(
        "  one that says nothing new: {:.0?}",
        (cpu_time() - start) / (rounds * members as u32)
    );
}

fn join(group: &mut ConsumerGroup, id: &str, env: &Env<'_>) {
    let request = Heartbeat {
        member_id: id,
        rebalance_timeout_ms: Some(60_000),
        subscribed_topic_names: Some(vec!["topic"]),
        owned: Some(Partitions::EMPTY),
        ..Heartbeat::default()
    };
    group.heartbeat(&request, env).answer.expect("it may join");
}

fn epoch(group: &ConsumerGroup, id: &str) -> i32 {
    group.state().members()[id].current.epoch
}

/// A member says that it has what it was told. Returns how many records that made.
fn beat(group: &mut ConsumerGroup, id: &str, env: &Env<'_>) -> usize {
    let owned = group.state().members()[id].current.assigned.clone();
    let member_epoch = epoch(group, id);
    let request =
        Heartbeat { member_id: id, member_epoch, owned: Some(owned), ..Heartbeat::default() };
    let outcome = group.heartbeat(&request, env);
    outcome.answer.expect("it is a member");
    outcome.records.len()
}
