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
}

impl Journey {
    /// The records of this run are read by so many consumers each.
    pub fn new(run: u64, readers: u64) -> Arc<Journey> {
        let none = || AtomicU64::new(0);
        Arc::new(Journey { run, sent: none(), received: none(), lost: none(), readers })
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
