//! Produce requests and responses against the crate's encoder.

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint as CrateEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ProduceRequest as CrateRequest, ProduceResponse, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::super::api::{DecodeError, encode_response as encode_by_crate};
use super::super::error_code::ErrorCode;
use super::super::header::RequestHeader;
use super::super::produce::{
    NodeEndpoint, PartitionOutcome, ProduceRequest, ResponseTemplate, TopicOutcomes,
    encode_response, encode_single_response,
};
use super::frame;

type Parts<'a> = Vec<(&'a [u8], i32, Option<&'a [u8]>)>;

fn crate_request(topics: &[(&str, &[Option<&'static [u8]>])], transactional: bool) -> CrateRequest {
    let topics = topics.iter().map(|(name, partitions)| {
        let partitions = partitions.iter().enumerate().map(|(index, records)| {
            PartitionProduceData::default()
                .with_index(index as i32 - 1)
                .with_records(records.map(Bytes::from_static))
        });
        TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string((*name).to_owned())))
            .with_partition_data(partitions.collect())
    });
    let id = transactional.then(|| TransactionalId(StrBytes::from_static_str("transfer")));
    CrateRequest::default()
        .with_acks(-1)
        .with_timeout_ms(1500)
        .with_transactional_id(id)
        .with_topic_data(topics.collect())
}

fn body(request: &CrateRequest, version: i16) -> Vec<u8> {
    let mut body = Vec::new();
    request.encode(&mut body, version).expect("encodable");
    body
}

fn decode(frame: &[u8]) -> Result<Parts<'_>, DecodeError> {
    let request = ProduceRequest::decode(&RequestHeader::decode(frame)?, frame)?;
    let parts = request.partitions().map(|partition| {
        let partition = partition?;
        Ok((partition.topic, partition.partition, partition.records.map(|range| &frame[range])))
    });
    let parts: Result<Parts<'_>, DecodeError> = parts.collect();
    assert_eq!(request.check().is_ok(), parts.is_ok());
    parts
}

#[test]
fn requests_of_all_versions_are_walked() {
    let long = "t".repeat(200);
    let topics: &[(&str, &[Option<&'static [u8]>])] = &[
        ("orders", &[Some(b"some records"), None, Some(b"")]),
        ("empty", &[]),
        (&long, &[Some(&[9; 500])]),
    ];
    for version in 3..=11 {
        for count in 0..=topics.len() {
            let request = crate_request(&topics[..count], version % 2 == 0);
            let frame = frame(0, version, &body(&request, version));
            let header = RequestHeader::decode(&frame).expect("a header");
            let read = ProduceRequest::decode(&header, &frame).expect("a prologue");
            assert_eq!((read.acks, read.timeout_ms, read.topic_count), (-1, 1500, count));
            assert_eq!(read.transactional, version % 2 == 0);
            let mut expected: Parts<'_> = Vec::new();
            for (name, partitions) in &topics[..count] {
                for (index, records) in partitions.iter().enumerate() {
                    expected.push((name.as_bytes(), index as i32 - 1, *records));
                }
            }
            assert_eq!(read.check(), Ok(expected.len()));
            assert_eq!(decode(&frame), Ok(expected));
        }
    }
}

#[test]
fn truncations_and_leftovers_are_refused() {
    let request = crate_request(&[("a", &[Some(b"abc"), None]), ("b", &[Some(b"")])], true);
    for version in 3..=11 {
        let body = body(&request, version);
        let whole = frame(0, version, &body);
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "v{version} {length}");
        }
        assert!(decode(&frame(0, version, &[&body[..], &[0]].concat())).is_err());
    }
}

#[test]
fn the_twelve_bytes_that_abort_others_are_refused() {
    let body = [0x00, 0xff, 0xff, 0, 0, 3, 0xe8, 0xff, 0xff, 0xff, 0xff, 0x07];
    assert!(matches!(decode(&frame(0, 9, &body)), Err(DecodeError::Bounds(_))));
    let old = [0xff, 0xff, 0, 1, 0, 0, 3, 0xe8, 0x7f, 0xff, 0xff, 0xff];
    assert!(matches!(decode(&frame(0, 7, &old)), Err(DecodeError::Bounds(_))));
    let partitions = [&old[..8], &[0, 0, 0, 1, 0, 1, b't', 0x7f, 0xff, 0xff, 0xff]].concat();
    assert!(matches!(decode(&frame(0, 7, &partitions)), Err(DecodeError::Bounds(_))));
}

#[test]
fn advertised_versions_that_are_not_taken_are_refused() {
    for version in [-1, 0, 1, 2, 12] {
        let refused = decode(&frame(0, version, &[0; 40])).map(drop);
        let error = DecodeError::UnsupportedVersion { api_key: 0, api_version: version };
        assert_eq!(refused, Err(error));
    }
}

/// Outcomes that set whatever can be set, and what the crate makes of them.
fn outcomes() -> [PartitionOutcome<'static>; 3] {
    let done = PartitionOutcome {
        error: ErrorCode::NONE,
        base_offset: 1 << 40,
        log_append_time_ms: 1_700_000_000_000,
        log_start_offset: 12,
        error_message: None,
        current_leader: None,
    };
    let moved = PartitionOutcome {
        current_leader: Some((2003, 17)),
        ..PartitionOutcome::failed(ErrorCode::NOT_LEADER_OR_FOLLOWER)
    };
    let refused = PartitionOutcome {
        error_message: Some("the record batch's crc does not match its bytes"),
        ..PartitionOutcome::failed(ErrorCode::CORRUPT_MESSAGE)
    };
    [done, moved, refused]
}

fn crate_partition(
    version: i16,
    index: i32,
    outcome: &PartitionOutcome<'_>,
) -> PartitionProduceResponse {
    let message = outcome.error_message.filter(|_| version >= 8);
    let leader = outcome.current_leader.filter(|_| version >= 10);
    PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(outcome.error.code())
        .with_base_offset(outcome.base_offset)
        .with_log_append_time_ms(outcome.log_append_time_ms)
        .with_log_start_offset(outcome.log_start_offset)
        .with_error_message(message.map(|message| StrBytes::from_string(message.to_owned())))
        .with_current_leader(leader.map_or_else(Default::default, |(id, epoch)| {
            LeaderIdAndEpoch::default().with_leader_id(id.into()).with_leader_epoch(epoch)
        }))
}

const ENDPOINTS: &[NodeEndpoint<'static>] = &[
    NodeEndpoint { node_id: 2003, host: "node-two.example", port: 9095, rack: Some("node2") },
    NodeEndpoint { node_id: 0, host: "", port: 1, rack: None },
];

fn crate_endpoints() -> Vec<CrateEndpoint> {
    let endpoints = ENDPOINTS.iter().map(|endpoint| {
        CrateEndpoint::default()
            .with_node_id(endpoint.node_id.into())
            .with_host(StrBytes::from_static_str(endpoint.host))
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.map(StrBytes::from_static_str))
    });
    endpoints.collect()
}

/// The response's frame as the crate encodes it.
fn by_crate(version: i16, topics: &[TopicOutcomes<'_>], endpoints: bool) -> Vec<u8> {
    let responses = topics.iter().map(|topic| {
        let name = String::from_utf8(topic.topic.to_vec()).expect("a name");
        let partitions = topic.partitions.iter();
        TopicProduceResponse::default()
            .with_name(TopicName(StrBytes::from_string(name)))
            .with_partition_responses(
                partitions
                    .map(|(index, outcome)| crate_partition(version, *index, outcome))
                    .collect(),
            )
    });
    let response = ProduceResponse::default()
        .with_responses(responses.collect())
        .with_node_endpoints(if endpoints { crate_endpoints() } else { Vec::new() });
    let frame = frame(0, version, &[]);
    let header = RequestHeader::decode(&frame).expect("a header");
    let mut out = b"before".to_vec();
    encode_by_crate(&mut out, &header, &response).expect("encodable");
    out
}

#[test]
fn single_responses_equal_the_crates() {
    for version in 3..=11 {
        for outcome in outcomes() {
            let mut out = b"before".to_vec();
            encode_single_response(&mut out, version, 77, b"orders", 5, &outcome, ENDPOINTS);
            let partitions = [(5, outcome)];
            let topic = TopicOutcomes { topic: b"orders", partitions: &partitions };
            let hinted = version >= 10 && outcome.current_leader.is_some();
            assert_eq!(out, by_crate(version, &[topic], hinted), "v{version} {outcome:?}");
        }
    }
}

#[test]
fn responses_for_many_partitions_equal_the_crates() {
    let [done, moved, refused] = outcomes();
    let partitions = [(0, done), (1, refused), (2, moved), (300, done)];
    let name = "n".repeat(150);
    let topics = [
        TopicOutcomes { topic: b"orders", partitions: &partitions },
        TopicOutcomes { topic: b"none", partitions: &[] },
        TopicOutcomes { topic: name.as_bytes(), partitions: &partitions[..2] },
    ];
    for version in 3..=11 {
        for count in 0..=topics.len() {
            let mut out = b"before".to_vec();
            encode_response(&mut out, version, 77, &topics[..count], ENDPOINTS);
            let hinted = version >= 10 && count > 0;
            assert_eq!(out, by_crate(version, &topics[..count], hinted), "v{version}");
        }
    }
}

#[test]
fn a_template_says_what_the_encoder_says() {
    for version in 3..=11 {
        for topic in ["t", "orders", &"t".repeat(200)] {
            let template = ResponseTemplate::new(version, topic.as_bytes());
            let outcome = PartitionOutcome {
                error: ErrorCode::NONE,
                base_offset: 0x0102_0304_0506_0708,
                log_append_time_ms: 0x1112_1314_1516_1718,
                log_start_offset: 0x2122_2324_2526_2728,
                error_message: None,
                current_leader: None,
            };
            let (mut put, mut encoded) = (vec![9], vec![9]);
            template.put(&mut put, 0x3132_3334, 0x4142_4344, &outcome);
            let (correlation, partition) = (0x3132_3334, 0x4142_4344);
            let name = topic.as_bytes();
            encode_single_response(
                &mut encoded,
                version,
                correlation,
                name,
                partition,
                &outcome,
                &[],
            );
            assert_eq!(put, encoded, "version {version}, topic of {} bytes", topic.len());
        }
    }
}
