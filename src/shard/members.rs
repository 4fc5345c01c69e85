//! The part of a turn that deals with other nodes: what they have said, what a group's Raft has
//! for them, and what a change of leaders means here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::journal::page::Page;
use crate::metadata::placement;
use crate::model::ids::{GroupId, NodeId, ReadId};
use crate::model::position::{LogIndex, Term};
use crate::model::time::{Now, Time};
use crate::replica::{Incoming, Outgoing};
use crate::shard::catch_up::CatchUpWork;
use crate::shard::cluster::{Leader, Node};
use crate::shard::control::{CATALOG_GROUP, CATALOG_SHARD};
use crate::shard::follow::{GroupWork, ReceivedAnswer};
use crate::shard::group::ControlItem;
use crate::shard::message::ShardMessage;
use crate::shard::output::{LogLevel, Output, Part};
use crate::shard::peers::{PeerEvent, wire};
use crate::shard::produce::ProduceOutcome;
use crate::shard::{Shard, ShardConfig, State};

/// One tick of Raft's clock. A leader is heard every tick; who hears nothing for ten to twenty
/// stands for election.
pub const RAFT_TICK: Duration = Duration::from_millis(30);

/// The groups of this shard that each other node holds as well.
pub(super) fn shared_groups(
    config: &ShardConfig,
    groups: impl Iterator<Item = GroupId>,
) -> BTreeMap<NodeId, Vec<GroupId>> {
    let nodes: Vec<NodeId> = config.nodes.iter().map(|address| address.node).collect();
    let mut shared = BTreeMap::<NodeId, Vec<GroupId>>::new();
    for group in groups {
        for node in placement::replicas(group, &nodes) {
            if node != config.node {
                shared.entry(node).or_default().push(group);
            }
        }
    }
    shared
}

impl<P: Page> Shard<P> {
    /// Hears what other nodes have said, and lets Raft's clock tick.
    pub(super) fn hear_members(&mut self, now: Now) {
        if !self.cluster.has_others() {
            return;
        }
        if self.next_tick <= now.time {
            // One tick, however late: a process that was paused must not stand for election at
            // once, before it has read what its leader has sent.
            self.next_tick = now.time + RAFT_TICK;
            self.groups.iter_mut().for_each(|group| group.replica.tick());
            for index in 0..self.groups.len() {
                let work = self.groups.at_mut(index).catch_up(now.time);
                self.do_catch_up(index, work);
            }
            self.balance_leaders(now.time);
        }
        self.peers.advance(now.time, &mut self.outputs);
        for event in self.peers.take_events() {
            self.on_peer_event(event, now);
        }
    }

    fn do_catch_up(&mut self, index: usize, work: Vec<CatchUpWork<P>>) {
        let group = self.groups.at(index).id;
        for work in work {
            match work {
                CatchUpWork::Ask { to } => {
                    self.peers.ask_where(to, group);
                }
                CatchUpWork::Read { read, segment, at, bytes } => {
                    self.outputs.push_back(Output::ReadJournal { group, read, segment, at, bytes });
                }
                CatchUpWork::Send { message, entries } => {
                    let to = message.to;
                    let entries = entries.into_iter().collect();
                    self.peers.send_raft(to, group, |out| message.encode(out), entries);
                }
                CatchUpWork::Note(line) => {
                    let line = format!("group {group}: {line}");
                    self.outputs.push_back(Output::Log { level: LogLevel::Error, line });
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
        let Some(index) = self.groups.index(group) else { return };
        let work = self.groups.at_mut(index).on_catch_up_read(read, page, now.time);
        self.do_catch_up(index, work);
    }

    fn on_peer_event(&mut self, event: PeerEvent, now: Now) {
        match event {
            PeerEvent::Up { node: id, shards, host, port } => {
                self.spread_node(id, Node { host, port, shards, is_up: true });
                self.tell_leads_to(id);
            }
            PeerEvent::Down { node: id } => {
                for group in self.groups.iter_mut() {
                    group.unreachable(id);
                }
                if let Some(node) = self.cluster.lost_node(id) {
                    self.spread_node(id, node);
                }
            }
            PeerEvent::Raft { from, group, message, reply } => {
                let mut rest = &message[..];
                let incoming = Incoming::decode(from, &mut rest);
                let payload = message.slice_ref(rest);
                let refused = ReceivedAnswer { to: reply, term: Term(0), index: LogIndex(0) };
                let answer = match (self.groups.get_mut(group), incoming) {
                    (Some(group), Ok(incoming)) => group.on_peer_message(incoming, payload, reply),
                    _ => Some(refused),
                };
                if let Some(answer) = answer {
                    self.answer_received(answer);
                }
            }
            PeerEvent::Received { from, group, term, index } => {
                if let Some(at) = self.groups.index(group) {
                    let group = self.groups.at_mut(at);
                    group.replica.on_received(from, term, index);
                    if group.on_caught_up(from, index, now.time) {
                        let work = group.catch_up(now.time);
                        self.do_catch_up(at, work);
                    }
                }
            }
            PeerEvent::Where { group, reply } => {
                let reach = self.groups.get(group).map(|group| group.reach());
                self.peers.answer(reply, |out| wire::put_reach(reach, out));
            }
            PeerEvent::Reaches { from, group, reach } => {
                if let Some(at) = self.groups.index(group) {
                    let work = self.groups.at_mut(at).on_reach(from, reach, now.time);
                    self.do_catch_up(at, work);
                }
            }
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
            PeerEvent::Note(line) => {
                self.outputs.push_back(Output::Log { level: LogLevel::Warn, line });
            }
        }
    }

    fn answer_received(&mut self, answer: ReceivedAnswer) {
        self.peers.answer(answer.to, |out| wire::put_received(answer.term, answer.index, out));
    }

    fn spread_node(&mut self, id: NodeId, node: Node) {
        self.cluster.learn_node(id, node.clone());
        for to in self.cluster.other_shards() {
            let message = ShardMessage::Node { id, node: node.clone() };
            self.outputs.push_back(Output::SendShard { to, message });
        }
    }

    /// Whether this shard tells other nodes what this one leads, also of groups of its other
    /// shards: these may have no connection to a node with which they share no group.
    pub(super) fn speaks_for_node(&self) -> bool {
        self.cluster.shard() == CATALOG_SHARD
    }

    /// Tells a node that was just connected which groups are served here.
    fn tell_leads_to(&mut self, node: NodeId) {
        let places: Vec<_> = self.peers.places_of(node).collect();
        let own = self.groups.iter().filter(|group| group.is_serving());
        let mut led: Vec<_> = own.map(|group| (group.id, group.replica.term())).collect();
        if self.speaks_for_node() {
            led.extend(self.cluster.led_here().filter(|(id, _)| self.groups.get(*id).is_none()));
        }
        for (group, term) in led {
            for place in &places {
                self.peers.tell_leads_to(*place, group, term);
            }
        }
    }

    pub(super) fn learn_leader(&mut self, group: GroupId, leader: Leader) {
        if self.cluster.learn(group, leader) {
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
        if !self.cluster.has_others() {
            return;
        }
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
        let Some(leader) = group.replica.leader() else { return };
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
        others
            .then(|| self.peers.next_deadline().map_or(self.next_tick, |at| at.min(self.next_tick)))
    }
}
