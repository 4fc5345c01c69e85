//! Identities. Each is a type of its own, so that one can't be passed for another.

use std::fmt;

/// A process of the cluster. From 0 to 2,000,000, so that every broker id fits an `i32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// One CPU's worth of a node, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// A Raft group: one journal with all its partitions. Kafka's groups are *consumer groups*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// One client connection of a shard. Given by the runtime, never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Set in the numbers of connections that a shard has dialed itself, and in no others.
pub const DIALED_CONNECTION: u64 = 1 << 63;

/// A partition, as the journal names it. Given by the catalog, never used twice in a cluster,
/// so that entries of a deleted partition can't be taken for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey(pub u32);

/// A topic's UUID (KIP-516). Changes when a topic is created again under its old name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

/// One journal write in flight. Counted up from 1 within a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// One journal read in flight. Counted up from 1 within a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// A journal segment: position divided by the segment's size. Never used twice in a journal's
/// life except after a truncation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// How many shards of one node have broker ids of their own.
pub const BROKERS_PER_NODE: i32 = 1000;

/// The broker id under which a shard is known to Kafka clients.
pub fn broker_id(node: NodeId, shard: ShardId) -> i32 {
    node.0 as i32 * BROKERS_PER_NODE + i32::from(shard.0)
}

/// The shard of a node that runs a group.
pub fn shard_of_group(group: GroupId, shards: u16) -> ShardId {
    ShardId((group.0 % u32::from(shards)) as u16)
}

macro_rules! display_as_number {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

display_as_number!(
    NodeId,
    ShardId,
    GroupId,
    ConnectionId,
    PartitionKey,
    WriteId,
    ReadId,
    SegmentId
);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
