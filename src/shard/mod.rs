//! THE CORE: all that one CPU owns, without any I/O.
//!
//! A turn is: any number of `handle`, one `advance`, then `poll_output` until `None`.

use std::marker::PhantomData;

use crate::journal::page::Page;
use crate::journal::source::{GroupFiles, SegmentSource};
use crate::model::ids::{NodeId, ShardId};
use crate::model::time::{Now, Time};
use crate::shard::input::Input;
use crate::shard::output::Output;

pub mod input;
pub mod message;
pub mod output;

/// What a shard must know from the start.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    pub node: NodeId,
    pub shard: ShardId,
    /// Shards of this node.
    pub shards: u16,
    /// Groups of the data directory, all shards together.
    pub groups: u32,
    /// The cluster's id, as clients see it.
    pub cluster_id: String,
    /// The host that clients are told to connect to.
    pub advertised_host: String,
    /// Shard 0's port; shard s is at `base_port + s`.
    pub base_port: u16,
    pub segment_bytes: u64,
    pub journal_cache_bytes: usize,
    /// Create a topic when a client asks for one that isn't there.
    pub auto_create_topics: bool,
    /// Partitions of a topic that was created without a number.
    pub default_partitions: i32,
    /// Where all of this shard's randomness comes from.
    pub seed: u64,
}

/// One CPU's share of the broker.
pub struct Shard<P: Page> {
    config: ShardConfig,
    page: PhantomData<P>,
}

impl<P: Page> Shard<P> {
    /// Recovers the groups of this shard from what is on disk.
    ///
    /// # Errors
    /// A sentence that names the group, segment and position of what can't be trusted.
    pub fn open(
        config: ShardConfig,
        _groups: Vec<GroupFiles>,
        _source: &mut dyn SegmentSource,
        _now: Now,
    ) -> Result<Shard<P>, String> {
        Ok(Shard { config, page: PhantomData })
    }

    /// Records one event. Cheap: validates and queues, does no batch work.
    pub fn handle(&mut self, _now: Now, _input: Input<P>) {}

    /// Does one turn: writes the queued batch, steps Raft, releases and expires responses.
    pub fn advance(&mut self, _now: Now) {}

    /// The next thing to do outside. `None` ends the turn.
    pub fn poll_output(&mut self) -> Option<Output<P>> {
        None
    }

    /// When to call `advance` again if nothing happens.
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }
}
