//! Who should lead: leaders spread over nodes by themselves, and leave a node before it stops.
//!
//! Each group has a node that should lead it, the first of its replicas. Another one that leads it
//! hands it over once that node is there and has all entries. A node that is told to stop hands
//! over all that it leads first, so that clients lose no more than a retry.

use std::time::Duration;

use crate::journal::page::Page;
use crate::model::ids::NodeId;
use crate::model::time::Time;
use crate::shard::{Shard, State};

/// How often leaders are looked at.
const BALANCE_INTERVAL: Duration = Duration::from_secs(3);
/// How long a node that stops waits for others to take over what it leads.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);

/// When to look at leaders again, and how long a stop has been waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leadership {
    next_balance: Time,
    hand_over_until: Option<Time>,
}

impl Leadership {
    pub(super) fn new(now: Time) -> Leadership {
        Leadership { next_balance: now + BALANCE_INTERVAL, hand_over_until: None }
    }
}

impl Leadership {
    /// Somebody else may be to lead something.
    pub(super) fn look_now(&mut self) {
        self.next_balance = Time(0);
    }
}

impl<P: Page> Shard<P> {
    /// Hands groups to the nodes that should lead them, or, if this node is to stop, to any.
    pub(super) fn balance_leaders(&mut self, now: Time) {
        if self.state == State::Stopping {
            return self.hand_over(now);
        }
        if now < self.leadership.next_balance || self.state == State::Stopped {
            return;
        }
        let Some(layout) = self.control.layout() else { return };
        self.leadership.next_balance = now + BALANCE_INTERVAL;
        let serves = self.state == State::Serving;
        for group in self.groups.iter_mut().filter(|group| group.is_serving()) {
            let Some(first) = layout.first(group.id) else { continue };
            // One that was taken out of group 0 and then started anew will never serve.
            let may_go = serves || !layout.holders(group.id).contains(&self.config.node);
            if may_go
                && first != group.replica.node()
                && self.peers.is_up(first)
                && group.replica.has_all(first)
            {
                group.replica.transfer(first);
            }
        }
    }

    fn hand_over(&mut self, now: Time) {
        let until = *self.leadership.hand_over_until.get_or_insert(now + HAND_OVER_MAX);
        let mut leads = false;
        for group in self.groups.iter_mut() {
            if now < until && group.replica.is_leader() && !group.replica.is_alone() {
                leads = true;
                let others = group.replica.voters().to_vec();
                let peers = &self.peers;
                let is_up = |node: &NodeId| peers.is_up(*node);
                let best = others.into_iter().filter(is_up).find(|it| group.replica.has_all(*it));
                match best {
                    Some(node) if !group.replica.is_transferring() => group.replica.transfer(node),
                    _ => {}
                }
            }
        }
        if !leads {
            // From here on nothing is taken in: what is under way comes to rest.
            self.groups.iter_mut().for_each(|group| group.following.close());
        }
    }
}
