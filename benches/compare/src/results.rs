//! What came out: the raw results as they are kept, and what the rounds say together.

use std::collections::BTreeMap;

use hutong_hist::summary::Summary as Percentiles;
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::host::Host;
use crate::system::System;

/// The latencies that are shown.
pub const SHOWN: [&str; 5] = ["p50", "p90", "p99", "p99.9", "p99.99"];

/// All of a comparison.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    pub host: Host,
    pub args: Args,
    pub systems: Vec<Described>,
    /// What `hutong doctor` measured before the first round and after the last.
    pub probes: Vec<Probe>,
    pub runs: Vec<Run>,
}

/// A system as it was run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Described {
    pub system: System,
    pub version: String,
    pub command: String,
    pub settings: String,
}

/// Lines of the doctor: what was measured, and what was found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Probe {
    pub when: String,
    pub found: BTreeMap<String, String>,
}

/// One workload on one system in one round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    pub workload: String,
    pub system: Option<System>,
    pub round: u32,
    pub command: String,
    /// None if nothing came of it.
    pub figures: Option<Figures>,
    /// Why it isn't what was asked for.
    pub failures: Vec<String>,
    /// What the generator says about its own part.
    pub warnings: Vec<String>,
    /// Errors that clients got, by name.
    pub errors: BTreeMap<String, u64>,
    /// CPUs that the broker kept busy.
    pub broker_cpus: f64,
    /// CPUs that neither broker nor generator kept busy: other work, and the kernel's own.
    pub other_cpus: f64,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Produce requests that were acknowledged.
    pub requests_per_second: f64,
    /// Bytes of record batches, in units of a million.
    pub produced_mb_per_second: f64,
    pub consumed_mb_per_second: Option<f64>,
    pub drained_seconds: Option<f64>,
    /// By tag.
    pub latency: BTreeMap<String, Percentiles>,
}

impl Figures {
    /// One of [`SHOWN`], in nanoseconds.
    pub fn percentile(&self, tag: &str, name: &str) -> Option<f64> {
        let latency = self.latency.get(tag)?;
        latency.percentiles().into_iter().find(|(found, _)| *found == name).map(|(_, ns)| ns)
    }
}

/// What the rounds say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[half],
            _ => (values[half - 1] + values[half]) / 2.0,
        };
        Some(Spread { median, min, max })
    }

    /// How far the rounds lie apart, as a part of their median.
    pub fn width(&self) -> f64 {
        if self.median > 0.0 { (self.max - self.min) / self.median } else { 0.0 }
    }
}

impl Results {
    /// The runs of a workload on a system, by round.
    pub fn of(&self, workload: &str, system: System) -> impl Iterator<Item = &Run> {
        let wanted = move |run: &&Run| run.workload == workload && run.system == Some(system);
        self.runs.iter().filter(wanted)
    }

    /// One figure over the rounds. None if no round has it.
    pub fn spread(
        &self,
        workload: &str,
        system: System,
        figure: impl Fn(&Figures) -> Option<f64>,
    ) -> Option<Spread> {
        let figures = self.of(workload, system).filter_map(|run| run.figures.as_ref());
        Spread::of(figures.filter_map(figure))
    }

    /// Who was compared, in the order in which they are shown.
    pub fn compared(&self) -> Vec<System> {
        System::ALL.into_iter().filter(|system| self.args.systems.contains(system)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_told_by_their_median_and_their_extremes() {
        let spread = Spread::of([30.0, 10.0, 20.0]).unwrap();
        assert_eq!(spread, Spread { median: 20.0, min: 10.0, max: 30.0 });
        assert_eq!(spread.width(), 1.0);
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([7.0]).unwrap(), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([0.0, 0.0]).unwrap().width(), 0.0);
    }
}
