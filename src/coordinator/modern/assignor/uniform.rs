//! Equal shares with few moves: everybody keeps what it has, what nobody has goes to whoever has
//! least, and then single partitions move from those who have most until no move helps.
//!
//! If all members subscribe to the same, shares differ by one at most, and no assignment with
//! such shares moves fewer partitions. If not, no partition can go to another subscriber of its
//! topic and make two shares more equal (or the passes over all classes are used up, which takes
//! long chains of topics that each share a subscriber with the next).

use std::collections::{BTreeMap, BTreeSet};

use super::{Class, Plan, classes};
use crate::coordinator::modern::partitions::{Partitions, TopicPartition};
use crate::model::ids::TopicId;

/// Passes over all classes in which partitions move. One class needs one.
const PASSES_MAX: usize = 32;

pub(super) fn assign(plan: &Plan<'_>) -> Vec<Partitions> {
    let mut classes = classes(plan);
    // Those with few subscribers have little choice, so they choose first.
    classes.sort_by_key(|class| class.subscribers.len());
    let mut shares = Shares {
        loads: vec![0; plan.members.len()],
        held: classes.iter().map(|class| vec![Vec::new(); class.subscribers.len()]).collect(),
    };
    let left = keep(plan, &classes, &mut shares);
    for (at, left) in left.into_iter().enumerate() {
        fill(&classes[at], left, at, &mut shares);
    }
    for _ in 0..PASSES_MAX {
        let moved: usize = (0..classes.len()).map(|at| level(&classes[at], at, &mut shares)).sum();
        if moved == 0 || classes.len() == 1 {
            break;
        }
    }
    shares.by_member(&classes)
}

/// Who has what.
struct Shares {
    /// Partitions of each member.
    loads: Vec<usize>,
    /// For each class, for each of its subscribers.
    held: Vec<Vec<Vec<TopicPartition>>>,
}

impl Shares {
    fn by_member(self, classes: &[Class]) -> Vec<Partitions> {
        let mut all: Vec<Vec<TopicPartition>> = vec![Vec::new(); self.loads.len()];
        for (class, held) in classes.iter().zip(self.held) {
            for (member, partitions) in class.subscribers.iter().zip(held) {
                all[*member].extend(partitions);
            }
        }
        all.into_iter().map(Partitions::from_iter).collect()
    }
}

/// Gives everybody what it had and still subscribes to. Returns what is left of each class.
fn keep(plan: &Plan<'_>, classes: &[Class], shares: &mut Shares) -> Vec<Vec<TopicPartition>> {
    let mut taken: BTreeMap<TopicId, (usize, Vec<bool>)> = BTreeMap::new();
    for (at, class) in classes.iter().enumerate() {
        for (topic, partitions) in &class.topics {
            taken.insert(*topic, (at, vec![false; *partitions as usize]));
        }
    }
    for (member, planned) in plan.members.iter().enumerate() {
        for (topic, run) in planned.target.by_topic() {
            let Some((at, taken)) = taken.get_mut(&topic) else { continue };
            let Ok(place) = classes[*at].subscribers.binary_search(&member) else { continue };
            for partition in run {
                if let Some(taken @ false) = taken.get_mut(partition.partition as usize) {
                    *taken = true;
                    shares.held[*at][place].push(*partition);
                    shares.loads[member] += 1;
                }
            }
        }
    }
    let mut left: Vec<Vec<TopicPartition>> = vec![Vec::new(); classes.len()];
    for (topic, (at, taken)) in taken {
        let free = (0..).zip(taken).filter(|(_, taken)| !taken);
        left[at].extend(free.map(|(partition, _)| TopicPartition { topic, partition }));
    }
    left
}

/// Gives what nobody has to whoever has least.
fn fill(class: &Class, left: Vec<TopicPartition>, at: usize, shares: &mut Shares) {
    let mut by_load: BTreeSet<(usize, usize)> = order(class, shares);
    for partition in left {
        let Some((load, place)) = by_load.pop_first() else { return };
        shares.held[at][place].push(partition);
        shares.loads[class.subscribers[place]] += 1;
        by_load.insert((load + 1, place));
    }
}

/// Moves partitions of a class from those who have most to those who have least, as long as that
/// makes shares more equal. Returns how many have moved.
fn level(class: &Class, at: usize, shares: &mut Shares) -> usize {
    let mut by_load = order(class, shares);
    // Those that have something of this class to give.
    let mut givers: BTreeSet<(usize, usize)> =
        by_load.iter().filter(|(_, place)| !shares.held[at][*place].is_empty()).copied().collect();
    let mut moved = 0;
    while let (Some(least), Some(most)) = (by_load.first().copied(), givers.last().copied()) {
        if most.0 < least.0 + 2 {
            break;
        }
        let Some(partition) = shares.held[at][most.1].pop() else { break };
        shares.held[at][least.1].push(partition);
        for (old, load) in [(most, most.0 - 1), (least, least.0 + 1)] {
            by_load.remove(&old);
            givers.remove(&old);
            by_load.insert((load, old.1));
            if !shares.held[at][old.1].is_empty() {
                givers.insert((load, old.1));
            }
            shares.loads[class.subscribers[old.1]] = load;
        }
        moved += 1;
    }
    moved
}

/// A class's subscribers by what they have.
fn order(class: &Class, shares: &Shares) -> BTreeSet<(usize, usize)> {
    let load = |(place, member): (usize, &usize)| (shares.loads[*member], place);
    class.subscribers.iter().enumerate().map(load).collect()
}
