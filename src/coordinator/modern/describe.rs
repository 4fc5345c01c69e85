//! What ConsumerGroupDescribe and ListGroups tell.

use std::rc::Rc;

use super::assignor::Assignor;
use super::group::ConsumerGroup;
use super::member::Subscription;
use super::partitions::Partitions;
use super::state::GroupState;

/// A group, as ConsumerGroupDescribe shows it. Topics are ids: names are looked up by whoever
/// has the catalog, and a topic that is gone by then is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// How it does.
    pub state: GroupState,
    /// Its epoch.
    pub epoch: i32,
    /// The epoch of its targets.
    pub assignment_epoch: i32,
    /// The assignor in use.
    pub assignor: &'static str,
    /// Its members by id.
    pub members: Vec<DescribedMember>,
}

/// A member, as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: Rc<str>,
    /// `group.instance.id`.
    pub instance_id: Option<Rc<str>>,
    /// `client.rack`.
    pub rack_id: Option<Rc<str>>,
    /// Its epoch.
    pub member_epoch: i32,
    /// As it calls itself.
    pub client_id: Rc<str>,
    /// Where it speaks from.
    pub client_host: Rc<str>,
    /// What it subscribes to.
    pub subscription: Rc<Subscription>,
    /// What it has.
    pub assignment: Partitions,
    /// What it is to have.
    pub target: Partitions,
    /// MemberType of version 1: 0 for the classic protocol, 1 for the new one.
    pub member_type: i8,
}

impl ConsumerGroup {
    /// For ConsumerGroupDescribe. To be held like any answer, or it may tell what is lost again.
    pub fn describe(&self, default_assignor: Assignor) -> DescribedGroup {
        let members = self.state.members().iter().map(|(id, member)| DescribedMember {
            member_id: id.clone(),
            instance_id: member.profile.instance_id.clone(),
            rack_id: member.profile.rack_id.clone(),
            member_epoch: member.current.epoch,
            client_id: member.profile.client_id.clone(),
            client_host: member.profile.client_host.clone(),
            subscription: member.profile.subscription.clone(),
            assignment: member.current.assigned.clone(),
            target: self.state.target(id).clone(),
            member_type: if member.is_classic() { 0 } else { 1 },
        });
        DescribedGroup {
            state: self.state.group_state(),
            epoch: self.state.epoch(),
            assignment_epoch: self.state.assignment_epoch(),
            assignor: self.assignor(default_assignor).name(),
            members: members.collect(),
        }
    }

    /// For ListGroups: how the group does. Its type is "consumer", its protocol type as well.
    pub fn list_state(&self) -> GroupState {
        self.state.group_state()
    }
}
