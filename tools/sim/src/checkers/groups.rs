//! Consumer groups: no partition has two owners in one generation or epoch, nor at one time where
//! the coordinator assigns or may come to, and committed offsets that were acknowledged neither go
//! back by themselves nor vanish.
//!
//! All commits of a group to one partition have growing numbers, whoever makes them: an owner goes
//! on behind what it found, and who is no owner any more is refused. So a number that is smaller
//! than one that was acknowledged is a commit that was forgotten, or one that should have been
//! refused.

use std::collections::{BTreeMap, BTreeSet};

use hutong::coordinator::modern::ModernState;
use hutong::coordinator::{Store, StoredGroup};

use crate::checkers::name;
use crate::connection::{PartitionId, Speaker};

/// A group's name, and a partition.
type Place = (String, PartitionId);
/// By generation or epoch: what each member was given.
type Generations = BTreeMap<i32, BTreeMap<String, BTreeSet<PartitionId>>>;

/// What members and committers were told.
#[derive(Debug, Default)]
pub struct Groups {
    /// By group.
    given: BTreeMap<String, Generations>,
    /// When each group was last seen without members, or in an epoch before one that it had been
    /// in. From then on later epochs come anew.
    anew_at: BTreeMap<String, u64>,
    /// By group whose coordinator assigns, or has done so: its members' names when it was last
    /// looked at.
    members: BTreeMap<String, Vec<String>>,
    /// Groups with members, and whether the coordinator assigns there.
    is_modern: BTreeMap<String, bool>,
    /// How often that has changed while there were members.
    pub switches: u64,
    /// By group whose coordinator assigns, or may: what each member was given, and hasn't given
    /// up.
    held: BTreeMap<String, BTreeMap<String, BTreeSet<PartitionId>>>,
    doubts: Vec<Doubt>,
    commits: BTreeMap<Place, Commits>,
    /// What a node has said, by which it has to stand though it may not lead any more.
    told: BTreeMap<(Place, usize), i64>,
    /// Assignments and commits that were acknowledged.
    pub assignments: u64,
    pub acknowledged: u64,
}

/// A partition was given to a member while another had it. That is right if the other was expelled
/// and doesn't know it: then it will hear so. It is wrong if both hear that all is well.
#[derive(Clone, Debug)]
struct Doubt {
    group: String,
    partition: PartitionId,
    /// A leader gave it. It may not have known what a member has that came too late to join: a
    /// static one stays a member. What a leader gives later then is a new beginning.
    by_leader: bool,
    since: u64,
    /// Both, and whether they heard that all is well when they asked later.
    members: [(String, bool); 2],
}

/// What a member is told that it shall own.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    pub partitions: &'a [PartitionId],
    /// By a member that leads, as in the classic protocol; otherwise by the coordinator.
    pub by_leader: bool,
}

impl Doubt {
    /// Whether one of both is told that it shall not have what a leader gave to the other, or that
    /// it shall by a later leader's word, which the other hasn't heard yet.
    fn is_answered(&mut self, member: &str, told: Option<Given<'_>>, now: u64) -> bool {
        let is_one = self.members.iter().any(|(of, _)| of == member);
        let Some(told) = told.filter(|_| is_one && self.by_leader) else { return false };
        let is_given = told.partitions.contains(&self.partition);
        if is_given && told.by_leader {
            self.since = now;
            self.members.iter_mut().for_each(|(_, is_well)| *is_well = false);
        }
        !is_given || told.by_leader
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Commits {
    sent: i64,
    acknowledged: i64,
}

impl Groups {
    /// A member is told what it owns in a generation. `owner` is its name, which a static member
    /// keeps when it comes back.
    ///
    /// # Errors
    /// Somebody else owns some of it in the same generation.
    pub fn synced(
        &mut self,
        group: &str,
        generation: i32,
        owner: &str,
        partitions: &[PartitionId],
    ) -> Result<(), String> {
        self.assignments += 1;
        let generations = self.given.entry(group.to_string()).or_default();
        let given = generations.entry(generation).or_default();
        if let Some((other, shared)) = shared(given, owner, partitions) {
            return Err(format!(
                "groups: in generation {generation} of {group}, {} belongs to {other} and to \
                 {owner}",
                name(shared)
            ));
        }
        let mine: BTreeSet<PartitionId> = partitions.iter().copied().collect();
        let before = given.entry(owner.to_string()).or_insert_with(|| mine.clone());
        if *before == mine {
            return Ok(());
        }
        Err(format!(
            "groups: in generation {generation} of {group}, {owner} was given {before:?}, and then \
             {mine:?}"
        ))
    }

    /// A member is told what it shall own in an epoch, or in a generation of a group that may go
    /// from one to the other. Within one it may be given more, step by step.
    ///
    /// # Errors
    /// Somebody else was given some of it in the same one.
    pub fn in_epoch(
        &mut self,
        by: &Speaker,
        epoch: i32,
        partitions: &[PartitionId],
        asked_at: u64,
    ) -> Result<(), String> {
        if self.anew_at.get(&by.group).is_some_and(|at| asked_at <= *at) {
            return Ok(());
        }
        let epochs = self.given.entry(by.group.clone()).or_default();
        let given = epochs.entry(epoch).or_default();
        if let Some((other, shared)) = shared(given, &by.owner, partitions) {
            return Err(format!(
                "groups: in epoch {epoch} of {}, {} belongs to {other} and to {}",
                by.group,
                name(shared),
                by.owner
            ));
        }
        given.entry(by.owner.clone()).or_default().extend(partitions);
        Ok(())
    }

    /// A member of a group whose coordinator assigns is about to say what it has.
    pub fn has_only(&mut self, group: &str, member: &str, owns: &[PartitionId]) {
        let held = self.held.get_mut(group).and_then(|members| members.get_mut(member));
        if let Some(held) = held {
            held.retain(|partition| owns.contains(partition));
        }
        self.settle_doubts();
    }

    fn settle_doubts(&mut self) {
        let held = &self.held;
        self.doubts.retain(|doubt| {
            let members = &held[&doubt.group];
            let has = |member: &String| members[member].contains(&doubt.partition);
            doubt.members.iter().all(|(member, _)| has(member))
        });
    }

    /// A member of a group whose coordinator assigns hears that all is well, and maybe what it
    /// shall own. It is told so by one who `leads` since it asked, or not.
    ///
    /// # Errors
    /// A partition has two owners.
    pub fn beaten(
        &mut self,
        group: &str,
        member: &str,
        owns: Option<Given<'_>>,
        (asked_at, now): (u64, u64),
        leads: bool,
    ) -> Result<(), String> {
        self.given.entry(group.to_string()).or_default();
        let later = self
            .doubts
            .iter_mut()
            .filter(|doubt| leads && doubt.group == group && asked_at > doubt.since);
        for doubt in later {
            if doubt.is_answered(member, owns, now) {
                continue;
            }
            for (of, is_well) in &mut doubt.members {
                *is_well |= of == member;
            }
            if doubt.members.iter().all(|(_, is_well)| *is_well) {
                let [(one, _), (other, _)] = &doubt.members;
                return Err(format!(
                    "groups: {} of {group} belongs to {one} and to {other}",
                    name(&doubt.partition)
                ));
            }
        }
        let Some(owns) = owns else { return Ok(()) };
        self.assignments += 1;
        let members = self.held.entry(group.to_string()).or_default();
        let mut held = members.remove(member).unwrap_or_default();
        let new = owns.partitions.iter().filter(|partition| !held.contains(*partition));
        for partition in new {
            let others = members.iter().filter(|(_, theirs)| theirs.contains(partition));
            self.doubts.extend(others.map(|(other, _)| Doubt {
                group: group.to_string(),
                partition: *partition,
                by_leader: owns.by_leader,
                since: now,
                members: [(other.clone(), false), (member.to_string(), false)],
            }));
        }
        held.extend(owns.partitions);
        members.insert(member.to_string(), held);
        Ok(())
    }

    /// A serving leader has these groups, of those for which `is_kept` says that it keeps them. One
    /// that has neither members nor offsets any more is forgotten, and begins anew with its first
    /// generation.
    ///
    /// # Errors
    /// One is gone that has offsets.
    pub fn kept(
        &mut self,
        store: &Store,
        is_kept: impl Fn(&str) -> bool,
        now: u64,
    ) -> Result<(), String> {
        for (group, given) in self.given.iter_mut().filter(|(group, _)| is_kept(group)) {
            let stored = store.group(group).filter(|stored| stored.member_count() > 0);
            let epoch = stored.map_or(-1, epoch);
            // A group that becomes a classic one has the highest generation that a member knows.
            // Epochs after that were of members that are gone.
            if given.last_key_value().is_some_and(|(last, _)| *last > epoch) {
                given.retain(|given, _| *given <= epoch);
                self.anew_at.insert(group.clone(), now);
            }
            let Some(stored) = stored else {
                self.is_modern.remove(group);
                continue;
            };
            let is_modern = stored.modern().is_some();
            if is_modern || self.members.contains_key(group) {
                let known = self.members.entry(group.clone()).or_default();
                forget_the_gone(given, stored, known);
            }
            let before = self.is_modern.insert(group.clone(), is_modern);
            self.switches += u64::from(before.is_some_and(|before| before != is_modern));
        }
        let is_gone = |group: &String| store.group(group).is_none() && is_kept(group);
        let Some(gone) = self.given.keys().find(|group| is_gone(group)).cloned() else {
            return Ok(());
        };
        self.given.remove(&gone);
        let offsets = self
            .commits
            .iter()
            .find(|((group, _), commits)| *group == gone && commits.acknowledged > 0);
        match offsets {
            None => Ok(()),
            Some(((group, partition), commits)) => Err(format!(
                "groups: {group} is gone, and {} was acknowledged in {}",
                commits.acknowledged,
                name(partition)
            )),
        }
    }

    /// The number of a group's next commit to a partition.
    pub fn next(&mut self, group: &str, partition: PartitionId) -> i64 {
        let commits = self.commits.entry((group.to_string(), partition)).or_default();
        commits.sent += 1;
        commits.sent
    }

    /// What a group's next OffsetFetch must find at least.
    pub fn acknowledged(&self, group: &str, partition: &PartitionId) -> i64 {
        let place = (group.to_string(), *partition);
        self.commits.get(&place).map_or(0, |commits| commits.acknowledged)
    }

    /// A commit is acknowledged.
    pub fn committed(&mut self, node: usize, group: &str, partition: PartitionId, offset: i64) {
        self.acknowledged += 1;
        let place = (group.to_string(), partition);
        let commits = self.commits.entry(place.clone()).or_default();
        commits.acknowledged = offset.max(commits.acknowledged);
        let told = self.told.entry((place, node)).or_default();
        *told = offset.max(*told);
    }

    /// A node says what was committed; -1: nothing. What was acknowledged before it was asked is
    /// `at_least`. `leads`: nobody else has led since then.
    ///
    /// # Errors
    /// What it says is older, or nobody ever committed that.
    pub fn fetched(
        &mut self,
        node: usize,
        group: &str,
        (partition, at_least): (PartitionId, i64),
        offset: i64,
        leads: bool,
    ) -> Result<(), String> {
        let place = (group.to_string(), partition);
        let found = offset.max(0);
        let commits = self.commits.get(&place).copied().unwrap_or_default();
        let told = self.told.entry((place, node)).or_default();
        let bound = if leads { at_least.max(*told) } else { *told };
        if found < bound {
            return Err(format!(
                "groups: node {node} says that {group} has read {} up to {offset}, and {bound} was \
                 acknowledged",
                name(&partition)
            ));
        }
        if found > commits.sent {
            return Err(format!(
                "groups: node {node} says that {group} has read {} up to {offset}, and nobody \
                 committed more than {}",
                name(&partition),
                commits.sent
            ));
        }
        *told = found;
        Ok(())
    }

    /// All that was ever committed, by group.
    pub fn places(&self) -> BTreeMap<String, Vec<PartitionId>> {
        let mut places = BTreeMap::<String, Vec<PartitionId>>::new();
        for (group, partition) in self.commits.keys() {
            places.entry(group.clone()).or_default().push(*partition);
        }
        places
    }

    /// A topic is deleted: nothing is promised of it any more.
    pub fn forget(&mut self, topic: &[u8; 16]) {
        self.commits.retain(|(_, partition), _| partition.0 != *topic);
        self.told.retain(|((_, partition), _), _| partition.0 != *topic);
    }

    /// A node's process has ended. What it says next may come from the journals of others.
    pub fn restarted(&mut self, node: usize) {
        self.told.retain(|(_, of), _| *of != node);
    }
}

/// Members that are gone have nothing. Epochs that only they knew come again if all that are left
/// are classic ones, be it only until the next comes: of that nothing is to be seen from outside.
fn forget_the_gone(given: &mut Generations, stored: &StoredGroup, known: &mut Vec<String>) {
    if known.iter().eq(owners(stored)) {
        return;
    }
    *known = owners(stored).map(str::to_owned).collect();
    let owners: BTreeSet<&str> = owners(stored).collect();
    given.values_mut().for_each(|given| given.retain(|owner, _| owners.contains(&owner[..])));
}

/// The names of a group's members, by which they own partitions.
fn owners(stored: &StoredGroup) -> impl Iterator<Item = &str> {
    let classic = stored.classic().into_iter().flat_map(|classic| &classic.members);
    let classic = classic.map(|member| member.instance_id.as_deref().unwrap_or(&member.id));
    let modern = stored.modern().into_iter().flat_map(ModernState::members);
    let modern = modern.map(|(id, member)| member.profile.instance_id.as_deref().unwrap_or(&**id));
    classic.chain(modern)
}

/// Who else was given one of these partitions, and which.
fn shared<'a>(
    given: &'a BTreeMap<String, BTreeSet<PartitionId>>,
    owner: &str,
    partitions: &'a [PartitionId],
) -> Option<(&'a str, &'a PartitionId)> {
    let mut others = given.iter().filter(|(other, _)| *other != owner);
    others.find_map(|(other, theirs)| {
        let shared = partitions.iter().find(|partition| theirs.contains(*partition))?;
        Some((other.as_str(), shared))
    })
}

fn epoch(stored: &StoredGroup) -> i32 {
    let classic = stored.classic().map(|classic| classic.generation);
    classic.or(stored.modern().map(|modern| modern.epoch())).unwrap_or(-1)
}

/// What a member believes when it is at rest.
#[derive(Clone, Debug)]
pub struct View<'a> {
    pub group: &'a str,
    pub owner: &'a str,
    /// `None` while it isn't a member.
    pub generation: Option<i32>,
    pub owns: &'a [PartitionId],
}

/// Faults stopped long ago: every partition has one owner in each group.
///
/// # Errors
/// What isn't so yet.
pub fn stable(views: &[View<'_>], partitions: &BTreeSet<PartitionId>) -> Result<(), String> {
    let mut groups = BTreeMap::<&str, Vec<&View<'_>>>::new();
    for view in views {
        groups.entry(view.group).or_default().push(view);
    }
    for (group, views) in groups {
        let first = views[0].generation;
        if first.is_none() || views.iter().any(|view| view.generation != first) {
            return Err(format!("groups: {group} is not stable: {views:?}"));
        }
        let mut owned = BTreeSet::new();
        for partition in views.iter().flat_map(|view| view.owns) {
            if !owned.insert(*partition) {
                return Err(format!("groups: {} of {group} has two owners", name(partition)));
            }
        }
        if owned != *partitions {
            return Err(format!(
                "groups: {group} is stable and owns {owned:?} of {partitions:?}: {views:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: PartitionId = ([1; 16], 0);
    const ALL: &[PartitionId] = &[HERE];

    /// One has it, and then another is given it: by a leader, or by the coordinator.
    fn given_twice(by_leader: bool) -> Groups {
        let mut groups = Groups::default();
        let given = Given { partitions: ALL, by_leader };
        groups.beaten("g", "one", Some(given), (1, 2), true).expect("nobody has it");
        groups.beaten("g", "other", Some(given), (3, 4), true).expect("the one may be expelled");
        groups
    }

    #[test]
    fn both_have_it_if_both_hear_that_all_is_well() {
        for by_leader in [false, true] {
            let mut groups = given_twice(by_leader);
            groups.beaten("g", "other", None, (5, 6), true).expect("the one may be expelled");
            let found = groups.beaten("g", "one", None, (7, 8), true);
            assert!(found.expect_err("both have it").contains("belongs to"));
        }
    }

    #[test]
    fn what_a_later_leader_gives_is_a_new_beginning() {
        let mut groups = given_twice(true);
        let given = |partitions| Given { partitions, by_leader: true };
        groups.beaten("g", "other", None, (5, 6), true).expect("the one may be late");
        groups.beaten("g", "one", Some(given(&[])), (7, 8), true).expect("it shall give it up");
        groups.beaten("g", "one", Some(given(ALL)), (9, 10), true).expect("the other may be late");
        groups.beaten("g", "one", None, (11, 12), true).expect("the other may be late");
        let found = groups.beaten("g", "other", None, (13, 14), true);
        assert!(found.expect_err("both have it").contains("belongs to"));
    }

    #[test]
    fn the_coordinator_gives_nothing_before_it_is_given_up() {
        let mut groups = given_twice(false);
        groups.beaten("g", "other", None, (5, 6), true).expect("the one may be expelled");
        let nothing = Given { partitions: &[], by_leader: false };
        let found = groups.beaten("g", "one", Some(nothing), (7, 8), true);
        assert!(found.expect_err("it was too early").contains("belongs to"));
    }
}
