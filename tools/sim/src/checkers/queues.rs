//! Each queue is within its bound.

use hutong::journal::page::MemoryPage;
use hutong::limits::{
    FRAME_BYTES_MAX, JOURNAL_WRITES_IN_FLIGHT_MAX, PENDING_RESPONSES_MAX, REQUEST_QUEUE_BYTES_MAX,
};
use hutong::shard::Shard;

/// Entries of the cache may exceed its bound while they aren't applied.
const REQUESTS_BEYOND: usize = 1 << 16;

/// A shard has taken a turn.
///
/// # Errors
/// The queue that is too long.
pub fn turned(shard: &Shard<MemoryPage>) -> Result<(), String> {
    let groups = shard.groups();
    let queued = groups.queued_bytes();
    // Full is looked at before a frame is taken, so one may be beyond.
    if queued >= REQUEST_QUEUE_BYTES_MAX + FRAME_BYTES_MAX {
        return Err(format!("queues: {queued} bytes wait for the writer"));
    }
    let waiting = groups.waiting_requests();
    if waiting > PENDING_RESPONSES_MAX + REQUESTS_BEYOND {
        return Err(format!("queues: {waiting} requests wait"));
    }
    for group in groups.iter() {
        let out = group.journal.writes_in_flight();
        if out > JOURNAL_WRITES_IN_FLIGHT_MAX {
            return Err(format!("queues: group {} has {out} writes in flight", group.id));
        }
    }
    Ok(())
}
