//! When measuring begins and ends, and how the time between is cut.

use std::time::Duration;

/// Moments in nanoseconds of the run's clock.
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

    /// When the interval of this end began, after the warm-up, and how long it is. The last, which
    /// has no end, begins at `previous_end` and is as long as any.
    pub fn measured(&self, end: u64, previous_end: u64) -> (Duration, Duration) {
        let (begin, end) = if end > self.end {
            let begin = previous_end.max(self.measure_from);
            (begin, begin + self.interval)
        } else {
            // All are of the same length but for the last before the end.
            let whole = (end - self.measure_from - 1) / self.interval;
            (self.measure_from + whole * self.interval, end)
        };
        (Duration::from_nanos(begin - self.measure_from), Duration::from_nanos(end - begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_follow_each_other_without_a_gap() {
        let ms = Duration::from_millis;
        for warmup in [0, 300] {
            let span = Span::new(7_000_000, ms(warmup), ms(2_500), ms(1_000));
            let mut end = if warmup == 0 { 0 } else { span.interval_end(0) };
            let mut found = Vec::new();
            while end != u64::MAX {
                let previous = end;
                end = span.interval_end(previous);
                found.push(span.measured(end, previous));
            }
            let wanted = [(0, 1_000), (1_000, 1_000), (2_000, 500), (2_500, 1_000)]
                .map(|(a, b)| (ms(a), ms(b)));
            assert_eq!(found, wanted);
        }
    }
}
