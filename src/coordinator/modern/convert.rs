//! Switching a live group between the protocols.
//!
//! **Up.** The first ConsumerGroupHeartbeat with epoch 0 that comes to a classic group of type
//! "consumer": the caller parses its members' subscriptions and assignments, calls
//! [`ConsumerGroup::from_classic`], and then the heartbeat on the new group. The records of both
//! calls are one batch, and take the place of the classic group. JoinGroups and SyncGroups that
//! wait in the classic group are answered REBALANCE_IN_PROGRESS; its timers end. From then on,
//! classic members are served by `mixed`.
//!
//! **Down.** When a member that speaks the new protocol has left or was removed and
//! [`ConsumerGroup::can_downgrade`], the caller may call [`ConsumerGroup::to_classic`], make the
//! classic group of what it returns, in the state Stable, and begin a rebalance there. The record
//! of the classic group takes the place of all that this one has, the removal included.
//!
//! A batch must fit into a journal entry: the caller refuses to switch if it doesn't.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::group::ConsumerGroup;
use super::heartbeat::cut;
use super::member::{ClassicMember, Current, MemberState, Profile, Subscription};
use super::partitions::{Partitions, TopicPartition};
use super::record::ModernRecord;
use super::request::{Env, ErrorKind, GroupError, Outcome};
use crate::limits::CONSUMER_GROUP_MEMBERS_MAX;

/// A classic group of type "consumer" with its members' metadata and assignments parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicGroup {
    /// Its generation.
    pub generation: i32,
    /// The protocol in use; none before the first rebalance.
    pub protocol: Option<String>,
    /// Its members.
    pub members: Vec<ClassicGroupMember>,
    /// A member was assigned, or says that it has, what isn't among the topics there are. Either
    /// these were deleted, or this node's catalog is behind.
    pub names_unknown: bool,
}

/// A member of a [`ClassicGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicGroupMember {
    /// Its id.
    pub member_id: Rc<str>,
    /// `group.instance.id`.
    pub instance_id: Option<Rc<str>>,
    /// As it calls itself.
    pub client_id: Rc<str>,
    /// Where it speaks from.
    pub client_host: Rc<str>,
    /// The rack in its subscription.
    pub rack_id: Option<Rc<str>>,
    /// In milliseconds.
    pub session_timeout_ms: i32,
    /// In milliseconds.
    pub rebalance_timeout_ms: i32,
    /// Its protocols with their metadata bytes, best first.
    pub protocols: Vec<(String, Vec<u8>)>,
    /// The topics in its subscription, of the protocol in use.
    pub topics: Vec<String>,
    /// What it was assigned, of topics there are.
    pub assigned: Partitions,
    /// What it said that it has when it joined last, of topics there are.
    pub claimed: Partitions,
}

/// The hash of no topics there could be.
const UNKNOWN_TOPICS: u64 = 0;

impl ConsumerGroup {
    /// The same group in the new protocol. Everybody keeps what it has, in an epoch that is the
    /// generation. Who was to give something up by its last assignment may not have heard so:
    /// nobody gets that before it has joined again without it.
    ///
    /// # Errors
    /// It has too many members, or one has something that can't be told by a topic's id. If that
    /// was deleted, it goes with the members' next rebalance.
    pub fn from_classic(
        classic: &ClassicGroup,
        env: &Env<'_>,
    ) -> Result<Outcome<ConsumerGroup>, GroupError> {
        let max = env.settings.max_size.min(CONSUMER_GROUP_MEMBERS_MAX);
        if classic.members.len() > max {
            let count = classic.members.len();
            let message = format!(
                "The group has {count} members and can't be switched to the consumer protocol, \
                 which allows {max}."
            );
            return Err(GroupError::new(ErrorKind::GroupMaxSizeReached, message));
        }
        if classic.names_unknown {
            let message = "Members have partitions of topics that this broker doesn't know (yet).";
            return Err(GroupError::new(ErrorKind::LoadInProgress, message.to_owned()));
        }
        let mut group = ConsumerGroup::new();
        let mut records = Vec::new();
        let epoch = classic.generation.max(0);
        // A classic leader may have given a partition to two. Here only the first has it, and the
        // other is told so when it joins again.
        let mut given: BTreeSet<TopicPartition> = BTreeSet::new();
        let assigned = classic.members.iter().flat_map(|member| member.assigned.iter());
        let assigned_to_any: BTreeSet<TopicPartition> = assigned.copied().collect();
        for member in &classic.members {
            let id = &member.member_id;
            let subscription = Subscription::new(member.topics.iter().map(String::as_str), None);
            group.check_subscription(&subscription)?;
            let assigned = member.assigned.only(|partition| !given.contains(partition));
            given.extend(assigned.iter());
            let profile = profile(member, subscription);
            let is_kept = |claimed: &TopicPartition| {
                !assigned_to_any.contains(claimed) && !given.contains(claimed)
            };
            let pending = member.claimed.only(is_kept);
            given.extend(pending.iter());
            let target = assigned.clone();
            let state = match pending.is_empty() {
                true => MemberState::Stable,
                false => MemberState::UnrevokedPartitions,
            };
            let current = Current { epoch, previous_epoch: epoch, state, assigned, pending };
            group.emit(&mut records, ModernRecord::Member { id: id.clone(), profile });
            let target = ModernRecord::Target { id: id.clone(), partitions: target };
            group.emit(&mut records, target);
            group.emit(&mut records, ModernRecord::Current { id: id.clone(), current });
        }
        // Targets are computed with the next heartbeat, as for topics that have changed: the leader
        // may have left something for the next rebalance, when its last owner had given it up.
        group.emit(&mut records, ModernRecord::Group { epoch, topics_hash: UNKNOWN_TOPICS });
        group.emit(&mut records, ModernRecord::AssignmentEpoch { epoch });
        let group = ConsumerGroup::take_over(group.state, env);
        Ok(Outcome { records, answer: group })
    }

    /// Whether all members speak the classic protocol again, there are some, and they have a
    /// protocol in common.
    pub fn can_downgrade(&self) -> bool {
        let members = self.state.members();
        !members.is_empty()
            && self.state.classic_members() == members.len()
            && self.protocol_of_all().is_some()
    }

    /// The same group in the classic protocol, if it can be. Its record takes this one's place.
    ///
    /// The generation is the highest epoch that a member has, so that those who have it are told
    /// to join again, and keep what they have until then. Later epochs, of which only members knew
    /// that are gone, come again.
    pub fn to_classic(&self) -> Option<ClassicGroup> {
        if !self.can_downgrade() {
            return None;
        }
        let members = self.state.members();
        Some(ClassicGroup {
            generation: members.values().map(|member| member.current.epoch).max()?.max(0),
            protocol: self.protocol_of_all(),
            names_unknown: false,
            members: members
                .iter()
                .filter_map(|(id, member)| {
                    let classic = member.profile.classic.as_ref()?;
                    Some(classic_member(id, &member.profile, classic, &member.current))
                })
                .collect(),
        })
    }

    fn protocol_of_all(&self) -> Option<String> {
        let mut all = self.state.members().values().filter_map(|m| m.profile.classic.as_ref());
        let first = all.next()?;
        let rest: Vec<&ClassicMember> = all.collect();
        let common = |name: &&String| rest.iter().all(|member| super::mixed::offers(member, name));
        first.protocols.iter().map(|(name, _)| name).find(common).cloned()
    }
}

fn profile(member: &ClassicGroupMember, subscription: Subscription) -> Profile {
    Profile {
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: Rc::from(cut(&member.client_id)),
        client_host: Rc::from(cut(&member.client_host)),
        subscription: Rc::new(subscription),
        server_assignor: None,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        classic: Some(ClassicMember {
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols.clone(),
        }),
    }
}

fn classic_member(
    id: &Rc<str>,
    profile: &Profile,
    classic: &ClassicMember,
    current: &Current,
) -> ClassicGroupMember {
    ClassicGroupMember {
        member_id: id.clone(),
        instance_id: profile.instance_id.clone(),
        client_id: profile.client_id.clone(),
        client_host: profile.client_host.clone(),
        rack_id: profile.rack_id.clone(),
        session_timeout_ms: classic.session_timeout_ms,
        rebalance_timeout_ms: profile.rebalance_timeout_ms,
        protocols: classic.protocols.clone(),
        topics: profile.subscription.names.clone(),
        assigned: current.assigned.clone(),
        claimed: current.pending.clone(),
    }
}
