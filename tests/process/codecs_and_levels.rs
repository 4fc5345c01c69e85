//! Every codec and every level of acknowledgement, through librdkafka and back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use crate::broker::{Broker, wait_until};
use crate::records::{config, create_topic, read_partition, watermarks};

const PARTITIONS: i32 = 4;
const RECORDS: usize = 40;
/// What librdkafka has without more features.
const CODECS: [&str; 4] = ["none", "gzip", "snappy", "lz4"];
const LEVELS: [&str; 7] = ["0", "1", "all", "2", "3", "4", "5"];

/// Keeps what the broker said of each record: partition, offset, value.
#[derive(Clone, Default)]
struct Acknowledged(Arc<Mutex<Vec<(i32, i64, String)>>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let message = result.as_ref().unwrap_or_else(|(error, _)| panic!("not delivered: {error}"));
        let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        self.0.lock().unwrap().push((message.partition(), message.offset(), value));
    }
}

/// Sends a few records to each partition and waits until all are acknowledged. Returns them in the
/// order in which they were sent.
fn send(
    bootstrap: &str,
    topic: &str,
    settings: &[(&str, &str)],
    label: &str,
) -> Vec<(i32, i64, String)> {
    let acknowledged = Acknowledged::default();
    let mut config = config(bootstrap);
    config.set("linger.ms", "5");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    let producer: ThreadedProducer<Acknowledged> =
        config.create_with_context(acknowledged.clone()).unwrap();
    for number in 0..RECORDS {
        for partition in 0..PARTITIONS {
            // Some compress well, some hardly, some not at all.
            let value = format!("{label}/{partition}/{number}/{}", "so long ".repeat(number * 5));
            let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let mut acknowledged = std::mem::take(&mut *acknowledged.0.lock().unwrap());
    // They are told in two threads, the producer's own and this one.
    let number = |value: &str| value.split('/').nth(2).and_then(|it| it.parse::<usize>().ok());
    acknowledged.sort_by_key(|(_, _, value)| number(value).expect("it has a number"));
    acknowledged
}

#[test]
fn every_codec_at_every_level_comes_back_as_it_was_sent() {
    let broker = Broker::start(2, &["--segment-bytes", "32MiB"]);
    let bootstrap = broker.address();
    create_topic(&bootstrap, "all", PARTITIONS);
    let mut expected = vec![Vec::new(); PARTITIONS as usize];
    let mut rounds = 0;
    let mut plans = Vec::new();
    for codec in CODECS {
        for level in LEVELS {
            plans.push(vec![("compression.codec", codec), ("request.required.acks", level)]);
        }
        let idempotent =
            vec![("compression.codec", codec), ("acks", "all"), ("enable.idempotence", "true")];
        plans.push(idempotent);
    }
    for settings in plans {
        let label = format!("{settings:?}");
        let acknowledged = send(&bootstrap, "all", &settings, &label);
        rounds += 1;
        let end = (rounds * RECORDS) as i64;
        assert_eq!(acknowledged.len(), RECORDS * PARTITIONS as usize, "{label}");
        for (partition, offset, value) in acknowledged {
            let expected: &mut Vec<String> = &mut expected[partition as usize];
            // Without an answer there is no offset to be told.
            if !label.contains("\"0\"") {
                assert_eq!(offset, expected.len() as i64, "{label}");
            }
            expected.push(value);
        }
        // Nobody says when records arrive that need no acknowledgement, or one before the disk.
        wait_until(&label, Duration::from_secs(20), || {
            (0..PARTITIONS).all(|partition| watermarks(&bootstrap, "all", partition) == (0, end))
        });
    }
    for (partition, expected) in (0..).zip(expected) {
        let read = read_partition(&bootstrap, "all", partition);
        let offsets: Vec<i64> = read.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, (0..expected.len() as i64).collect::<Vec<_>>());
        assert!(read.into_iter().map(|(_, value)| value).eq(expected), "partition {partition}");
    }
}

#[test]
fn a_partition_lives_on_one_shard_and_the_other_says_so() {
    let broker = Broker::start(2, &["--segment-bytes", "32MiB"]);
    create_topic(&broker.address(), "placed", PARTITIONS);
    let mut served = Vec::new();
    for shard in 0..2 {
        let mut client = crate::raw::RawClient::connect(&broker.shard_address(shard));
        for partition in 0..PARTITIONS {
            let (error, _) = client.produce("placed", partition, crate::raw::one_record(10));
            // 6 is NOT_LEADER_OR_FOLLOWER.
            assert!(error == 0 || error == 6, "{error}");
            if error == 0 {
                served.push(partition);
            }
        }
    }
    served.sort_unstable();
    assert_eq!(served, (0..PARTITIONS).collect::<Vec<_>>());
}
