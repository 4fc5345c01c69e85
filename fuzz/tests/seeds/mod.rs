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
        8 messages::OffsetCommitRequest::default(),
        9 messages::OffsetFetchRequest::default(),
        11 messages::JoinGroupRequest::default(),
        12 messages::HeartbeatRequest::default(),
        13 messages::LeaveGroupRequest::default(),
        14 messages::SyncGroupRequest::default(),
        15 messages::DescribeGroupsRequest::default(),
        42 messages::DeleteGroupsRequest::default(),
        47 messages::OffsetDeleteRequest::default(),
        68 heartbeat(),
        69 messages::ConsumerGroupDescribeRequest::default()
            .with_group_ids(vec![messages::GroupId(StrBytes::from_static_str("group"))]),
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

fn heartbeat() -> messages::ConsumerGroupHeartbeatRequest {
    use messages::consumer_group_heartbeat_request::TopicPartitions;
    messages::ConsumerGroupHeartbeatRequest::default()
        .with_group_id(messages::GroupId(StrBytes::from_static_str("group")))
        .with_member_id(StrBytes::from_static_str("member"))
        .with_subscribed_topic_names(Some(vec![name()]))
        .with_topic_partitions(Some(vec![TopicPartitions::default().with_partitions(vec![0, 7])]))
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

/// Records about consumer groups of both protocols, a store of them, and what consumers say.
pub fn groups() -> Vec<Vec<u8>> {
    use std::rc::Rc;

    use hutong::coordinator::modern::member::{Current, MemberState, Profile, Subscription};
    use hutong::coordinator::modern::{ModernRecord, TopicPartition};
    use hutong::coordinator::{ClassicMember, ClassicState, CommittedOffset, Record, Store};
    use hutong::model::ids::{PartitionKey, TopicId};

    let group = || "group".to_owned();
    let offset = CommittedOffset {
        offset: 7,
        leader_epoch: 1,
        metadata: "here".to_owned(),
        committed_at: 1000,
        expires_at: Some(2000),
    };
    let member = ClassicMember { id: "classic".to_owned(), ..ClassicMember::default() };
    let id: Rc<str> = Rc::from("member");
    let profile = Profile {
        instance_id: Some(Rc::from("instance")),
        rack_id: None,
        client_id: Rc::from("client"),
        client_host: Rc::from(""),
        subscription: Rc::new(Subscription::new(["b", "a"], Some("a.*"))),
        server_assignor: Some(Rc::from("range")),
        rebalance_timeout_ms: 1000,
        classic: None,
    };
    let has = |from: i32| {
        let each =
            (from..from + 3).map(|n| TopicPartition { topic: TopicId([3; 16]), partition: n });
        each.collect::<hutong::coordinator::modern::Partitions>()
    };
    let current = Current {
        epoch: 2,
        previous_epoch: 1,
        state: MemberState::UnrevokedPartitions,
        assigned: has(0),
        pending: has(4),
    };
    let records = vec![
        ModernRecord::Member { id: id.clone(), profile },
        ModernRecord::Group { epoch: 2, topics_hash: 5 },
        ModernRecord::Target { id: id.clone(), partitions: has(1) },
        ModernRecord::AssignmentEpoch { epoch: 2 },
        ModernRecord::Current { id: id.clone(), current },
    ];
    let key = PartitionKey(1);
    let state = ClassicState { generation: 3, members: vec![member], ..ClassicState::default() };
    let all = [
        Record::OffsetsCommitted { group: group(), offsets: vec![(key, offset)] },
        Record::Classic { group: group(), state },
        Record::Modern { group: group(), records },
        Record::Modern { group: group(), records: vec![ModernRecord::MemberGone { id }] },
        Record::OffsetsExpired { group: group(), offsets: vec![(key, 1)] },
        Record::OffsetsDeleted { group: group(), partitions: vec![PartitionKey(2)] },
        Record::GroupDeleted { group: "another".to_owned() },
    ];
    let (mut bytes, mut seeds) = (Vec::new(), Vec::new());
    let mut store = Store::default();
    for record in all {
        record.encode(&mut bytes);
        seeds.push(bytes.clone());
        store.apply(record);
        let mut checkpoint = Vec::new();
        store.encode(&mut checkpoint);
        seeds.push(checkpoint);
    }
    seeds.push(
        b"\0\x02\0\0\0\x01\0\x01t\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x03\0\0\0\x05".to_vec(),
    );
    seeds.push(b"\0\x01\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x03\xff\xff\xff\xff".to_vec());
    seeds
}
