//! Produce requests that wait for a position or a deadline.
//!
//! One ring for each level. Within a ring positions only grow, so the front decides what may be
//! *released*, whichever position has moved. Deadlines are each request's own and fire by the
//! clock, also when nothing moves. They are kept as the minimum of each block of the ring, so that
//! looking for what has *expired* touches only blocks that hold some.

use std::collections::VecDeque;

use crate::model::position::Position;
use crate::model::qos::Qos;
use crate::model::time::Time;

/// Requests under one minimum of deadlines.
const BLOCK: u64 = 256;

/// The positions of a group that responses wait for, one for each level with a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// In the journal cache.
    pub append: Position,
    /// On the leader's disk.
    pub flush: Position,
    /// In the memory of a majority.
    pub received: Position,
    /// On the disks of a majority.
    pub commit: Position,
}

impl Progress {
    /// How far a level has come.
    pub fn of(&self, qos: Qos) -> Position {
        match qos {
            Qos::OneWay | Qos::Received => self.append,
            Qos::Flushed => self.flush,
            Qos::Replicated => self.received,
            Qos::Durable => self.commit,
        }
    }
}

/// What waits, of all levels. `T` is what is needed to answer.
#[derive(Debug)]
pub struct PendingResponses<T> {
    rings: [Ring<T>; 4],
}

#[derive(Debug)]
struct Ring<T> {
    waiting: VecDeque<Waiting<T>>,
    /// The number of the ring's first request, counted from its beginning.
    first: u64,
    /// For each block that the ring touches, a moment not after its earliest deadline.
    deadlines: VecDeque<Time>,
    /// Not answered yet.
    live: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    end: Position,
    deadline: Time,
    /// `None` once it has expired.
    response: Option<T>,
}

impl<T> Default for PendingResponses<T> {
    fn default() -> Self {
        PendingResponses { rings: std::array::from_fn(|_| Ring::new()) }
    }
}

impl<T> PendingResponses<T> {
    /// Has `response` wait until its level has reached `end`, the end of the entry it is in.
    ///
    /// # Panics
    /// If the level has no response, or `end` is before that of an earlier one.
    pub fn push(&mut self, qos: Qos, end: Position, deadline: Time, response: T) {
        self.rings[ring_of(qos)].push(end, deadline, response);
    }

    /// Hands out, level by level and in position order, all that `progress` allows.
    pub fn release(&mut self, progress: &Progress, mut released: impl FnMut(T)) {
        for (ring, qos) in self.rings.iter_mut().zip(Qos::WITH_RESPONSE) {
            ring.release(progress.of(qos), &mut released);
        }
    }

    /// Hands out all whose deadline has come.
    pub fn expire(&mut self, now: Time, mut expired: impl FnMut(T)) {
        for ring in &mut self.rings {
            ring.expire(now, &mut expired);
        }
    }

    /// Hands out everything, as when leadership is lost.
    pub fn fail_all(&mut self, mut failed: impl FnMut(T)) {
        for ring in &mut self.rings {
            ring.release(Position(u64::MAX), &mut failed);
        }
    }

    /// When `expire` is to be called next. May be a little early, never late.
    pub fn next_deadline(&self) -> Option<Time> {
        self.rings.iter().filter_map(Ring::next_deadline).min()
    }

    /// How many wait at a level.
    pub fn waiting(&self, qos: Qos) -> usize {
        self.rings[ring_of(qos)].live
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.rings.iter().map(|ring| ring.live).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn ring_of(qos: Qos) -> usize {
    Qos::WITH_RESPONSE.iter().position(|level| *level == qos).expect("a level with a response")
}

impl<T> Ring<T> {
    fn new() -> Ring<T> {
        Ring { waiting: VecDeque::new(), first: 0, deadlines: VecDeque::new(), live: 0 }
    }

    fn push(&mut self, end: Position, deadline: Time, response: T) {
        if let Some(last) = self.waiting.back() {
            assert!(last.end <= end, "positions grow within a level");
        }
        let block =
            ((self.first + self.waiting.len() as u64) / BLOCK - self.first / BLOCK) as usize;
        match self.deadlines.get_mut(block) {
            Some(earliest) => *earliest = deadline.min(*earliest),
            None => self.deadlines.push_back(deadline),
        }
        self.waiting.push_back(Waiting { end, deadline, response: Some(response) });
        self.live += 1;
    }

    fn release(&mut self, reached: Position, released: &mut impl FnMut(T)) {
        while self.waiting.front().is_some_and(|front| front.end <= reached) {
            let front = self.waiting.pop_front().expect("it was just seen");
            self.first += 1;
            if self.first.is_multiple_of(BLOCK) {
                self.deadlines.pop_front();
            }
            if let Some(response) = front.response {
                self.live -= 1;
                released(response);
            }
        }
        if self.waiting.is_empty() {
            self.deadlines.clear();
        }
    }

    fn expire(&mut self, now: Time, expired: &mut impl FnMut(T)) {
        for block in 0..self.deadlines.len() {
            if self.deadlines[block] > now {
                continue;
            }
            let block_start = (self.first / BLOCK + block as u64) * BLOCK;
            let from = block_start.saturating_sub(self.first) as usize;
            let to = (block_start + BLOCK - self.first).min(self.waiting.len() as u64) as usize;
            let mut earliest = Time::NEVER;
            for waiting in self.waiting.range_mut(from..to) {
                if waiting.response.is_none() {
                    continue;
                }
                if waiting.deadline > now {
                    earliest = earliest.min(waiting.deadline);
                } else if let Some(response) = waiting.response.take() {
                    self.live -= 1;
                    expired(response);
                }
            }
            self.deadlines[block] = earliest;
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.deadlines.iter().copied().min().filter(|deadline| *deadline < Time::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by a plain list.
    #[derive(Default)]
    struct Model(Vec<(Qos, Position, Time, u32)>);

    impl Model {
        fn take(&mut self, mut pick: impl FnMut(&(Qos, Position, Time, u32)) -> bool) -> Vec<u32> {
            let mut taken: Vec<u32> =
                self.0.iter().filter(|waiting| pick(waiting)).map(|waiting| waiting.3).collect();
            self.0.retain(|waiting| !pick(waiting));
            taken.sort_unstable();
            taken
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { level: usize, grow: u64, timeout: u64, count: u16 },
        Release { append: u64, flush: u64, received: u64, commit: u64 },
        Wait { by: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..4, 0u64..3, 0u64..50, 1u16..600).prop_map(|(level, grow, timeout, count)| {
                Step::Push { level, grow, timeout, count }
            }),
            (0u64..9, 0u64..9, 0u64..9, 0u64..9).prop_map(|(append, flush, received, commit)| {
                Step::Release { append, flush, received, commit }
            }),
            (0u64..30).prop_map(|by| Step::Wait { by }),
        ]
    }

    proptest! {
        #[test]
        fn releases_and_expires_what_a_plain_list_does(
            steps in prop::collection::vec(step(), 1..60),
        ) {
            let mut pending = PendingResponses::default();
            let mut model = Model::default();
            let (mut end, mut now, mut number) = (Position(0), Time(0), 0);
            let mut progress = Progress::default();
            for step in steps {
                let mut got = Vec::new();
                let expected = match step {
                    Step::Push { level, grow, timeout, count } => {
                        for n in 0..u64::from(count) {
                            end.0 += grow;
                            let deadline = Time(now.0 + 1 + (timeout * (n % 7)) % 50);
                            let qos = Qos::WITH_RESPONSE[level];
                            pending.push(qos, end, deadline, number);
                            model.0.push((qos, end, deadline, number));
                            number += 1;
                        }
                        Vec::new()
                    }
                    Step::Release { append, flush, received, commit } => {
                        progress.append.0 += append * 100;
                        progress.flush.0 += flush * 100;
                        progress.received.0 += received * 100;
                        progress.commit.0 += commit * 100;
                        pending.release(&progress, |response| got.push(response));
                        model.take(|(qos, end, _, _)| *end <= progress.of(*qos))
                    }
                    Step::Wait { by } => {
                        now.0 += by;
                        pending.expire(now, |response| got.push(response));
                        model.take(|(_, _, deadline, _)| *deadline <= now)
                    }
                };
                got.sort_unstable();
                prop_assert_eq!(got, expected);
                prop_assert_eq!(pending.len(), model.0.len());
                let earliest = model.0.iter().map(|waiting| waiting.2).min();
                if let Some(earliest) = earliest {
                    prop_assert!(pending.next_deadline().unwrap() <= earliest, "never late");
                }
            }
        }
    }

    #[test]
    fn a_deadline_fires_though_nothing_moves() {
        let mut pending = PendingResponses::default();
        pending.push(Qos::Durable, Position(10), Time(30), "slow disk");
        assert_eq!(pending.next_deadline(), Some(Time(30)));
        let mut expired = Vec::new();
        pending.expire(Time(29), |response| expired.push(response));
        assert!(expired.is_empty());
        pending.expire(Time(30), |response| expired.push(response));
        assert_eq!(expired, ["slow disk"]);
        pending.release(&Progress { commit: Position(10), ..Progress::default() }, |_| {
            panic!("what has expired is not released")
        });
    }
}
