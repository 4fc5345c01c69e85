//! The topics there are, as clients know them.

use std::collections::BTreeMap;

use crate::connection::PartitionId;
use crate::host::Place;

/// A topic that somebody asked for. Names are never used twice.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    /// Known from the first Metadata response that lists it.
    pub id: Option<[u8; 16]>,
    pub partitions: i32,
    /// The shard that leads each partition, if that is known, and its term.
    pub leaders: Vec<Option<Place>>,
    pub terms: Vec<i32>,
    /// Some of its records may go after a while.
    pub retained: bool,
    /// When its creation was acknowledged.
    pub created_at: Option<u64>,
    /// Somebody asked for its deletion: nothing is promised of it any more.
    pub doomed: bool,
    /// When its deletion was acknowledged.
    pub deleted_at: Option<u64>,
}

/// All topics.
#[derive(Debug, Default)]
pub struct Topics {
    pub by_name: BTreeMap<String, Topic>,
    /// Somebody was told that its knowledge is out of date.
    pub stale: bool,
}

impl Topics {
    /// Somebody is about to create a topic.
    pub fn create(&mut self, name: String, partitions: i32, retained: bool) {
        let topic = Topic {
            name: name.clone(),
            id: None,
            partitions,
            leaders: vec![None; partitions as usize],
            terms: vec![-1; partitions as usize],
            retained,
            created_at: None,
            doomed: false,
            deleted_at: None,
        };
        self.by_name.insert(name, topic);
        self.stale = true;
    }

    /// Those that may be used.
    pub fn live(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values().filter(|topic| topic.id.is_some() && !topic.doomed)
    }

    /// All partitions that may be used, with their topics' names and their leaders.
    pub fn partitions(&self) -> impl Iterator<Item = (&str, PartitionId, Option<Place>)> {
        self.live().flat_map(|topic| {
            let id = topic.id.unwrap_or_default();
            (0..)
                .zip(&topic.leaders)
                .map(move |(n, leader)| (topic.name.as_str(), (id, n), *leader))
        })
    }

    /// A topic by its id.
    pub fn by_id(&self, id: &[u8; 16]) -> Option<&Topic> {
        self.by_name.values().find(|topic| topic.id.as_ref() == Some(id))
    }

    /// Whether something is still promised of a topic.
    pub fn is_live(&self, id: &[u8; 16]) -> bool {
        self.by_id(id).is_some_and(|topic| !topic.doomed)
    }

    /// The shards of a node may have moved.
    pub fn forget_leaders(&mut self, node: usize) {
        let leaders = self.by_name.values_mut().flat_map(|topic| &mut topic.leaders);
        for leader in leaders {
            if leader.is_some_and(|leader| leader.node == node) {
                *leader = None;
            }
        }
        self.stale = true;
    }
}
