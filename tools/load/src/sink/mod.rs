//! `hutong-load sink`: a broker that says yes and keeps nothing, and makes up what it is asked for.

mod records;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use hutong::kafka::api::{Request, decode_request, encode_response};
use hutong::kafka::error_code::ErrorCode;
use hutong::kafka::frame::next_frame;
use hutong::kafka::header::RequestHeader;
use hutong::kafka::produce::{
    PRODUCE_KEY, PartitionOutcome, ProduceRequest, ProduceResponseEncoder,
};
use hutong::model::ids::ConnectionId;
use hutong::model::time::{Now, Time};
use hutong::runtime::driver::Core;
use hutong::runtime::journal_page::JournalPage;
use hutong::runtime::solo::serve_alone;
use hutong::shard::input::Input;
use hutong::shard::output::{Output, Part};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, CreateTopicsRequest, CreateTopicsResponse, MetadataRequest,
    MetadataResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::args::SinkArgs;
use records::Records;

/// All it understands: key, lowest and highest version.
const APIS: [(i16, i16, i16); 6] =
    [(PRODUCE_KEY, 3, 11), (1, 4, 11), (2, 1, 5), (3, 0, 12), (18, 0, 4), (19, 2, 6)];

/// Answers until it is killed.
///
/// # Errors
/// A sentence: it could not start.
pub fn run(args: &SinkArgs) -> anyhow::Result<()> {
    let partitions = args.partitions;
    let records = Records::new(args.records, args.record_bytes);
    serve_alone(args.listen, args.cpu, move |address| {
        eprintln!("hutong-load sink ready: {address}");
        Sink::new(address, partitions, records)
    })
}

/// Why a connection is closed: the client speaks another language.
struct Unknown;

struct Sink {
    address: SocketAddr,
    default_partitions: u32,
    topics: BTreeMap<String, u32>,
    offset: i64,
    records: Records,
    outputs: VecDeque<Output<JournalPage>>,
}

impl Sink {
    fn new(address: SocketAddr, default_partitions: u32, records: Records) -> Sink {
        let outputs = VecDeque::from([Output::Ready]);
        Sink { address, default_partitions, topics: BTreeMap::new(), offset: 0, records, outputs }
    }

    fn answer_all(&mut self, connection: ConnectionId, mut frames: Bytes) {
        let mut out = Vec::with_capacity(frames.len() / 2);
        let mut parts = Vec::new();
        while let Some(frame) = next_frame(&mut frames) {
            if self.answer(&frame, &mut out, &mut parts).is_err() {
                self.outputs.push_back(Output::CloseConnection { connection });
                return;
            }
        }
        if !out.is_empty() {
            parts.push(Part::Bytes(out.into()));
        }
        if !parts.is_empty() {
            self.outputs.push_back(Output::Respond { connection, parts });
        }
    }

    /// Appends the answer to `out`, or if there is more to it, with all that `out` holds to
    /// `parts`.
    fn answer(
        &mut self,
        frame: &Bytes,
        out: &mut Vec<u8>,
        parts: &mut Vec<Part<JournalPage>>,
    ) -> Result<(), Unknown> {
        let header = RequestHeader::decode(frame).map_err(|_| Unknown)?;
        if header.api_key == PRODUCE_KEY {
            return self.produce(&header, frame, out);
        }
        let encoded = match decode_request(&header, frame).map_err(|_| Unknown)? {
            Request::ApiVersions(_) => encode_response(out, &header, &api_versions()),
            Request::Metadata(request) => encode_response(out, &header, &self.metadata(&request)),
            Request::CreateTopics(request) => {
                encode_response(out, &header, &self.create_topics(&request))
            }
            Request::ListOffsets(request) => {
                encode_response(out, &header, &self.records.offsets(&request))
            }
            Request::Fetch(request) => {
                if !out.is_empty() {
                    parts.push(Part::Bytes(std::mem::take(out).into()));
                }
                self.records.fetch(&header, &request, parts);
                return Ok(());
            }
            _ => return Err(Unknown),
        };
        encoded.map_err(|_| Unknown)
    }

    fn produce(
        &mut self,
        header: &RequestHeader,
        frame: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unknown> {
        let request = ProduceRequest::decode(header, frame).map_err(|_| Unknown)?;
        if request.acks == 0 {
            return Ok(());
        }
        let outcome = PartitionOutcome {
            error: ErrorCode::NONE,
            base_offset: self.offset,
            log_append_time_ms: -1,
            log_start_offset: 0,
            error_message: None,
            current_leader: None,
        };
        self.offset += 1;
        let parts = request.check().map_err(|_| Unknown)?;
        let (version, correlation) = (header.api_version, header.correlation_id);
        // Each partition as a topic of its own: clients read that, and it needs no second walk.
        let mut encoder = ProduceResponseEncoder::begin(out, version, correlation, parts);
        for part in request.partitions().flatten() {
            encoder.topic(part.topic, 1);
            encoder.partition(part.partition, &outcome);
        }
        encoder.finish(&[]);
        Ok(())
    }

    fn metadata(&mut self, request: &MetadataRequest) -> MetadataResponse {
        let broker = MetadataResponseBroker::default()
            .with_host(StrBytes::from_string(self.address.ip().to_string()))
            .with_port(i32::from(self.address.port()));
        let named = request.topics.iter().flatten().filter_map(|topic| topic.name.clone());
        let topics = named.map(|name| {
            let known = self.topics.get(name.as_str());
            let partitions = *known.unwrap_or(&self.default_partitions) as i32;
            let of_number = |partition| {
                MetadataResponsePartition::default()
                    .with_partition_index(partition)
                    .with_replica_nodes(vec![BrokerId(0)])
                    .with_isr_nodes(vec![BrokerId(0)])
            };
            MetadataResponseTopic::default()
                .with_name(Some(name))
                .with_partitions((0..partitions).map(of_number).collect())
        });
        MetadataResponse::default().with_brokers(vec![broker]).with_topics(topics.collect())
    }

    fn create_topics(&mut self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let results = request.topics.iter().map(|topic| {
            let partitions = u32::try_from(topic.num_partitions).unwrap_or(self.default_partitions);
            self.topics.insert(topic.name.to_string(), partitions);
            CreatableTopicResult::default().with_name(topic.name.clone())
        });
        CreateTopicsResponse::default().with_topics(results.collect())
    }
}

fn api_versions() -> ApiVersionsResponse {
    let ranges = APIS.iter().map(|&(key, min, max)| {
        ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
    });
    ApiVersionsResponse::default().with_api_keys(ranges.collect())
}

impl Core for Sink {
    fn handle(&mut self, _: Now, input: Input<JournalPage>) {
        if let Input::Frames { connection, frames } = input {
            self.answer_all(connection, frames);
        }
    }

    fn advance(&mut self, _: Now) {}

    fn poll_output(&mut self) -> Option<Output<JournalPage>> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }
}
