//! A group with members goes from one protocol to the other. Nobody stops: each member keeps what
//! it has, and is told of the new assignment in the words it speaks.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::classic::{self, Answer, Caller, Context, State, Then};
use super::consumer::not_found;
use super::live::Coordinator;
use super::modern::embedded;
use super::modern::{
    ClassicGroup, ClassicGroupMember, ConsumerGroup, Env, GroupError, Heartbeat, HeartbeatAnswer,
    Outcome, Partitions, fits, too_large,
};
use super::record::ClassicState;
use crate::limits::CONSUMER_GROUP_BYTES_MAX;

impl Coordinator {
    /// The first member of the new protocol joins a classic group.
    ///
    /// # Errors
    /// If the group can't be switched, or the member can't join. Then all is as before.
    pub(super) fn upgrade(
        &mut self,
        context: Context<'_>,
        env: &Env<'_>,
        id: &Rc<str>,
        request: &Heartbeat<'_>,
    ) -> Result<Outcome<HeartbeatAnswer>, GroupError> {
        let refused = || not_found(id, "is not a consumer group");
        let live = self.classic.group(id).ok_or_else(refused)?;
        if !env.settings.upgrades || live.protocol_type != embedded::CONSUMER {
            return Err(refused());
        }
        // While they rebalance, members have what they were last given for sure.
        let stored = context.store.group(id).and_then(|stored| stored.classic());
        let stored = stored.filter(|_| live.state != State::Stable);
        let classic = to_switch(live, stored, env).ok_or_else(refused)?;
        let Outcome { mut records, answer: mut group } =
            ConsumerGroup::from_classic(&classic, env)?;
        let joined = group.heartbeat(request, env);
        let answer = joined.answer?;
        records.extend(joined.records);
        let outcome = Outcome { records, answer };
        if !fits(id, &outcome) {
            return Err(too_large());
        }
        self.classic.let_go(id);
        self.modern.insert(Rc::clone(id), group);
        Ok(outcome)
    }

    /// If only classic members are left, the group is theirs again. The answer waits for that.
    pub(super) fn downgrade(
        &mut self,
        context: Context<'_>,
        env: &Env<'_>,
        id: &Rc<str>,
        answer: Option<(Caller, Answer)>,
    ) -> bool {
        if !env.settings.downgrades {
            return false;
        }
        let Some(group) = self.modern.get(id).and_then(|live| live.group.to_classic()) else {
            return false;
        };
        let group = from_switch(&group, context, env);
        let too_large = group.protocol_bytes() > CONSUMER_GROUP_BYTES_MAX
            || group.assignment_bytes() > CONSUMER_GROUP_BYTES_MAX;
        if too_large || group.members().len() > context.settings.members_max {
            return false;
        }
        self.modern.remove(id);
        let then = answer.map_or(Then::Nothing, |(caller, answer)| Then::Answer(caller, answer));
        self.classic.adopt(context, id, group, then);
        true
    }
}

/// A classic group, as the new protocol takes it over. `None` if a member's words can't be read.
fn to_switch(
    group: &classic::Group,
    stored: Option<&ClassicState>,
    env: &Env<'_>,
) -> Option<ClassicGroup> {
    let protocol = group.protocol.clone().or_else(|| group.elect_protocol());
    // Who doesn't know its own id yet joins again without it.
    let members = group.members().iter().filter(|(_, member)| !member.is_new);
    let mut names_unknown = false;
    let members = members.map(|(id, member)| {
        let metadata = member.metadata(protocol.as_deref());
        let said = embedded::subscription(&metadata)?;
        let before = stored.map(|stored| stored.members.iter().find(|stored| stored.id == *id));
        let assignment = match before {
            None => &member.assignment[..],
            Some(stored) => stored.map_or(&[][..], |stored| &stored.assignment[..]),
        };
        let assigned = embedded::known(&embedded::assignment(assignment)?, env.topics);
        let claimed = embedded::known(&said.owned, env.topics);
        names_unknown |= assigned.lacks_some || claimed.lacks_some;
        Some(ClassicGroupMember {
            member_id: Rc::from(id.as_str()),
            instance_id: member.instance_id.as_deref().map(Rc::from),
            client_id: Rc::from(member.client_id.as_str()),
            client_host: Rc::from(member.client_host.as_str()),
            rack_id: said.rack_id.map(Rc::from),
            session_timeout_ms: millis(member.session_timeout),
            rebalance_timeout_ms: millis(member.rebalance_timeout),
            protocols: member.protocols.iter().map(|(n, m)| (n.clone(), m.to_vec())).collect(),
            topics: said.topics.into_iter().map(str::to_owned).collect(),
            assigned: assigned.partitions,
            claimed: claimed.partitions,
        })
    });
    let members = members.collect::<Option<Vec<_>>>()?;
    Some(ClassicGroup { generation: group.generation, protocol, members, names_unknown })
}

/// A group of the new protocol, as the classic one takes it over: stable, with what each member
/// has.
fn from_switch(switched: &ClassicGroup, context: Context<'_>, env: &Env<'_>) -> classic::Group {
    let mut group = classic::Group::empty(None);
    group.state = State::Stable;
    group.generation = switched.generation;
    group.protocol_type = embedded::CONSUMER.to_owned();
    group.protocol = switched.protocol.clone();
    group.changed_at = context.now.wallclock.0;
    for member in &switched.members {
        let protocols = member.protocols.iter();
        let protocols: Vec<(String, Bytes)> =
            protocols.map(|(name, said)| (name.clone(), Bytes::copy_from_slice(said))).collect();
        let session_timeout = classic::group::millis(member.session_timeout_ms);
        let own = classic::Member {
            instance_id: member.instance_id.as_deref().map(str::to_owned),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            session_timeout,
            rebalance_timeout: classic::group::millis(member.rebalance_timeout_ms),
            assignment: assignment(&protocols, &member.assigned, env),
            protocols,
            joining: None,
            syncing: None,
            is_new: false,
            deadline: Some(context.now.time + session_timeout),
        };
        group.insert(member.member_id.to_string(), own);
    }
    group
}

fn assignment(protocols: &[(String, Bytes)], assigned: &Partitions, env: &Env<'_>) -> Bytes {
    let said = protocols.first().and_then(|(_, said)| embedded::subscription(said));
    embedded::to_assignment(said.map_or(0, |said| said.version), assigned, env.topics)
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
