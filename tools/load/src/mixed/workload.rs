//! A workload as a file tells it, in the words of the OpenMessaging Benchmark or in ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use crate::args::UsageError;
use crate::e2e::check_record_bytes;

/// What producers give records as keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum KeyDistributor {
    /// None: records go round over the partitions.
    #[default]
    NoKey,
    /// One of `keys` keys.
    KeyRoundRobin,
    /// The same: the key of a batch is chosen by chance.
    RandomNano,
}

/// See the module. Each name may be written as the benchmark has it: `partitionsPerTopic`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    pub name: String,
    pub topics: usize,
    #[serde(alias = "partitionsPerTopic")]
    pub partitions_per_topic: i32,
    /// Bytes of a record's value.
    #[serde(alias = "messageSize")]
    pub message_size: usize,
    #[serde(alias = "payloadFile")]
    pub payload_file: Option<PathBuf>,
    #[serde(alias = "keyDistributor")]
    pub key_distributor: KeyDistributor,
    /// Different keys, if there are any.
    pub keys: usize,
    #[serde(alias = "producersPerTopic")]
    pub producers_per_topic: usize,
    #[serde(alias = "subscriptionsPerTopic")]
    pub subscriptions_per_topic: usize,
    #[serde(alias = "consumerPerSubscription", alias = "consumersPerSubscription")]
    pub consumers_per_subscription: usize,
    /// Records a second of all producers together; 0: as fast as it goes.
    #[serde(alias = "producerRate")]
    pub producer_rate: f64,
    /// Records of each request.
    pub batch_records: usize,
    /// Requests that each producer keeps unanswered when it goes as fast as it goes.
    pub in_flight: usize,
    /// Units of 1,000,000,000 bytes that are there before consumers begin.
    #[serde(alias = "consumerBacklogSizeGB")]
    pub consumer_backlog_size_gb: f64,
    #[serde(alias = "testDurationMinutes")]
    pub test_duration_minutes: f64,
    #[serde(alias = "warmupDurationMinutes")]
    pub warmup_duration_minutes: f64,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            name: String::new(),
            topics: 1,
            partitions_per_topic: 1,
            message_size: 1024,
            payload_file: None,
            key_distributor: KeyDistributor::NoKey,
            keys: 10_000,
            producers_per_topic: 1,
            subscriptions_per_topic: 1,
            consumers_per_subscription: 1,
            producer_rate: 0.0,
            batch_records: 1,
            in_flight: 64,
            consumer_backlog_size_gb: 0.0,
            test_duration_minutes: 5.0,
            warmup_duration_minutes: 1.0,
        }
    }
}

impl Workload {
    /// Reads a file.
    ///
    /// # Errors
    /// A sentence with the file's name: it can't be read (or a [`UsageError`], it can't be meant).
    pub fn read(path: &Path) -> anyhow::Result<Workload> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("can't read the workload {}", path.display()))?;
        Workload::parse(&text)
            .map_err(|why| anyhow!(UsageError(format!("{}: {why}", path.display()))))
    }

    fn parse(text: &str) -> Result<Workload, String> {
        let workload: Workload = toml::from_str(text).map_err(|error| {
            let line = 1 + error.span().map_or(0, |at| text[..at.start].matches('\n').count());
            format!("line {line}: {}", error.message().replace('\n', "; "))
        })?;
        workload.check()?;
        Ok(workload)
    }

    fn check(&self) -> Result<(), String> {
        let at_least_one = [
            ("topics", self.topics),
            ("partitions_per_topic", self.partitions_per_topic.max(0) as usize),
            ("producers_per_topic", self.producers_per_topic),
            ("batch_records", self.batch_records),
            ("in_flight", self.in_flight),
            ("keys", self.keys),
        ];
        if let Some((name, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} must be at least 1"));
        }
        for (name, value) in [
            ("producer_rate", self.producer_rate),
            ("consumer_backlog_size_gb", self.consumer_backlog_size_gb),
            ("test_duration_minutes", self.test_duration_minutes),
            ("warmup_duration_minutes", self.warmup_duration_minutes),
        ] {
            if !(value.is_finite() && (0.0..1e9).contains(&value)) {
                return Err(format!("{name} is {value}: it must be a number from 0 to a billion"));
            }
        }
        if self.test_duration_minutes == 0.0 {
            return Err("test_duration_minutes must be more than 0".into());
        }
        let reads = self.subscriptions_per_topic * self.consumers_per_subscription > 0;
        if self.consumer_backlog_size_gb > 0.0 && !reads {
            return Err("there is a backlog, and no consumer to drain it".into());
        }
        check_record_bytes(self.message_size).map_err(|error| error.to_string())
    }

    /// Whether anybody reads.
    pub fn subscriptions(&self) -> usize {
        if self.consumers_per_subscription == 0 { 0 } else { self.subscriptions_per_topic }
    }

    /// Requests a second; none for as fast as it goes.
    pub fn request_rate(&self) -> Option<f64> {
        (self.producer_rate > 0.0).then(|| self.producer_rate / self.batch_records as f64)
    }

    /// The backlog's bytes.
    pub fn backlog_bytes(&self) -> i64 {
        (self.consumer_backlog_size_gb * 1e9) as i64
    }

    /// How long it is measured.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.test_duration_minutes * 60.0)
    }

    /// How long it runs before that.
    pub fn warmup(&self) -> Duration {
        Duration::from_secs_f64(self.warmup_duration_minutes * 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_mean_the_same() {
        let ours = "partitions_per_topic = 16\nproducer_rate = 500\n\
                    consumer_backlog_size_gb = 0.5\nkey_distributor = \"KEY_ROUND_ROBIN\"\n\
                    consumers_per_subscription = 3";
        let theirs = "partitionsPerTopic = 16\nproducerRate = 500\nconsumerBacklogSizeGB = 0.5\n\
                      keyDistributor = \"KEY_ROUND_ROBIN\"\nconsumerPerSubscription = 3";
        let (ours, theirs) = (Workload::parse(ours).unwrap(), Workload::parse(theirs).unwrap());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        assert_eq!(ours.backlog_bytes(), 500_000_000);
        assert_eq!(ours.request_rate(), Some(500.0));
    }

    #[test]
    fn what_cant_be_meant_is_refused_with_its_line() {
        let cases = [
            ("topics = 1\npartitons = 3", "line 2: unknown field `partitons`"),
            ("topics = 0", "topics must be at least 1"),
            ("topics = \"a\"", "line 1: invalid type"),
            ("messageSize = 3", "records of 3 bytes have no room"),
            ("producerRate = -1", "producer_rate is -1"),
            ("testDurationMinutes = 0", "test_duration_minutes must be more than 0"),
            ("consumerBacklogSizeGB = 1\nsubscriptionsPerTopic = 0", "no consumer to drain it"),
        ];
        for (text, wanted) in cases {
            let error = Workload::parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_files_that_come_along_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
        let files: Vec<_> =
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(files.len() >= 3);
        for file in files {
            Workload::read(&file).unwrap();
        }
    }
}
