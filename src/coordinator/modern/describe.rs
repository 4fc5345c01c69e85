//! What ConsumerGroupDescribe and ListGroups tell.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::assignor::Assignor;
use super::member::Subscription;
use super::partitions::Partitions;
use super::pattern::Pattern;
use super::state::{GroupState, ModernState};

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

impl ModernState {
    /// For ConsumerGroupDescribe. To be asked of the applied state, or it may tell what is lost.
    pub fn describe(&self, default_assignor: Assignor) -> DescribedGroup {
        let members = self.members().iter().map(|(id, member)| DescribedMember {
            member_id: id.clone(),
            instance_id: member.profile.instance_id.clone(),
            rack_id: member.profile.rack_id.clone(),
            member_epoch: member.current.epoch,
            client_id: member.profile.client_id.clone(),
            client_host: member.profile.client_host.clone(),
            subscription: member.profile.subscription.clone(),
            assignment: member.current.assigned.clone(),
            target: self.target(id).clone(),
            member_type: if member.is_classic() { 0 } else { 1 },
        });
        DescribedGroup {
            state: self.group_state(),
            epoch: self.epoch(),
            assignment_epoch: self.assignment_epoch(),
            assignor: self.assignor(default_assignor).name(),
            members: members.collect(),
        }
    }

    /// Whether a member reads this topic.
    pub fn reads(&self, topic: &str) -> bool {
        self.subscriptions().any(|subscription| {
            let named = |name: &String| name.as_str().cmp(topic);
            let matches = |regex: &String| Pattern::compile(regex).is_ok_and(|p| p.matches(topic));
            subscription.names.binary_search_by(named).is_ok()
                || subscription.regex.as_ref().is_some_and(matches)
        })
    }

    /// The one that most members would like; of equals the default, else the first by name.
    pub(super) fn assignor(&self, default: Assignor) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for member in self.members().values() {
            let wanted = member.profile.server_assignor.as_deref();
            if let Some(assignor) = wanted.and_then(Assignor::from_name) {
                *votes.entry(assignor).or_default() += 1;
            }
        }
        let best = votes.into_iter().max_by_key(|(assignor, votes)| (*votes, *assignor == default));
        best.map_or(default, |(assignor, _)| assignor)
    }
}
