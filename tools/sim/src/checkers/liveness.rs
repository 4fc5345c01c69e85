//! When faults have stopped, everything that is under way comes to an end.

use std::collections::BTreeMap;

use crate::connection::Connection;
use crate::host::Host;
use crate::node::Running;
use crate::plan::SECOND;

/// So long after the last fault nothing may be under way.
pub const SETTLE: u64 = 40 * SECOND;
/// So long a request may take that waits for others: for the members of a group, say.
const REQUEST: u64 = 20 * SECOND;
/// So long a clean stop, a start or an audit may take when nothing is wrong.
pub const PATIENCE: u64 = 80 * SECOND;

/// Faults stopped long ago.
///
/// # Errors
/// A request that has no response.
pub fn settled(connections: &BTreeMap<u64, Connection>, now: u64) -> Result<(), String> {
    for (id, connection) in connections {
        if connection.vandal {
            continue;
        }
        if let Some(asked) = connection.awaiting.front()
            && asked.sent_at + REQUEST < now
        {
            return Err(format!(
                "liveness: connection {id} to {:?} still waits for {asked:?} (paused: {})",
                connection.place, connection.paused
            ));
        }
    }
    Ok(())
}

/// Faults stopped long ago.
///
/// # Errors
/// A shard of a node that `belongs` to the cluster doesn't serve, or a group that nobody leads.
pub fn serving(hosts: &[Host], belongs: impl Fn(usize) -> bool) -> Result<(), String> {
    let mut nodes = (0..hosts.len()).filter(|node| belongs(*node));
    let all_serve = nodes.all(|node| hosts[node].is_ready());
    let groups = shards(hosts).flat_map(|(_, shard)| shard.shard.groups().iter());
    let mut led = BTreeMap::<u32, usize>::new();
    for group in groups {
        *led.entry(group.id.0).or_default() += usize::from(group.is_serving());
    }
    match led.iter().find(|(_, leaders)| **leaders != 1) {
        None if all_serve => Ok(()),
        None => {
            Err(format!("liveness: a node doesn't serve though nothing is wrong; {}", state(hosts)))
        }
        Some((group, leaders)) => Err(format!(
            "liveness: group {group} has {leaders} leaders though nothing is wrong; {}",
            state(hosts)
        )),
    }
}

fn shards(hosts: &[Host]) -> impl Iterator<Item = (usize, &Running)> {
    let nodes = hosts.iter().enumerate().filter_map(|(n, host)| Some((n, host.node.as_ref()?)));
    nodes.flat_map(|(number, node)| node.shards.iter().map(move |shard| (number, shard)))
}

/// What each group of each node is at, for a person.
pub fn state(hosts: &[Host]) -> String {
    let mut lines = Vec::new();
    for (node, running) in shards(hosts) {
        let shard = running.shard.config().shard;
        lines.push(format!("node {node} shard {shard} ready {}", running.ready));
        for group in running.shard.groups().iter() {
            let replica = &group.replica;
            let (committed, progress) = (replica.committed().0, group.progress());
            lines.push(format!(
                "  group {}: leader {:?} term {} leads {} serves {} commit {committed} applied {} \
                 {progress:?}",
                group.id,
                replica.leader(),
                replica.term(),
                replica.is_leader(),
                group.is_serving(),
                group.applied().index
            ));
        }
    }
    lines.join("\n")
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
