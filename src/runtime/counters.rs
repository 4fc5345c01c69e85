//! What a shard's runtime counts. Plain integers and histograms, counted on the shard's thread; who
//! wants to see them elsewhere is given a copy.

use std::cell::{Cell, Ref, RefCell};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::shard::metrics::{durations, sizes};

/// One count.
#[derive(Clone, Debug, Default)]
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

/// How long something takes.
#[derive(Clone, Debug)]
pub struct Durations(RefCell<Histogram<u64>>);

impl Default for Durations {
    fn default() -> Self {
        Durations(RefCell::new(durations()))
    }
}

impl Durations {
    /// It took so long, so many times.
    pub fn record(&self, took: Duration, count: u64) {
        if count > 0 {
            self.0.borrow_mut().saturating_record_n(took.as_nanos() as u64, count);
        }
    }

    /// What was counted so far, in nanoseconds.
    pub fn get(&self) -> Ref<'_, Histogram<u64>> {
        self.0.borrow()
    }
}

/// How large something is.
#[derive(Clone, Debug)]
pub struct Sizes(RefCell<Histogram<u64>>);

impl Default for Sizes {
    fn default() -> Self {
        Sizes(RefCell::new(sizes()))
    }
}

impl Sizes {
    /// There was one of so many bytes.
    pub fn record(&self, bytes: usize) {
        self.0.borrow_mut().saturating_record(bytes as u64);
    }

    /// What was counted so far, in bytes.
    pub fn get(&self) -> Ref<'_, Histogram<u64>> {
        self.0.borrow()
    }
}

/// The counts of one shard.
#[derive(Clone, Debug, Default)]
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
    /// Whole turns, from their beginning to the last output.
    pub turn: Durations,
    /// Produce responses: from the turn in which their level was reached to their connections.
    pub release: Durations,
    /// Answers: from the end of their turn until the socket has taken all that lay ready.
    pub socket: Durations,
    /// Journal writes, with their sync.
    pub journal_write: Durations,
    pub journal_write_sizes: Sizes,
}
