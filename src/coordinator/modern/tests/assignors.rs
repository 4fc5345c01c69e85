//! Who gets what: balance, few moves, ranges, and subscriptions that differ.

use proptest::prelude::*;

use super::super::assignor::{Plan, PlanMember};
use super::*;

/// Members as (instance id, subscription, what it has), assigned by `assignor`.
fn assign(
    assignor: Assignor,
    subscriptions: &[&[(u8, i32)]],
    members: &[(Option<&str>, usize, &str)],
) -> Vec<Partitions> {
    let targets: Vec<_> = members.iter().map(|(_, _, target)| parts(target)).collect();
    let of =
        |topics: &&[(u8, i32)]| topics.iter().map(|(id, n)| (TopicId([*id; 16]), *n)).collect();
    let members = members.iter().zip(&targets);
    let members = members.map(|((instance_id, subscription, _), target)| PlanMember {
        instance_id: *instance_id,
        subscription: *subscription,
        target,
    });
    let plan =
        Plan { subscriptions: subscriptions.iter().map(of).collect(), members: members.collect() };
    assignor.assign(&plan)
}

fn all(texts: &[&str]) -> Vec<Partitions> {
    texts.iter().map(|text| parts(text)).collect()
}

#[test]
fn uniform_moves_as_few_as_it_can() {
    let of =
        |members: &[(Option<&str>, usize, &str)]| assign(Assignor::Uniform, &[&[(1, 7)]], members);
    // One more: it gets two, from those who have too many.
    let found = of(&[(None, 0, "1:0-3"), (None, 0, "1:4-6"), (None, 0, "")]);
    assert_eq!(found, all(&["1:0-2", "1:4-5", "1:3 1:6"]));
    // One less: what it had is shared, and nothing else moves.
    let found = of(&[(None, 0, "1:0-1"), (None, 0, "1:4-6")]);
    assert_eq!(found, all(&["1:0-1 1:2-3", "1:4-6"]));
    // Who has the larger share keeps it, wherever it stands.
    let found = of(&[(None, 0, "1:0-1"), (None, 0, "1:2-4"), (None, 0, "1:5-6")]);
    assert_eq!(found, all(&["1:0-1", "1:2-4", "1:5-6"]));
    // More members than partitions.
    let ten = vec![(None, 0, ""); 10];
    assert_eq!(of(&ten).iter().filter(|partitions| partitions.len() == 1).count(), 7);
}

#[test]
fn uniform_makes_up_for_subscriptions_that_differ() {
    // The first can have nothing else, so the second leaves it the whole topic.
    let subscriptions: [&[_]; 2] = [&[(1, 2)], &[(1, 2), (2, 4)]];
    let found = assign(Assignor::Uniform, &subscriptions, &[(None, 0, ""), (None, 1, "1:0-1")]);
    assert_eq!(found, all(&["1:0-1", "2:0-3"]));
    // Nobody can help who alone wants a topic.
    let subscriptions: [&[_]; 2] = [&[(1, 9)], &[(2, 1)]];
    let found = assign(Assignor::Uniform, &subscriptions, &[(None, 0, ""), (None, 1, "")]);
    assert_eq!(found, all(&["1:0-8", "2:0"]));
    // A chain: one partition at a time moves, as long as that helps the two it moves between.
    let subscriptions: [&[_]; 3] = [&[(1, 6)], &[(1, 6), (2, 3)], &[(2, 3)]];
    let has = [(None, 0, "1:0-5"), (None, 1, "2:0-2"), (None, 2, "")];
    assert_eq!(
        assign(Assignor::Uniform, &subscriptions, &has),
        all(&["1:0-3", "1:4-5 2:0", "2:1-2"])
    );
}

#[test]
fn uniform_forgets_what_is_gone() {
    let has = [(None, 0, "1:0-3 9:0-5"), (None, 0, "1:0-1 1:7")];
    let found = assign(Assignor::Uniform, &[&[(1, 3)]], &has);
    assert_eq!(found.iter().map(Partitions::len).sum::<usize>(), 3);
    assert_eq!(found[0].plus(&found[1]), parts("1:0-2"));
}

#[test]
fn range_gives_the_same_numbers_of_all_topics() {
    let topics: [&[_]; 1] = [&[(1, 3), (2, 3)]];
    let found = assign(Assignor::Range, &topics, &[(None, 0, ""), (None, 0, "1:0-2")]);
    assert_eq!(found, all(&["1:0-1 2:0-1", "1:2 2:2"]));
    // Static members first, by instance id.
    let found =
        assign(Assignor::Range, &topics, &[(None, 0, ""), (Some("b"), 0, ""), (Some("a"), 0, "")]);
    assert_eq!(found, all(&["1:2 2:2", "1:1 2:1", "1:0 2:0"]));
    // Fewer partitions than members.
    let found = assign(Assignor::Range, &[&[(1, 1), (2, 2)]], &[(None, 0, ""); 3]);
    assert_eq!(found, all(&["1:0 2:0", "2:1", ""]));
    // Each topic among its own subscribers.
    let subscriptions: [&[_]; 2] = [&[(1, 2)], &[(1, 2), (2, 3)]];
    let found = assign(Assignor::Range, &subscriptions, &[(None, 0, ""), (None, 1, "")]);
    assert_eq!(found, all(&["1:0", "1:1 2:0-2"]));
}

#[test]
fn most_members_choose_the_assignor() {
    let mut rig = Rig::new(&[("a", 4), ("b", 4)]);
    let with = |member, assignor| Heartbeat {
        server_assignor: Some(assignor),
        ..joining(member, &["a", "b"])
    };
    rig.beat(with("one", "range")).expect("it may join");
    assert_eq!(rig.group.state().describe(Assignor::Uniform).assignor, "range");
    rig.beat(with("two", "uniform")).expect("it may join");
    assert_eq!(
        rig.group.state().describe(Assignor::Uniform).assignor,
        "uniform",
        "of equals the default"
    );
    assert_eq!(rig.group.state().describe(Assignor::Range).assignor, "range");
    rig.beat(with("three", "range")).expect("it may join");
    assert_eq!(rig.group.state().describe(Assignor::Uniform).assignor, "range");
    assert_eq!(rig.group.state().target("one"), &parts("1:0-1 2:0-1"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Topics 1 to 5; each subscription is a set of them; members have something by chance.
    #[test]
    fn every_partition_goes_to_one_of_its_subscribers(
        sizes in prop::collection::vec(0..7i32, 5),
        wanted in prop::collection::vec(prop::collection::btree_set(1..=5u8, 0..5), 1..4),
        members in prop::collection::vec((any::<prop::sample::Index>(), 0..40usize), 1..9),
        range in any::<bool>(),
    ) {
        let size = |id: u8| sizes[usize::from(id) - 1];
        let of = |topics: &std::collections::BTreeSet<u8>| {
            topics.iter().map(|id| (TopicId([*id; 16]), size(*id))).collect::<BTreeMap<_, _>>()
        };
        let subscriptions: Vec<_> = wanted.iter().map(of).collect();
        let mut rest: Vec<TopicPartition> = (1..=5u8)
            .flat_map(|id| (0..size(id) + 1).map(move |p| (id, p)))
            .map(|(id, partition)| TopicPartition { topic: TopicId([id; 16]), partition })
            .collect();
        let has: Vec<Partitions> = members
            .iter()
            .map(|(_, count)| {
                let last = rest.split_off(rest.len().saturating_sub(*count));
                last.into_iter().collect()
            })
            .collect();
        let members: Vec<_> = members
            .iter()
            .zip(&has)
            .map(|((subscription, _), target)| PlanMember {
                instance_id: None,
                subscription: subscription.index(wanted.len()),
                target,
            })
            .collect();
        let plan = Plan { subscriptions, members };
        let assignor = if range { Assignor::Range } else { Assignor::Uniform };
        let given = assignor.assign(&plan);
        let topics_of = |member: usize| &plan.subscriptions[plan.members[member].subscription];
        let mut owners: BTreeMap<TopicPartition, usize> = BTreeMap::new();
        for (member, partitions) in given.iter().enumerate() {
            for partition in partitions.iter() {
                prop_assert!(topics_of(member)[&partition.topic] > partition.partition);
                prop_assert!(owners.insert(*partition, member).is_none());
            }
        }
        let mut total: BTreeMap<TopicId, i32> = BTreeMap::new();
        (0..given.len()).for_each(|member| total.extend(topics_of(member)));
        prop_assert_eq!(owners.len(), total.values().sum::<i32>() as usize);
        if !range {
            // No partition could go to somebody with two less.
            for (partition, owner) in &owners {
                for (other, partitions) in given.iter().enumerate() {
                    let may = topics_of(other).contains_key(&partition.topic);
                    prop_assert!(!may || given[*owner].len() < partitions.len() + 2);
                }
            }
        }
    }
}
