//! What a shard does for snapshots: its part of a turn.

use bytes::Bytes;

use crate::journal::page::Page;
use crate::model::ids::{GroupId, NodeId};
use crate::model::position::Position;
use crate::model::time::{Now, Time};
use crate::shard::Shard;
use crate::shard::control::CATALOG_GROUP;
use crate::shard::follow::{ReceivedAnswer, ReplyTo};
use crate::shard::input::IoFailure;
use crate::shard::open;
use crate::shard::output::{LogLevel, Output};
use crate::shard::peers::snapshot_wire::{Offer, PartHead, Standing};
use crate::shard::snapshot_transfer::fill::FillWork;

impl<P: Page> Shard<P> {
    /// Another node says how it stands with a group that this one may lead.
    pub(in crate::shard) fn on_standing(
        &mut self,
        from: NodeId,
        group: GroupId,
        standing: Standing,
        unasked: bool,
        now: Time,
    ) {
        if let Some(index) = self.groups.index(group) {
            let work = self.groups.at_mut(index).on_standing(from, standing, unasked, now);
            self.do_catch_up(index, work);
        }
    }

    /// The leader of a group offers a snapshot.
    pub(in crate::shard) fn on_offer(
        &mut self,
        from: NodeId,
        group: GroupId,
        offer: Offer,
        reply: ReplyTo,
        now: Now,
    ) {
        match self.groups.index(group) {
            Some(index) => {
                let work = self.groups.at_mut(index).on_offer(from, offer, reply, now.time);
                self.do_fill(index, work, now);
            }
            None => self.answer_standing(reply, Standing::Absent),
        }
    }

    /// A part of a snapshot has come.
    pub(in crate::shard) fn on_part(
        &mut self,
        group: GroupId,
        head: PartHead,
        bytes: Bytes,
        reply: ReplyTo,
        now: Now,
    ) {
        match self.groups.index(group) {
            Some(index) => {
                let work = self.groups.at_mut(index).on_part(head, bytes, reply, now.time);
                self.do_fill(index, work, now);
            }
            None => self.answer_standing(reply, Standing::Absent),
        }
    }

    pub(in crate::shard) fn answer_standing(&mut self, to: ReplyTo, standing: Standing) {
        self.peers.answer(to, |out| standing.encode(out));
    }

    /// The turn of a group that is being filled, in the place of any other. Returns whether it is.
    pub(in crate::shard) fn fill(&mut self, index: usize, now: Now) -> bool {
        if !self.groups.at(index).is_filling() {
            return false;
        }
        let work = self.groups.at_mut(index).fill(now.time);
        self.do_fill(index, work, now);
        self.fail_if_deposed(index);
        self.give_out_journal(index);
        true
    }

    /// Members that are being filled and hear nothing tell their leaders so.
    pub(in crate::shard) fn nudge_leaders(&mut self, now: Time) {
        for group in self.groups.iter_mut().filter(|group| group.is_filling()) {
            let leader = self.cluster.leading(group.id).map(|leader| leader.node);
            if let Some(leader) = leader.filter(|leader| *leader != self.config.node)
                && let Some(standing) = group.nudge(now)
            {
                self.peers.tell_standing(leader, group.id, standing);
            }
        }
    }

    /// A checkpoint of a group was written, or could not be. Returns whether the group is being
    /// filled, so that it was part of that.
    pub(in crate::shard) fn on_fill_checkpoint(
        &mut self,
        index: usize,
        result: &Result<(), IoFailure>,
        now: Now,
    ) -> bool {
        if !self.groups.at(index).is_filling() {
            return false;
        }
        let work = self.groups.at_mut(index).on_fill_checkpoint(result.clone(), now.time);
        self.do_fill(index, work, now);
        true
    }

    fn do_fill(&mut self, index: usize, work: Vec<FillWork<P>>, now: Now) {
        let group = self.groups.at(index).id;
        for work in work {
            match work {
                FillWork::Answer { to, standing } => self.answer_standing(to, standing),
                FillWork::Refuse { to } => self.answer_received(ReceivedAnswer::nothing(to)),
                FillWork::WriteVote { write, at, page } => {
                    self.outputs.push_back(Output::WriteVote { group, write, at, page });
                }
                FillWork::WriteCheckpoint { position, bytes } => {
                    self.outputs.push_back(Output::WriteCheckpoint { group, position, bytes });
                }
                FillWork::Note(level, line) => {
                    let line = format!("group {group}: {line}");
                    self.outputs.push_back(Output::Log { level, line });
                }
                FillWork::Cleared => {
                    self.fetches.on_truncated(group, Position(0));
                    self.repairs.forget(group);
                }
                FillWork::Filled => self.filled(index, now),
            }
        }
    }

    /// All of a snapshot is on disk: the group goes on like one that was opened from there.
    fn filled(&mut self, index: usize, now: Now) {
        let group = self.groups.at_mut(index);
        let Some((checkpoint, replies, line)) = group.take_filled(now.time) else { return };
        let id = group.id;
        let catalog = open::go_on_from(&self.config, group, checkpoint);
        group.snapshots.metrics.received += 1;
        let standing = group.standing();
        for to in replies {
            self.answer_standing(to, standing);
        }
        let line = format!("group {id}: {line}");
        self.outputs.push_back(Output::Log { level: LogLevel::Info, line });
        match catalog.filter(|_| id == CATALOG_GROUP) {
            Some(catalog) => {
                let (cluster, outputs) = (&self.cluster, &mut self.outputs);
                self.control.replace(catalog, cluster, &mut self.groups, outputs);
            }
            None => self.control.adopt_partitions(&mut self.groups),
        }
        self.again = true;
    }
}
