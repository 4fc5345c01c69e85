//! Members between rebalances: heartbeats, departures, and the right to commit offsets.

use std::rc::Rc;

use super::group::State;
use super::join::check_member;
use super::words::{Fault, MemberRef};
use super::{Classic, Context};
use crate::model::time::Time;

impl Classic {
    /// A member says that it is alive.
    ///
    /// # Errors
    /// What it is to do: join, or join as a new member.
    pub fn heartbeat(&mut self, context: Context<'_>, member: &MemberRef) -> Result<(), Fault> {
        let (id, group) = self.groups.get_key_value(&*member.group).ok_or(Fault::UnknownMember)?;
        let id = Rc::clone(id);
        check_member(group, &member.member_id, member.instance_id.as_deref())?;
        if group.generation != member.generation {
            return Err(Fault::IllegalGeneration);
        }
        let state = group.state;
        if state == State::Empty {
            return Err(Fault::UnknownMember);
        }
        self.beat(context.now.time, &id, &member.member_id);
        match state {
            State::PreparingRebalance => Err(Fault::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// A member is alive: its session begins anew, unless it waits for us.
    pub(super) fn beat(&mut self, now: Time, id: &Rc<str>, member_id: &str) {
        let Some(member) = self.at(id).member_mut(member_id) else { return };
        if member.joining.is_none() && member.syncing.is_none() {
            let until = now + member.session_timeout;
            member.deadline = Some(until);
            self.schedule_at(id, until);
        }
    }

    /// A member goes. A static one may be named by its instance id alone.
    ///
    /// # Errors
    /// If it isn't a member.
    pub fn leave(
        &mut self,
        context: Context<'_>,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), Fault> {
        let (id, group) = self.groups.get_key_value(group).ok_or(Fault::UnknownMember)?;
        let id = Rc::clone(id);
        let member_id = match instance_id {
            Some(instance) if member_id.is_empty() => {
                group.instance(instance).ok_or(Fault::UnknownMember)?.to_owned()
            }
            _ => member_id.to_owned(),
        };
        if instance_id.is_some() || !group.pending.contains_key(&member_id) {
            check_member(group, &member_id, instance_id)?;
        }
        self.drop_member(context, &id, &member_id);
        self.forget_idle(&id);
        Ok(())
    }

    /// Whether offsets may be committed in the name of this member, or in nobody's.
    ///
    /// # Errors
    /// Why not.
    pub fn may_commit(&mut self, context: Context<'_>, member: &MemberRef) -> Result<(), Fault> {
        let nobody =
            member.generation < 0 && member.member_id.is_empty() && member.instance_id.is_none();
        let Some((id, group)) = self.groups.get_key_value(&*member.group) else {
            // Without members a group belongs to whoever names it.
            return match context.store.group(&member.group) {
                _ if member.generation < 0 => Ok(()),
                Some(_) => Err(Fault::UnknownMember),
                None => Err(Fault::IllegalGeneration),
            };
        };
        if group.state == State::Empty && member.generation < 0 {
            return Ok(());
        }
        if nobody {
            return Err(Fault::UnknownMember);
        }
        check_member(group, &member.member_id, member.instance_id.as_deref())?;
        if group.generation != member.generation {
            return Err(Fault::IllegalGeneration);
        }
        if group.state == State::CompletingRebalance {
            return Err(Fault::RebalanceInProgress);
        }
        let id = Rc::clone(id);
        self.beat(context.now.time, &id, &member.member_id);
        Ok(())
    }

    /// Whether a group has no members, or there is none of this id.
    ///
    /// # Errors
    /// If it has some, or isn't there.
    pub fn may_delete(&self, context: Context<'_>, id: &str) -> Result<(), Fault> {
        match self.groups.get(id) {
            Some(group) if group.state == State::Empty && group.pending.is_empty() => Ok(()),
            Some(_) => Err(Fault::NotEmpty),
            None => context.store.group(id).map(drop).ok_or(Fault::NoSuchGroup),
        }
    }

    /// Forgets a group that is being deleted. It must be empty.
    pub fn deleted(&mut self, id: &str) {
        self.forget(id);
    }
}
