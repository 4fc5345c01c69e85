//! Consumer groups at the boundary of a shard: what Kafka clients of any version are answered.

mod common;

use common::{Broker, request_frame};
use hutong::kafka::error_code::ErrorCode;
use hutong::model::ids::ConnectionId;
use hutong::shard::input::Input;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request, StrBytes};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(id: &str) -> GroupId {
    GroupId(text(id))
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Sends a request and decodes its answer.
fn ask<R: Request>(
    broker: &mut Broker,
    at: ConnectionId,
    version: i16,
    request: &R,
) -> R::Response {
    let frame = request_frame(R::KEY, version, request);
    let answer = broker.ask(at, frame).expect("an answer");
    decode::<R>(answer, version)
}

fn decode<R: Request>(mut answer: bytes::Bytes, version: i16) -> R::Response {
    use kafka_protocol::protocol::{Decodable, HeaderVersion};
    let flexible = <R::Response as HeaderVersion>::header_version(version) >= 1;
    let mut body = answer.split_off(8 + usize::from(flexible));
    R::Response::decode(&mut body, version).expect("it can be decoded")
}

fn commit(broker: &mut Broker, name: &str, offset: i64, metadata: &str) -> i16 {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text(metadata)));
    let request = OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            OffsetCommitRequestTopic::default()
                .with_name(topic(name))
                .with_partitions(vec![partition]),
        ]);
    let at = broker.connect();
    ask(broker, at, 8, &request).topics[0].partitions[0].error_code
}

/// Offset, metadata and error of partition 0.
fn committed(broker: &mut Broker, name: &str) -> (i64, String, i16) {
    let wanted =
        OffsetFetchRequestTopics::default().with_name(topic(name)).with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default().with_topics(Some(vec![])).with_groups(vec![
        OffsetFetchRequestGroup::default()
            .with_group_id(group("g"))
            .with_topics(Some(vec![wanted])),
    ]);
    let at = broker.connect();
    let answer = ask(broker, at, 8, &request);
    let partition = &answer.groups[0].topics[0].partitions[0];
    let metadata = partition.metadata.as_ref().map(ToString::to_string).unwrap_or_default();
    (partition.committed_offset, metadata, partition.error_code)
}

fn join(name: &str, member: &str) -> JoinGroupRequest {
    let subscription = b"\0\0\0\0\0\x01\0\x05there\xff\xff\xff\xff";
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(20_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![
            JoinGroupRequestProtocol::default()
                .with_name(text("range"))
                .with_metadata(bytes::Bytes::from_static(subscription)),
        ])
}

/// A group of one member, with its id.
fn group_of_one(broker: &mut Broker) -> String {
    let at = broker.connect();
    // The first rebalance of an empty group waits for others.
    broker.shard.handle(
        broker.now,
        Input::Frames { connection: at, frames: request_frame(11, 2, &join("g", "")).into() },
    );
    let joined = broker.wait_for(at, 5).expect("it joins after three seconds");
    let joined = decode::<JoinGroupRequest>(joined, 2);
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    let member = joined.member_id.to_string();
    let sync = SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(1)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![
            SyncGroupRequestAssignment::default()
                .with_member_id(joined.member_id)
                .with_assignment(bytes::Bytes::from_static(b"all")),
        ]);
    let synced = ask(broker, at, 2, &sync);
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));
    member
}

fn code(code: ErrorCode) -> i16 {
    code.code()
}

#[test]
fn offsets_are_kept_and_told_with_their_metadata() {
    let mut broker = Broker::start();
    broker.create_topic("there", 1);
    assert_eq!(committed(&mut broker, "there"), (-1, String::new(), 0));
    assert_eq!(commit(&mut broker, "there", 7, "where I was"), 0);
    assert_eq!(committed(&mut broker, "there"), (7, "where I was".to_owned(), 0));
    assert_eq!(committed(&mut broker, "not-there"), (-1, String::new(), 0));
}

#[test]
fn offsets_of_what_is_not_there_and_too_much_metadata_are_refused() {
    let mut broker = Broker::start();
    broker.create_topic("there", 1);
    let unknown = code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(commit(&mut broker, "not-there", 7, ""), unknown);
    let too_large = code(ErrorCode::OFFSET_METADATA_TOO_LARGE);
    assert_eq!(commit(&mut broker, "there", 7, &"x".repeat(4097)), too_large);
    assert_eq!(commit(&mut broker, "there", 7, &"x".repeat(4096)), 0);
}

#[test]
fn a_topic_made_again_under_its_name_has_no_offsets() {
    let mut broker = Broker::start();
    broker.create_topic("there", 1);
    assert_eq!(commit(&mut broker, "there", 7, ""), 0);
    let at = broker.connect();
    let delete =
        DeleteTopicsRequest::default().with_topic_names(vec![topic("there")]).with_timeout_ms(1000);
    assert_eq!(ask(&mut broker, at, 5, &delete).responses[0].error_code, 0);
    broker.create_topic("there", 1);
    assert_eq!(committed(&mut broker, "there"), (-1, String::new(), 0));
}

#[test]
fn a_group_with_members_guards_its_offsets_and_itself() {
    let mut broker = Broker::start();
    broker.create_topic("there", 1);
    broker.create_topic("other", 1);
    let member = group_of_one(&mut broker);
    assert_eq!(commit(&mut broker, "there", 7, ""), code(ErrorCode::UNKNOWN_MEMBER_ID));
    let at = broker.connect();
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group("g"), group("x")]);
    let codes: Vec<i16> =
        ask(&mut broker, at, 2, &delete).results.iter().map(|result| result.error_code).collect();
    let expected = [ErrorCode::NON_EMPTY_GROUP, ErrorCode::GROUP_ID_NOT_FOUND].map(code);
    assert_eq!(codes, expected);
    let topics = ["there", "other", "no"].map(|name| {
        OffsetDeleteRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![OffsetDeleteRequestPartition::default()])
    });
    let delete =
        OffsetDeleteRequest::default().with_group_id(group("g")).with_topics(topics.to_vec());
    let answer = ask(&mut broker, at, 0, &delete);
    let codes: Vec<i16> =
        answer.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let expected = [ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC, ErrorCode::NONE, unknown].map(code);
    assert_eq!((answer.error_code, codes), (0, expected.to_vec()));

    let leave =
        LeaveGroupRequest::default().with_group_id(group("g")).with_member_id(text(&member));
    assert_eq!(ask(&mut broker, at, 1, &leave).error_code, 0);
    assert_eq!(commit(&mut broker, "there", 7, ""), 0);
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group("g")]);
    assert_eq!(ask(&mut broker, at, 2, &delete).results[0].error_code, 0);
    assert_eq!(committed(&mut broker, "there"), (-1, String::new(), 0));
}

#[test]
fn groups_are_described_and_listed_as_each_version_has_it() {
    let mut broker = Broker::start();
    broker.create_topic("there", 1);
    let member = group_of_one(&mut broker);
    let at = broker.connect();
    let request = DescribeGroupsRequest::default().with_groups(vec![group("g"), group("x")]);
    let groups = ask(&mut broker, at, 6, &request).groups;
    assert_eq!((groups[0].error_code, groups[0].group_state.as_str()), (0, "Stable"));
    assert_eq!(groups[0].protocol_data.as_str(), "range");
    assert_eq!(groups[0].members[0].member_id.as_str(), member);
    assert_eq!(groups[0].members[0].client_id.as_str(), "test");
    assert_eq!(groups[0].members[0].client_host.as_str(), "/192.0.2.7");
    assert_eq!(&groups[0].members[0].member_assignment[..], b"all");
    assert_eq!(groups[1].error_code, code(ErrorCode::GROUP_ID_NOT_FOUND));
    let groups = ask(&mut broker, at, 5, &request).groups;
    assert_eq!((groups[1].error_code, groups[1].group_state.as_str()), (0, "Dead"));

    let listed = |broker: &mut Broker, states: &[&str], types: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|t| text(t)).collect::<Vec<_>>();
        let request = ListGroupsRequest::default()
            .with_states_filter(texts(states))
            .with_types_filter(texts(types));
        let groups = ask(broker, at, 5, &request).groups;
        let told =
            groups.iter().map(|g| format!("{} {} {}", g.group_id.0, g.group_state, g.group_type));
        told.collect::<Vec<_>>()
    };
    assert_eq!(listed(&mut broker, &[], &[]), ["g Stable classic"]);
    assert_eq!(listed(&mut broker, &["stable"], &["Classic"]), ["g Stable classic"]);
    assert!(listed(&mut broker, &["empty"], &[]).is_empty());
    assert!(listed(&mut broker, &[], &["consumer"]).is_empty());
}

#[test]
fn groups_without_a_name_and_with_a_very_long_one_are_refused() {
    let mut broker = Broker::start();
    let at = broker.connect();
    let refused = code(ErrorCode::INVALID_GROUP_ID);
    let long = "g".repeat(1025);
    for name in ["", long.as_str()] {
        assert_eq!(ask(&mut broker, at, 9, &join(name, "")).error_code, refused);
        let beat = HeartbeatRequest::default().with_group_id(group(name));
        assert_eq!(ask(&mut broker, at, 4, &beat).error_code, refused);
    }
}

/// As in Kafka, whose consumers had no group once: what they committed can be looked at, and go.
#[test]
fn the_group_without_a_name_has_offsets_is_described_and_deleted() {
    let mut broker = Broker::start();
    broker.create_topic("there", 1);
    let at = broker.connect();
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(7);
    let topics = OffsetCommitRequestTopic::default()
        .with_name(topic("there"))
        .with_partitions(vec![partition]);
    let commit = OffsetCommitRequest::default()
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topics]);
    assert_eq!(ask(&mut broker, at, 8, &commit).topics[0].partitions[0].error_code, 0);
    let describe = DescribeGroupsRequest::default().with_groups(vec![group("")]);
    let described = &ask(&mut broker, at, 6, &describe).groups[0];
    assert_eq!((described.error_code, described.group_state.as_str()), (0, "Empty"));
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group("")]);
    assert_eq!(ask(&mut broker, at, 2, &delete).results[0].error_code, 0);
    let described = &ask(&mut broker, at, 6, &describe).groups[0];
    assert_eq!(described.error_code, code(ErrorCode::GROUP_ID_NOT_FOUND));
}

/// The version in which OffsetCommit came to know groups that aren't there.
#[test]
fn a_member_of_no_group_commits_nothing() {
    let mut broker = Broker::start();
    broker.create_topic("there", 1);
    let at = broker.connect();
    let topics = OffsetCommitRequestTopic::default()
        .with_name(topic("there"))
        .with_partitions(vec![OffsetCommitRequestPartition::default()]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(3)
        .with_member_id(text("somebody"))
        .with_topics(vec![topics]);
    for (version, expected) in
        [(8, ErrorCode::ILLEGAL_GENERATION), (9, ErrorCode::GROUP_ID_NOT_FOUND)]
    {
        let answer = ask(&mut broker, at, version, &commit);
        assert_eq!(answer.topics[0].partitions[0].error_code, code(expected), "{version}");
    }
}

#[test]
fn another_shards_group_is_refused_and_any_shard_says_where_it_is() {
    let mut broker = Broker::start_of(2);
    let at = broker.connect();
    let mut homes = std::collections::BTreeSet::new();
    for number in 0..8 {
        let id = format!("group-{number}");
        let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(&id)]);
        let found = &ask(&mut broker, at, 4, &find).coordinators[0];
        assert_eq!((found.error_code, found.port), (0, 9092 + *found.node_id));
        homes.insert(*found.node_id);
        let beat = HeartbeatRequest::default().with_group_id(group(&id));
        let expected = match *found.node_id {
            0 => ErrorCode::UNKNOWN_MEMBER_ID,
            _ => ErrorCode::NOT_COORDINATOR,
        };
        assert_eq!(ask(&mut broker, at, 4, &beat).error_code, code(expected));
    }
    assert_eq!(homes.len(), 2, "groups are spread over the shards");
}

#[test]
fn offsets_go_when_a_group_was_empty_for_long() {
    let mut broker = Broker::start();
    broker.create_topic("there", 1);
    assert_eq!(commit(&mut broker, "there", 7, ""), 0);
    let days = |broker: &mut Broker, days: i64| {
        broker.now.wallclock.0 += days * 86_400_000;
        broker.now.time = broker.now.time + std::time::Duration::from_secs(days as u64 * 86_400);
        broker.settle();
    };
    days(&mut broker, 6);
    assert_eq!(committed(&mut broker, "there").0, 7);
    days(&mut broker, 2);
    assert_eq!(committed(&mut broker, "there").0, -1);
    let at = broker.connect();
    assert!(ask(&mut broker, at, 5, &ListGroupsRequest::default()).groups.is_empty());
}

/// What a large group says, and the largest batch at the same moment: each is an entry of its own.
#[test]
fn the_state_of_a_large_group_and_a_large_batch_are_not_one_entry() {
    use hutong::kafka::record_batch::{Producer, build_batch};
    use kafka_protocol::messages::incremental_alter_configs_request::{
        AlterConfigsResource, AlterableConfig,
    };
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};

    const MEMBERS: usize = 12;
    let mut broker = Broker::start();
    broker.create_topic("there", 1);
    let config = AlterableConfig::default()
        .with_name(text("max.message.bytes"))
        .with_value(Some(text("16777216")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("there"))
        .with_configs(vec![config]);
    let alter = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let at = broker.connect();
    assert_eq!(ask(&mut broker, at, 1, &alter).responses[0].error_code, 0);

    let clients: Vec<ConnectionId> = (0..MEMBERS).map(|_| broker.connect()).collect();
    let mut request = join("g", "");
    request.protocols[0].metadata = vec![7; 680_000].into();
    for at in &clients {
        let frames = request_frame(11, 2, &request).into();
        broker.shard.handle(broker.now, Input::Frames { connection: *at, frames });
    }
    let joined: Vec<JoinGroupResponse> = clients
        .iter()
        .map(|at| decode::<JoinGroupRequest>(broker.wait_for(*at, 20).expect("it joins"), 2))
        .collect();
    let leader = joined.iter().position(|joined| joined.leader == joined.member_id);
    let leader = leader.expect("one of them leads");
    let assignments = joined.iter().map(|joined| {
        SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(vec![9; 80_000].into())
    });
    let sync = SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined[leader].generation_id)
        .with_member_id(joined[leader].member_id.clone())
        .with_assignments(assignments.collect());
    let producer = Producer { id: -1, epoch: -1, base_sequence: -1 };
    let batch = build_batch(&[(None, &vec![1; 15 << 20])], 1_700_000_000_000, producer);
    let data = PartitionProduceData::default().with_records(Some(batch.into()));
    let produce =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![
            TopicProduceData::default().with_name(topic("there")).with_partition_data(vec![data]),
        ]);
    for (at, frames) in
        [(clients[leader], request_frame(14, 2, &sync)), (at, request_frame(0, 11, &produce))]
    {
        broker.shard.handle(broker.now, Input::Frames { connection: at, frames: frames.into() });
    }
    let synced = broker.wait_for(clients[leader], 5).expect("it is assigned");
    assert_eq!(decode::<SyncGroupRequest>(synced, 2).assignment.len(), 80_000);
    let produced = broker.wait_for(at, 5).expect("it is produced");
    let partition = &decode::<ProduceRequest>(produced, 11).responses[0].partition_responses[0];
    assert_eq!((partition.error_code, partition.base_offset), (0, 0));
}
