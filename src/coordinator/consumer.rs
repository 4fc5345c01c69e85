//! What members of the new protocol ask, and what happens to them when they are silent.

use std::rc::Rc;

use super::classic::{Answer, Caller, Context, Then};
use super::live::Coordinator;
use super::modern::{ConsumerGroup, Env, ErrorKind, GroupError, Heartbeat, ModernRecord, Outcome};
use super::record::Record;
use crate::limits::CONSUMER_GROUPS_MAX;

/// The epoch of a member that isn't one yet.
const JOIN_EPOCH: i32 = 0;

/// Where a heartbeat's group is.
enum Home {
    /// It uses the new protocol.
    Modern(Rc<str>),
    /// It has members, and all use the classic one.
    Classic(Rc<str>),
}

impl Coordinator {
    /// A member of the new protocol joins, stays, or leaves. It is answered when whatever that
    /// changes is recorded, and all that the group has recorded before.
    pub fn consumer_heartbeat(
        &mut self,
        context: Context<'_>,
        env: &Env<'_>,
        caller: Caller,
        group: &str,
        request: &Heartbeat<'_>,
    ) {
        let answer = match self.home(context, env, group, request.member_epoch) {
            Ok(Home::Modern(id)) => return self.beat(context, env, caller, &id, request),
            Ok(Home::Classic(id)) => match self.upgrade(context, env, &id, request) {
                Ok(Outcome { records, answer }) => {
                    let answer = Answer::Heartbeat(Ok(answer));
                    return self.carry(&id, records, caller, answer);
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        self.classic.outbox.answers.push((caller, Answer::Heartbeat(answer)));
    }

    fn beat(
        &mut self,
        context: Context<'_>,
        env: &Env<'_>,
        caller: Caller,
        id: &Rc<str>,
        request: &Heartbeat<'_>,
    ) {
        let Some(live) = self.modern.get_mut(id) else { return };
        let outcome = live.ask(id, env, |group| group.heartbeat(request, env));
        let nobody = live.group.state().epoch() == 0;
        let answer = Answer::Heartbeat(outcome.answer);
        let went = outcome.records.iter().any(|r| matches!(r, ModernRecord::MemberGone { .. }));
        if nobody {
            // It was made for a member that was refused.
            self.forget_empty(id);
            self.classic.outbox.answers.push((caller, answer));
        } else if !(went && self.downgrade(context, env, id, Some((caller, answer.clone())))) {
            self.carry(id, outcome.records, caller, answer);
        }
    }

    /// Has the records of a call appended. The answer waits for them, or for those before.
    pub(super) fn carry(
        &mut self,
        id: &Rc<str>,
        records: Vec<ModernRecord>,
        caller: Caller,
        answer: Answer,
    ) {
        if records.is_empty() {
            let last = self.modern.get(id).map_or(0, |live| live.last_record);
            self.answer_after(last, caller, answer);
            self.modern.schedule(id);
        } else {
            self.append(id, records, Then::Answer(caller, answer));
        }
    }

    fn append(&mut self, id: &Rc<str>, records: Vec<ModernRecord>, then: Then) {
        let outbox = &mut self.classic.outbox;
        outbox.propose(Record::Modern { group: id.to_string(), records }, then);
        if let Some(live) = self.modern.get_mut(id) {
            live.last_record = outbox.last_record;
        }
        self.modern.schedule(id);
    }

    /// Carries out what is due, in groups of both protocols.
    pub fn expire(&mut self, context: Context<'_>, env: &Env<'_>) {
        self.classic.expire(context);
        while let Some(id) = self.modern.next_due(env.now) {
            let Some(live) = self.modern.get_mut(&id) else { continue };
            let Outcome { records, answer: gone } = live.group.expire(env);
            let anybody = !gone.is_empty();
            if anybody && self.downgrade(context, env, &id, None) {
                continue;
            }
            if records.is_empty() {
                self.modern.schedule(&id);
            } else {
                self.append(&id, records, Then::Nothing);
            }
        }
    }

    /// When something is due.
    pub fn next_deadline(&self) -> Option<crate::model::time::Time> {
        let all = [self.classic.next_deadline(), self.modern.next_deadline()];
        all.into_iter().flatten().min()
    }

    /// The group that a heartbeat is for, made if it joins. A group without members belongs to
    /// whichever protocol is spoken next.
    fn home(
        &mut self,
        context: Context<'_>,
        env: &Env<'_>,
        id: &str,
        epoch: i32,
    ) -> Result<Home, GroupError> {
        if let Some((shared, group)) = self.classic.group_with_id(id) {
            let id = Rc::clone(shared);
            match group.members().is_empty() {
                false if epoch == JOIN_EPOCH => return Ok(Home::Classic(id)),
                true if epoch == JOIN_EPOCH => self.classic.let_go(&id),
                _ => return Err(not_found(&id, "is not a consumer group")),
            }
        }
        if let Some(shared) = self.modern.id(id) {
            let begun = self.modern.get(id).is_some_and(|live| live.group.state().epoch() > 0);
            return match begun || epoch == JOIN_EPOCH {
                true => Ok(Home::Modern(shared)),
                false => Err(not_found(id, "not found")),
            };
        }
        let stored = context.store.group(id);
        let group = match stored.and_then(|stored| stored.modern()) {
            Some(state) => ConsumerGroup::take_over(state.clone(), env),
            None if epoch != JOIN_EPOCH => return Err(not_found(id, "not found")),
            None => ConsumerGroup::new(),
        };
        let known = context.store.len().max(self.modern.len());
        if stored.is_none() && known >= CONSUMER_GROUPS_MAX {
            let message = format!(
                "{CONSUMER_GROUPS_MAX} groups are kept beside this one already, and no more may be."
            );
            return Err(GroupError::new(ErrorKind::PolicyViolation, message));
        }
        let id: Rc<str> = Rc::from(id);
        self.modern.insert(Rc::clone(&id), group);
        Ok(Home::Modern(id))
    }
}

pub(super) fn not_found(id: &str, what: &str) -> GroupError {
    GroupError::new(ErrorKind::GroupIdNotFound, format!("Group {id} {what}."))
}
