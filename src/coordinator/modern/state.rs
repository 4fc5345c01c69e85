//! What all replicas know of a group: its epochs, members and targets, from records alone.

use std::collections::BTreeMap;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::member::{Current, Member, Profile, Subscription};
use super::partitions::{Partitions, TopicPartition};
use super::record::ModernRecord;

/// How a group does, as Kafka's tools name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Its members have changed, and a new target is to be computed.
    Assigning,
    /// Members are on the way to their targets.
    Reconciling,
    /// All members have what they are to have.
    Stable,
    /// There is no such group.
    Dead,
}

impl GroupState {
    /// The name in ListGroups and ConsumerGroupDescribe.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::Assigning => "Assigning",
            GroupState::Reconciling => "Reconciling",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }
}

static NOTHING: Partitions = Partitions::EMPTY;

/// A group, as its records tell. Equal records make equal states.
#[derive(Clone, Debug, Default)]
pub struct ModernState {
    epoch: i32,
    topics_hash: u64,
    assignment_epoch: i32,
    members: BTreeMap<Rc<str>, Member>,
    targets: BTreeMap<Rc<str>, Partitions>,
    /// Member ids by instance id.
    instances: BTreeMap<Rc<str>, Rc<str>>,
    /// All there are, with how many members have each.
    subscriptions: BTreeMap<Rc<Subscription>, usize>,
    /// Who holds a partition, whether in use or still to be given up. Looked up, never iterated.
    owners: FxHashMap<TopicPartition, Rc<str>>,
    classic_members: usize,
}

impl Eq for ModernState {}

/// What else is kept follows from this.
impl PartialEq for ModernState {
    fn eq(&self, other: &Self) -> bool {
        (self.epoch, self.topics_hash, self.assignment_epoch)
            == (other.epoch, other.topics_hash, other.assignment_epoch)
            && self.members == other.members
            && self.targets == other.targets
            && self.instances == other.instances
            && self.subscriptions == other.subscriptions
            && self.owners == other.owners
    }
}

impl ModernState {
    /// The group's epoch; 0 before anybody has joined.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The epoch of the targets.
    pub fn assignment_epoch(&self) -> i32 {
        self.assignment_epoch
    }

    /// The hash of the topics of [`ModernState::epoch`].
    pub fn topics_hash(&self) -> u64 {
        self.topics_hash
    }

    /// All members by id.
    pub fn members(&self) -> &BTreeMap<Rc<str>, Member> {
        &self.members
    }

    /// The id of a static member.
    pub fn member_of_instance(&self, instance: &str) -> Option<&Rc<str>> {
        self.instances.get(instance)
    }

    /// What a member is to have.
    pub fn target(&self, member: &str) -> &Partitions {
        self.targets.get(member).unwrap_or(&NOTHING)
    }

    /// Who holds a partition.
    pub fn owner(&self, partition: &TopicPartition) -> Option<&str> {
        self.owners.get(partition).map(|id| &**id)
    }

    /// The members' subscriptions, each once.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Rc<Subscription>> {
        self.subscriptions.keys()
    }

    /// The same subscription, if a member has it already.
    pub fn subscription(&self, wanted: &Subscription) -> Option<&Rc<Subscription>> {
        self.subscriptions.get_key_value(wanted).map(|(found, _)| found)
    }

    /// How many members speak the classic protocol.
    pub fn classic_members(&self) -> usize {
        self.classic_members
    }

    /// How the group does.
    pub fn group_state(&self) -> GroupState {
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.epoch > self.assignment_epoch {
            GroupState::Assigning
        } else if self.all_reconciled() {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    fn all_reconciled(&self) -> bool {
        let epoch = self.assignment_epoch;
        self.members.values().all(|member| member.current.is_reconciled_to(epoch))
    }

    /// Changes the state as a record says. Never fails: what a record names and the state doesn't
    /// have is made, or is gone already.
    pub fn apply(&mut self, record: &ModernRecord) {
        match record {
            ModernRecord::Group { epoch, topics_hash } => {
                (self.epoch, self.topics_hash) = (*epoch, *topics_hash);
            }
            ModernRecord::Member { id, profile } => self.set_profile(id, profile.clone()),
            ModernRecord::Target { id, partitions } if partitions.is_empty() => {
                self.targets.remove(id);
            }
            ModernRecord::Target { id, partitions } => {
                self.targets.insert(id.clone(), partitions.clone());
            }
            ModernRecord::AssignmentEpoch { epoch } => self.assignment_epoch = *epoch,
            ModernRecord::Current { id, current } => self.set_current(id, current.clone()),
            ModernRecord::MemberGone { id } => self.remove(id),
        }
    }

    /// Records that make this state from nothing: what a snapshot keeps of the group. Not one
    /// batch, but as many as have members, so that none is too large.
    pub fn snapshot(&self) -> Vec<Vec<ModernRecord>> {
        let mut batches = vec![vec![
            ModernRecord::Group { epoch: self.epoch, topics_hash: self.topics_hash },
            ModernRecord::AssignmentEpoch { epoch: self.assignment_epoch },
        ]];
        for (id, member) in &self.members {
            batches.push(vec![
                ModernRecord::Member { id: id.clone(), profile: member.profile.clone() },
                ModernRecord::Target { id: id.clone(), partitions: self.target(id).clone() },
                ModernRecord::Current { id: id.clone(), current: member.current.clone() },
            ]);
        }
        batches
    }

    fn set_profile(&mut self, id: &Rc<str>, mut profile: Profile) {
        if let Some(old) = self.members.get(id).map(|member| member.profile.clone()) {
            self.forget_profile(id, &old);
        }
        if let Some(same) = self.subscription(&profile.subscription) {
            profile.subscription = same.clone();
        }
        *self.subscriptions.entry(profile.subscription.clone()).or_default() += 1;
        self.classic_members += usize::from(profile.classic.is_some());
        if let Some(instance) = &profile.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        match self.members.get_mut(id) {
            Some(member) => member.profile = profile,
            None => {
                let current = Current::default();
                self.members.insert(id.clone(), Member { profile, current });
            }
        }
    }

    fn forget_profile(&mut self, id: &Rc<str>, profile: &Profile) {
        if let Some(count) = self.subscriptions.get_mut(&profile.subscription) {
            *count -= 1;
            if *count == 0 {
                self.subscriptions.remove(&profile.subscription);
            }
        }
        self.classic_members -= usize::from(profile.classic.is_some());
        if let Some(instance) = &profile.instance_id
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
    }

    /// Of members only: a record of one that never joined changes nothing.
    fn set_current(&mut self, id: &Rc<str>, current: Current) {
        let Some((id, member)) = self.members.get_key_value(id) else { return };
        let id = id.clone();
        release(&mut self.owners, &id, &member.current);
        for partition in current.held() {
            self.owners.insert(*partition, id.clone());
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.current = current;
        }
    }

    fn remove(&mut self, id: &Rc<str>) {
        if let Some(member) = self.members.remove(id) {
            release(&mut self.owners, id, &member.current);
            self.forget_profile(id, &member.profile);
        }
        self.targets.remove(id);
    }
}

/// Takes from a member all that it held.
fn release(owners: &mut FxHashMap<TopicPartition, Rc<str>>, id: &Rc<str>, current: &Current) {
    for partition in current.held() {
        if owners.get(partition) == Some(id) {
            owners.remove(partition);
        }
    }
}
