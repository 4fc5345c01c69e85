//! A histogram in a dozen numbers, as programs and people get it.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::units::Unit;

/// The percentiles of a [`Summary`]: name and quantile.
pub const PERCENTILES: [(&str, f64); 8] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("p99.999", 0.99999),
    ("p99.9999", 0.999999),
];

/// What a histogram of latencies says. All but the count is in nanoseconds.
///
/// A percentile is the highest value that the histogram can't tell from the one it counted, as in
/// every HdrHistogram. Of no values at all, everything is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub count: u64,
    pub min_ns: f64,
    pub mean_ns: f64,
    #[serde(rename = "p50_ns")]
    pub p50: f64,
    #[serde(rename = "p75_ns")]
    pub p75: f64,
    #[serde(rename = "p90_ns")]
    pub p90: f64,
    #[serde(rename = "p99_ns")]
    pub p99: f64,
    #[serde(rename = "p99.9_ns")]
    pub p99_9: f64,
    #[serde(rename = "p99.99_ns")]
    pub p99_99: f64,
    #[serde(rename = "p99.999_ns")]
    pub p99_999: f64,
    #[serde(rename = "p99.9999_ns")]
    pub p99_9999: f64,
    pub max_ns: f64,
}

impl Summary {
    /// Of a histogram whose values are nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Summary {
        Summary::of_unit(histogram, Unit::Nanoseconds)
    }

    /// Of a histogram whose values are of this unit.
    pub fn of_unit(histogram: &Histogram<u64>, unit: Unit) -> Summary {
        if histogram.is_empty() {
            return Summary::default();
        }
        let at = |which: usize| quantile(histogram, PERCENTILES[which].1) * unit.ns();
        Summary {
            count: histogram.len(),
            min_ns: histogram.min() as f64 * unit.ns(),
            mean_ns: histogram.mean() * unit.ns(),
            p50: at(0),
            p75: at(1),
            p90: at(2),
            p99: at(3),
            p99_9: at(4),
            p99_99: at(5),
            p99_999: at(6),
            p99_9999: at(7),
            max_ns: histogram.max() as f64 * unit.ns(),
        }
    }

    /// The percentiles with their names, in the order of [`PERCENTILES`].
    pub fn percentiles(&self) -> [(&'static str, f64); PERCENTILES.len()] {
        let values = [
            self.p50,
            self.p75,
            self.p90,
            self.p99,
            self.p99_9,
            self.p99_99,
            self.p99_999,
            self.p99_9999,
        ];
        std::array::from_fn(|at| (PERCENTILES[at].0, values[at]))
    }
}

/// The value at a quantile (0 to 1), never above the maximum.
pub(crate) fn quantile(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile).min(histogram.max()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        values.into_iter().for_each(|value| histogram.record(value).unwrap());
        histogram
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let summary = Summary::of(&histogram(1..=1000));
        assert_eq!(summary.count, 1000);
        assert_eq!((summary.min_ns, summary.max_ns), (1.0, 1000.0));
        assert_eq!((summary.p50, summary.p99, summary.p99_9), (500.0, 990.0, 999.0));
        assert_eq!(summary.p99_9999, 1000.0);
        assert_eq!(summary.mean_ns, 500.5);
    }

    #[test]
    fn units_are_told_in_nanoseconds() {
        let summary = Summary::of_unit(&histogram([5]), Unit::Milliseconds);
        let all = [summary.min_ns, summary.mean_ns, summary.p50, summary.p99_9999, summary.max_ns];
        assert_eq!(all, [5e6; 5]);
    }

    #[test]
    fn nothing_counted_is_all_zero() {
        assert_eq!(Summary::of(&histogram([])), Summary::default());
    }

    #[test]
    fn json_names_each_percentile() {
        let summary = Summary::of(&histogram(1..=100));
        let json = serde_json::to_value(summary).unwrap();
        for (name, value) in summary.percentiles() {
            assert_eq!(json[format!("{name}_ns")], value);
        }
        assert_eq!(serde_json::from_value::<Summary>(json).unwrap(), summary);
    }
}
