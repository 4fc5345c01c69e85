//! The requests of one side that wait for their answers.

use crate::duplex::serial::{Serial, SerialError};

/// Requests sent and not yet answered, each with what its sender must know when the answer comes.
///
/// A ring, in which a serial is its own place: nothing is hashed, nothing is allocated but once.
/// Answers may come in any order. A place is free again when its request and all older ones are
/// answered, so the bound is on the distance from the oldest unanswered request to the newest.
#[derive(Clone, Debug)]
pub struct Outstanding<T> {
    /// A power of two, so that serials run on through it also when they wrap.
    places: Box<[Option<T>]>,
    requests_max: u32,
    /// All before it are answered. It is not, unless it is `next`.
    oldest: Serial,
    next: Serial,
    unanswered: u32,
}

impl<T> Outstanding<T> {
    /// None yet. From the oldest unanswered request on there will be no more than `requests_max`.
    ///
    /// # Panics
    /// If `requests_max` is 0, or so large that an answer's serial could not be told to be early
    /// or late: over a quarter of the serials there are.
    pub fn new(requests_max: u32) -> Outstanding<T> {
        assert!((1..=Serial::COUNT / 4).contains(&requests_max), "a bound that serials can tell");
        Outstanding {
            places: (0..requests_max.next_power_of_two()).map(|_| None).collect(),
            requests_max,
            oldest: Serial::default(),
            next: Serial::default(),
            unanswered: 0,
        }
    }

    /// Notes a request that is about to be sent and gives it its serial; `None` if there are too
    /// many.
    pub fn ask(&mut self, what: T) -> Option<Serial> {
        if self.is_full() {
            return None;
        }
        let serial = self.next;
        let at = self.place(serial);
        self.places[at] = Some(what);
        self.next = serial.after(1);
        self.unanswered += 1;
        Some(serial)
    }

    /// Takes the answer to a request, and gives back what was noted with it. Anything but the first
    /// answer to a request that was sent is an error, and changes nothing.
    pub fn answered(&mut self, serial: Serial) -> Result<T, SerialError> {
        if serial.since(self.oldest) >= self.next.since(self.oldest) {
            // No place of ours. The nearer side says whether it is too early or too late.
            return Err(if serial.since(self.next) < Serial::COUNT / 2 {
                SerialError::NeverSent(serial)
            } else {
                SerialError::AnsweredBefore(serial)
            });
        }
        let at = self.place(serial);
        let what = self.places[at].take().ok_or(SerialError::AnsweredBefore(serial))?;
        self.unanswered -= 1;
        while self.oldest != self.next && self.places[self.place(self.oldest)].is_none() {
            self.oldest = self.oldest.after(1);
        }
        Ok(what)
    }

    /// Takes out all that wait for an answer, oldest first: the connection is gone, and their
    /// senders must hear of it.
    pub fn give_up(&mut self) -> impl Iterator<Item = (Serial, T)> {
        std::iter::from_fn(|| {
            while self.oldest != self.next {
                let serial = self.oldest;
                let at = self.place(serial);
                self.oldest = serial.after(1);
                if let Some(what) = self.places[at].take() {
                    self.unanswered -= 1;
                    return Some((serial, what));
                }
            }
            None
        })
    }

    /// Whether another request must wait.
    pub fn is_full(&self) -> bool {
        self.next.since(self.oldest) >= self.requests_max
    }

    /// Whether all requests are answered.
    pub fn is_empty(&self) -> bool {
        self.unanswered == 0
    }

    /// How many requests wait for their answers.
    pub fn len(&self) -> usize {
        self.unanswered as usize
    }

    fn place(&self, serial: Serial) -> usize {
        serial.number() as usize & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_that_fits_no_request_is_an_error() {
        let mut outstanding = Outstanding::new(4);
        let asked: Vec<Serial> = (0..4).map(|what| outstanding.ask(what).unwrap()).collect();
        assert_eq!(outstanding.ask(4), None);
        assert_eq!(outstanding.answered(asked[2]), Ok(2));
        let doubled = Err(SerialError::AnsweredBefore(asked[2]));
        assert_eq!(outstanding.answered(asked[2]), doubled);
        // The oldest still waits, so its place and all behind it do.
        assert_eq!(outstanding.ask(4), None);
        assert_eq!(outstanding.answered(asked[0]), Ok(0));
        assert_eq!(outstanding.answered(asked[1]), Ok(1));
        assert_eq!(outstanding.ask(4), Some(Serial::new(4)));
        assert_eq!(outstanding.answered(asked[2]), doubled);
        for never in [5, 6, 1000] {
            let never = Serial::new(never);
            assert_eq!(outstanding.answered(never), Err(SerialError::NeverSent(never)));
        }
        assert_eq!(outstanding.len(), 2);
        let left: Vec<_> = outstanding.give_up().collect();
        assert_eq!(left, [(Serial::new(3), 3), (Serial::new(4), 4)]);
        assert!(outstanding.is_empty());
        let late = Err(SerialError::AnsweredBefore(Serial::new(4)));
        assert_eq!(outstanding.answered(Serial::new(4)), late);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn answers_in_any_order_find_their_requests(
            requests_max in 1..20_u32,
            // So that serials also run over their end.
            skipped in prop_oneof![Just(0), Serial::COUNT - 50..Serial::COUNT],
            steps in vec((any::<bool>(), 0..60_u32), 0..400),
        ) {
            let mut outstanding = Outstanding::new(requests_max);
            let first = Serial::new(skipped);
            (outstanding.oldest, outstanding.next) = (first, first);
            // By how many requests came before.
            let mut waiting = BTreeMap::new();
            let mut asked = 0_u32;
            for (ask, number) in steps {
                let span = asked - waiting.keys().next().copied().unwrap_or(asked);
                prop_assert_eq!(outstanding.is_full(), span >= requests_max);
                if ask {
                    let serial = outstanding.ask(number);
                    prop_assert_eq!(serial, (span < requests_max).then(|| first.after(asked)));
                    if serial.is_some() {
                        waiting.insert(asked, number);
                        asked += 1;
                    }
                } else {
                    // Near those that wait, from before the oldest to behind the newest.
                    let serial = first.after(asked + 20).after(Serial::COUNT - number);
                    let answered = waiting.remove(&(asked + 20).wrapping_sub(number));
                    let due = match answered {
                        Some(what) => Ok(what),
                        None if number <= 20 => Err(SerialError::NeverSent(serial)),
                        None => Err(SerialError::AnsweredBefore(serial)),
                    };
                    prop_assert_eq!(outstanding.answered(serial), due);
                }
                prop_assert_eq!(outstanding.len(), waiting.len());
                prop_assert_eq!(outstanding.is_empty(), waiting.is_empty());
            }
            let left: Vec<_> = outstanding.give_up().map(|(_, what)| what).collect();
            prop_assert_eq!(left, waiting.into_values().collect::<Vec<_>>());
        }
    }
}
