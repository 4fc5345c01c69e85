//! One client of a worker: a connection, what waits to be sent on it, and what waits to be
//! answered.

use std::collections::VecDeque;
use std::io;

use super::Pace;
use super::requests::{Answer, Requests};
use crate::net::connection::Connection;
use crate::payload::Pool;
use crate::report::{Flow, Interval, Kind, Trouble};

/// A client puts no more into its output before some has left.
const UNSENT_BYTES_MAX: usize = 256 << 10;

/// Kafka's codes for "ask again who leads": unknown topic or partition, leader not available, not
/// leader, fenced and unknown leader epoch.
const STALE_ROUTES: [i16; 5] = [3, 5, 6, 74, 75];

/// What all clients send alike.
#[derive(Clone, Debug)]
pub struct Sending {
    pub requests: Requests,
    pub pace: Pace,
    pub acks: i16,
    pub batch_records: u64,
}

impl Sending {
    /// What one request carries.
    fn one(&self, bytes: u64) -> Flow {
        Flow { requests: 1, batches: 1, records: self.batch_records, bytes }
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
pub struct Client {
    /// Which of all clients it is.
    pub number: usize,
    pub connection: Option<Connection>,
    pub watched_for_writing: bool,
    /// The broker said that somebody else leads now.
    pub routes_stale: bool,
    /// Open loop: when those were due that haven't been sent.
    pub due: VecDeque<u64>,
    /// Requests sent and not answered.
    pub unanswered: usize,
    partitions: Vec<u32>,
    /// Counts requests: which partition and which batch are next.
    round: usize,
    /// When the unanswered ones were due; equal moments stand together.
    in_flight: VecDeque<Sent>,
    next_correlation: i32,
    next_answer: i32,
}

impl Client {
    /// A client on a connection to the broker that leads these partitions.
    pub fn new(number: usize, connection: Connection, partitions: Vec<u32>) -> Client {
        Client {
            number,
            connection: Some(connection),
            watched_for_writing: false,
            routes_stale: false,
            due: VecDeque::new(),
            unanswered: 0,
            partitions,
            // Clients begin at different partitions, and with different batches.
            round: number,
            in_flight: VecDeque::new(),
            next_correlation: 0,
            next_answer: 0,
        }
    }

    /// Goes on over another connection. What was due and never sent goes out there.
    pub fn reconnect(&mut self, connection: Connection, partitions: Vec<u32>) {
        self.connection = Some(connection);
        self.partitions = partitions;
    }

    /// Drops the connection, and with it all that was in flight. Returns how much that was.
    pub fn cut_off(&mut self) -> usize {
        self.connection = None;
        self.watched_for_writing = false;
        self.routes_stale = false;
        self.in_flight.clear();
        self.next_answer = self.next_correlation;
        std::mem::take(&mut self.unanswered)
    }

    /// Puts requests into the output, as many as pace and output allow.
    pub fn fill(&mut self, sending: &Sending, pool: &Pool, now: u64, interval: &mut Interval) {
        let Some(connection) = &mut self.connection else { return };
        let mut left = match sending.pace {
            Pace::Closed { in_flight } => in_flight.saturating_sub(self.unanswered),
            Pace::Open { .. } => self.due.len(),
        };
        let mut without_batch = 0;
        while left > 0 && connection.unsent() < UNSENT_BYTES_MAX {
            let partition = self.partitions[self.round % self.partitions.len()];
            let batch = pool.pick(partition as usize, self.round);
            self.round = self.round.wrapping_add(1);
            let Some(batch) = batch else {
                without_batch += 1;
                if without_batch >= self.partitions.len() {
                    // No key leads to any partition of this broker: it gets nothing.
                    self.due.clear();
                    return;
                }
                continue;
            };
            let due = self.due.pop_front().unwrap_or(now);
            let correlation = self.next_correlation;
            sending.requests.put(connection.out(), correlation, partition as i32, batch);
            self.next_correlation = correlation.wrapping_add(1);
            left -= 1;
            if sending.acks == 0 {
                interval.produced.add(sending.one(batch.len() as u64));
                continue;
            }
            self.unanswered += 1;
            match self.in_flight.back_mut() {
                Some(sent) if sent.due == due && sent.bytes == batch.len() as u32 => {
                    sent.count += 1;
                }
                _ => self.in_flight.push_back(Sent { due, bytes: batch.len() as u32, count: 1 }),
            }
        }
    }

    /// Takes all answers that have been read.
    ///
    /// # Errors
    /// The broker sent something else than the next answer: the connection is of no more use.
    pub fn take_answers(
        &mut self,
        sending: &Sending,
        now: u64,
        interval: &mut Interval,
    ) -> io::Result<()> {
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        // Answers to requests of the same moment are recorded together.
        let mut alike = (0, 0);
        let result = connection.frames(|frame| {
            let answer = sending.requests.read(frame)?;
            let (due, bytes) = self.answered(answer)?;
            if answer.error != 0 {
                self.routes_stale |= STALE_ROUTES.contains(&answer.error);
                interval.trouble(Trouble::Code(answer.error), 1);
                return Ok(());
            }
            interval.produced.add(sending.one(bytes));
            if alike.0 != due {
                interval.done(Kind::Produce, now, alike);
                alike = (due, 0);
            }
            alike.1 += 1;
            Ok(())
        });
        interval.done(Kind::Produce, now, alike);
        self.connection = Some(connection);
        result
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

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
