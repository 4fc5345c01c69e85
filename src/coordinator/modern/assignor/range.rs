//! Ranges: of each topic, every subscriber gets neighbouring partitions.
//!
//! Static members come first, by instance id, then the others by member id. The order is the same
//! for all topics, so topics with equally many partitions and the same subscribers are
//! partitioned together: one member has the same numbers of all. Nothing but that order makes it
//! sticky, as in Kafka.

use super::{Plan, classes};
use crate::coordinator::modern::partitions::{Partitions, TopicPartition};

pub(super) fn assign(plan: &Plan<'_>) -> Vec<Partitions> {
    let mut given: Vec<Vec<TopicPartition>> = vec![Vec::new(); plan.members.len()];
    for class in classes(plan) {
        let mut subscribers = class.subscribers;
        // Stable, so members without an instance id stay in the order of member ids.
        subscribers.sort_by_key(|member| {
            let instance = plan.members[*member].instance_id;
            (instance.is_none(), instance)
        });
        for (topic, partitions) in class.topics {
            let (each, extra) =
                (partitions as usize / subscribers.len(), partitions as usize % subscribers.len());
            let mut next = 0..partitions;
            for (place, member) in subscribers.iter().enumerate() {
                let quota = each + usize::from(place < extra);
                if quota == 0 {
                    break;
                }
                let range = next.by_ref().take(quota);
                given[*member].extend(range.map(|partition| TopicPartition { topic, partition }));
            }
        }
    }
    given.into_iter().map(Partitions::from_iter).collect()
}
