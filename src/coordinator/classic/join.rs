//! Members that join, for the first time or again.

use std::rc::Rc;
use std::time::Duration;

use super::group::{Group, Member, State, protocol_bytes};
use super::words::{Answer, Fault, Join, Joined, JoinedMember};
use super::{Classic, Context, Then};
use crate::coordinator::record::Record;
use crate::limits::CONSUMER_GROUP_BYTES_MAX;

/// A new member waits in a rebalance for so long at most: it doesn't know its id, sends no
/// heartbeats, and may have gone and come again as another.
const NEWCOMER_PATIENCE: Duration = Duration::from_secs(300);

impl Classic {
    /// A member joins. It is answered when the rebalance is complete, or at once.
    pub fn join(&mut self, context: Context<'_>, join: Join) {
        let (caller, member_id) = (join.caller, join.member_id.clone());
        if let Err(fault) = self.try_join(context, join) {
            let refused = Joined::refused(fault, member_id);
            self.answer(Some(caller), || Answer::Join(refused));
        }
    }

    fn try_join(&mut self, context: Context<'_>, join: Join) -> Result<(), Fault> {
        let settings = context.settings;
        let bounds = settings.session_timeout_min..=settings.session_timeout_max;
        if !bounds.contains(&join.session_timeout) {
            return Err(Fault::InvalidSessionTimeout);
        }
        let known = self.groups.contains_key(&*join.group);
        if !known && !join.member_id.is_empty() {
            return Err(Fault::UnknownMember);
        }
        let id = self.find_or_make(context, &join.group)?;
        let result = self.join_group(context, &id, join);
        // What was made for a member that was refused has nothing to stay for.
        self.forget_idle(&id);
        result
    }

    fn join_group(&mut self, context: Context<'_>, id: &Rc<str>, join: Join) -> Result<(), Fault> {
        let group = self.at(id);
        let full = || has_no_room(group, &join, context.settings.members_max);
        if full() {
            if !join.member_id.is_empty() {
                self.drop_member(context, id, &join.member_id);
            }
            return Err(Fault::GroupFull);
        }
        if !group.accepts(&join.protocol_type, &join.protocols) {
            return Err(Fault::InconsistentProtocol);
        }
        let replaced = group.member(&join.member_id).map_or(0, |m| protocol_bytes(&m.protocols));
        let held = group.protocol_bytes() - replaced;
        if held + protocol_bytes(&join.protocols) > CONSUMER_GROUP_BYTES_MAX {
            return Err(Fault::GroupFull);
        }
        if join.member_id.is_empty() {
            // Ids that were given and not used are kept for a session: no more than members.
            if group.pending.len() >= context.settings.members_max {
                return Err(Fault::GroupFull);
            }
            self.join_first(context, id, join);
            return Ok(());
        }
        self.join_again(context, id, join)
    }

    fn join_first(&mut self, context: Context<'_>, id: &Rc<str>, join: Join) {
        let new_id = join.new_member_id.clone();
        let instance = join.instance_id.as_deref();
        let group = self.at(id);
        if let Some(instance) = instance {
            match group.instance(instance).map(str::to_owned) {
                Some(old_id) => self.replace_static(context, id, &old_id, join),
                None => self.add_member(context, id, new_id, join),
            }
        } else if join.takes_id_first {
            let forget_at = context.now.time + join.session_timeout;
            group.pending.insert(new_id.clone(), forget_at);
            self.schedule_at(id, forget_at);
            let refused = Joined::refused(Fault::MemberIdRequired, new_id);
            self.answer(Some(join.caller), || Answer::Join(refused));
        } else {
            self.add_member(context, id, new_id, join);
        }
    }

    fn join_again(&mut self, context: Context<'_>, id: &Rc<str>, join: Join) -> Result<(), Fault> {
        let group = self.at(id);
        if join.instance_id.is_none() && group.pending.contains_key(&join.member_id) {
            let member_id = join.member_id.clone();
            self.add_member(context, id, member_id, join);
            return Ok(());
        }
        check_member(group, &join.member_id, join.instance_id.as_deref())?;
        let member = group.member(&join.member_id).expect("it was just checked");
        let leads = group.leader.as_deref() == Some(&join.member_id);
        let same = member.protocols == join.protocols;
        match group.state {
            State::Empty => return Err(Fault::UnknownMember),
            // It has not heard what it was told, or another than the leader joins for no reason.
            State::CompletingRebalance if same => self.tell_again(id, &join),
            State::Stable if same && !leads => self.tell_again(id, &join),
            _ => self.update_member(context, id, join),
        }
        Ok(())
    }

    /// Answers a member that joins again with the generation there is.
    fn tell_again(&mut self, id: &Rc<str>, join: &Join) {
        let joined = self.at(id).joined(&join.member_id);
        self.answer(Some(join.caller), || Answer::Join(joined));
    }

    fn add_member(&mut self, context: Context<'_>, id: &Rc<str>, member_id: String, join: Join) {
        let patience = context.now.time + NEWCOMER_PATIENCE;
        let group = self.at(id);
        if group.members().is_empty() {
            group.protocol_type = join.protocol_type;
        }
        if group.state == State::PreparingRebalance {
            group.newcomers = true;
        }
        let member = Member {
            instance_id: join.instance_id,
            client_id: join.client_id,
            client_host: join.client_host,
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols,
            assignment: bytes::Bytes::new(),
            joining: Some(join.caller),
            syncing: None,
            is_new: true,
            deadline: Some(patience),
        };
        group.insert(member_id, member);
        self.schedule_at(id, patience);
        self.prepare_rebalance(context, id);
    }

    fn update_member(&mut self, context: Context<'_>, id: &Rc<str>, join: Join) {
        self.renew(id, &join.member_id.clone(), join);
        self.prepare_rebalance(context, id);
    }

    /// Takes over what a member says of itself now; it waits for the rebalance.
    fn renew(&mut self, id: &Rc<str>, member_id: &str, join: Join) {
        let group = self.at(id);
        group.set_protocols(member_id, join.protocols);
        let before = group.set_joining(member_id, Some(join.caller));
        let member = group.member_mut(member_id).expect("it was just looked up");
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        member.deadline = None;
        // Two requests of one member: the older one was given up by its client.
        let refused = Joined::refused(Fault::UnknownMember, member_id.to_owned());
        self.answer(before, || Answer::Join(refused));
    }

    /// A static member is back under a new id: whoever had the old one is fenced.
    fn replace_static(&mut self, context: Context<'_>, id: &Rc<str>, old_id: &str, join: Join) {
        let new_id = join.new_member_id.clone();
        let group = self.at(id);
        let old_leader = group.leader.clone().unwrap_or_default();
        let joining = group.set_joining(old_id, None);
        let syncing = group.member_mut(old_id).and_then(|member| member.syncing.take());
        group.rename(old_id, new_id.clone());
        let fenced = Joined::refused(Fault::FencedInstance, old_id.to_owned());
        self.answer(joining, || Answer::Join(fenced));
        self.answer(syncing, || Answer::Sync(Err(Fault::FencedInstance)));
        let (caller, skips) = (join.caller, join.skips_assignment);
        let until = context.now.time + join.session_timeout;
        self.renew(id, &new_id, join);
        let group = self.at(id);
        if group.state != State::Stable || group.elect_protocol() != group.protocol {
            return self.prepare_rebalance(context, id);
        }
        // Its assignment stands, so the others need not notice.
        group.set_joining(&new_id, None);
        group.member_mut(&new_id).expect("it was just renewed").deadline = Some(until);
        let mut joined = group.joined(&new_id);
        if skips {
            joined.skip_assignment = joined.leader == new_id;
        } else {
            // Without a word for it: not to assign, it must believe that another leads.
            joined.leader = old_leader;
            joined.members.clear();
        }
        let state = group.to_stored();
        self.schedule_at(id, until);
        let record = Record::Classic { group: id.to_string(), state };
        self.propose(record, Then::Answer(caller, Answer::Join(joined)));
    }
}

/// Whether a group has no place for another member.
fn has_no_room(group: &Group, join: &Join, members_max: usize) -> bool {
    let member = group.member(&join.member_id);
    match group.state {
        State::Empty => false,
        State::PreparingRebalance => {
            let waits = member.is_some_and(|member| member.joining.is_some());
            !waits && group.joining() >= members_max
        }
        State::CompletingRebalance | State::Stable => {
            let replaces = join.instance_id.as_deref().is_some_and(|i| group.instance(i).is_some());
            member.is_none() && !replaces && group.members().len() >= members_max
        }
    }
}

/// Checks that a member is who it says.
pub(super) fn check_member(
    group: &Group,
    member_id: &str,
    instance_id: Option<&str>,
) -> Result<(), Fault> {
    if let Some(instance_id) = instance_id {
        match group.instance(instance_id) {
            None => return Err(Fault::UnknownMember),
            Some(current) if current != member_id => return Err(Fault::FencedInstance),
            Some(_) => {}
        }
    }
    group.member(member_id).map(drop).ok_or(Fault::UnknownMember)
}

impl Group {
    /// What a member of this generation is told.
    pub(super) fn joined(&self, member_id: &str) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let protocol = self.protocol.as_deref();
        let members = self.members().iter().map(|(id, member)| JoinedMember {
            id: id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        });
        Joined {
            fault: None,
            member_id: member_id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            skip_assignment: false,
            members: if leader == member_id { members.collect() } else { Vec::new() },
            leader,
        }
    }
}
