//! Log lines, on standard error: as text for people or as JSON for machines.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::config::{LogFormat, LogLevel};
use crate::model::time::Time;
use crate::runtime::clock::Clock;
use crate::shard::output;

/// How often a client's mistakes are worth a line.
const COMPLAINT_PERIOD: Duration = Duration::from_secs(1);

/// Sends log lines to standard error from now on. Only the first call of a process counts.
pub fn start(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}

/// A line of the core.
pub fn core_line(shard: crate::model::ids::ShardId, level: output::LogLevel, line: &str) {
    let shard = shard.0;
    match level {
        output::LogLevel::Error => tracing::error!(shard, "{line}"),
        output::LogLevel::Warn => tracing::warn!(shard, "{line}"),
        output::LogLevel::Info => tracing::info!(shard, "{line}"),
        output::LogLevel::Debug => tracing::debug!(shard, "{line}"),
    }
}

/// Lines that others can cause: one a second at most, with the number of those left out.
pub struct Complaints {
    clock: Clock,
    next: Cell<Time>,
    left_out: Cell<u64>,
}

impl Complaints {
    /// Complaints timed by this clock.
    pub fn new(clock: Clock) -> Complaints {
        Complaints { clock, next: Cell::new(Time(0)), left_out: Cell::new(0) }
    }

    /// Logs the line, unless there was one within the last second.
    pub fn say(&self, line: impl FnOnce() -> String) {
        let now = self.clock.time();
        if now < self.next.get() {
            self.left_out.set(self.left_out.get() + 1);
            return;
        }
        self.next.set(now + COMPLAINT_PERIOD);
        match self.left_out.take() {
            0 => tracing::warn!("{}", line()),
            more => tracing::warn!("{} (and {more} such lines before)", line()),
        }
    }
}
