//! The catalog on this shard, and how it changes.
//!
//! Shard 0 hosts group 0, whose journal holds the catalog's commands. A command goes: any shard ->
//! shard 0 -> group 0's journal -> committed -> applied on shard 0, then on every other shard ->
//! acknowledged by all of them -> whoever asked is told. So a client that was told that its topic
//! exists finds it on every shard.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::journal::page::Page;
use crate::metadata::{Applied, Catalog, CatalogError, Command, Layout};
use crate::model::ids::{GroupId, PartitionKey, ShardId};
use crate::partition::Partition;
use crate::shard::cluster::Cluster;
use crate::shard::follow::ReplyTo;
use crate::shard::group::{ControlItem, Group};
use crate::shard::groups::Groups;
use crate::shard::message::ShardMessage;
use crate::shard::output::Output;

/// The group whose journal holds the catalog.
pub const CATALOG_GROUP: GroupId = GroupId(0);
/// The shard it runs on, on every node.
pub const CATALOG_SHARD: ShardId = ShardId(0);

/// Who asked for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandTicket {
    /// A shard of this node, with its number for it.
    Shard { from: ShardId, request: u64 },
    /// Another node.
    Peer(ReplyTo),
}

/// Versions of the catalog whose commands' results are remembered on shard 0: so late may another
/// node's answer come that says which version a proposal became.
const RESULTS_KEPT: usize = 4096;
/// What a node says that was removed, and has let go of the catalog's group: ask another one.
const NO_CATALOG: CatalogError = CatalogError::NoLeader;
/// Proposals of this node that wait for a leader of group 0. Those beyond are refused.
const PROPOSALS_MAX: usize = 16_384;

/// A command that must go to another node.
#[derive(Debug)]
pub struct Proposal {
    pub number: u64,
    pub command: Command,
    ticket: CommandTicket,
}

/// What waits on this shard for a command of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandWaiter {
    /// One part of an admin request.
    Admin { request: usize, part: usize },
    /// The shard's next block of producer ids.
    ProducerIds,
    /// A visitor, who asked for another layout.
    Visitor(ReplyTo),
    /// Nothing: a topic that is created on the side.
    Nobody,
}

/// A command of this shard that is done.
#[derive(Clone, Debug)]
pub struct CommandDone {
    pub waiter: CommandWaiter,
    pub result: Result<Applied, CatalogError>,
}

/// The catalog and the commands under way.
#[derive(Debug)]
pub struct Control {
    pub catalog: Catalog,
    /// Whether `catalog` is shard 0's, and no longer the empty one of the start.
    has_catalog: bool,
    /// The newest layout that another node had.
    heard: Option<Layout>,
    next_request: u64,
    waiting: FxHashMap<u64, CommandWaiter>,
    /// On shard 0: applied here, not yet acknowledged by all.
    spreading: VecDeque<Spreading>,
    done: VecDeque<CommandDone>,
    /// On shard 0 while another node leads group 0: commands to be sent there.
    proposals: VecDeque<Proposal>,
    next_proposal: u64,
    /// Those that were sent, by their numbers.
    proposed: FxHashMap<u64, CommandTicket>,
    /// Those that were accepted, by the version that they will be here.
    accepted: FxHashMap<u64, CommandTicket>,
    /// What the last commands came to: the version of the first, and one after the other.
    results: VecDeque<(u64, Result<Applied, CatalogError>)>,
    /// Answers for other nodes.
    answers: Vec<(ReplyTo, Option<u64>)>,
}

#[derive(Debug)]
struct Spreading {
    version: u64,
    missing: u16,
    ticket: Option<CommandTicket>,
    result: Result<Applied, CatalogError>,
}

impl Control {
    /// The catalog of a shard that was just started. Shard 0 has it from its checkpoint.
    pub fn new(catalog: Catalog) -> Control {
        Control {
            catalog,
            has_catalog: false,
            heard: None,
            next_request: 0,
            waiting: FxHashMap::default(),
            spreading: VecDeque::new(),
            done: VecDeque::new(),
            proposals: VecDeque::new(),
            next_proposal: 0,
            proposed: FxHashMap::default(),
            accepted: FxHashMap::default(),
            results: VecDeque::new(),
            answers: Vec::new(),
        }
    }

    /// Whether requests can be answered from the catalog.
    pub fn has_catalog(&self) -> bool {
        self.has_catalog
    }

    /// The layout to go by: the catalog's, or the one that was heard of if that is newer. None as
    /// long as there is neither.
    pub fn layout(&self) -> Option<&Layout> {
        let own = self.has_catalog.then(|| self.catalog.layout());
        own.into_iter().chain(&self.heard).max_by_key(|layout| layout.epoch)
    }

    /// Another node goes by this layout. It was committed, or nobody would.
    pub fn hear_of_layout(&mut self, layout: Layout) {
        // What a checkpoint had isn't gone by as long as it may be old.
        let known = self.heard.as_ref().map(|heard| heard.epoch);
        if layout.epoch >= self.catalog.layout().epoch && known < Some(layout.epoch) {
            self.heard = Some(layout);
        }
    }

    /// Has a command applied, wherever group 0 is.
    pub fn propose<P: Page>(
        &mut self,
        command: Command,
        waiter: CommandWaiter,
        cluster: &Cluster,
        groups: &mut Groups<P>,
        outputs: &mut VecDeque<Output<P>>,
    ) {
        let request = self.next_request;
        self.next_request += 1;
        self.waiting.insert(request, waiter);
        match groups.get_mut(CATALOG_GROUP) {
            Some(group) => {
                let ticket = CommandTicket::Shard { from: cluster.shard(), request };
                self.queue(command, ticket, group, outputs);
            }
            None if cluster.shard() == CATALOG_SHARD => self.finish(request, Err(NO_CATALOG)),
            None => outputs.push_back(Output::SendShard {
                to: CATALOG_SHARD,
                message: ShardMessage::Propose { request, command },
            }),
        }
    }

    /// On shard 0: has a command appended here, if this node leads, or sent to the one that does.
    fn queue<P: Page>(
        &mut self,
        command: Command,
        ticket: CommandTicket,
        group: &mut Group<P>,
        outputs: &mut VecDeque<Output<P>>,
    ) {
        if group.replica.is_leader() {
            group.control.push(ControlItem::Command { command, ticket: Some(ticket) });
        } else if self.proposals.len() < PROPOSALS_MAX {
            let number = self.next_proposal;
            self.next_proposal += 1;
            self.proposals.push_back(Proposal { number, command, ticket });
        } else {
            self.tell(ticket, Err(CatalogError::NoLeader), ShardId(0), outputs);
        }
    }

    /// On shard 0: a command of another node, to be appended if this one leads.
    pub fn on_proposal<P: Page>(&mut self, command: &[u8], reply: ReplyTo, groups: &mut Groups<P>) {
        let group = groups.get_mut(CATALOG_GROUP).filter(|group| group.is_serving());
        match (group, Command::decode(command)) {
            (Some(group), Ok(command)) => {
                let ticket = Some(CommandTicket::Peer(reply));
                group.control.push(ControlItem::Command { command, ticket });
            }
            _ => self.answers.push((reply, None)),
        }
    }

    /// The next command that is to be sent to the leader of group 0. If it can't be sent, it must
    /// be put back.
    pub fn poll_proposal(&mut self) -> Option<Proposal> {
        self.proposals.pop_front()
    }

    /// A command that could not be sent.
    pub fn put_back(&mut self, proposal: Proposal) {
        self.proposals.push_front(proposal);
    }

    /// A command was sent.
    pub fn sent(&mut self, proposal: &Proposal) {
        self.proposed.insert(proposal.number, proposal.ticket);
    }

    /// This node leads group 0 now: what waits to be sent elsewhere is appended here.
    pub fn append_proposals<P: Page>(&mut self, group: &mut Group<P>) {
        for Proposal { command, ticket, .. } in self.proposals.drain(..) {
            group.control.push(ControlItem::Command { command, ticket: Some(ticket) });
        }
    }

    /// Another node says which version a proposal became, or that it didn't.
    pub fn on_proposed<P: Page>(
        &mut self,
        proposal: u64,
        version: Option<u64>,
        cluster: &Cluster,
        outputs: &mut VecDeque<Output<P>>,
    ) {
        let Some(ticket) = self.proposed.remove(&proposal) else { return };
        let Some(version) = version else {
            return self.tell(ticket, Err(CatalogError::NoLeader), cluster.shard(), outputs);
        };
        if version > self.catalog.version {
            self.accepted.insert(version, ticket);
            return;
        }
        if let Some(spreading) = self.spreading.iter_mut().find(|it| it.version == version) {
            spreading.ticket = Some(ticket);
            return;
        }
        let known = self.results.iter().find(|(known, _)| *known == version);
        let result = known.map_or(Err(CatalogError::NoLeader), |(_, result)| result.clone());
        self.tell(ticket, result, cluster.shard(), outputs);
    }

    /// A command of ours was cut off before it was committed, or never appended.
    pub fn lost<P: Page>(
        &mut self,
        ticket: Option<CommandTicket>,
        cluster: &Cluster,
        outputs: &mut VecDeque<Output<P>>,
    ) {
        if let Some(ticket) = ticket {
            self.tell(ticket, Err(CatalogError::NoLeader), cluster.shard(), outputs);
        }
    }

    /// Answers for other nodes: the version of the catalog that a proposal became, if it did.
    pub fn take_answers(&mut self) -> Vec<(ReplyTo, Option<u64>)> {
        std::mem::take(&mut self.answers)
    }

    /// On shard 0: a command of group 0's journal is committed.
    pub fn committed<P: Page>(
        &mut self,
        command: Command,
        ticket: Option<CommandTicket>,
        cluster: &Cluster,
        groups: &mut Groups<P>,
        outputs: &mut VecDeque<Output<P>>,
    ) {
        let result = self.catalog.apply(&command);
        if let Ok(applied) = &result {
            follow(&self.catalog, applied, groups);
        }
        let version = self.catalog.version;
        let ticket = ticket.or_else(|| self.accepted.remove(&version));
        if cluster.has_others() {
            if self.results.len() == RESULTS_KEPT {
                self.results.pop_front();
            }
            self.results.push_back((version, result.clone()));
        }
        let mut missing = 0;
        if self.has_catalog {
            for to in cluster.other_shards() {
                missing += 1;
                let message = ShardMessage::Applied { version, command: command.clone() };
                outputs.push_back(Output::SendShard { to, message });
            }
        }
        self.spreading.push_back(Spreading { version, missing, ticket, result });
        self.settle(cluster, outputs);
    }

    /// On shard 0, once its groups serve: hands the catalog to the other shards.
    pub fn publish<P: Page>(
        &mut self,
        cluster: &Cluster,
        groups: &mut Groups<P>,
        outputs: &mut VecDeque<Output<P>>,
    ) {
        self.has_catalog = true;
        adopt(&self.catalog, groups);
        let mut snapshot = Vec::new();
        self.catalog.encode(&mut snapshot);
        for to in cluster.other_shards() {
            let message = ShardMessage::Catalog { snapshot: snapshot.clone() };
            outputs.push_back(Output::SendShard { to, message });
        }
    }

    /// On shard 0: group 0 goes on from a snapshot, and the catalog with it. What was decided
    /// meanwhile, and by whom, isn't known here.
    pub fn replace<P: Page>(
        &mut self,
        catalog: Catalog,
        cluster: &Cluster,
        groups: &mut Groups<P>,
        outputs: &mut VecDeque<Output<P>>,
    ) {
        self.catalog = catalog;
        let version = self.catalog.version;
        let mut passed: Vec<u64> =
            self.accepted.keys().copied().filter(|it| *it <= version).collect();
        passed.sort_unstable();
        for version in passed {
            if let Some(ticket) = self.accepted.remove(&version) {
                self.tell(ticket, Err(CatalogError::NoLeader), cluster.shard(), outputs);
            }
        }
        if self.has_catalog {
            self.publish(cluster, groups, outputs);
        }
    }

    /// A group goes on from a snapshot: its partitions are brought in line with the catalog.
    pub fn adopt_partitions<P: Page>(&self, groups: &mut Groups<P>) {
        if self.has_catalog {
            adopt(&self.catalog, groups);
        }
    }

    /// A group was made here: it gets the partitions that it has by the catalog.
    pub fn fill_group<P: Page>(&self, group: GroupId, groups: &mut Groups<P>) {
        let placed = self.catalog.topics().flat_map(|topic| &topic.partitions);
        for placement in placed.filter(|placement| placement.group == group) {
            add_partition(&self.catalog, placement.key, groups);
        }
    }

    /// Takes a message of another shard that is about the catalog.
    pub fn on_message<P: Page>(
        &mut self,
        from: ShardId,
        message: ShardMessage,
        cluster: &Cluster,
        groups: &mut Groups<P>,
        outputs: &mut VecDeque<Output<P>>,
    ) {
        match message {
            ShardMessage::Catalog { snapshot } => {
                self.catalog = Catalog::decode(&snapshot).expect("shard 0 has just encoded it");
                self.has_catalog = true;
                adopt(&self.catalog, groups);
            }
            ShardMessage::Applied { version, command } => {
                if let Ok(applied) = self.catalog.apply(&command) {
                    follow(&self.catalog, &applied, groups);
                }
                assert_eq!(self.catalog.version, version, "commands come in order");
                let message = ShardMessage::Acknowledged { version };
                outputs.push_back(Output::SendShard { to: from, message });
            }
            ShardMessage::Acknowledged { version } => {
                for spreading in &mut self.spreading {
                    if spreading.version == version {
                        spreading.missing -= 1;
                    }
                }
                self.settle(cluster, outputs);
            }
            ShardMessage::Propose { request, command } => {
                let ticket = CommandTicket::Shard { from, request };
                match groups.get_mut(CATALOG_GROUP) {
                    Some(group) => self.queue(command, ticket, group, outputs),
                    None => self.tell(ticket, Err(NO_CATALOG), cluster.shard(), outputs),
                }
            }
            ShardMessage::Done { request, result } => self.finish(request, result),
            ShardMessage::Leads { .. } | ShardMessage::Node { .. } => {}
        }
    }

    /// Tells those whose commands every shard has applied, in order.
    fn settle<P>(&mut self, cluster: &Cluster, outputs: &mut VecDeque<Output<P>>) {
        while self.spreading.front().is_some_and(|spreading| spreading.missing == 0) {
            let Some(spreading) = self.spreading.pop_front() else { return };
            match spreading.ticket {
                Some(CommandTicket::Peer(reply)) => {
                    self.answers.push((reply, Some(spreading.version)));
                }
                Some(ticket) => self.tell(ticket, spreading.result, cluster.shard(), outputs),
                None => {}
            }
        }
    }

    /// Tells who asked for a command what became of it.
    fn tell<P>(
        &mut self,
        ticket: CommandTicket,
        result: Result<Applied, CatalogError>,
        own: ShardId,
        outputs: &mut VecDeque<Output<P>>,
    ) {
        match ticket {
            CommandTicket::Shard { from, request } if from == own => self.finish(request, result),
            CommandTicket::Shard { from, request } => {
                let message = ShardMessage::Done { request, result };
                outputs.push_back(Output::SendShard { to: from, message });
            }
            CommandTicket::Peer(reply) => self.answers.push((reply, None)),
        }
    }

    fn finish(&mut self, request: u64, result: Result<Applied, CatalogError>) {
        if let Some(waiter) = self.waiting.remove(&request) {
            self.done.push_back(CommandDone { waiter, result });
        }
    }

    /// A command of this shard that is done, if there is one.
    pub fn poll_done(&mut self) -> Option<CommandDone> {
        self.done.pop_front()
    }
}

/// Makes or drops the partitions that a command made or dropped.
fn follow<P: Page>(catalog: &Catalog, applied: &Applied, groups: &mut Groups<P>) {
    match applied {
        Applied::TopicCreated { keys, .. } | Applied::PartitionsCreated { keys, .. } => {
            for key in keys {
                add_partition(catalog, *key, groups);
            }
        }
        Applied::TopicDeleted { keys, .. } => {
            for group in groups.iter_mut() {
                for key in keys {
                    group.partitions.remove(*key);
                }
            }
        }
        _ => {}
    }
}

fn add_partition<P: Page>(catalog: &Catalog, key: PartitionKey, groups: &mut Groups<P>) {
    let Some((topic, number)) = catalog.partition(key) else { return };
    let placement = topic.partitions[number as usize];
    if let Some(group) = groups.get_mut(placement.group) {
        group.partitions.insert(Partition::new(key));
    }
}

/// Brings the partitions that recovery found, or that other nodes have sent, in line with a whole
/// catalog: those that are missing are empty, and those that were deleted go. One that it doesn't
/// know yet stays: another group's journal may be ahead of the catalog's.
fn adopt<P: Page>(catalog: &Catalog, groups: &mut Groups<P>) {
    for group in groups.iter_mut() {
        let deleted: Vec<PartitionKey> = group
            .partitions
            .iter()
            .map(|partition| partition.key)
            .filter(|key| catalog.was_deleted(*key))
            .collect();
        for key in deleted {
            group.partitions.remove(key);
        }
    }
    for topic in catalog.topics() {
        for placement in &topic.partitions {
            add_partition(catalog, placement.key, groups);
        }
    }
}
