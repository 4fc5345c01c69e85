//! ConsumerGroupHeartbeat: joining, staying, leaving.
//!
//! Everything that can be refused is refused before anything changes, so an error comes without
//! records.

use std::rc::Rc;

use super::group::{ConsumerGroup, Records};
use super::member::{
    Current, JOIN_EPOCH, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, MemberState, Profile, Subscription,
};
use super::partitions::Partitions;
use super::pattern::Pattern;
use super::record::ModernRecord;
use super::request::{Env, ErrorKind, GroupError, Heartbeat, HeartbeatAnswer, Outcome};
use crate::limits::MEMBER_STRING_BYTES_MAX;

type Answer = Result<HeartbeatAnswer, GroupError>;

impl ConsumerGroup {
    /// Answers a heartbeat. Who asks for a group that isn't there with another epoch than 0 is to
    /// be told GROUP_ID_NOT_FOUND by the caller, who makes groups.
    pub fn heartbeat(&mut self, request: &Heartbeat<'_>, env: &Env<'_>) -> Outcome<Answer> {
        let mut records = Vec::new();
        let answer = check_request(request, env).and_then(|()| match request.member_epoch {
            LEAVE_EPOCH | LEAVE_STATIC_EPOCH => self.leave(request, env, &mut records),
            _ => self.stay(request, env, &mut records),
        });
        assert!(answer.is_ok() || records.is_empty(), "an error changes nothing");
        Outcome { records, answer }
    }

    fn leave(&mut self, request: &Heartbeat<'_>, env: &Env<'_>, records: &mut Records) -> Answer {
        let id = match request.instance_id {
            None => self.known(request.member_id)?,
            Some(instance) => self.known_instance(instance, request.member_id)?,
        };
        if request.member_epoch == LEAVE_STATIC_EPOCH {
            // It keeps what it has until it is back, or its session is over.
            let current = self.state.members()[&id].current.clone();
            let current =
                Current { epoch: LEAVE_STATIC_EPOCH, pending: Partitions::EMPTY, ..current };
            self.emit(records, ModernRecord::Current { id: id.clone(), current });
        } else {
            self.remove_members(std::slice::from_ref(&id), env, records);
        }
        Ok(HeartbeatAnswer {
            member_id: id,
            member_epoch: request.member_epoch,
            heartbeat_interval: env.settings.heartbeat_interval,
            assignment: None,
        })
    }

    fn stay(&mut self, request: &Heartbeat<'_>, env: &Env<'_>, records: &mut Records) -> Answer {
        self.check_room(request.member_id, request.instance_id, env)?;
        let place = match request.instance_id {
            None => self.dynamic_place(request)?,
            Some(instance) => self.static_place(request, instance)?,
        };
        let id = self.shared_id(request.member_id);
        let old = match &place {
            Place::Member => Some(&id),
            Place::InsteadOf(old) => Some(old),
            Place::New => None,
        };
        let old = old.and_then(|id| self.state.members().get(id)).map(|member| &member.profile);
        let profile = updated_profile(old, request);
        self.check_new_subscription(old, &profile)?;

        // Nothing is refused from here on.
        if let Place::InsteadOf(old) = &place {
            self.replace(old, &id, records);
        }
        self.update(&id, profile, matches!(place, Place::New), env, records);
        let changed = self.reconcile(&id, request.owned.as_ref(), env, records);
        self.timers.session(&id, env.now + env.settings.session_timeout);
        self.timers.no_longer_classic(&id);
        let current = &self.state.members()[&id].current;
        Ok(HeartbeatAnswer {
            member_epoch: current.epoch,
            heartbeat_interval: env.settings.heartbeat_interval,
            assignment: (changed || is_full(request)).then(|| current.assigned.clone()),
            member_id: id,
        })
    }

    fn check_new_subscription(
        &self,
        old: Option<&Profile>,
        profile: &Profile,
    ) -> Result<(), GroupError> {
        let old = old.map(|old| &old.subscription);
        if old == Some(&profile.subscription) {
            return Ok(());
        }
        let regex = profile.subscription.regex.as_ref();
        if let Some(regex) = regex
            && old.and_then(|old| old.regex.as_ref()) != Some(regex)
        {
            Pattern::compile(regex).map_err(|why| {
                let message =
                    format!("SubscribedTopicRegex `{regex}` is not a valid expression: {why}.");
                GroupError::new(ErrorKind::InvalidRegularExpression, message)
            })?;
        }
        self.check_subscription(&profile.subscription)
    }

    fn dynamic_place(&self, request: &Heartbeat<'_>) -> Result<Place, GroupError> {
        match self.state.members().get(request.member_id) {
            Some(member) => {
                check_epoch(&member.current, request)?;
                Ok(Place::Member)
            }
            None if request.member_epoch == JOIN_EPOCH => Ok(Place::New),
            None => Err(GroupError::unknown(request.member_id)),
        }
    }

    fn static_place(&self, request: &Heartbeat<'_>, instance: &str) -> Result<Place, GroupError> {
        if request.member_epoch != JOIN_EPOCH {
            let id = self.known_instance(instance, request.member_id)?;
            check_epoch(&self.state.members()[&id].current, request)?;
            return Ok(Place::Member);
        }
        let Some(old) = self.state.member_of_instance(instance) else {
            let is_member = self.state.members().contains_key(request.member_id);
            return Ok(if is_member { Place::Member } else { Place::New });
        };
        let member = &self.state.members()[old];
        if **old == *request.member_id && member.current.epoch != LEAVE_STATIC_EPOCH {
            return Ok(Place::Member);
        }
        if !member.is_classic() && member.current.epoch != LEAVE_STATIC_EPOCH {
            let message = format!(
                "Static member {} with instance id {instance} cannot join the group because the \
                 instance id is owned by {old} member.",
                request.member_id
            );
            return Err(GroupError::new(ErrorKind::UnreleasedInstanceId, message));
        }
        Ok(Place::InsteadOf(old.clone()))
    }

    pub(super) fn known(&self, id: &str) -> Result<Rc<str>, GroupError> {
        let found = self.state.members().get_key_value(id);
        found.map(|(id, _)| id.clone()).ok_or_else(|| GroupError::unknown(id))
    }

    pub(super) fn known_instance(&self, instance: &str, id: &str) -> Result<Rc<str>, GroupError> {
        let owner = self.state.member_of_instance(instance).ok_or_else(|| {
            let message = format!("Instance id {instance} is unknown.");
            GroupError::new(ErrorKind::UnknownMemberId, message)
        })?;
        if **owner != *id {
            let message = format!(
                "Static member {id} with instance id {instance} was fenced by member {owner}."
            );
            return Err(GroupError::new(ErrorKind::FencedInstanceId, message));
        }
        Ok(owner.clone())
    }
}

/// Where a request's member stands.
enum Place {
    /// Nowhere yet.
    New,
    /// It is a member.
    Member,
    /// It takes the place of a static member.
    InsteadOf(Rc<str>),
}

fn check_request(request: &Heartbeat<'_>, env: &Env<'_>) -> Result<(), GroupError> {
    let strings = [
        ("MemberId", Some(request.member_id)),
        ("InstanceId", request.instance_id),
        ("RackId", request.rack_id),
    ];
    for (what, text) in strings {
        if text.is_some_and(str::is_empty) {
            return Err(GroupError::invalid(format!("{what} can't be empty.")));
        }
        if text.is_some_and(|text| text.len() > MEMBER_STRING_BYTES_MAX) {
            let message = format!("{what} can't be longer than {MEMBER_STRING_BYTES_MAX} bytes.");
            return Err(GroupError::invalid(message));
        }
    }
    if request.rebalance_timeout_ms.is_some_and(|millis| millis < 0) {
        return Err(GroupError::invalid("RebalanceTimeoutMs can't be negative."));
    }
    match request.member_epoch {
        JOIN_EPOCH => check_join(request)?,
        LEAVE_STATIC_EPOCH if request.instance_id.is_none() => {
            return Err(GroupError::invalid("InstanceId can't be null."));
        }
        LEAVE_STATIC_EPOCH | LEAVE_EPOCH | 1.. => {}
        _ => return Err(GroupError::invalid("MemberEpoch is invalid.")),
    }
    match request.server_assignor {
        Some(name) if !env.settings.assignors.iter().any(|offered| offered.name() == name) => {
            let names: Vec<_> = env.settings.assignors.iter().map(|a| a.name()).collect();
            let names = names.join(", ");
            let message =
                format!("ServerAssignor {name} is not supported. Supported assignors: {names}.");
            Err(GroupError::new(ErrorKind::UnsupportedAssignor, message))
        }
        _ => Ok(()),
    }
}

fn check_join(request: &Heartbeat<'_>) -> Result<(), GroupError> {
    let message = if request.rebalance_timeout_ms.is_none() {
        "RebalanceTimeoutMs must be provided in first request."
    } else if request.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
        "TopicPartitions must be empty when (re-)joining."
    } else if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
        "SubscribedTopicNames or SubscribedTopicRegex must be set in first request."
    } else {
        return Ok(());
    };
    Err(GroupError::invalid(message))
}

/// A member may lag one epoch behind, if the answer that told it of the last one may have been
/// lost. It may join again at any time: it says that it has nothing then.
fn check_epoch(current: &Current, request: &Heartbeat<'_>) -> Result<(), GroupError> {
    let (found, epoch) = (request.member_epoch, current.epoch);
    if found == epoch || found == JOIN_EPOCH {
        return Ok(());
    }
    let is_retry = found == current.previous_epoch
        && request.owned.as_ref().is_some_and(|owned| is_within(owned, current));
    if found < epoch && is_retry {
        return Ok(());
    }
    let than = if found > epoch { "greater" } else { "smaller" };
    let message = format!(
        "The consumer group member has a {than} member epoch ({found}) than the one known by the \
         group coordinator ({epoch}). The member must abandon all its partitions and rejoin."
    );
    Err(GroupError::new(ErrorKind::FencedMemberEpoch, message))
}

/// Whether a member that says so may not have heard the last answer. What it was told to give up
/// by that answer it still has.
fn is_within(owned: &Partitions, current: &Current) -> bool {
    let may =
        |partition| current.assigned.contains(partition) || current.pending.contains(partition);
    match current.state {
        MemberState::UnrevokedPartitions => owned.iter().all(may),
        _ => owned.is_subset(&current.assigned),
    }
}

/// Such a request tells all there is to tell, and asks for all as well.
fn is_full(request: &Heartbeat<'_>) -> bool {
    let subscribes =
        request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some();
    request.member_epoch == JOIN_EPOCH
        || (request.rebalance_timeout_ms.is_some() && subscribes && request.owned.is_some())
}

fn updated_profile(old: Option<&Profile>, request: &Heartbeat<'_>) -> Profile {
    let text = |new: Option<&str>, old: Option<&Rc<str>>| {
        new.map_or(old.cloned(), |new| {
            // The same one, so that equal profiles share their strings.
            Some(old.filter(|old| ***old == *new).cloned().unwrap_or_else(|| Rc::from(new)))
        })
    };
    let cut = |text: &str, old: Option<&Rc<str>>| {
        let cut = cut(text);
        old.filter(|old| ***old == *cut).cloned().unwrap_or_else(|| Rc::from(cut))
    };
    Profile {
        instance_id: text(request.instance_id, old.and_then(|old| old.instance_id.as_ref())),
        rack_id: text(request.rack_id, old.and_then(|old| old.rack_id.as_ref())),
        client_id: cut(request.client_id, old.map(|old| &old.client_id)),
        client_host: cut(request.client_host, old.map(|old| &old.client_host)),
        subscription: updated_subscription(old.map(|old| &old.subscription), request),
        server_assignor: text(
            request.server_assignor,
            old.and_then(|old| old.server_assignor.as_ref()),
        ),
        rebalance_timeout_ms: request
            .rebalance_timeout_ms
            .or(old.map(|old| old.rebalance_timeout_ms))
            .unwrap_or_default(),
        classic: None,
    }
}

fn updated_subscription(
    old: Option<&Rc<Subscription>>,
    request: &Heartbeat<'_>,
) -> Rc<Subscription> {
    if let Some(old) = old
        && request.subscribed_topic_names.is_none()
        && request.subscribed_topic_regex.is_none()
    {
        return old.clone();
    }
    let old_names = || old.into_iter().flat_map(|old| &old.names).map(String::as_str).collect();
    let names: Vec<&str> = request.subscribed_topic_names.clone().unwrap_or_else(old_names);
    let old_regex = old.and_then(|old| old.regex.as_deref());
    Rc::new(Subscription::new(names, request.subscribed_topic_regex.or(old_regex)))
}

/// The beginning of a client id or host, as much as is kept.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MEMBER_STRING_BYTES_MAX)]
}
