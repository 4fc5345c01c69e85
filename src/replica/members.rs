//! Who belongs to a group, and how that changes.
//!
//! A change is an entry of the group's journal that says who belongs to it from then on. It counts
//! on each member once it is committed, and differs from the one before in one member, so that the
//! majorities of both have a member in common (raft thesis, 4.1). Its leader makes the next one
//! when it has applied the one before.
//!
//! A member that was restarted doesn't know any more what was committed behind its checkpoint. Of
//! the changes that it finds there all but the last are, for that one was made after the others had
//! been applied: so it begins with the last but one ([`Members::at_start`]). With older ones two
//! majorities might have nobody in common.

use std::collections::BTreeSet;

use raft::StateRole;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use crate::limits::NODES_MAX;
use crate::model::fields::{BadEnd, Fields};
use crate::model::ids::NodeId;
use crate::replica::{Replica, raft_id};

/// Who belongs to a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// How many changes there were before.
    pub version: u64,
    /// Those that count for a majority, ascending.
    pub voters: Vec<NodeId>,
    /// Those that only get what there is, ascending.
    pub learners: Vec<NodeId>,
}

/// Bytes that are no members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("members of a group that can't be read")]
pub struct BadMembers;

impl From<BadEnd> for BadMembers {
    fn from(_: BadEnd) -> BadMembers {
        BadMembers
    }
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A node is sent all there is, and doesn't vote.
    AddLearner(NodeId),
    /// A learner that has what there is gets a vote.
    Promote(NodeId),
    /// A member is one no longer.
    Remove(NodeId),
}

impl Members {
    /// The members of a group that was just made.
    pub fn formed(mut voters: Vec<NodeId>) -> Members {
        voters.sort_unstable();
        Members { version: 0, voters, learners: Vec::new() }
    }

    /// Whether a node belongs to the group.
    pub fn has(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }

    /// These after one change.
    pub fn after(&self, step: Step) -> Members {
        let mut voters: BTreeSet<NodeId> = self.voters.iter().copied().collect();
        let mut learners: BTreeSet<NodeId> = self.learners.iter().copied().collect();
        match step {
            Step::AddLearner(node) => {
                learners.insert(node);
            }
            Step::Promote(node) => {
                learners.remove(&node);
                voters.insert(node);
            }
            Step::Remove(node) => {
                learners.remove(&node);
                voters.remove(&node);
            }
        }
        Members {
            version: self.version + 1,
            voters: voters.into_iter().collect(),
            learners: learners.into_iter().collect(),
        }
    }

    /// The next change on the way to `wanted` voters, as the group's leader `own` makes it. Who
    /// comes is there before anyone goes, and the leader goes never: it hands over first.
    pub fn step_towards(
        &self,
        wanted: &[NodeId],
        own: NodeId,
        has_all: impl Fn(NodeId) -> bool,
    ) -> Option<Step> {
        let missing = wanted.iter().copied().find(|node| !self.has(*node));
        if let Some(node) = missing {
            return Some(Step::AddLearner(node));
        }
        let mut learners = self.learners.iter().copied();
        let step = learners.find_map(|node| match wanted.contains(&node) {
            true => has_all(node).then_some(Step::Promote(node)),
            false => Some(Step::Remove(node)),
        });
        if step.is_some() || wanted.iter().any(|node| !self.voters.contains(node)) {
            return step;
        }
        let goes = |node: &NodeId| !wanted.contains(node) && *node != own;
        self.voters.iter().copied().find(goes).map(Step::Remove)
    }

    /// Of the changes found behind a checkpoint that knows `self`: what counts at a start.
    pub fn at_start(self, mut found: Vec<Members>) -> Members {
        found.pop();
        found.pop().filter(|members| members.version > self.version).unwrap_or(self)
    }

    /// Appends their bytes: `version u64 | voters u16, u32 each | learners u16, u32 each`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.version.to_le_bytes());
        for nodes in [&self.voters, &self.learners] {
            out.extend((nodes.len() as u16).to_le_bytes());
            nodes.iter().for_each(|node| out.extend(node.0.to_le_bytes()));
        }
    }

    /// The members at the front of `bytes`; what is left of them is what lies behind.
    ///
    /// # Errors
    /// If there are none, or more than [`NODES_MAX`].
    pub fn decode(bytes: &mut &[u8]) -> Result<Members, BadMembers> {
        let mut fields = Fields::<BadMembers>::new(bytes);
        let version = fields.u64()?;
        let mut lists = [Vec::new(), Vec::new()];
        for list in &mut lists {
            let count = usize::from(fields.u16()?);
            if count > NODES_MAX {
                return Err(BadMembers);
            }
            for _ in 0..count {
                list.push(NodeId(fields.u32()?));
            }
        }
        *bytes = fields.rest;
        let [voters, learners] = lists;
        Ok(Members { version, voters, learners })
    }

    pub(super) fn conf_state(&self) -> ConfState {
        let ids = |nodes: &[NodeId]| nodes.iter().copied().map(raft_id).collect();
        ConfState {
            voters: ids(&self.voters),
            learners: ids(&self.learners),
            ..ConfState::default()
        }
    }

    /// Whether this node is the only one that votes.
    pub(super) fn is_only_voter(&self, node: NodeId) -> bool {
        self.voters == [node]
    }

    fn differences(&self, new: &Members) -> Vec<ConfChangeSingle> {
        let nodes: BTreeSet<NodeId> = [&self.voters, &self.learners, &new.voters, &new.learners]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        let role = |members: &Members, node| match () {
            () if members.voters.contains(&node) => Some(ConfChangeType::AddNode),
            () if members.learners.contains(&node) => Some(ConfChangeType::AddLearnerNode),
            () => None,
        };
        let changed = nodes.into_iter().filter(|node| role(self, *node) != role(new, *node));
        changed
            .map(|node| ConfChangeSingle {
                change_type: role(new, node).unwrap_or(ConfChangeType::RemoveNode),
                node_id: raft_id(node),
                ..ConfChangeSingle::default()
            })
            .collect()
    }
}

impl Replica {
    /// Who belongs to the group, as of the last entry applied.
    pub fn group_members(&self) -> &Members {
        &self.members
    }

    /// A change of members was applied. One that is known already changes nothing.
    pub fn change_members(&mut self, members: &Members) {
        if members.version <= self.members.version {
            return;
        }
        let changes = self.members.differences(members);
        self.members = members.clone();
        self.alone = members.is_only_voter(self.node);
        if !changes.is_empty() {
            let change = ConfChangeV2 { changes: changes.into(), ..ConfChangeV2::default() };
            self.raw.apply_conf_change(&change).expect("one member was added or taken away");
        }
        // A leader hands over before it goes. But one may find its own removal in what the leader
        // before it left, and Raft would let it lead on, and refuse what it proposes. Who stands
        // for election may learn of a change with a vote: the others have voted as members of
        // something else, of which it may be none any more.
        let is_out = self.is_leader() && !members.voters.contains(&self.node);
        let campaigns = [StateRole::PreCandidate, StateRole::Candidate];
        if is_out || campaigns.contains(&self.raw.raft.state) {
            self.step_down(self.term());
        }
        let gone = |id: &u64| !members.voters.iter().any(|node| raft_id(*node) == *id);
        self.received.retain(|id, _| !gone(id));
        self.after_call();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// Goes all the way and tells the voters and learners after each step.
    fn way(from: &[u32], wanted: &[u32], own: u32) -> Vec<(Vec<NodeId>, Vec<NodeId>)> {
        let mut members = Members::formed(nodes(from));
        let mut seen = Vec::new();
        while let Some(step) = members.step_towards(&nodes(wanted), NodeId(own), |_| true) {
            let next = members.after(step);
            let changed = |a: &[NodeId], b: &[NodeId]| a.iter().filter(|n| !b.contains(n)).count();
            let (old, new) = (&members.voters, &next.voters);
            assert!(changed(old, new) + changed(new, old) <= 1, "one voter at a time");
            members = next;
            seen.push((members.voters.clone(), members.learners.clone()));
        }
        seen
    }

    #[test]
    fn one_comes_as_a_learner_before_another_goes() {
        let seen = way(&[1, 2, 3], &[1, 2, 4], 1);
        assert_eq!(
            seen,
            [
                (nodes(&[1, 2, 3]), nodes(&[4])),
                (nodes(&[1, 2, 3, 4]), vec![]),
                (nodes(&[1, 2, 4]), vec![]),
            ]
        );
    }

    #[test]
    fn a_leader_doesn_t_remove_itself() {
        let seen = way(&[1, 2, 3], &[2, 3], 1);
        assert_eq!(seen, []);
        assert_eq!(way(&[1, 2, 3], &[2, 3], 2).last().unwrap().0, nodes(&[2, 3]));
    }

    #[test]
    fn who_lacks_much_is_not_promoted_and_nobody_goes_meanwhile() {
        let members = Members::formed(nodes(&[1, 2, 3])).after(Step::AddLearner(NodeId(4)));
        assert_eq!(members.step_towards(&nodes(&[1, 2, 4]), NodeId(1), |_| false), None);
        let not_wanted = members.step_towards(&nodes(&[1, 2, 3]), NodeId(1), |_| false);
        assert_eq!(not_wanted, Some(Step::Remove(NodeId(4))));
    }

    #[test]
    fn a_start_begins_with_the_last_change_that_must_be_committed() {
        let formed = Members::formed(nodes(&[1]));
        let first = formed.after(Step::AddLearner(NodeId(2)));
        let second = first.after(Step::Promote(NodeId(2)));
        assert_eq!(formed.clone().at_start(vec![]), formed);
        assert_eq!(formed.clone().at_start(vec![first.clone()]), formed);
        assert_eq!(formed.clone().at_start(vec![first.clone(), second.clone()]), first);
        // The checkpoint may cover what lies behind it, too.
        assert_eq!(second.clone().at_start(vec![first.clone(), second.clone()]), second);
    }

    #[test]
    fn members_come_back_as_they_were_and_cuts_are_errors() {
        let members = Members { version: 3, voters: nodes(&[1, 2]), learners: nodes(&[9]) };
        let mut bytes = Vec::new();
        members.encode(&mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(Members::decode(&mut &bytes[..len]), Err(BadMembers));
        }
        bytes.extend(b"behind");
        let mut rest = &bytes[..];
        assert_eq!(Members::decode(&mut rest), Ok(members));
        assert_eq!(rest, b"behind");
    }
}
