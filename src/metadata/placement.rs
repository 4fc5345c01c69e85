//! Which group gets a new partition, or a consumer group. Pure.
//!
//! Nothing else computes a partition's group: everybody else looks it up in the catalog, so that
//! the number of groups may grow without moving what is there. A consumer group's home follows from
//! its id: there is no record of it anywhere, and none is needed while the number of groups stays.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::ids::{GroupId, NodeId};

/// The nodes that hold a group when a cluster is formed: all of them for group 0, which has the
/// catalog; for any other, up to [`REPLICAS_DEFAULT`] in turn, beginning with another for each
/// group, so that every node has as many, and is the first of as many, as the others. `nodes` is
/// ascending. The first is the one that should lead.
pub fn replicas(group: GroupId, nodes: &[NodeId]) -> Vec<NodeId> {
    let count = if group.0 == 0 { nodes.len() } else { nodes.len().min(REPLICAS_DEFAULT) };
    let first = group.0 as usize % nodes.len().max(1);
    nodes.iter().cycle().skip(first).take(count).copied().collect()
}

/// Copies of each group of a cluster that has as many nodes: any one may die.
pub const REPLICAS_DEFAULT: usize = 3;

/// The groups of `count` more partitions of a topic that has some `on` these groups already. The
/// topic is spread over as many of the `candidates` as it can be, and of those that have as few of
/// it, the one with the fewest partitions of all gets the next.
///
/// `loads` is how many partitions each group has; `candidates` is ascending.
pub fn place(loads: &[u32], candidates: &[GroupId], on: &[GroupId], count: usize) -> Vec<GroupId> {
    let own = |group| on.iter().filter(|other| **other == group).count() as u32;
    let load = |group: GroupId| loads.get(group.0 as usize).copied().unwrap_or(0);
    let mut heap: BinaryHeap<_> =
        candidates.iter().map(|group| Reverse((own(*group), load(*group), *group))).collect();
    let mut placed = Vec::with_capacity(count);
    while placed.len() < count {
        let Some(Reverse((own, load, group))) = heap.pop() else { break };
        placed.push(group);
        heap.push(Reverse((own + 1, load + 1, group)));
    }
    placed
}

/// The group that keeps a consumer group: FNV-1a of its id, modulo the groups. Clients of all
/// versions and all shards must agree on it for ever, so it is written out here.
pub fn home_of_consumer_group(id: &str, groups: u32) -> GroupId {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    let hash = id.bytes().fold(OFFSET_BASIS, step);
    GroupId((hash % u64::from(groups.max(1))) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(count: u32) -> Vec<GroupId> {
        (0..count).map(GroupId).collect()
    }

    #[test]
    fn topics_of_one_partition_spread_over_all_groups() {
        let mut loads = [0; 3];
        let mut placed = Vec::new();
        for _ in 0..6 {
            let group = place(&loads, &groups(3), &[], 1)[0];
            loads[group.0 as usize] += 1;
            placed.push(group);
        }
        assert_eq!(placed, [0, 1, 2, 0, 1, 2].map(GroupId));
    }

    #[test]
    fn any_mix_of_sizes_stays_even() {
        for count in 1..9 {
            let mut loads = vec![0u32; count as usize];
            for size in [1, 2, 1, 7, 8, 1, 16, 3, 5, 1, 2, 2] {
                for group in place(&loads.clone(), &groups(count), &[], size) {
                    loads[group.0 as usize] += 1;
                }
                assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn a_topic_is_spread_before_groups_are_evened_out() {
        // Group 2 is new and empty: it gets one of three, not all three.
        assert_eq!(place(&[9, 8, 0], &groups(3), &[], 3), [2, 1, 0].map(GroupId));
        assert_eq!(place(&[9, 8, 0], &groups(3), &[], 4), [2, 1, 0, 2].map(GroupId));
        assert_eq!(place(&[0, 0], &[], &[], 4), []);
    }

    #[test]
    fn every_node_has_its_share_of_the_groups() {
        let nodes = [1, 2, 3, 4, 5].map(NodeId);
        assert_eq!(replicas(GroupId(0), &nodes), nodes);
        assert_eq!(replicas(GroupId(4), &nodes), [5, 1, 2].map(NodeId));
        assert_eq!(replicas(GroupId(1), &nodes[..1]), [NodeId(1)]);
        for node in nodes {
            let groups = (1..6).filter(|group| replicas(GroupId(*group), &nodes).contains(&node));
            assert_eq!(groups.count(), 3);
        }
    }

    #[test]
    fn consumer_groups_keep_their_homes() {
        // The published test vectors of FNV-1a, modulo 1000.
        for (id, hash) in [
            ("", 0xcbf2_9ce4_8422_2325_u64),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(home_of_consumer_group(id, 1000), GroupId((hash % 1000) as u32));
        }
        let homes = (0..3000).map(|n| home_of_consumer_group(&format!("group-{n}"), 3));
        let mut load = [0; 3];
        homes.for_each(|home| load[home.0 as usize] += 1);
        assert!(load.iter().all(|count| (800..1200).contains(count)), "{load:?}");
    }

    #[test]
    fn added_partitions_go_where_their_topic_isn_t_yet() {
        let on = [0, 1].map(GroupId);
        assert_eq!(place(&[1, 1, 5], &groups(3), &on, 3), [2, 0, 1].map(GroupId));
    }
}
