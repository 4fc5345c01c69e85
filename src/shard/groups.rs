//! The groups of a shard: every `shards`-th one of the data directory.

use crate::model::ids::{GroupId, ShardId};
use crate::shard::group::Group;

/// The groups that run on this shard.
pub struct Groups<P> {
    shard: ShardId,
    shards: u16,
    groups: Vec<Group<P>>,
}

impl<P> Groups<P> {
    /// The groups of `shard`, in ascending order and without a gap.
    pub fn new(shard: ShardId, shards: u16, groups: Vec<Group<P>>) -> Groups<P> {
        let groups = Groups { shard, shards, groups };
        for (at, group) in groups.groups.iter().enumerate() {
            assert_eq!(groups.index(group.id), Some(at), "groups go to shards in turn");
        }
        groups
    }

    /// Where a group is among those of this shard, if it runs here.
    pub fn index(&self, group: GroupId) -> Option<usize> {
        let shards = u32::from(self.shards);
        let index = (group.0 / shards) as usize;
        (group.0 % shards == u32::from(self.shard.0) && index < self.groups.len()).then_some(index)
    }

    /// The group at an index that `index` gave.
    pub fn at(&self, index: usize) -> &Group<P> {
        &self.groups[index]
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, index: usize) -> &mut Group<P> {
        &mut self.groups[index]
    }

    /// A group, if it runs here.
    pub fn get(&self, group: GroupId) -> Option<&Group<P>> {
        self.groups.get(self.index(group)?)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, group: GroupId) -> Option<&mut Group<P>> {
        let index = self.index(group)?;
        self.groups.get_mut(index)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is none: a node may have more shards than groups.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Group<P>> {
        self.groups.iter()
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group<P>> {
        self.groups.iter_mut()
    }

    /// Bytes of requests that wait for a writer.
    pub fn queued_bytes(&self) -> usize {
        self.groups.iter().map(|group| group.queue.bytes()).sum()
    }

    /// Requests that wait for a writer, a position or a deadline.
    pub fn waiting_requests(&self) -> usize {
        self.groups.iter().map(|group| group.queue.len() + group.pending.len()).sum()
    }
}
