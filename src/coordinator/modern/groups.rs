//! All groups of the new protocol that a shard leads, with a timer for each.

use std::collections::BTreeSet;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::group::ConsumerGroup;
use super::request::{Env, ErrorKind, GroupError, Outcome};
use crate::coordinator::record::Record;
use crate::limits::{CONSUMER_GROUP_BATCH_BYTES_MAX, MEMBER_STRING_BYTES_MAX};
use crate::model::time::Time;

/// The groups, by their ids.
#[derive(Debug, Default)]
pub struct Groups {
    groups: FxHashMap<Rc<str>, Live>,
    timers: BTreeSet<(Time, Rc<str>)>,
}

/// A group that is led here.
#[derive(Debug, Default)]
pub struct Live {
    /// The group, ahead of what is committed.
    pub group: ConsumerGroup,
    /// The number of its last record.
    pub last_record: u64,
    timer: Option<Time>,
}

impl Groups {
    /// A group that is here.
    pub fn get(&self, id: &str) -> Option<&Live> {
        self.groups.get(id)
    }

    /// The same, to change it. [`Groups::schedule`] is to be called then.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Live> {
        self.groups.get_mut(id)
    }

    /// A group's id as all share it.
    pub fn id(&self, id: &str) -> Option<Rc<str>> {
        self.groups.get_key_value(id).map(|(id, _)| Rc::clone(id))
    }

    /// The group, if it has members.
    pub fn with_members(&self, id: &str) -> Option<&ConsumerGroup> {
        let live = self.groups.get(id)?;
        (!live.group.state().members().is_empty()).then_some(&live.group)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Adds a group.
    pub fn insert(&mut self, id: Rc<str>, group: ConsumerGroup) {
        self.groups.insert(Rc::clone(&id), Live { group, ..Live::default() });
        self.schedule(&id);
    }

    /// A group without members is deleted, by the record of this number: it begins anew. It isn't
    /// taken out, or what is looked up before that record is applied would be the past.
    pub fn forget_past(&mut self, id: &str, record: u64) {
        if let Some(live) = self.groups.get_mut(id) {
            live.group = ConsumerGroup::new();
            live.last_record = record;
        }
    }

    /// Takes a group out.
    pub fn remove(&mut self, id: &str) -> Option<ConsumerGroup> {
        let (id, live) = self.groups.remove_entry(id)?;
        if let Some(timer) = live.timer {
            self.timers.remove(&(timer, id));
        }
        Some(live.group)
    }

    /// Has a group looked at no later than it wants to be.
    pub fn schedule(&mut self, id: &str) {
        let Some((id, live)) = self.groups.get_key_value(id) else { return };
        let (next, timer) = (live.group.next_deadline(), live.timer);
        if next == Time::NEVER || timer.is_some_and(|timer| timer <= next) {
            return;
        }
        let id = Rc::clone(id);
        if let Some(timer) = timer {
            self.timers.remove(&(timer, Rc::clone(&id)));
        }
        self.timers.insert((next, Rc::clone(&id)));
        if let Some(live) = self.groups.get_mut(&id) {
            live.timer = Some(next);
        }
    }

    /// When [`Groups::next_due`] is to be asked.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// A group that is to be looked at now. It must be scheduled again.
    pub fn next_due(&mut self, now: Time) -> Option<Rc<str>> {
        if self.timers.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let (_, id) = self.timers.pop_first()?;
        if let Some(live) = self.groups.get_mut(&id) {
            live.timer = None;
        }
        Some(id)
    }
}

impl Live {
    /// Asks the group, and undoes what can't be written at once.
    pub fn ask<T>(
        &mut self,
        id: &str,
        env: &Env<'_>,
        ask: impl FnOnce(&mut ConsumerGroup) -> Outcome<Result<T, GroupError>>,
    ) -> Outcome<Result<T, GroupError>> {
        if batch_bytes_bound(&self.group, env) <= CONSUMER_GROUP_BATCH_BYTES_MAX {
            return ask(&mut self.group);
        }
        let before = self.group.clone();
        let outcome = ask(&mut self.group);
        if fits(id, &outcome) {
            return outcome;
        }
        self.group = before;
        Outcome { records: Vec::new(), answer: Err(too_large()) }
    }
}

/// Whether the records of a call can be written at once.
pub fn fits<T>(id: &str, outcome: &Outcome<T>) -> bool {
    let mut bytes = Vec::new();
    let record = Record::Modern { group: id.to_owned(), records: outcome.records.clone() };
    record.encode(&mut bytes);
    bytes.len() <= CONSUMER_GROUP_BATCH_BYTES_MAX
}

/// What is said if they can't.
pub fn too_large() -> GroupError {
    let message = format!(
        "What the group's members are assigned would take more than the \
         {CONSUMER_GROUP_BATCH_BYTES_MAX} bytes that can be written at once. Use several groups."
    );
    GroupError::new(ErrorKind::GroupMaxSizeReached, message)
}

/// More than a call can write: a frame's worth of what a member says, a target for everybody, and
/// what one member has, in the worst case all partitions of topics with one each.
fn batch_bytes_bound(group: &ConsumerGroup, env: &Env<'_>) -> usize {
    const PARTITION_BYTES: usize = 16 + 4 + 4;
    let members = group.state().members().len() + 1;
    (4 << 20)
        + 3 * PARTITION_BYTES * env.topics.partitions()
        + members * (MEMBER_STRING_BYTES_MAX + 64)
}
