//! The whole core on one CPU, against a disk that is done at once: the ceiling of a shard.
//!
//! One record of 100 bytes to a request, acks=all. What is timed is all that a shard does for a
//! request: cutting frames, checking, appending, Raft, commit, the response. What isn't: sockets
//! and the disk. Time is the thread's CPU time. `cargo bench --bench shard_loop` prints requests a
//! second; under `cargo test --benches` a small size runs, so that it can't rot.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hutong::journal::page::Page;
use hutong::journal::source::{GroupFiles, SegmentSource};
use hutong::kafka::record_batch::{Producer, build_batch};
use hutong::model::ids::{ConnectionId, GroupId, NodeId, SegmentId, ShardId};
use hutong::model::time::{Now, Time, Wallclock};
use hutong::shard::input::Input;
use hutong::shard::output::Output;
use hutong::shard::{Shard, ShardConfig};

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Memory that is used again, as the runtime's DMA buffers are.
#[derive(Clone)]
struct BenchPage(Rc<Buffer>);

struct Buffer {
    memory: Vec<u8>,
    bytes: usize,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        FREE.with_borrow_mut(|free| free.push(memory));
    }
}

impl Page for BenchPage {
    fn build(bytes: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let reused = FREE.with_borrow_mut(Vec::pop);
        let mut memory = reused.unwrap_or_default();
        if memory.len() < bytes {
            memory.resize(bytes.next_power_of_two(), 0);
        }
        fill(&mut memory[..bytes]);
        BenchPage(Rc::new(Buffer { memory, bytes }))
    }

    fn bytes(&self) -> &[u8] {
        &self.0.memory[..self.0.bytes]
    }
}

struct NoFiles;

impl SegmentSource for NoFiles {
    fn read(&mut self, _: GroupId, _: SegmentId, _: u64, _: &mut [u8]) -> Result<(), String> {
        Err("there are no files".into())
    }
}

struct Rig {
    shard: Shard<BenchPage>,
    clock: Instant,
    done: VecDeque<Input<BenchPage>>,
    response_bytes: usize,
    responses_closed: usize,
}

impl Rig {
    fn new() -> Rig {
        let clock = Instant::now();
        let config = ShardConfig {
            node: NodeId(0),
            shard: ShardId(0),
            shards: 1,
            groups: 1,
            cluster_id: "bench".into(),
            advertised_host: "localhost".into(),
            base_port: 9092,
            data_directory: "/data".into(),
            segment_bytes: 128 << 20,
            journal_cache_bytes: 48 << 20,
            auto_create_topics: true,
            default_partitions: 1,
            seed: 1,
        };
        let files =
            GroupFiles { group: GroupId(0), segments: vec![], vote: vec![], checkpoint: None };
        let now = Now { time: Time(1), wallclock: Wallclock(1_700_000_000_000) };
        let shard = Shard::open(config, vec![files], &mut NoFiles, now).expect("a new shard");
        let mut rig =
            Rig { shard, clock, done: VecDeque::new(), response_bytes: 0, responses_closed: 0 };
        for _ in 0..100 {
            rig.turn();
        }
        rig
    }

    fn now(&self) -> Now {
        let nanos = self.clock.elapsed().as_nanos() as u64 + 1;
        Now { time: Time(nanos), wallclock: Wallclock(1_700_000_000_000) }
    }

    fn turn(&mut self) {
        let now = self.now();
        while let Some(input) = self.done.pop_front() {
            self.shard.handle(now, input);
        }
        self.shard.advance(now);
        while let Some(output) = self.shard.poll_output() {
            let result = Ok(());
            self.done.push_back(match output {
                Output::WriteJournal { group, write, .. } => {
                    Input::JournalWritten { group, write, result }
                }
                Output::WriteVote { group, write, .. } => {
                    Input::VoteWritten { group, write, result }
                }
                Output::CreateSegment { group, segment, .. } => {
                    Input::SegmentCreated { group, segment, result }
                }
                Output::WriteCheckpoint { group, position, .. } => {
                    Input::CheckpointWritten { group, position, result }
                }
                Output::Respond { connection, parts } => {
                    let bytes = parts.iter().map(|part| part.len()).sum();
                    self.response_bytes += bytes;
                    Input::Sent { connection, bytes }
                }
                Output::CloseConnection { .. } => {
                    self.responses_closed += 1;
                    continue;
                }
                Output::Fatal { reason } => panic!("{reason}"),
                _ => continue,
            });
        }
    }
}

/// Produce version 7, the one librdkafka sends, for one record of 100 bytes.
fn produce_frame(correlation_id: i32, topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(0i16.to_be_bytes());
    body.extend(7i16.to_be_bytes());
    body.extend(correlation_id.to_be_bytes());
    body.extend(5i16.to_be_bytes());
    body.extend(b"bench");
    body.extend((-1i16).to_be_bytes());
    body.extend((-1i16).to_be_bytes());
    body.extend(30_000i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend((topic.len() as i16).to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend((batch.len() as i32).to_be_bytes());
    body.extend(batch);
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

/// CreateTopics version 2.
fn create_frame(topic: &str, partitions: i32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(19i16.to_be_bytes());
    body.extend(2i16.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend((-1i16).to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend((topic.len() as i16).to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(partitions.to_be_bytes());
    body.extend(1i16.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend(0i32.to_be_bytes());
    body.extend(30_000i32.to_be_bytes());
    body.push(0);
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

struct Case {
    connections: u64,
    partitions: i32,
    /// Requests of one read of one connection.
    batch: usize,
    rounds: usize,
}

fn run(case: &Case) -> f64 {
    let mut rig = Rig::new();
    let now = rig.now();
    for connection in 0..=case.connections {
        let connection = ConnectionId(connection);
        rig.shard.handle(now, Input::ConnectionOpened { connection });
    }
    let frames = Bytes::from(create_frame("topic", case.partitions));
    rig.shard.handle(now, Input::Frames { connection: ConnectionId(0), frames });
    for _ in 0..10 {
        rig.turn();
    }
    let batch = build_batch(&[(None, &[b'x'; 100])], 1_700_000_000_000, Producer::NONE);
    let reads = reads(case, &batch);
    rig.response_bytes = 0;
    let started = cpu_time();
    let mut requests = 0u64;
    for round in 0..case.rounds {
        let now = rig.now();
        for connection in 0..case.connections {
            let frames = reads[(round * 7 + connection as usize) % reads.len()].clone();
            let connection = ConnectionId(connection + 1);
            rig.shard.handle(now, Input::Frames { connection, frames });
            requests += case.batch as u64;
        }
        rig.turn();
    }
    for _ in 0..20 {
        rig.turn();
    }
    let took = cpu_time() - started;
    // Version 7 answers one partition of "topic" in 57 bytes, length included.
    assert_eq!(rig.response_bytes as u64, requests * 57, "every request is answered");
    assert_eq!(rig.responses_closed, 0);
    requests as f64 / took.as_secs_f64()
}

/// The CPU time of this thread: what the core costs, whatever else the machine is doing.
fn cpu_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    Duration::from(clock.now().expect("Linux has this clock"))
}

/// What a few reads of a socket would give: frames side by side.
fn reads(case: &Case, batch: &[u8]) -> Vec<Bytes> {
    let distinct = (case.partitions as usize).clamp(1, 10_000).div_ceil(case.batch).max(8);
    (0..distinct)
        .map(|read| {
            let mut frames = BytesMut::new();
            for request in 0..case.batch {
                let number = read * case.batch + request;
                let partition = number as i32 % case.partitions;
                frames.extend_from_slice(&produce_frame(number as i32, "topic", partition, batch));
            }
            frames.freeze()
        })
        .collect()
}

fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let (size, repeats) = if full { (4_000_000, 5) } else { (20_000, 1) };
    for (connections, partitions, batch) in
        [(1, 1, 1), (1, 1, 512), (8, 1, 512), (8, 100, 512), (8, 10_000, 512), (1000, 10, 4)]
    {
        let per_round = connections as usize * batch;
        let rounds = (size / per_round / if batch == 1 { 4 } else { 1 }).max(2);
        let case = Case { connections, partitions, batch, rounds };
        let mut rates: Vec<f64> = (0..repeats).map(|_| run(&case)).collect();
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        println!(
            "{connections:>5} connections {partitions:>6} partitions {batch:>4} requests a read: \
             {:>6.2} M requests/s, {:>4.0} ns each (median of {repeats}, {:.2} to {:.2})",
            median / 1e6,
            1e9 / median,
            rates[0] / 1e6,
            rates[rates.len() - 1] / 1e6,
        );
    }
}
