//! Waiting for a moment.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::with_executor;

/// All timers of one executor, in the order in which they ring.
#[derive(Default)]
pub struct Timers {
    set: RefCell<BTreeMap<(Instant, u64), Waker>>,
    made: Cell<u64>,
}

impl Timers {
    /// When the first one rings.
    pub fn next(&self) -> Option<Instant> {
        self.set.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    /// Wakes those who wait for a moment that has come.
    pub fn wake_due(&self, now: Instant) {
        loop {
            let mut set = self.set.borrow_mut();
            match set.first_entry() {
                Some(first) if first.key().0 <= now => {
                    let waker = first.remove();
                    drop(set);
                    waker.wake();
                }
                _ => return,
            }
        }
    }
}

/// Ready once its moment has come, and never before.
pub struct Timer {
    at: Instant,
    /// Which of those that ring at that moment, once it is set.
    nth: Option<u64>,
}

impl Timer {
    /// One that rings so long from now.
    pub fn after(wait: Duration) -> Timer {
        Timer { at: Instant::now() + wait, nth: None }
    }

    fn unset(&mut self) {
        if let Some(nth) = self.nth.take() {
            let waker = with_executor(|on| on.timers.set.borrow_mut().remove(&(self.at, nth)));
            drop(waker);
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.at {
            self.unset();
            return Poll::Ready(());
        }
        let nth = self.nth;
        let (at, waker) = (self.at, context.waker().clone());
        self.nth = Some(with_executor(|on| {
            let nth = nth.unwrap_or_else(|| on.timers.made.replace(on.timers.made.get() + 1));
            on.timers.set.borrow_mut().insert((at, nth), waker);
            nth
        }));
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.unset();
    }
}

/// Waits so long.
pub async fn sleep(wait: Duration) {
    Timer::after(wait).await;
}
