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
    /// The groups of `shard`.
    pub fn new(shard: ShardId, shards: u16, groups: Vec<Group<P>>) -> Groups<P> {
        let mut made = Groups { shard, shards, groups: Vec::new(), places: Vec::new() };
        groups.into_iter().for_each(|group| made.insert(group));
        made
    }

    /// Adds a group. Not while indexes that `index` gave are in use.
    pub fn insert(&mut self, group: Group<P>) {
        assert_eq!(
            shard_of_group(group.id, self.shards),
            self.shard,
            "groups go to shards in turn"
        );
        let at = self.groups.partition_point(|other| other.id < group.id);
        self.groups.insert(at, group);
        self.find_places();
    }

    /// Takes a group out. Not while indexes that `index` gave are in use.
    pub fn remove(&mut self, group: GroupId) -> Option<Group<P>> {
        let removed = self.groups.remove(self.index(group)?);
        self.find_places();
        Some(removed)
    }

    fn find_places(&mut self) {
        self.places.clear();
        for (at, group) in self.groups.iter().enumerate() {
            self.places.resize((group.id.0 / u32::from(self.shards)) as usize, None);
            self.places.push(Some(at as u32));
        }
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
