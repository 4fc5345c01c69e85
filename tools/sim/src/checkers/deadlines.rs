//! A request is answered by the time it set, by the clock, also while the disk stands still.

use crate::connection::Asked;
use crate::plan::MS;

/// What turns and timers may add.
const SLACK: u64 = 2 * MS;

/// A response is given out, or still missing, at `now`. The node's clock may be `drift` millionths
/// slow. `excused`: it may be late.
///
/// # Errors
/// It is too late.
pub fn given_out(asked: &Asked, now: u64, drift: u64, excused: bool) -> Result<(), String> {
    let slack = SLACK + asked.timeout.unwrap_or(0) * drift / 400_000;
    match asked.answer_by {
        Some(answer_by) if now > answer_by + slack && !excused => Err(late(asked, now, answer_by)),
        _ => Ok(()),
    }
}

fn late(asked: &Asked, now: u64, answer_by: u64) -> String {
    format!(
        "deadlines: a request was to be answered by {:.6} and wasn't at {:.6}: {asked:?}",
        answer_by as f64 / 1e9,
        now as f64 / 1e9
    )
}
