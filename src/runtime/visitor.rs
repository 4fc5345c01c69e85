//! Someone who is no node and asks one for something: `hutong cluster`, and a node that wants to
//! join and hasn't started yet. One connection, one question.

use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::runtime::node_connection::NodeConnection;
use crate::shard::peers::visit::{self, Visit};

/// Asks the node at `address`. The inner error is what it says against it.
///
/// # Errors
/// A sentence: nobody is there, it doesn't answer in time, or it speaks another language.
pub fn ask(
    (host, port): (&str, u16),
    question: &Visit,
    timeout: Duration,
) -> Result<std::result::Result<Vec<u8>, String>> {
    let answer = NodeConnection::open(host, port, timeout)?.ask(&question.encode())?;
    let answer = visit::answer(&answer).map_err(|error| anyhow!("{host}:{port}: {error}"))?;
    Ok(answer.map(<[u8]>::to_vec))
}
