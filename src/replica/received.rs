//! What a majority holds in memory: an own watermark beside Raft, which counts disks only.
//!
//! Redpanda calls it the majority of dirty offsets. It must never reach Raft as an append
//! response. It survives any one crash: votes wait for the disk, and whoever holds an entry in
//! memory refuses its vote to candidates that lack it.

use crate::model::ids::NodeId;
use crate::model::position::{LogIndex, Position, Term};
use crate::replica::{Replica, raft_id};

impl Replica {
    /// A member says that it has all entries up to `index` in memory, those of `term` included.
    pub fn on_received(&mut self, from: NodeId, term: Term, index: LogIndex) {
        if self.is_leader() && term == self.term() {
            let known = self.received.entry(raft_id(from)).or_default();
            *known = index.0.max(*known);
        }
    }

    /// A member was heard that this leader has talked to in `term`, though not by a message of
    /// Raft's: it counts as one that is there.
    pub fn hear(&mut self, from: NodeId, term: Term) {
        if self.is_leader()
            && term == self.term()
            && let Some(progress) = self.raw.raft.mut_prs().get_mut(raft_id(from))
        {
            progress.recent_active = true;
        }
    }

    /// The first position after what a majority holds in memory, as far as this leader knows. For
    /// the only voter of its group that is what it has appended.
    pub fn received(&self) -> Option<Position> {
        let own = self.raw.store().last();
        if self.is_alone() {
            return Some(self.raw.store().end_of(LogIndex(own)));
        }
        let tracker = self.raw.raft.prs();
        let mut indexes: Vec<u64> = self.received.values().copied().chain([own]).collect();
        indexes.sort_unstable_by(|a, b| b.cmp(a));
        for index in indexes {
            let others = self.received.iter().filter(|(_, received)| **received >= index);
            let holders = others.map(|(id, _)| *id).chain([raft_id(self.node)]).collect();
            if tracker.has_quorum(&holders) {
                return Some(self.raw.store().end_of(LogIndex(index)));
            }
        }
        None
    }
}
