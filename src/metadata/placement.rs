//! Which group gets a new partition, or a consumer group. Pure.
//!
//! Nothing else computes a partition's group: everybody else looks it up in the catalog, so that
//! the number of groups may grow without moving what is there. A consumer group's home follows from
//! its id: there is no record of it anywhere, and none is needed while the number of groups stays.

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

/// The groups of the first partitions of a new topic: round robin from `turn`.
///
/// `turn` is the catalog's count of partitions placed so far, modulo the groups. Counting
/// partitions and not topics keeps any mix of topic sizes even: while nothing is deleted or
/// grown, no group has more than one partition more than another.
pub fn place_topic(turn: u32, count: usize, groups: u32) -> impl Iterator<Item = GroupId> {
    round_robin(turn, count, groups)
}

/// The groups of partitions added to a topic whose last partition is in `last`: its own round
/// goes on, so that its partitions stay on as many groups as they can.
pub fn place_more(last: GroupId, count: usize, groups: u32) -> impl Iterator<Item = GroupId> {
    round_robin(last.0 % groups.max(1) + 1, count, groups)
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

/// Where the turn falls after a topic of `count` partitions was placed at `turn`.
pub fn next_turn(turn: u32, count: usize, groups: u32) -> u32 {
    let groups = u64::from(groups.max(1));
    ((u64::from(turn) + count as u64 % groups) % groups) as u32
}

fn round_robin(start: u32, count: usize, groups: u32) -> impl Iterator<Item = GroupId> {
    let groups = groups.max(1);
    let mut next = start % groups;
    std::iter::repeat_with(move || {
        let group = GroupId(next);
        next = (next + 1) % groups;
        group
    })
    .take(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_one_partition_spread_over_all_groups() {
        let mut turn = 0;
        let mut placed = Vec::new();
        for _ in 0..6 {
            placed.extend(place_topic(turn, 1, 3));
            turn = next_turn(turn, 1, 3);
        }
        assert_eq!(placed, [0, 1, 2, 0, 1, 2].map(GroupId));
    }

    #[test]
    fn any_mix_of_sizes_stays_even() {
        for groups in 1..9 {
            let (mut turn, mut load) = (0, vec![0u32; groups as usize]);
            for size in [1, 2, 1, 7, 8, 1, 16, 3, 5, 1, 2, 2] {
                place_topic(turn, size, groups).for_each(|group| load[group.0 as usize] += 1);
                turn = next_turn(turn, size, groups);
                assert!(load.iter().max().unwrap() - load.iter().min().unwrap() <= 1);
            }
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
    fn added_partitions_continue_the_round_of_their_topic() {
        assert_eq!(place_more(GroupId(1), 3, 3).collect::<Vec<_>>(), [2, 0, 1].map(GroupId));
    }
}
