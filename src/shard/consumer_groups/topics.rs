//! The catalog, as far as consumer groups care.

use crate::coordinator::modern::Topics;
use crate::metadata::Catalog;
use crate::model::ids::TopicId;

/// The topics that this shard knows of.
pub(super) struct Known<'a>(pub(super) &'a Catalog);

impl Topics for Known<'_> {
    fn version(&self) -> u64 {
        self.0.version
    }

    fn partitions(&self) -> usize {
        self.0.partition_count()
    }

    fn topic(&self, name: &str) -> Option<(TopicId, i32)> {
        let topic = self.0.topic(name.as_bytes())?;
        Some((topic.id, i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX)))
    }

    fn name(&self, id: &TopicId) -> Option<String> {
        self.0.topic_by_id(id).map(|topic| topic.name.to_string())
    }

    fn each_name(&self, see: &mut dyn FnMut(&str)) {
        self.0.topics().for_each(|topic| see(&topic.name));
    }
}
