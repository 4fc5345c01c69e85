//! Each workload as a person runs it, against a sink or a broker.

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use std::path::Path;

use common::{Scratch, Server, complaints, json, load};
use hutong_hist::log::LogReader;

/// Without a warm-up, all that is sent is measured.
const SHORT: [&str; 4] = ["--warmup", "0s", "--duration", "800ms"];

#[test]
fn produce_tells_what_it_did_and_keeps_a_log() {
    let (sink, scratch) = (Server::sink(&["--partitions", "3"]), Scratch::new());
    let hlog = scratch.file("a.hlog");
    let mut args = vec!["produce", "--brokers", &sink.address, "--partitions", "3", "--json"];
    args.extend(SHORT);
    args.extend(["--interval", "200ms", "--hlog", &hlog, "--rate", "500", "--threads", "2"]);
    args.extend(["--connections", "2", "--batch-records", "5"]);
    let output = load(&args);
    let result = json(&output);
    let requests = result["produced"]["requests"].as_u64().unwrap();
    assert!((200..=500).contains(&requests), "{result:#}");
    assert_eq!(result["produced"]["records"].as_u64().unwrap(), requests * 5);
    assert_eq!(result["latency"]["produce"]["count"].as_u64().unwrap(), requests);
    assert_eq!(result["settings"]["acks"], "all");
    assert_eq!(result["partitions"], 3);
    assert!(result["generator_cpu"].as_f64().unwrap() > 0.0);
    let mut counted = 0;
    for interval in LogReader::open(Path::new(&hlog)).unwrap() {
        let (interval, histogram) = interval.unwrap();
        assert_eq!(interval.tag.as_deref(), Some("produce"));
        counted += histogram.len();
    }
    assert_eq!(counted, requests, "what is in the log is what was told");
}

#[test]
fn consume_reads_each_record_once_and_ends_at_the_end() {
    let sink = Server::sink(&["--records", "70001", "--partitions", "5"]);
    for (connections, threads) in [("1", "1"), ("3", "2"), ("7", "3")] {
        let output = load(&[
            "consume",
            "--brokers",
            &sink.address,
            "--until-end",
            "--check-crc",
            "--json",
            "--connections",
            connections,
            "--threads",
            threads,
        ]);
        let result = json(&output);
        assert!(output.status.success(), "{:?}", complaints(&output));
        assert_eq!(result["consumed"]["records"], 5 * 70_001, "{result:#}");
        assert!(result["errors"].as_object().unwrap().is_empty());
    }
}

#[test]
fn records_go_through_a_broker_and_back() {
    let scratch = Scratch::new();
    let Some(broker) = Server::broker(&scratch.0.join("data")) else { return };
    let mut args = vec!["e2e", "--brokers", &broker.address, "--partitions", "4", "--json"];
    args.extend(SHORT);
    args.extend(["--rate", "200", "--batch-records", "3", "--threads", "2", "--keys", "20"]);
    let output = load(&args);
    let result = json(&output);
    let sent = result["produced"]["records"].as_u64().unwrap();
    assert!(sent > 0);
    assert_eq!(result["latency"]["e2e"]["count"], sent, "{result:#}");
    let at = |kind: &str| result["latency"][kind]["p50_ns"].as_f64().unwrap();
    assert!(at("e2e") > 0.0 && at("produce") > 0.0);
    let output = load(&["consume", "--brokers", &broker.address, "--until-end", "--json"]);
    assert_eq!(json(&output)["consumed"]["records"], sent);
}

#[test]
fn a_backlog_is_built_and_drained() {
    let scratch = Scratch::new();
    let Some(broker) = Server::broker(&scratch.0.join("data")) else { return };
    let file = scratch.file("w.toml");
    let workload = "topics = 2\npartitionsPerTopic = 2\nsubscriptionsPerTopic = 2\n\
                    messageSize = 1000\nproducerRate = 100\nconsumerBacklogSizeGB = 0.002\n\
                    batch_records = 10\ntestDurationMinutes = 0.05\n";
    std::fs::write(&file, workload).unwrap();
    let output = load(&["mixed", &file, "--brokers", &broker.address, "--json"]);
    let result = json(&output);
    let backlog = result["backlog"]["records"].as_u64().unwrap();
    // Two subscriptions of records with a little around each, in batches that are not cut.
    assert!((3_800..=4_600).contains(&backlog), "{result:#}");
    assert!(result["backlog"]["drained_seconds"].as_f64().unwrap() > 0.0);
    let (sent, read) = (&result["produced"]["records"], &result["consumed"]["records"]);
    assert_eq!(read.as_u64().unwrap(), backlog + 2 * sent.as_u64().unwrap());
}
