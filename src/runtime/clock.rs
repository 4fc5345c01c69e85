//! The only place that reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::time::{Now, Time, Wallclock};

/// A monotonic clock that counts from its making, and the time of day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now. One second in, so that no moment equals `Time::default()`.
    pub fn start() -> Clock {
        let now = Instant::now();
        Clock { start: now.checked_sub(Duration::from_secs(1)).unwrap_or(now) }
    }

    /// The moment for deadlines and durations.
    pub fn time(&self) -> Time {
        Time(self.start.elapsed().as_nanos() as u64)
    }

    /// Both clocks. A time of day before 1970 reads as 1970.
    pub fn now(&self) -> Now {
        let of_day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { time: self.time(), wallclock: Wallclock(of_day.as_millis() as i64) }
    }
}
