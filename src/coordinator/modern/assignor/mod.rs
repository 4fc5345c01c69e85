//! Who gets which partition: the assignors that run in the broker.
//!
//! Topics that the same members subscribe to are one *class*, so that a group whose members all
//! want the same is one class, however many topics that is.

mod range;
mod uniform;

use std::collections::BTreeMap;

use super::partitions::Partitions;
use crate::model::ids::TopicId;

/// An assignor that a client may ask for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// The same number for everybody, moving as few partitions as that takes.
    Uniform,
    /// Neighbouring partitions of each topic, the same numbers of all topics for one member.
    Range,
}

impl Assignor {
    /// All there are, the default first.
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    /// The name in requests.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The assignor of that name.
    pub fn from_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// What each member is to have, in the order of the plan's members. Every partition of a topic
    /// that somebody subscribes to goes to just one of its subscribers.
    pub fn assign(self, plan: &Plan<'_>) -> Vec<Partitions> {
        if plan.members.is_empty() {
            return Vec::new();
        }
        match self {
            Assignor::Uniform => uniform::assign(plan),
            Assignor::Range => range::assign(plan),
        }
    }
}

/// What is to be shared, and by whom.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Different subscriptions: topics with their partitions. A topic has the same number in all.
    pub subscriptions: Vec<BTreeMap<TopicId, i32>>,
    /// By member id, in ascending order.
    pub members: Vec<PlanMember<'a>>,
}

/// A member as assignors see it.
#[derive(Clone, Debug)]
pub struct PlanMember<'a> {
    /// `group.instance.id` of a static member.
    pub instance_id: Option<&'a str>,
    /// Which of the plan's subscriptions it has.
    pub subscription: usize,
    /// What it was to have so far. No partition is there twice.
    pub target: &'a Partitions,
}

/// Topics with the same subscribers.
struct Class {
    /// By id, with their partitions.
    topics: Vec<(TopicId, i32)>,
    /// Indexes of members, in ascending order, at least one.
    subscribers: Vec<usize>,
}

fn classes(plan: &Plan<'_>) -> Vec<Class> {
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); plan.subscriptions.len()];
    for (index, member) in plan.members.iter().enumerate() {
        members[member.subscription].push(index);
    }
    let mut wanted: BTreeMap<TopicId, (i32, Vec<usize>)> = BTreeMap::new();
    for (index, subscription) in plan.subscriptions.iter().enumerate() {
        for (topic, partitions) in subscription.iter().filter(|_| !members[index].is_empty()) {
            wanted.entry(*topic).or_insert((*partitions, Vec::new())).1.push(index);
        }
    }
    let mut by_subscriptions: BTreeMap<Vec<usize>, Vec<(TopicId, i32)>> = BTreeMap::new();
    for (topic, (partitions, by)) in wanted {
        by_subscriptions.entry(by).or_default().push((topic, partitions));
    }
    let class = |(by, topics): (Vec<usize>, _)| {
        let mut subscribers: Vec<usize> = by.iter().flat_map(|s| &members[*s]).copied().collect();
        subscribers.sort_unstable();
        Class { topics, subscribers }
    };
    by_subscriptions.into_iter().map(class).collect()
}
