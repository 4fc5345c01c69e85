//! Idempotent producers (KIP-98): who wrote which of its last batches where.
//!
//! A producer numbers its records for each partition. A batch that is already there is answered
//! with its old offset, one that would leave a gap is refused. The rules are those of Kafka's
//! `ProducerAppendInfo`.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::limits::{PRODUCER_BATCHES_REMEMBERED, PRODUCERS_PER_PARTITION_MAX};
use crate::model::position::Offset;

/// How a batch names its producer and its place in that producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    pub producer_id: i64,
    pub epoch: i16,
    /// The number of its first record.
    pub first: i32,
    /// Its records, at least 1.
    pub count: i32,
}

impl Sequence {
    /// The number of its last record. Numbers wrap from `i32::MAX` to 0.
    pub fn last(&self) -> i32 {
        ((i64::from(self.first) + i64::from(self.count) - 1) % (1 << 31)) as i32
    }
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// It is there already, at this offset.
    Duplicate(Offset),
    /// It doesn't follow the producer's last batch.
    OutOfOrder,
    /// A newer instance of this producer has been here.
    Fenced,
}

/// The producers of one partition.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    by_id: FxHashMap<i64, Producer>,
}

/// One producer's last batches, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    pub epoch: i16,
    pub batches: VecDeque<Remembered>,
}

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub first: i32,
    pub last: i32,
    pub base_offset: Offset,
}

impl Producers {
    /// Judges a batch before it is appended.
    pub fn judge(&self, sequence: &Sequence) -> Verdict {
        let Some(producer) = self.by_id.get(&sequence.producer_id) else {
            // Nothing is known of it any more: retention may have taken all it wrote.
            return Verdict::Append;
        };
        if sequence.epoch < producer.epoch {
            return Verdict::Fenced;
        }
        if sequence.epoch > producer.epoch {
            return if sequence.first == 0 { Verdict::Append } else { Verdict::OutOfOrder };
        }
        let last = sequence.last();
        for batch in &producer.batches {
            if batch.first == sequence.first && batch.last == last {
                return Verdict::Duplicate(batch.base_offset);
            }
        }
        match producer.batches.back() {
            Some(batch) if !follows(batch.last, sequence.first) => Verdict::OutOfOrder,
            _ => Verdict::Append,
        }
    }

    /// Remembers a batch that has been appended.
    pub fn appended(&mut self, sequence: &Sequence, base_offset: Offset) {
        if !self.by_id.contains_key(&sequence.producer_id) {
            self.make_room();
        }
        let producer = self
            .by_id
            .entry(sequence.producer_id)
            .or_insert_with(|| Producer { epoch: sequence.epoch, batches: VecDeque::new() });
        if producer.epoch != sequence.epoch {
            producer.epoch = sequence.epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == PRODUCER_BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Remembered {
            first: sequence.first,
            last: sequence.last(),
            base_offset,
        });
    }

    /// Forgets the batches from `end` on. A producer has no more unanswered batches than are
    /// remembered, so whatever it may send again of what lies before is still known.
    pub fn truncate(&mut self, end: Offset) {
        self.by_id.retain(|_, producer| {
            while producer.batches.back().is_some_and(|batch| batch.base_offset >= end) {
                producer.batches.pop_back();
            }
            !producer.batches.is_empty()
        });
    }

    /// Forgets the producer that has been silent for the most records.
    fn make_room(&mut self) {
        if self.by_id.len() < PRODUCERS_PER_PARTITION_MAX {
            return;
        }
        let last_offset = |producer: &Producer| producer.batches.back().map(|b| b.base_offset);
        let silent = self.by_id.iter().min_by_key(|(id, p)| (last_offset(p), **id));
        if let Some(id) = silent.map(|(id, _)| *id) {
            self.by_id.remove(&id);
        }
    }

    /// All of them, by ascending id.
    pub fn sorted(&self) -> Vec<(i64, &Producer)> {
        let mut all: Vec<_> = self.by_id.iter().map(|(id, producer)| (*id, producer)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    pub(super) fn insert(&mut self, id: i64, producer: Producer) {
        self.by_id.insert(id, producer);
    }
}

fn follows(last: i32, next: i32) -> bool {
    next == if last == i32::MAX { 0 } else { last + 1 }
}
