//! What a shard tells of itself when asked: plain values, copied out between two turns.

use hdrhistogram::Histogram;

use crate::coordinator::CommittedOffset;
use crate::journal::page::Page;
use crate::limits::{METRICS_OFFSETS_MAX, METRICS_WATERMARKS_MAX};
use crate::model::ids::PartitionKey;
use crate::model::position::LogIndex;
use crate::model::qos::Qos;
use crate::shard::group::Group;
use crate::shard::metrics::{ApiTraffic, FetchMetrics, Stages};
use crate::shard::peers::PeerMetrics;
use crate::shard::repair::RepairMetrics;
use crate::shard::repair::scrub::Scrub;
use crate::shard::snapshot_transfer::send::SnapshotMetrics;
use crate::shard::{Shard, State};

/// All numbers of a shard's core at one moment. Counts begin with the process.
#[derive(Clone, Debug)]
pub struct ShardSnapshot {
    /// Whether it takes requests.
    pub serving: bool,
    /// Clients connected.
    pub connections: usize,
    /// Clients that are not read from because the request queue is full.
    pub held_connections: usize,
    /// Bytes of answers that clients have been given and have not read.
    pub unsent_bytes: usize,
    /// Fetch and ListOffsets requests under way, long polls included.
    pub reads_under_way: usize,
    /// Connections closed for what their clients sent.
    pub bad_requests: u64,
    /// Requests and answers of each API, by its name.
    pub apis: Vec<(&'static str, ApiTraffic)>,
    /// How often each API answered with each error, by their names.
    pub errors: Vec<(&'static str, &'static str, u64)>,
    pub fetch: FetchMetrics,
    /// Entries that were found damaged, and those of them that are whole again.
    pub repairs: RepairMetrics,
    /// Rounds of the scrub through all journals, and the bytes it has read.
    pub scrub_rounds: u64,
    pub scrub_bytes: u64,
    /// Shards of other nodes that this one has a connection to.
    pub peers: usize,
    /// Requests to them that wait for an answer.
    pub peer_requests: usize,
    /// What went over those connections.
    pub peer_bytes: PeerMetrics,
    /// Nanoseconds of produce batches in each stage, all groups together, by the stage's name.
    pub stages: Vec<(&'static str, Histogram<u64>)>,
    pub groups: Vec<GroupSnapshot>,
    /// The consumer groups that are coordinated here.
    pub consumer_groups: Vec<ConsumerGroupSnapshot>,
    /// High watermarks of the partitions here, by key, as far as this node knows: a consumer group
    /// may be coordinated where the partitions it reads are followed only.
    pub watermarks: Vec<(u32, i64)>,
}

/// A consumer group at one moment.
#[derive(Clone, Debug)]
pub struct ConsumerGroupSnapshot {
    pub id: String,
    pub members: usize,
    pub offsets: Vec<OffsetSnapshot>,
}

/// How far a consumer group has read a partition, as committed.
#[derive(Clone, Debug)]
pub struct OffsetSnapshot {
    /// The partition's key.
    pub key: u32,
    pub topic: String,
    pub partition: i32,
    pub committed: i64,
}

/// The numbers of one group.
#[derive(Clone, Debug)]
pub struct GroupSnapshot {
    pub group: u32,
    pub leads: bool,
    pub term: u64,
    /// Elections won since the process began, and how often leadership was lost again.
    pub won: u64,
    pub lost: u64,
    /// If this node leads: each node of the group, and the entries that aren't on its disk.
    pub replica_lags: Vec<(u32, u64)>,
    /// Bytes read from the disk and sent to members that lacked what the cache doesn't hold.
    pub catch_up_bytes: u64,
    /// What was sent and received in the way of snapshots for members that lack what was trimmed.
    pub snapshots: SnapshotMetrics,
    /// Whether this member is being brought up by one.
    pub filling: bool,
    /// Messages of other members that were not what they said.
    pub damaged_messages: u64,
    /// The first byte of the oldest segment.
    pub start: u64,
    pub checkpoint: u64,
    pub apply: u64,
    pub commit: u64,
    pub received: u64,
    pub flush: u64,
    pub append: u64,
    /// Where the journal cache begins.
    pub cache_start: u64,
    /// How far the scrub has come in its round.
    pub scrub: u64,
    pub partitions: usize,
    /// Batches that wait for the writer.
    pub queued: usize,
    pub queued_bytes: usize,
    pub writes_in_flight: usize,
    /// Answers that wait for their level, by its name.
    pub pending: [(&'static str, usize); 4],
    pub expired: u64,
    pub entries: u64,
    pub entry_bytes: u64,
    pub batches: u64,
    pub records: u64,
    pub record_bytes: u64,
}

impl<P: Page> Shard<P> {
    /// Copies all numbers out. Takes about as long as copying 100 KiB, and reading every group.
    pub fn snapshot(&self) -> ShardSnapshot {
        let mut stages = Stages::default();
        for group in self.groups.iter() {
            stages.add(&group.metrics.stages);
        }
        let traffic = &self.connections.traffic;
        ShardSnapshot {
            serving: self.state == State::Serving,
            connections: self.connections.count(),
            held_connections: self.queue_waiters.len(),
            unsent_bytes: self.connections.unsent_bytes(),
            reads_under_way: self.fetches.jobs(),
            bad_requests: self.metrics.bad_requests,
            apis: traffic.by_api().collect(),
            errors: traffic
                .errors()
                .map(|(api, error, count)| (api, error.name(), count))
                .collect(),
            fetch: self.fetches.metrics,
            repairs: self.repairs.metrics,
            scrub_rounds: self.repairs.scrub.rounds,
            scrub_bytes: self.repairs.scrub.bytes,
            peers: self.peers.count_up(),
            peer_requests: self.peers.count_unanswered(),
            peer_bytes: self.peers.metrics,
            stages: vec![
                ("queue", stages.queue),
                ("flush", stages.flush),
                ("commit", stages.commit),
                ("order", self.connections.order_stage().clone()),
                ("total", stages.total),
            ],
            groups: self.groups.iter().map(|it| it.snapshot(&self.repairs.scrub)).collect(),
            consumer_groups: self.consumer_group_snapshots(),
            watermarks: self.watermarks(),
        }
    }

    /// Consumer groups in the order of their ids, as long as there is room for their offsets.
    fn consumer_group_snapshots(&self) -> Vec<ConsumerGroupSnapshot> {
        let mut told = Vec::new();
        let mut room = METRICS_OFFSETS_MAX;
        for (home, coordinator) in self.consumer_groups.coordinators() {
            let Some(group) = self.groups.get(home) else { continue };
            for (id, stored) in group.consumer_groups.groups() {
                let Some(left) = room.checked_sub(stored.offsets.len()) else { return told };
                room = left;
                let offset = |(key, offset): (&PartitionKey, &CommittedOffset)| {
                    let (topic, partition) = self.control.catalog.partition(*key)?;
                    let topic = topic.name.to_string();
                    Some(OffsetSnapshot { key: key.0, topic, partition, committed: offset.offset })
                };
                let live = coordinator.classic.group(id).map(|group| group.members().len());
                let members = live
                    .unwrap_or_else(|| stored.modern().map_or(0, |state| state.members().len()));
                let offsets = stored.offsets.iter().filter_map(offset).collect();
                told.push(ConsumerGroupSnapshot { id: id.to_owned(), members, offsets });
            }
        }
        told
    }

    fn watermarks(&self) -> Vec<(u32, i64)> {
        let partitions = self.groups.iter().flat_map(|group| group.partitions.iter());
        partitions
            .take(METRICS_WATERMARKS_MAX)
            .map(|partition| (partition.key.0, partition.high_watermark().0))
            .collect()
    }
}

impl<P: Page> Group<P> {
    fn snapshot(&self, scrub: &Scrub) -> GroupSnapshot {
        let (progress, metrics) = (self.progress(), &self.metrics);
        let leaderships = self.replica.leaderships();
        GroupSnapshot {
            group: self.id.0,
            leads: self.replica.is_leader(),
            term: self.replica.term().0,
            won: leaderships.won,
            lost: leaderships.lost,
            replica_lags: self.replica_lags(),
            catch_up_bytes: self.catch_ups.bytes,
            snapshots: self.snapshots.metrics,
            filling: self.is_filling(),
            damaged_messages: self.following.damaged_messages,
            start: self.journal.start().0,
            checkpoint: self.checkpoint.position.0,
            apply: self.applied().end.0,
            commit: progress.commit.0,
            received: progress.received.0,
            flush: progress.flush.0,
            append: progress.append.0,
            cache_start: self.journal.cache_start().0,
            scrub: scrub.reached(self.id).max(self.journal.start()).0,
            partitions: self.partitions.len(),
            queued: self.queue.len(),
            queued_bytes: self.queue.bytes(),
            writes_in_flight: self.journal.writes_in_flight(),
            pending: Qos::WITH_RESPONSE.map(|qos| (qos.name(), self.pending.waiting(qos))),
            expired: metrics.expired,
            entries: metrics.entries,
            entry_bytes: metrics.entry_bytes,
            batches: metrics.batches,
            records: metrics.records,
            record_bytes: metrics.record_bytes,
        }
    }

    fn replica_lags(&self) -> Vec<(u32, u64)> {
        let last = self.replica.last_index().0;
        let members = self.replica.members().into_iter();
        let lag = |matched: Option<LogIndex>| last.saturating_sub(matched.map_or(0, |it| it.0));
        members.map(|member| (member.node.0, lag(member.matched))).collect()
    }
}
