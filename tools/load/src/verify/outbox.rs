//! One producer's batches for one partition: what is to be sent, in which order, under which
//! numbers, and what became of it. Plain code, told the time.
//!
//! Sends again as Kafka's own clients do. When a batch fails nothing more is sent until all that
//! is in flight has been answered or given up; then everything unanswered goes out again in its
//! old order and under its old numbers, so an idempotent broker knows what it has.
//!
//! If the broker says of the oldest batch that its number is out of order (or that it doesn't know
//! the producer any more), it hasn't got that batch, nor any behind it: it has forgotten earlier
//! ones, or one before was refused or given up. Then the producer begins a new epoch, which shuts
//! out whatever of the old one is still under way, and numbers from zero.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hutong::kafka::record_batch::Producer;

use super::evidence::Told;
use super::runs::Run;

/// The first pause before something is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(1);

const MESSAGE_DUPLICATE: i16 = 46;
/// Kafka's codes for "this doesn't follow what I have of you": out of order, unknown producer,
/// epoch too old, unknown id, fenced.
const NOT_IN_SEQUENCE: [i16; 5] = [45, 59, 47, 49, 90];
/// Codes that say the batch is not there, and would not be if it were sent again: message too
/// large, invalid topic, record list too large, invalid acks, topic authorization, unsupported
/// version, invalid timestamp, policy violation, invalid request, cluster authorization,
/// unsupported for the format, unsupported compression, invalid record.
const REFUSALS: [i16; 13] = [10, 17, 18, 21, 29, 35, 32, 44, 42, 31, 43, 76, 87];

/// How a try to send a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was answered with this code, 0 for none, and the offset of its first record.
    Answered { error: i16, base_offset: i64 },
    /// The connection ended first.
    Lost,
    /// No answer was asked for.
    Unasked,
}

/// See the module.
#[derive(Debug)]
pub struct Outbox {
    /// The id of an idempotent producer.
    producer_id: Option<i64>,
    epoch: i16,
    /// The number of the next batch's first record within the epoch.
    next_number: i32,
    /// Oldest first. Those that are in flight come before those that aren't.
    batches: VecDeque<Batch>,
    /// Something failed: nothing is sent until nothing is in flight.
    recovering: bool,
    not_before: Option<Instant>,
    pause: Duration,
    told: Told,
}

#[derive(Debug)]
struct Batch {
    first: u64,
    count: u32,
    number: i32,
    created: Instant,
    state: State,
    sends: u32,
    /// An earlier try ended without a clear answer.
    may_be_there: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    InFlight,
    Failed { not_in_sequence: bool },
}

/// A batch to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToSend {
    /// The sequence of its first record, by which its ending is reported.
    pub first: u64,
    pub count: u32,
    pub producer: Producer,
}

impl Outbox {
    /// An outbox that has sent nothing; with an id for an idempotent producer.
    pub fn new(producer_id: Option<i64>) -> Outbox {
        Outbox {
            producer_id,
            epoch: 0,
            next_number: 0,
            batches: VecDeque::new(),
            recovering: false,
            not_before: None,
            pause: PAUSE_MIN,
            told: Told::default(),
        }
    }

    /// How many batches have no outcome yet.
    pub fn open(&self) -> usize {
        self.batches.len()
    }

    /// Whether a batch waits to be sent for the first time or again.
    pub fn wants_to_send(&self) -> bool {
        self.batches.iter().any(|batch| batch.state != State::InFlight)
    }

    /// Adds a batch of the next records.
    pub fn add(&mut self, count: u32, now: Instant) {
        let number = self.take_numbers(count);
        self.batches.push_back(Batch {
            first: self.told.given_out,
            count,
            number,
            created: now,
            state: State::Waiting,
            sends: 0,
            may_be_there: false,
        });
        self.told.given_out += u64::from(count);
    }

    /// The batch to be sent next, if any may be sent now. It is in flight from here on.
    pub fn send(&mut self, now: Instant) -> Option<ToSend> {
        if self.recovering || self.not_before.is_some_and(|moment| now < moment) {
            return None;
        }
        let (producer_id, epoch) = (self.producer_id, self.epoch);
        let batch = self.batches.iter_mut().find(|batch| batch.state == State::Waiting)?;
        batch.state = State::InFlight;
        batch.sends += 1;
        if batch.sends == 2 {
            let records = batch.first..batch.first + u64::from(batch.count);
            self.told.resent.insert(records);
        }
        let producer = match producer_id {
            Some(id) => Producer { id, epoch, base_sequence: batch.number },
            None => Producer::NONE,
        };
        Some(ToSend { first: batch.first, count: batch.count, producer })
    }

    /// A try of the batch that begins with record `first` has ended. Returns how many records were
    /// acknowledged.
    pub fn ended(&mut self, first: u64, ending: Ending, now: Instant) -> u64 {
        let found = self.batches.iter().position(|batch| batch.first == first);
        let Some(at) = found.filter(|&at| self.batches[at].state == State::InFlight) else {
            return 0;
        };
        let mut acknowledged = 0;
        match ending {
            Ending::Unasked => self.unknown(at),
            Ending::Answered { error: 0 | MESSAGE_DUPLICATE, base_offset } => {
                acknowledged = self.acknowledged(at, base_offset);
                (self.pause, self.not_before) = (PAUSE_MIN, None);
            }
            Ending::Answered { error, .. } if REFUSALS.contains(&error) => self.refused(at),
            Ending::Answered { error, .. } if NOT_IN_SEQUENCE.contains(&error) => {
                self.failed(at, State::Failed { not_in_sequence: at == 0 });
            }
            Ending::Answered { .. } | Ending::Lost => {
                self.batches[at].may_be_there = true;
                self.failed(at, State::Failed { not_in_sequence: false });
            }
        }
        self.recover(now);
        acknowledged
    }

    /// Gives up what was made before `now - timeout`, unless it is in flight right now. Returns
    /// how many records.
    pub fn expire(&mut self, now: Instant, timeout: Duration) -> u64 {
        let mut expired = 0;
        while let Some(batch) = self.batches.front() {
            if batch.state == State::InFlight || now < batch.created + timeout {
                break;
            }
            expired += u64::from(batch.count);
            self.unknown(0);
        }
        if expired > 0 {
            self.recover(now);
        }
        expired
    }

    /// Ends it: what has no outcome yet is unknown.
    pub fn finish(mut self) -> Told {
        while !self.batches.is_empty() {
            self.unknown(0);
        }
        self.told
    }

    fn take_numbers(&mut self, count: u32) -> i32 {
        let number = self.next_number;
        // Numbers go from the largest back to zero.
        self.next_number = ((i64::from(number) + i64::from(count)) % (1 << 31)) as i32;
        number
    }

    fn take(&mut self, at: usize) -> (Batch, std::ops::Range<u64>) {
        let batch = self.batches.remove(at).expect("the caller has looked at it");
        let records = batch.first..batch.first + u64::from(batch.count);
        (batch, records)
    }

    fn unknown(&mut self, at: usize) {
        let (_, records) = self.take(at);
        self.told.unknown.insert(records);
    }

    fn acknowledged(&mut self, at: usize, base_offset: i64) -> u64 {
        let (batch, records) = self.take(at);
        let count = u64::from(batch.count);
        if base_offset < 0 {
            self.told.acked_somewhere.insert(records);
        } else {
            let run = Run { producer: 0, sequence: batch.first, offset: base_offset, count };
            self.told.acked.push(run);
        }
        count
    }

    fn refused(&mut self, at: usize) {
        let (batch, records) = self.take(at);
        if batch.may_be_there {
            self.told.unknown.insert(records);
        } else {
            self.told.refused.insert(records);
        }
    }

    fn failed(&mut self, at: usize, state: State) {
        self.batches[at].state = state;
        self.recovering = true;
    }

    /// When nothing is in flight any more, everything may be sent again.
    fn recover(&mut self, now: Instant) {
        let in_flight = self.batches.iter().any(|batch| batch.state == State::InFlight);
        if !self.recovering || in_flight {
            return;
        }
        self.recovering = false;
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        let front = self.batches.front().map(|batch| batch.state);
        let begins_anew = front == Some(State::Failed { not_in_sequence: true });
        for batch in &mut self.batches {
            batch.state = State::Waiting;
        }
        if begins_anew {
            self.begin_epoch();
        }
    }

    fn begin_epoch(&mut self) {
        // After 32,767 of them the last stays, and what is refused in it ends as unknown.
        self.epoch = self.epoch.saturating_add(1);
        self.told.new_epochs += 1;
        self.next_number = 0;
        for at in 0..self.batches.len() {
            self.batches[at].number = self.take_numbers(self.batches[at].count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(120);

    fn outbox(batches: usize) -> (Outbox, Instant) {
        let now = Instant::now();
        let mut outbox = Outbox::new(Some(5));
        (0..batches).for_each(|_| outbox.add(10, now));
        (outbox, now)
    }

    /// The first records and the numbers of all that can be sent now.
    fn sent(outbox: &mut Outbox, now: Instant) -> Vec<(u64, i16, i32)> {
        std::iter::from_fn(|| outbox.send(now))
            .map(|to_send| (to_send.first, to_send.producer.epoch, to_send.producer.base_sequence))
            .collect()
    }

    fn answered(error: i16, base_offset: i64) -> Ending {
        Ending::Answered { error, base_offset }
    }

    #[test]
    fn what_is_acknowledged_is_kept_with_its_offset() {
        let (mut outbox, now) = outbox(2);
        assert_eq!(sent(&mut outbox, now), [(0, 0, 0), (10, 0, 10)]);
        assert_eq!(outbox.ended(0, answered(0, 100), now), 10);
        assert_eq!(outbox.ended(10, answered(46, -1), now), 10);
        let told = outbox.finish();
        assert_eq!(told.acked.iter().map(|run| (run.sequence, run.offset)).next(), Some((0, 100)));
        assert!(told.acked_somewhere.iter().flatten().eq(10..20));
        assert!(told.resent.is_empty() && told.unknown.is_empty());
    }

    #[test]
    fn what_a_broken_connection_took_is_sent_again_in_order_under_its_old_numbers() {
        let (mut outbox, now) = outbox(3);
        sent(&mut outbox, now);
        outbox.ended(0, Ending::Lost, now);
        assert_eq!(sent(&mut outbox, now + PAUSE_MAX), [], "two are in flight still");
        outbox.ended(10, Ending::Lost, now);
        outbox.ended(20, Ending::Lost, now);
        assert_eq!(sent(&mut outbox, now), [], "there is a pause");
        let later = now + PAUSE_MAX;
        assert_eq!(sent(&mut outbox, later), [(0, 0, 0), (10, 0, 10), (20, 0, 20)]);
        assert_eq!(outbox.finish().resent.len(), 30);
    }

    #[test]
    fn the_oldest_out_of_sequence_begins_a_new_epoch() {
        let (mut outbox, now) = outbox(3);
        sent(&mut outbox, now);
        outbox.ended(0, answered(0, 0), now);
        outbox.ended(10, answered(45, -1), now);
        outbox.ended(20, answered(45, -1), now);
        let later = now + PAUSE_MAX;
        outbox.add(10, later);
        assert_eq!(sent(&mut outbox, later), [(10, 1, 0), (20, 1, 10), (30, 1, 20)]);
        assert_eq!(outbox.finish().new_epochs, 1);
    }

    #[test]
    fn out_of_sequence_behind_another_failure_only_waits_for_that_one() {
        let (mut outbox, now) = outbox(2);
        sent(&mut outbox, now);
        outbox.ended(0, answered(6, -1), now);
        outbox.ended(10, answered(45, -1), now);
        assert_eq!(sent(&mut outbox, now + PAUSE_MAX), [(0, 0, 0), (10, 0, 10)]);
    }

    #[test]
    fn a_refusal_is_for_good_unless_an_earlier_try_may_have_worked() {
        let (mut outbox, now) = outbox(2);
        sent(&mut outbox, now);
        outbox.ended(0, answered(10, -1), now);
        outbox.ended(10, Ending::Lost, now);
        let later = now + PAUSE_MAX;
        assert_eq!(sent(&mut outbox, later), [(10, 0, 10)]);
        outbox.ended(10, answered(10, -1), later);
        let told = outbox.finish();
        assert!(told.refused.iter().flatten().eq(0..10));
        assert!(told.unknown.iter().flatten().eq(10..20));
    }

    #[test]
    fn what_is_too_old_is_given_up_and_its_outcome_unknown() {
        let (mut outbox, now) = outbox(2);
        sent(&mut outbox, now);
        assert_eq!(outbox.expire(now + TIMEOUT, TIMEOUT), 0, "both may be answered any moment");
        outbox.ended(0, Ending::Lost, now);
        outbox.ended(10, Ending::Lost, now);
        assert_eq!(outbox.expire(now + TIMEOUT / 2, TIMEOUT), 0);
        assert_eq!(outbox.expire(now + TIMEOUT, TIMEOUT), 20);
        assert_eq!(outbox.open(), 0);
        assert_eq!(outbox.finish().unknown.len(), 20);
    }

    #[test]
    fn without_answers_nothing_is_known() {
        let (mut outbox, now) = outbox(1);
        sent(&mut outbox, now);
        assert_eq!(outbox.ended(0, Ending::Unasked, now), 0);
        assert_eq!(outbox.finish().unknown.len(), 10);
    }
}
