//! Record batches, names and partitions that are wrong, each answered with its error.

use std::io::Write;

use hutong::kafka::record_batch::{Producer, build_batch};
use hutong::limits::{PRODUCE_DECOMPRESSED_BYTES_MAX, RECORD_BATCH_BYTES_DEFAULT};
use kafka_protocol::messages::{
    MetadataRequest, ProduceRequest, metadata_request::MetadataRequestTopic,
};

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

/// Three records that say they are compressed so, by whoever compresses the rest of a batch.
fn compressed(codec: u8, compress: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let plain = three_records();
    let mut batch = [&plain[..61], &compress(&plain[61..])].concat();
    batch[22] = codec;
    sealed(batch)
}

/// Length and crc made to agree with what is there.
fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let length = batch.len() as u32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = hutong::kafka::crc::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// The same batch, and its header counts otherwise.
fn claiming(batch: &[u8], records: i32) -> Vec<u8> {
    let mut batch = batch.to_vec();
    batch[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&records.to_be_bytes());
    sealed(batch)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// As librdkafka and the Java client use level 22: it isn't told how much will come, and announces
/// that it may look back 128 MiB.
fn zstd_22(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 22).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

type Compress = fn(&[u8]) -> Vec<u8>;
const CODECS: [(u8, Compress); 5] =
    [(0, <[u8]>::to_vec), (1, gzip), (2, snappy), (3, lz4), (4, zstd)];

#[test]
fn a_record_count_that_lies_is_refused_with_every_codec() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    client.create_topic("counts", 1, &[]);
    let mut end = 0;
    for (codec, compress) in CODECS {
        let good = compressed(codec, compress);
        for records in [1, 2, 4, 1000, i32::MAX] {
            let answer = client.produce("counts", 0, claiming(&good, records));
            assert_eq!(answer.0, INVALID_RECORD, "codec {codec}, {records} records");
        }
        let mut delta = good.clone();
        delta[23..27].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(client.produce("counts", 0, sealed(delta)).0, INVALID_RECORD, "codec {codec}");
        for cut in [61, 62, good.len() - 10] {
            let cut = sealed(good[..cut].to_vec());
            assert_eq!(client.produce("counts", 0, cut).0, INVALID_RECORD, "codec {codec}");
        }
        if codec > 0 {
            let not_compressed = altered_with_crc(21, &[0, codec]);
            assert_eq!(client.produce("counts", 0, not_compressed).0, INVALID_RECORD, "{codec}");
        }
        // The end has not moved for all of that.
        assert_eq!(client.produce("counts", 0, good), (0, end), "codec {codec}");
        end += 3;
    }
    arena.finish("record counts that lie");
}

#[test]
fn the_widest_zstd_windows_are_taken_and_searched() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    client.create_topic("windows", 1, &[]);
    let batch = compressed(4, zstd_22);
    assert_eq!(batch[61 + 5], 17 << 3, "a window of 2^(10 + 17) bytes");
    assert_eq!(client.produce("windows", 0, batch.clone()), (0, 0));
    // All records have the time 1; a lookup answers the first, out of the compressed batch.
    assert_eq!(client.offset("windows", 0, 1), 0);
    let mut wider = batch;
    wider[61 + 5] = 18 << 3;
    assert_eq!(client.produce("windows", 0, sealed(wider)).0, INVALID_RECORD);
    arena.finish("zstd windows");
}

#[test]
fn a_bomb_is_refused_and_keeps_nobody_waiting() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    client.create_topic("bombs", 1, &[]);
    // One value of zeros, a little more than is decompressed of a request.
    let zeros = vec![0; PRODUCE_DECOMPRESSED_BYTES_MAX as usize];
    let plain = build_batch(&[(None, &zeros[..])], 1, Producer::NONE);
    for (codec, compress) in [(1, gzip as Compress), (3, lz4), (4, zstd)] {
        let mut bomb = [&plain[..61], &compress(&plain[61..])].concat();
        bomb[22] = codec;
        let bomb = sealed(bomb);
        assert!(bomb.len() < RECORD_BATCH_BYTES_DEFAULT, "codec {codec}: {}", bomb.len());
        // Many at once: the bystander is served in between.
        for id in 0..10 {
            client.send(&frame_of(PRODUCE, id, &produce("bombs", 0, -1, bomb.clone())));
        }
        for id in 0..10 {
            let response = client.try_receive::<ProduceRequest>(PRODUCE, id).unwrap();
            let partition = &response.responses[0].partition_responses[0];
            assert_eq!(partition.error_code, MESSAGE_TOO_LARGE, "codec {codec}");
        }
    }
    assert_eq!(client.produce("bombs", 0, three_records()), (0, 0));
    arena.finish("bombs");
}

#[test]
fn a_topic_that_believes_its_producers_harms_only_their_readers() {
    let arena = Arena::new(&[]);
    let mut client = arena.client();
    client.create_topic("liars", 1, &[("hutong.check.compressed", "false")]);
    // Not compressed, and looked at all the same: each byte of structure is checked.
    let mut refused = 0;
    for at in 61..three_records().len() {
        match client.produce("liars", 0, altered_with_crc(at, &[0xff])).0 {
            0 => {}
            error => {
                assert_eq!(error, INVALID_RECORD, "byte {at}");
                refused += 1;
            }
        }
    }
    // Of each record: its length, two deltas, two lengths and a count.
    assert!(refused >= 3 * 5, "{refused} were refused");
    for codec in 1..=4 {
        let batch = altered_with_crc(21, &[0, codec]);
        assert_eq!(client.produce("liars", 0, batch).0, 0, "codec {codec}");
        for timestamp in [0, 1, 2, i64::MAX, -3] {
            let _ = client.offset("liars", 0, timestamp);
        }
    }
    assert_eq!(client.fetch("liars", 0, 0).0, 0);
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
