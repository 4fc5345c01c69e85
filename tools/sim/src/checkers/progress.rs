//! Positions never go back while a process lives, but for what is cut off, and keep their order:
//! `start <= apply <= commit` and `max(commit, flush) <= append`. What a majority has on disk
//! counts, so `apply` and `commit` may be ahead of a node's own disk.

use std::collections::BTreeMap;

use hutong::journal::page::MemoryPage;
use hutong::model::ids::GroupId;
use hutong::model::position::Position;
use hutong::shard::Shard;

/// Each group's positions after its shard's last turn.
#[derive(Debug, Default)]
pub struct ProgressCheck {
    last: BTreeMap<(usize, GroupId), Positions>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Positions {
    start: Position,
    apply: Position,
    commit: Position,
    received: Position,
    flush: Position,
    append: Position,
}

impl ProgressCheck {
    /// A shard has taken a turn.
    pub fn turned(&mut self, node: usize, shard: &Shard<MemoryPage>) -> Result<(), String> {
        // One that is being filled goes on where it has ever been, or further.
        for group in shard.groups().iter().filter(|group| !group.is_filling()) {
            let progress = group.progress();
            let now = Positions {
                start: group.journal.start(),
                apply: group.applied().end,
                commit: progress.commit,
                received: progress.received,
                flush: progress.flush,
                append: progress.append,
            };
            let ordered = now.start <= group.journal.entry_start(now.apply)
                && now.apply <= now.commit
                && now.commit.max(now.flush).max(now.received) <= now.append
                && now.flush == group.journal.flush_position()
                && now.append == group.journal.append_position();
            if !ordered {
                return Err(format!("progress: group {} is out of order: {now:?}", group.id));
            }
            // What isn't committed may be cut off, by another node that leads.
            let alone = group.replica.is_alone();
            let went_back = self.last.insert((node, group.id), now).filter(|before| {
                now.start < before.start
                    || now.apply < before.apply
                    || now.commit < before.commit
                    || alone && now.received < before.received
                    || alone && now.flush < before.flush
                    || alone && now.append < before.append
            });
            if let Some(before) = went_back {
                let id = group.id;
                return Err(format!("progress: group {id} went back from {before:?} to {now:?}"));
            }
        }
        Ok(())
    }

    /// A node lets go of a group.
    pub fn let_go(&mut self, node: usize, group: GroupId) {
        self.last.remove(&(node, group));
    }

    /// A process has ended.
    pub fn restarted(&mut self, node: usize) {
        self.last.retain(|(of, _), _| *of != node);
    }
}
