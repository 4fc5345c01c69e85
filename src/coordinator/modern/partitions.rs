//! Sets of partitions: sorted, flat, and cheap to intersect.

use crate::model::ids::TopicId;

/// One partition of one topic, as the group protocol names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// Its partition, from 0.
    pub partition: i32,
}

/// A set of partitions, by topic id and then by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions(Vec<TopicPartition>);

impl Partitions {
    /// The set of nothing.
    pub const EMPTY: Partitions = Partitions(Vec::new());

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &TopicPartition> {
        self.0.iter()
    }

    /// Runs of partitions of one topic each, in order.
    pub fn by_topic(&self) -> impl Iterator<Item = (TopicId, &[TopicPartition])> {
        self.0.chunk_by(|a, b| a.topic == b.topic).map(|run| (run[0].topic, run))
    }

    /// Whether the partition is one of them.
    pub fn contains(&self, partition: &TopicPartition) -> bool {
        self.0.binary_search(partition).is_ok()
    }

    /// Whether all of them are in `other`, too.
    pub fn is_subset(&self, other: &Partitions) -> bool {
        self.len() <= other.len() && self.iter().all(|partition| other.contains(partition))
    }

    /// Whether one of them is in `other`, too.
    pub fn meets(&self, other: &Partitions) -> bool {
        let (few, many) = if self.len() < other.len() { (self, other) } else { (other, self) };
        few.iter().any(|partition| many.contains(partition))
    }

    /// Those that are in `other`, too.
    pub fn and(&self, other: &Partitions) -> Partitions {
        self.only(|partition| other.contains(partition))
    }

    /// Those that are not in `other`.
    pub fn minus(&self, other: &Partitions) -> Partitions {
        self.only(|partition| !other.contains(partition))
    }

    /// Those and the others.
    pub fn plus(&self, other: &Partitions) -> Partitions {
        self.iter().chain(other.iter()).copied().collect()
    }

    /// Those that fit.
    pub fn only(&self, fits: impl Fn(&TopicPartition) -> bool) -> Partitions {
        Partitions(self.iter().filter(|partition| fits(partition)).copied().collect())
    }
}

/// Sorts, and takes what comes twice once.
impl FromIterator<TopicPartition> for Partitions {
    fn from_iter<I: IntoIterator<Item = TopicPartition>>(partitions: I) -> Self {
        let mut all: Vec<_> = partitions.into_iter().collect();
        if !all.is_sorted() {
            all.sort_unstable();
        }
        all.dedup();
        Partitions(all)
    }
}
