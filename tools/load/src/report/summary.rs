//! The result of a run, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::Serialize;

use super::Interval;
use crate::output::{Latency, count, duration};

/// The generator's own lateness may be this part of what it reports before it says so.
const LAG_PART_MAX: f64 = 0.1;
/// A closed loop whose threads are as busy as this may be showing the generator's limit.
const CPU_PART_MAX: f64 = 0.95;

/// What was run.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    pub workload: String,
    pub brokers: Vec<String>,
    pub topic: String,
    pub partitions: usize,
    pub connections: usize,
    pub threads: usize,
    pub pace: String,
    pub open_loop: bool,
    pub acks: String,
    pub record_bytes: usize,
    pub batch_records: usize,
    pub command: Vec<String>,
}

/// All that was measured, and what of it came after the last request had been sent.
pub struct Total {
    pub all: Interval,
    pub after_end: Interval,
}

/// See the module.
#[derive(Debug, Serialize)]
pub struct Summary {
    #[serde(flatten)]
    pub description: Description,
    /// Requests answered without an error.
    pub requests: u64,
    pub records: u64,
    /// The time measured, without the warm-up.
    pub seconds: f64,
    /// Those answered within that time.
    pub requests_per_second: f64,
    pub records_per_second: f64,
    /// Bytes of record batches, in units of a million.
    pub megabytes_per_second: f64,
    /// From when requests were due to their answers.
    pub latency: Latency,
    /// From when requests were due to when the generator got round to them.
    pub generator_lag: Latency,
    /// How much of a CPU the generator's threads used, each.
    pub generator_cpu: f64,
    pub errors: BTreeMap<String, u64>,
    /// What makes these figures less than the broker's.
    pub warnings: Vec<String>,
    /// Why it ended early.
    pub failures: Vec<String>,
}

impl Summary {
    /// Sums up what `workers` workers measured in so many nanoseconds.
    pub fn new(
        description: Description,
        total: Total,
        nanos: u64,
        workers: usize,
        failures: Vec<String>,
    ) -> Summary {
        let Total { all, after_end } = total;
        let seconds = (nanos as f64 / 1e9).max(1e-9);
        let per_second = |count: u64, late: u64| (count - late) as f64 / seconds;
        let generator_cpu =
            (all.cpu_nanos - after_end.cpu_nanos) as f64 / (seconds * 1e9 * workers as f64);
        let mut summary = Summary {
            requests: all.requests,
            records: all.records,
            seconds,
            requests_per_second: per_second(all.requests, after_end.requests),
            records_per_second: per_second(all.records, after_end.records),
            megabytes_per_second: per_second(all.sent_bytes, after_end.sent_bytes) / 1e6,
            latency: Latency::of(&all.latency),
            generator_lag: Latency::of(&all.lag),
            generator_cpu,
            errors: all.troubles.iter().map(|(what, n)| (what.to_string(), *n)).collect(),
            warnings: Vec::new(),
            failures,
            description,
        };
        summary.warnings = summary.find_warnings();
        summary
    }

    fn find_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, lag, latency) in [
            ("p50", self.generator_lag.p50, self.latency.p50),
            ("p99", self.generator_lag.p99, self.latency.p99),
            ("p99.99", self.generator_lag.p99_99, self.latency.p99_99),
        ] {
            if self.description.open_loop && lag as f64 > latency as f64 * LAG_PART_MAX {
                warnings.push(format!(
                    "the generator was late itself: {name} {} of the {} shown; give it a CPU of \
                     its own (--cpus, --spin), more --threads or less --rate",
                    duration(lag),
                    duration(latency)
                ));
            }
        }
        if !self.description.open_loop && self.generator_cpu > CPU_PART_MAX {
            warnings.push(format!(
                "the generator used {:.0} % of its CPU: the rate may be its own limit; compare \
                 with `hutong-load sink`, or give it more --threads",
                self.generator_cpu * 100.0
            ));
        }
        warnings
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.description;
        let plural = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        writeln!(
            f,
            "{}  topic {} of {}, {}, {}, acks {}, {} of {} bytes a request",
            what.workload,
            what.topic,
            plural(what.partitions, "partition"),
            plural(what.connections, "connection"),
            what.pace,
            what.acks,
            plural(what.batch_records, "record"),
            what.record_bytes,
        )?;
        writeln!(
            f,
            "requests  {:>14}  {:>12}/s   in {:.1} s",
            count(self.requests),
            count(self.requests_per_second as u64),
            self.seconds
        )?;
        writeln!(
            f,
            "records   {:>14}  {:>12}/s   {:.1} MB/s",
            count(self.records),
            count(self.records_per_second as u64),
            self.megabytes_per_second
        )?;
        let mut line = String::from("latency ");
        for (name, value) in self.latency.percentiles() {
            write!(line, "  {name} {}", duration(value))?;
        }
        writeln!(f, "{line}")?;
        for (what, times) in &self.errors {
            writeln!(f, "error     {:>14}  {what}", count(*times))?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        for failure in &self.failures {
            writeln!(f, "failed: {failure}")?;
        }
        Ok(())
    }
}
