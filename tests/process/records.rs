//! librdkafka as tests use it: topics made, records numbered, partitions read to their end.

use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// What every client begins with.
pub fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200");
    config
}

/// Makes a topic.
pub fn create_topic(bootstrap: &str, name: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create().unwrap();
    let topics = [NewTopic::new(name, partitions, TopicReplication::Fixed(-1))];
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let created = admin.create_topics(&topics, &options);
    let results = futures_lite::future::block_on(created).unwrap();
    assert_eq!(results, vec![Ok(name.to_string())]);
}

/// A consumer of one partition, from its beginning, by assignment.
pub fn consumer(bootstrap: &str, topic: &str, partition: i32) -> BaseConsumer {
    let consumer: BaseConsumer = config(bootstrap)
        // librdkafka wants a name here; no group is joined.
        .set("group.id", "none")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .set("auto.offset.reset", "error")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    consumer
}

/// The offsets between which a partition has records.
pub fn watermarks(bootstrap: &str, topic: &str, partition: i32) -> (i64, i64) {
    let consumer = consumer(bootstrap, topic, partition);
    consumer.fetch_watermarks(topic, partition, READ_TIMEOUT).unwrap()
}

/// Everything in a partition, with its offset, up to the high watermark of this moment.
pub fn read_partition(bootstrap: &str, topic: &str, partition: i32) -> Vec<(i64, String)> {
    let consumer = consumer(bootstrap, topic, partition);
    let (_, end) = consumer.fetch_watermarks(topic, partition, READ_TIMEOUT).unwrap();
    let by = Instant::now() + READ_TIMEOUT;
    let mut read: Vec<(i64, String)> = Vec::new();
    while read.last().map_or(0, |(offset, _)| offset + 1) < end {
        assert!(Instant::now() < by, "partition {partition}: {} of {end}", read.len());
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => {
                let text = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
                read.push((message.offset(), text));
            }
            Some(Err(error)) => panic!("partition {partition}: {error}"),
            None => {}
        }
    }
    read
}
