//! Members that speak the classic protocol in a group of the new one, while consumers are
//! restarted one by one with `group.protocol=consumer` (or back).
//!
//! To such a member an epoch is a generation. It is told to join again (REBALANCE_IN_PROGRESS in
//! the answer to its heartbeat) each time that it has a step to go: something to give up, or
//! something that has become free. A JoinGroup is answered at once, for nobody waits for anybody;
//! it names no leader, so the client asks for its assignment with a SyncGroup that has none.

use std::rc::Rc;

use super::group::{ConsumerGroup, millis};
use super::heartbeat::cut;
use super::member::{ClassicMember, Member, MemberState, Profile, Subscription};
use super::partitions::Partitions;
use super::request::{Env, ErrorKind, GroupError, Outcome};
use crate::limits::{CLASSIC_PROTOCOL_BYTES_MAX, CLASSIC_PROTOCOLS_MAX, MEMBER_STRING_BYTES_MAX};

/// The only protocol type whose metadata the coordinator understands.
use super::embedded::CONSUMER as PROTOCOL_TYPE;

/// A JoinGroup. The caller has answered MEMBER_ID_REQUIRED to those who must come twice.
#[derive(Clone, Debug, Default)]
pub struct ClassicJoin<'a> {
    /// Drawn by the caller if the request has none.
    pub member_id: &'a str,
    /// Whether the request has none.
    pub has_no_id: bool,
    /// `group.instance.id`.
    pub instance_id: Option<&'a str>,
    /// As the client calls itself.
    pub client_id: &'a str,
    /// Where it speaks from.
    pub client_host: &'a str,
    /// In milliseconds.
    pub session_timeout_ms: i32,
    /// In milliseconds.
    pub rebalance_timeout_ms: i32,
    /// Must be "consumer".
    pub protocol_type: &'a str,
    /// Names with their metadata bytes, best first.
    pub protocols: Vec<(&'a str, &'a [u8])>,
    /// The topics in the first protocol's metadata (ConsumerProtocolSubscription).
    pub topics: Vec<&'a str>,
    /// The partitions that it says it has, of topics there are. None for eager protocols.
    pub owned: Partitions,
    /// Whether it says that it has others, of topics that aren't there: they were deleted, or this
    /// node's catalog is behind.
    pub names_unknown: bool,
    /// The rack in it.
    pub rack_id: Option<&'a str>,
}

/// The answer to a [`ClassicJoin`]. It has no leader and no members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicJoinAnswer {
    /// The member.
    pub member_id: Rc<str>,
    /// Its epoch.
    pub generation: i32,
    /// The first of its protocols that all classic members offer.
    pub protocol: String,
}

impl ConsumerGroup {
    /// Answers a JoinGroup.
    pub fn classic_join(
        &mut self,
        request: &ClassicJoin<'_>,
        env: &Env<'_>,
    ) -> Outcome<Result<ClassicJoinAnswer, GroupError>> {
        let mut records = Vec::new();
        let answer = self.check_classic_join(request, env).map(|(old, profile)| {
            let id = self.shared_id(request.member_id);
            if let Some(old) = old.as_ref().filter(|old| **old != id) {
                self.replace(old, &id, &mut records);
            }
            let rebalance = env.now + millis(profile.rebalance_timeout_ms);
            let session = env.now + millis(request.session_timeout_ms);
            self.update(&id, profile, old.is_none(), env, &mut records);
            let owned = self.owned_by(&id, request, env);
            self.reconcile(&id, Some(&owned), env, &mut records);
            self.timers.session(&id, session);
            self.timers.rebalance(&id, None);
            self.timers.joined(&id, rebalance);
            let member = &self.state.members()[&id];
            let (generation, protocol) = (member.current.epoch, self.common_protocol(member));
            ClassicJoinAnswer { generation, protocol, member_id: id }
        });
        Outcome { records, answer }
    }

    /// Answers a SyncGroup: with what the member may read from now on, all other partitions
    /// being given up.
    pub fn classic_sync(
        &mut self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
        env: &Env<'_>,
    ) -> Outcome<Result<Partitions, GroupError>> {
        let answer = self.classic_member(id, instance, generation).and_then(|id| {
            let member = &self.state.members()[&id];
            let is_behind = self.state.epoch() > member.current.epoch;
            if is_behind && member.current.state != MemberState::UnrevokedPartitions {
                return Err(self.asked_to_join(&id, env));
            }
            let session = env.now + super::group::session_timeout(member, env);
            let assigned = member.current.assigned.clone();
            self.timers.synced(&id);
            self.timers.session(&id, session);
            Ok(assigned)
        });
        Outcome { records: Vec::new(), answer }
    }

    /// Answers a Heartbeat.
    pub fn classic_heartbeat(
        &mut self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
        env: &Env<'_>,
    ) -> Outcome<Result<(), GroupError>> {
        let answer = self.classic_member(id, instance, generation).and_then(|id| {
            let member = &self.state.members()[&id];
            let session = env.now + super::group::session_timeout(member, env);
            let has_a_step = self.state.epoch() > member.current.epoch
                || match member.current.state {
                    MemberState::Stable => false,
                    MemberState::UnrevokedPartitions => true,
                    MemberState::UnreleasedPartitions => !self.waits(&id, member),
                };
            self.timers.session(&id, session);
            if has_a_step { Err(self.asked_to_join(&id, env)) } else { Ok(()) }
        });
        Outcome { records: Vec::new(), answer }
    }

    /// Answers a LeaveGroup: for each of its members, by id and instance id, what came of it. An
    /// empty id with an instance id is whoever has that.
    pub fn classic_leave(
        &mut self,
        leaving: &[(&str, Option<&str>)],
        env: &Env<'_>,
    ) -> Outcome<Vec<Result<Rc<str>, GroupError>>> {
        let mut gone: Vec<Rc<str>> = Vec::new();
        let mut answer = Vec::new();
        for (id, instance) in leaving {
            let found = match instance {
                None => self.known(id),
                Some(instance) if id.is_empty() => {
                    let owner = self.state.member_of_instance(instance);
                    owner.cloned().ok_or_else(|| GroupError::unknown(id))
                }
                Some(instance) => self.known_instance(instance, id),
            };
            let found = found.and_then(|id| match self.state.members()[&id].is_classic() {
                true if !gone.contains(&id) => Ok(id),
                _ => Err(GroupError::unknown(&id)),
            });
            gone.extend(found.as_ref().ok().cloned());
            answer.push(found);
        }
        let mut records = Vec::new();
        self.remove_members(&gone, env, &mut records);
        Outcome { records, answer }
    }

    /// The member in whose place the request's comes, if any, and what it says of itself.
    fn check_classic_join(
        &self,
        request: &ClassicJoin<'_>,
        env: &Env<'_>,
    ) -> Result<(Option<Rc<str>>, Profile), GroupError> {
        check_strings(request)?;
        self.check_room(request.member_id, request.instance_id, env)?;
        let others: Vec<&ClassicMember> = self
            .state
            .members()
            .values()
            .filter_map(|member| member.profile.classic.as_ref())
            .collect();
        let offered = |name: &str| others.iter().all(|other| offers(other, name));
        if request.protocol_type != PROTOCOL_TYPE
            || !request.protocols.iter().any(|(name, _)| offered(name))
        {
            let message = format!("Member {}'s protocols are not supported.", request.member_id);
            return Err(GroupError::new(ErrorKind::InconsistentGroupProtocol, message));
        }
        let old = match request.instance_id {
            None => self.known(request.member_id).ok(),
            Some(instance) if request.has_no_id => self.state.member_of_instance(instance).cloned(),
            Some(instance) => Some(self.known_instance(instance, request.member_id)?),
        };
        let has_some = !request.owned.is_empty() || request.names_unknown;
        if old.is_none() && !request.has_no_id && has_some {
            // Who comes for the first time has nothing: this one was removed, others may have that
            // now, and it is to give it up as lost.
            return Err(GroupError::unknown(request.member_id));
        }
        let known = old.as_ref().map(|id| &self.state.members()[id].profile);
        let regex = None;
        let subscription = Subscription::new(request.topics.iter().copied(), regex);
        self.check_subscription(&subscription)?;
        let protocols =
            request.protocols.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()));
        let profile = Profile {
            instance_id: request.instance_id.map(Rc::from),
            rack_id: request.rack_id.map(Rc::from),
            client_id: Rc::from(cut(request.client_id)),
            client_host: Rc::from(cut(request.client_host)),
            subscription: Rc::new(subscription),
            server_assignor: known.and_then(|known| known.server_assignor.clone()),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            classic: Some(ClassicMember {
                session_timeout_ms: request.session_timeout_ms,
                protocols: protocols.collect(),
            }),
        };
        Ok((old, profile))
    }

    /// What a member says it has. What it names by a name that isn't known here may be whatever it
    /// has of topics whose names aren't: nobody else gets that before it names it no more.
    fn owned_by(&self, id: &str, request: &ClassicJoin<'_>, env: &Env<'_>) -> Partitions {
        let held = self.state.members()[id].current.held();
        let unnamed = held.filter(|held| env.topics.name(&held.topic).is_none());
        let unnamed: Partitions = unnamed.filter(|_| request.names_unknown).copied().collect();
        request.owned.plus(&unnamed)
    }

    fn classic_member(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<Rc<str>, GroupError> {
        let id = match instance {
            None => self.known(id)?,
            Some(instance) => self.known_instance(instance, id)?,
        };
        let member = &self.state.members()[&id];
        if !member.is_classic() {
            let message = format!("Member {id} does not use the classic protocol.");
            return Err(GroupError::new(ErrorKind::UnknownMemberId, message));
        }
        let epoch = member.current.epoch;
        if generation != epoch {
            let message = format!(
                "The request generation id {generation} is not equal to the member epoch {epoch} \
                 of member {id}."
            );
            return Err(GroupError::new(ErrorKind::IllegalGeneration, message));
        }
        Ok(id)
    }

    fn asked_to_join(&mut self, id: &Rc<str>, env: &Env<'_>) -> GroupError {
        let timeout = self.state.members()[id].profile.rebalance_timeout_ms;
        self.timers.join(id, env.now + millis(timeout));
        let message = format!("A new rebalance is triggered and member {id} should rejoin.");
        GroupError::new(ErrorKind::RebalanceInProgress, message)
    }

    /// Whether others still hold all that the member lacks.
    fn waits(&self, id: &str, member: &Member) -> bool {
        let mut lacking =
            self.state.target(id).iter().filter(|part| !member.current.assigned.contains(part));
        lacking.any(|partition| self.state.owner(partition).is_some())
    }

    fn common_protocol(&self, member: &Member) -> String {
        let all: Vec<&ClassicMember> = self
            .state
            .members()
            .values()
            .filter_map(|other| other.profile.classic.as_ref())
            .collect();
        let own = member.profile.classic.iter().flat_map(|classic| &classic.protocols);
        let mut names = own.map(|(name, _)| name);
        let common = names.find(|name| all.iter().all(|other| offers(other, name)));
        common.cloned().unwrap_or_default()
    }
}

pub(super) fn offers(member: &ClassicMember, protocol: &str) -> bool {
    member.protocols.iter().any(|(name, _)| name == protocol)
}

fn check_strings(request: &ClassicJoin<'_>) -> Result<(), GroupError> {
    let strings = [Some(request.member_id), request.instance_id, request.rack_id];
    let mut strings = strings.into_iter().flatten().chain(request.protocols.iter().map(|p| p.0));
    if let Some(long) = strings.find(|text| text.len() > MEMBER_STRING_BYTES_MAX) {
        let bytes = long.len();
        return Err(GroupError::invalid(format!(
            "A name in the request has {bytes} bytes and can't have more than \
             {MEMBER_STRING_BYTES_MAX}."
        )));
    }
    let bytes: usize = request.protocols.iter().map(|(_, metadata)| metadata.len()).sum();
    if request.protocols.len() > CLASSIC_PROTOCOLS_MAX || bytes > CLASSIC_PROTOCOL_BYTES_MAX {
        return Err(GroupError::invalid(format!(
            "A member can't offer more than {CLASSIC_PROTOCOLS_MAX} protocols, and \
             {CLASSIC_PROTOCOL_BYTES_MAX} bytes of metadata."
        )));
    }
    Ok(())
}
