//! Record batches, names and partitions that are wrong, each answered with its error.

use hutong::kafka::record_batch::{Producer, build_batch};
use hutong::limits::RECORD_BATCH_BYTES_DEFAULT;
use kafka_protocol::messages::{MetadataRequest, metadata_request::MetadataRequestTopic};

use crate::bystander::Arena;
use crate::raw::{Answer, PRODUCE, create_topic, frame_of, one_record, produce, topic_name};

const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const INVALID_REQUIRED_ACKS: i16 = 21;
const UNSUPPORTED_FOR_MESSAGE_FORMAT: i16 = 43;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_RECORD: i16 = 87;

/// Changes some bytes of a good batch.
fn altered(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = three_records();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    batch
}

/// The same, and the crc agrees with what is there now.
fn altered_with_crc(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = altered(at, bytes);
    let crc = hutong::kafka::crc::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn three_records() -> Vec<u8> {
    let record: (Option<&[u8]>, &[u8]) = (None, b"value");
    build_batch(&[record, record, record], 1, Producer::NONE)
}

#[test]
fn each_wrong_batch_gets_the_error_that_kafka_gives() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    client.create_topic("batches", 1, &[]);
    client.create_topic("small", 1, &[("max.message.bytes", "1000")]);
    let good = three_records();
    let two = [good.clone(), good.clone()].concat();
    let cases = [
        ("wrong crc", altered(17, &[1, 2, 3, 4]), CORRUPT_MESSAGE),
        ("a flipped bit", altered(70, &[0xee]), CORRUPT_MESSAGE),
        ("magic 0", altered(16, &[0]), UNSUPPORTED_FOR_MESSAGE_FORMAT),
        ("magic 1", altered(16, &[1]), UNSUPPORTED_FOR_MESSAGE_FORMAT),
        ("magic 3", altered(16, &[3]), INVALID_RECORD),
        ("magic -1", altered(16, &[0xff]), INVALID_RECORD),
        (
            "more records than bytes",
            altered_with_crc(57, &[0x7f, 0xff, 0xff, 0xff]),
            INVALID_RECORD,
        ),
        ("four records of three", altered_with_crc(57, &[0, 0, 0, 4]), INVALID_RECORD),
        ("no records", altered_with_crc(57, &[0, 0, 0, 0]), INVALID_RECORD),
        ("-1 records", altered_with_crc(57, &[0xff; 4]), INVALID_RECORD),
        ("last offset delta 0", altered_with_crc(23, &[0, 0, 0, 0]), INVALID_RECORD),
        (
            "last offset delta 2^31-1",
            altered_with_crc(23, &[0x7f, 0xff, 0xff, 0xff]),
            INVALID_RECORD,
        ),
        ("last offset delta -1", altered_with_crc(23, &[0xff; 4]), INVALID_RECORD),
        ("codec 7", altered_with_crc(21, &[0, 7]), UNSUPPORTED_COMPRESSION_TYPE),
        ("a control batch", altered_with_crc(21, &[0, 0x20]), INVALID_RECORD),
        ("a producer without a sequence", altered_with_crc(43, &[0; 8]), INVALID_RECORD),
        ("length 0", altered(8, &[0; 4]), CORRUPT_MESSAGE),
        ("length -1", altered(8, &[0xff; 4]), CORRUPT_MESSAGE),
        ("length 2^31-1", altered(8, &[0x7f, 0xff, 0xff, 0xff]), MESSAGE_TOO_LARGE),
        (
            "length one too many",
            altered(8, &(good.len() as u32 - 11).to_be_bytes()),
            INVALID_RECORD,
        ),
        ("half a header", good[..30].to_vec(), INVALID_RECORD),
        ("three bytes", good[..3].to_vec(), INVALID_RECORD),
        ("no bytes", Vec::new(), INVALID_RECORD),
        ("two batches", two, INVALID_RECORD),
        ("too large", one_record(RECORD_BATCH_BYTES_DEFAULT), MESSAGE_TOO_LARGE),
    ];
    for (what, batch, error) in cases {
        assert_eq!(client.produce("batches", 0, batch).0, error, "{what}");
    }
    assert_eq!(client.produce("small", 0, one_record(1000)).0, MESSAGE_TOO_LARGE);
    assert_eq!(client.produce("small", 0, one_record(800)), (0, 0));
    for acks in [6, 100, i16::MAX, -2, i16::MIN] {
        let response = client.call(PRODUCE, &produce("batches", 0, acks, good.clone()));
        let error = response.responses[0].partition_responses[0].error_code;
        assert_eq!(error, INVALID_REQUIRED_ACKS, "acks {acks}");
    }
    // Nothing of all that was appended.
    assert_eq!(client.produce("batches", 0, good), (0, 0));
    arena.finish("wrong batches");
}

#[test]
fn a_wrong_batch_that_wants_no_answer_gets_a_closed_connection() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    let wrong = altered(17, &[1, 2, 3, 4]);
    client.send(&frame_of(PRODUCE, 1, &produce("bystander", 0, 0, wrong)));
    assert_eq!(client.answer(), Answer::Closed);
    arena.finish("a wrong batch with acks=0");
}

#[test]
fn records_that_lie_inside_a_good_batch_harm_only_their_reader() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    client.create_topic("liars", 1, &[]);
    // Lengths, deltas and counts of single records: nothing a broker looks at when it appends.
    for at in 61..three_records().len() {
        let batch = altered_with_crc(at, &[0xff]);
        assert_eq!(client.produce("liars", 0, batch).0, 0, "byte {at}");
    }
    // Looking for a time does look into them.
    for timestamp in [0, 1, 2, i64::MAX, -3] {
        let _ = client.offset("liars", 0, timestamp);
    }
    let (error, ..) = client.fetch("liars", 0, 0);
    assert_eq!(error, 0);
    // The same in batches that say they are compressed, and aren't.
    for codec in 1..=4 {
        let batch = altered_with_crc(21, &[0, codec]);
        assert_eq!(client.produce("liars", 0, batch).0, 0, "codec {codec}");
        let _ = client.offset("liars", 0, 1);
        let _ = client.offset("liars", 0, -3);
    }
    arena.finish("records that lie");
}

#[test]
fn names_and_partitions_that_cannot_be_are_refused() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    let long = "x".repeat(300);
    for name in [long.as_str(), "", ".", "..", "a b", "a/b", "ä", "a\0b"] {
        let response = client.call(5, &create_topic(name, 1, &[]));
        assert_eq!(response.topics[0].error_code, INVALID_TOPIC_EXCEPTION, "create {name:?}");
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(true);
        let response = client.call(9, &request);
        assert_eq!(response.topics[0].error_code, INVALID_TOPIC_EXCEPTION, "ask for {name:?}");
        let (error, _) = client.produce(name, 0, one_record(10));
        assert_eq!(error, UNKNOWN_TOPIC_OR_PARTITION, "produce to {name:?}");
    }
    for partitions in [0, -2, i32::MAX, i32::MIN] {
        let response = client.call(5, &create_topic("partitions", partitions, &[]));
        // INVALID_PARTITIONS.
        assert_eq!(response.topics[0].error_code, 37, "{partitions} partitions");
    }
    for partition in [1, -1, i32::MAX, i32::MIN] {
        let (error, _) = client.produce("bystander", partition, one_record(10));
        assert_eq!(error, UNKNOWN_TOPIC_OR_PARTITION, "produce to partition {partition}");
        let (error, ..) = client.fetch("bystander", partition, 0);
        assert_eq!(error, UNKNOWN_TOPIC_OR_PARTITION, "fetch from partition {partition}");
    }
    for offset in [-1, i64::MIN, i64::MAX, 1 << 40] {
        // OFFSET_OUT_OF_RANGE.
        assert_eq!(client.fetch("bystander", 0, offset).0, 1, "fetch from offset {offset}");
    }
    arena.finish("names and partitions");
}
