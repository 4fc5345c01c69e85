//! What a shard counts. Plain integers and histograms of its own; `runtime` reads them.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Counters and stage histograms of one group.
#[derive(Debug)]
pub struct GroupMetrics {
    /// Journal entries appended.
    pub entries: u64,
    /// Their bytes, padding included.
    pub entry_bytes: u64,
    /// Produce batches in them.
    pub batches: u64,
    /// Answers that came too late.
    pub expired: u64,
    /// Nanoseconds a batch spent in each stage.
    pub stages: Stages,
    /// Queue times of the entry being built that are alike: how many, and how long.
    alike: (u64, u64),
}

/// How long each stage took, in nanoseconds, one histogram for each.
#[derive(Debug)]
pub struct Stages {
    /// From the request queue to the journal cache.
    pub queue: Histogram<u64>,
    /// From the journal cache to this disk.
    pub flush: Histogram<u64>,
    /// From the journal cache to the disks of a majority.
    pub commit: Histogram<u64>,
    /// From the request queue to the response.
    pub total: Histogram<u64>,
}

impl Default for GroupMetrics {
    fn default() -> Self {
        let histogram = || {
            // Up to a minute with three digits: memory is bounded, larger values count as that.
            let mut histogram =
                Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are sound");
            histogram.auto(false);
            histogram
        };
        GroupMetrics {
            entries: 0,
            entry_bytes: 0,
            batches: 0,
            expired: 0,
            stages: Stages {
                queue: histogram(),
                flush: histogram(),
                commit: histogram(),
                total: histogram(),
            },
            alike: (0, 0),
        }
    }
}

impl GroupMetrics {
    /// An entry was appended.
    pub fn entry(&mut self, batches: u32, bytes: u32) {
        self.entries += 1;
        self.entry_bytes += u64::from(bytes);
        self.batches += u64::from(batches);
    }

    /// A batch left the queue. Those of one read have waited equally long and are counted at once.
    pub fn queue_stage(&mut self, waited: Duration) {
        let nanos = waited.as_nanos() as u64;
        if self.alike.0 > 0 && self.alike.1 != nanos {
            self.end_of_entry();
        }
        self.alike = (self.alike.0 + 1, nanos);
    }

    /// The last batch of an entry has been counted.
    pub fn end_of_entry(&mut self) {
        let (count, nanos) = std::mem::take(&mut self.alike);
        if count > 0 {
            self.stages.queue.saturating_record_n(nanos, count);
        }
    }

    /// An entry with so many requests is on this disk.
    pub fn flush_stage(&mut self, took: Duration, requests: u32) {
        record(&mut self.stages.flush, took, u64::from(requests));
    }

    /// An entry with so many requests is committed.
    pub fn commit_stage(&mut self, took: Duration, requests: u32) {
        record(&mut self.stages.commit, took, u64::from(requests));
    }

    /// So many responses are released, so long after their requests were queued.
    pub fn released(&mut self, took: Duration, responses: u64) {
        record(&mut self.stages.total, took, responses);
    }
}

fn record(histogram: &mut Histogram<u64>, took: Duration, count: u64) {
    if count > 0 {
        histogram.saturating_record_n(took.as_nanos() as u64, count);
    }
}

/// Counters of one shard.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// Requests taken, of all APIs.
    pub requests: u64,
    /// Connections closed for what their clients sent.
    pub bad_requests: u64,
    /// Journal reads for consumers who are behind.
    pub journal_reads: u64,
    /// Entries on disk whose checksum was wrong.
    pub damaged_entries: u64,
}
