//! When members are given up. Only the leader has these; they start anew with each leader.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::model::time::Time;

/// Why a member was removed without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// It was silent for its session timeout.
    Session,
    /// It did not give up partitions within its rebalance timeout.
    Rebalance,
    /// It speaks the classic protocol and did not join again within its rebalance timeout.
    Join,
    /// It speaks the classic protocol and joined, but did not ask for its assignment.
    Sync,
}

#[derive(Clone, Debug, Default)]
struct Deadlines {
    session: Option<Time>,
    /// Only if the member is still in this epoch.
    rebalance: Option<(Time, i32)>,
    join: Option<Time>,
    sync: Option<Time>,
}

impl Deadlines {
    fn earliest(&self) -> Time {
        let rebalance = self.rebalance.map(|(at, _)| at);
        let all = [self.session, rebalance, self.join, self.sync];
        all.into_iter().flatten().min().unwrap_or(Time::NEVER)
    }
}

/// The deadlines of a group's members.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    members: BTreeMap<Rc<str>, Deadlines>,
    /// No deadline is before this. Heartbeats move deadlines later and leave it as it is: to look
    /// once too often is cheaper than to sort at each heartbeat.
    not_before: Time,
}

impl Default for Timers {
    fn default() -> Self {
        Timers { members: BTreeMap::new(), not_before: Time::NEVER }
    }
}

impl Timers {
    /// When to look next. Nothing may be due then.
    pub(super) fn next(&self) -> Time {
        self.not_before
    }

    fn set(&mut self, member: &Rc<str>, at: Time, change: impl FnOnce(&mut Deadlines)) {
        self.not_before = self.not_before.min(at);
        match self.members.get_mut(member) {
            Some(deadlines) => change(deadlines),
            None => change(self.members.entry(member.clone()).or_default()),
        }
    }

    pub(super) fn session(&mut self, member: &Rc<str>, at: Time) {
        self.set(member, at, |deadlines| deadlines.session = Some(at));
    }

    /// Starts, or with `None` stops it.
    pub(super) fn rebalance(&mut self, member: &Rc<str>, at: Option<(Time, i32)>) {
        let time = at.map_or(Time::NEVER, |(time, _)| time);
        self.set(member, time, |deadlines| deadlines.rebalance = at);
    }

    /// Starts, unless it runs.
    pub(super) fn join(&mut self, member: &Rc<str>, at: Time) {
        self.set(member, at, |deadlines| _ = deadlines.join.get_or_insert(at));
    }

    /// The member has joined, and is to sync.
    pub(super) fn joined(&mut self, member: &Rc<str>, sync: Time) {
        self.set(member, sync, |deadlines| (deadlines.join, deadlines.sync) = (None, Some(sync)));
    }

    pub(super) fn synced(&mut self, member: &Rc<str>) {
        self.set(member, Time::NEVER, |deadlines| deadlines.sync = None);
    }

    /// A classic member now speaks the new protocol.
    pub(super) fn no_longer_classic(&mut self, member: &Rc<str>) {
        self.set(member, Time::NEVER, |deadlines| (deadlines.join, deadlines.sync) = (None, None));
    }

    pub(super) fn remove(&mut self, member: &str) {
        self.members.remove(member);
    }

    /// Members whose time is up, in order of their ids. `epoch` tells a member's epoch.
    pub(super) fn due(
        &mut self,
        now: Time,
        epoch: impl Fn(&str) -> Option<i32>,
    ) -> Vec<(Rc<str>, Fenced)> {
        let mut due = Vec::new();
        if now < self.not_before {
            return due;
        }
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        self.not_before = Time::NEVER;
        for (id, deadlines) in &mut self.members {
            deadlines.rebalance =
                deadlines.rebalance.filter(|(_, since)| epoch(id) == Some(*since));
            let why = if is_due(deadlines.session) {
                Fenced::Session
            } else if is_due(deadlines.rebalance.map(|(at, _)| at)) {
                Fenced::Rebalance
            } else if is_due(deadlines.join) {
                Fenced::Join
            } else if is_due(deadlines.sync) {
                Fenced::Sync
            } else {
                self.not_before = self.not_before.min(deadlines.earliest());
                continue;
            };
            due.push((id.clone(), why));
        }
        due
    }
}
