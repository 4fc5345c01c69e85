//! kill -9 in the middle of a load, again and again, and other numbers of shards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::broker::{Broker, wait_until};
use crate::records::{config, create_topic, read_partition};

const TOPIC: &str = "killed";
const PARTITIONS: i32 = 4;
const PRODUCERS: usize = 3;
const KILLS: usize = 20;
/// Between two kills so many records must be acknowledged: the load is really under way.
const PROGRESS: u64 = 600;

/// What was acknowledged: by partition and offset the value.
#[derive(Clone, Default)]
struct Ledger {
    records: Arc<Mutex<BTreeMap<(i32, i64), String>>>,
    count: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl ClientContext for Ledger {}

impl ProducerContext for Ledger {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
                let place = (message.partition(), message.offset());
                let before = self.records.lock().unwrap().insert(place, value);
                if before.is_some() {
                    self.failures.lock().unwrap().push(format!("{place:?} given out twice"));
                }
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, message)) => {
                let place = (message.partition(), message.offset());
                self.failures.lock().unwrap().push(format!("{place:?}: {error}"));
            }
        }
    }
}

/// Sends numbered records to all partitions until told to stop. Returns how many to each.
fn load(bootstrap: &str, name: usize, ledger: Ledger, stop: &AtomicBool) -> u64 {
    let producer: ThreadedProducer<Ledger> = config(bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "1")
        .set("batch.num.messages", "50")
        .set("queue.buffering.max.messages", "2000")
        // What a kill costs is waited for; nothing may be given up.
        .set("message.timeout.ms", "300000")
        .create_with_context(ledger)
        .unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for partition in 0..PARTITIONS {
            let value = format!("{name}/{number}");
            let mut record = BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(&value);
            while let Err((error, back)) = producer.send(record) {
                let full = Some(RDKafkaErrorCode::QueueFull);
                assert_eq!(error.rdkafka_error_code(), full, "{error}");
                record = back;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        number += 1;
        // A load, not a flood: the queue would hide that the broker is there at all.
        std::thread::sleep(Duration::from_millis(1));
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    number
}

#[test]
fn over_twenty_kills_nothing_acknowledged_is_lost_or_doubled_or_out_of_order() {
    let mut broker = Broker::start(2, &["--segment-bytes", "32MiB"]);
    let bootstrap = broker.address();
    create_topic(&bootstrap, TOPIC, PARTITIONS);
    let ledger = Ledger::default();
    let stop = AtomicBool::new(false);
    let mut slowest_restart = Duration::ZERO;
    let sent: Vec<u64> = std::thread::scope(|scope| {
        let start = |name| {
            let (bootstrap, ledger, stop) = (&bootstrap, ledger.clone(), &stop);
            scope.spawn(move || load(bootstrap, name, ledger, stop))
        };
        let producers: Vec<_> = (0..PRODUCERS).map(start).collect();
        // Also when an assertion fails: the scope waits for its threads.
        let stop_in_any_case = SetOnDrop(&stop);
        for kill in 0..KILLS {
            let before = ledger.count.load(Ordering::Relaxed);
            wait_until(&format!("progress before kill {kill}"), Duration::from_secs(60), || {
                ledger.count.load(Ordering::Relaxed) >= before + PROGRESS
            });
            broker.kill();
            slowest_restart = slowest_restart.max(broker.restart());
        }
        drop(stop_in_any_case);
        producers.into_iter().map(|producer| producer.join().unwrap()).collect()
    });
    assert_eq!(*ledger.failures.lock().unwrap(), Vec::<String>::new());
    compare(&bootstrap, &ledger, &sent);
    println!(
        "{KILLS} kills: {} records acknowledged, the slowest restart took {slowest_restart:?}",
        ledger.count.load(Ordering::Relaxed)
    );
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Holds what the broker has against what was sent and what was acknowledged.
fn compare(bootstrap: &str, ledger: &Ledger, sent: &[u64]) {
    let acknowledged = ledger.records.lock().unwrap();
    let total: u64 = sent.iter().sum::<u64>() * PARTITIONS as u64;
    assert_eq!(acknowledged.len() as u64, total, "all that was sent is acknowledged in the end");
    for partition in 0..PARTITIONS {
        let read = read_partition(bootstrap, TOPIC, partition);
        let mut next = vec![0; sent.len()];
        for (expected_offset, (offset, value)) in (0..).zip(&read) {
            assert_eq!(*offset, expected_offset, "partition {partition}: offsets are dense");
            assert_eq!(
                acknowledged.get(&(partition, *offset)),
                Some(value),
                "partition {partition}, offset {offset}: what was acknowledged is what is there"
            );
            let (producer, number) = value.split_once('/').unwrap();
            let producer: usize = producer.parse().unwrap();
            assert_eq!(number.parse::<u64>().unwrap(), next[producer], "once and in order");
            next[producer] += 1;
        }
        assert_eq!(next, sent, "partition {partition}");
    }
}

#[test]
fn partitions_are_served_by_two_shards_and_one_and_two_again() {
    let flags = ["--segment-bytes", "32MiB", "--groups", "2"];
    let mut broker = Broker::start(2, &flags);
    let bootstrap = broker.address();
    create_topic(&bootstrap, TOPIC, PARTITIONS);
    let mut expected: Vec<String> = Vec::new();
    for (round, shards) in [2, 1, 2, 1].into_iter().enumerate() {
        if round > 0 {
            if round % 2 == 0 {
                broker.kill();
            } else {
                assert!(broker.stop().0.success());
            }
            broker.restart_with(shards);
        }
        let ledger = Ledger::default();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let loader = scope.spawn(|| load(&bootstrap, round, ledger.clone(), &stop));
            let stop_in_any_case = SetOnDrop(&stop);
            wait_until("records on both shards", Duration::from_secs(30), || {
                ledger.count.load(Ordering::Relaxed) >= 200
            });
            drop(stop_in_any_case);
            let each = loader.join().unwrap();
            expected.extend((0..each).map(|number| format!("{round}/{number}")));
        });
        assert_eq!(*ledger.failures.lock().unwrap(), Vec::<String>::new());
        let began = Instant::now();
        for partition in 0..PARTITIONS {
            let read = read_partition(&bootstrap, TOPIC, partition);
            assert!(read.iter().map(|(_, value)| value).eq(&expected), "partition {partition}");
        }
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn a_shard_without_a_group_sends_its_clients_to_those_that_have_one() {
    let broker = Broker::start(3, &["--segment-bytes", "32MiB", "--groups", "2"]);
    let bootstrap = broker.shard_address(2);
    create_topic(&bootstrap, TOPIC, PARTITIONS);
    let ledger = Ledger::default();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let loader = scope.spawn(|| load(&bootstrap, 0, ledger.clone(), &stop));
        let stop_in_any_case = SetOnDrop(&stop);
        wait_until("records", Duration::from_secs(30), || {
            ledger.count.load(Ordering::Relaxed) >= 200
        });
        drop(stop_in_any_case);
        compare(&bootstrap, &ledger, &[loader.join().unwrap()]);
    });
    assert_eq!(*ledger.failures.lock().unwrap(), Vec::<String>::new());
}
