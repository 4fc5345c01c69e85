//! What a replica tells of its group to whoever asks: how far each member is, and how often
//! leadership came here and went.

use std::collections::BTreeSet;

use crate::model::ids::NodeId;
use crate::model::position::LogIndex;
use crate::replica::{Replica, SILENT_TICKS, node_of, raft_id};

/// One member of a group, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub node: NodeId,
    /// The last entry that is known to be on its disk; `None` if it hasn't said since this node
    /// leads.
    pub matched: Option<LogIndex>,
    /// Whether it counts for a majority. One that doesn't is a learner.
    pub votes: bool,
}

/// Terms in which this replica led.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leaderships {
    /// Elections won since the process began.
    pub won: u64,
    /// Of these, how many are over: another replica leads, or nobody.
    pub lost: u64,
    /// The term in which it leads now.
    term: Option<u64>,
}

impl Leaderships {
    /// Raft may have changed its mind: `term` is that in which this replica leads now.
    pub(super) fn note(&mut self, term: Option<u64>) {
        if self.term != term {
            self.lost += u64::from(self.term.is_some());
            self.won += u64::from(term.is_some());
            self.term = term;
        }
    }
}

impl Replica {
    /// All members, ascending, if this replica leads; nobody else knows how far they are.
    pub fn members(&self) -> Vec<Member> {
        if !self.is_leader() {
            return Vec::new();
        }
        let tracker = self.raw.raft.prs();
        let voters: BTreeSet<u64> = tracker.conf().voters().ids().iter().collect();
        let members = tracker.iter().filter_map(|(id, progress)| {
            let matched = (progress.matched > 0).then_some(LogIndex(progress.matched));
            Some(Member { node: node_of(*id)?, matched, votes: voters.contains(id) })
        });
        let mut members: Vec<Member> = members.collect();
        members.sort_unstable_by_key(|member| member.node);
        members
    }

    /// Whether this replica leads, or whoever does has spoken within the longest time in which a
    /// follower waits for that.
    pub fn hears_leader(&self) -> bool {
        let is_late = self.raw.raft.election_elapsed >= SILENT_TICKS;
        self.is_leader() || (self.leader().is_some() && !is_late)
    }

    /// Whether this replica leads and another member was heard since Raft last counted who is
    /// there, as it does each election time-out.
    pub fn hears(&self, member: NodeId) -> bool {
        let progress = self.raw.raft.prs().get(raft_id(member));
        member != self.node && self.is_leader() && progress.is_some_and(|it| it.recent_active)
    }

    /// How often this replica won an election and lost leadership again.
    pub fn leaderships(&self) -> Leaderships {
        self.leaderships
    }
}
