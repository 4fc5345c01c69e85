//! Which groups this shard holds. The layout says which it shall: what is missing is made, what
//! was taken away is let go of. The leader of a group brings its members, one change after the
//! other, to what the layout says.
//!
//! A node can't tell by itself that it belongs to a group no longer: those who took it out talk to
//! it no more, and if it was away then, its catalog doesn't say so either. So it goes by the newest
//! layout that any other has, and asks the leader of a group that it shall not hold, or hears
//! nothing of. It deletes nothing before that one says so.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use crate::journal::page::Page;
use crate::journal::source::{GroupFiles, SegmentSource};
use crate::metadata::{Command, Layout};
use crate::model::ids::{GroupId, NodeId, SegmentId};
use crate::model::position::{Position, Term};
use crate::model::time::{Now, Time};
use crate::replica::Members;
use crate::shard::checkpoint::Checkpoint;
use crate::shard::control::{CATALOG_GROUP, CATALOG_SHARD, CommandWaiter};
use crate::shard::follow::{ReceivedAnswer, ReplyTo};
use crate::shard::group::{ControlItem, Group};
use crate::shard::input::IoFailure;
use crate::shard::open;
use crate::shard::output::{LogLevel, Output};
use crate::shard::peers::snapshot_wire::Standing;
use crate::shard::peers::wire::{self, MembersTold};
use crate::shard::snapshot_transfer::marker;
use crate::shard::{NodeAddress, Shard};

/// How often a node asks whether it still belongs to a group that it shall not hold, or whose
/// leader it doesn't hear, and notes a data directory.
const ASK_INTERVAL: Duration = Duration::from_millis(300);

/// When it is tried again to make a group that couldn't be made, for want of space maybe.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What was done about the layout.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// The layout that was followed last, and whether the catalog was known then.
    epoch: Option<(u64, bool)>,
    /// Groups whose directories are being made.
    creating: BTreeSet<GroupId>,
    /// Those that couldn't be made, and when to try again.
    failed: BTreeSet<GroupId>,
    retry_at: Option<Time>,
    /// Groups that this node belongs to no longer, to be deleted once nothing of them is under way.
    leaving: BTreeSet<GroupId>,
    next_ask: Time,
}

impl Holdings {
    /// When there is something to do if nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.retry_at
    }
}

impl<P: Page> Shard<P> {
    /// Does what a new layout asks of this shard.
    pub(super) fn follow_layout(&mut self, now: Now) {
        let Some(layout) = self.control.layout() else { return };
        let followed = Some((layout.epoch, self.control.has_catalog()));
        if self.holdings.epoch == followed {
            return self.try_again(now.time);
        }
        let is_news = layout.epoch > 0;
        self.holdings.epoch = followed;
        let layout = layout.clone();
        self.cluster.follow(&layout);
        let shard = self.cluster.shard();
        let own = super::members::groups_of_shard(&layout, shard, self.config.shards);
        self.peers.follow(&layout, self.cluster.addresses(), own.clone(), now.time);
        for group in own {
            self.create_if_missing(&layout, group);
        }
        self.leadership.look_now();
        if shard == CATALOG_SHARD && is_news {
            self.remember_layout();
        }
    }

    /// What couldn't be made is tried again when its time has come.
    fn try_again(&mut self, now: Time) {
        if self.holdings.retry_at.is_some_and(|at| at <= now) {
            self.holdings.retry_at = None;
            let Some(layout) = self.control.layout().cloned() else { return };
            for group in self.holdings.failed.clone() {
                self.create_if_missing(&layout, group);
            }
        }
    }

    fn create_if_missing(&mut self, layout: &Layout, group: GroupId) {
        // What is in it the catalog says.
        let is_wanted =
            self.control.has_catalog() && layout.holders(group).contains(&self.config.node);
        if is_wanted && self.groups.get(group).is_none() && self.holdings.creating.insert(group) {
            let born = layout.groups[group.0 as usize].born.clone();
            let checkpoint = Checkpoint::before_all(Members::formed(born)).encode();
            let checkpoint = Bytes::from(checkpoint);
            self.outputs.push_back(Output::CreateGroup { group, checkpoint });
        }
    }

    /// The next start must know whom to talk to, and whom not to believe, before it has a catalog.
    fn remember_layout(&mut self) {
        let nodes: Vec<NodeAddress> = self.cluster.addresses().to_vec();
        self.outputs.push_back(Output::RememberNodes { nodes });
        if let Some(group) = self.groups.get_mut(CATALOG_GROUP) {
            group.checkpoint.hurry(group.applied().end);
        }
    }

    /// A group's directory is there, or can't be made.
    pub(super) fn on_group_created(
        &mut self,
        group: GroupId,
        result: Result<GroupFiles, IoFailure>,
        now: Time,
    ) {
        self.holdings.creating.remove(&group);
        let opened = result.and_then(|files| {
            let opened = open::open_group(&self.config, &files, &mut NothingWritten);
            opened.map_err(IoFailure::Failed)
        });
        match opened {
            Ok(opened) => {
                self.holdings.failed.remove(&group);
                for line in opened.notes {
                    self.outputs.push_back(Output::Log { level: LogLevel::Info, line });
                }
                self.groups.insert(opened.group);
                self.control.fill_group(group, &mut self.groups);
                // It is asked for again by what follows the layout.
                self.again = true;
            }
            Err(failure) => {
                self.holdings.retry_at = Some(now + RETRY_AFTER);
                if !self.holdings.failed.insert(group) {
                    return;
                }
                let why = match failure {
                    IoFailure::NoSpace => "no space left on the device".to_string(),
                    IoFailure::Failed(why) => why,
                };
                let line = format!(
                    "group {group} was given to this node, and its directory can't be made: {why}. \
                     It is tried again every {RETRY_AFTER:?}"
                );
                self.outputs.push_back(Output::Log { level: LogLevel::Error, line });
            }
        }
    }

    /// Brings the members of the groups that are led here to what the layout says, and asks about
    /// those that are held here and may not have to be. Called with Raft's clock.
    pub(super) fn tend_members(&mut self, now: Time) {
        self.change_members();
        if self.holdings.next_ask <= now {
            self.holdings.next_ask = now + ASK_INTERVAL;
            self.note_directories();
            self.peers.compare_layouts();
            self.ask_for_members();
        }
    }

    fn change_members(&mut self) {
        let node = self.config.node;
        let Some(layout) = self.control.layout() else { return };
        let peers = &self.peers;
        for group in self.groups.iter_mut().filter(|group| group.is_serving()) {
            let wanted = layout.holders(group.id);
            let members = group.replica.group_members();
            if wanted.is_empty() || group.changes_members() {
                continue;
            }
            let has_all = |node| peers.is_up(node) && group.replica.has_all(node);
            if let Some(step) = members.step_towards(wanted, node, has_all) {
                let next = members.after(step);
                group.control.push(ControlItem::Members(next));
                self.again = true;
            } else if !wanted.contains(&node) {
                // It is the last that has to go, and hands over first.
                self.leadership.look_now();
            }
        }
    }

    fn ask_for_members(&mut self) {
        let node = self.config.node;
        let layout = self.control.layout();
        for index in 0..self.groups.len() {
            let held = self.groups.at(index);
            let group = held.id;
            let shall_hold = layout.is_some_and(|layout| layout.holders(group).contains(&node));
            if (!shall_hold || !held.hears_leader())
                && !self.holdings.leaving.contains(&group)
                && let Some(leader) = self.cluster.leading(group)
                && leader.node != node
            {
                self.peers.ask_members(leader.node, group);
            }
        }
    }

    /// Another node goes by an older layout than this one.
    pub(super) fn tell_layout(&mut self, reply: ReplyTo) {
        let layout = self.control.layout();
        self.peers.answer(reply, |out| wire::put_layout(layout, out));
    }

    /// Another node goes by a newer one.
    pub(super) fn on_layout(&mut self, layout: Layout) {
        self.control.hear_of_layout(layout);
        // It is followed in the next turn.
        self.again = true;
    }

    /// Somebody wants to know whether it still belongs to a group that is led here.
    pub(super) fn tell_members(&mut self, group: GroupId, reply: ReplyTo) {
        let layout = self.control.layout();
        let led = self.groups.get(group).filter(|group| group.is_serving());
        let told = led.zip(layout).map(|(group, layout)| MembersTold {
            epoch: layout.epoch,
            term: group.replica.term(),
            members: group.replica.group_members().clone(),
        });
        self.peers.answer(reply, |out| wire::put_members(told.as_ref(), out));
    }

    /// A group's leader says who belongs to it.
    pub(super) fn on_members(&mut self, group: GroupId, told: &MembersTold) {
        let node = self.config.node;
        let Some(layout) = self.control.layout() else { return };
        let Some(held) = self.groups.get_mut(group) else { return };
        let known = (held.replica.group_members().version, held.reach().last.term);
        if is_out(node, group, told, known, layout) && self.holdings.leaving.insert(group) {
            held.following.close();
        }
    }

    /// Deletes the groups that this node belongs to no longer, between two turns.
    pub(super) fn let_go(&mut self) {
        let quiet = |group: &GroupId| self.groups.get(*group).is_none_or(|it| it.is_at_rest());
        let done: Vec<GroupId> = self.holdings.leaving.iter().copied().filter(quiet).collect();
        for group in done {
            self.holdings.leaving.remove(&group);
            let Some(removed) = self.groups.remove(group) else { continue };
            self.answer_for(removed);
            self.fetches.on_truncated(group, Position(0));
            self.repairs.forget(group);
            // Should it come back, then as one that has lost its journal: what it had acknowledged
            // counts for those who elect a leader without having heard that it went.
            let checkpoint = Bytes::from(marker(group, None));
            self.outputs.push_back(Output::RemoveGroup { group, checkpoint });
            let line = format!("group {group} is held by other nodes now, and was deleted here");
            self.outputs.push_back(Output::Log { level: LogLevel::Info, line });
            // The layout may have given it back meanwhile.
            if let Some(layout) = self.control.layout().cloned() {
                self.create_if_missing(&layout, group);
            }
        }
    }

    /// Whoever waits for an answer of a group that goes is told that it isn't here: a connection
    /// on which one is missing can ask no more after a while.
    fn answer_for(&mut self, mut removed: Group<P>) {
        for to in removed.following.abandon() {
            self.answer_received(ReceivedAnswer::nothing(to));
        }
        for to in removed.give_up_filling() {
            self.answer_standing(to, Standing::Absent);
        }
    }

    /// Notes what the data directories of nodes have drawn, so that an empty one under the same id
    /// is known for what it is.
    fn note_directories(&mut self) {
        if self.cluster.shard() != CATALOG_SHARD || !self.leads_catalog() {
            return;
        }
        let layout = self.control.catalog.layout();
        let own = (self.config.node, self.config.directory);
        // One after the other: each is made from the layout before.
        let next = self
            .peers
            .seen_directories()
            .chain([own])
            .find_map(|(node, directory)| layout.with_directory(node, directory));
        if let Some(layout) = next {
            self.propose_layout(layout, CommandWaiter::Nobody);
        }
    }

    /// Whether this node leads group 0, so that it needs not ask another.
    fn leads_catalog(&self) -> bool {
        self.groups.get(CATALOG_GROUP).is_some_and(|group| group.is_serving())
    }

    pub(super) fn propose_layout(&mut self, layout: Layout, waiter: CommandWaiter) {
        let command = Command::SetLayout { layout: Box::new(layout) };
        let (cluster, groups) = (&self.cluster, &mut self.groups);
        self.control.propose(command, waiter, cluster, groups, &mut self.outputs);
    }
}

/// Whether a node belongs to a group no longer, by what the group's leader has `told`. `known` are
/// the number of changes of members that are applied here and the term of the last entry, `layout`
/// is what this node goes by.
fn is_out(
    node: NodeId,
    group: GroupId,
    told: &MembersTold,
    known: (u64, Term),
    layout: &Layout,
) -> bool {
    // One that was replaced, and doesn't know it yet, doesn't know either whether its successor has
    // taken this node in again. If that one has sent anything, it is of a later term.
    let (version, term) = known;
    let is_current = told.members.version >= version && told.term >= term;
    // Who goes by a newer layout may be about to take it in. It is asked for that, and this again.
    let shall_not = told.epoch <= layout.epoch && !layout.holders(group).contains(&node);
    is_current && shall_not && !told.members.has(node)
}

/// A group that was just made has nothing to be read.
struct NothingWritten;

impl SegmentSource for NothingWritten {
    fn read(&mut self, group: GroupId, _: SegmentId, _: u64, _: &mut [u8]) -> Result<(), String> {
        Err(format!("group {group} was just made"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId(1);

    /// By which group 1 lies on nodes 0 and 1 of three.
    fn layout(epoch: u64) -> Layout {
        let mut layout = Layout::formed(2, &[NodeId(0), NodeId(1), NodeId(2)]);
        layout.groups[1].nodes = vec![NodeId(0), NodeId(1)];
        Layout { epoch, ..layout }
    }

    fn told(epoch: u64, term: u64) -> MembersTold {
        let members = Members { version: 7, ..Members::formed(vec![NodeId(0), NodeId(1)]) };
        MembersTold { epoch, term: Term(term), members }
    }

    #[test]
    fn who_is_no_member_and_shall_be_none_is_out() {
        let known = (7, Term(4));
        assert!(is_out(NodeId(2), GROUP, &told(5, 4), known, &layout(5)));
        assert!(is_out(NodeId(2), GROUP, &told(5, 9), (3, Term(4)), &layout(6)));
        assert!(!is_out(NodeId(1), GROUP, &told(5, 4), known, &layout(5)), "it is a member");
    }

    #[test]
    fn nobody_is_out_who_may_have_been_taken_in_again() {
        let node = NodeId(2);
        assert!(!is_out(node, GROUP, &told(5, 4), (8, Term(4)), &layout(5)), "knows of a change");
        assert!(!is_out(node, GROUP, &told(5, 4), (7, Term(5)), &layout(5)), "of another leader");
        assert!(!is_out(node, GROUP, &told(6, 4), (7, Term(4)), &layout(5)), "of an older layout");
        let mut again = layout(6);
        again.groups[1].nodes.push(node);
        assert!(!is_out(node, GROUP, &told(5, 4), (7, Term(4)), &again), "shall hold it");
    }
}
