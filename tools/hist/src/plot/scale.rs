//! From a number to its place on an axis, and where an axis has its ticks.

use crate::units;

/// An axis: what is at its two ends, in its own measure and on the picture.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    domain: (f64, f64),
    range: (f64, f64),
}

/// A line across the panel, with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub at: f64,
    /// Empty for a line that has no name.
    pub label: String,
}

impl Scale {
    /// The domain must not be empty.
    pub fn new(domain: (f64, f64), range: (f64, f64)) -> Scale {
        Scale { domain, range }
    }

    pub fn place(&self, value: f64) -> f64 {
        let part = (value - self.domain.0) / (self.domain.1 - self.domain.0);
        self.range.0 + part * (self.range.1 - self.range.0)
    }
}

/// Where a logarithmic axis of latencies begins and ends to hold these, as powers of ten of a
/// nanosecond, and its ticks there.
///
/// It ends on a tick, or at least with a little room beyond what it holds. Three powers of ten have
/// ticks at 1, 2 and 5; more have only lines there, and names at the powers.
pub fn latencies(least_ns: f64, most_ns: f64) -> ((f64, f64), Vec<Tick>) {
    let (least, most) = (log_ns(least_ns), log_ns(most_ns));
    let steps: Vec<f64> = (0..)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|step| (step * 10f64.powi(power)).log10()))
        .take(3 * 21)
        .collect();
    // From the step below to the step above, and three steps at least.
    let mut from = steps.iter().rposition(|step| *step <= least + 1e-9).unwrap_or(0);
    let mut to = steps.iter().position(|step| *step >= most - 1e-9).unwrap_or(steps.len() - 1);
    if to - from < 3 {
        from = from.saturating_sub(1);
        to = (from + 3).min(steps.len() - 1);
    }
    let few = to - from <= 9;
    let ticks = (from..=to)
        .map(|step| {
            let named = few || step % 3 == 0;
            let ns = 10f64.powf(steps[step]);
            Tick { at: steps[step], label: if named { units::tick(ns) } else { String::new() } }
        })
        .collect();
    ((steps[from], steps[to]), ticks)
}

/// A latency's place on a logarithmic axis. 0 is taken for 1 ns, the least there is to measure.
pub fn log_ns(ns: f64) -> f64 {
    ns.max(1.0).log10()
}

/// Ticks of the percentile axis, at log10(1 / (1 - quantile)), as far as `end`.
pub fn percentiles(end: f64) -> Vec<Tick> {
    let mut ticks = vec![
        Tick { at: 0.0, label: "0 %".into() },
        Tick { at: 2f64.log10(), label: "50 %".into() },
        Tick { at: 1.0, label: "90 %".into() },
        Tick { at: 2.0, label: "99 %".into() },
    ];
    let more = 3..=(end.floor() as usize).max(2);
    ticks.extend(more.map(|nines| {
        let label = format!("99.{} %", "9".repeat(nines - 2));
        Tick { at: nines as f64, label }
    }));
    ticks.retain(|tick| tick.at <= end + 1e-9);
    ticks
}

/// Ticks of an axis of seconds from 0 to `end`, about eight of them.
pub fn times(end: f64) -> Vec<Tick> {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 3600.0;
    const DAY: f64 = 24.0 * HOUR;
    let steps = [15.0, 30.0, MINUTE, 2.0 * MINUTE, 5.0 * MINUTE, 10.0 * MINUTE, 15.0 * MINUTE];
    let hours = [0.5, 1.0, 2.0, 4.0, 6.0, 12.0, 24.0].map(|hours| hours * HOUR);
    let decimal = |powers: std::ops::Range<i32>| {
        powers.flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)))
    };
    let days = decimal(0..12).map(|days| days * DAY).skip(1);
    let step = decimal(-9..1)
        .chain([10.0])
        .chain(steps)
        .chain(hours)
        .chain(days)
        .find(|step| end / step <= 10.0)
        .unwrap_or(end);
    let (unit, in_seconds) = match step {
        ..MINUTE => ("s", 1.0),
        ..HOUR => ("min", MINUTE),
        ..DAY => ("h", HOUR),
        _ => ("d", DAY),
    };
    let digits = (-(step / in_seconds).log10().floor()).max(0.0) as usize;
    let digits = if step == 0.5 * HOUR { 0 } else { digits };
    (0..=(end / step + 1e-9).floor() as u64)
        .map(|tick| tick as f64 * step)
        .map(|at| Tick { at, label: format!("{:.digits$} {unit}", at / in_seconds) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| &tick.label[..]).filter(|label| !label.is_empty()).collect()
    }

    #[test]
    fn places_lie_between_the_ends() {
        let scale = Scale::new((1.0, 3.0), (100.0, 0.0));
        assert_eq!([1.0, 2.0, 3.0].map(|value| scale.place(value)), [100.0, 50.0, 0.0]);
    }

    #[test]
    fn latencies_end_on_ticks() {
        let ((from, to), ticks) = latencies(23_000.0, 4_100_000.0);
        assert_eq!(labels(&ticks)[..3], ["20 us", "50 us", "100 us"]);
        assert_eq!(labels(&ticks).last(), Some(&"5 ms"));
        assert!(from <= log_ns(23_000.0) && to >= log_ns(4_100_000.0));
        // Many powers: only they have names.
        assert_eq!(labels(&latencies(0.0, 1e9).1).len(), 10);
    }

    #[test]
    fn one_latency_has_an_axis_around_it() {
        for ns in [0.0, 1.0, 1e6, 3e6, 18e18] {
            let ((from, to), ticks) = latencies(ns, ns);
            assert!(from <= log_ns(ns) && log_ns(ns) <= to && to - from > 0.5, "{ns}");
            assert!(ticks.len() >= 4);
        }
    }

    #[test]
    fn percentiles_have_a_nine_for_each_power() {
        assert_eq!(labels(&percentiles(0.0)), ["0 %"]);
        let all = ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"];
        assert_eq!(labels(&percentiles(4.2)), all);
    }

    #[test]
    fn times_have_round_steps() {
        let cases = [
            (0.5, "0.05 s"),
            (8.0, "1 s"),
            (20.0, "2 s"),
            (100.0, "10 s"),
            (130.0, "15 s"),
            (600.0, "1 min"),
            (7_200.0, "15 min"),
            (86_400.0, "4 h"),
            (2_000_000.0, "5 d"),
        ];
        for (end, second) in cases {
            let ticks = times(end);
            assert!((2..=11).contains(&ticks.len()), "{end}: {ticks:?}");
            assert_eq!(ticks[1].label, second, "{end}");
        }
    }
}
