//! Members of a consumer group: librdkafka, in threads of the test and in processes of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};

use crate::broker::kill_with_test;
use crate::records::config;

/// What all members read.
pub const TOPIC: &str = "shared";
pub const GROUP: &str = "group";
pub const PARTITIONS: i32 = 6;
/// For anything that takes a rebalance.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How a group's members speak.
#[derive(Clone, Copy, PartialEq)]
pub enum Protocol {
    Classic,
    /// KIP-848: the broker assigns.
    Consumer,
}

fn consumer(bootstrap: &str, protocol: Protocol) -> BaseConsumer {
    let mut config = config(bootstrap);
    config
        .set("group.id", GROUP)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    match protocol {
        Protocol::Classic => {
            config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "500")
        }
        // The broker says how long sessions are.
        Protocol::Consumer => config.set("group.protocol", "consumer"),
    };
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    consumer
}

/// Reads a number, if there is one, and commits.
fn read(consumer: &BaseConsumer, seen: impl FnOnce(usize)) {
    // Errors are what a killed broker costs; librdkafka goes on by itself.
    match consumer.poll(Duration::from_millis(100)) {
        Some(Ok(message)) => {
            seen(std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap());
            // One that a rebalance forbids is made good by whoever reads it again,
            let _ = consumer.commit_message(&message, CommitMode::Async);
        }
        Some(Err(_)) => {}
        // or here, if nobody does: a commit that failed isn't sent again by itself.
        // What was acknowledged isn't committed again.
        None => {
            let _ = consumer.commit_consumer_state(CommitMode::Async);
        }
    }
}

/// What all members have read, and how often.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<BTreeMap<usize, u32>>>);

impl Seen {
    fn add(&self, number: usize) {
        *self.0.lock().unwrap().entry(number).or_default() += 1;
    }

    pub fn has_all(&self, count: usize) -> bool {
        self.0.lock().unwrap().keys().copied().eq(0..count)
    }
}

/// A member that reads and commits in a thread of its own, until it is stopped.
pub struct Member {
    stop: Arc<AtomicBool>,
    owns: Arc<Mutex<BTreeSet<i32>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Member {
    pub fn start(bootstrap: &str, protocol: Protocol, seen: &Seen) -> Member {
        let (stop, owns) =
            (Arc::new(AtomicBool::new(false)), Arc::<Mutex<BTreeSet<i32>>>::default());
        let (bootstrap, seen) = (bootstrap.to_owned(), seen.clone());
        let (stopped, owned) = (Arc::clone(&stop), Arc::clone(&owns));
        let thread = std::thread::spawn(move || {
            let consumer = consumer(&bootstrap, protocol);
            while !stopped.load(Ordering::Relaxed) {
                read(&consumer, |number| seen.add(number));
                let assignment = consumer.assignment().unwrap();
                *owned.lock().unwrap() =
                    assignment.elements().iter().map(|element| element.partition()).collect();
            }
        });
        Member { stop, owns, thread: Some(thread) }
    }

    pub fn owns(&self) -> BTreeSet<i32> {
        self.owns.lock().unwrap().clone()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Tells [`process`] what to read: addresses, and a protocol.
const ENVIRONMENT: [&str; 2] = ["HUTONG_TEST_MEMBER", "HUTONG_TEST_MEMBER_PROTOCOL"];

/// A member that is a process, so that it can be killed.
pub struct MemberProcess {
    child: Child,
    has_read: Arc<AtomicBool>,
}

impl MemberProcess {
    /// This program runs once more, with nothing but [`process`], which tells what it reads on
    /// standard error.
    pub fn start(bootstrap: &str, protocol: Protocol, seen: &Seen) -> MemberProcess {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let protocol = if protocol == Protocol::Classic { "classic" } else { "consumer" };
        command
            .args(["--exact", "group_members::process", "--nocapture"])
            .envs(ENVIRONMENT.into_iter().zip([bootstrap, protocol]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        kill_with_test(&mut command);
        let mut child = command.spawn().unwrap();
        let has_read = Arc::new(AtomicBool::new(false));
        let (said, seen, read) =
            (child.stderr.take().unwrap(), seen.clone(), Arc::clone(&has_read));
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                // librdkafka tells there of connections that are gone.
                let Ok(number) = line.parse() else { continue };
                seen.add(number);
                read.store(true, Ordering::Relaxed);
            }
        });
        MemberProcess { child, has_read }
    }

    /// Whether it has read anything.
    pub fn has_read(&self) -> bool {
        self.has_read.load(Ordering::Relaxed)
    }
}

impl Drop for MemberProcess {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The process of a [`MemberProcess`]; without what that tells it, it has nothing to do.
#[test]
fn process() {
    let [Ok(bootstrap), Ok(protocol)] = ENVIRONMENT.map(std::env::var) else { return };
    let protocol = if protocol == "classic" { Protocol::Classic } else { Protocol::Consumer };
    let consumer = consumer(&bootstrap, protocol);
    loop {
        read(&consumer, |number| eprintln!("{number}"));
    }
}

/// Whether these members own all partitions, and no partition has two owners.
pub fn share(members: &[&Member]) -> bool {
    let owned: Vec<BTreeSet<i32>> = members.iter().map(|member| member.owns()).collect();
    let all: BTreeSet<i32> = owned.iter().flatten().copied().collect();
    all.len() == PARTITIONS as usize
        && owned.iter().map(BTreeSet::len).sum::<usize>() == all.len()
        && owned.iter().all(|owned| !owned.is_empty())
}
