//! THE CORE: all that one CPU owns, without any I/O.
//!
//! Events and the time go in by [`Shard::handle`], [`Shard::advance`] does one turn, actions come
//! out of [`Shard::poll_output`], and [`Shard::next_deadline`] says when to come back. The driver
//! and the simulator use these four and nothing else.
//!
//! 1. A turn is: any number of `handle`, one `advance`, then `poll_output` until `None`.
//! 2. The time never goes back. The core stores deadlines, never durations since something.
//! 3. Each `WriteJournal`, `ReadJournal`, `WriteVote`, `CreateSegment` and `WriteCheckpoint` gets
//!    just one completion, good or bad.
//! 4. All ordering lives here. Outputs of a turn may be carried out in any order and at the same
//!    time; only what goes to one connection or one shard stays in line.
//! 5. A failed write is `Fatal`: after one, what the disk holds is unknown.
//! 6. `handle` cannot fail. A client's mistakes become error responses or a closed connection;
//!    broken invariants are assertions.
//! 7. Every queue has its bound in `limits`. A full one shows as `PauseReading` or an error.
//! 8. Payload bytes cross the boundary by handle, never by copy.

use std::collections::VecDeque;

use slab::Slab;

use crate::journal::page::Page;
use crate::journal::source::{GroupFiles, SegmentSource};
use crate::journal::{JournalOutput, REPAIR_WRITE};
use crate::metadata::Catalog;
use crate::model::ids::{ConnectionId, DIALED_CONNECTION, GroupId, NodeId, ShardId};
use crate::model::time::{Now, Time};
use crate::shard::admin::AdminRequests;
use crate::shard::append::Workspace;
use crate::shard::catch_up::CATCH_UP_READ;
use crate::shard::cluster::Cluster;
use crate::shard::connections::Connections;
use crate::shard::consumer_groups::{ConsumerGroups, Coordination};
use crate::shard::control::{CATALOG_GROUP, Control};
use crate::shard::fetch::{Fetches, Parts};
use crate::shard::group::GroupEvent;
use crate::shard::groups::Groups;
use crate::shard::holdings::Holdings;
use crate::shard::input::{Input, IoFailure};
use crate::shard::leadership::Leadership;
use crate::shard::message::ShardMessage;
use crate::shard::metrics::ShardMetrics;
use crate::shard::output::{LogLevel, Output};
use crate::shard::peers::Peers;
use crate::shard::produce::MultiProduce;
use crate::shard::produce_answers::LastTemplate;
use crate::shard::producer_ids::ProducerIds;
use crate::shard::random::Random;
use crate::shard::repair::{REPAIR_READ, Repairs};
use crate::shard::retention::RetentionTimer;
use crate::shard::snapshot_transfer::member_reads::MemberReads;

pub mod input;
pub mod message;
pub mod output;

pub mod open;
pub mod request_queue;
mod requests;
mod turn;

pub mod append;
pub mod catch_up;
pub mod checkpoint;
pub mod cluster;
pub mod connections;
pub mod follow;
pub mod group;
pub mod groups;
mod holdings;
mod leadership;
mod members;
pub mod partitions;
pub mod peers;
pub mod pending_responses;
pub mod produce;
pub mod produce_answers;
pub mod producer_ids;
pub mod replay;
pub mod snapshot_transfer;

pub mod fetch;
pub mod repair;

pub mod admin;
pub mod consumer_groups;
pub mod control;
pub mod metrics;
pub mod random;
pub mod retention;
pub mod snapshot;
mod visits;

/// A node of the cluster, and where its shard 0 listens; its shard s does at `port + s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    pub node: NodeId,
    pub host: String,
    pub port: u16,
    /// What its data directory drew when it was made; 0 if that isn't known.
    pub directory: u128,
}

/// What a shard must know from the start.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    pub node: NodeId,
    pub shard: ShardId,
    /// Shards of this node.
    pub shards: u16,
    /// Groups that the cluster was formed with.
    pub groups: u32,
    /// The cluster's id, as clients see it.
    pub cluster_id: String,
    /// The nodes that formed the cluster, ascending. One node is a cluster, too.
    pub formed: Vec<NodeId>,
    /// The nodes whose addresses this one was told, ascending, itself included.
    pub nodes: Vec<NodeAddress>,
    /// What this node's data directory drew when it was made: tells it from another with its id.
    pub directory: u128,
    /// The host that clients are told to connect to.
    pub advertised_host: String,
    /// Shard 0's port; shard s is at `base_port + s`.
    pub base_port: u16,
    /// Where the data is, as shown to clients that ask for it.
    pub data_directory: String,
    pub segment_bytes: u64,
    /// Shared evenly by the shard's groups.
    pub journal_cache_bytes: usize,
    /// Bytes of its journals that are read in a second to find what has rotted; 0: none.
    pub scrub_bytes_per_second: u64,
    /// Journal bytes from one checkpoint of a group to the next.
    pub checkpoint_bytes: u64,
    /// Create a topic when a client asks for one that isn't there.
    pub auto_create_topics: bool,
    /// Partitions of a topic that was created without a number.
    pub default_partitions: i32,
    /// Where all of this shard's randomness comes from.
    pub seed: u64,
}

/// One CPU's share of the broker.
pub struct Shard<P: Page> {
    config: ShardConfig,
    cluster: Cluster,
    groups: Groups<P>,
    control: Control,
    connections: Connections<P>,
    produce_requests: Slab<MultiProduce>,
    produce_template: LastTemplate,
    /// Where the catalog has the topic that a batch was last sent for.
    last_topic: u32,
    fetches: Fetches<P>,
    repairs: Repairs,
    admin_requests: AdminRequests,
    producer_ids: ProducerIds,
    consumer_groups: ConsumerGroups,
    retention: RetentionTimer,
    random: Random,
    metrics: ShardMetrics,
    /// No line about a client's mistakes is logged before then.
    next_complaint: Time,
    outputs: VecDeque<Output<P>>,
    workspace: Workspace,
    /// Shards of other nodes.
    peers: Peers<P>,
    /// When Raft's clock ticks next.
    next_tick: Time,
    leadership: Leadership,
    /// What is read for other nodes.
    member_reads: MemberReads<P>,
    holdings: Holdings,
    /// Until when a start waits for what it can also do without.
    ready_by: Option<Time>,
    /// Clients that asked before this shard could answer.
    early_clients: Vec<ConnectionId>,
    events: Vec<(usize, GroupEvent)>,
    /// Connections held up because the request queue is full.
    queue_waiters: Vec<ConnectionId>,
    state: State,
    /// There is more to do than one turn did.
    again: bool,
    /// What was decompressed in this turn to count records.
    decompressed_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Serving,
    Stopping,
    Stopped,
}

impl<P: Page> Shard<P> {
    /// Recovers the groups of this shard from what is on disk. Those come in ascending order.
    ///
    /// # Errors
    /// A sentence that names the group, segment and position of what can't be trusted.
    pub fn open(
        mut config: ShardConfig,
        files: Vec<GroupFiles>,
        source: &mut dyn SegmentSource,
        now: Now,
    ) -> Result<Shard<P>, String> {
        config.journal_cache_bytes /= files.len().max(1);
        let mut groups = Vec::with_capacity(files.len());
        let mut catalog = Catalog::new(config.groups, &config.formed);
        let mut outputs = VecDeque::new();
        for files in &files {
            let opened = open::open_group(&config, files, source)?;
            groups.push(opened.group);
            catalog = opened.catalog.unwrap_or(catalog);
            let notes = opened.notes.into_iter();
            outputs.extend(notes.map(|line| Output::Log { level: LogLevel::Info, line }));
        }
        let mut own = members::groups_of_shard(catalog.layout(), config.shard, config.shards);
        // Of groups that were added since the cluster was formed this shard's catalog may not know.
        own.extend(files.iter().map(|files| files.group));
        own.sort_unstable();
        own.dedup();
        Ok(Shard {
            cluster: Cluster::new(&config),
            groups: Groups::new(config.shard, config.shards, groups),
            control: Control::new(catalog),
            connections: Connections::default(),
            produce_requests: Slab::new(),
            produce_template: LastTemplate::default(),
            last_topic: 0,
            fetches: Fetches::default(),
            repairs: Repairs::new(config.scrub_bytes_per_second, now.time),
            admin_requests: AdminRequests::default(),
            producer_ids: ProducerIds::default(),
            consumer_groups: ConsumerGroups::default(),
            retention: RetentionTimer::new(now.time),
            random: Random::new(config.seed),
            metrics: ShardMetrics::default(),
            next_complaint: Time(0),
            outputs,
            workspace: Workspace::default(),
            peers: Peers::new(&config, own, now.time),
            next_tick: now.time + members::RAFT_TICK,
            leadership: Leadership::new(now.time),
            member_reads: MemberReads::default(),
            holdings: Holdings::default(),
            ready_by: None,
            early_clients: Vec::new(),
            events: Vec::new(),
            queue_waiters: Vec::new(),
            state: State::Starting,
            again: true,
            decompressed_bytes: 0,
            config,
        })
    }

    /// Records one event. Cheap: validates and queues, does no batch work.
    pub fn handle(&mut self, now: Now, input: Input<P>) {
        match input {
            Input::ConnectionOpened { connection, .. } if connection.0 & DIALED_CONNECTION != 0 => {
                self.peers.on_opened(connection, now.time);
            }
            Input::ConnectionOpened { connection, host } => self.connections.open(connection, host),
            Input::Frames { connection, frames } if self.peers.is_link(connection) => {
                self.peers.on_frames(connection, frames, now.time);
            }
            Input::Frames { connection, frames } => self.connections.received(connection, frames),
            Input::Sent { connection, bytes } if self.peers.is_link(connection) => {
                self.peers.on_sent(connection, bytes);
            }
            Input::Sent { connection, bytes } => self.connections.sent(connection, bytes),
            Input::DialFailed { connection, reason } => {
                self.peers.on_dial_failed(connection, &reason, now.time);
            }
            Input::ConnectionClosed { connection } => {
                self.peers.on_closed(connection);
                self.fetches.on_connection_closed(connection);
                self.connections.closed(connection);
            }
            Input::FromShard { from, message } => self.on_message(from, message),
            Input::JournalWritten { group, write, result } => match result {
                Ok(()) if write.0 & REPAIR_WRITE != 0 => self.on_repaired(group, write),
                Ok(()) => self.with(group, |group| group.on_written(write, now.time)),
                Err(failure) => self.fatal(group, "a journal write", failure),
            },
            Input::JournalRead { group, read, result } if read.0 & CATCH_UP_READ != 0 => {
                self.on_catch_up_read(group, read, result.ok(), now);
            }
            Input::JournalRead { read, result, .. } if read.0 & REPAIR_READ != 0 => {
                self.on_repair_read(read, result.ok(), now);
            }
            Input::JournalRead { group, read, result } => {
                let (fetches, mut parts) = self.fetch_parts();
                fetches.on_read(now.time, group, read, result, &mut parts);
            }
            Input::VoteWritten { group, write: _, result } => match result {
                Ok(()) => self.with(group, group::Group::on_vote_written),
                Err(failure) => self.fatal(group, "writing the vote", failure),
            },
            Input::SegmentCreated { group, segment, result } => {
                self.on_segment_created(group, segment, result, now);
            }
            Input::CheckpointWritten { group, position, result } => {
                self.on_checkpoint_written(group, position, result, now);
            }
            Input::GroupCreated { group, result } => self.on_group_created(group, result, now.time),
            Input::Shutdown => {
                if self.state != State::Stopped {
                    self.state = State::Stopping;
                }
            }
        }
    }

    /// Does one turn: takes requests, appends them, steps Raft, releases and expires responses.
    pub fn advance(&mut self, now: Now) {
        self.again = false;
        self.let_go();
        self.connections.begin_turn(now.time);
        if self.state != State::Starting {
            self.coordination(now).follow_leadership();
        }
        self.take_requests(now);
        self.hear_members(now);
        self.carry_out_done();
        self.consumer_groups.append(&mut self.groups);
        for index in 0..self.groups.len() {
            self.turn_group(index, now);
        }
        self.carry_out_events(now);
        self.carry_out_done();
        self.wake_fetches(now);
        self.scrub(now);
        self.mend(now);
        self.expire(now);
        self.retire(now);
        self.follow_layout(now);
        self.send_proposals();
        self.again |= self.consumer_groups.append(&mut self.groups);
        self.change_state(now);
        self.again |= self.connections.has_runnable() || self.has_room_again();
        for line in self.connections.take_faults() {
            self.outputs.push_back(Output::Log { level: LogLevel::Error, line });
        }
        self.connections.give_out(&mut self.outputs);
        self.peers.give_out(&mut self.outputs);
        self.outputs.extend(std::iter::from_fn(|| self.member_reads.poll(now.time)));
    }

    /// The next thing to do outside. `None` ends the turn.
    pub fn poll_output(&mut self) -> Option<Output<P>> {
        self.outputs.pop_front()
    }

    /// When to call `advance` again if nothing happens.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.again {
            return Some(Time(0));
        }
        let groups = self.groups.iter().flat_map(|group| {
            let queued = group.queue.next_deadline();
            [group.pending.next_deadline(), group.space_deadline(), queued]
        });
        let others = [
            self.fetches.next_deadline(),
            self.repairs.next_deadline(),
            self.admin_requests.next_deadline(),
            self.consumer_groups.next_deadline(),
            Some(self.retention.next()),
            self.next_member_deadline(),
            self.holdings.next_deadline(),
            self.ready_by.filter(|_| self.state == State::Starting),
        ];
        groups.chain(others).flatten().min()
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }

    /// The groups that run here.
    pub fn groups(&self) -> &Groups<P> {
        &self.groups
    }

    /// Produce responses released so far because their level was reached.
    pub fn released(&self) -> u64 {
        self.metrics.released
    }

    /// Does something with a group, unless it has been let go of.
    fn with(&mut self, group: GroupId, what: impl FnOnce(&mut group::Group<P>)) {
        if let Some(group) = self.groups.get_mut(group) {
            what(group);
        }
    }

    fn fatal(&mut self, group: GroupId, what: &str, failure: IoFailure) {
        let why = match failure {
            IoFailure::NoSpace => "no space left on the device".to_string(),
            IoFailure::Failed(why) => why,
        };
        let reason = format!(
            "group {group}: {what} failed: {why}. What the disk holds is unknown now, so this \
             node stops; nothing that was acknowledged depends on it"
        );
        self.outputs.push_back(Output::Fatal { reason });
    }

    fn fetch_parts(&mut self) -> (&mut Fetches<P>, Parts<'_, P>) {
        let parts = Parts {
            catalog: &self.control.catalog,
            cluster: &self.cluster,
            groups: &self.groups,
            connections: &mut self.connections,
            repairs: &mut self.repairs,
            outputs: &mut self.outputs,
        };
        (&mut self.fetches, parts)
    }

    fn coordination(&mut self, now: Now) -> Coordination<'_, P> {
        Coordination {
            now,
            catalog: &self.control.catalog,
            cluster: &self.cluster,
            groups: &mut self.groups,
            connections: &mut self.connections,
            random: &mut self.random,
            state: &mut self.consumer_groups,
        }
    }

    fn on_message(&mut self, from: ShardId, message: ShardMessage) {
        match message {
            ShardMessage::Leads { group, leader } => {
                self.cluster.learn(group, leader);
                return;
            }
            ShardMessage::Node { id, node } => {
                self.cluster.learn_node(id, node);
                return;
            }
            _ => {}
        }
        let (cluster, groups) = (&self.cluster, &mut self.groups);
        self.control.on_message(from, message, cluster, groups, &mut self.outputs);
    }

    fn give_out_journal(&mut self, index: usize) {
        let group = self.groups.at_mut(index);
        while let Some(output) = group.journal.poll_output() {
            let group = group.id;
            self.outputs.push_back(match output {
                JournalOutput::Write { write, segment, at, page } => {
                    Output::WriteJournal { group, write, segment, at, page }
                }
                JournalOutput::CreateSegment { segment, header } => {
                    Output::CreateSegment { group, segment, header }
                }
                JournalOutput::RemoveSegment { segment } => {
                    Output::RemoveSegment { group, segment }
                }
            });
        }
    }
}

/// Whether a group's checkpoint holds the catalog.
fn holds_catalog(group: GroupId) -> bool {
    group == CATALOG_GROUP
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::limits::{CHECKPOINT_JOURNAL_BYTES, SEGMENT_BYTES_MIN};

    /// Node 0, alone, with one shard: what tests of the shard's parts start from.
    pub fn config() -> ShardConfig {
        ShardConfig {
            node: NodeId(0),
            shard: ShardId(0),
            shards: 1,
            groups: 1,
            cluster_id: "test".into(),
            formed: vec![NodeId(0)],
            nodes: Vec::new(),
            directory: 1,
            advertised_host: "0".into(),
            base_port: 9092,
            data_directory: "/data".into(),
            segment_bytes: SEGMENT_BYTES_MIN,
            journal_cache_bytes: 1 << 20,
            scrub_bytes_per_second: 0,
            checkpoint_bytes: CHECKPOINT_JOURNAL_BYTES,
            auto_create_topics: false,
            default_partitions: 1,
            seed: 7,
        }
    }
}
