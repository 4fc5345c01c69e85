//! What happens because nothing does: sessions, rebalances and ids given that expire.

use std::rc::Rc;

use super::group::State;
use super::{Classic, Context, Then};
use crate::model::time::Time;

impl Classic {
    /// When `expire` is to be called next. May be early, never late.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Carries out all that is due.
    pub fn expire(&mut self, context: Context<'_>) {
        let now = context.now.time;
        while let Some((at, id)) = self.timers.first().cloned()
            && at <= now
        {
            self.timers.pop_first();
            self.at(&id).timer = None;
            self.expire_group(context, &id);
            self.forget_idle(&id);
            self.schedule(&id);
        }
    }

    fn expire_group(&mut self, context: Context<'_>, id: &Rc<str>) {
        let now = context.now.time;
        let group = self.at(id);
        let ids = group.pending.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone());
        let silent = group.members().iter().filter(|(_, m)| m.deadline.is_some_and(|at| at <= now));
        let gone: Vec<String> = ids.chain(silent.map(|(id, _)| id.clone())).collect();
        for member_id in gone {
            self.drop_member(context, id, &member_id);
        }
        let group = self.at(id);
        if group.join_deadline.is_some_and(|at| at <= now) {
            self.join_time_is_up(context, id);
        }
        self.drop_unsynced(context, id);
    }

    /// Lets go of those who joined the generation and never asked what they got.
    fn drop_unsynced(&mut self, context: Context<'_>, id: &Rc<str>) {
        let group = self.at(id);
        if group.sync_deadline.is_none_or(|at| at > context.now.time) {
            return;
        }
        group.sync_deadline = None;
        if !matches!(group.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        for member_id in std::mem::take(&mut group.unsynced) {
            self.drop_member(context, id, &member_id);
        }
    }

    /// Does what was to be done once a record is applied.
    pub fn applied(&mut self, context: Context<'_>, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Answer(caller, answer) => self.outbox.answers.push((caller, answer)),
            Then::Synced { group, generation } => self.assigned(context, &group, generation),
            Then::Emptied { group, generation } => self.emptied(&group, generation),
        }
    }
}
