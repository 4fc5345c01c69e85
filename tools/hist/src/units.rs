//! Numbers as people read them: durations, counts, names of percentiles. And the unit of a value.

use std::fmt;

/// A duration with three digits that count and the unit that fits: `850 ns`, `12.3 us`, `4.56 ms`.
///
/// From 1,000 s on the seconds are whole. What isn't a number, or below 0, is a dash.
pub fn duration(ns: f64) -> String {
    if !ns.is_finite() || ns < 0.0 {
        return "-".to_string();
    }
    if ns == 0.0 {
        return "0 ns".to_string();
    }
    // What would be rounded to 1000 of a unit is 1.00 of the next.
    let (unit, in_ns) = if ns < 999.5 {
        ("ns", 1.0)
    } else if ns < 999_500.0 {
        ("us", 1e3)
    } else if ns < 999_500_000.0 {
        ("ms", 1e6)
    } else {
        ("s", 1e9)
    };
    let value = ns / in_ns;
    if unit == "ns" && value >= 1.0 && value.fract() == 0.0 {
        return format!("{value} ns");
    }
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

/// A tick of an axis: as [`duration`], without digits that say nothing (`1 ms`, not `1.00 ms`).
pub fn tick(ns: f64) -> String {
    let text = duration(ns);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// A count with its thousands apart: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many times `a` goes into `b`: `1.25x`, or a dash where there is nothing to compare with.
pub fn ratio(a: f64, b: f64) -> String {
    let ratio = b / a;
    if !ratio.is_finite() {
        return "-".to_string();
    }
    match ratio {
        0.0 => "0x".to_string(),
        ..0.01 => format!("{ratio:.4}x"),
        ..9.995 => format!("{ratio:.2}x"),
        ..99.95 => format!("{ratio:.1}x"),
        ..999_999.5 => format!("{ratio:.0}x"),
        _ => format!("{ratio:.1e}x"),
    }
}

/// What one value of a histogram is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// What Hutong's own tools write.
    #[default]
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
}

impl Unit {
    pub const ALL: [Unit; 4] =
        [Unit::Nanoseconds, Unit::Microseconds, Unit::Milliseconds, Unit::Seconds];

    /// Nanoseconds in one.
    pub fn ns(self) -> f64 {
        match self {
            Unit::Nanoseconds => 1.0,
            Unit::Microseconds => 1e3,
            Unit::Milliseconds => 1e6,
            Unit::Seconds => 1e9,
        }
    }

    /// Its sign: `ns`, `us`, `ms`, `s`.
    pub fn sign(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Microseconds => "us",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sign())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_the_unit_that_fits() {
        let cases = [
            (0.0, "0 ns"),
            (0.5, "0.50 ns"),
            (1.0, "1 ns"),
            (12.25, "12.2 ns"),
            (850.0, "850 ns"),
            (999.0, "999 ns"),
            (999.6, "1.00 us"),
            (1_000.0, "1.00 us"),
            (9_994.0, "9.99 us"),
            (9_996.0, "10.0 us"),
            (12_345.0, "12.3 us"),
            (99_960.0, "100 us"),
            (999_600.0, "1.00 ms"),
            (4_560_000.0, "4.56 ms"),
            (60e9, "60.0 s"),
            (u64::MAX as f64, "18446744074 s"),
            (f64::NAN, "-"),
            (-1.0, "-"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text, "{ns}");
        }
    }

    #[test]
    fn ticks_are_short() {
        for (ns, text) in [(1e6, "1 ms"), (2.5e6, "2.5 ms"), (1e7, "10 ms"), (100.0, "100 ns")] {
            assert_eq!(tick(ns), text);
        }
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn ratios_say_how_many_times() {
        let cases = [
            (2.0, 5.0, "2.50x"),
            (1.0, 25.0, "25.0x"),
            (1.0, 250.0, "250x"),
            (100.0, 0.5, "0.0050x"),
            (1.0, 1e9, "1.0e9x"),
            (5.0, 0.0, "0x"),
            (0.0, 5.0, "-"),
            (0.0, 0.0, "-"),
        ];
        for (a, b, text) in cases {
            assert_eq!(ratio(a, b), text, "{b} / {a}");
        }
    }
}
