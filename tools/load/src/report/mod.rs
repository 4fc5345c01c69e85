//! What was measured: from the threads that measure it to what is printed.
//!
//! Each worker keeps one [`Interval`] at a time, hands it over when it ends, and begins the next.
//! Nothing is shared and nothing is averaged: histograms are added up, so that the p99.99 of all is
//! that of all requests.

mod collect;
mod log;
mod span;
mod summary;
mod text;

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use hutong::cli::client::error_name;

pub use collect::{Run, collect};
pub use log::LogFile;
pub use span::Span;
pub use summary::{Backlog, Description, Summary};

/// What went wrong with a request, or with many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The broker answered with this error code.
    Code(i16),
    /// A connection broke or could not be used any further.
    Disconnected,
    /// Sent, and no answer came, until the end or until the connection broke.
    Unanswered,
    /// A record batch whose crc doesn't match.
    Corrupt,
    /// Due in an open loop, and not sent because the broker did not take it.
    Unsent,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Code(code) => f.write_str(&error_name(*code)),
            Trouble::Disconnected => f.write_str("connection broken"),
            Trouble::Unanswered => f.write_str("never answered"),
            Trouble::Corrupt => f.write_str("corrupt batch"),
            Trouble::Unsent => f.write_str("never sent"),
        }
    }
}

/// Which time a latency is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// From when a Produce request was due to its answer.
    Produce,
    /// The same, while a backlog is being drained.
    Draining,
    /// From when a Fetch request was sent to its answer.
    Fetch,
    /// From when a record was due to when a consumer had it.
    EndToEnd,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Produce, Kind::Draining, Kind::Fetch, Kind::EndToEnd];

    /// Its name in the log and in JSON.
    pub fn tag(self) -> &'static str {
        match self {
            Kind::Produce => "produce",
            Kind::Draining => "produce-draining",
            Kind::Fetch => "fetch",
            Kind::EndToEnd => "e2e",
        }
    }
}

/// What went through, one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Requests answered without an error.
    pub requests: u64,
    /// Record batches in them.
    pub batches: u64,
    /// Records in those.
    pub records: u64,
    /// Bytes of those batches.
    pub bytes: u64,
}

impl Flow {
    /// Adds another's.
    pub fn add(&mut self, other: Flow) {
        self.requests += other.requests;
        self.batches += other.batches;
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// What one worker saw between two moments.
#[derive(Debug)]
pub struct Interval {
    /// Nanoseconds of each kind that was measured.
    latency: [Option<Histogram<u64>>; Kind::ALL.len()],
    /// Nanoseconds from when a request was due to when the generator got round to it.
    pub lag: Histogram<u64>,
    pub produced: Flow,
    pub consumed: Flow,
    /// CPU time of the worker.
    pub cpu_nanos: u64,
    pub troubles: BTreeMap<Trouble, u64>,
}

impl Default for Interval {
    fn default() -> Interval {
        Interval {
            latency: Default::default(),
            lag: histogram(),
            produced: Flow::default(),
            consumed: Flow::default(),
            cpu_nanos: 0,
            troubles: BTreeMap::new(),
        }
    }
}

impl Interval {
    /// So many requests (or records) that were due at the same moment are done now.
    pub fn done(&mut self, kind: Kind, now: u64, (due, count): (u64, u64)) {
        if count > 0 {
            let histogram = self.latency[kind as usize].get_or_insert_with(histogram);
            histogram.saturating_record_n(now.saturating_sub(due), count);
        }
    }

    /// The latencies of a kind, if there are any.
    pub fn latency(&self, kind: Kind) -> Option<&Histogram<u64>> {
        self.latency[kind as usize].as_ref()
    }

    /// Something went wrong so many times.
    pub fn trouble(&mut self, trouble: Trouble, times: u64) {
        if times > 0 {
            *self.troubles.entry(trouble).or_default() += times;
        }
    }

    /// Adds what another worker saw, or what was seen later.
    pub fn add(&mut self, other: &Interval) {
        for (mine, other) in self.latency.iter_mut().zip(&other.latency) {
            if let Some(other) = other {
                mine.get_or_insert_with(histogram).add(other).expect("the bounds are alike");
            }
        }
        self.lag.add(&other.lag).expect("the bounds are alike");
        self.produced.add(other.produced);
        self.consumed.add(other.consumed);
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
