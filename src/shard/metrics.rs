//! What a shard counts. Plain integers and histograms of its own; `snapshot` copies them out.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::kafka::api::APIS;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::response_errors::ErrorCodes;

/// Counters and stage histograms of one group.
#[derive(Debug, Default)]
pub struct GroupMetrics {
    /// Journal entries appended.
    pub entries: u64,
    /// Their bytes, padding included.
    pub entry_bytes: u64,
    /// Produce batches in them.
    pub batches: u64,
    /// Records in those batches.
    pub records: u64,
    /// Bytes of those batches.
    pub record_bytes: u64,
    /// Answers that came too late.
    pub expired: u64,
    /// Nanoseconds a batch spent in each stage.
    pub stages: Stages,
    /// Queue times of the entry being built that are alike: how many, and how long.
    alike: (u64, u64),
}

/// How long each stage took, in nanoseconds, one histogram for each.
#[derive(Clone, Debug)]
pub struct Stages {
    /// From the request queue to the journal cache.
    pub queue: Histogram<u64>,
    /// From the journal cache to this disk.
    pub flush: Histogram<u64>,
    /// From this disk to the disks of a majority, and applied.
    pub commit: Histogram<u64>,
    /// From the request queue to the response.
    pub total: Histogram<u64>,
}

/// A histogram of durations in nanoseconds: 100 ns to a minute, within 1 %. What is longer counts
/// as a minute. It has 24 KiB: small enough to be copied whenever somebody asks.
pub fn durations() -> Histogram<u64> {
    histogram(100, 60_000_000_000)
}

/// A histogram of sizes in bytes: up to 1 GiB, within 1 %.
pub fn sizes() -> Histogram<u64> {
    histogram(1, 1 << 30)
}

fn histogram(low: u64, high: u64) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(low, high, 2).expect("the bounds are sound");
    histogram.auto(false);
    histogram
}

impl Default for Stages {
    fn default() -> Self {
        let (queue, flush) = (durations(), durations());
        Stages { queue, flush, commit: durations(), total: durations() }
    }
}

impl Stages {
    /// Adds what another group counted.
    pub fn add(&mut self, other: &Stages) {
        let pairs = [
            (&mut self.queue, &other.queue),
            (&mut self.flush, &other.flush),
            (&mut self.commit, &other.commit),
            (&mut self.total, &other.total),
        ];
        for (all, one) in pairs {
            all.add(one).expect("they have the same bounds");
        }
    }
}

impl GroupMetrics {
    /// An entry was appended.
    pub fn entry(&mut self, batches: u32, bytes: u32) {
        self.entries += 1;
        self.entry_bytes += u64::from(bytes);
        self.batches += u64::from(batches);
    }

    /// A batch left the queue. Those of one read have waited equally long and are counted at once.
    pub fn queue_stage(&mut self, waited: Duration) {
        let nanos = waited.as_nanos() as u64;
        if self.alike.0 > 0 && self.alike.1 != nanos {
            self.end_of_entry();
        }
        self.alike = (self.alike.0 + 1, nanos);
    }

    /// The last batch of an entry has been counted.
    pub fn end_of_entry(&mut self) {
        let (count, nanos) = std::mem::take(&mut self.alike);
        if count > 0 {
            self.stages.queue.saturating_record_n(nanos, count);
        }
    }

    /// An entry with so many requests is on this disk.
    pub fn flush_stage(&mut self, took: Duration, requests: u32) {
        record(&mut self.stages.flush, took, u64::from(requests));
    }

    /// Batches of one partition, side by side in an entry, were appended.
    pub fn run(&mut self, records: i64, bytes: u32) {
        self.records += records as u64;
        self.record_bytes += u64::from(bytes);
    }

    /// An entry with so many requests is committed, so long after it was on this disk.
    pub fn commit_stage(&mut self, took: Duration, requests: u32) {
        record(&mut self.stages.commit, took, u64::from(requests));
    }

    /// So many responses are released, so long after their requests were queued.
    pub fn released(&mut self, took: Duration, responses: u64) {
        record(&mut self.stages.total, took, responses);
    }
}

fn record(histogram: &mut Histogram<u64>, took: Duration, count: u64) {
    if count > 0 {
        histogram.saturating_record_n(took.as_nanos() as u64, count);
    }
}

/// Counters of one shard.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// Connections closed for what their clients sent.
    pub bad_requests: u64,
    /// Produce responses released because their level was reached.
    pub released: u64,
}

/// What consumers were given, and from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchMetrics {
    pub records: u64,
    pub bytes: u64,
    /// Partitions of Fetch requests that were read from the journal cache alone.
    pub cache_hits: u64,
    /// Those that needed what is on disk only.
    pub cache_misses: u64,
}

/// Requests, answers and errors by API. Counting is an addition in a flat table; only an error
/// costs a search.
#[derive(Debug, Default)]
pub struct Traffic {
    apis: [ApiTraffic; APIS.len()],
    errors: BTreeMap<(usize, ErrorCode), u64>,
}

/// The traffic of one API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiTraffic {
    pub requests: u64,
    /// Bytes of the requests, without their length prefixes.
    pub request_bytes: u64,
    /// Bytes of the answers, with them.
    pub response_bytes: u64,
}

impl Traffic {
    /// A request has come. `api` is its place in [`APIS`].
    #[inline]
    pub fn request(&mut self, api: usize, bytes: usize) {
        self.apis[api].requests += 1;
        self.apis[api].request_bytes += bytes as u64;
    }

    /// It was given an answer of so many bytes.
    #[inline]
    pub fn response(&mut self, api: usize, bytes: usize) {
        self.apis[api].response_bytes += bytes as u64;
    }

    /// An answer, or a part of one, says that something went wrong.
    pub fn error(&mut self, api: usize, error: ErrorCode) {
        if !error.is_none() {
            *self.errors.entry((api, error)).or_default() += 1;
        }
    }

    /// Counts whatever a response says went wrong.
    pub fn errors_of(&mut self, api: usize, response: &impl ErrorCodes) {
        response.error_codes(&mut |code| self.error(api, ErrorCode(code)));
    }

    /// The traffic of each API, by its name.
    pub fn by_api(&self) -> impl Iterator<Item = (&'static str, ApiTraffic)> {
        APIS.iter().map(|api| api.name).zip(self.apis)
    }

    /// How often each API answered with each error.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, ErrorCode, u64)> {
        self.errors.iter().map(|((api, error), count)| (APIS[*api].name, *error, *count))
    }
}
