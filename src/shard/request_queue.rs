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
use crate::shard::connections::Ticket;
use crate::shard::partitions::PartitionSlot;

/// A record batch on its way to the writer.
///
/// Small, because there are as many as requests: what its own header says is read from there
/// again, and the bytes of a read that many came in are held once.
#[derive(Clone, Debug)]
pub struct QueuedBatch {
    pub partition: PartitionSlot,
    /// Whose slot it is: the partition may be gone by the time it is written.
    pub key: PartitionKey,
    pub place: BatchPlace,
    /// Its topic stamps records with the time of the append.
    pub append_time: bool,
    pub qos: Qos,
    pub queued_at: Time,
    pub deadline: Time,
    pub answer: ProduceAnswer,
}

/// Where a batch's bytes lie. Means something to the queue that gave it only.
#[derive(Clone, Copy, Debug)]
pub struct BatchPlace {
    /// The number of the read it came in.
    read: u64,
    at: u32,
    pub bytes: u32,
}

/// What a socket gave in one piece, for as long as batches of it wait.
#[derive(Debug)]
struct Read {
    bytes: Bytes,
    batches: u32,
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
    /// The reads that the batches came in, in the same order.
    reads: VecDeque<Read>,
    /// The number of the first of them.
    first_read: u64,
    bytes: usize,
    /// No batch's deadline is before this. May be early, as batches that left aren't looked for.
    earliest_deadline: Time,
}

impl Default for RequestQueue {
    fn default() -> Self {
        RequestQueue {
            batches: VecDeque::new(),
            reads: VecDeque::new(),
            first_read: 0,
            bytes: 0,
            earliest_deadline: Time::NEVER,
        }
    }
}

impl RequestQueue {
    /// Keeps the bytes of the batch that is pushed next: `records` of `read`. One reference is
    /// counted for all batches of a read that come one after the other.
    #[inline]
    pub fn place(&mut self, read: &Bytes, records: Range<usize>) -> BatchPlace {
        let same =
            |last: &Read| last.bytes.as_ptr() == read.as_ptr() && last.bytes.len() == read.len();
        match self.reads.back_mut() {
            Some(last) if same(last) => last.batches += 1,
            _ => self.reads.push_back(Read { bytes: read.clone(), batches: 1 }),
        }
        let read = self.first_read + self.reads.len() as u64 - 1;
        // A frame has far fewer bytes than fit into an u32, and so has a read.
        BatchPlace { read, at: records.start as u32, bytes: records.len() as u32 }
    }

    /// Adds a batch at the end.
    #[inline]
    pub fn push(&mut self, batch: QueuedBatch) {
        self.bytes += batch.place.bytes as usize;
        self.earliest_deadline = self.earliest_deadline.min(batch.deadline);
        self.batches.push_back(batch);
    }

    /// The size of the next batch.
    pub fn next_bytes(&self, at: usize) -> Option<usize> {
        self.batches.get(at).map(|batch| batch.place.bytes as usize)
    }

    /// The bytes of a batch of this queue.
    #[inline]
    pub fn bytes_of(&self, batch: &QueuedBatch) -> &[u8] {
        let BatchPlace { read, at, bytes } = batch.place;
        let read = &self.reads[(read - self.first_read) as usize].bytes;
        &read[at as usize..(at + bytes) as usize]
    }

    /// The batch so many places behind the front, which must be there.
    pub fn get(&self, at: usize) -> &QueuedBatch {
        &self.batches[at]
    }

    /// Takes the batch at the front.
    pub fn pop(&mut self) -> Option<QueuedBatch> {
        let batch = self.batches.pop_front()?;
        self.bytes -= batch.place.bytes as usize;
        self.let_go(&batch);
        if self.batches.is_empty() {
            self.earliest_deadline = Time::NEVER;
        }
        Some(batch)
    }

    /// A batch has left: the bytes of the reads in front go once nobody waits for them.
    fn let_go(&mut self, batch: &QueuedBatch) {
        let at = (batch.place.read - self.first_read) as usize;
        self.reads[at].batches -= 1;
        while self.reads.front().is_some_and(|read| read.batches == 0) {
            self.reads.pop_front();
            self.first_read += 1;
        }
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
        for batch in &expired {
            self.bytes -= batch.place.bytes as usize;
            self.let_go(batch);
        }
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
