//! What shards of one node say to each other. Plain values: they cross threads.

/// A message from one shard to another.
#[derive(Clone, Debug)]
pub enum ShardMessage {}
