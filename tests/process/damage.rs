//! Journals that were damaged while the broker was down, before the last checkpoint: a start
//! doesn't look there, so it is readers who come upon it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hutong::kafka::record_batch::{Producer, batches, build_batch};

use crate::broker::{Broker, wait_until};
use crate::raw::RawClient;

const KAFKA_STORAGE_ERROR: i16 = 56;
const RECORDS: i64 = 40;
const SEGMENT_BYTES: u64 = 32 << 20;
/// What a broker says comes through a pipe, beside busy neighbours.
const TOLD_TIMEOUT: Duration = Duration::from_secs(20);

fn value(topic: &str, number: i64) -> String {
    format!("{topic}/{number:03}/{}", "filling".repeat(100))
}

/// One record for each topic in turn, each in an entry of its own.
fn fill(client: &mut RawClient, topics: &[&str]) {
    for number in 0..RECORDS {
        for topic in topics {
            let value = value(topic, number);
            let batch = build_batch(&[(None, value.as_bytes())], 1, Producer::NONE);
            assert_eq!(client.produce(topic, 0, batch), (0, number), "{topic}");
        }
    }
}

/// The segment of group 0 that has these bytes, and where.
fn find(data_dir: &Path, bytes: &[u8]) -> (u64, u64) {
    for segment in 0.. {
        let held = fs::read(segment_path(data_dir, segment)).expect("it is in one of them");
        if let Some(at) = held.windows(bytes.len()).position(|held| held == bytes) {
            return (segment, at as u64);
        }
    }
    unreachable!("the loop ends by itself")
}

fn segment_path(data_dir: &Path, segment: u64) -> std::path::PathBuf {
    data_dir.join(format!("group-0/segment-{segment:020}.journal"))
}

fn flip(data_dir: &Path, segment: u64, at: u64) {
    let path = segment_path(data_dir, segment);
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// The offsets of all batches that one fetch gives, and its error.
fn fetch(client: &mut RawClient, topic: &str, offset: i64) -> (i16, Vec<i64>) {
    let (error, end, start, records) = client.fetch(topic, 0, offset);
    assert_eq!((start, end), (0, RECORDS), "{topic}");
    (error, batches(&records).map(|(_, batch)| batch.base_offset).collect())
}

/// Writes, stops, damages the entry that has record 20 of the topic `hurt` by flipping the byte
/// that `place` names, given where the entry begins and where the record's value does; and starts.
fn damaged(place: impl Fn(u64, u64) -> u64) -> (Broker, u64) {
    // Without a scrub, which might come upon it first.
    let flags = ["--segment-bytes", "32MiB", "--scrub-per-second", "0"];
    let mut broker = Broker::start(1, &flags);
    let mut client = RawClient::connect(&broker.address());
    for topic in ["hurt", "fine"] {
        client.create_topic(topic, 1, &[]);
    }
    fill(&mut client, &["hurt", "fine"]);
    // A stop takes a checkpoint, so the start reads nothing of what is there now.
    assert!(broker.stop().0.success(), "{}", broker.said());
    let (segment, at) = find(&broker.data_dir(), value("hurt", 20).as_bytes());
    let entry = at / 4096 * 4096;
    flip(&broker.data_dir(), segment, place(entry, at));
    broker.restart();
    (broker, segment * SEGMENT_BYTES + entry)
}

/// What must hold wherever in the entry the damage is. The records `from` and behind it are those
/// that can be reached.
fn check(mut broker: Broker, position: u64, from: i64) {
    let mut client = RawClient::connect(&broker.address());
    // What comes before the hole is given, then the hole is told, and again to who asks again.
    assert_eq!(fetch(&mut client, "hurt", 0), (0, (0..20).collect()));
    for _ in 0..3 {
        assert_eq!(fetch(&mut client, "hurt", 20), (KAFKA_STORAGE_ERROR, vec![]));
    }
    assert_eq!(fetch(&mut client, "hurt", 7), (0, (7..20).collect()));
    // Who goes on behind it gets the rest.
    assert_eq!(fetch(&mut client, "hurt", from), (0, (from..RECORDS).collect()));
    assert_eq!(fetch(&mut client, "fine", from), (0, (from..RECORDS).collect()));
    for topic in ["hurt", "fine"] {
        let batch = build_batch(&[(None, b"more")], 1, Producer::NONE);
        assert_eq!(client.produce(topic, 0, batch), (0, RECORDS), "{topic}");
    }
    let segment = position / SEGMENT_BYTES;
    let line = format!("group 0: damaged entry in segment {segment} at position {position}:");
    wait_until("it is told", TOLD_TIMEOUT, || broker.said().contains(&line));
    let said = broker.said();
    assert_eq!(said.matches(&line).count(), 1, "{said}");
    assert!(said.contains("at offset 20 of partition key"), "{said}");
    assert!(broker.stop().0.success(), "{said}");
    let mut verify = Command::new(env!("CARGO_BIN_EXE_hutong"));
    let verify = verify.args(["journal", "verify"]).arg(broker.data_dir()).output().unwrap();
    let found = String::from_utf8_lossy(&verify.stdout).into_owned()
        + &String::from_utf8_lossy(&verify.stderr);
    assert_eq!(verify.status.code(), Some(1), "{found}");
    assert!(found.contains(&position.to_string()), "{position}: {found}");
}

#[test]
fn a_damaged_record_before_the_checkpoint_is_told_to_its_readers_and_to_nobody_else() {
    let (broker, position) = damaged(|_, value| value + 9);
    // The neighbour's records lie on both sides of it.
    let mut client = RawClient::connect(&broker.address());
    assert_eq!(fetch(&mut client, "fine", 0), (0, (0..RECORDS).collect()));
    assert_eq!(fetch(&mut client, "fine", 20), (0, (20..RECORDS).collect()));
    check(broker, position, 21);
}

/// Where an entry ends is not known without its header, so readers go on at the next place that
/// their partition's index knows.
#[test]
fn a_damaged_entry_header_is_told_to_who_would_have_to_pass_it() {
    // Its size, its position, the checksum it continues, and its own.
    for field in [9, 17, 57, 5] {
        let (broker, position) = damaged(|entry, _| entry + field);
        check(broker, position, 30);
    }
}
