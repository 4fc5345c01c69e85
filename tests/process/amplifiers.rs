//! Small requests, each well-formed, that ask for a lot of work or a large answer.

use std::time::Instant;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeLogDirsRequest, DescribeTopicPartitionsRequest,
    ListOffsetsRequest, MetadataRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};

use crate::bystander::Arena;
use crate::raw::{FETCH, create_topic, fetch, list_offsets, one_record, topic_name};

const PARTITIONS: i32 = 100;
const REPEATS: usize = 20_000;

/// Asks once. `None`: the connection was closed, which is an answer, too.
fn ask<R: Request>(arena: &Arena, what: &str, version: i16, request: &R) -> Option<R::Response> {
    let began = Instant::now();
    let answer = arena.client().try_call(version, request).ok();
    println!(
        "{what}: {} in {:?}; {} MB resident",
        if answer.is_some() { "answered" } else { "refused" },
        began.elapsed(),
        arena.broker.rss() >> 20
    );
    answer
}

#[test]
fn what_is_named_twenty_thousand_times_is_answered_once_or_refused() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    client.create_topic("t", PARTITIONS, &[]);
    for _ in 0..20 {
        assert_eq!(client.produce("t", 0, one_record(500_000)).0, 0);
    }
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name("t")));
    let request = MetadataRequest::default().with_topics(Some(vec![topic; REPEATS]));
    let answer = ask(&arena, "Metadata", 9, &request);
    assert!(answer.is_none_or(|answer| answer.topics.len() == 1));
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("t"))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource; REPEATS]);
    let answer = ask(&arena, "DescribeConfigs", 4, &request);
    assert!(answer.is_none_or(|answer| answer.results.len() == 1));
    let topic = DescribableLogDirTopic::default()
        .with_topic(topic_name("t"))
        .with_partitions((0..PARTITIONS).collect());
    let request = DescribeLogDirsRequest::default().with_topics(Some(vec![topic; REPEATS / 10]));
    ask(&arena, "DescribeLogDirs", 4, &request);
    let topic = TopicRequest::default().with_name(topic_name("t"));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![topic; REPEATS])
        .with_response_partition_limit(2000);
    ask(&arena, "DescribeTopicPartitions", 0, &request);
    let mut request = fetch("t", 0, 0, 1 << 20, 0);
    let partition = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = vec![partition; REPEATS];
    ask(&arena, "Fetch", FETCH, &request);
    let mut request: ListOffsetsRequest = list_offsets("t", 0, 1);
    let partition = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = vec![partition; REPEATS];
    ask(&arena, "ListOffsets", 4, &request);
    arena.finish("things named many times");
}

#[test]
fn a_request_that_makes_many_topics_or_partitions_is_bounded() {
    let arena = Arena::new(&[]);
    ask(&arena, "CreateTopics", 5, &create_topic("many", 100_000, &[]));
    let topics = (0..REPEATS)
        .map(|n| MetadataRequestTopic::default().with_name(Some(topic_name(&format!("auto-{n}")))));
    let request = MetadataRequest::default()
        .with_topics(Some(topics.collect()))
        .with_allow_auto_topic_creation(true);
    ask(&arena, "Metadata that creates", 9, &request);
    let request = MetadataRequest::default().with_topics(None);
    let answer = ask(&arena, "Metadata of all", 9, &request).unwrap();
    println!("{} topics are there", answer.topics.len());
    assert!(answer.topics.iter().any(|topic| topic.partitions.len() == 100_000));
    arena.finish("many topics");
}
