//! Every version of every API that is offered gets an answer that can be encoded in that version.
//!
//! The codec refuses to encode a field that a version doesn't have. Which fields those are is easy
//! to overlook, and then just the clients that speak that version lose their connection.

mod common;

use common::{Broker, request_frame};
use hutong::kafka::api::APIS;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic(name: &'static str) -> TopicName {
    TopicName(text(name))
}

/// A request that asks for something there is and something there isn't, in one version.
fn body(key: i16, version: i16, id: Uuid) -> Option<Vec<u8>> {
    macro_rules! encode {
        ($request:expr) => {
            Some(request_frame(key, version, &$request))
        };
    }
    match key {
        1 => {
            use fetch_request::{FetchPartition, FetchTopic};
            let mut wanted = FetchTopic::default()
                .with_partitions(vec![FetchPartition::default().with_partition_max_bytes(1000)]);
            if version >= 13 {
                wanted.topic_id = id;
            } else {
                wanted.topic = topic("there");
            }
            encode!(FetchRequest::default().with_max_bytes(1000).with_topics(vec![wanted]))
        }
        2 => {
            use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
            let partition = ListOffsetsPartition::default().with_timestamp(-1);
            let topics = ["there", "not-there"].map(|name| {
                ListOffsetsTopic::default()
                    .with_name(topic(name))
                    .with_partitions(vec![partition.clone()])
            });
            encode!(ListOffsetsRequest::default().with_topics(topics.to_vec()))
        }
        3 => {
            use metadata_request::MetadataRequestTopic;
            let topics = ["there", "not-there"]
                .map(|name| MetadataRequestTopic::default().with_name(Some(topic(name))));
            let mut request = MetadataRequest::default().with_topics(Some(topics.to_vec()));
            request.allow_auto_topic_creation = version < 4;
            encode!(request.with_allow_auto_topic_creation(true))
        }
        10 => {
            let request = FindCoordinatorRequest::default();
            if version >= 4 {
                encode!(request.with_coordinator_keys(vec![text("group")]))
            } else {
                encode!(request.with_key(text("group")))
            }
        }
        8 | 9 if version >= 10 => Some(offsets_by_id(key, version, id)),
        8 | 9 | 11..=15 | 42 | 47 => group_body(key, version),
        16 => encode!(ListGroupsRequest::default()),
        18 => {
            let request = ApiVersionsRequest::default();
            if version >= 3 {
                encode!(
                    request
                        .with_client_software_name(text("test"))
                        .with_client_software_version(text("1"))
                )
            } else {
                encode!(request)
            }
        }
        19 => {
            use create_topics_request::CreatableTopic;
            let topics = ["there", "not valid!"].map(|name| {
                CreatableTopic::default()
                    .with_name(topic(name))
                    .with_num_partitions(1)
                    .with_replication_factor(1)
            });
            encode!(
                CreateTopicsRequest::default().with_topics(topics.to_vec()).with_timeout_ms(1000)
            )
        }
        20 => {
            let request = DeleteTopicsRequest::default().with_timeout_ms(1000);
            if version >= 6 {
                use delete_topics_request::DeleteTopicState;
                let state = DeleteTopicState::default().with_name(Some(topic("not-there")));
                let by_id = DeleteTopicState::default().with_topic_id(Uuid::from_u128(7));
                encode!(request.with_topics(vec![state, by_id]))
            } else {
                encode!(request.with_topic_names(vec![topic("not-there")]))
            }
        }
        21 => {
            use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
            let partition = DeleteRecordsPartition::default().with_offset(-1);
            let wanted = DeleteRecordsTopic::default()
                .with_name(topic("there"))
                .with_partitions(vec![partition]);
            encode!(DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1000))
        }
        22 => encode!(InitProducerIdRequest::default()),
        23 => {
            use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
            let topics = ["there", "not-there"].map(|name| {
                OffsetForLeaderTopic::default()
                    .with_topic(topic(name))
                    .with_partitions(vec![OffsetForLeaderPartition::default()])
            });
            encode!(OffsetForLeaderEpochRequest::default().with_topics(topics.to_vec()))
        }
        32 => {
            use describe_configs_request::DescribeConfigsResource;
            let resources =
                [(2, "there"), (2, "not-there"), (4, "0"), (9, "x")].map(|(kind, name)| {
                    DescribeConfigsResource::default()
                        .with_resource_type(kind)
                        .with_resource_name(text(name))
                        .with_configuration_keys(None)
                });
            let mut request = DescribeConfigsRequest::default().with_resources(resources.to_vec());
            request.include_synonyms = true;
            request.include_documentation = version >= 3;
            encode!(request)
        }
        33 => {
            use alter_configs_request::AlterConfigsResource;
            let resource = AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("there"));
            encode!(AlterConfigsRequest::default().with_resources(vec![resource]))
        }
        35 => encode!(DescribeLogDirsRequest::default().with_topics(None)),
        37 => {
            use create_partitions_request::CreatePartitionsTopic;
            let wanted = CreatePartitionsTopic::default()
                .with_name(topic("there"))
                .with_count(1)
                .with_assignments(None);
            encode!(
                CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1000)
            )
        }
        44 => {
            use incremental_alter_configs_request::AlterConfigsResource;
            let resource = AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("there"));
            encode!(IncrementalAlterConfigsRequest::default().with_resources(vec![resource]))
        }
        55 => {
            use describe_quorum_request::{PartitionData, TopicData};
            let partitions = [0, 1000].map(|at| PartitionData::default().with_partition_index(at));
            let topics = ["__cluster_metadata", "not-there"].map(|name| {
                TopicData::default()
                    .with_topic_name(topic(name))
                    .with_partitions(partitions.to_vec())
            });
            encode!(DescribeQuorumRequest::default().with_topics(topics.to_vec()))
        }
        60 => {
            let mut request = DescribeClusterRequest::default();
            request.include_fenced_brokers = version >= 2;
            encode!(request)
        }
        68 | 69 => consumer_body(key, version),
        75 => {
            use describe_topic_partitions_request::TopicRequest;
            let topics =
                ["there", "not-there"].map(|name| TopicRequest::default().with_name(topic(name)));
            encode!(DescribeTopicPartitionsRequest::default().with_topics(topics.to_vec()))
        }
        _ => None,
    }
}

/// The protocol of KIP-848: a member with a name of its own joins in each version.
fn consumer_body(key: i16, version: i16) -> Option<Vec<u8>> {
    if key == 69 {
        let names = ["group", "new-0", "no-group"].map(|name| GroupId(text(name)));
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(names.to_vec());
        return Some(request_frame(key, version, &request));
    }
    let mut request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(format!("new-{version}"))))
        .with_rebalance_timeout_ms(1000)
        .with_subscribed_topic_names(Some(vec![topic("there")]))
        .with_topic_partitions(Some(Vec::new()));
    if version >= 1 {
        request.member_id = text("member");
        request.subscribed_topic_regex = Some(text("t.*"));
    }
    Some(request_frame(key, version, &request))
}

/// OffsetCommit and OffsetFetch as the codec doesn't know them yet: partition 0 of a topic that is
/// there, and of one that isn't.
fn offsets_by_id(key: i16, version: i16, id: Uuid) -> Vec<u8> {
    let mut body: Vec<u8> = Vec::new();
    let ids = [id, Uuid::from_u128(7)];
    if key == 8 {
        body.extend(b"\x06group\xff\xff\xff\xff\x01\0\x03");
        for id in ids {
            body.extend(id.as_bytes());
            body.extend(b"\x02\0\0\0\0\0\0\0\0\0\0\0\x2a\xff\xff\xff\xff\x01\0\0");
        }
        body.extend(b"\0");
    } else {
        body.extend(b"\x03\x06group\0\xff\xff\xff\xff\x03");
        for id in ids {
            body.extend(id.as_bytes());
            body.extend(b"\x02\0\0\0\0\0");
        }
        body.extend(b"\0\x06group\0\xff\xff\xff\xff\0\0\0\0");
    }
    let header = RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_client_id(Some(text("test")));
    let mut frame = vec![0; 4];
    header.encode(&mut frame, 2).expect("the header fits");
    frame.extend(body);
    let bytes = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&bytes.to_be_bytes());
    frame
}

/// The same for what is about consumer groups: one that has committed, and one that isn't there.
fn group_body(key: i16, version: i16) -> Option<Vec<u8>> {
    macro_rules! encode {
        ($request:expr) => {
            Some(request_frame(key, version, &$request))
        };
    }
    let names = || ["group", "no-group"].map(|name| GroupId(text(name))).to_vec();
    match key {
        8 => {
            use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
            let topics = ["there", "not-there"].map(|name| {
                OffsetCommitRequestTopic::default()
                    .with_name(topic(name))
                    .with_partitions(vec![OffsetCommitRequestPartition::default()])
            });
            encode!(
                OffsetCommitRequest::default()
                    .with_group_id(GroupId(text("group")))
                    .with_generation_id_or_member_epoch(-1)
                    .with_topics(topics.to_vec())
            )
        }
        9 => encode!(offset_fetch(version)),
        11 => {
            use join_group_request::JoinGroupRequestProtocol;
            let mut request = JoinGroupRequest::default()
                .with_group_id(GroupId(StrBytes::from_string(format!("joined-{version}"))))
                .with_session_timeout_ms(10_000)
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![JoinGroupRequestProtocol::default().with_name(text("range"))]);
            // Static members needn't be given an id first.
            request.group_instance_id = (version >= 5).then(|| text("instance"));
            encode!(request)
        }
        12 => encode!(HeartbeatRequest::default().with_group_id(GroupId(text("group")))),
        13 => {
            use leave_group_request::MemberIdentity;
            let request = LeaveGroupRequest::default().with_group_id(GroupId(text("group")));
            let member = MemberIdentity::default().with_member_id(text("nobody"));
            if version >= 3 {
                encode!(request.with_members(vec![member]))
            } else {
                encode!(request.with_member_id(text("nobody")))
            }
        }
        14 => encode!(SyncGroupRequest::default().with_group_id(GroupId(text("group")))),
        15 => encode!(DescribeGroupsRequest::default().with_groups(names())),
        42 => encode!(DeleteGroupsRequest::default().with_groups_names(names())),
        47 => {
            use offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
            let topics = ["there", "not-there"].map(|name| {
                OffsetDeleteRequestTopic::default()
                    .with_name(topic(name))
                    .with_partitions(vec![OffsetDeleteRequestPartition::default()])
            });
            encode!(
                OffsetDeleteRequest::default()
                    .with_group_id(GroupId(text("group")))
                    .with_topics(topics.to_vec())
            )
        }
        _ => None,
    }
}

fn offset_fetch(version: i16) -> OffsetFetchRequest {
    use offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    };
    let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("group")));
    if version < 8 {
        let wanted = OffsetFetchRequestTopic::default()
            .with_name(topic("there"))
            .with_partition_indexes(vec![0, 7]);
        return OffsetFetchRequest::default()
            .with_group_id(group.group_id)
            .with_topics(Some(vec![wanted]));
    }
    let wanted = OffsetFetchRequestTopics::default()
        .with_name(topic("there"))
        .with_partition_indexes(vec![0, 7]);
    let groups = vec![group.clone().with_topics(Some(vec![wanted])), group.with_topics(None)];
    // Nothing of the older versions may be set, not even to null's opposite.
    OffsetFetchRequest::default().with_groups(groups).with_topics(Some(Vec::new()))
}

#[test]
fn every_version_of_every_api_is_answered() {
    let mut broker = Broker::start();
    broker.create_topic("there", 1);
    let id = broker.topic_id("there");
    for api in APIS.iter().filter(|api| api.key != 0) {
        for version in api.accepted_min..=api.max {
            let frame = body(api.key, version, Uuid::from_bytes(id))
                .unwrap_or_else(|| panic!("{} is offered and not tried here", api.name));
            let connection = broker.connect();
            // The first member of a group waits three seconds for others.
            let answer = broker.ask(connection, frame).or_else(|| broker.wait_for(connection, 5));
            assert!(answer.is_some(), "{} version {version} got no answer", api.name);
        }
    }
}
