//! What a broker tells of itself is true, and those who ask in bad manners harm nobody.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{ApiVersionsRequest, GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::broker::{Broker, Scratch, serve, wait_until};
use crate::raw::{RawClient, create_topic, frame_around, one_record};
use crate::records;
use crate::scrape::{Scrape, exchange, get, metrics_address};

const RECORDS: usize = 1000;
const PARTITIONS: i32 = 4;

fn start(shards: u16) -> Broker {
    Broker::start(shards, &["--metrics", "127.0.0.1:0", "--segment-bytes", "32MiB"])
}

fn produce_and_read(broker: &Broker, topic: &str) {
    let bootstrap = broker.address();
    records::create_topic(&bootstrap, topic, PARTITIONS);
    let producer: BaseProducer =
        records::config(&bootstrap).set("linger.ms", "1").create().unwrap();
    for number in 0..RECORDS {
        let payload = format!("record {number}");
        let record: BaseRecord<'_, (), str> =
            BaseRecord::to(topic).partition(number as i32 % PARTITIONS).payload(&payload);
        producer.send(record).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let read = (0..PARTITIONS).map(|p| records::read_partition(&bootstrap, topic, p).len());
    assert_eq!(read.sum::<usize>(), RECORDS);
}

#[test]
fn what_was_sent_is_what_is_counted() {
    let broker = start(2);
    produce_and_read(&broker, "counted");
    let told = Scrape::of(&broker);
    let sum = |name: &str| told.sum(name, &[]);
    let of = |name: &str, label: &str, value: &str| told.sum(name, &[(label, value)]);
    assert_eq!(sum("hutong_shard_up"), 2.0);
    assert_eq!(sum("hutong_shard_serving"), 2.0);
    assert_eq!(sum("hutong_group_records_total"), RECORDS as f64);
    assert!(sum("hutong_fetched_records_total") >= RECORDS as f64);
    assert!(sum("hutong_fetched_bytes_total") >= sum("hutong_group_record_bytes_total"));
    assert_eq!(sum("hutong_fetch_cache_misses_total"), 0.0);
    assert!(sum("hutong_fetch_cache_hits_total") >= f64::from(PARTITIONS));
    // librdkafka sends one batch in a request, and each passes every stage.
    let requests = of("hutong_requests_total", "api", "Produce");
    assert!(requests >= f64::from(PARTITIONS), "{requests}");
    assert_eq!(sum("hutong_group_batches_total"), requests);
    for stage in ["queue", "flush", "commit", "release", "total"] {
        let count = of("hutong_stage_seconds_count", "stage", stage);
        assert_eq!(count, requests, "{stage}");
    }
    let time = |stage| of("hutong_stage_seconds_sum", "stage", stage);
    let parts = time("queue") + time("flush") + time("commit");
    assert!((parts - time("total")).abs() <= 0.03 * time("total") + 1e-4, "{parts}");
    let writes = sum("hutong_journal_write_seconds_count");
    assert_eq!(sum("hutong_journal_write_size_bytes_count"), writes);
    assert!(writes >= sum("hutong_group_entries_total"));
    let written = sum("hutong_journal_write_size_bytes_sum");
    assert!(written >= 0.98 * sum("hutong_group_entry_bytes_total"), "{written}");
    let bytes = of("hutong_request_bytes_total", "api", "Produce");
    assert!(bytes > sum("hutong_group_record_bytes_total"), "{bytes}");
    assert!(sum("hutong_received_bytes_total") > bytes);
    assert!(of("hutong_response_bytes_total", "api", "Produce") >= 20.0 * requests);
    for position in ["flush", "received", "commit", "apply"] {
        assert_eq!(of("hutong_group_lag_bytes", "position", position), 0.0, "{position}");
    }
    let append = of("hutong_group_position_bytes", "position", "append");
    let start = of("hutong_group_position_bytes", "position", "start");
    assert_eq!(sum("hutong_group_journal_bytes"), append - start);
    assert_eq!(sum("hutong_group_partitions"), f64::from(PARTITIONS));
    assert_eq!(sum("hutong_group_pending_responses"), 0.0);
    assert!(sum("hutong_data_dir_free_bytes") <= sum("hutong_data_dir_size_bytes"));
    assert!(sum("process_start_time_seconds") > 1.7e9);
    // Who is alone wins an election of each group and has nobody to talk to.
    assert_eq!(sum("hutong_group_elections_won_total"), 2.0);
    assert_eq!(sum("hutong_group_leaderships_lost_total"), 0.0);
    assert_eq!(of("hutong_group_replica_lag_entries", "node", "0"), 0.0);
    assert_eq!(sum("hutong_peers_connected") + sum("hutong_peer_sent_bytes_total"), 0.0);
}

#[test]
fn what_one_client_does_is_counted_to_the_byte() {
    let broker = start(1);
    let mut client = RawClient::connect(&broker.address());
    client.create_topic("exact", 1, &[]);
    let mut bytes = 0;
    for size in [10, 200, 3000] {
        let batch = one_record(size);
        bytes += batch.len();
        assert_eq!(client.produce("exact", 0, batch).0, 0);
    }
    let (_, _, _, records) = client.fetch("exact", 0, 0);
    assert_eq!(records.len(), bytes);
    client.fetch("exact", 0, 2);
    let told = Scrape::of(&broker);
    let sum = |name: &str| told.sum(name, &[]);
    assert_eq!(sum("hutong_group_records_total"), 3.0);
    assert_eq!(sum("hutong_group_record_bytes_total"), bytes as f64);
    assert_eq!(sum("hutong_fetched_records_total"), 4.0);
    assert_eq!(sum("hutong_fetch_cache_hits_total"), 2.0);
    assert_eq!(sum("hutong_connections"), 1.0);
    for (api, count) in [("Produce", 3.0), ("Fetch", 2.0), ("CreateTopics", 1.0)] {
        assert_eq!(told.sum("hutong_requests_total", &[("api", api)]), count, "{api}");
    }
    assert_eq!(sum("hutong_requests_total"), 6.0);
    // All that has come, but for the lengths in front; and all that has gone.
    let received = sum("hutong_request_bytes_total") + 4.0 * 6.0;
    assert_eq!(sum("hutong_received_bytes_total"), received);
    assert_eq!(sum("hutong_sent_bytes_total"), sum("hutong_response_bytes_total"));
    assert_eq!(sum("hutong_errors_total"), 0.0);
}

#[test]
fn errors_are_counted_by_api_and_name() {
    let broker = start(1);
    let mut client = RawClient::connect(&broker.address());
    client.create_topic("there", 1, &[]);
    for _ in 0..3 {
        client.produce("missing", 0, one_record(10));
    }
    let mut damaged = one_record(10);
    *damaged.last_mut().unwrap() ^= 1;
    client.produce("there", 0, damaged);
    client.fetch("there", 0, 1000);
    client.call(5, &create_topic("there", 1, &[]));
    // These two cost their clients the connection.
    RawClient::connect(&broker.address()).send(&[0x7f; 100]);
    let mut unknown = RawClient::connect(&broker.address());
    unknown.send(&frame_around(999, 0, false, b""));
    unknown.answer();
    wait_until("all is counted", Duration::from_secs(30), || {
        let told = Scrape::of(&broker);
        told.sum("hutong_bad_frames_total", &[]) == 1.0
            && told.sum("hutong_bad_requests_total", &[]) == 1.0
            && told.sum("hutong_connections_closed_total", &[]) == 2.0
    });
    let told = Scrape::of(&broker);
    for (api, error, count) in [
        ("Produce", "UNKNOWN_TOPIC_OR_PARTITION", 3.0),
        ("Produce", "CORRUPT_MESSAGE", 1.0),
        ("Fetch", "OFFSET_OUT_OF_RANGE", 1.0),
        ("CreateTopics", "TOPIC_ALREADY_EXISTS", 1.0),
    ] {
        let labels = [("api", api), ("error", error)];
        assert_eq!(told.sum("hutong_errors_total", &labels), count, "{api} {error}");
    }
    assert_eq!(told.sum("hutong_errors_total", &[]), 6.0);
    client.call(3, &ApiVersionsRequest::default());
}

#[test]
fn the_documents_name_what_there_is() {
    let broker = start(1);
    let mut client = RawClient::connect(&broker.address());
    client.produce("missing", 0, one_record(10));
    // What is told of consumer groups needs one.
    records::create_topic(&broker.address(), "read", 1);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("read")))
        .with_partitions(vec![OffsetCommitRequestPartition::default()]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("reader")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    client.call(8, &commit);
    let told = Scrape::of(&broker);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let mut documented = BTreeSet::new();
    for line in document
        .lines()
        .filter(|line| line.starts_with("| `hutong_") || line.starts_with("| `process_"))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, unit, meaning] = cells[..] else { panic!("{line}") };
        let name = name.trim_matches('`');
        documented.insert(name.to_string());
        let (told_kind, help) = told.families.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!((kind, meaning), (told_kind.as_str(), help.as_str()), "{name}");
        let labels: BTreeSet<String> = labels
            .split(", ")
            .filter(|l| !l.is_empty())
            .map(|l| l.trim_matches('`').into())
            .collect();
        assert_eq!(told.labels(name), labels, "{name}");
        let base = name.trim_end_matches("_total");
        let in_name = ["seconds", "bytes"].into_iter().find(|unit| base.ends_with(unit));
        assert_eq!(unit, in_name.unwrap_or_default(), "{name}");
    }
    let exposed: BTreeSet<String> = told.families.keys().cloned().collect();
    assert_eq!(documented, exposed, "docs/metrics.md has a line for each metric");
    let dashboard = std::fs::read_to_string(root.join("docs/grafana-dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let mut expressions = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            expressions.push(target["expr"].as_str().unwrap().to_string());
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        expressions.extend(variable["definition"].as_str().map(str::to_string));
    }
    assert!(expressions.len() > 30);
    for expression in &expressions {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names = words.filter(|w| w.starts_with("hutong_") || w.starts_with("process_"));
        let names: Vec<&str> = names.collect();
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            let of_histogram = ["_bucket", "_sum", "_count"].into_iter().any(|suffix| {
                let family = name.strip_suffix(suffix).and_then(|name| told.families.get(name));
                family.is_some_and(|(kind, _)| kind == "histogram")
            });
            let exact = told.families.get(name).is_some_and(|(kind, _)| kind != "histogram");
            assert!(of_histogram || exact, "{name} in {expression}");
        }
    }
}

#[test]
fn bad_manners_at_the_metrics_port_harm_nobody() {
    let broker = start(1);
    let address = metrics_address(&broker);
    let starts = |request: &[u8], status: &str| {
        let answer = exchange(&address, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer:?}");
    };
    starts(b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405");
    starts(b"GET /nothing HTTP/1.1\r\n\r\n", "404");
    starts(b"GET /metrics\r\n\r\n", "400");
    starts(b"\xff\x00\x01\x02", "400");
    starts(&[b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 20_000]].concat(), "431");
    starts(b"GET /ready HTTP/1.1\r\n\r\n", "200");
    assert_eq!(get(&address, "/healthz"), "ok\n");
    // A Kafka client that has the wrong port, seventy who never finish their requests, and
    // seventy who ask and never read.
    starts(&frame_around(18, 0, false, b""), "400");
    let mut crowd = Vec::new();
    for number in 0..140 {
        let mut stream = TcpStream::connect(&address).unwrap();
        let request: &[u8] = if number % 2 == 0 {
            b"GET /metrics HTTP/1.1\r\nHost:"
        } else {
            b"GET /metrics HTTP/1.1\r\n\r\n"
        };
        let _ = stream.write_all(request);
        crowd.push(stream);
    }
    let told = Scrape::of(&broker);
    assert!(told.sum("process_open_fds", &[]) < 100.0, "connections are bounded");
    let mut client = RawClient::connect(&broker.address());
    client.create_topic("fine", 1, &[]);
    assert_eq!(client.produce("fine", 0, one_record(10)), (0, 0));
    // The oldest had to go.
    let mut first = crowd.swap_remove(0);
    first.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(matches!(first.read(&mut [0; 10]), Ok(0) | Err(_)));
}

#[test]
fn an_address_that_cannot_be_had_is_told_in_a_sentence() {
    let broker = start(1);
    let taken = metrics_address(&broker);
    let scratch = Scratch::new();
    for (address, code, parts) in [
        (taken.as_str(), 1, [taken.as_str(), "in use", "--metrics"]),
        ("nonsense", 2, ["nonsense", "127.0.0.1:9644", "--metrics"]),
        ("192.0.2.1:1", 1, ["192.0.2.1:1", "assign", "--metrics"]),
    ] {
        let mut command = serve(&scratch.path.join("data"), 0, 1);
        let output = command.args(["--no-pin", "--metrics", address]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("hutong: "), "{said}");
        assert!(parts.iter().all(|part| last.contains(part)), "{said}");
    }
}

#[test]
fn top_shows_what_goes_on() {
    let broker = start(2);
    produce_and_read(&broker, "shown");
    let address = metrics_address(&broker);
    let top = |flags: &[&str]| {
        let command = ["top", &address, "--once", "--interval", "0.1"];
        let output = Command::new(env!("CARGO_BIN_EXE_hutong")).args(command).args(flags).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = top(&[]);
    for word in
        ["SHARD", "STAGE", "flush", "p99.99", "COMMIT LAG", "TERM", "REPLICAS LACK", "leader"]
    {
        assert!(text.contains(word), "{text}");
    }
    assert!(!text.contains('\x1b'), "no terminal, no colours");
    let report: serde_json::Value = serde_json::from_str(&top(&["--json"])).unwrap();
    assert_eq!(report["shards"].as_array().unwrap().len(), 2);
    let told = Scrape::of(&broker);
    for (at, group) in report["groups"].as_array().unwrap().iter().enumerate() {
        let labels = [("group", at.to_string()), ("position", "append".to_string())];
        let labels = labels.each_ref().map(|(label, value)| (*label, value.as_str()));
        let append = told.sum("hutong_group_position_bytes", &labels);
        assert_eq!(group["positions"]["append"].as_f64(), Some(append));
        assert_eq!(group["leads"], true);
        assert_eq!(group["replica_lag_entries"]["0"], 0);
    }
    // Ticks of the guard make turns, whatever else there is to do.
    assert!(report["shards"][0]["nanoseconds"]["turn"]["count"].is_u64());
}
