//! When faults have stopped, everything that is under way comes to an end.

use std::collections::BTreeMap;

use crate::connection::Connection;
use crate::plan::SECOND;

/// So long after the last fault nothing may be under way.
pub const SETTLE: u64 = 40 * SECOND;
/// So long a clean stop, a start or an audit may take when nothing is wrong.
pub const PATIENCE: u64 = 60 * SECOND;

/// Faults stopped long ago.
///
/// # Errors
/// A request that has no response.
pub fn settled(connections: &BTreeMap<u64, Connection>) -> Result<(), String> {
    for (id, connection) in connections {
        if connection.vandal {
            continue;
        }
        if let Some(asked) = connection.awaiting.front() {
            return Err(format!(
                "liveness: connection {id} to shard {} still waits for {asked:?} (paused: {})",
                connection.shard, connection.paused
            ));
        }
    }
    Ok(())
}

/// Something began at `since` and isn't done.
///
/// # Errors
/// It has taken too long.
pub fn patience(what: &str, since: u64, now: u64) -> Result<(), String> {
    if now > since + PATIENCE {
        return Err(format!("liveness: {what} takes longer than {} s", PATIENCE / SECOND));
    }
    Ok(())
}
