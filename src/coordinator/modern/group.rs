//! A group on the shard that leads it: its state, timers, and what subscriptions mean.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::assignor::{Plan, PlanMember};
use super::member::{Current, Member, MemberState, Profile, Subscription};
use super::partitions::Partitions;
use super::reconcile::{Goal, reconcile};
use super::record::ModernRecord;
use super::request::{Env, ErrorKind, GroupError, Outcome};
use super::state::ModernState;
use super::timers::{Fenced, Timers};
use super::topics::Resolution;
use crate::limits::{
    CONSUMER_GROUP_MEMBERS_MAX, CONSUMER_GROUP_REGEXES_MAX, CONSUMER_GROUP_SUBSCRIPTION_BYTES_MAX,
};
use crate::model::time::Time;

/// A consumer group of the new protocol, as its leader has it. See the module's text for what is
/// to be done with records and answers.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroup {
    pub(super) state: ModernState,
    pub(super) timers: Timers,
    pub(super) resolution: Resolution,
}

/// Records of a call as they are made: each is applied at once.
pub(super) type Records = Vec<ModernRecord>;

impl ConsumerGroup {
    /// A group that nobody has joined yet.
    pub fn new() -> Self {
        ConsumerGroup::default()
    }

    /// A group that this shard leads from now on. Everybody has a whole session to be heard of.
    pub fn take_over(state: ModernState, env: &Env<'_>) -> Self {
        let mut group = ConsumerGroup { state, ..ConsumerGroup::default() };
        let members: Vec<_> = group.state.members().keys().cloned().collect();
        for id in members {
            group.restart_timers(&id, env);
        }
        group
    }

    fn restart_timers(&mut self, id: &Rc<str>, env: &Env<'_>) {
        let member = &self.state.members()[id];
        let rebalance = env.now + millis(member.profile.rebalance_timeout_ms);
        let current = &member.current;
        let session = env.now + session_timeout(member, env);
        self.timers.session(id, session);
        if member.is_classic() {
            // One that never asks for its assignment again would keep its partitions for ever.
            if current.epoch < self.state.epoch() || current.state != MemberState::Stable {
                self.timers.join(id, rebalance);
            }
        } else if current.state == MemberState::UnrevokedPartitions {
            self.timers.rebalance(id, Some((rebalance, current.epoch)));
        }
    }

    /// What the records have made so far, those not yet committed included.
    pub fn state(&self) -> &ModernState {
        &self.state
    }

    /// When to call [`ConsumerGroup::expire`] if not before. Moves with every call.
    pub fn next_deadline(&self) -> Time {
        self.timers.next()
    }

    /// Removes members whose time is up. Says who and why, for the log.
    pub fn expire(&mut self, env: &Env<'_>) -> Outcome<Vec<(Rc<str>, Fenced)>> {
        let state = &self.state;
        let epoch = |id: &str| state.members().get(id).map(|member| member.current.epoch);
        let answer = self.timers.due(env.now, epoch);
        let mut records = Vec::new();
        let gone: Vec<_> = answer.iter().map(|(id, _)| id.clone()).collect();
        self.remove_members(&gone, env, &mut records);
        Outcome { records, answer }
    }

    pub(super) fn emit(&mut self, records: &mut Records, record: ModernRecord) {
        self.state.apply(&record);
        records.push(record);
    }

    /// Takes members out, and begins an epoch without them.
    pub(super) fn remove_members(
        &mut self,
        gone: &[Rc<str>],
        env: &Env<'_>,
        records: &mut Records,
    ) {
        if gone.is_empty() {
            return;
        }
        for id in gone {
            self.timers.remove(id);
            self.emit(records, ModernRecord::MemberGone { id: id.clone() });
        }
        let topics_hash = self.resolution.refresh(&self.state, env.now, env.topics);
        let epoch = self.state.epoch() + 1;
        self.emit(records, ModernRecord::Group { epoch, topics_hash });
    }

    /// A group takes `id` if it is a member, takes the place of one, or there is room.
    pub(super) fn check_room(
        &self,
        id: &str,
        instance: Option<&str>,
        env: &Env<'_>,
    ) -> Result<(), GroupError> {
        let max = env.settings.max_size.min(CONSUMER_GROUP_MEMBERS_MAX);
        let members = self.state.members();
        let is_known = members.contains_key(id)
            || instance.is_some_and(|instance| self.state.member_of_instance(instance).is_some());
        if members.len() < max || is_known {
            return Ok(());
        }
        let message =
            format!("The consumer group has reached its maximum capacity of {max} members.");
        Err(GroupError::new(ErrorKind::GroupMaxSizeReached, message))
    }

    /// That another subscription can be remembered.
    pub(super) fn check_subscription(&self, wanted: &Subscription) -> Result<(), GroupError> {
        if self.state.subscription(wanted).is_some() {
            return Ok(());
        }
        let bytes: usize = self.state.subscriptions().map(|known| known.bytes()).sum();
        if bytes + wanted.bytes() > CONSUMER_GROUP_SUBSCRIPTION_BYTES_MAX {
            return Err(GroupError::new(
                ErrorKind::GroupMaxSizeReached,
                format!(
                    "The different subscriptions of the group's members would take more than \
                     {CONSUMER_GROUP_SUBSCRIPTION_BYTES_MAX} bytes. Subscribe to the same topics \
                     or use another group."
                ),
            ));
        }
        let Some(regex) = &wanted.regex else { return Ok(()) };
        let known = self.state.subscriptions().filter_map(|known| known.regex.as_ref());
        let others: BTreeSet<&String> = known.filter(|known| *known != regex).collect();
        if others.len() >= CONSUMER_GROUP_REGEXES_MAX {
            return Err(GroupError::new(
                ErrorKind::InvalidRegularExpression,
                format!(
                    "The group's members use {CONSUMER_GROUP_REGEXES_MAX} different regular \
                     expressions already, and may not use more."
                ),
            ));
        }
        Ok(())
    }

    /// Remembers what a member says of itself, and begins an epoch if that, or the catalog, gives
    /// the group other topics or other members. Then computes targets for that epoch.
    pub(super) fn update(
        &mut self,
        id: &Rc<str>,
        profile: Profile,
        is_new: bool,
        env: &Env<'_>,
        records: &mut Records,
    ) {
        let old = self.state.members().get(id).map(|member| &member.profile);
        let resubscribed = is_new || old.is_none_or(|old| old.subscription != profile.subscription);
        if old != Some(&profile) {
            self.emit(records, ModernRecord::Member { id: id.clone(), profile });
        }
        if resubscribed || self.resolution.is_stale(env.now, env.topics) {
            let topics_hash = self.resolution.refresh(&self.state, env.now, env.topics);
            if resubscribed || topics_hash != self.state.topics_hash() {
                let epoch = self.state.epoch() + 1;
                self.emit(records, ModernRecord::Group { epoch, topics_hash });
            }
        }
        if self.state.epoch() > self.state.assignment_epoch() {
            self.assign(env, records);
        }
    }

    /// Computes everybody's target.
    fn assign(&mut self, env: &Env<'_>, records: &mut Records) {
        let assignor = self.state.assignor(env.settings.default_assignor());
        let mut numbers = BTreeMap::new();
        let mut subscriptions = Vec::new();
        for subscription in self.state.subscriptions() {
            numbers.insert(subscription, subscriptions.len());
            subscriptions.push(self.resolution.topics_of(subscription, env.topics));
        }
        let members = self.state.members().iter().map(|(id, member)| PlanMember {
            instance_id: member.profile.instance_id.as_deref(),
            subscription: numbers[&member.profile.subscription],
            target: self.state.target(id),
        });
        let members = members.collect();
        let targets = assignor.assign(&Plan { subscriptions, members });
        let changed: Vec<_> = self
            .state
            .members()
            .keys()
            .zip(targets)
            .filter(|(id, target)| self.state.target(id) != target)
            .map(|(id, partitions)| ModernRecord::Target { id: id.clone(), partitions })
            .collect();
        for record in changed {
            self.emit(records, record);
        }
        let epoch = self.state.epoch();
        self.emit(records, ModernRecord::AssignmentEpoch { epoch });
    }

    /// Leads a member a step on. Returns whether what it may have has changed.
    pub(super) fn reconcile(
        &mut self,
        id: &Rc<str>,
        owned: Option<&Partitions>,
        env: &Env<'_>,
        records: &mut Records,
    ) -> bool {
        let member = &self.state.members()[id];
        let goal = Goal { epoch: self.state.assignment_epoch(), target: self.state.target(id) };
        if member.current.is_reconciled_to(goal.epoch) {
            return false;
        }
        let is_free = |partition: &_| self.state.owner(partition).is_none();
        let next = reconcile(&member.current, &goal, owned, is_free);
        if next == member.current {
            return false;
        }
        let changed = next.assigned != member.current.assigned;
        if !member.is_classic() {
            let unrevoked = next.state == MemberState::UnrevokedPartitions;
            let at = env.now + millis(member.profile.rebalance_timeout_ms);
            self.timers.rebalance(id, unrevoked.then_some((at, next.epoch)));
        }
        self.emit(records, ModernRecord::Current { id: id.clone(), current: next });
        changed
    }

    /// A member's id as the group shares it.
    pub(super) fn shared_id(&self, id: &str) -> Rc<str> {
        let known = self.state.members().get_key_value(id);
        known.map_or_else(|| Rc::from(id), |(known, _)| known.clone())
    }

    /// Gives the place of a static member to another id, with its target and all it had.
    pub(super) fn replace(&mut self, old: &Rc<str>, new: &Rc<str>, records: &mut Records) {
        let Some(member) = self.state.members().get(old).cloned() else { return };
        let partitions = self.state.target(old).clone();
        self.timers.remove(old);
        self.emit(records, ModernRecord::MemberGone { id: old.clone() });
        self.emit(records, ModernRecord::Member { id: new.clone(), profile: member.profile });
        self.emit(records, ModernRecord::Target { id: new.clone(), partitions });
        let current = Current { epoch: 0, previous_epoch: 0, ..member.current };
        self.emit(records, ModernRecord::Current { id: new.clone(), current });
    }
}

/// Milliseconds of a request, none below zero.
pub(super) fn millis(millis: i32) -> Duration {
    Duration::from_millis(millis.max(0) as u64)
}

pub(super) fn session_timeout(member: &Member, env: &Env<'_>) -> Duration {
    let classic = member.profile.classic.as_ref();
    classic.map_or(env.settings.session_timeout, |classic| millis(classic.session_timeout_ms))
}
