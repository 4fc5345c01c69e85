//! What producers and consumers of one run know of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts records that were sent and received, so that the end can wait for the last.
#[derive(Debug)]
pub struct Journey {
    /// Tells this run's records from others.
    pub run: u64,
    sent: AtomicU64,
    received: AtomicU64,
    lost: AtomicU64,
    /// Each record is received so many times.
    readers: u64,
    /// A backlog that stands before the records of this run.
    pub drain: Option<Arc<Drain>>,
}

/// A backlog that consumers get through.
#[derive(Debug)]
pub struct Drain {
    /// Partitions that nobody has caught up with, counted for each who reads them.
    left: AtomicU64,
    /// When there were none left.
    at: AtomicU64,
}

impl Drain {
    /// So many partitions have a backlog.
    pub fn new(partitions: u64) -> Arc<Drain> {
        Arc::new(Drain { left: AtomicU64::new(partitions), at: AtomicU64::new(0) })
    }

    /// One partition has none any more, at this moment.
    pub fn caught_up(&self, now: u64) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.at.store(now, Ordering::Relaxed);
        }
    }

    /// When the last had none any more; none if that never was.
    pub fn over_at(&self) -> Option<u64> {
        Some(self.at.load(Ordering::Relaxed)).filter(|&at| at > 0)
    }
}

impl Journey {
    /// The records of this run are read by so many consumers each.
    pub fn new(run: u64, readers: u64, drain: Option<Arc<Drain>>) -> Arc<Journey> {
        let none = || AtomicU64::new(0);
        Arc::new(Journey { run, sent: none(), received: none(), lost: none(), readers, drain })
    }

    /// Whether a backlog stands before the records of this run.
    pub fn is_draining(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.left.load(Ordering::Relaxed) > 0)
    }

    /// So many records were sent.
    pub fn sent(&self, records: u64) {
        self.sent.fetch_add(records, Ordering::Relaxed);
    }

    /// So many records were received.
    pub fn received(&self, records: u64) {
        self.received.fetch_add(records, Ordering::Relaxed);
    }

    /// So many of those sent were refused, or nobody knows what became of them.
    pub fn lost(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
    }

    /// How many should still come. What came though nobody knew it makes this too small.
    pub fn under_way(&self) -> u64 {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let expected = load(&self.sent).saturating_sub(load(&self.lost)) * self.readers;
        expected.saturating_sub(load(&self.received))
    }
}
