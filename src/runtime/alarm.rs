//! The one timer of a driver.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::model::time::Time;
use crate::runtime::executor::Timer;

/// Waits for a moment that changes from turn to turn. A timer that is set is kept while it rings
/// no later than needed: to have it ring in vain now and then costs less than to set it each turn.
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
        if self.set.as_ref().is_none_or(|(rings, _)| *rings <= now || *rings > deadline) {
            let mut timer = Timer::after(deadline.since(now));
            if Pin::new(&mut timer).poll(context).is_ready() {
                return Poll::Ready(());
            }
            self.set = Some((deadline, timer));
        }
        Poll::Pending
    }
}
