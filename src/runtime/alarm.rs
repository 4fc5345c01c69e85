//! Waiting for a moment, and for the kernel to be looked at: what the executor's timers are for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use glommio::timer::Timer;

use crate::model::time::Time;

/// The executor's timers may ring so much early.
const TIMER_SLACK: Duration = Duration::from_millis(1);

/// Waits until the executor has been round to the kernel once.
///
/// A yield would not do: the executor runs what is runnable before it looks at the kernel again.
/// A timer is the cheapest thing that only the reactor can wake: long enough not to be due when
/// it is made, and due by the time the executor parks, so that it doesn't sleep (9 us measured;
/// with 1 us it does sleep, for 33 us).
pub async fn let_io_in() {
    Timer::new(Duration::from_nanos(300)).await;
}

/// The one timer of a driver.
///
/// The executor's timer is registered again each time it is polled, and looked at each time
/// round. So it is polled once, when it is made, and kept while it rings no later than needed.
#[derive(Default)]
pub struct Alarm {
    set: Option<(Time, Timer)>,
}

impl Alarm {
    /// Ready once `deadline` has come.
    pub fn poll(&mut self, context: &mut Context<'_>, now: Time, deadline: Time) -> Poll<()> {
        if now >= deadline {
            return Poll::Ready(());
        }
        if deadline == Time::NEVER {
            self.set = None;
            return Poll::Pending;
        }
        // One that is about to ring may have rung a little early: it is made again.
        let soon = now + TIMER_SLACK;
        if self.set.as_ref().is_none_or(|(rings, _)| *rings <= soon || *rings > deadline) {
            let mut timer = Timer::new(deadline.since(now));
            if Pin::new(&mut timer).poll(context).is_ready() {
                return Poll::Ready(());
            }
            self.set = Some((deadline, timer));
        }
        Poll::Pending
    }
}
