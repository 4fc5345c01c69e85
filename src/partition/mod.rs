//! What a consumer sees of a journal: one partition's offsets, batches and producers.
//!
//! A partition owns no bytes. It is an index over its group's journal, so ten thousand of them
//! cost what ten do. It doesn't know that Kafka exists.

use crate::model::ids::PartitionKey;
use crate::model::position::{Offset, Position, Term};
use crate::partition::index::{Index, RunPlace};
use crate::partition::producers::Producers;

pub mod index;
pub mod producers;
mod snapshot;

pub use crate::partition::snapshot::DecodeError;

/// One partition. `log_start <= high_watermark <= log_end` always holds.
#[derive(Clone, Debug)]
pub struct Partition {
    pub key: PartitionKey,
    log_start: Offset,
    high_watermark: Offset,
    log_end: Offset,
    pub index: Index,
    pub producers: Producers,
    epochs: Vec<EpochStart>,
    /// The record with the largest timestamp: its timestamp, and the batch that holds it.
    largest_timestamp: Option<(i64, Offset)>,
}

/// Where a leader epoch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    pub term: Term,
    pub offset: Offset,
}

impl Partition {
    /// A partition without records.
    pub fn new(key: PartitionKey) -> Partition {
        Partition {
            key,
            log_start: Offset(0),
            high_watermark: Offset(0),
            log_end: Offset(0),
            index: Index::default(),
            producers: Producers::default(),
            epochs: Vec::new(),
            largest_timestamp: None,
        }
    }

    /// Takes in a run that was appended to the journal under `term`.
    pub fn append(&mut self, term: Term, run: RunPlace) {
        assert_eq!(run.base_offset, self.log_end, "offsets are dense");
        if self.epochs.last().is_none_or(|last| last.term < term) {
            self.epochs.push(EpochStart { term, offset: run.base_offset });
        }
        if self.largest_timestamp.is_none_or(|(largest, _)| run.max_timestamp > largest) {
            self.largest_timestamp = Some((run.max_timestamp, run.base_offset));
        }
        self.log_end = Offset(run.last_offset.0 + 1);
        self.index.append(run);
    }

    /// Cuts off what lies in journal entries at `cut` or behind it: the records from `end` on, of
    /// which `bytes` bytes were appended. None of them was committed.
    pub fn truncate(&mut self, cut: Position, end: Offset, bytes: u64) {
        assert!(self.high_watermark <= end && end <= self.log_end, "a cut keeps what is committed");
        self.log_end = end;
        self.index.truncate(cut, bytes);
        self.producers.truncate(end);
        while self.epochs.last().is_some_and(|epoch| epoch.offset >= end) {
            self.epochs.pop();
        }
        self.largest_timestamp = self.largest_timestamp.filter(|(_, batch)| *batch < end);
        if self.largest_timestamp.is_none() {
            self.largest_timestamp = self.index.largest_recent_timestamp();
        }
    }

    /// Everything before `end` is committed: consumers may see it.
    pub fn commit(&mut self, end: Offset) {
        assert!(end <= self.log_end, "only what is appended is committed");
        self.high_watermark = self.high_watermark.max(end);
    }

    /// Moves the log start forward, never past the high watermark. Returns whether it moved.
    pub fn trim(&mut self, to: Offset) -> bool {
        let to = to.min(self.high_watermark);
        if to <= self.log_start {
            return false;
        }
        self.log_start = to;
        self.index.trim(to);
        let keep = self.epochs.partition_point(|epoch| epoch.offset <= to).saturating_sub(1);
        self.epochs.drain(..keep);
        if let Some(first) = self.epochs.first_mut() {
            first.offset = first.offset.max(to);
        }
        true
    }

    /// The first offset there still is.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The offset behind the last record that consumers may see.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The offset the next record gets.
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// The oldest journal position this partition still needs. `None` if it needs none.
    pub fn oldest_position(&self) -> Option<Position> {
        if self.log_start == self.log_end {
            return None;
        }
        self.index.position_of(self.log_start)
    }

    /// The record with the largest timestamp: its timestamp, and the offset at which to look for
    /// it. `None` if the partition is empty.
    pub fn largest_timestamp(&self) -> Option<(i64, Offset)> {
        self.largest_timestamp.filter(|_| self.log_start < self.log_end)
    }

    /// The leader epoch of the last record, if there ever was one.
    pub fn last_epoch(&self) -> Option<Term> {
        self.epochs.last().map(|epoch| epoch.term)
    }

    /// The largest epoch not above `term`, and where it ends: where the next one begins, or the
    /// log end. As Kafka's OffsetForLeaderEpoch asks. `None` if all records are of later epochs.
    pub fn end_of_epoch(&self, term: Term) -> Option<(Term, Offset)> {
        let after = self.epochs.partition_point(|epoch| epoch.term <= term);
        let epoch = self.epochs[..after].last()?;
        let end = self.epochs.get(after).map_or(self.log_end, |next| next.offset);
        Some((epoch.term, end))
    }
}

#[cfg(test)]
mod tests;
