//! Whether so many heartbeats of consumer groups come that they are worth being waited for
//! together.
//!
//! To wake a thread that sleeps, and to fill the caches again that it finds, costs more than what
//! a heartbeat asks for. Where thousands come in a second, each by itself, most of what they cost
//! is that.

use std::cell::Cell;
use std::time::Duration;

/// So many in a second are many: with fewer, few would come while one waits.
const MANY_PER_SECOND: u32 = 500;

/// The heartbeats that one shard's clients send.
#[derive(Default)]
pub struct Heartbeats {
    counted: Cell<u32>,
    are_many: Cell<bool>,
}

impl Heartbeats {
    /// One has come. Returns whether many do.
    pub fn count(&self) -> bool {
        self.counted.set(self.counted.get().saturating_add(1));
        self.are_many.get()
    }

    /// So long has passed since this was last called.
    pub fn tick(&self, period: Duration) {
        let per_second = f64::from(self.counted.take()) / period.as_secs_f64();
        self.are_many.set(per_second >= f64::from(MANY_PER_SECOND));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_many_while_enough_come_in_each_period() {
        let heartbeats = Heartbeats::default();
        let period = Duration::from_millis(100);
        for (come, are_many) in [(49, false), (50, true), (1000, true), (49, false), (0, false)] {
            for _ in 0..come {
                heartbeats.count();
            }
            heartbeats.tick(period);
            assert_eq!(heartbeats.are_many.get(), are_many, "{come}");
        }
        heartbeats.are_many.set(true);
        assert!(heartbeats.count());
    }
}
