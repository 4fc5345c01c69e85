//! A client that sends whatever bytes it is told to, and waits no longer than it is told to.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hutong::kafka::error_code::ErrorCode;
use hutong::kafka::record_batch::{Producer, build_batch};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::broker::wait_until;

/// The version in which this client speaks Produce.
pub const PRODUCE: i16 = 9;
/// And Fetch: the last one with names of topics.
pub const FETCH: i16 = 12;
/// How long an answer may take before the test fails.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// One connection.
pub struct RawClient {
    pub stream: TcpStream,
    correlation_id: i32,
}

/// What ended a wait for an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Frame(Bytes),
    Closed,
    Silence,
}

impl RawClient {
    pub fn connect(address: &str) -> RawClient {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        RawClient { stream, correlation_id: 0 }
    }

    /// Sends a request and waits for its answer.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.try_call(version, request).unwrap_or_else(|why| panic!("API {}: {why}", R::KEY))
    }

    /// The same, for those who are ready for a broker that goes away.
    pub fn try_call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<R::Response, String> {
        self.correlation_id += 1;
        let frame = frame_of(version, self.correlation_id, request);
        self.stream.write_all(&frame).map_err(|error| error.to_string())?;
        self.try_receive::<R>(version, self.correlation_id)
    }

    /// Reads the answer to the request with this correlation id.
    pub fn try_receive<R: Request>(
        &mut self,
        version: i16,
        correlation_id: i32,
    ) -> Result<R::Response, String> {
        let mut frame = match self.answer() {
            Answer::Frame(frame) => frame,
            other => return Err(format!("{other:?}")),
        };
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version));
        let header = header.map_err(|error| error.to_string())?;
        assert_eq!(header.correlation_id, correlation_id, "answers come in order");
        R::Response::decode(&mut frame, version).map_err(|error| error.to_string())
    }

    /// Sends bytes. A broker that has closed meanwhile is no error: the answer will tell.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Waits for a frame, or for the end.
    pub fn answer(&mut self) -> Answer {
        let mut prefix = [0; 4];
        if let Some(end) = self.fill(&mut prefix) {
            return end;
        }
        let mut frame = vec![0; prefix.as_slice().get_u32() as usize];
        self.fill(&mut frame).unwrap_or(Answer::Frame(frame.into()))
    }

    fn fill(&mut self, mut into: &mut [u8]) -> Option<Answer> {
        while !into.is_empty() {
            match self.stream.read(into) {
                Ok(0) => return Some(Answer::Closed),
                Ok(read) => into = &mut into[read..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Some(Answer::Silence);
                }
                Err(_) => return Some(Answer::Closed),
            }
        }
        None
    }

    /// Makes a topic; panics if it can't be made.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        self.create(&create_topic(name, partitions, configs));
    }

    /// As `create_topic`. Leadership may move just then, as after a start: it asks again.
    pub fn create(&mut self, request: &CreateTopicsRequest) {
        let mut asked = false;
        wait_until("the topic is made", ANSWER_TIMEOUT, || {
            let response = self.call(5, request);
            let topic = &response.topics[0];
            // What was begun under one leader may be there under the next.
            let is_there = topic.error_code == 0
                || asked && topic.error_code == ErrorCode::TOPIC_ALREADY_EXISTS.0;
            let again = topic.error_code == ErrorCode::NOT_CONTROLLER.0;
            assert!(is_there || again, "{topic:?}");
            asked = true;
            is_there
        });
    }

    /// Sends one batch to one partition and returns its answer's error code and base offset.
    pub fn produce(&mut self, topic: &str, partition: i32, batch: Vec<u8>) -> (i16, i64) {
        let response = self.call(PRODUCE, &produce(topic, partition, -1, batch));
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    /// Fetches one partition from an offset: error code, high watermark, log start, records.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> (i16, i64, i64, Bytes) {
        let response = self.call(FETCH, &fetch(topic, partition, offset, 1 << 20, 500));
        let part = &response.responses[0].partitions[0];
        let records = part.records.clone().unwrap_or_default();
        (part.error_code, part.high_watermark, part.log_start_offset, records)
    }

    /// The offset for a timestamp: -2 is the log start, -1 the end.
    pub fn offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> i64 {
        let request = list_offsets(topic, partition, timestamp);
        let response = self.call(4, &request);
        let partition = &response.topics[0].partitions[0];
        assert_eq!(partition.error_code, 0, "{partition:?}");
        partition.offset
    }
}

/// A request with its header and length.
pub fn frame_of<R: Request>(version: i16, correlation_id: i32, request: &R) -> BytesMut {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("process-test")));
    let mut frame = BytesMut::new();
    frame.put_u32(0);
    header.encode(&mut frame, R::header_version(version)).unwrap();
    request.encode(&mut frame, version).unwrap();
    let length = frame.len() as u32 - 4;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// A frame around a body of our own making, with the header that the version calls for.
pub fn frame_around(key: i16, version: i16, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(7);
    // No client id, and no tagged fields.
    frame.put_i16(-1);
    if flexible {
        frame.put_u8(0);
    }
    frame.put_slice(body);
    let length = frame.len() as u32 - 4;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_string()))
}

pub fn create_topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsRequest {
    let text = |text: &str| StrBytes::from_string(text.to_string());
    let configs = configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs.collect());
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000)
}

pub fn produce(topic: &str, partition: i32, acks: i16, batch: Vec<u8>) -> ProduceRequest {
    let partition =
        PartitionProduceData::default().with_index(partition).with_records(Some(batch.into()));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

pub fn fetch(
    topic: &str,
    partition: i32,
    offset: i64,
    bytes_max: i32,
    wait_ms: i32,
) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(bytes_max);
    let topic =
        FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(bytes_max)
        .with_topics(vec![topic])
}

pub fn list_offsets(topic: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let topic =
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

/// A batch of one record with a value of so many bytes.
pub fn one_record(value_bytes: usize) -> Vec<u8> {
    batch_of(&vec![b'v'; value_bytes])
}

/// A batch of one record, stamped with the present.
pub fn batch_of(value: &[u8]) -> Vec<u8> {
    batch_at(value, now_ms())
}

/// A batch of one record of a producer that numbers what it sends: one that had no answer can be
/// sent again, and isn't there twice.
pub fn numbered(value: &[u8], number: i64) -> Vec<u8> {
    let producer = Producer { id: 4711, epoch: 0, base_sequence: number as i32 };
    build_batch(&[(None, value)], now_ms(), producer)
}

/// As `batch_of`, stamped with another time.
pub fn batch_at(value: &[u8], timestamp_ms: i64) -> Vec<u8> {
    build_batch(&[(None, value)], timestamp_ms, Producer::NONE)
}

pub fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}
