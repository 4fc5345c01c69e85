//! Members ask for their assignments; the leader brings them.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::group::State;
use super::join::check_member;
use super::words::{Answer, Fault, Sync, Synced};
use super::{Classic, Context, Group, Then};
use crate::coordinator::record::Record;
use crate::limits::CONSUMER_GROUP_BYTES_MAX;

impl Classic {
    /// A member asks for its assignment. It is answered when the leader's has been recorded.
    pub fn sync(&mut self, context: Context<'_>, sync: Sync) {
        let caller = sync.caller;
        if let Err(fault) = self.try_sync(context, sync) {
            self.answer(Some(caller), || Answer::Sync(Err(fault)));
        }
    }

    fn try_sync(&mut self, context: Context<'_>, sync: Sync) -> Result<(), Fault> {
        let member = &sync.member;
        let (id, group) = self.groups.get_key_value(&*member.group).ok_or(Fault::UnknownMember)?;
        let id = Rc::clone(id);
        check_member(group, &member.member_id, member.instance_id.as_deref())?;
        if group.state == State::Empty {
            return Err(Fault::UnknownMember);
        }
        if group.generation != member.generation {
            return Err(Fault::IllegalGeneration);
        }
        let other_type =
            sync.protocol_type.as_ref().is_some_and(|theirs| *theirs != group.protocol_type);
        if other_type || (sync.protocol.is_some() && sync.protocol != group.protocol) {
            return Err(Fault::InconsistentProtocol);
        }
        match group.state {
            State::Empty => Err(Fault::UnknownMember),
            State::PreparingRebalance => Err(Fault::RebalanceInProgress),
            State::Stable => {
                let member_id = &sync.member.member_id;
                let synced = group.synced(member_id);
                self.at(&id).unsynced.remove(member_id);
                self.beat(context.now.time, &id, member_id);
                self.answer(Some(sync.caller), || Answer::Sync(Ok(synced)));
                Ok(())
            }
            State::CompletingRebalance => {
                self.wait_for_assignment(context, &id, sync);
                Ok(())
            }
        }
    }

    fn wait_for_assignment(&mut self, context: Context<'_>, id: &Rc<str>, sync: Sync) {
        let member_id = sync.member.member_id;
        let group = self.at(id);
        group.unsynced.remove(&member_id);
        let leads = group.leader.as_deref() == Some(&member_id);
        let member = group.member_mut(&member_id).expect("it was just checked");
        member.deadline = None;
        let before = member.syncing.replace(sync.caller);
        self.answer(before, || Answer::Sync(Err(Fault::RebalanceInProgress)));
        if leads && !self.at(id).storing {
            self.store_assignment(context, id, sync.assignments);
        }
    }

    fn store_assignment(
        &mut self,
        context: Context<'_>,
        id: &Rc<str>,
        assignments: Vec<(String, Bytes)>,
    ) {
        let group = self.at(id);
        let mut assignments: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        for (member_id, member) in group.members_mut() {
            member.assignment = assignments.remove(member_id).unwrap_or_default();
        }
        if group.assignment_bytes() > CONSUMER_GROUP_BYTES_MAX {
            return self.refuse_assignment(context, id);
        }
        group.storing = true;
        let mut state = group.to_stored();
        state.changed_at = context.now.wallclock.0;
        let then = Then::Synced { group: Rc::clone(id), generation: group.generation };
        self.propose(Record::Classic { group: id.to_string(), state }, then);
    }

    /// An assignment that is too large to be kept: everybody is told, and they may try again.
    fn refuse_assignment(&mut self, context: Context<'_>, id: &Rc<str>) {
        let mut refused = Vec::new();
        let now = context.now.time;
        for (_, member) in self.at(id).members_mut() {
            member.assignment = Bytes::new();
            if let Some(caller) = member.syncing.take() {
                member.deadline = Some(now + member.session_timeout);
                refused.push(caller);
            }
        }
        for caller in refused {
            self.answer(Some(caller), || Answer::Sync(Err(Fault::AssignmentTooLarge)));
        }
        self.schedule(id);
        self.prepare_rebalance(context, id);
    }

    /// The assignment of a generation has been recorded: whoever waits for it gets it.
    pub(super) fn assigned(&mut self, context: Context<'_>, id: &Rc<str>, generation: i32) {
        let now = context.now.time;
        let Some(group) = self.groups.get_mut(id) else { return };
        if group.state != State::CompletingRebalance || group.generation != generation {
            return;
        }
        group.state = State::Stable;
        group.storing = false;
        group.changed_at = context.now.wallclock.0;
        let mut answers = Vec::new();
        let waiting: Vec<String> = group
            .members()
            .iter()
            .filter(|(_, member)| member.syncing.is_some())
            .map(|(id, _)| id.clone())
            .collect();
        for member_id in waiting {
            let synced = group.synced(&member_id);
            let member = group.member_mut(&member_id).expect("it was just seen");
            member.deadline = Some(now + member.session_timeout);
            if let Some(caller) = member.syncing.take() {
                answers.push((caller, Answer::Sync(Ok(synced))));
            }
        }
        self.outbox.answers.extend(answers);
        self.schedule(id);
    }
}

impl Group {
    fn synced(&self, member_id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment: self.member(member_id).map(|m| m.assignment.clone()).unwrap_or_default(),
        }
    }
}
