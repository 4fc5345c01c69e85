//! A request is answered by the time it set, by the clock, also while the disk stands still.

use crate::connection::Asked;
use crate::plan::MS;

/// What turns and timers may add.
const SLACK: u64 = 2 * MS;

/// A response was given out at `now`. `excused`: it may be late.
///
/// # Errors
/// It came too late.
pub fn given_out(asked: &Asked, now: u64, excused: bool) -> Result<(), String> {
    match asked.answer_by {
        Some(answer_by) if now > answer_by + SLACK && !excused => Err(late(asked, now, answer_by)),
        _ => Ok(()),
    }
}

/// A request still has no response at `now`.
///
/// # Errors
/// It is too late.
pub fn waiting(asked: &Asked, now: u64, excused: bool) -> Result<(), String> {
    given_out(asked, now, excused)
}

fn late(asked: &Asked, now: u64, answer_by: u64) -> String {
    format!(
        "deadlines: a request was to be answered by {:.6} and wasn't at {:.6}: {asked:?}",
        answer_by as f64 / 1e9,
        now as f64 / 1e9
    )
}
