//! From what the shards reported to one page of samples.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::runtime::metrics::families::{self, Family};
use crate::runtime::metrics::{NodeFacts, ShardReport, process};
use crate::shard::snapshot::{GroupSnapshot, ShardSnapshot};

/// One value of a metric.
#[derive(Clone, Debug)]
pub struct Sample {
    pub family: &'static Family,
    /// In the order of the family's labels.
    pub labels: Vec<String>,
    pub value: Value,
}

/// What a sample says.
#[derive(Clone, Debug)]
pub enum Value {
    Number(Number),
    Histogram(Histogram<u64>),
}

/// Counts and byte addresses are whole, seconds are not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Number {
        Number::Whole(number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Number {
        Number::Whole(number as u64)
    }
}

impl From<bool> for Number {
    fn from(yes: bool) -> Number {
        Number::Whole(u64::from(yes))
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Number {
        Number::Real(number)
    }
}

impl From<Duration> for Number {
    fn from(duration: Duration) -> Number {
        Number::Real(duration.as_secs_f64())
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Whole(number) => number.fmt(f),
            Number::Real(number) => number.fmt(f),
        }
    }
}

/// All samples of one moment.
#[derive(Clone, Debug, Default)]
pub struct Page {
    samples: Vec<Sample>,
}

impl Page {
    /// Adds a number.
    pub fn number<const N: usize>(
        &mut self,
        family: &'static Family,
        labels: [&str; N],
        value: impl Into<Number>,
    ) {
        self.add(family, labels, Value::Number(value.into()));
    }

    /// Adds a histogram.
    pub fn histogram<const N: usize>(
        &mut self,
        family: &'static Family,
        labels: [&str; N],
        values: &Histogram<u64>,
    ) {
        self.add(family, labels, Value::Histogram(values.clone()));
    }

    fn add<const N: usize>(&mut self, family: &'static Family, labels: [&str; N], value: Value) {
        assert_eq!(family.labels.len(), N, "{} has other labels", family.name);
        let labels = labels.map(str::to_string).to_vec();
        self.samples.push(Sample { family, labels, value });
    }

    /// The samples of a family, in the order they were added.
    pub fn of(&self, family: &'static Family) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.family.name == family.name)
    }
}

/// Everything there is to tell now. A shard that did not report is only told of as not up.
pub fn page(facts: &NodeFacts, reports: &[Option<Box<ShardReport>>]) -> Page {
    let mut page = Page::default();
    node(&mut page, facts);
    for (number, report) in reports.iter().enumerate() {
        let shard = number.to_string();
        page.number(families::SHARD_UP, [&shard], report.is_some());
        let Some(report) = report else { continue };
        thread(&mut page, &shard, report);
        core(&mut page, &shard, &report.core);
        for group in &report.core.groups {
            of_group(&mut page, &shard, group);
        }
    }
    consumer_groups(&mut page, reports);
    page
}

/// A consumer group and the partitions it reads may be on different shards.
fn consumer_groups(page: &mut Page, reports: &[Option<Box<ShardReport>>]) {
    let cores = || reports.iter().flatten().map(|report| &report.core);
    let ends: BTreeMap<u32, i64> =
        cores().flat_map(|core| core.watermarks.iter().copied()).collect();
    for group in cores().flat_map(|core| &core.consumer_groups) {
        page.number(families::CONSUMER_MEMBERS, [&group.id], group.members);
        for offset in &group.offsets {
            let Some(end) = ends.get(&offset.key) else { continue };
            let lag = u64::try_from(end.saturating_sub(offset.committed)).unwrap_or(0);
            let partition = offset.partition.to_string();
            page.number(families::CONSUMER_LAG, [&group.id, &offset.topic, &partition], lag);
        }
    }
}

fn node(page: &mut Page, facts: &NodeFacts) {
    let node = facts.node.to_string();
    page.number(families::BUILD_INFO, [env!("CARGO_PKG_VERSION"), &node], 1u64);
    let usage = process::usage();
    if let Some(started) = usage.started {
        page.number(families::START_TIME, [], started);
    }
    if let Some(cpu) = usage.cpu {
        page.number(families::CPU, [], cpu);
    }
    if let Some(bytes) = usage.resident_bytes {
        page.number(families::RESIDENT, [], bytes);
    }
    if let Some(files) = usage.open_files {
        page.number(families::OPEN_FDS, [], files);
    }
    if let Some((free, size)) = process::disk(&facts.data_dir) {
        page.number(families::DISK_FREE, [], free);
        page.number(families::DISK_SIZE, [], size);
    }
}

/// What the shard's thread counted outside of the core.
fn thread(page: &mut Page, shard: &str, report: &ShardReport) {
    let counters = &report.counters;
    page.number(families::SHARD_CPU, [shard], report.cpu);
    for (family, counter) in [
        (families::OPENED, &counters.connections_opened),
        (families::CLOSED, &counters.connections_closed),
        (families::REFUSED, &counters.connections_refused),
        (families::TIMED_OUT, &counters.connections_timed_out),
        (families::BAD_FRAMES, &counters.frames_bad),
        (families::RECEIVED_BYTES, &counters.received_bytes),
        (families::SENT_BYTES, &counters.sent_bytes),
        (families::SOCKET_READS, &counters.reads),
        (families::SOCKET_WRITES, &counters.writes),
        (families::SYNCS, &counters.journal_syncs),
        (families::JOURNAL_READS, &counters.journal_reads),
    ] {
        page.number(family, [shard], counter.get());
    }
    page.histogram(families::TURN, [shard], &counters.turn.get());
    page.histogram(families::WRITE_SECONDS, [shard], &counters.journal_write.get());
    page.histogram(families::WRITE_BYTES, [shard], &counters.journal_write_sizes.get());
    for (stage, values) in &report.core.stages {
        page.histogram(families::STAGE, [shard, stage], values);
    }
    page.histogram(families::STAGE, [shard, "release"], &counters.release.get());
    page.histogram(families::STAGE, [shard, "socket"], &counters.socket.get());
}

fn core(page: &mut Page, shard: &str, core: &ShardSnapshot) {
    page.number(families::SHARD_SERVING, [shard], core.serving);
    page.number(families::CONNECTIONS, [shard], core.connections);
    page.number(families::HELD, [shard], core.held_connections);
    page.number(families::UNSENT_BYTES, [shard], core.unsent_bytes);
    page.number(families::BAD_REQUESTS, [shard], core.bad_requests);
    for (api, traffic) in &core.apis {
        page.number(families::REQUESTS, [shard, api], traffic.requests);
        page.number(families::REQUEST_BYTES, [shard, api], traffic.request_bytes);
        page.number(families::RESPONSE_BYTES, [shard, api], traffic.response_bytes);
    }
    for (api, error, count) in &core.errors {
        page.number(families::ERRORS, [shard, api, error], *count);
    }
    page.number(families::FETCHED_RECORDS, [shard], core.fetch.records);
    page.number(families::FETCHED_BYTES, [shard], core.fetch.bytes);
    page.number(families::CACHE_HITS, [shard], core.fetch.cache_hits);
    page.number(families::CACHE_MISSES, [shard], core.fetch.cache_misses);
    page.number(families::READS_UNDER_WAY, [shard], core.reads_under_way);
    page.number(families::DAMAGED, [shard], core.repairs.damaged);
    page.number(families::REPAIRED, [shard], core.repairs.repaired);
    page.number(families::SCRUB_ROUNDS, [shard], core.scrub_rounds);
    page.number(families::SCRUB_BYTES, [shard], core.scrub_bytes);
    page.number(families::PEERS, [shard], core.peers);
    page.number(families::PEER_REQUESTS, [shard], core.peer_requests);
    page.number(families::PEER_RECEIVED, [shard], core.peer_bytes.received_bytes);
    page.number(families::PEER_SENT, [shard], core.peer_bytes.sent_bytes);
}

fn of_group(page: &mut Page, shard: &str, group: &GroupSnapshot) {
    let id = group.group.to_string();
    let labels = [shard, id.as_str()];
    page.number(families::LEADS, labels, group.leads);
    page.number(families::TERM, labels, group.term);
    page.number(families::WON, labels, group.won);
    page.number(families::LOST, labels, group.lost);
    for (node, lag) in &group.replica_lags {
        page.number(families::REPLICA_LAG, [shard, &id, &node.to_string()], *lag);
    }
    page.number(families::CATCH_UP, labels, group.catch_up_bytes);
    let snapshots = &group.snapshots;
    for (direction, count, bytes) in [
        ("received", snapshots.received, snapshots.received_bytes),
        ("sent", snapshots.sent, snapshots.sent_bytes),
    ] {
        page.number(families::SNAPSHOTS, [shard, &id, direction], count);
        page.number(families::SNAPSHOT_BYTES, [shard, &id, direction], bytes);
    }
    page.number(families::FILLING, labels, u64::from(group.filling));
    page.number(families::DAMAGED_MESSAGES, labels, group.damaged_messages);
    for (position, at) in [
        ("append", group.append),
        ("flush", group.flush),
        ("received", group.received),
        ("commit", group.commit),
        ("apply", group.apply),
        ("cache", group.cache_start),
        ("scrub", group.scrub),
        ("checkpoint", group.checkpoint),
        ("start", group.start),
    ] {
        page.number(families::POSITION, [shard, &id, position], at);
        if matches!(position, "flush" | "received" | "commit" | "apply" | "checkpoint") {
            page.number(families::LAG, [shard, &id, position], group.append.saturating_sub(at));
        }
    }
    page.number(families::JOURNAL_BYTES, labels, group.append.saturating_sub(group.start));
    page.number(families::PARTITIONS, labels, group.partitions);
    page.number(families::QUEUED, labels, group.queued);
    page.number(families::QUEUED_BYTES, labels, group.queued_bytes);
    for (level, waiting) in group.pending {
        page.number(families::PENDING, [shard, &id, level], waiting);
    }
    page.number(families::IN_FLIGHT, labels, group.writes_in_flight);
    page.number(families::EXPIRED, labels, group.expired);
    page.number(families::ENTRIES, labels, group.entries);
    page.number(families::ENTRY_BYTES, labels, group.entry_bytes);
    page.number(families::BATCHES, labels, group.batches);
    page.number(families::RECORDS, labels, group.records);
    page.number(families::RECORD_BYTES, labels, group.record_bytes);
}
