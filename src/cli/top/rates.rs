//! What happened between two pages.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::cli::top::consumers::ConsumerRates;
use crate::cli::top::page::Page;
use crate::runtime::metrics::families::{self, Family};

/// The stages of a produce request, in the order it passes them.
const STAGES: [&str; 7] = ["queue", "flush", "commit", "order", "release", "socket", "total"];

/// A report.
pub struct Rates {
    pub version: String,
    pub node: String,
    pub took: Duration,
    pub uptime: Duration,
    pub disk_free: f64,
    pub disk_size: f64,
    pub resident_bytes: f64,
    /// CPUs used, of all threads.
    pub cpu: f64,
    pub shards: Vec<ShardRates>,
    pub groups: Vec<GroupRates>,
    pub consumer_groups: Vec<ConsumerRates>,
    /// Answers with errors: shard, API, error, and how many a second.
    pub errors: Vec<(String, String, String, f64)>,
}

/// One shard. What ends in `_rate` is per second.
pub struct ShardRates {
    pub shard: String,
    pub up: bool,
    /// CPUs used: 1 is all that a shard can.
    pub cpu: f64,
    pub connections: f64,
    pub request_rate: f64,
    pub record_rate: f64,
    pub fetched_rate: f64,
    pub received_rate: f64,
    pub sent_rate: f64,
    pub error_rate: f64,
    pub queued_bytes: f64,
    pub pending: f64,
    pub write_rate: f64,
    pub written_rate: f64,
    pub cache_hit_share: Option<f64>,
    pub turn_rate: f64,
    /// What took how long, in nanoseconds: the stages, then turns and journal writes.
    pub times: Vec<(String, Histogram<u64>)>,
}

/// One group.
pub struct GroupRates {
    pub shard: String,
    pub group: String,
    pub leads: bool,
    pub term: f64,
    /// Entries that each node lacks on its disk, by its id; only the leader knows.
    pub replica_lags: Vec<(String, f64)>,
    /// Position by name, in bytes.
    pub positions: Vec<(String, f64)>,
    pub lags: Vec<(String, f64)>,
    pub append_rate: f64,
    pub journal_bytes: f64,
    pub queued: f64,
    pub pending: Vec<(String, f64)>,
    pub expired_rate: f64,
    pub partitions: f64,
}

/// Two pages of one process. If it was started in between, everything is new.
struct Between<'a> {
    before: Option<&'a Page>,
    now: &'a Page,
    seconds: f64,
}

impl Rates {
    /// What happened from `before` to `now`.
    pub fn between(before: &Page, now: &Page) -> Rates {
        let started = |page: &Page| page.number(families::START_TIME, &[]);
        let same = started(before) == started(now);
        let took = now.taken.duration_since(before.taken);
        let between =
            Between { before: same.then_some(before), now, seconds: took.as_secs_f64().max(1e-3) };
        let label = |label| now.values(families::BUILD_INFO, label, &[]).pop().unwrap_or_default();
        let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
        let uptime = (since_1970 - started(now)).max(0.0);
        let shards = now.values(families::SHARD_UP, "shard", &[]);
        Rates {
            version: label("version"),
            node: label("node"),
            took,
            uptime: Duration::from_secs_f64(uptime.min(1e12)),
            disk_free: now.number(families::DISK_FREE, &[]),
            disk_size: now.number(families::DISK_SIZE, &[]),
            resident_bytes: now.number(families::RESIDENT, &[]),
            cpu: between.rate(families::CPU, &[]),
            groups: shards.iter().flat_map(|shard| between.groups(shard)).collect(),
            consumer_groups: ConsumerRates::between(between.before, now, between.seconds),
            errors: shards.iter().flat_map(|shard| between.errors(shard)).collect(),
            shards: shards.iter().map(|shard| between.shard(shard)).collect(),
        }
    }
}

impl Between<'_> {
    /// By how much a counter grew, per second.
    fn rate(&self, family: &Family, labels: &[(&str, &str)]) -> f64 {
        let before = self.before.map_or(0.0, |page| page.number(family, labels));
        ((self.now.number(family, labels) - before) / self.seconds).max(0.0)
    }

    /// What was counted in between.
    fn times(&self, family: &Family, labels: &[(&str, &str)]) -> Option<Histogram<u64>> {
        let mut times = self.now.histogram(family, labels)?;
        if let Some(before) = self.before.and_then(|page| page.histogram(family, labels))
            && times.subtract(&before).is_err()
        {
            return None;
        }
        Some(times)
    }

    fn shard(&self, shard: &str) -> ShardRates {
        let labels = [("shard", shard)];
        let rate = |family| self.rate(family, &labels);
        let number = |family| self.now.number(family, &labels);
        let (hits, misses) = (rate(families::CACHE_HITS), rate(families::CACHE_MISSES));
        let turns = self.times(families::TURN, &labels);
        let writes = self.times(families::WRITE_SECONDS, &labels);
        let count = |times: &Option<Histogram<u64>>| {
            times.as_ref().map_or(0.0, |times| times.len() as f64 / self.seconds)
        };
        let (turn_rate, write_rate) = (count(&turns), count(&writes));
        let stages = STAGES.iter().filter_map(|stage| {
            let labels = [("shard", shard), ("stage", *stage)];
            Some((stage.to_string(), self.times(families::STAGE, &labels)?))
        });
        let rest = [("turn", turns), ("disk write", writes)];
        let rest = rest.into_iter().filter_map(|(name, times)| Some((name.to_string(), times?)));
        ShardRates {
            shard: shard.to_string(),
            up: number(families::SHARD_UP) > 0.0,
            cpu: rate(families::SHARD_CPU),
            connections: number(families::CONNECTIONS),
            request_rate: rate(families::REQUESTS),
            record_rate: rate(families::RECORDS),
            fetched_rate: rate(families::FETCHED_RECORDS),
            received_rate: rate(families::RECEIVED_BYTES),
            sent_rate: rate(families::SENT_BYTES),
            error_rate: rate(families::ERRORS),
            queued_bytes: number(families::QUEUED_BYTES),
            pending: number(families::PENDING),
            write_rate,
            written_rate: rate(families::ENTRY_BYTES),
            cache_hit_share: (hits + misses > 0.0).then(|| hits / (hits + misses)),
            turn_rate,
            times: stages.chain(rest).collect(),
        }
    }

    fn groups(&self, shard: &str) -> Vec<GroupRates> {
        let groups = self.now.values(families::LEADS, "group", &[("shard", shard)]);
        groups.into_iter().map(|group| self.group(shard, group)).collect()
    }

    fn group(&self, shard: &str, group: String) -> GroupRates {
        let labels = [("shard", shard), ("group", group.as_str())];
        let number = |family| self.now.number(family, &labels);
        let by = |family: &'static Family, label: &str| {
            let values = self.now.values(family, label, &labels);
            let numbers = values.into_iter().map(|value| {
                let all = [labels[0], labels[1], (label, value.as_str())];
                let number = self.now.number(family, &all);
                (value.clone(), number)
            });
            numbers.collect::<Vec<_>>()
        };
        GroupRates {
            leads: number(families::LEADS) > 0.0,
            term: number(families::TERM),
            replica_lags: by(families::REPLICA_LAG, "node"),
            positions: by(families::POSITION, "position"),
            lags: by(families::LAG, "position"),
            append_rate: self
                .rate(families::POSITION, &[labels[0], labels[1], ("position", "append")]),
            journal_bytes: number(families::JOURNAL_BYTES),
            queued: number(families::QUEUED),
            pending: by(families::PENDING, "level"),
            expired_rate: self.rate(families::EXPIRED, &labels),
            partitions: number(families::PARTITIONS),
            shard: shard.to_string(),
            group: group.clone(),
        }
    }

    fn errors(&self, shard: &str) -> Vec<(String, String, String, f64)> {
        let mut errors = Vec::new();
        for api in self.now.values(families::ERRORS, "api", &[("shard", shard)]) {
            let labels = [("shard", shard), ("api", api.as_str())];
            for error in self.now.values(families::ERRORS, "error", &labels) {
                let rate = self.rate(families::ERRORS, &[labels[0], labels[1], ("error", &error)]);
                if rate > 0.0 {
                    errors.push((shard.to_string(), api.clone(), error, rate));
                }
            }
        }
        errors
    }
}
