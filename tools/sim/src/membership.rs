//! Nodes that join, leave, and lose their disk, and groups that are added: what the operator asks
//! for, what may become of it, and what must be in force when faults have stopped.

use std::collections::BTreeSet;

use bytes::Bytes;
use hutong::journal::page::MemoryPage;
use hutong::metadata::Layout;
use hutong::metadata::layout::NodeState;
use hutong::model::ids::{GroupId, NodeId};
use hutong::replica::Members;
use hutong::shard::group::Group;
use hutong::shard::peers::visit::{self, Change};

use crate::connection::{Reply, What};
use crate::events::Event;
use crate::host::Host;
use crate::lie::Lie;
use crate::node::{BASE_PORT, holds, node_ids};
use crate::plan::SECOND;
use crate::world::{Phase, World};

/// With fewer nodes the loss of one isn't survived.
const MEMBERS_MIN: usize = 3;
/// A cluster gets no more groups than that.
const GROUPS_MAX: usize = 8;
/// After so long a question to remove a node that had no answer isn't carried out any more.
const FORGOTTEN: u64 = 10 * SECOND;
/// What refusals say that are about the moment, and don't follow from the layout.
const PASSING: [&str; 5] = [
    "doesn't know its cluster yet",
    "has no controller at the moment",
    "were changed by somebody else just now",
    "that is no majority",
    "has no leader yet",
];

/// What the operator has done.
#[derive(Debug, Default)]
pub struct Operations {
    /// Changes that were acknowledged.
    made: Vec<Change>,
    /// When a node was last to be removed.
    removed_at: Option<u64>,
}

fn id(node: usize) -> NodeId {
    NodeId(node as u32)
}

fn in_state(layout: &Layout, state: NodeState) -> Vec<NodeId> {
    let nodes = layout.nodes.iter().filter(|(_, node)| node.state == state);
    nodes.map(|(id, _)| *id).collect()
}

/// The group, as a node that runs has it.
fn held(host: &Host, group: GroupId) -> Option<&Group<MemoryPage>> {
    let node = host.node.as_ref()?;
    node.shards[usize::from(node.shard_of(group))].shard.groups().get(group)
}

/// Whether just these count for a group's majority, and nobody learns.
fn are_members(nodes: &[NodeId], members: &Members) -> bool {
    let mut wanted = nodes.to_vec();
    wanted.sort_unstable();
    members.voters == wanted && members.learners.is_empty()
}

impl World {
    /// Which nodes there are and what each shall hold, as of what was applied anywhere.
    pub(crate) fn layout(&self) -> &Layout {
        self.checks.consensus.layouts().last().expect("a cluster begins with one")
    }

    /// Whether a node is of the cluster, and isn't to leave it.
    pub(crate) fn belongs(&self, node: usize) -> bool {
        let known = self.layout().nodes.get(&id(node));
        known.is_some_and(|node| node.state != NodeState::Leaving)
    }

    fn has_belonged(&self, node: usize) -> bool {
        let layouts = self.checks.consensus.layouts();
        layouts.iter().any(|layout| layout.nodes.contains_key(&id(node)))
    }

    /// A node of the cluster that has lost its disk.
    fn lost_node(&self) -> Option<NodeId> {
        let lost = (0..self.hosts.len()).find(|it| self.hosts[*it].is_used_up && self.belongs(*it));
        lost.map(id)
    }

    /// What the operator does next. When faults have stopped that is only what must be done.
    pub(crate) fn next_change(&mut self) -> Option<Change> {
        let layout = self.layout().clone();
        let spare = (0..self.hosts.len()).find(|it| !self.has_belonged(*it)).map(id);
        let add =
            |node: NodeId| Change::Add { node, host: format!("node-{node}"), port: BASE_PORT };
        if let Some(node) = self.lost_node() {
            return match spare.filter(|_| layout.count_members() <= self.plan.nodes) {
                Some(spare) if self.random.chance(80) => Some(add(spare)),
                _ => Some(self.remove(node)),
            };
        }
        let leaving = in_state(&layout, NodeState::Leaving);
        let gone = leaving.into_iter().find(|node| self.may_be_forgotten(*node));
        if let Some(node) = gone.filter(|_| !self.is_loaded() || self.random.chance(5)) {
            return Some(Change::Forget { node });
        }
        if !self.is_loaded() {
            return None;
        }
        let members = in_state(&layout, NodeState::Member);
        let draining = in_state(&layout, NodeState::Draining);
        let mut pick = |of: &[NodeId]| (!of.is_empty()).then(|| self.random.pick(of));
        let (member, drained) = (pick(&members), pick(&draining));
        match self.random.below(10) {
            0..3 => spare.map(add),
            3..5 if layout.count_members() > MEMBERS_MIN => {
                member.filter(|node| !self.strands(*node)).map(|node| self.remove(node))
            }
            5..7 if draining.is_empty() => Some(Change::Drain { node: member?, drains: true }),
            5..7 => Some(Change::Drain { node: drained?, drains: false }),
            7..9 => {
                let group = GroupId(self.random.below(layout.groups.len() as u64) as u32);
                Some(Change::Transfer { group, to: member? })
            }
            9 if layout.groups.len() < GROUPS_MAX => {
                Some(Change::AddGroups { count: 1, copies: 0 })
            }
            _ => None,
        }
    }

    fn remove(&mut self, node: NodeId) -> Change {
        self.operations.removed_at = Some(self.now);
        Change::Remove { node }
    }

    /// Whether no group has this node for a member any more, as far as anybody knows. When faults
    /// have stopped it must have let go of all it had, too.
    fn may_be_forgotten(&self, node: NodeId) -> bool {
        let has_it = |host: &Host| {
            let shards = host.node.iter().flat_map(|process| &process.shards);
            let mut groups = shards.flat_map(|running| running.shard.groups().iter());
            groups.any(|group| group.is_serving() && group.replica.group_members().has(node))
        };
        let host = &self.hosts[node.0 as usize];
        let holds_some = host.is_ready() && host.disk.groups_here().next().is_some();
        let all_led = (0..self.layout().groups.len() as u32).map(GroupId).all(|group| {
            let mut held = self.hosts.iter().filter_map(|host| held(host, group));
            held.any(Group::is_serving)
        });
        all_led && !self.hosts.iter().any(has_it) && (self.is_loaded() || !holds_some)
    }

    /// Whether a node of the cluster would know nobody of those that stay in it if this one were
    /// removed, as it was away when the others came: it would believe none of them.
    fn strands(&self, removed: NodeId) -> bool {
        let stays = |node: &NodeId| {
            let number = node.0 as usize;
            *node != removed && self.belongs(number) && !self.hosts[number].is_used_up
        };
        let mut others = self.layout().nodes.keys().filter(|node| **node != removed);
        others.any(|node| {
            let Host { disk, is_used_up, .. } = &self.hosts[node.0 as usize];
            let known = disk.known_nodes();
            let known: Vec<NodeId> = match known.is_empty() {
                true => node_ids(&self.plan),
                false => known.iter().map(|known| known.node).collect(),
            };
            !is_used_up && !known.iter().any(|known| known != node && stays(known))
        })
    }

    /// Somebody is about to add a node: its process waits until it belongs to the cluster.
    pub(crate) fn prepare(&mut self, node: usize) {
        if let Some(host) = self.hosts.get_mut(node)
            && host.is_gone
            && !host.is_used_up
        {
            host.is_gone = false;
            self.events.push(self.now, Event::Start { node });
        }
    }

    /// Whether a node's process has something to start with: one that is to join waits until it
    /// belongs to the cluster, and one that has let go of all it had stays down.
    pub(crate) fn may_start(&mut self, node: usize) -> bool {
        if !self.plan.has_changes() {
            return true;
        }
        if !self.has_belonged(node) {
            self.events.push(self.now + SECOND / 2, Event::Start { node });
            return false;
        }
        self.hosts[node].disk.groups_here().next().is_some()
    }

    /// Nodes that the cluster has forgotten are turned off for good.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(crate) fn turn_off_forgotten(&mut self) -> Result<(), String> {
        for node in 0..self.hosts.len() {
            let is_forgotten =
                self.has_belonged(node) && !self.layout().nodes.contains_key(&id(node));
            if is_forgotten && !self.hosts[node].is_used_up {
                (self.hosts[node].is_gone, self.hosts[node].is_used_up) = (true, true);
                self.crash(node)?;
            }
        }
        Ok(())
    }

    /// A node lets go of a group.
    pub(crate) fn let_go(&mut self, node: usize, group: GroupId) {
        self.checks.let_go(node, group);
        let host = &mut self.hosts[node];
        host.rotten.retain(|(of, _)| *of != group);
        host.mending.retain(|(of, _), _| *of != group);
    }

    /// A node's disk is lost, if that can be survived. The process dies with it, and its place is
    /// to be taken by another node.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(crate) fn wipe(&mut self) -> Result<(), String> {
        if self.phase != Phase::Faults {
            return Ok(());
        }
        let node = self.dispensable_node().filter(|_| self.may_lose_a_disk());
        let Some(node) = node else {
            self.events.push(self.now + self.random.around(SECOND), Event::Wipe);
            return Ok(());
        };
        self.trace.event(self.now, &[63, node as u64], || format!("node {node} loses its disk"));
        self.report.wipes += 1;
        (self.hosts[node].is_gone, self.hosts[node].is_used_up) = (true, true);
        self.crash(node)?;
        let groups: Vec<GroupId> = self.hosts[node].disk.groups_here().collect();
        self.checks.wiped(node, &groups);
        self.hosts[node].disk.wipe();
        self.hosts[node].rotten.clear();
        if self.lie == Lie::KeepsPlace {
            let groups = (0..self.plan.groups).map(GroupId);
            let first = groups.filter(|group| holds(&self.plan, node, *group)).collect::<Vec<_>>();
            self.hosts[node].disk.begin_with(&first);
            (self.hosts[node].is_gone, self.hosts[node].is_used_up) = (false, false);
        }
        Ok(())
    }

    /// Whether nothing else is missing: the loss of one disk is survived, that of more isn't.
    fn may_lose_a_disk(&self) -> bool {
        let mut nodes = self.layout().nodes.keys().map(|node| &self.hosts[node.0 as usize]);
        let is_whole = |host: &Host| {
            let shards = host.node.iter().flat_map(|process| &process.shards);
            let mut groups = shards.flat_map(|running| running.shard.groups().iter());
            host.is_ready() && host.is_up() && !groups.any(Group::is_filling)
        };
        let mut asked = self.connections.values().flat_map(|connection| &connection.awaiting);
        nodes.all(is_whole)
            && self.hosts.iter().all(|host| host.rotten.is_empty())
            && self.layout_followed().is_ok()
            && in_state(self.layout(), NodeState::Leaving).is_empty()
            && !asked.any(|asked| matches!(asked.what, What::Change(_)))
            && self.operations.removed_at.is_none_or(|at| at + FORGOTTEN < self.now)
    }

    /// How many nodes hold a group, if none comes or goes and no disk was lost; otherwise 0.
    pub(crate) fn copies_at_rest(&self, group: GroupId) -> usize {
        if !self.plan.has_changes() {
            return (0..self.hosts.len()).filter(|node| holds(&self.plan, *node, group)).count();
        }
        let holders = self.layout().holders(group);
        let agrees = |node: &NodeId| {
            let group = held(&self.hosts[node.0 as usize], group);
            group.is_some_and(|group| are_members(holders, group.replica.group_members()))
        };
        let is_at_rest = self.lost_node().is_none() && holders.iter().all(agrees);
        if is_at_rest { holders.len() } else { 0 }
    }

    /// Reads the answer to a change.
    ///
    /// # Errors
    /// It is none, or a refusal without a reason.
    pub(crate) fn changed(&mut self, change: &Change, frame: &Bytes) -> Result<Reply, String> {
        let answer = visit::answer(frame.get(4..).unwrap_or_default());
        let answer = answer.map_err(|_| format!("responses: nonsense in answer to {change:?}"))?;
        self.trace.event(self.now, &[22], || format!("  {change:?}: {answer:?}"));
        match answer {
            Ok(_) => {
                self.report.changes += 1;
                self.operations.made.push(change.clone());
            }
            Err(why) => {
                let mut layouts = self.checks.consensus.layouts().iter();
                let follows = |layout: &Layout| {
                    change.made_to(layout, |_| true).is_err_and(|refusal| refusal == why)
                };
                // A node that was cut off may go by an old one.
                if !PASSING.iter().any(|passing| why.contains(passing)) && !layouts.any(follows) {
                    return Err(format!(
                        "membership: {change:?} was refused without reason: {why}"
                    ));
                }
            }
        }
        Ok(Reply::Done)
    }

    /// Faults stopped long ago: all changes that were acknowledged are in force.
    ///
    /// # Errors
    /// What isn't.
    pub(crate) fn members_at_rest(&self) -> Result<(), String> {
        if !self.is_cluster() {
            return Ok(());
        }
        let layouts = self.checks.consensus.layouts();
        let mut steps: Vec<&[Layout]> = layouts.windows(2).collect();
        for change in &self.operations.made {
            let is_it =
                |step: &&[Layout]| change.made_to(&step[0], |_| true).is_ok_and(|it| it == step[1]);
            let Some(at) = steps.iter().position(is_it) else {
                return Err(format!("membership: {change:?} was acknowledged and never made"));
            };
            steps.remove(at);
        }
        for node in self.layout().nodes.keys().map(|node| node.0 as usize) {
            if !self.belongs(node) || self.hosts[node].is_used_up {
                let held: Vec<GroupId> = self.hosts[node].disk.groups_here().collect();
                return Err(format!("membership: node {node} can't leave, it holds {held:?}"));
            }
        }
        self.layout_followed()?;
        for (number, host) in self.hosts.iter().enumerate() {
            for group in host.disk.groups_here().filter(|_| host.node.is_some()) {
                if !self.layout().holders(group).contains(&id(number)) {
                    return Err(format!("membership: node {number} still holds group {group}"));
                }
            }
        }
        Ok(())
    }

    /// Whether every group is held by just those who shall hold it, and led by who shall lead it.
    ///
    /// # Errors
    /// One that isn't.
    fn layout_followed(&self) -> Result<(), String> {
        let layout = self.layout();
        for group in (0..layout.groups.len() as u32).map(GroupId) {
            let holders = layout.holders(group);
            let mut held = self.hosts.iter().filter_map(|host| held(host, group));
            let Some(led) = held.find(|group| group.is_serving()) else {
                return Err(format!("membership: nobody leads group {group}"));
            };
            let members = led.replica.group_members();
            if !are_members(holders, members) {
                return Err(format!(
                    "membership: group {group} shall be held by {holders:?}, and is by {members:?}"
                ));
            }
            let (leader, first) = (led.replica.node(), layout.first(group));
            if first != Some(leader) {
                return Err(format!(
                    "membership: group {group} shall be led by {first:?}, and is by {leader:?}"
                ));
            }
        }
        Ok(())
    }

    /// A node of the cluster without which every group still has a majority.
    pub(crate) fn dispensable_node(&mut self) -> Option<usize> {
        let layout = self.layout();
        let mut needed = BTreeSet::<NodeId>::new();
        for place in layout.groups.iter().filter(|place| place.nodes.len() < 3) {
            needed.extend(&place.nodes);
        }
        let nodes = layout.nodes.keys().filter(|node| !needed.contains(*node));
        let nodes: Vec<usize> = nodes.map(|node| node.0 as usize).collect();
        (!nodes.is_empty()).then(|| self.random.pick(&nodes))
    }
}
