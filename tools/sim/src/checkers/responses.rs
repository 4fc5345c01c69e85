//! Every request that is owed a response gets just one, in the order of its connection's requests.

use bytes::Bytes;

use crate::connection::{Asked, Connection};
use crate::wire;

/// The node gave out a whole response. Returns the request it belongs to.
///
/// # Errors
/// Nobody asked, or somebody else asked before.
pub fn given_out(connection: &mut Connection, frame: &Bytes) -> Result<Asked, String> {
    let correlation = wire::correlation(frame).ok_or("responses: one is too short")?;
    let Some(asked) = connection.awaiting.pop_front() else {
        return Err(format!("responses: one with number {correlation}, and no request waits"));
    };
    if asked.correlation != correlation {
        return Err(format!(
            "responses: number {correlation} came, and {} ({:?}) is next",
            asked.correlation, asked.what
        ));
    }
    Ok(asked)
}

/// The node wants to close a connection.
///
/// # Errors
/// Its client did nothing wrong, or is left with half a response.
pub fn closed(connection: &Connection) -> Result<(), String> {
    if connection.in_the_middle() {
        return Err("responses: a connection is closed in the middle of one".into());
    }
    if !connection.vandal && !connection.may_be_closed {
        return Err(format!(
            "responses: a connection is closed though its client did nothing wrong; it waits for \
             {:?}",
            connection.awaiting.front()
        ));
    }
    Ok(())
}
