//! What was measured: from the threads that measure it to what is printed.
//!
//! Each worker keeps one [`Interval`] at a time, hands it over when it ends, and begins the next.
//! Nothing is shared and nothing is averaged: histograms are added up, so that the p99.99 of all is
//! that of all requests.

mod collect;
mod summary;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use hutong::cli::client::error_name;

pub use collect::collect;
pub use summary::{Description, Summary};

/// When measuring begins and ends, in nanoseconds of the run's clock, and how it is cut.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    begin: u64,
    measure_from: u64,
    end: u64,
    interval: u64,
}

impl Span {
    /// Warms up from `begin` on, then measures for `duration`.
    pub fn new(begin: u64, warmup: Duration, duration: Duration, interval: Duration) -> Span {
        let measure_from = begin + warmup.as_nanos() as u64;
        let interval = interval.as_nanos().max(1) as u64;
        Span { begin, measure_from, end: measure_from + duration.as_nanos() as u64, interval }
    }

    /// When the first request is sent.
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// The end of the warm-up.
    pub fn measure_from(&self) -> u64 {
        self.measure_from
    }

    /// When the last request is sent.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The end of the interval that follows the one that ended at `previous` (0: none did). The
    /// first is the warm-up; the last, without an end, is for answers that come after the end.
    pub fn interval_end(&self, previous: u64) -> u64 {
        if previous < self.measure_from && self.begin < self.measure_from {
            self.measure_from
        } else if previous >= self.end {
            u64::MAX
        } else {
            (previous.max(self.measure_from) + self.interval).min(self.end)
        }
    }
}

/// What went wrong with a request, or with many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The broker answered with this error code.
    Code(i16),
    /// A connection broke or could not be used any further.
    Disconnected,
    /// Sent, and no answer came, until the end or until the connection broke.
    Unanswered,
    /// Due in an open loop, and not sent because the broker did not take it.
    Unsent,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Code(code) => f.write_str(&error_name(*code)),
            Trouble::Disconnected => f.write_str("connection broken"),
            Trouble::Unanswered => f.write_str("never answered"),
            Trouble::Unsent => f.write_str("never sent"),
        }
    }
}

/// What one worker saw between two moments.
#[derive(Debug)]
pub struct Interval {
    /// Nanoseconds from when a request was due to its answer, of those that went well.
    pub latency: Histogram<u64>,
    /// Nanoseconds from when a request was due to when the generator got round to it.
    pub lag: Histogram<u64>,
    /// Requests answered without an error.
    pub requests: u64,
    /// The records in them.
    pub records: u64,
    /// Bytes of record batches sent.
    pub sent_bytes: u64,
    /// CPU time of the worker.
    pub cpu_nanos: u64,
    pub troubles: BTreeMap<Trouble, u64>,
}

impl Default for Interval {
    fn default() -> Interval {
        Interval {
            latency: histogram(),
            lag: histogram(),
            requests: 0,
            records: 0,
            sent_bytes: 0,
            cpu_nanos: 0,
            troubles: BTreeMap::new(),
        }
    }
}

impl Interval {
    /// So many requests that were due at the same moment were answered now.
    pub fn latencies(&mut self, now: u64, (due, count): (u64, u64)) {
        if count > 0 {
            self.latency.saturating_record_n(now.saturating_sub(due), count);
        }
    }

    /// Something went wrong so many times.
    pub fn trouble(&mut self, trouble: Trouble, times: u64) {
        if times > 0 {
            *self.troubles.entry(trouble).or_default() += times;
        }
    }

    /// Adds what another worker saw, or what was seen later.
    pub fn add(&mut self, other: &Interval) {
        // Both have the same bounds.
        let added = self.latency.add(&other.latency).and_then(|()| self.lag.add(&other.lag));
        added.expect("the bounds are alike");
        self.requests += other.requests;
        self.records += other.records;
        self.sent_bytes += other.sent_bytes;
        self.cpu_nanos += other.cpu_nanos;
        for (trouble, times) in &other.troubles {
            self.trouble(*trouble, *times);
        }
    }
}

/// From 1 ns to an hour with three digits; more counts as an hour.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are sound")
}

/// What workers tell.
#[derive(Debug)]
pub enum Report {
    /// An interval is over. `end` is the same for all workers' intervals that belong together.
    Interval { end: u64, interval: Box<Interval> },
    /// A worker has sent its last at this moment, and heard what there was to hear.
    Done { sent_until: u64 },
    /// A worker could not go on. What it measured came before.
    Failed { sent_until: u64, reason: String },
}
