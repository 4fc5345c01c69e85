//! One shard with a disk that does everything at once: what tests of the core's answers need.

#![allow(dead_code, reason = "each test uses a part of it")]

mod request_frame;

use std::time::Duration;

use bytes::Bytes;
use hutong::journal::page::{MemoryPage, Page};
use hutong::journal::source::{GroupFiles, SegmentSource};
use hutong::limits::{CHECKPOINT_JOURNAL_BYTES, ENTRY_BYTES_MAX};
use hutong::model::ids::{ConnectionId, GroupId, NodeId, SegmentId, ShardId};
use hutong::model::position::Term;
use hutong::model::time::{Now, Time, Wallclock};
use hutong::shard::cluster::Leader;
use hutong::shard::input::Input;
use hutong::shard::message::ShardMessage;
use hutong::shard::output::{Output, Part};
use hutong::shard::{NodeAddress, Shard, ShardConfig};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, MetadataRequest, MetadataResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

/// A disk without files.
pub struct NoFiles;

impl SegmentSource for NoFiles {
    fn read(&mut self, _: GroupId, _: SegmentId, _: u64, _: &mut [u8]) -> Result<(), String> {
        Err("there are no files".into())
    }
}

/// A shard that serves, and the time.
pub struct Broker {
    pub shard: Shard<MemoryPage>,
    pub now: Now,
    connections: u64,
    answers: Vec<(ConnectionId, Bytes)>,
}

pub fn config() -> ShardConfig {
    ShardConfig {
        node: NodeId(0),
        shard: ShardId(0),
        shards: 1,
        groups: 1,
        cluster_id: "test".into(),
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
        segment_bytes: 64 << 20,
        journal_cache_bytes: 16 << 20,
        scrub_bytes_per_second: 0,
        checkpoint_bytes: CHECKPOINT_JOURNAL_BYTES,
        auto_create_topics: true,
        default_partitions: 1,
        seed: 1,
    }
}

impl Broker {
    pub fn start() -> Broker {
        Broker::start_of(1)
    }

    /// Shard 0 of a node of so many, with a group each. The others lead theirs.
    pub fn start_of(shards: u16) -> Broker {
        let now = Now { time: Time(1_000_000_000), wallclock: Wallclock(1_700_000_000_000) };
        let files = GroupFiles::new(GroupId(0));
        let config = ShardConfig { shards, groups: shards.into(), ..config() };
        let mut shard = Shard::open(config, vec![files], &mut NoFiles, now).unwrap();
        for other in 1..shards {
            let leader = Leader { node: NodeId(0), term: Term(1) };
            let message = ShardMessage::Leads { group: GroupId(other.into()), leader };
            shard.handle(now, Input::FromShard { from: ShardId(other), message });
        }
        let mut broker = Broker { shard, now, connections: 0, answers: Vec::new() };
        broker.settle();
        broker
    }

    /// Turns until nothing is left to do, with every I/O done at once.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            self.shard.advance(self.now);
            let mut busy = false;
            while let Some(output) = self.shard.poll_output() {
                busy = true;
                self.perform(output);
            }
            if !busy {
                return;
            }
        }
        panic!("the shard does not come to rest");
    }

    fn perform(&mut self, output: Output<MemoryPage>) {
        let result = Ok(());
        let input = match output {
            Output::WriteJournal { group, write, page, .. } => {
                let bytes = page.bytes().len();
                assert!(bytes <= ENTRY_BYTES_MAX, "a start would not believe an entry of {bytes}");
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
                let mut bytes = Vec::new();
                for part in parts {
                    match part {
                        Part::Bytes(part) => bytes.extend_from_slice(&part),
                        Part::Page { page, start, end } => {
                            bytes.extend_from_slice(&page.bytes()[start..end]);
                        }
                    }
                }
                let sent = bytes.len();
                self.answers.push((connection, bytes.into()));
                Input::Sent { connection, bytes: sent }
            }
            Output::Log { line, .. } => {
                eprintln!("{line}");
                return;
            }
            Output::Fatal { reason } => panic!("{reason}"),
            _ => return,
        };
        self.shard.handle(self.now, input);
    }

    pub fn connect(&mut self) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        let host = "192.0.2.7".to_string();
        self.shard.handle(self.now, Input::ConnectionOpened { connection, host });
        connection
    }

    /// Sends a frame and gives the answer, waiting as long as a long poll may take.
    pub fn ask(&mut self, connection: ConnectionId, frame: Vec<u8>) -> Option<Bytes> {
        self.answers.clear();
        self.shard.handle(self.now, Input::Frames { connection, frames: frame.into() });
        self.settle();
        self.now.time = self.now.time + Duration::from_secs(1);
        self.settle();
        let at = self.answers.iter().position(|(id, _)| *id == connection)?;
        Some(self.answers.swap_remove(at).1)
    }

    /// The answer to what was sent before, waiting so many seconds for it.
    pub fn wait_for(&mut self, connection: ConnectionId, seconds: u64) -> Option<Bytes> {
        for _ in 0..=seconds {
            self.settle();
            if let Some(at) = self.answers.iter().position(|(id, _)| *id == connection) {
                return Some(self.answers.swap_remove(at).1);
            }
            self.now.time = self.now.time + Duration::from_secs(1);
        }
        None
    }

    pub fn create_topic(&mut self, name: &'static str, partitions: i32) {
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
        let connection = self.connect();
        self.ask(connection, request_frame(19, 5, &request)).expect("topics can be created");
    }

    pub fn topic_id(&mut self, name: &'static str) -> [u8; 16] {
        let name = Some(TopicName(StrBytes::from_static_str(name)));
        let topic = MetadataRequestTopic::default().with_name(name);
        let request = MetadataRequest::default().with_topics(Some(vec![topic]));
        let connection = self.connect();
        let mut answer = self.ask(connection, request_frame(3, 10, &request)).expect("metadata");
        let mut body = answer.split_off(9);
        let response = MetadataResponse::decode(&mut body, 10).expect("version 10");
        *response.topics[0].topic_id.as_bytes()
    }
}

/// A whole request frame, length included.
pub fn request_frame<M: Encodable + HeaderVersion>(key: i16, version: i16, body: &M) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    request_frame::request_frame(&header, body)
}
