//! The catalog on this shard, and how it changes.
//!
//! Shard 0 hosts group 0, whose journal holds the catalog's commands. A command goes: any shard ->
//! shard 0 -> group 0's journal -> committed -> applied on shard 0, then on every other shard ->
//! acknowledged by all of them -> whoever asked is told. So a client that was told that its topic
//! exists finds it on every shard.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::journal::page::Page;
use crate::metadata::{Applied, Catalog, CatalogError, Command};
use crate::model::ids::{GroupId, PartitionKey, ShardId};
use crate::partition::Partition;
use crate::shard::cluster::Cluster;
use crate::shard::group::ControlItem;
use crate::shard::groups::Groups;
use crate::shard::message::ShardMessage;
use crate::shard::output::Output;

/// The group whose journal holds the catalog.
pub const CATALOG_GROUP: GroupId = GroupId(0);
/// The shard it runs on, on every node.
pub const CATALOG_SHARD: ShardId = ShardId(0);

/// Who asked for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandTicket {
    pub from: ShardId,
    pub request: u64,
}

/// What waits on this shard for a command of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandWaiter {
    /// One part of an admin request.
    Admin { request: usize, part: usize },
    /// The shard's next block of producer ids.
    ProducerIds,
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
    next_request: u64,
    waiting: FxHashMap<u64, CommandWaiter>,
    /// On shard 0: applied here, not yet acknowledged by all.
    spreading: VecDeque<Spreading>,
    done: VecDeque<CommandDone>,
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
            next_request: 0,
            waiting: FxHashMap::default(),
            spreading: VecDeque::new(),
            done: VecDeque::new(),
        }
    }

    /// Whether requests can be answered from the catalog.
    pub fn has_catalog(&self) -> bool {
        self.has_catalog
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
                let ticket = Some(CommandTicket { from: cluster.shard(), request });
                group.control.push(ControlItem::Command { command, ticket });
            }
            None => outputs.push_back(Output::SendShard {
                to: CATALOG_SHARD,
                message: ShardMessage::Propose { request, command },
            }),
        }
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
                let group = groups.get_mut(CATALOG_GROUP).expect("it is for shard 0 only");
                let ticket = Some(CommandTicket { from, request });
                group.control.push(ControlItem::Command { command, ticket });
            }
            ShardMessage::Done { request, result } => self.finish(request, result),
            ShardMessage::Leads { .. } => {}
        }
    }

    /// Tells those whose commands every shard has applied, in order.
    fn settle<P>(&mut self, cluster: &Cluster, outputs: &mut VecDeque<Output<P>>) {
        while self.spreading.front().is_some_and(|spreading| spreading.missing == 0) {
            let Some(Spreading { ticket, result, .. }) = self.spreading.pop_front() else { return };
            let Some(CommandTicket { from, request }) = ticket else { continue };
            if from == cluster.shard() {
                self.finish(request, result);
            } else {
                let message = ShardMessage::Done { request, result };
                outputs.push_back(Output::SendShard { to: from, message });
            }
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

/// Brings the partitions that recovery found in line with a whole catalog: those that are missing
/// are empty, those that it doesn't know were deleted.
fn adopt<P: Page>(catalog: &Catalog, groups: &mut Groups<P>) {
    for group in groups.iter_mut() {
        let deleted: Vec<PartitionKey> = group
            .partitions
            .iter()
            .map(|partition| partition.key)
            .filter(|key| catalog.partition(*key).is_none())
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
