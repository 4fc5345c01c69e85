//! What is committed is on the disks of a majority of the members that count when it is committed.

use std::collections::BTreeMap;

use hutong::journal::page::MemoryPage;
use hutong::model::ids::GroupId;
use hutong::replica::Members;
use hutong::shard::Shard;

use crate::checkers::consensus::Consensus;

/// What each node knew of each group after its shard's last turn.
#[derive(Debug, Default)]
pub struct Majority {
    last: BTreeMap<(usize, GroupId), Known>,
}

#[derive(Debug)]
struct Known {
    leads: bool,
    /// The index of the last entry that is committed.
    committed: u64,
    members: Members,
}

impl Majority {
    /// A shard has taken a turn, and `consensus` has looked at it.
    ///
    /// # Errors
    /// A leader has committed what too few have.
    pub fn turned(
        &mut self,
        node: usize,
        shard: &Shard<MemoryPage>,
        consensus: &Consensus,
    ) -> Result<(), String> {
        for group in shard.groups().iter() {
            let (replica, committed) = (&group.replica, group.replica.committed().0.0);
            let (leads, members) = (replica.is_leader(), replica.group_members());
            let Some(known) = self.last.get_mut(&(node, group.id)) else {
                let known = Known { leads, committed, members: members.clone() };
                self.last.insert((node, group.id), known);
                continue;
            };
            if leads && known.leads && committed > known.committed {
                // The members may have changed in this turn, before it or after it.
                let is_held = |members: &Members| {
                    consensus.majority_has(node, group.id.0, committed, &members.voters)
                };
                let (now, before) = (is_held(members), is_held(&known.members));
                if let (Err(why), Err(_)) = (now, before) {
                    return Err(format!(
                        "durability: node {node} has committed entry {committed} of group {}, and \
                         on the disks of a majority {why}",
                        group.id
                    ));
                }
            }
            (known.leads, known.committed) = (leads, committed);
            if known.members.version != members.version {
                known.members = members.clone();
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
