//! How soon it is ready, and what it takes when nobody asks for anything.
//!
//! The figures are printed. What is asserted leaves room for a machine shared with others.

use std::io::Write;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ProduceRequest;

use crate::broker::Broker;
use crate::raw::{PRODUCE, RawClient, frame_of, one_record, produce};

const READY_MAX: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(5);
const IDLE_CPU_PERCENT_MAX: f64 = 3.0;
const RSS_MAX: u64 = 200 << 20;
const BATCHES: i32 = 1100;
/// Requests in flight: enough to keep the disk busy.
const WINDOW: i32 = 8;

#[test]
fn a_gibibyte_of_journal_is_ready_again_soon_after_a_kill_and_after_a_stop() {
    let mut broker = Broker::start(1, &[]);
    let mut client = RawClient::connect(&broker.address());
    client.create_topic("much", 1, &[]);
    let began = Instant::now();
    fill(&mut client);
    println!("{BATCHES} MB in {:?}; {} MB resident", began.elapsed(), broker.rss() >> 20);
    broker.kill();
    let after_kill = broker.restart();
    client = RawClient::connect(&broker.address());
    assert_eq!(client.offset("much", 0, -1), i64::from(BATCHES));
    assert_eq!(client.fetch("much", 0, 0).0, 0);
    assert!(broker.stop().0.success());
    let after_stop = broker.restart();
    client = RawClient::connect(&broker.address());
    assert_eq!(client.offset("much", 0, -1), i64::from(BATCHES));
    assert_eq!(client.produce("much", 0, one_record(10)), (0, i64::from(BATCHES)));
    println!(
        "ready with {BATCHES} MB of journal: {after_kill:?} after a kill, \
         {after_stop:?} after a stop"
    );
    assert!(after_kill < READY_MAX, "{after_kill:?}");
    assert!(after_stop < READY_MAX, "{after_stop:?}");
}

/// What must be ready in `TEN_READY_MAX`: 10 GiB in batches of 64 KiB, over two shards.
const TEN_BATCHES: i32 = 10 << 14;
const TEN_TOPICS: [&str; 4] = ["ten-a", "ten-b", "ten-c", "ten-d"];
const TEN_PARTITIONS: i32 = 8;
const TEN_READY_MAX: Duration = Duration::from_secs(2);
const RESTARTS: usize = 5;

#[test]
#[ignore = "writes 10 GiB, and its times mean something only in a release build"]
fn ten_gibibytes_of_journal_are_ready_again_in_two_seconds_after_a_kill() {
    let mut broker = Broker::start(2, &[]);
    let mut clients = [0, 1].map(|shard| RawClient::connect(&broker.shard_address(shard)));
    for topic in TEN_TOPICS {
        clients[0].create_topic(topic, TEN_PARTITIONS, &[]);
    }
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| fill_ten(client));
        }
    });
    let wrote = began.elapsed();
    // Where the clients were told that it ends: nothing may be missing.
    let ends = ten_ends(&mut clients);
    println!("10 GiB in {wrote:.1?}; {} MB resident", broker.rss() >> 20);
    let mut worst = Duration::ZERO;
    for _ in 0..RESTARTS {
        broker.kill();
        let ready = broker.restart();
        clients = [0, 1].map(|shard| RawClient::connect(&broker.shard_address(shard)));
        assert_eq!(ten_ends(&mut clients), ends);
        println!("ready {ready:.2?} after a kill");
        worst = worst.max(ready);
    }
    assert!(ends.iter().sum::<i64>() == i64::from(TEN_BATCHES), "{ends:?}");
    assert!(worst < TEN_READY_MAX, "{worst:?}");
}

/// All partitions of all topics, with whether this client's shard has them.
fn ten_partitions(client: &mut RawClient) -> Vec<(&'static str, i32)> {
    let all = TEN_TOPICS.into_iter().flat_map(|topic| (0..TEN_PARTITIONS).map(move |p| (topic, p)));
    all.filter(|(topic, partition)| client.fetch(topic, *partition, 0).0 == 0).collect()
}

fn ten_ends(clients: &mut [RawClient; 2]) -> Vec<i64> {
    let end = |client: &mut RawClient, (topic, partition)| client.offset(topic, partition, -1);
    let ends = clients.iter_mut().flat_map(|client| {
        let mine = ten_partitions(client);
        mine.into_iter().map(|place| end(client, place)).collect::<Vec<_>>()
    });
    ends.collect()
}

/// Half of all, to the partitions of one shard in turn.
fn fill_ten(client: &mut RawClient) {
    let places = ten_partitions(client);
    assert_eq!(places.len() as i32, TEN_PARTITIONS * TEN_TOPICS.len() as i32 / 2);
    let batch = one_record((64 << 10) - 80);
    let requests: Vec<_> =
        places.into_iter().map(|(t, p)| produce(t, p, -1, batch.clone())).collect();
    let window = 16 * WINDOW;
    for number in 0..TEN_BATCHES / 2 + window {
        if number >= window {
            let answer = client.try_receive::<ProduceRequest>(PRODUCE, number - window).unwrap();
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
        if number < TEN_BATCHES / 2 {
            let request = &requests[number as usize % requests.len()];
            client.stream.write_all(&frame_of(PRODUCE, number, request)).unwrap();
        }
    }
}

/// Large batches, a few at a time.
fn fill(client: &mut RawClient) {
    let request = produce("much", 0, -1, one_record((1 << 20) - 200));
    for number in 0..BATCHES + WINDOW {
        if number >= WINDOW {
            let answer = client.try_receive::<ProduceRequest>(PRODUCE, number - WINDOW).unwrap();
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
        if number < BATCHES {
            client.stream.write_all(&frame_of(PRODUCE, number, &request)).unwrap();
        }
    }
}

#[test]
fn a_fresh_broker_is_ready_soon_and_takes_little_while_nothing_happens() {
    let began = Instant::now();
    let broker = Broker::start(1, &[]);
    let ready = began.elapsed();
    // Segments are still being made ahead of need.
    let segments = || std::fs::read_dir(broker.data_dir().join("group-0")).unwrap().count();
    crate::broker::wait_until("three segments", Duration::from_secs(60), || {
        // With the vote and no half-made file; a checkpoint comes later.
        let names = std::fs::read_dir(broker.data_dir().join("group-0")).unwrap();
        let half_made = names.flatten().any(|e| e.path().extension().is_some_and(|e| e == "tmp"));
        segments() >= 4 && !half_made
    });
    let before = broker.cpu_time();
    std::thread::sleep(IDLE);
    let used = broker.cpu_time() - before;
    let percent = used.as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    let rss = broker.rss();
    println!(
        "a fresh directory is ready in {ready:?}; idle, one shard has {} MB resident and takes \
         {percent:.1}% of a CPU",
        rss >> 20
    );
    assert!(ready < READY_MAX, "{ready:?}");
    assert!(percent < IDLE_CPU_PERCENT_MAX, "{percent}%");
    assert!(rss < RSS_MAX, "{} MB", rss >> 20);
}

#[test]
fn a_hundred_thousand_partitions_are_there_again_after_a_kill() {
    let mut broker = Broker::start(1, &["--segment-bytes", "32MiB"]);
    let mut client = RawClient::connect(&broker.address());
    let last = 99_999;
    client.create_topic("wide", last + 1, &[]);
    assert_eq!(client.produce("wide", last, one_record(10)), (0, 0));
    broker.kill();
    let after_kill = broker.restart();
    client = RawClient::connect(&broker.address());
    assert_eq!(client.produce("wide", last, one_record(10)), (0, 1));
    assert_eq!(client.produce("wide", 0, one_record(10)), (0, 0));
    assert!(broker.stop().0.success(), "{}", broker.said());
    let after_stop = broker.restart();
    client = RawClient::connect(&broker.address());
    assert_eq!(client.offset("wide", last, -1), 2);
    println!(
        "ready with {} partitions: {after_kill:?} after a kill, {after_stop:?} after a stop; {} MB \
         resident",
        last + 1,
        broker.rss() >> 20
    );
    assert!(after_kill < READY_MAX, "{after_kill:?}");
    assert!(after_stop < READY_MAX, "{after_stop:?}");
}
