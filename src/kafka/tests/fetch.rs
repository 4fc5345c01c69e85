//! Fetch responses against the crate's encoder, records spliced in.

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{
    FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint as CrateEndpoint, PartitionData,
};
use kafka_protocol::messages::{FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::super::api::encode_response;
use super::super::error_code::ErrorCode;
use super::super::fetch::{FetchFrame, FetchPartitionHeader, FetchResponseEncoder};
use super::super::header::RequestHeader;
use super::super::leader_hint::NodeEndpoint;
use super::frame;

const ID: [u8; 16] = [3; 16];
const ENDPOINT: NodeEndpoint<'static> =
    NodeEndpoint { node_id: 1001, host: "there", port: 9093, rack: Some("node1") };

/// What the connection will do: the frame's bytes with the records in their places.
fn splice(frame: &FetchFrame, records: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    for splice in &frame.splices {
        out.extend_from_slice(&frame.bytes[at..splice.at]);
        assert_eq!(records[splice.partition_index].len(), splice.bytes);
        out.extend_from_slice(records[splice.partition_index]);
        at = splice.at;
    }
    out.extend_from_slice(&frame.bytes[at..]);
    assert_eq!(out.len(), frame.wire_bytes());
    out
}

fn partitions() -> [(FetchPartitionHeader, &'static [u8]); 4] {
    let full = |partition, records: &'static [u8]| {
        let header = FetchPartitionHeader {
            partition,
            error: ErrorCode::NONE,
            high_watermark: 1000,
            last_stable_offset: 999,
            log_start_offset: 5,
            current_leader: None,
            records_bytes: records.len(),
        };
        (header, records)
    };
    let mut moved = FetchPartitionHeader::failed(2, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    moved.current_leader = Some((1001, 4));
    [full(0, b"records of partition 0"), full(1, b""), (moved, b""), full(3, &[7; 300])]
}

fn crate_partition(
    version: i16,
    header: &FetchPartitionHeader,
    records: &'static [u8],
) -> PartitionData {
    let leader = header.current_leader.filter(|_| version >= 12);
    PartitionData::default()
        .with_partition_index(header.partition)
        .with_error_code(header.error.code())
        .with_high_watermark(header.high_watermark)
        .with_last_stable_offset(header.last_stable_offset)
        .with_log_start_offset(header.log_start_offset)
        .with_aborted_transactions(None)
        .with_preferred_read_replica((-1).into())
        .with_records(Some(Bytes::from_static(records)))
        .with_current_leader(leader.map_or_else(Default::default, |(id, epoch)| {
            LeaderIdAndEpoch::default().with_leader_id(id.into()).with_leader_epoch(epoch)
        }))
}

fn by_crate(version: i16, topic_sizes: &[usize]) -> Vec<u8> {
    let mut left = partitions().into_iter();
    let topics = topic_sizes.iter().map(|size| {
        let data = left.by_ref().take(*size);
        FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str("orders")))
            .with_topic_id(Uuid::from_bytes(ID))
            .with_partitions(
                data.map(|(h, records)| crate_partition(version, &h, records)).collect(),
            )
    });
    let mut response = FetchResponse::default()
        .with_throttle_time_ms(3)
        .with_error_code(ErrorCode::FETCH_SESSION_ID_NOT_FOUND.code())
        .with_session_id(if version >= 7 { 123 } else { 0 })
        .with_responses(topics.collect());
    let hinted = topic_sizes.iter().sum::<usize>() > 2;
    if version >= 16 && hinted {
        let endpoint = CrateEndpoint::default()
            .with_node_id(ENDPOINT.node_id.into())
            .with_host(StrBytes::from_static_str(ENDPOINT.host))
            .with_port(ENDPOINT.port)
            .with_rack(ENDPOINT.rack.map(StrBytes::from_static_str));
        response = response.with_node_endpoints(vec![endpoint]);
    }
    let frame = frame(1, version, &[]);
    let mut out = Vec::new();
    let header = RequestHeader::decode(&frame).expect("a header");
    encode_response(&mut out, &header, &response).expect("encodable");
    out
}

#[test]
fn spliced_responses_equal_the_crates() {
    for version in 4..=16 {
        for topic_sizes in [&[][..], &[0], &[1], &[2], &[1, 3], &[4, 0], &[1, 1, 1, 1]] {
            let error = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
            let mut encoder =
                FetchResponseEncoder::begin(version, 77, 3, error, 123, topic_sizes.len());
            let mut left = partitions().into_iter();
            for size in topic_sizes {
                encoder.topic("orders", ID, *size);
                left.by_ref().take(*size).for_each(|(header, _)| encoder.partition(&header));
            }
            let frame = encoder.finish(&[ENDPOINT]);
            let records = partitions().map(|(_, records)| records);
            let spliced = splice(&frame, &records);
            assert_eq!(spliced, by_crate(version, topic_sizes), "v{version} {topic_sizes:?}");
        }
    }
}
