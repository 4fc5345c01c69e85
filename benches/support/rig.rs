//! A shard with a disk that is done at once, clients that read at once, and a clock that moves by
//! the same step each turn: the same load makes it do the same work, instruction by instruction.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use hutong::journal::source::{GroupFiles, SegmentSource};
use hutong::limits::CHECKPOINT_JOURNAL_BYTES;
use hutong::model::ids::{ConnectionId, GroupId, NodeId, SegmentId, ShardId};
use hutong::model::time::{Now, Time, Wallclock};
use hutong::shard::input::Input;
use hutong::shard::output::Output;
use hutong::shard::{NodeAddress, Shard, ShardConfig};

use super::frames;
use super::page::BenchPage;

/// A request is answered one turn later, so no deadline ever comes near.
const TURN_NANOS: u64 = 100_000;

/// The clients of a shard and what they send: single records of 100 bytes with acks=all.
#[derive(Clone, Copy)]
pub struct Load {
    pub connections: u64,
    pub partitions: i32,
    /// Requests that one read of one connection gives.
    pub per_read: usize,
}

impl Load {
    /// Requests of one round: a read of each connection, and a turn.
    pub fn per_round(&self) -> usize {
        self.connections as usize * self.per_read
    }

    /// What the sockets give: frames side by side, the partitions in turn. There are as many as it
    /// takes to come to each partition.
    fn reads(&self) -> Vec<Bytes> {
        let batch = frames::batch(100);
        let distinct = (self.partitions as usize).div_ceil(self.per_read).max(8);
        let read = |read: usize| {
            let mut bytes = BytesMut::new();
            for number in read * self.per_read..(read + 1) * self.per_read {
                let number = number as i32;
                bytes.extend_from_slice(&frames::produce(number, number % self.partitions, &batch));
            }
            bytes.freeze()
        };
        (0..distinct).map(read).collect()
    }
}

/// A shard under load.
pub struct Rig {
    shard: Shard<BenchPage>,
    time: u64,
    /// Completions, for the next turn.
    done: VecDeque<Input<BenchPage>>,
    load: Load,
    reads: Vec<Bytes>,
    next_read: usize,
    requests: u64,
    response_bytes: u64,
}

impl Rig {
    /// A shard that has a topic with the load's partitions, and its clients connected.
    pub fn new(load: Load, journal_cache_bytes: usize) -> Rig {
        let files = GroupFiles::new(GroupId(0));
        let shard =
            Shard::open(config(journal_cache_bytes), vec![files], &mut NoFiles, at(TURN_NANOS));
        let mut rig = Rig {
            shard: shard.expect("a new shard"),
            time: TURN_NANOS,
            done: VecDeque::new(),
            load,
            reads: load.reads(),
            next_read: 0,
            requests: 0,
            response_bytes: 0,
        };
        rig.turns(100);
        for connection in 0..=load.connections {
            let connection = ConnectionId(connection);
            rig.shard
                .handle(at(rig.time), Input::ConnectionOpened { connection, host: String::new() });
        }
        let frames = Bytes::from(frames::create_topic(load.partitions));
        rig.shard.handle(at(rig.time), Input::Frames { connection: ConnectionId(0), frames });
        rig.turns(10);
        assert!(rig.response_bytes > 0, "the topic is there");
        rig.response_bytes = 0;
        rig
    }

    /// As many times: a read of each connection, and a turn.
    pub fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            for connection in 1..=self.load.connections {
                let frames = self.reads[self.next_read].clone();
                self.next_read = (self.next_read + 1) % self.reads.len();
                let connection = ConnectionId(connection);
                self.shard.handle(at(self.time), Input::Frames { connection, frames });
            }
            self.requests += self.load.per_round() as u64;
            self.turn();
        }
    }

    /// Waits for all answers. Returns how many requests there were in all.
    ///
    /// # Panics
    /// If one has not got the answer of a record that is durable.
    pub fn finish(&mut self) -> u64 {
        self.turns(20);
        let expected = self.requests * frames::PRODUCE_RESPONSE_BYTES as u64;
        assert_eq!(self.response_bytes, expected, "every request is answered");
        self.requests
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.time += TURN_NANOS;
        let now = at(self.time);
        while let Some(input) = self.done.pop_front() {
            self.shard.handle(now, input);
        }
        self.shard.advance(now);
        while let Some(output) = self.shard.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output<BenchPage>) {
        let result = Ok(());
        self.done.push_back(match output {
            Output::WriteJournal { group, write, .. } => {
                Input::JournalWritten { group, write, result }
            }
            Output::WriteVote { group, write, .. } => Input::VoteWritten { group, write, result },
            Output::CreateSegment { group, segment, .. } => {
                Input::SegmentCreated { group, segment, result }
            }
            Output::WriteCheckpoint { group, position, .. } => {
                Input::CheckpointWritten { group, position, result }
            }
            Output::Respond { connection, parts } => {
                let bytes = parts.iter().map(|part| part.len()).sum();
                self.response_bytes += bytes as u64;
                Input::Sent { connection, bytes }
            }
            Output::CloseConnection { .. } => panic!("no client sends anything wrong"),
            Output::Fatal { reason } => panic!("{reason}"),
            _ => return,
        });
    }
}

fn at(time: u64) -> Now {
    Now { time: Time(time), wallclock: Wallclock(1_700_000_000_000) }
}

fn config(journal_cache_bytes: usize) -> ShardConfig {
    ShardConfig {
        node: NodeId(0),
        shard: ShardId(0),
        shards: 1,
        groups: 1,
        cluster_id: "bench".into(),
        formed: vec![NodeId(0)],
        directory: 1,
        nodes: vec![NodeAddress {
            node: NodeId(0),
            host: "localhost".into(),
            port: 9092,
            directory: 0,
        }],
        advertised_host: "localhost".into(),
        base_port: 9092,
        data_directory: "/data".into(),
        segment_bytes: 128 << 20,
        journal_cache_bytes,
        scrub_bytes_per_second: 0,
        checkpoint_bytes: CHECKPOINT_JOURNAL_BYTES,
        auto_create_topics: true,
        default_partitions: 1,
        seed: 1,
    }
}

struct NoFiles;

impl SegmentSource for NoFiles {
    fn read(&mut self, _: GroupId, _: SegmentId, _: u64, _: &mut [u8]) -> Result<(), String> {
        Err("there are no files".into())
    }
}
