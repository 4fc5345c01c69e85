//! Letting go of what topics no longer want kept.
//!
//! Now and then each partition is held against its topic's `retention.ms` and `retention.bytes`.
//! Where records may go, the log start moves: an entry of the journal like any other. Whole
//! segments that no partition needs are freed, but none that the last checkpoint doesn't cover.

use std::time::Duration;

use crate::journal::page::Page;
use crate::metadata::Catalog;
use crate::model::position::Position;
use crate::model::time::{Now, Time};
use crate::partition::index::Retention;
use crate::shard::group::{ControlItem, Group};

/// How often partitions are looked at.
pub const RETENTION_INTERVAL: Duration = Duration::from_secs(10);

/// When to look again.
#[derive(Clone, Copy, Debug)]
pub struct RetentionTimer {
    next: Time,
}

impl RetentionTimer {
    /// First looks one interval after the start.
    pub fn new(now: Time) -> RetentionTimer {
        RetentionTimer { next: now + RETENTION_INTERVAL }
    }

    /// Whether it is time.
    pub fn is_due(&mut self, now: Time) -> bool {
        let due = self.next <= now;
        if due {
            self.next = now + RETENTION_INTERVAL;
        }
        due
    }

    /// When it will be.
    pub fn next(&self) -> Time {
        self.next
    }
}

/// Moves the log starts of a group's partitions as their topics ask for.
pub fn retire<P: Page>(group: &mut Group<P>, catalog: &Catalog, now: Now) {
    let mut moves = Vec::new();
    for partition in group.partitions.iter() {
        let Some((topic, _)) = catalog.partition(partition.key) else { continue };
        let config = &topic.config;
        let retention = Retention {
            timestamp: config.retention_ms.map(|ms| now.wallclock.0.saturating_sub(ms)),
            bytes: config.retention_bytes,
        };
        let end = partition.high_watermark();
        if let Some(offset) = partition.index.retained_from(&retention, end)
            && offset > partition.log_start()
        {
            moves.push(ControlItem::LogStart { partition: partition.key, offset, request: None });
        }
    }
    group.control.extend(moves);
}

/// Frees the segments that nobody needs. Returns how many.
pub fn trim<P: Page>(group: &mut Group<P>) -> usize {
    let oldest = group.partitions.iter().filter_map(|partition| partition.oldest_position()).min();
    let needed = oldest.unwrap_or(Position(u64::MAX));
    let pinned = group.snapshots.pin().unwrap_or(needed);
    if group.is_filling() {
        return 0;
    }
    group.journal.trim(needed.min(pinned).min(group.checkpoint.position))
}
