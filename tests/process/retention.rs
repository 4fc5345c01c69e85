//! What is no longer wanted goes: by size, by age, by hand; and the disk gets its space back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};

use crate::broker::{Broker, wait_until};
use crate::raw::{RawClient, batch_at, now_ms, one_record, topic_name};

const MEGABYTE: i64 = 1 << 20;
/// Segments are freed when a checkpoint covers them; one is taken every 256 MiB of journal.
const JOURNAL_MEGABYTES: i64 = 700;
/// The broker looks every 10 seconds.
const RETENTION_TIMEOUT: Duration = Duration::from_secs(60);
const OFFSET_OUT_OF_RANGE: i16 = 1;

/// The segment files of group 0, and the bytes that the group's directory takes.
fn segments(data_dir: &Path) -> (Vec<String>, i64) {
    let (mut names, mut bytes) = (Vec::new(), 0);
    for entry in fs::read_dir(data_dir.join("group-0")).unwrap() {
        let entry = entry.unwrap();
        // It may be renamed meanwhile.
        bytes += entry.metadata().map_or(0, |metadata| metadata.len() as i64);
        names.extend(entry.file_name().into_string().ok().filter(|n| n.starts_with("segment-")));
    }
    names.sort_unstable();
    (names, bytes)
}

#[test]
fn retention_by_size_moves_the_log_start_and_frees_segments() {
    let mut broker = Broker::start(1, &["--segment-bytes", "32MiB"]);
    let mut client = RawClient::connect(&broker.address());
    let (keep, keep_bytes) = (40, (40 * MEGABYTE).to_string());
    client.create_topic("short", 1, &[("retention.bytes", &keep_bytes)]);
    for offset in 0..JOURNAL_MEGABYTES {
        let batch = one_record(MEGABYTE as usize - 1000);
        assert_eq!(client.produce("short", 0, batch), (0, offset));
    }
    wait_until("the log start moves", RETENTION_TIMEOUT, || {
        client.offset("short", 0, -2) >= JOURNAL_MEGABYTES - keep - 2
    });
    let start = client.offset("short", 0, -2);
    assert!(start <= JOURNAL_MEGABYTES - keep, "too much is gone: {start}");
    assert_eq!(client.fetch("short", 0, start - 1).0, OFFSET_OUT_OF_RANGE);
    assert_eq!(client.fetch("short", 0, start).0, 0);
    // What the last checkpoint doesn't cover stays: some 256 MiB, segments ahead, and spares.
    let bytes_max = (256 + 40 + 7 * 32) * MEGABYTE;
    wait_until("segments are freed", RETENTION_TIMEOUT, || {
        segments(&broker.data_dir()).1 < bytes_max
    });
    let (names, bytes) = segments(&broker.data_dir());
    println!("{JOURNAL_MEGABYTES} MB written, {keep} kept: {} MB on disk", bytes / MEGABYTE);
    assert!(!names[0].ends_with("00000.journal"), "{names:?}");

    // A clean stop takes a checkpoint, after which nothing but what is kept is needed.
    assert!(broker.stop().0.success());
    broker.restart();
    let mut client = RawClient::connect(&broker.address());
    assert_eq!(client.offset("short", 0, -2), start);
    assert_eq!(client.fetch("short", 0, start).0, 0);
    assert_eq!(client.produce("short", 0, one_record(10)), (0, JOURNAL_MEGABYTES));
    let few = (40 + 7 * 32) * MEGABYTE;
    wait_until("all but what is kept is freed", RETENTION_TIMEOUT, || {
        segments(&broker.data_dir()).1 < few
    });
}

#[test]
fn retention_by_age_lets_go_of_what_is_old_and_keeps_what_is_new() {
    let broker = Broker::start(1, &["--segment-bytes", "32MiB"]);
    let mut client = RawClient::connect(&broker.address());
    client.create_topic("aging", 1, &[("retention.ms", "3600000")]);
    let two_hours_ago = now_ms() - 2 * 3_600_000;
    for offset in 0..20 {
        assert_eq!(client.produce("aging", 0, batch_at(b"old", two_hours_ago)), (0, offset));
    }
    for offset in 20..30 {
        assert_eq!(client.produce("aging", 0, batch_at(b"new", now_ms())), (0, offset));
    }
    wait_until("the log start moves", RETENTION_TIMEOUT, || client.offset("aging", 0, -2) > 0);
    assert_eq!(client.offset("aging", 0, -2), 20);
    assert_eq!(client.fetch("aging", 0, 19).0, OFFSET_OUT_OF_RANGE);
    assert_eq!(client.fetch("aging", 0, 20).0, 0);
    assert_eq!(client.offset("aging", 0, -1), 30);
}

/// Deletes records before an offset; returns the error and the low watermark.
fn delete_records(client: &mut RawClient, topic: &str, before: i64) -> (i16, i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(before);
    let topic =
        DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let response = client.call(1, &request);
    let partition = &response.topics[0].partitions[0];
    (partition.error_code, partition.low_watermark)
}

#[test]
fn deleted_records_stay_deleted_over_a_kill_and_over_a_stop() {
    let mut broker = Broker::start(1, &["--segment-bytes", "32MiB"]);
    let mut client = RawClient::connect(&broker.address());
    client.create_topic("deleted", 1, &[]);
    for offset in 0..50 {
        assert_eq!(client.produce("deleted", 0, one_record(100)), (0, offset));
    }
    assert_eq!(delete_records(&mut client, "deleted", 51).0, OFFSET_OUT_OF_RANGE);
    assert_eq!(delete_records(&mut client, "deleted", 20), (0, 20));
    // Backwards is no movement.
    assert_eq!(delete_records(&mut client, "deleted", 5), (0, 20));
    broker.kill();
    broker.restart();
    client = RawClient::connect(&broker.address());
    assert_eq!(client.offset("deleted", 0, -2), 20);
    assert_eq!(delete_records(&mut client, "deleted", -1), (0, 50));
    assert!(broker.stop().0.success());
    broker.restart();
    client = RawClient::connect(&broker.address());
    let bounds = (client.offset("deleted", 0, -2), client.offset("deleted", 0, -1));
    assert_eq!(bounds, (50, 50));
    assert_eq!(client.produce("deleted", 0, one_record(100)), (0, 50));
}
