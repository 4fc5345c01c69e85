//! What members of the classic protocol ask of a group, whichever protocol the group uses.

use std::rc::Rc;

use super::classic::{Answer, Caller, Context, Fault, Join, Joined, MemberRef, Sync, Synced};
use super::live::Coordinator;
use super::modern::embedded;
use super::modern::{ClassicJoin, ConsumerGroup, Env, Outcome};

/// From this version on, OffsetCommit says that there is no such group. Before, that the
/// generation is another.
const GROUP_NOT_FOUND_FROM: i16 = 9;

impl Coordinator {
    /// A member joins, for the first time or again.
    pub fn join(&mut self, context: Context<'_>, env: &Env<'_>, join: Join) {
        match self.mixed(&join.group) {
            Some(id) => self.join_mixed(context, env, &id, &join),
            // If it uses the new protocol, it has no members: it begins anew as a classic one.
            None => self.classic.join(context, join),
        }
    }

    /// A member asks for its assignment.
    pub fn sync(&mut self, context: Context<'_>, env: &Env<'_>, sync: Sync) {
        let Some(id) = self.mixed(&sync.member.group) else {
            return self.classic.sync(context, sync);
        };
        let caller = sync.caller;
        let Some(live) = self.modern.get_mut(&id) else { return };
        let member = &sync.member;
        let instance = member.instance_id.as_deref();
        let Outcome { records, answer } =
            live.group.classic_sync(&member.member_id, instance, member.generation, env);
        let answer = answer.map_err(Fault::from).and_then(|assigned| {
            if sync.protocol_type.as_deref().is_some_and(|theirs| theirs != embedded::CONSUMER) {
                return Err(Fault::InconsistentProtocol);
            }
            let member = live.group.state().members().get(member.member_id.as_str());
            let classic = member.and_then(|member| member.profile.classic.as_ref());
            let protocol = classic.and_then(|classic| classic.protocols.first());
            let said = protocol.and_then(|(_, said)| embedded::subscription(said));
            let version = said.map_or(0, |said| said.version);
            Ok(Synced {
                protocol_type: embedded::CONSUMER.to_owned(),
                // The one that it was told when it joined.
                protocol: sync.protocol.or(protocol.map(|p| p.0.clone())).unwrap_or_default(),
                assignment: embedded::to_assignment(version, &assigned, env.topics),
            })
        });
        self.carry(&id, records, caller, Answer::Sync(answer));
    }

    /// A member says that it is alive. What it is told depends on no record: at worst it joins
    /// again.
    ///
    /// # Errors
    /// What it is to do: join, or join as a new member.
    pub fn heartbeat(
        &mut self,
        context: Context<'_>,
        env: &Env<'_>,
        member: &MemberRef,
    ) -> Result<(), Fault> {
        let Some(id) = self.mixed(&member.group) else {
            return self.classic.heartbeat(context, member);
        };
        let Some(live) = self.modern.get_mut(&id) else { return Err(Fault::UnknownMember) };
        let instance = member.instance_id.as_deref();
        let outcome =
            live.group.classic_heartbeat(&member.member_id, instance, member.generation, env);
        self.modern.schedule(&id);
        outcome.answer.map_err(Fault::from)
    }

    /// Members go; each by its id and instance id. Those of a classic group are answered at once:
    /// with what is returned. Of a group of the new protocol the caller is answered later.
    pub fn leave(
        &mut self,
        context: Context<'_>,
        env: &Env<'_>,
        caller: Caller,
        group: &str,
        leaving: &[(&str, Option<&str>)],
    ) {
        let Some(id) = self.mixed(group) else {
            let left = leaving.iter().map(|(member_id, instance_id)| {
                self.classic.leave(context, group, member_id, *instance_id)
            });
            let left = left.collect();
            return self.classic.outbox.answers.push((caller, Answer::Left(left)));
        };
        let Some(live) = self.modern.get_mut(&id) else { return };
        let Outcome { records, answer } = live.group.classic_leave(leaving, env);
        let left = answer.into_iter().map(|left| left.map(drop).map_err(Fault::from)).collect();
        self.carry(&id, records, caller, Answer::Left(left));
    }

    /// Whether offsets may be committed in the name of this member, or in nobody's, by a request
    /// of this version.
    ///
    /// # Errors
    /// Why not.
    pub fn may_commit(
        &mut self,
        context: Context<'_>,
        member: &MemberRef,
        version: i16,
    ) -> Result<(), Fault> {
        match self.modern.with_members(&member.group) {
            Some(group) => {
                let (id, epoch) = (&member.member_id, member.generation);
                Ok(group.state().check_commit(id, epoch, Some(version))?)
            }
            None if version >= GROUP_NOT_FOUND_FROM
                && member.generation >= 0
                && context.store.group(&member.group).is_none()
                && self.classic.group(&member.group).is_none() =>
            {
                Err(Fault::NoSuchGroup)
            }
            None => self.classic.may_commit(context, member),
        }
    }

    /// The group, if it uses the new protocol and has members.
    fn mixed(&self, id: &str) -> Option<Rc<str>> {
        self.modern.with_members(id)?;
        self.modern.id(id)
    }

    fn join_mixed(&mut self, context: Context<'_>, env: &Env<'_>, id: &Rc<str>, join: &Join) {
        let caller = join.caller;
        let bounds = context.settings.session_timeout_min..=context.settings.session_timeout_max;
        if !bounds.contains(&join.session_timeout) {
            let refused = Joined::refused(Fault::InvalidSessionTimeout, join.member_id.clone());
            return self.classic.outbox.answers.push((caller, Answer::Join(refused)));
        }
        if join.member_id.is_empty() && join.instance_id.is_none() && join.takes_id_first {
            let refused = Joined::refused(Fault::MemberIdRequired, join.new_member_id.clone());
            return self.classic.outbox.answers.push((caller, Answer::Join(refused)));
        }
        let Some(live) = self.modern.get_mut(id) else { return };
        let outcome = live.ask(id, env, |group| ask_to_join(group, join, env));
        let answer = match outcome.answer {
            Ok(joined) => joined,
            Err(error) => Joined::refused(error.into(), join.member_id.clone()),
        };
        let answer = Answer::Join(answer);
        // The last member of the new protocol may have come back as a classic one.
        let changed = !outcome.records.is_empty();
        if !(changed && self.downgrade(context, env, id, Some((caller, answer.clone())))) {
            self.carry(id, outcome.records, caller, answer);
        }
    }
}

fn ask_to_join(
    group: &mut ConsumerGroup,
    join: &Join,
    env: &Env<'_>,
) -> Outcome<Result<Joined, super::modern::GroupError>> {
    let has_no_id = join.member_id.is_empty();
    let member_id = if has_no_id { &join.new_member_id } else { &join.member_id };
    let said = join.protocols.first().and_then(|(_, said)| embedded::subscription(said));
    let Some(said) = said else {
        let message = "The member's metadata is not that of a consumer.".to_owned();
        let kind = super::modern::ErrorKind::InconsistentGroupProtocol;
        let error = super::modern::GroupError::new(kind, message);
        return Outcome { records: Vec::new(), answer: Err(error) };
    };
    let protocols = join.protocols.iter().map(|(name, said)| (name.as_str(), &said[..]));
    let owned = embedded::known(&said.owned, env.topics);
    let request = ClassicJoin {
        member_id,
        has_no_id,
        instance_id: join.instance_id.as_deref(),
        client_id: &join.client_id,
        client_host: &join.client_host,
        session_timeout_ms: millis(join.session_timeout),
        rebalance_timeout_ms: millis(join.rebalance_timeout),
        protocol_type: &join.protocol_type,
        protocols: protocols.collect(),
        owned: owned.partitions,
        names_unknown: owned.lacks_some,
        rack_id: said.rack_id,
        topics: said.topics,
    };
    let Outcome { records, answer } = group.classic_join(&request, env);
    let answer = answer.map(|joined| Joined {
        fault: None,
        member_id: joined.member_id.to_string(),
        generation: joined.generation,
        protocol_type: embedded::CONSUMER.to_owned(),
        protocol: Some(joined.protocol),
        // Nobody leads: the coordinator assigns.
        leader: String::new(),
        skip_assignment: false,
        members: Vec::new(),
    });
    Outcome { records, answer }
}

fn millis(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
