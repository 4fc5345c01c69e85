//! The queue in front of the writer: record batches that were checked and wait to be appended.
//!
//! Bounded in bytes. When it is full the shard reads no more from its clients; nothing is dropped.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use crate::limits::{REQUEST_QUEUE_BYTES_MAX, REQUEST_QUEUE_BYTES_RESUME};
use crate::model::ids::PartitionKey;
use crate::model::qos::Qos;
use crate::model::time::Time;
use crate::partition::producers::Sequence;
use crate::shard::connections::Ticket;
use crate::shard::group::PartitionSlot;

/// A record batch on its way to the writer.
#[derive(Clone, Debug)]
pub struct QueuedBatch {
    pub partition: PartitionSlot,
    /// Whose slot it is: the partition may be gone by the time it is written.
    pub key: PartitionKey,
    /// The frame it came in; the batch is `records` of it.
    pub frame: Bytes,
    pub records: Range<usize>,
    pub record_count: i32,
    pub max_timestamp: i64,
    /// Set if an idempotent producer made it.
    pub sequence: Option<Sequence>,
    /// Its topic stamps records with the time of the append.
    pub append_time: bool,
    pub qos: Qos,
    pub queued_at: Time,
    pub deadline: Time,
    pub answer: ProduceAnswer,
}

/// Who is told what became of a batch.
#[derive(Clone, Debug)]
pub enum ProduceAnswer {
    /// Nobody: `acks=0`.
    None,
    /// A request with this one batch.
    Single(SingleProduce),
    /// One of several batches of a request: its number in the request.
    Multi { request: usize, part: usize },
}

/// What is needed to answer a request with one batch.
#[derive(Clone, Debug)]
pub struct SingleProduce {
    pub ticket: Ticket,
    pub correlation_id: i32,
    pub version: i16,
    pub topic: Rc<str>,
    pub partition: i32,
}

/// The queue of one group.
#[derive(Debug)]
pub struct RequestQueue {
    batches: VecDeque<QueuedBatch>,
    bytes: usize,
    /// No batch's deadline is before this. May be early, as batches that left aren't looked for.
    earliest_deadline: Time,
}

impl Default for RequestQueue {
    fn default() -> Self {
        let batches = VecDeque::new();
        RequestQueue { batches, bytes: 0, earliest_deadline: Time::NEVER }
    }
}

impl RequestQueue {
    /// Adds a batch at the end.
    pub fn push(&mut self, batch: QueuedBatch) {
        self.bytes += batch.records.len();
        self.earliest_deadline = self.earliest_deadline.min(batch.deadline);
        self.batches.push_back(batch);
    }

    /// The size of the next batch.
    pub fn next_bytes(&self, at: usize) -> Option<usize> {
        self.batches.get(at).map(|batch| batch.records.len())
    }

    /// The batch so many places behind the front, which must be there.
    pub fn get(&self, at: usize) -> &QueuedBatch {
        &self.batches[at]
    }

    /// Takes the batch at the front.
    pub fn pop(&mut self) -> Option<QueuedBatch> {
        let batch = self.batches.pop_front()?;
        self.bytes -= batch.records.len();
        if self.batches.is_empty() {
            self.earliest_deadline = Time::NEVER;
        }
        Some(batch)
    }

    /// Takes the batches whose deadline has come. They are few: the queue moves every turn unless
    /// the disk stands still.
    pub fn take_expired(&mut self, now: Time) -> Vec<QueuedBatch> {
        if self.earliest_deadline > now {
            return Vec::new();
        }
        let (expired, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.batches).into_iter().partition(|it| it.deadline <= now);
        self.batches = kept.into();
        self.bytes = self.batches.iter().map(|batch| batch.records.len()).sum();
        let deadlines = self.batches.iter().map(|batch| batch.deadline);
        self.earliest_deadline = deadlines.min().unwrap_or(Time::NEVER);
        expired
    }

    /// When `take_expired` is to be called next. May be a little early, never late.
    pub fn next_deadline(&self) -> Option<Time> {
        (self.earliest_deadline < Time::NEVER).then_some(self.earliest_deadline)
    }

    /// Whether anything waits.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Batches that wait.
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Bytes of batches that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Whether so many queued bytes, in all groups of a shard, are too many to read on.
pub fn is_full(bytes: usize) -> bool {
    bytes >= REQUEST_QUEUE_BYTES_MAX
}

/// Whether so many are few enough to read again.
pub fn has_room_again(bytes: usize) -> bool {
    bytes <= REQUEST_QUEUE_BYTES_RESUME
}
