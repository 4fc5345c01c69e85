//! Too many clients, and clients that ask for more than they take.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{FetchRequest, MetadataRequest, ProduceRequest};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::broker::wait_until;
use crate::bystander::Arena;
use crate::nodes::Nodes;
use crate::raw::{FETCH, PRODUCE, RawClient, fetch, frame_of, one_record, produce};
use crate::scrape::Scrape;

const METADATA: i16 = 12;
const CROWD: usize = 10_000;
const WAVE: usize = 1000;
/// What the rest of this process may need of its descriptors.
const DESCRIPTORS_KEPT: usize = 500;
const POLLERS: usize = 3000;
const PIPELINED: i32 = 10_000;

/// Raises this process's limit of open files as far as it goes.
fn raise_open_files() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    usize::try_from(hard).unwrap_or(usize::MAX)
}

#[test]
fn ten_thousand_connections_that_say_nothing_are_noticed_by_nobody() {
    let arena = Arena::new(&[]);
    let count = CROWD.min(raise_open_files() - DESCRIPTORS_KEPT);
    let before = arena.broker.open_files();
    let rss = arena.broker.rss();
    let began = Instant::now();
    let mut crowd: Vec<TcpStream> = Vec::with_capacity(count);
    while crowd.len() < count {
        // A wave at a time: what is measured is a crowd that is there, not a stampede of ours.
        let wave = WAVE.min(count - crowd.len());
        crowd.extend((0..wave).map(|_| TcpStream::connect(arena.broker.address()).unwrap()));
        wait_until("all are taken", Duration::from_secs(30), || {
            arena.broker.open_files() >= before + crowd.len()
        });
    }
    println!(
        "{count} connections in {:?}, {} bytes resident for each",
        began.elapsed(),
        arena.check_memory().saturating_sub(rss) / count as u64
    );
    // One more is served like the first.
    assert_eq!(arena.client().fetch("bystander", 0, 0).0, 0);
    drop(crowd);
    arena.finish("a silent crowd");
}

#[test]
fn three_thousand_long_polls_on_one_partition_are_answered_by_one_record() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    client.create_topic("polled", 1, &[]);
    raise_open_files();
    let mut pollers: Vec<RawClient> = (0..POLLERS).map(|_| arena.client()).collect();
    for poller in &mut pollers {
        poller.send(&frame_of(FETCH, 1, &fetch("polled", 0, 0, 1 << 20, 60_000)));
    }
    // These leave in the middle of their poll.
    drop(pollers.split_off(POLLERS - POLLERS / 10));
    let began = Instant::now();
    assert_eq!(client.produce("polled", 0, one_record(100)), (0, 0));
    for poller in &mut pollers {
        let answer = poller.try_receive::<FetchRequest>(FETCH, 1).unwrap();
        let records = answer.responses[0].partitions[0].records.clone().unwrap();
        assert!(!records.is_empty());
    }
    println!("{} long polls answered in {:?}", pollers.len(), began.elapsed());
    drop(pollers);
    arena.finish("long polls");
}

#[test]
fn clients_beyond_the_bound_are_turned_away_and_those_within_it_stay() {
    let arena = Arena::new(&["--connections-max", "20"]);
    let mut crowd: Vec<RawClient> = (0..100).map(|_| arena.client()).collect();
    let mut taken = 0;
    for client in &mut crowd {
        let request = fetch("bystander", 0, 0, 1000, 0);
        taken += usize::from(client.try_call(FETCH, &request).is_ok());
    }
    // The bystander is the twentieth.
    assert_eq!(taken, 19);
    drop(crowd);
    wait_until("there is room again", Duration::from_secs(10), || {
        arena.client().try_call(FETCH, &fetch("bystander", 0, 0, 1000, 0)).is_ok()
    });
    arena.finish("more clients than allowed");
}

#[test]
fn nodes_reach_each_other_however_many_clients_there_are() {
    let mut nodes = Nodes::start(3, &["--connections-max", "1", "--metrics", "127.0.0.1:0"]);
    // A client for each, and more that say nothing: for them there is no room.
    let mut clients: Vec<RawClient> =
        nodes.all.iter().map(|node| RawClient::connect(&node.address())).collect();
    let metadata = MetadataRequest::default().with_topics(None);
    for client in &mut clients {
        assert!(client.try_call(METADATA, &metadata).is_ok());
    }
    let silent = nodes.all.iter().map(|node| RawClient::connect(&node.address()));
    let _silent: Vec<RawClient> = silent.collect();
    // This one dials both others, and is dialed by none.
    nodes.all[0].kill();
    nodes.all[0].restart();
    wait_until("all nodes are connected", Duration::from_secs(60), || {
        let connected = |node| Scrape::of(node).sum("hutong_peers_connected", &[]);
        nodes.all.iter().all(|node| connected(node) == 2.0)
    });
    for (node, client) in nodes.all.iter().zip(&mut clients).skip(1) {
        assert!(client.try_call(METADATA, &metadata).is_ok(), "it was there before");
        let refused = RawClient::connect(&node.address()).try_call(METADATA, &metadata);
        assert!(refused.is_err(), "a second client");
    }
}

#[test]
fn readers_that_never_read_are_owed_no_more_than_a_bounded_amount() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    client.create_topic("big", 1, &[]);
    // More than the cache holds: from the disk as well as from memory.
    for _ in 0..120 {
        assert_eq!(client.produce("big", 0, one_record(1 << 20 >> 1)).0, 0);
    }
    let greedy = |correlation_id, offset| {
        frame_of(FETCH, correlation_id, &fetch("big", 0, offset, 64 << 20, 0))
    };
    let mut readers: Vec<RawClient> = (0..60).map(|_| arena.client()).collect();
    for (number, reader) in readers.iter_mut().enumerate() {
        reader.stream.set_nonblocking(true).unwrap();
        let mut requests = Vec::new();
        for round in 0..3000 {
            let offset = (number as i64 * 7 + i64::from(round)) % 120;
            requests.extend_from_slice(&greedy(round, offset));
        }
        // The broker may read no more before all are out.
        reader.send(&requests);
    }
    // All the while more is written, so that what they are owed leaves the cache.
    for _ in 0..120 {
        assert_eq!(client.produce("big", 0, one_record(1 << 20 >> 1)).0, 0);
        arena.check_memory();
    }
    println!("60 readers that never read: {} MB resident", arena.check_memory() >> 20);
    drop(readers);
    arena.finish("readers that never read");
}

#[test]
fn ten_thousand_produce_requests_and_a_closed_connection_leave_nothing_behind() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    client.create_topic("pipelined", 1, &[]);
    for round in 0..5 {
        let mut hasty = arena.client();
        let mut requests = Vec::new();
        for number in 0..PIPELINED {
            let request = produce("pipelined", 0, -1, one_record(100));
            requests.extend_from_slice(&frame_of(PRODUCE, number, &request));
        }
        hasty.send(&requests);
        // In the last round it waits for its answers, in order; before that it doesn't.
        if round == 4 {
            for number in 0..PIPELINED {
                let answer = hasty.try_receive::<ProduceRequest>(PRODUCE, number).unwrap();
                assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
            }
        }
    }
    let end = client.offset("pipelined", 0, -1);
    println!("5 times {PIPELINED} requests pipelined: {end} records appended");
    assert!(end >= i64::from(PIPELINED) && end <= i64::from(PIPELINED) * 5);
    arena.finish("pipelined requests");
}
