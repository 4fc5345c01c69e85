//! The live state of groups that use the classic protocol, on the leader of their Raft group.
//!
//! Members join, one of them assigns, all ask for what they got, and from then on only their
//! heartbeats are heard, until somebody comes or goes. As in Kafka, state by state and error by
//! error: its clients know each of them.
//!
//! A group is here only while it has members; what is left of it then is in the store. Nothing
//! waits in a loop: each group has one timer, at or before the earliest of all its deadlines, so
//! that a heartbeat changes a number and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::coordinator::record::{ClassicState, Record};
use crate::coordinator::store::{Store, StoredGroup};
use crate::limits::CONSUMER_GROUPS_MAX;
use crate::model::time::{Now, Time};

pub mod group;
mod join;
mod members;
mod rebalance;
mod sync;
mod timers;
mod words;

#[cfg(test)]
mod tests;

pub use group::{Group, Member, State};
pub use words::{
    Answer, Caller, Fault, GroupSettings, Join, Joined, JoinedMember, MemberRef, Sync, Synced,
};

/// What every event is judged by.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub now: Now,
    pub settings: &'a GroupSettings,
    pub store: &'a Store,
}

/// A record to be appended, and what is done once it is applied.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub record: Record,
    pub then: Then,
}

/// What is done once a record is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    Nothing,
    /// This is the answer to somebody.
    Answer(Caller, Answer),
    /// The assignment of this generation stands.
    Synced {
        group: Rc<str>,
        generation: i32,
    },
    /// The group without members of this generation need not be remembered here.
    Emptied {
        group: Rc<str>,
        generation: i32,
    },
}

/// What has been decided and not yet been carried out.
#[derive(Debug, Default)]
pub struct Outbox {
    pub answers: Vec<(Caller, Answer)>,
    pub proposals: Vec<Proposal>,
    /// How many records there have been so far: the number of the last.
    pub last_record: u64,
}

impl Outbox {
    /// Has a record appended.
    pub fn propose(&mut self, record: Record, then: Then) {
        self.last_record += 1;
        self.proposals.push(Proposal { record, then });
    }
}

/// The classic groups with members of one Raft group.
#[derive(Debug, Default)]
pub struct Classic {
    groups: BTreeMap<Rc<str>, Group>,
    timers: BTreeSet<(Time, Rc<str>)>,
    pub outbox: Outbox,
}

impl Classic {
    /// The groups as their last leader left them.
    pub fn recover(store: &Store, now: Time) -> Classic {
        let mut classic = Classic::default();
        for (id, stored) in store.groups() {
            let Some(state) = stored.classic() else { continue };
            if state.members.is_empty() {
                continue;
            }
            let id: Rc<str> = Rc::from(id);
            classic.groups.insert(Rc::clone(&id), Group::recovered(state, now));
            classic.schedule(&id);
        }
        classic
    }

    /// The group of this id, if it has members or is about to lose its last.
    pub fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }

    /// The same, with the id that all share.
    pub fn group_with_id(&self, id: &str) -> Option<(&Rc<str>, &Group)> {
        self.groups.get_key_value(id)
    }

    /// All groups here, by their ids.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.groups.iter().map(|(id, group)| (&**id, group))
    }

    /// Takes over a group of the other protocol, with members who have what they were assigned
    /// there, and asks them to join. `then` is done when all that is recorded.
    pub fn adopt(&mut self, context: Context<'_>, id: &Rc<str>, group: Group, then: Then) {
        // Whoever leads the group after us is to have them join as well: what the other protocol's
        // members had is nobody's yet.
        let state = ClassicState { leader: None, ..group.to_stored() };
        self.groups.insert(Rc::clone(id), group);
        self.schedule(id);
        self.propose(Record::Classic { group: id.to_string(), state }, then);
        self.prepare_rebalance(context, id);
    }

    /// Lets a group go that goes on in the other protocol. Whoever waits is to join again.
    pub fn let_go(&mut self, id: &str) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let mut refused = Vec::new();
        for (member_id, member) in group.members_mut() {
            let fault = Fault::RebalanceInProgress;
            if let Some(caller) = member.joining.take() {
                refused.push((caller, Answer::Join(Joined::refused(fault, member_id.clone()))));
            }
            if let Some(caller) = member.syncing.take() {
                refused.push((caller, Answer::Sync(Err(fault))));
            }
        }
        self.outbox.answers.extend(refused);
        self.forget(id);
    }

    /// Has a group looked at no later than its earliest deadline.
    fn schedule(&mut self, id: &Rc<str>) {
        let next = self.groups.get(id).and_then(Group::next_deadline);
        if let Some(next) = next {
            self.schedule_at(id, next);
        }
    }

    /// Has a group looked at no later than then.
    fn schedule_at(&mut self, id: &Rc<str>, at: Time) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if let Some(timer) = group.timer {
            if timer <= at {
                return;
            }
            self.timers.remove(&(timer, Rc::clone(id)));
        }
        group.timer = Some(at);
        self.timers.insert((at, Rc::clone(id)));
    }

    /// Forgets a group of which the store knows all.
    fn forget_idle(&mut self, id: &str) {
        if self.groups.get(id).is_some_and(Group::is_idle) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: &str) {
        if let Some((id, group)) = self.groups.remove_entry(id)
            && let Some(timer) = group.timer
        {
            self.timers.remove(&(timer, id));
        }
    }

    /// The group to join, from the store if it has no members, or a new one.
    fn find_or_make(&mut self, context: Context<'_>, id: &str) -> Result<Rc<str>, Fault> {
        if let Some((id, _)) = self.groups.get_key_value(id) {
            return Ok(Rc::clone(id));
        }
        let stored = context.store.group(id);
        let known = context.store.len().max(self.groups.len());
        if stored.is_none() && known >= CONSUMER_GROUPS_MAX {
            return Err(Fault::TooManyGroups);
        }
        let group = Group::empty(stored.and_then(StoredGroup::classic));
        let id: Rc<str> = Rc::from(id);
        self.groups.insert(Rc::clone(&id), group);
        Ok(id)
    }

    /// A group that is here, by an id that was just looked up.
    fn at(&mut self, id: &str) -> &mut Group {
        self.groups.get_mut(id).expect("it was just looked up")
    }

    fn propose(&mut self, record: Record, then: Then) {
        self.outbox.propose(record, then);
    }

    fn answer(&mut self, caller: Option<Caller>, answer: impl FnOnce() -> Answer) {
        if let Some(caller) = caller {
            self.outbox.answers.push((caller, answer()));
        }
    }
}
