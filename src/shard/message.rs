//! What shards of one node say to each other. Plain values: they cross threads.
//!
//! All of it is control plane. No record ever crosses from one shard to another.

use crate::metadata::{Applied, CatalogError, Command};
use crate::model::ids::{GroupId, NodeId};
use crate::shard::cluster::{Leader, Node};

/// A message from one shard to another.
#[derive(Clone, Debug)]
pub enum ShardMessage {
    /// From shard 0, once: the catalog as it is.
    Catalog { snapshot: Vec<u8> },
    /// From shard 0: the next command, applied to the catalog there.
    Applied { version: u64, command: Command },
    /// To shard 0: the catalog is at this version here, too.
    Acknowledged { version: u64 },
    /// To shard 0: have this command applied.
    Propose { request: u64, command: Command },
    /// From shard 0: the command is applied on every shard, or refused.
    Done { request: u64, result: Result<Applied, CatalogError> },
    /// A group has a leader.
    Leads { group: GroupId, leader: Leader },
    /// The sender is connected to another node, or not any more.
    Node { id: NodeId, node: Node },
}
