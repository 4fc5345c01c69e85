//! What a shard's runtime counts. Plain integers, read on the same thread.

use std::cell::Cell;

/// One count.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// One more.
    pub fn up(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.set(self.0.get().wrapping_add(more));
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// The counts of one shard.
#[derive(Debug, Default)]
pub struct Counters {
    pub connections_opened: Counter,
    pub connections_closed: Counter,
    /// Turned away because `--connections-max` was reached.
    pub connections_refused: Counter,
    /// Closed because half a frame came and then nothing, or nothing was read for long.
    pub connections_timed_out: Counter,
    /// Closed because the length in front of a frame can't be one.
    pub frames_bad: Counter,
    pub received_bytes: Counter,
    pub reads: Counter,
    pub sent_bytes: Counter,
    pub writes: Counter,
    pub journal_writes: Counter,
    pub journal_written_bytes: Counter,
    pub journal_syncs: Counter,
    pub journal_reads: Counter,
    pub turns: Counter,
}
