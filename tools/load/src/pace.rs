//! When requests are meant to leave.
//!
//! In an open loop the schedule knows nothing of the answers: a broker that stalls doesn't slow it
//! down, and every request that should have left meanwhile counts with its full wait. That is what
//! keeps a latency figure honest ("coordinated omission").

/// How requests are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Spacing {
    /// As many strangers would send them: a Poisson process
    Poisson,
    /// One every 1/rate seconds
    Even,
}

/// The moments at which requests of one thread are due, in nanoseconds, without end.
#[derive(Debug)]
pub struct Arrivals {
    next: f64,
    gap_nanos: f64,
    spacing: Spacing,
    random: fastrand::Rng,
}

impl Arrivals {
    /// `rate` arrivals a second from `start` on. Equal seeds give equal schedules.
    pub fn new(rate: f64, spacing: Spacing, start: u64, seed: u64) -> Arrivals {
        let gap_nanos = 1e9 / rate;
        let mut random = fastrand::Rng::with_seed(seed);
        // Threads with even spacing must not all send at the same moments.
        let next = start as f64 + random.f64() * gap_nanos;
        Arrivals { next, gap_nanos, spacing, random }
    }

    /// The moment of the next arrival.
    pub fn peek(&self) -> u64 {
        self.next as u64
    }

    /// Takes the next arrival if it is due by `now`.
    pub fn pop(&mut self, now: u64) -> Option<u64> {
        let due = self.next as u64;
        if due > now {
            return None;
        }
        self.next += match self.spacing {
            Spacing::Even => self.gap_nanos,
            // 1 - x is never zero, so the logarithm is finite.
            Spacing::Poisson => -(1.0 - self.random.f64()).ln() * self.gap_nanos,
        };
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(spacing: Spacing, rate: f64, seconds: u64) -> Vec<u64> {
        let mut arrivals = Arrivals::new(rate, spacing, 1_000_000, 7);
        std::iter::from_fn(|| arrivals.pop(1_000_000 + seconds * 1_000_000_000)).collect()
    }

    #[test]
    fn even_arrivals_are_one_gap_apart() {
        let due = arrivals(Spacing::Even, 1000.0, 10);
        assert!((9_999..=10_001).contains(&due.len()), "{}", due.len());
        assert!(due.windows(2).all(|pair| (999_999..=1_000_001).contains(&(pair[1] - pair[0]))));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_strangers() {
        let due = arrivals(Spacing::Poisson, 10_000.0, 10);
        assert!((98_000..=102_000).contains(&due.len()), "{}", due.len());
        // The gaps of a Poisson process are as wide as they are long: exponential.
        let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let spread = variance.sqrt() / mean;
        assert!((0.97..1.03).contains(&spread), "{spread}");
    }

    #[test]
    fn what_was_due_during_a_stall_is_handed_out_with_its_own_moment() {
        let mut arrivals = Arrivals::new(1000.0, Spacing::Even, 0, 1);
        let first = arrivals.peek();
        let late: Vec<u64> = std::iter::from_fn(|| arrivals.pop(5_000_000_000)).collect();
        assert_eq!(late[0], first);
        assert!((4_999..=5_001).contains(&late.len()));
        assert_eq!(arrivals.pop(5_000_000_000), None);
    }
}
