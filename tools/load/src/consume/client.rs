//! A consumer: asks for what comes next in its partitions, and counts what it gets.
//!
//! One request is in flight on a connection; more connections read at once. Records are counted
//! from the headers of their batches, so that the cost is one of bytes moved, not of records.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use hutong::kafka::record_batch::{BatchHeader, CODEC_NONE, batches, crc_matches};

use super::requests::{Part, Requests};
use crate::e2e::{Drain, Journey, read_stamp};
use crate::net::connection::Connection;
use crate::offsets::Positions;
use crate::produce::STALE_ROUTES;
use crate::report::{Interval, Kind, Trouble};
use crate::router::Ask;
use crate::worker::{Client, Leads};

/// Kafka's code for an offset that the partition doesn't have (any more).
const OFFSET_OUT_OF_RANGE: i16 = 1;

/// What all consumers of a topic that read it together have alike.
pub struct Reading {
    pub topic: usize,
    pub requests: Requests,
    pub positions: Arc<Positions>,
    /// Where to end, by partition.
    pub until: Option<Vec<i64>>,
    pub check_crc: bool,
    /// Which partitions have a backlog.
    pub behind: Option<Behind>,
    /// Records carry when they were due, from producers of the same run.
    pub journey: Option<Arc<Journey>>,
}

/// A backlog that is being drained.
pub struct Behind {
    /// Whether it has not been read to its end.
    pub partitions: Vec<AtomicBool>,
    pub drain: Arc<Drain>,
}

impl Reading {
    fn next(&self, partition: u32) -> Option<i64> {
        self.positions.next(partition).filter(|_| !self.is_over(partition))
    }

    /// All that there was of a partition has been read.
    fn caught_up(&self, partition: u32, now: u64) {
        let Some(behind) = &self.behind else { return };
        if behind.partitions[partition as usize].swap(false, Ordering::Relaxed) {
            behind.drain.caught_up(now);
        }
    }

    fn is_over(&self, partition: u32) -> bool {
        let (until, next) = (self.until.as_ref(), self.positions.next(partition));
        until.zip(next).is_some_and(|(until, next)| next >= until[partition as usize])
    }
}

/// See the module.
pub struct Consumer {
    /// Its worker.
    worker: usize,
    reading: Arc<Reading>,
    partitions: Vec<u32>,
    router: Sender<Ask>,
    /// When the request in flight was sent.
    asked: Option<u64>,
    /// What it asks for, by partition in ascending order, and where to begin the next time: small
    /// answers must not come from the same partitions always.
    wanted: Vec<(u32, i64)>,
    turn: usize,
    /// Which of `wanted` the next part of an answer should be of: brokers keep the order.
    expected: usize,
    correlation: i32,
}

impl Consumer {
    /// One that is asked by the worker with this number.
    pub fn new(worker: usize, reading: Arc<Reading>, router: Sender<Ask>) -> Consumer {
        Consumer {
            worker,
            reading,
            partitions: Vec::new(),
            router,
            asked: None,
            wanted: Vec::new(),
            turn: 0,
            expected: 0,
            correlation: 0,
        }
    }

    /// The offset that a partition was asked for.
    fn asked_from(&mut self, partition: u32) -> Option<i64> {
        let is_it = |wanted: &&(u32, i64)| wanted.0 == partition;
        let found = self.wanted.get(self.expected).filter(is_it);
        self.expected += 1;
        found.or_else(|| self.wanted.iter().find(is_it)).map(|(_, offset)| *offset)
    }

    /// Takes what came from a partition.
    fn take_part(&mut self, part: Part<'_>, now: u64, interval: &mut Interval) -> Got {
        let Some(from) = self.asked_from(part.partition) else { return Got::Nothing };
        match part.error {
            0 => {}
            OFFSET_OUT_OF_RANGE => {
                interval.trouble(Trouble::Code(part.error), 1);
                self.reset(part.partition, from);
                return Got::Nothing;
            }
            code => {
                interval.trouble(Trouble::Code(code), 1);
                return if STALE_ROUTES.contains(&code) { Got::Elsewhere } else { Got::Nothing };
            }
        }
        let mut next = from;
        let mut seen = interval.consumed;
        for (range, header) in batches(part.records) {
            // The first may begin before what was asked for.
            seen.records += records_from(&header, from);
            seen.batches += 1;
            seen.bytes += header.batch_bytes as u64;
            next = header.last_offset() + 1;
            if self.reading.check_crc && !crc_matches(&part.records[range]) {
                interval.trouble(Trouble::Corrupt, 1);
            }
        }
        if next <= from || !self.reading.positions.advance(part.partition, from, next) {
            return Got::Nothing;
        }
        interval.consumed = seen;
        if next >= part.high_watermark {
            self.reading.caught_up(part.partition, now);
        }
        self.arrived(part.records, from, now, interval);
        Got::Records
    }

    /// Measures how long records were under way, by the stamps of their batches.
    fn arrived(&self, records: &[u8], from: i64, now: u64, interval: &mut Interval) {
        let Some(journey) = &self.reading.journey else { return };
        let mut received = 0;
        let mut alike = (0, 0);
        for (range, header) in batches(records).filter(|(_, header)| header.codec() == CODEC_NONE) {
            let Some(due) = read_stamp(&records[range], journey.run) else { continue };
            if alike.0 != due {
                interval.done(Kind::EndToEnd, now, alike);
                alike = (due, 0);
            }
            alike.1 += records_from(&header, from);
            received += records_from(&header, from);
        }
        interval.done(Kind::EndToEnd, now, alike);
        journey.received(received);
    }

    fn reset(&self, partition: u32, from: i64) {
        if self.reading.positions.forget(partition, from) {
            let positions = self.reading.positions.clone();
            let (worker, topic) = (self.worker, self.reading.topic);
            // The router lives as long as there are workers.
            let _ = self.router.send(Ask::Reset { worker, topic, partition, positions });
        }
    }
}

/// What a partition's part of an answer brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Got {
    Nothing,
    Records,
    Elsewhere,
}

/// How many of a batch's records are at this offset or behind it.
fn records_from(header: &BatchHeader, offset: i64) -> u64 {
    let count = i64::from(header.record_count.max(0));
    count.min(header.last_offset() + 1 - offset).max(0) as u64
}

impl Client for Consumer {
    fn assign(&mut self, partitions: Vec<u32>) {
        self.partitions = partitions;
    }

    fn fill(&mut self, to: &mut Connection, now: u64, ending: bool, _: &mut Interval) {
        if self.asked.is_some() || (ending && !self.is_waiting()) || self.partitions.is_empty() {
            return;
        }
        self.wanted.clear();
        self.turn = (self.turn + 1) % self.partitions.len();
        let (behind, first) = self.partitions.split_at(self.turn);
        for &partition in first.iter().chain(behind) {
            if let Some(offset) = self.reading.next(partition) {
                self.wanted.push((partition, offset));
            }
        }
        if self.wanted.is_empty() {
            return;
        }
        self.correlation = self.correlation.wrapping_add(1);
        self.reading.requests.put(to.out(), self.correlation, &self.wanted);
        self.asked = Some(now);
    }

    fn take(
        &mut self,
        from: &mut Connection,
        now: u64,
        interval: &mut Interval,
    ) -> io::Result<Leads> {
        let mut leads = Leads::AsBefore;
        from.frames(|frame| {
            let Some(asked) = self.asked.take() else {
                return Err(invalid("it answered a request that was never sent"));
            };
            let mut got_records = false;
            self.expected = 0;
            let reading = self.reading.clone();
            let (correlation, error) =
                reading.requests.read(frame, |part| match self.take_part(part, now, interval) {
                    Got::Records => got_records = true,
                    Got::Elsewhere => leads = Leads::Elsewhere,
                    Got::Nothing => {}
                })?;
            if correlation != self.correlation {
                return Err(invalid("it answered another request than the one that was sent"));
            }
            if error != 0 {
                interval.trouble(Trouble::Code(error), 1);
            }
            // What was waited for because there was nothing is not the broker's slowness.
            if got_records {
                interval.consumed.requests += 1;
                interval.done(Kind::Fetch, now, (asked, 1));
            }
            Ok(())
        })?;
        Ok(leads)
    }

    fn cut_off(&mut self) -> usize {
        self.asked.take().map_or(0, |_| 1)
    }

    fn is_done(&self) -> bool {
        self.reading.until.is_some()
            && self.partitions.iter().all(|&partition| self.reading.is_over(partition))
    }

    /// For records that were sent in this run; a long poll's answer is nothing to wait for.
    fn is_waiting(&self) -> bool {
        self.reading.journey.as_ref().is_some_and(|journey| journey.under_way() > 0)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
