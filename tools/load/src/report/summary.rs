//! The result of a run, as programs get it.

use std::collections::BTreeMap;

use hutong_hist::summary::{PERCENTILES, Summary as Percentiles};
use hutong_hist::units::{count, duration};
use serde::Serialize;

use super::{Flow, Interval, Kind};

/// The generator's own lateness may be this part of what it reports before it says so.
const LAG_PART_MAX: f64 = 0.1;
/// Nanoseconds of lateness that are nobody's fault: a turn of the loop, a tick of the kernel.
const LAG_NS_MIN: f64 = 20_000.0;
/// Values that a percentile must leave above it: fewer are one hiccup, not a tail.
const VALUES_ABOVE_MIN: f64 = 10.0;
/// A closed loop whose threads are as busy as this may be showing the generator's limit.
const CPU_PART_MAX: f64 = 0.95;

/// An open loop may miss this part of its requests.
const RATE_PART_MISSED: f64 = 0.01;

/// What was run.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    pub workload: &'static str,
    pub brokers: Vec<String>,
    pub topic: String,
    pub partitions: usize,
    pub connections: usize,
    pub threads: usize,
    pub pace: String,
    /// Requests a second that an open loop was asked for.
    pub rate: Option<f64>,
    /// What else this workload can be told.
    pub settings: serde_json::Value,
    /// The same in words.
    #[serde(skip)]
    pub says: String,
    pub command: Vec<String>,
}

/// All that was measured, and what of it came after the last request had been sent.
pub struct Total {
    pub all: Interval,
    pub after_end: Interval,
}

/// What went through, one way. Rates are of what came within the time measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Throughput {
    /// Requests answered without an error.
    pub requests: u64,
    pub batches: u64,
    pub records: u64,
    /// Bytes of record batches.
    pub bytes: u64,
    pub requests_per_second: f64,
    pub records_per_second: f64,
    /// In units of a million.
    pub megabytes_per_second: f64,
}

/// Records that were there before consumers began.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Backlog {
    /// Of all who read: what two read counts twice.
    pub records: u64,
    /// Until every consumer had caught up with the producers; none if that never happened.
    pub drained_seconds: Option<f64>,
}

/// See the module. Latencies are in nanoseconds.
#[derive(Debug, Serialize)]
pub struct Summary {
    #[serde(flatten)]
    pub description: Description,
    /// When the first request was due, by the run's clock.
    #[serde(skip)]
    begin: u64,
    /// The time measured, without the warm-up.
    pub seconds: f64,
    pub produced: Option<Throughput>,
    pub consumed: Option<Throughput>,
    pub backlog: Option<Backlog>,
    /// By [`Kind::tag`].
    pub latency: BTreeMap<&'static str, Percentiles>,
    /// From when requests were due to when the generator got round to them.
    pub generator_lag: Percentiles,
    /// How much of a CPU the generator's threads used, each.
    pub generator_cpu: f64,
    /// How often, by name.
    pub errors: BTreeMap<String, u64>,
    /// What makes these figures less than the broker's.
    pub warnings: Vec<String>,
    /// Why it ended early, or isn't what was asked for.
    pub failures: Vec<String>,
}

impl Summary {
    /// Sums up what `workers` workers measured in so many nanoseconds.
    pub fn new(
        description: Description,
        total: Total,
        begin: u64,
        nanos: u64,
        workers: usize,
        failures: Vec<String>,
    ) -> Summary {
        let Total { all, after_end } = total;
        let seconds = (nanos as f64 / 1e9).max(1e-9);
        let cpu_nanos = (all.cpu_nanos - after_end.cpu_nanos) as f64;
        let percentiles = |kind| Some((Kind::tag(kind), Percentiles::of(all.latency(kind)?)));
        let mut summary = Summary {
            begin,
            seconds,
            produced: throughput(all.produced, after_end.produced, seconds),
            consumed: throughput(all.consumed, after_end.consumed, seconds),
            backlog: None,
            latency: Kind::ALL.into_iter().filter_map(percentiles).collect(),
            generator_lag: Percentiles::of(&all.lag),
            generator_cpu: cpu_nanos / (seconds * 1e9 * workers as f64),
            errors: all.troubles.iter().map(|(what, n)| (what.to_string(), *n)).collect(),
            warnings: Vec::new(),
            failures,
            description,
        };
        summary.warnings = summary.find_warnings();
        let failure = summary.find_failures(nanos);
        summary.failures.extend(failure);
        summary
    }

    /// Whether nothing went wrong for good, and something came of it.
    pub fn succeeded(&self) -> bool {
        let some = |flow: &Option<Throughput>| flow.is_some_and(|flow| flow.requests > 0);
        self.failures.is_empty() && (some(&self.produced) || some(&self.consumed))
    }

    /// So many records that were sent were never received.
    pub fn missing(&mut self, records: u64) {
        if records > 0 {
            self.errors.insert("never received".into(), records);
            self.failures.push(format!("{} records were never received", count(records)));
        }
    }

    /// Consumers had a backlog to get through.
    pub fn drained(&mut self, backlog: Backlog) {
        self.backlog = Some(backlog);
        if backlog.drained_seconds.is_none() {
            self.failures.push("the backlog was not drained before the end: run longer".into());
        }
    }

    /// How long after the first request a moment of the run's clock was.
    pub fn seconds_since_begin(&self, moment: u64) -> f64 {
        moment.saturating_sub(self.begin) as f64 / 1e9
    }

    /// What was asked for and can't be had.
    fn find_failures(&self, measured_nanos: u64) -> Option<String> {
        if measured_nanos == 0 {
            return Some("it ended before the warm-up was over: nothing was measured".into());
        }
        if !self.failures.is_empty() {
            return None;
        }
        let (wanted, flow) = (self.description.rate?, self.produced?);
        // An open loop of strangers is uneven by itself.
        let requests = wanted * self.seconds;
        let missed = requests - flow.requests_per_second * self.seconds;
        (missed > requests * RATE_PART_MISSED + 5.0 * requests.sqrt()).then(|| {
            format!(
                "the rate was not held: {} of {} requests/s were answered in time",
                count(flow.requests_per_second as u64),
                count(wanted as u64)
            )
        })
    }

    fn find_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let open_loop = self.description.rate.is_some();
        for (tag, latency) in self.latency.iter().filter(|_| open_loop) {
            // A fetch is sent when the one before is answered, never late.
            if *tag != Kind::Fetch.tag()
                && let Some((name, lag, shown)) = distorted(&self.generator_lag, latency)
            {
                warnings.push(format!(
                    "the generator was late itself: {tag} {name} {} of the {} shown; give it a \
                     CPU of its own (--cpus, --spin), more --threads or less --rate",
                    duration(lag),
                    duration(shown)
                ));
            }
        }
        if !open_loop && self.generator_cpu > CPU_PART_MAX {
            warnings.push(format!(
                "the generator used {:.0} % of its CPU: the rate may be its own limit; compare \
                 with `hutong-load sink`, or give it more --threads",
                self.generator_cpu * 100.0
            ));
        }
        warnings
    }
}

/// The first percentile of which our own lateness is too large a part: its name, the lateness and
/// what is shown.
fn distorted(lag: &Percentiles, latency: &Percentiles) -> Option<(&'static str, f64, f64)> {
    let all = PERCENTILES.iter().zip(lag.percentiles()).zip(latency.percentiles());
    all.filter(|(((_, quantile), _), _)| lag.count as f64 * (1.0 - quantile) >= VALUES_ABOVE_MIN)
        .map(|(((name, _), (_, lag)), (_, shown))| (*name, lag, shown))
        .find(|&(_, lag, shown)| lag > LAG_NS_MIN && lag > shown * LAG_PART_MAX)
}

/// None of nothing.
fn throughput(all: Flow, after_end: Flow, seconds: f64) -> Option<Throughput> {
    let per_second = |all: u64, late: u64| (all - late) as f64 / seconds;
    (all != Flow::default()).then(|| Throughput {
        requests: all.requests,
        batches: all.batches,
        records: all.records,
        bytes: all.bytes,
        requests_per_second: per_second(all.requests, after_end.requests),
        records_per_second: per_second(all.records, after_end.records),
        megabytes_per_second: per_second(all.bytes, after_end.bytes) / 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::super::histogram;
    use super::*;

    fn percentiles(values: &[(u64, u64)]) -> Percentiles {
        let mut all = histogram();
        values.iter().for_each(|&(value, count)| all.record_n(value, count).unwrap());
        Percentiles::of(&all)
    }

    #[test]
    fn lateness_is_told_where_it_is_a_part_of_what_is_shown() {
        let late = percentiles(&[(1_000, 980), (400_000, 20)]);
        let slow = percentiles(&[(50_000, 980), (900_000, 20)]);
        let (name, lag, _) = distorted(&late, &slow).unwrap();
        assert_eq!(name, "p99");
        assert!((399_000.0..401_000.0).contains(&lag), "{lag}");
    }

    #[test]
    fn small_lateness_and_single_hiccups_are_not_told() {
        let shown = percentiles(&[(50_000, 1_000)]);
        assert_eq!(distorted(&percentiles(&[(15_000, 1_000)]), &shown), None, "a turn of the loop");
        let hiccups = percentiles(&[(500, 995), (3_000_000, 5)]);
        assert_eq!(distorted(&hiccups, &shown), None, "five are no tail");
        let large = percentiles(&[(30_000_000, 1_000)]);
        assert_eq!(distorted(&percentiles(&[(1_000_000, 1_000)]), &large), None, "a small part");
    }
}
