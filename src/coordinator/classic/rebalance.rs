//! A rebalance: from asking members to join again to a new generation.

use std::rc::Rc;
use std::time::Duration;

use super::group::State;
use super::words::{Answer, Fault, Joined};
use super::{Classic, Context, Then};
use crate::coordinator::record::Record;

impl Classic {
    /// Asks all members to join again, unless they are being asked already; and completes the
    /// rebalance if they all have.
    pub(super) fn prepare_rebalance(&mut self, context: Context<'_>, id: &Rc<str>) {
        let group = self.at(id);
        if group.state != State::PreparingRebalance {
            if group.state == State::CompletingRebalance {
                self.refuse_syncs(context, id, Fault::RebalanceInProgress);
            }
            self.begin_rebalance(context, id);
        }
        self.try_complete(context, id);
    }

    fn begin_rebalance(&mut self, context: Context<'_>, id: &Rc<str>) {
        let delay = context.settings.initial_rebalance_delay;
        let group = self.at(id);
        let patience = group.rebalance_timeout();
        group.unsynced.clear();
        group.sync_deadline = None;
        group.storing = false;
        let wait = if group.state == State::Empty && !delay.is_zero() {
            // More members are likely to come: one rebalance for all of them is cheaper.
            group.first_wait_left = Some(patience.saturating_sub(delay));
            group.newcomers = false;
            delay
        } else {
            patience
        };
        let until = context.now.time + wait;
        group.join_deadline = Some(until);
        group.state = State::PreparingRebalance;
        group.changed_at = context.now.wallclock.0;
        self.schedule_at(id, until);
    }

    /// Whoever waits for an assignment will get none in this generation.
    fn refuse_syncs(&mut self, context: Context<'_>, id: &Rc<str>, fault: Fault) {
        let now = context.now.time;
        let mut refused = Vec::new();
        let mut next = None::<crate::model::time::Time>;
        for (_, member) in self.at(id).members_mut() {
            member.assignment = bytes::Bytes::new();
            if let Some(caller) = member.syncing.take() {
                refused.push(caller);
                let until = now + member.session_timeout;
                member.deadline = Some(until);
                next = Some(next.map_or(until, |next| next.min(until)));
            }
        }
        for caller in refused {
            self.answer(Some(caller), || Answer::Sync(Err(fault)));
        }
        if let Some(next) = next {
            self.schedule_at(id, next);
        }
    }

    /// Completes the rebalance if nobody is missing, and if it isn't to wait for newcomers.
    pub(super) fn try_complete(&mut self, context: Context<'_>, id: &Rc<str>) {
        let group = self.at(id);
        let waits = group.first_wait_left.is_some() && !group.members().is_empty();
        if group.state == State::PreparingRebalance && group.all_joined() && !waits {
            self.complete_rebalance(context, id);
        }
    }

    /// The time for joining is up.
    pub(super) fn join_time_is_up(&mut self, context: Context<'_>, id: &Rc<str>) {
        let delay = context.settings.initial_rebalance_delay;
        let group = self.at(id);
        group.join_deadline = None;
        if group.state != State::PreparingRebalance {
            return;
        }
        if let Some(left) = group.first_wait_left
            && group.newcomers
            && !left.is_zero()
        {
            let wait = delay.min(left);
            group.newcomers = false;
            group.first_wait_left = Some(left.saturating_sub(wait));
            let until = context.now.time + wait;
            group.join_deadline = Some(until);
            return self.schedule_at(id, until);
        }
        self.complete_rebalance(context, id);
    }

    fn complete_rebalance(&mut self, context: Context<'_>, id: &Rc<str>) {
        let group = self.at(id);
        group.first_wait_left = None;
        let late: Vec<String> = group
            .members()
            .iter()
            .filter(|(_, member)| member.joining.is_none() && member.instance_id.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for member_id in late {
            group.remove(&member_id);
        }
        if group.members().is_empty() {
            return self.become_empty(context, id);
        }
        let joined = |group: &super::Group, id: &str| {
            group.member(id).is_some_and(|member| member.joining.is_some())
        };
        let leader = group.leader.clone().filter(|leader| joined(group, leader));
        let first = || group.members().keys().find(|id| joined(group, id)).cloned();
        let Some(leader) = leader.or_else(first) else {
            // Only static members are left, and all of them away: they may still come back.
            let until = context.now.time + group.rebalance_timeout().max(RETRY_MIN);
            group.join_deadline = Some(until);
            return self.schedule_at(id, until);
        };
        group.leader = Some(leader);
        self.begin_generation(context, id);
    }

    fn become_empty(&mut self, context: Context<'_>, id: &Rc<str>) {
        let group = self.at(id);
        group.generation = next_generation(group.generation);
        group.state = State::Empty;
        group.protocol = None;
        group.leader = None;
        group.join_deadline = None;
        group.changed_at = context.now.wallclock.0;
        group.emptying = true;
        let generation = group.generation;
        let state = group.to_stored();
        let record = Record::Classic { group: id.to_string(), state };
        self.propose(record, Then::Emptied { group: Rc::clone(id), generation });
    }

    fn begin_generation(&mut self, context: Context<'_>, id: &Rc<str>) {
        let now = context.now.time;
        let group = self.at(id);
        group.generation = next_generation(group.generation);
        group.protocol = group.elect_protocol();
        group.state = State::CompletingRebalance;
        group.changed_at = context.now.wallclock.0;
        group.join_deadline = None;
        group.unsynced = group.members().keys().cloned().collect();
        let until = now + group.rebalance_timeout();
        group.sync_deadline = Some(until);
        let mut answers = Vec::new();
        for member_id in group.unsynced.clone() {
            let caller = group.set_joining(&member_id, None);
            let member = group.member_mut(&member_id).expect("it is a member");
            member.is_new = false;
            member.deadline = Some(now + member.session_timeout);
            if let Some(caller) = caller {
                answers.push((caller, Answer::Join(group.joined(&member_id))));
            }
        }
        self.outbox.answers.extend(answers);
        self.schedule(id);
    }

    /// A group without members has been recorded as such: the store knows all of it.
    pub(super) fn emptied(&mut self, id: &str, generation: i32) {
        if let Some(group) = self.groups.get_mut(id)
            && group.generation == generation
        {
            group.emptying = false;
            self.forget_idle(id);
        }
    }

    /// Lets go of a member, whatever it waits for.
    pub(super) fn drop_member(&mut self, context: Context<'_>, id: &Rc<str>, member_id: &str) {
        let group = self.at(id);
        let was_pending = group.pending.contains_key(member_id);
        let Some(member) = group.remove(member_id) else {
            if was_pending {
                self.try_complete(context, id);
            }
            return;
        };
        let refused = Joined::refused(Fault::UnknownMember, String::new());
        self.answer(member.joining, || Answer::Join(refused));
        self.answer(member.syncing, || Answer::Sync(Err(Fault::UnknownMember)));
        if self.at(id).state != State::Empty {
            self.prepare_rebalance(context, id);
        }
    }
}

/// How soon a rebalance that nobody has joined is looked at again, at the soonest.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Generations are never negative: those stand for none.
fn next_generation(generation: i32) -> i32 {
    generation.checked_add(1).unwrap_or(0)
}
