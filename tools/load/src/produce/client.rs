//! A producer: what waits to be sent on its connection, and what waits to be answered.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::Pace;
use super::requests::{Answer, Requests};
use crate::e2e::{Journey, stamp};
use crate::net::connection::Connection;
use crate::payload::Pool;
use crate::report::{Flow, Interval, Kind, Trouble};
use crate::worker::{Client, Leads};

/// A client puts no more into its output before some has left.
const UNSENT_BYTES_MAX: usize = 256 << 10;

/// Kafka's codes for "ask again who leads": unknown topic or partition, leader not available, not
/// leader, fenced and unknown leader epoch.
pub const STALE_ROUTES: [i16; 5] = [3, 5, 6, 74, 75];

/// What all producers of a topic send alike.
#[derive(Debug)]
pub struct Sending {
    pub requests: Requests,
    pub pace: Pace,
    pub acks: i16,
    pub batch_records: u64,
    pub pool: Pool,
    /// Bytes to be sent altogether, if there is a bound.
    pub quota: Option<AtomicI64>,
    /// Records carry when they were due, for consumers of the same run.
    pub journey: Option<Arc<Journey>>,
}

impl Sending {
    /// What one request carries.
    fn one(&self, bytes: u64) -> Flow {
        Flow { requests: 1, batches: 1, records: self.batch_records, bytes }
    }

    /// Nobody should wait for the records of so many requests.
    fn lost(&self, requests: u64) {
        if let Some(journey) = &self.journey {
            journey.lost(requests * self.batch_records);
        }
    }
}

/// Requests alike that are in flight.
#[derive(Debug)]
struct Sent {
    due: u64,
    /// Of the batch of each.
    bytes: u32,
    count: u32,
}

/// See the module.
pub struct Producer {
    sending: Arc<Sending>,
    partitions: Vec<u32>,
    /// Counts requests: which partition and which batch are next.
    round: usize,
    /// Open loop: when those were due that haven't been sent.
    due: VecDeque<u64>,
    /// Requests sent and not answered.
    unanswered: usize,
    /// When those were due; equal ones stand together.
    in_flight: VecDeque<Sent>,
    next_correlation: i32,
    next_answer: i32,
}

impl Producer {
    /// Number `number` of all producers: they begin at different partitions, with different
    /// batches.
    pub fn new(number: usize, sending: Arc<Sending>) -> Producer {
        Producer {
            sending,
            partitions: Vec::new(),
            round: number,
            due: VecDeque::new(),
            unanswered: 0,
            in_flight: VecDeque::new(),
            next_correlation: 0,
            next_answer: 0,
        }
    }

    /// The partition and the batch of the next request. None if no key leads to any partition of
    /// this broker.
    fn next<'a>(partitions: &[u32], round: &mut usize, pool: &'a Pool) -> Option<(u32, &'a [u8])> {
        for _ in 0..partitions.len() {
            let partition = partitions[*round % partitions.len()];
            let batch = pool.pick(partition as usize, *round);
            *round = round.wrapping_add(1);
            if let Some(batch) = batch {
                return Some((partition, batch));
            }
        }
        None
    }

    /// The moment the answered request was due, and the bytes of its batch.
    fn answered(&mut self, answer: Answer) -> io::Result<(u64, u64)> {
        let Some(sent) = self.in_flight.front_mut() else {
            return Err(invalid("it answered a request that was never sent".into()));
        };
        if answer.correlation_id != self.next_answer {
            let (got, next) = (answer.correlation_id, self.next_answer);
            return Err(invalid(format!("it answered request {got} before request {next}")));
        }
        let (due, bytes) = (sent.due, u64::from(sent.bytes));
        sent.count -= 1;
        if sent.count == 0 {
            self.in_flight.pop_front();
        }
        self.next_answer = self.next_answer.wrapping_add(1);
        self.unanswered -= 1;
        Ok((due, bytes))
    }
}

impl Client for Producer {
    fn assign(&mut self, partitions: Vec<u32>) {
        self.partitions = partitions;
    }

    fn fill(&mut self, to: &mut Connection, now: u64, ending: bool, interval: &mut Interval) {
        let sending = &*self.sending;
        let mut left = match sending.pace {
            _ if ending => return,
            Pace::Closed { in_flight } => in_flight.saturating_sub(self.unanswered),
            Pace::Open => self.due.len(),
        };
        if self.is_done() {
            return;
        }
        while left > 0 && to.unsent() < UNSENT_BYTES_MAX {
            let Some((partition, batch)) =
                Producer::next(&self.partitions, &mut self.round, &sending.pool)
            else {
                self.due.clear();
                return;
            };
            let due = self.due.pop_front().unwrap_or(now);
            let correlation = self.next_correlation;
            sending.requests.put(to.out(), correlation, partition as i32, batch);
            if let Some(journey) = &sending.journey {
                let at = to.out().len() - batch.len();
                stamp(&mut to.out()[at..], journey.run, due);
                journey.sent(sending.batch_records);
            }
            if let Some(quota) = &sending.quota
                && quota.fetch_sub(batch.len() as i64, Ordering::Relaxed) <= batch.len() as i64
            {
                left = 1;
            }
            self.next_correlation = correlation.wrapping_add(1);
            left -= 1;
            let bytes = batch.len() as u32;
            if sending.acks == 0 {
                interval.produced.add(sending.one(u64::from(bytes)));
                continue;
            }
            self.unanswered += 1;
            match self.in_flight.back_mut() {
                Some(sent) if sent.due == due && sent.bytes == bytes => sent.count += 1,
                _ => self.in_flight.push_back(Sent { due, bytes, count: 1 }),
            }
        }
    }

    fn take(
        &mut self,
        from: &mut Connection,
        now: u64,
        interval: &mut Interval,
    ) -> io::Result<Leads> {
        let mut leads = Leads::AsBefore;
        // Answers to requests of the same moment are recorded together.
        let mut alike = (0, 0);
        let sending = self.sending.clone();
        let journey = sending.journey.as_ref();
        let draining = journey.is_some_and(|journey| journey.is_draining());
        let kind = if draining { Kind::Draining } else { Kind::Produce };
        let result = from.frames(|frame| {
            let answer = sending.requests.read(frame)?;
            let (due, bytes) = self.answered(answer)?;
            if answer.error != 0 {
                if STALE_ROUTES.contains(&answer.error) {
                    leads = Leads::Elsewhere;
                }
                interval.trouble(Trouble::Code(answer.error), 1);
                sending.lost(1);
                return Ok(());
            }
            interval.produced.add(sending.one(bytes));
            if alike.0 != due {
                interval.done(kind, now, alike);
                alike = (due, 0);
            }
            alike.1 += 1;
            Ok(())
        });
        interval.done(kind, now, alike);
        result.map(|()| leads)
    }

    fn cut_off(&mut self) -> usize {
        self.in_flight.clear();
        self.next_answer = self.next_correlation;
        self.sending.lost(self.unanswered as u64);
        std::mem::take(&mut self.unanswered)
    }

    fn due(&mut self, moment: u64) -> usize {
        self.due.push_back(moment);
        self.due.len()
    }

    fn is_paced(&self) -> bool {
        matches!(self.sending.pace, Pace::Open)
    }

    fn is_done(&self) -> bool {
        let quota = self.sending.quota.as_ref();
        quota.is_some_and(|left| left.load(Ordering::Relaxed) <= 0)
    }

    fn awaited(&self) -> usize {
        self.unanswered
    }

    fn is_waiting(&self) -> bool {
        self.unanswered > 0
    }

    fn unsent(&self) -> usize {
        self.due.len()
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
