//! What clients ask of the nodes, and what became of it.

use bytes::Bytes;
use hutong::kafka::error_code::ErrorCode;
use hutong::kafka::record_batch::{self, Producer, build_batch};
use hutong::model::ids::ConnectionId;
use hutong::shard::input::Input;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, FetchRequest, FetchResponse, ProduceRequest,
    ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use super::Cluster;
use super::request_frame::request_frame;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Produced at, or fetched up to, this offset.
    At(i64),
    /// This node leads.
    Elsewhere(usize),
    Error(ErrorCode),
    /// No answer yet.
    Nothing,
}

impl Cluster {
    /// Sends a request over a connection of its own.
    pub fn send<R: Request>(&mut self, node: usize, version: i16, request: &R) -> ConnectionId {
        self.send_frame(node, R::KEY, version, request)
    }

    /// The answer to what was sent, if it comes within so many milliseconds.
    pub fn answer<R: Request>(
        &mut self,
        node: usize,
        connection: ConnectionId,
        version: i16,
        milliseconds: u64,
    ) -> Option<R::Response> {
        for _ in 0..=milliseconds {
            if let Some(mut answer) = self.take_answer(node, connection) {
                ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
                return Some(R::Response::decode(&mut answer, version).expect("a response"));
            }
            self.run_ms(1);
        }
        None
    }

    /// Sends a request and waits a while for its answer.
    pub fn ask<R: Encodable + HeaderVersion>(
        &mut self,
        node: usize,
        key: i16,
        version: i16,
        request: &R,
    ) -> (ConnectionId, Option<Bytes>) {
        let connection = self.send_frame(node, key, version, request);
        for _ in 0..100 {
            self.run_ms(1);
            if let Some(answer) = self.take_answer(node, connection) {
                return (connection, Some(answer));
            }
        }
        (connection, None)
    }

    fn send_frame<R: Encodable + HeaderVersion>(
        &mut self,
        node: usize,
        key: i16,
        version: i16,
        request: &R,
    ) -> ConnectionId {
        let connection = self.new_connection(node);
        let header =
            RequestHeader::default().with_request_api_key(key).with_request_api_version(version);
        let frames = request_frame(&header, request).into();
        self.nodes[node].inputs.push_back(Input::Frames { connection, frames });
        connection
    }

    pub(super) fn take_answer(&mut self, node: usize, connection: ConnectionId) -> Option<Bytes> {
        let whose = |(at, of, _): &(usize, ConnectionId, Bytes)| (*at, *of) == (node, connection);
        let at = self.answers.iter().position(whose)?;
        // Without its length.
        Some(self.answers.remove(at).2.slice(4..))
    }

    pub fn create_topic(&mut self, name: &str, partitions: i32) {
        let leader = self.leader();
        self.create_topic_at(leader, name, partitions);
    }

    pub fn create_topic_at(&mut self, node: usize, name: &str, partitions: i32) {
        assert_eq!(self.try_to_create_topic(node, name, partitions), ErrorCode::NONE);
    }

    /// Asks for a topic. Returns what came of it.
    pub fn try_to_create_topic(&mut self, node: usize, name: &str, partitions: i32) -> ErrorCode {
        let answer = self.ask_for_topic(node, name, partitions);
        let mut answer = answer.expect("an answer");
        ResponseHeader::decode(&mut answer, CreateTopicsResponse::header_version(7)).unwrap();
        let response = CreateTopicsResponse::decode(&mut answer, 7).expect("a response");
        ErrorCode(response.topics[0].error_code)
    }

    /// Asks for a topic. Returns what is answered, if that comes soon.
    pub fn ask_for_topic(&mut self, node: usize, name: &str, partitions: i32) -> Option<Bytes> {
        // There is one group, which all nodes have; a smaller factor would want another.
        let factor = if self.nodes.len() > 3 { self.nodes.len() as i16 } else { -1 };
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.into())))
            .with_num_partitions(partitions)
            .with_replication_factor(factor);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
        self.ask(node, 19, 7, &request).1
    }

    /// Produces a record.
    pub fn produce(&mut self, node: usize, topic: &str, acks: i16) -> Outcome {
        self.produce_as(Producer::NONE, b"record", node, topic, acks)
    }

    /// Produces a record with this value.
    pub fn produce_value(&mut self, node: usize, topic: &str, acks: i16, value: &[u8]) -> Outcome {
        self.produce_as(Producer::NONE, value, node, topic, acks)
    }

    /// Produces a record as a producer that numbers its records.
    pub fn produce_as(
        &mut self,
        producer: Producer,
        value: &[u8],
        node: usize,
        topic: &str,
        acks: i16,
    ) -> Outcome {
        let request = produce_request(producer, value, topic, acks);
        let (connection, answer) = self.ask(node, 0, 11, &request);
        match answer {
            Some(answer) => produced(answer),
            None => {
                self.late.push((node, connection));
                Outcome::Nothing
            }
        }
    }

    /// What became of requests that had no answer in time, and have one now.
    pub fn late_answers(&mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (node, connection) in std::mem::take(&mut self.late) {
            match self.take_answer(node, connection) {
                Some(answer) => outcomes.push(produced(answer)),
                None => self.late.push((node, connection)),
            }
        }
        outcomes
    }

    /// Fetches all there is from an offset.
    pub fn fetch(&mut self, node: usize, topic: &str, from: i64) -> Outcome {
        let connection = self.send_fetch(node, topic, from, 0);
        for _ in 0..100 {
            self.run_ms(1);
            if let Some(outcome) = self.fetched(node, connection, from) {
                return outcome;
            }
        }
        Outcome::Nothing
    }

    /// Asks for what there is from an offset; if there is nothing, the node is to wait so long.
    pub fn send_fetch(
        &mut self,
        node: usize,
        topic: &str,
        from: i64,
        wait_ms: i32,
    ) -> ConnectionId {
        let partition = FetchPartition::default()
            .with_current_leader_epoch(-1)
            .with_fetch_offset(from)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_string(topic.into())))
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        self.send(node, 12, &request)
    }

    /// What came of it, if it is answered.
    pub fn fetched(&mut self, node: usize, connection: ConnectionId, from: i64) -> Option<Outcome> {
        let mut frame = self.take_answer(node, connection)?;
        ResponseHeader::decode(&mut frame, FetchResponse::header_version(12)).expect("a header");
        let response = FetchResponse::decode(&mut frame, 12).expect("a response");
        let part = &response.responses[0].partitions[0];
        let records = part.records.clone().unwrap_or_default();
        let last = record_batch::batches(&records).last();
        Some(match ErrorCode(part.error_code) {
            ErrorCode::NONE => Outcome::At(last.map_or(from, |(_, batch)| batch.last_offset() + 1)),
            code => failed(code, part.current_leader.leader_id.0),
        })
    }
}

/// Produces a record to partition 0.
pub fn produce_request(producer: Producer, value: &[u8], topic: &str, acks: i16) -> ProduceRequest {
    let batch = build_batch(&[(None, value)], 1_718_000_000_000, producer);
    let data = PartitionProduceData::default().with_records(Some(batch.into()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(topic.into())))
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(60_000).with_topic_data(vec![topic])
}

fn produced(mut frame: Bytes) -> Outcome {
    ResponseHeader::decode(&mut frame, ProduceResponse::header_version(11)).expect("a header");
    let response = ProduceResponse::decode(&mut frame, 11).expect("a response");
    let part = &response.responses[0].partition_responses[0];
    match ErrorCode(part.error_code) {
        ErrorCode::NONE => Outcome::At(part.base_offset),
        code => failed(code, part.current_leader.leader_id.0),
    }
}

fn failed(code: ErrorCode, leader: i32) -> Outcome {
    match code {
        ErrorCode::NOT_LEADER_OR_FOLLOWER if leader >= 0 => {
            Outcome::Elsewhere((leader / 1000) as usize)
        }
        code => Outcome::Error(code),
    }
}
