//! The workloads: each one `hutong-load` command, the same for every system.

/// What is measured.
#[derive(Debug)]
pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    /// What it is for, in a sentence or two.
    pub what: &'static str,
    /// For `hutong-load`: the command, and what goes with it.
    pub load: &'static [&'static str],
    /// The rate is half of what the same system reached in [`HIGHEST`] in the same round.
    pub at_half: bool,
    /// The latency that is shown, by its tag.
    pub tag: &'static str,
    /// Before the measurement: connections are made, the JVM has met the workload, and each
    /// partition its first record, for which Kafka makes files and flushes them.
    pub warmup_seconds: f64,
    /// Of `mixed`: a workload file. Its durations are added.
    pub file: Option<&'static str>,
}

/// The workload whose throughput is a system's highest load.
pub const HIGHEST: &str = "single";

const PLAIN: Workload = Workload {
    name: "",
    title: "",
    what: "",
    load: &[],
    at_half: false,
    tag: "produce",
    warmup_seconds: 1.0,
    file: None,
};

const BACKLOG: &str = r#"name = "backlog"
topics = 1
partitions_per_topic = 16
message_size = 1024
producers_per_topic = 2
subscriptions_per_topic = 1
consumers_per_subscription = 2
producer_rate = 16000
batch_records = 16
consumer_backlog_size_gb = 0.3
"#;

/// In the order in which they run.
pub const ALL: &[Workload] = &[
    Workload {
        name: HIGHEST,
        title: "Single records, as fast as it goes",
        what: "One record of 100 bytes to a request, 8 connections with 512 requests in flight \
               each. Its throughput is what the next one takes half of.",
        load: &["produce", "--connections", "8", "--in-flight", "512"],
        ..PLAIN
    },
    Workload {
        name: "half",
        title: "Single records at half of the system's own highest load",
        what: "Open loop: requests are due at random moments, whatever the answers do, half as \
               many a second as the same system answered in `single` in the same round. Latency \
               counts from when a request was due.",
        load: &["produce", "--connections", "8"],
        at_half: true,
        ..PLAIN
    },
    Workload {
        name: "one",
        title: "One request in flight",
        what: "One record of 100 bytes; the next is sent when the one before is acknowledged.",
        load: &["produce", "--connections", "1", "--in-flight", "1"],
        ..PLAIN
    },
    Workload {
        name: "sparse",
        title: "Many connections with little on each",
        what: "Open loop: 64 connections send 2,000 single records a second together, the same \
               for each system.",
        load: &["produce", "--connections", "64", "--rate", "2000"],
        ..PLAIN
    },
    Workload {
        name: "batches",
        title: "Batches of 64 KiB",
        what: "64 records of 1 KiB to a request, 4 connections with 16 requests in flight each.",
        load: &[
            "produce",
            "--connections",
            "4",
            "--in-flight",
            "16",
            "--batch-records",
            "64",
            "--record-bytes",
            "1024",
        ],
        ..PLAIN
    },
    Workload {
        name: "keyed",
        title: "100 producers with small keyed batches",
        what: "Each sends batches of 10 records of 100 bytes to 100 partitions, which the keys \
               choose, with 16 requests in flight.",
        load: &[
            "produce",
            "--connections",
            "100",
            "--in-flight",
            "16",
            "--partitions",
            "100",
            "--keys",
            "10000",
            "--batch-records",
            "10",
        ],
        warmup_seconds: 3.0,
        ..PLAIN
    },
    Workload {
        name: "partitions-100",
        title: "Single records to 100 partitions",
        what: "As `single`, which has one partition, with 100.",
        load: &["produce", "--connections", "8", "--in-flight", "512", "--partitions", "100"],
        warmup_seconds: 3.0,
        ..PLAIN
    },
    Workload {
        name: "partitions-1000",
        title: "Single records to 1,000 partitions",
        what: "As `single`, which has one partition, with 1,000.",
        load: &["produce", "--connections", "8", "--in-flight", "512", "--partitions", "1000"],
        warmup_seconds: 5.0,
        ..PLAIN
    },
    Workload {
        name: "tail",
        title: "Tail consumers",
        what: "4 producers send 2,000 single records a second together (open loop) to 4 \
               partitions, 4 consumers wait for them. Latency is from when a record was due to \
               when a consumer had it.",
        load: &[
            "e2e",
            "--connections",
            "4",
            "--consumers",
            "4",
            "--partitions",
            "4",
            "--rate",
            "2000",
        ],
        tag: "e2e",
        ..PLAIN
    },
    Workload {
        name: "tail-batches",
        title: "Tail consumers of large batches, as fast as it goes",
        what: "2 producers send batches of 64 records of 1 KiB to 2 partitions with 16 in flight \
               each, 2 consumers read them at once.",
        load: &[
            "e2e",
            "--connections",
            "2",
            "--consumers",
            "2",
            "--partitions",
            "2",
            "--in-flight",
            "16",
            "--batch-records",
            "64",
            "--record-bytes",
            "1024",
        ],
        tag: "e2e",
        ..PLAIN
    },
    Workload {
        name: "backlog",
        title: "A backlog drained while producing",
        what: "0.3 GB of 1 KiB records lie in 16 partitions when 2 consumers begin, and 2 \
               producers go on sending 16,000 records a second. Latency is that of the producers \
               while consumers catch up.",
        load: &["mixed", "FILE"],
        tag: "produce-draining",
        file: Some(BACKLOG),
        ..PLAIN
    },
];

/// For the command line.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|workload| workload.name).collect()
}

/// Those that were asked for, in order, with what they need; all if none was named.
pub fn chosen(only: &[String]) -> Vec<&'static Workload> {
    let asked = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    let half = ALL.iter().any(|workload| workload.at_half && asked(workload.name));
    ALL.iter().filter(|w| asked(w.name) || (half && w.name == HIGHEST)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_highest_load_needs_the_highest_load() {
        let chosen = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            chosen(&only).iter().map(|workload| workload.name).collect::<Vec<_>>()
        };
        assert_eq!(chosen(&["half"]), [HIGHEST, "half"]);
        assert_eq!(chosen(&["tail", "one"]), ["one", "tail"]);
        assert_eq!(chosen(&[]), names());
    }
}
