//! Valid inputs to begin from.

use std::io::Write;

use hutong::kafka::api::APIS;
use hutong::kafka::record_batch::{
    BATCH_HEADER_BYTES, NewRecord, Producer, build_batch, build_timed_batch,
};
use kafka_protocol::messages;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::protocol::{Encodable, StrBytes};

/// A request of each API in each of its versions, as the target takes them: the API's place in
/// the table, the version's place in its range, the body.
pub fn requests() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    macro_rules! seed {
        ($($key:literal $request:expr,)*) => {$( add(&mut seeds, $key, &$request); )*};
    }
    seed! {
        0 produce(),
        1 fetch(),
        2 list_offsets(),
        3 messages::MetadataRequest::default(),
        10 messages::FindCoordinatorRequest::default(),
        16 messages::ListGroupsRequest::default(),
        18 messages::ApiVersionsRequest::default(),
        19 create_topics(),
        20 messages::DeleteTopicsRequest::default(),
        21 messages::DeleteRecordsRequest::default(),
        22 messages::InitProducerIdRequest::default(),
        23 messages::OffsetForLeaderEpochRequest::default(),
        32 messages::DescribeConfigsRequest::default(),
        33 messages::AlterConfigsRequest::default(),
        35 messages::DescribeLogDirsRequest::default(),
        37 messages::CreatePartitionsRequest::default(),
        44 messages::IncrementalAlterConfigsRequest::default(),
        55 messages::DescribeQuorumRequest::default(),
        60 messages::DescribeClusterRequest::default(),
        75 messages::DescribeTopicPartitionsRequest::default(),
    }
    assert!(seeds.len() > APIS.len());
    seeds
}

fn add(seeds: &mut Vec<Vec<u8>>, key: i16, request: &impl Encodable) {
    // APIs that this broker doesn't speak yet have no seeds.
    let Some(place) = APIS.iter().position(|api| api.key == key) else { return };
    let api = &APIS[place];
    for version in api.min..=api.max {
        let mut seed = vec![place as u8, (version - api.min) as u8];
        // Some fields don't exist in all versions; those seeds are left out.
        if request.encode(&mut seed, version).is_ok() {
            seeds.push(seed);
        }
    }
}

fn name() -> messages::TopicName {
    messages::TopicName(StrBytes::from_static_str("orders"))
}

fn produce() -> messages::ProduceRequest {
    let batch = build_batch(&[(Some(b"key"), b"value"), (None, b"x")], 1000, Producer::NONE);
    let partition = |index| {
        PartitionProduceData::default().with_index(index).with_records(Some(batch.clone().into()))
    };
    let topic = TopicProduceData::default()
        .with_name(name())
        .with_partition_data(vec![partition(0), partition(7)]);
    messages::ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic])
}

fn fetch() -> messages::FetchRequest {
    let partition = FetchPartition::default().with_fetch_offset(9).with_partition_max_bytes(1000);
    let topic = FetchTopic::default().with_topic(name()).with_partitions(vec![partition]);
    messages::FetchRequest::default().with_max_bytes(100_000).with_topics(vec![topic])
}

fn list_offsets() -> messages::ListOffsetsRequest {
    let partition = ListOffsetsPartition::default().with_timestamp(-3);
    let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![partition]);
    messages::ListOffsetsRequest::default().with_topics(vec![topic])
}

fn create_topics() -> messages::CreateTopicsRequest {
    let config = CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str("retention.ms"))
        .with_value(Some(StrBytes::from_static_str("1000")));
    let topic = CreatableTopic::default()
        .with_name(name())
        .with_num_partitions(3)
        .with_replication_factor(1)
        .with_configs(vec![config]);
    messages::CreateTopicsRequest::default().with_topics(vec![topic])
}

/// Records compressed by each codec, behind the codec and their number.
pub fn records() -> Vec<Vec<u8>> {
    let noise: Vec<u8> = (0..600u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 19) as u8).collect();
    let record = |value, timestamp_delta_ms| NewRecord { key: None, value, timestamp_delta_ms };
    let records = [
        record(Some(&b"again and again and again and again and again"[..]), 0),
        record(Some(&noise[..]), 500),
        record(Some(&b"again and again and again and again and again"[..]), 1000),
        record(None, 700),
    ];
    let batch = build_timed_batch(&records, 1000, Producer::NONE);
    let plain = &batch[BATCH_HEADER_BYTES..];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(plain).unwrap();
    let raw_snappy = snap::raw::Encoder::new().compress_vec(plain).unwrap();
    let mut framed_snappy = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    framed_snappy.extend((raw_snappy.len() as u32).to_be_bytes());
    framed_snappy.extend(&raw_snappy);
    let linked = lz4_flex::frame::FrameInfo::new()
        .block_mode(lz4_flex::frame::BlockMode::Linked)
        .content_checksum(true);
    let mut lz4 = lz4_flex::frame::FrameEncoder::with_frame_info(linked, Vec::new());
    lz4.write_all(plain).unwrap();
    let zstd = zstd::encode_all(plain, 1).unwrap();
    let compressed = [
        (0, plain.to_vec()),
        (1, gzip.finish().unwrap()),
        (2, raw_snappy),
        (2, framed_snappy),
        (3, lz4.finish().unwrap()),
        (4, zstd),
    ];
    let seed = |(codec, bytes): (u8, Vec<u8>)| [&[codec, records.len() as u8], &bytes[..]].concat();
    compressed.into_iter().map(seed).collect()
}
