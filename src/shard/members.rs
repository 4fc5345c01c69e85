//! The part of a turn that deals with other nodes: what they have said, what a group's Raft has
//! for them, and what a change of leaders means here.

use std::time::Duration;

use bytes::Bytes;

use crate::journal::page::Page;
use crate::metadata::Layout;
use crate::model::ids::{GroupId, NodeId, ReadId, ShardId, shard_of_group};
use crate::model::time::{Now, Time};
use crate::replica::{Incoming, Outgoing};
use crate::shard::catch_up::CatchUpWork;
use crate::shard::cluster::{Leader, Node};
use crate::shard::control::CATALOG_GROUP;
use crate::shard::follow::{GroupWork, ReceivedAnswer, ReplyTo};
use crate::shard::group::{ControlItem, Group};
use crate::shard::message::ShardMessage;
use crate::shard::output::{LogLevel, Output, Part};
use crate::shard::peers::snapshot_wire::Standing;
use crate::shard::peers::{PeerEvent, wire};
use crate::shard::produce::ProduceOutcome;
use crate::shard::repair::FoundBy;
use crate::shard::snapshot_transfer::send::SNAPSHOT_READ;
use crate::shard::{Shard, State};

/// One tick of Raft's clock. A leader is heard every tick; who hears nothing for ten to twenty
/// stands for election.
pub const RAFT_TICK: Duration = Duration::from_millis(30);

/// The groups that run on this shard, of all that there are, whoever holds them.
pub(super) fn groups_of_shard(layout: &Layout, shard: ShardId, shards: u16) -> Vec<GroupId> {
    let groups = (0..layout.groups.len() as u32).map(GroupId);
    groups.filter(|group| shard_of_group(*group, shards) == shard).collect()
}

impl<P: Page> Shard<P> {
    /// Hears what other nodes have said, and lets Raft's clock tick.
    pub(super) fn hear_members(&mut self, now: Now) {
        self.repairs.has_others(self.cluster.has_others());
        if !self.cluster.has_others() {
            // A tool may ask, also of a node that is alone.
            if self.peers.has_links() {
                self.hear_peers(now);
            }
            return;
        }
        if self.next_tick <= now.time {
            // One tick, however late: a process that was paused must not stand for election at
            // once, before it has read what its leader has sent.
            self.next_tick = now.time + RAFT_TICK;
            self.groups.iter_mut().for_each(Group::tick);
            for index in 0..self.groups.len() {
                let work = self.groups.at_mut(index).catch_up(now.time);
                self.do_catch_up(index, work);
            }
            self.nudge_leaders(now.time);
            self.tend_members(now.time);
            self.balance_leaders(now.time);
        }
        self.hear_peers(now);
    }

    fn hear_peers(&mut self, now: Now) {
        self.peers.advance(now.time, &mut self.outputs);
        for event in self.peers.take_events() {
            self.on_peer_event(event, now);
        }
    }

    pub(super) fn do_catch_up(&mut self, index: usize, work: Vec<CatchUpWork<P>>) {
        let group = self.groups.at(index).id;
        for work in work {
            match work {
                CatchUpWork::Ask { to } => {
                    if !self.peers.ask_where(to, group) {
                        self.groups.at_mut(index).catch_ups.forget(to);
                    }
                }
                CatchUpWork::Read { read, segment, at, bytes } => {
                    let read = Output::ReadJournal { group, read, segment, at, bytes };
                    self.member_reads.add(read, bytes);
                }
                CatchUpWork::Send { message, entries } => {
                    let to = message.to;
                    let entries = entries.into_iter().collect();
                    self.peers.send_raft(to, group, |out| message.encode(out), entries);
                }
                CatchUpWork::Offer { to, offer } => {
                    self.peers.offer_snapshot(to, group, offer);
                }
                CatchUpWork::Part { to, head, part } => {
                    self.peers.send_part(to, group, head, part);
                }
                CatchUpWork::Damaged { at, previous_crc } => {
                    let own = self.groups.at(index);
                    let outputs = &mut self.outputs;
                    self.repairs.damaged(own, at, previous_crc, FoundBy::CatchUp, outputs);
                }
                CatchUpWork::Note(level, line) => {
                    let line = format!("group {group}: {line}");
                    self.outputs.push_back(Output::Log { level, line });
                }
            }
        }
    }

    /// A part of a journal was read for a member that lacks it.
    pub(super) fn on_catch_up_read(
        &mut self,
        group: GroupId,
        read: ReadId,
        page: Option<P>,
        now: Now,
    ) {
        self.member_reads.done();
        let Some(index) = self.groups.index(group) else { return };
        let own = self.groups.at_mut(index);
        let work = match read.0 & SNAPSHOT_READ {
            0 => own.on_catch_up_read(read, page, now.time),
            _ => own.on_snapshot_read(read, page, now.time),
        };
        self.do_catch_up(index, work);
    }

    fn on_peer_event(&mut self, event: PeerEvent, now: Now) {
        match event {
            PeerEvent::Up { node: id, shards, host, port } => {
                self.spread_node(id, Node { host, port, shards, is_up: true });
                self.tell_leads_to(id);
            }
            PeerEvent::Down { node } => self.on_node_down(node),
            PeerEvent::Raft { from, group, message, reply } => {
                self.on_raft(from, group, &message, reply);
            }
            PeerEvent::Received { from, group, term, index } => {
                if let Some(at) = self.groups.index(group) {
                    let group = self.groups.at_mut(at);
                    group.on_answer(from, term);
                    group.replica.on_received(from, term, index);
                    if group.on_caught_up(from, index, now.time) {
                        let work = group.catch_up(now.time);
                        self.do_catch_up(at, work);
                    }
                }
            }
            PeerEvent::Where { group, reply } => {
                let standing = self.groups.get(group).map(Group::standing);
                self.answer_standing(reply, standing.unwrap_or(Standing::Absent));
            }
            PeerEvent::Stands { from, group, standing, unasked } => {
                self.on_standing(from, group, standing, unasked, now.time);
            }
            PeerEvent::Offered { from, group, offer, reply } => {
                self.on_offer(from, group, offer, reply, now);
            }
            PeerEvent::Part { group, head, bytes, reply } => {
                self.on_part(group, head, bytes, reply, now);
            }
            PeerEvent::AsksMembers { group, reply } => self.tell_members(group, reply),
            PeerEvent::Members { group, told } => self.on_members(group, &told),
            PeerEvent::AsksLayout { reply } => self.tell_layout(reply),
            PeerEvent::Layout(layout) => self.on_layout(*layout),
            PeerEvent::Visit { visit, reply } => self.on_visit(visit, reply),
            PeerEvent::Leads { node, group, term } => {
                self.learn_leader(group, Leader { node, term })
            }
            PeerEvent::Propose { command, reply } => {
                self.control.on_proposal(&command, reply, &mut self.groups);
            }
            PeerEvent::Proposed { proposal, version } => {
                let (cluster, outputs) = (&self.cluster, &mut self.outputs);
                self.control.on_proposed(proposal, version, cluster, outputs);
            }
            PeerEvent::Asked { question, reply } => self.on_journal_question(question, reply),
            PeerEvent::AsksDamaged { group, reply } => self.tell_damaged(group, reply),
            PeerEvent::Given { from, place, entry } => self.take_given(from, place, entry),
            PeerEvent::Entry { from, group, at, bytes } => self.on_entry(from, group, at, bytes),
            PeerEvent::Note(line) => {
                self.outputs.push_back(Output::Log { level: LogLevel::Warn, line });
            }
        }
    }

    fn on_raft(&mut self, from: NodeId, group: GroupId, message: &Bytes, reply: ReplyTo) {
        let mut rest = &message[..];
        let incoming = Incoming::decode(from, &mut rest);
        let payload = message.slice_ref(rest);
        let answer = match (self.groups.get_mut(group), incoming) {
            (Some(group), Ok(incoming)) => group.on_peer_message(incoming, payload, reply),
            _ => Some(ReceivedAnswer::nothing(reply)),
        };
        if let Some(answer) = answer {
            self.answer_received(answer);
        }
    }

    fn on_node_down(&mut self, id: NodeId) {
        for group in self.groups.iter_mut() {
            group.unreachable(id);
        }
        if let Some(node) = self.cluster.lost_node(id) {
            self.spread_node(id, node);
        }
    }

    pub(super) fn answer_received(&mut self, answer: ReceivedAnswer) {
        self.peers.answer(answer.to, |out| wire::put_received(answer.term, answer.index, out));
    }

    fn spread_node(&mut self, id: NodeId, node: Node) {
        self.cluster.learn_node(id, node.clone());
        for to in self.cluster.other_shards() {
            let message = ShardMessage::Node { id, node: node.clone() };
            self.outputs.push_back(Output::SendShard { to, message });
        }
    }

    /// Tells a node that was just connected which groups are served here.
    fn tell_leads_to(&mut self, node: NodeId) {
        let places: Vec<_> = self.peers.places_of(node).collect();
        let own = self.groups.iter().filter(|group| group.is_serving());
        let led: Vec<_> = own.map(|group| (group.id, group.replica.term())).collect();
        for (group, term) in led {
            for place in &places {
                self.peers.tell_leads_to(*place, group, term);
            }
        }
    }

    pub(super) fn learn_leader(&mut self, group: GroupId, leader: Leader) {
        if self.cluster.learn(group, leader) {
            if leader.node != self.cluster.node() {
                self.fetches.on_led_elsewhere(group);
            }
            for to in self.cluster.other_shards() {
                let message = ShardMessage::Leads { group, leader };
                self.outputs.push_back(Output::SendShard { to, message });
            }
        }
    }

    /// Does what a group's Raft asks for.
    pub(super) fn work(&mut self, index: usize, now: Now) {
        loop {
            let catalog = &self.control.catalog;
            let group = self.groups.at_mut(index);
            let id = group.id;
            let Some(work) = group.work(now, &|key| catalog.was_deleted(key)) else { return };
            match work {
                GroupWork::WriteVote { write, at, page } => {
                    self.outputs.push_back(Output::WriteVote { group: id, write, at, page });
                }
                GroupWork::Send(message) => self.send_raft(index, &message),
                GroupWork::Received(answer) => self.answer_received(answer),
                GroupWork::Lost(item) => self.lose(item),
                GroupWork::Truncated(cut) => self.fetches.on_truncated(id, cut),
                GroupWork::Differs(why) => {
                    let reason = format!(
                        "group {id}: the journal of this node differs from its leader's: {why}. \
                         Nothing was changed. Compare the nodes with 'hutong journal verify'"
                    );
                    self.outputs.push_back(Output::Fatal { reason });
                    return;
                }
            }
        }
    }

    fn send_raft(&mut self, index: usize, message: &Outgoing) {
        let group = self.groups.at(index);
        let mut pages = Vec::with_capacity(message.places.len());
        for place in &message.places {
            // Raft's log begins where the cache does.
            let Some(entry) = group.journal.cached(place.position) else { return };
            let (page, end) = (entry.page.clone(), place.bytes as usize);
            pages.push(Part::Page { page, start: 0, end });
        }
        self.peers.send_raft(message.to, group.id, |out| message.encode(out), pages);
    }

    /// Something that somebody waits for was cut off, or can't be appended any more.
    fn lose(&mut self, item: ControlItem) {
        match item {
            ControlItem::Command { ticket, .. } => {
                self.control.lost(ticket, &self.cluster, &mut self.outputs);
            }
            ControlItem::LogStart { request: Some(request), .. } => {
                let connections = &mut self.connections;
                let (id, part) = (request.request, request.part);
                self.admin_requests.log_start_lost(id, part, connections);
            }
            ControlItem::LogStart { .. } => {}
            // Whoever waits is answered when the coordinator is dropped, in the next turn.
            ControlItem::Coordinator { .. } => {}
            // Whoever leads makes another one if it is still wanted.
            ControlItem::Members(_) => {}
        }
    }

    /// If this node has stopped leading a group, all that waits for it fails: the clients ask
    /// the new leader. Before anything is released: the positions that responses wait for may be
    /// those of another leader's entries by now.
    pub(super) fn fail_if_deposed(&mut self, index: usize) {
        if !self.cluster.has_others() {
            return;
        }
        let group = self.groups.at_mut(index);
        let id = group.id;
        let lost = group.has_lost_leadership();
        if lost {
            group.forget_batches();
        } else if group.replica.is_leader() || group.control.is_empty() {
            return;
        }
        // What was still put in afterwards must not wait for the day when this node leads again.
        let mut failed = Vec::new();
        group.pending.fail_all(|response| failed.push(response.answer));
        while let Some(batch) = group.queue.pop() {
            failed.push(batch.answer);
        }
        let control = std::mem::take(&mut group.control);
        let mut produce = self.produce();
        for answer in failed {
            produce.answer(answer, ProduceOutcome::Elsewhere(id));
        }
        for item in control {
            self.lose(item);
        }
    }

    /// Looks at who leads a group now, and tells it.
    pub(super) fn follow_leader(&mut self, index: usize) {
        let id = self.groups.at(index).id;
        let group = self.groups.at(index);
        let (node, term) = (self.cluster.node(), group.replica.term());
        if group.is_serving() {
            let leader = Leader { node, term };
            if self.cluster.leading(id) != Some(leader) {
                self.learn_leader(id, leader);
                self.peers.tell_leads(id, term);
            }
        } else if let Some(leader) = group.replica.leader().filter(|leader| *leader != node) {
            self.learn_leader(id, Leader { node: leader, term });
        }
    }

    /// Sends changes of the catalog to the node that decides on them.
    pub(super) fn send_proposals(&mut self) {
        if !self.cluster.has_others() {
            return;
        }
        for (to, version) in self.control.take_answers() {
            self.peers.answer(to, |out| wire::put_proposed(version, out));
        }
        let Some(group) = self.groups.get_mut(CATALOG_GROUP) else { return };
        if group.is_serving() {
            let before = group.control.len();
            self.control.append_proposals(group);
            // What was there before waits for room in the journal, and room comes with an input.
            self.again |= group.control.len() > before;
            return;
        }
        let leader = match group.is_filling() {
            true => self.cluster.leading(CATALOG_GROUP).map(|leader| leader.node),
            false => group.replica.leader(),
        };
        let Some(leader) = leader.filter(|leader| *leader != self.config.node) else { return };
        while let Some(proposal) = self.control.poll_proposal() {
            let mut command = Vec::new();
            proposal.command.encode(&mut command);
            if !self.peers.propose(leader, proposal.number, &command) {
                return self.control.put_back(proposal);
            }
            self.control.sent(&proposal);
        }
    }

    /// When to look again, if nothing comes.
    pub(super) fn next_member_deadline(&self) -> Option<Time> {
        let others = self.cluster.has_others() && self.state != State::Stopped;
        let deadlines = [self.peers.next_deadline(), self.member_reads.next_deadline()];
        others.then(|| deadlines.into_iter().flatten().fold(self.next_tick, Time::min))
    }
}
