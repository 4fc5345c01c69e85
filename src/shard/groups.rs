//! The groups of a shard: every `shards`-th one of the data directory.

use crate::model::ids::{GroupId, ShardId, shard_of_group};
use crate::shard::group::Group;

/// The groups that run on this shard.
pub struct Groups<P> {
    shard: ShardId,
    shards: u16,
    groups: Vec<Group<P>>,
    /// For each group that would be this shard's if this node held it, where it is in `groups`.
    places: Vec<Option<u32>>,
}

impl<P> Groups<P> {
    /// The groups of `shard`, in ascending order.
    pub fn new(shard: ShardId, shards: u16, groups: Vec<Group<P>>) -> Groups<P> {
        let mut places = Vec::new();
        for (at, group) in groups.iter().enumerate() {
            assert_eq!(shard_of_group(group.id, shards), shard, "groups go to shards in turn");
            places.resize((group.id.0 / u32::from(shards)) as usize, None);
            places.push(Some(at as u32));
        }
        Groups { shard, shards, groups, places }
    }

    /// Where a group is among those of this shard, if it runs here.
    pub fn index(&self, group: GroupId) -> Option<usize> {
        let shards = u32::from(self.shards);
        let place = *self.places.get((group.0 / shards) as usize)?;
        place.filter(|_| group.0 % shards == u32::from(self.shard.0)).map(|at| at as usize)
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
