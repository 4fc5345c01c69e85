//! One producer: sends to all partitions over a connection to each leader, through whatever
//! happens to them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Progress;
use super::evidence::Told;
use super::leaders::Leaders;
use super::links::Links;
use super::outbox::{Ending, Outbox};
use super::record::{Stamp, batch};
use crate::produce::requests::Requests;

/// The longest wait for sockets.
const IDLE_WAIT: Duration = Duration::from_millis(5);
/// The same when a rate has to be kept.
const PACED_WAIT: Duration = Duration::from_millis(1);
/// No more is put into a connection's output before some has left.
const UNSENT_BYTES_MAX: usize = 256 << 10;
/// After an outage a rate is caught up with for so long, and no longer.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What a producer is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    pub number: u32,
    /// The id of an idempotent producer.
    pub producer_id: Option<i64>,
    pub run: u64,
    pub topic: String,
    pub partitions: usize,
    pub acks: i16,
    /// Records a second.
    pub rate: Option<f64>,
    /// Batches of each partition.
    pub in_flight: usize,
    pub record_bytes: usize,
    pub batch_records: u32,
    pub request_timeout: Duration,
    pub delivery_timeout: Duration,
    /// When the last new batch is made.
    pub end: Instant,
    /// Set to end earlier.
    pub stop: Arc<AtomicBool>,
}

/// See the module.
pub struct Producer {
    plan: Plan,
    leaders: Arc<Leaders>,
    progress: Arc<Progress>,
    requests: Requests,
    links: Links,
    /// By link: what is unanswered, oldest first.
    in_flight: Vec<VecDeque<Request>>,
    /// By partition.
    outboxes: Vec<Outbox>,
    correlation_id: i32,
    /// The partition whose turn is next.
    first: usize,
    /// Records that the rate allows now.
    allowance: f64,
    allowed_at: Instant,
}

struct Request {
    correlation_id: i32,
    partition: usize,
    /// The sequence of the first record.
    first: u64,
    sent: Instant,
}

impl Producer {
    /// A producer that has sent nothing.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new(
        plan: Plan,
        leaders: Arc<Leaders>,
        progress: Arc<Progress>,
    ) -> anyhow::Result<Producer> {
        let timeout_ms = plan.request_timeout.as_millis() as i32;
        Ok(Producer {
            requests: Requests::new(&plan.topic, plan.acks, timeout_ms),
            links: Links::new()?,
            in_flight: Vec::new(),
            outboxes: (0..plan.partitions).map(|_| Outbox::new(plan.producer_id)).collect(),
            correlation_id: 0,
            first: plan.number as usize,
            allowance: 0.0,
            allowed_at: Instant::now(),
            plan,
            leaders,
            progress,
        })
    }

    /// Sends until the end, and goes on until each record has an outcome or is too old to get one.
    /// Returns what it was told, by partition.
    ///
    /// # Errors
    /// The system can't wait for sockets.
    pub fn run(mut self) -> anyhow::Result<Vec<Told>> {
        loop {
            let now = Instant::now();
            let sending = now < self.plan.end && !self.plan.stop.load(Ordering::Relaxed);
            if !sending && self.outboxes.iter().all(|outbox| outbox.open() == 0) {
                break;
            }
            self.fill(sending, now);
            self.turn()?;
            self.give_up(Instant::now());
        }
        Ok(self.outboxes.into_iter().map(Outbox::finish).collect())
    }

    /// Makes new batches and sends what may be sent.
    fn fill(&mut self, sending: bool, now: Instant) {
        self.allow(now);
        let routes = self.leaders.routes();
        let (count, first) = (self.outboxes.len(), self.first);
        for partition in (0..count).map(|number| (number + first) % count) {
            let records = f64::from(self.plan.batch_records);
            while sending
                && self.outboxes[partition].open() < self.plan.in_flight
                && (self.plan.rate.is_none() || self.allowance >= records)
            {
                self.outboxes[partition].add(self.plan.batch_records, now);
                self.allowance -= records;
            }
            if !self.outboxes[partition].wants_to_send() {
                continue;
            }
            match routes.leader(partition as u32) {
                Some(leader) => {
                    let link = self.links.to(leader);
                    self.send(partition, link, now);
                }
                None => self.leaders.are_stale(),
            }
        }
        self.first = (self.first + 1) % count;
    }

    fn allow(&mut self, now: Instant) {
        let Some(rate) = self.plan.rate else { return };
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.allowed_at, now));
        let most = (rate * CATCH_UP.as_secs_f64()).max(f64::from(self.plan.batch_records));
        self.allowance = (self.allowance + rate * passed.as_secs_f64()).min(most);
    }

    fn send(&mut self, partition: usize, link: usize, now: Instant) {
        self.in_flight.resize_with(self.links.len(), VecDeque::new);
        let Some(connection) = self.links.connection(link, now) else {
            self.leaders.are_stale();
            return;
        };
        let outbox = &mut self.outboxes[partition];
        while connection.unsent() < UNSENT_BYTES_MAX {
            let Some(to_send) = outbox.send(now) else { break };
            let stamp = Stamp {
                run: self.plan.run,
                producer: self.plan.number,
                partition: partition as u32,
                sequence: to_send.first,
            };
            let bytes = self.plan.record_bytes;
            let batch = batch(stamp, to_send.count, bytes, now_ms(), to_send.producer);
            self.correlation_id = self.correlation_id.wrapping_add(1);
            self.requests.put(connection.out(), self.correlation_id, partition as i32, &batch);
            if self.plan.acks == 0 {
                outbox.ended(to_send.first, Ending::Unasked, now);
                self.progress.count(0, u64::from(to_send.count));
                continue;
            }
            self.in_flight[link].push_back(Request {
                correlation_id: self.correlation_id,
                partition,
                first: to_send.first,
                sent: now,
            });
        }
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        let wait = if self.plan.rate.is_some() { PACED_WAIT } else { IDLE_WAIT };
        let (in_flight, outboxes) = (&mut self.in_flight, &mut self.outboxes);
        let (mut acknowledged, mut stale) = (0, false);
        let broken = self.links.turn(wait, |link, frame| {
            let answer = self.requests.read(frame)?;
            let front = in_flight[link].front();
            let answers_it = |request: &&Request| {
                (request.correlation_id, request.partition as i32)
                    == (answer.correlation_id, answer.partition)
            };
            let Some(request) = front.filter(answers_it) else {
                return Err(io::Error::other("it answered something else"));
            };
            let ending = Ending::Answered { error: answer.error, base_offset: answer.base_offset };
            stale |= answer.error != 0;
            let outbox = &mut outboxes[request.partition];
            acknowledged += outbox.ended(request.first, ending, Instant::now());
            in_flight[link].pop_front();
            Ok(())
        })?;
        self.progress.count(acknowledged, 0);
        if stale || !broken.is_empty() {
            self.leaders.are_stale();
        }
        let now = Instant::now();
        broken.into_iter().for_each(|link| self.lost(link, now));
        Ok(())
    }

    /// Gives up connections that don't answer and records that are too old.
    fn give_up(&mut self, now: Instant) {
        for link in 0..self.in_flight.len() {
            let oldest = self.in_flight[link].front();
            if oldest.is_some_and(|request| now > request.sent + self.plan.request_timeout) {
                self.links.cut(link, now);
                self.lost(link, now);
                self.leaders.are_stale();
            }
        }
        let timeout = self.plan.delivery_timeout;
        let expired = self.outboxes.iter_mut().map(|outbox| outbox.expire(now, timeout)).sum();
        self.progress.count(0, expired);
    }

    /// A connection is gone, and with it all answers it owed.
    fn lost(&mut self, link: usize, now: Instant) {
        let Some(requests) = self.in_flight.get_mut(link) else { return };
        for request in std::mem::take(requests) {
            self.outboxes[request.partition].ended(request.first, Ending::Lost, now);
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}
