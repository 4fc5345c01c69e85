//! Fetch: batches for consumers, from the cache or from disk.
//!
//! A fetch is a *job*: one reader for each partition. Those that find all in the journal cache are
//! done one after the other; the others go through chunks of the journal together (`behind`). A job
//! that found too little is parked (`long_poll`). ListOffsets by timestamp is a job, too: it must
//! look into batches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kafka_protocol::messages::FetchRequest;
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::journal::page::Page;
use crate::kafka::api::FETCH_INDEX;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetch::FetchResponseEncoder;
use crate::kafka::header::RequestHeader;
use crate::metadata::{Catalog, PartitionPlacement, Topic};
use crate::model::ids::{GroupId, PartitionKey, ReadId};
use crate::model::position::{Offset, Position};
use crate::model::time::Time;
use crate::shard::cluster::Cluster;
use crate::shard::connections::{Connections, Ticket};
use crate::shard::fetch::chunks::{Chunks, For};
use crate::shard::fetch::job::{Asked, Job, JobPart, Purpose};
use crate::shard::fetch::list_offsets::ListOffsets;
use crate::shard::fetch::reader::{Cursor, Goal, PartitionReader, Step};
use crate::shard::fetch::response::fetch_response;
use crate::shard::groups::Groups;
use crate::shard::input::IoFailure;
use crate::shard::metrics::FetchMetrics;
use crate::shard::output::{LogLevel, Output, Part};
use crate::shard::repair::{FoundBy, Repairs};

mod behind;
mod chunks;
mod job;
pub mod list_offsets;
mod long_poll;
mod reader;
mod response;

/// All jobs of a shard.
#[derive(Debug)]
pub struct Fetches<P> {
    jobs: Slab<Job<P>>,
    chunks: Chunks<P>,
    /// The jobs parked on each partition.
    parked_on: FxHashMap<PartitionKey, Vec<usize>>,
    deadlines: BTreeSet<(Time, usize)>,
    /// Parked jobs that may have enough now.
    ready: Vec<usize>,
    /// Where readers that are behind go on, so that the next fetch needs no search.
    cursors: FxHashMap<(PartitionKey, Offset), Cursor>,
    /// The parts of jobs that wait until a damaged entry is whole again, by its place.
    lacking: BTreeMap<(GroupId, Position), Vec<(usize, usize)>>,
    pub metrics: FetchMetrics,
}

/// Cursors kept. They only save a search: when there are too many, all are forgotten.
const CURSORS_MAX: usize = 4096;

/// What jobs need of the shard.
pub struct Parts<'a, P> {
    pub catalog: &'a Catalog,
    pub cluster: &'a Cluster,
    pub groups: &'a Groups<P>,
    pub connections: &'a mut Connections<P>,
    pub repairs: &'a mut Repairs,
    pub outputs: &'a mut VecDeque<Output<P>>,
}

impl<P> Default for Fetches<P> {
    fn default() -> Self {
        Fetches {
            jobs: Slab::new(),
            chunks: Chunks::default(),
            parked_on: FxHashMap::default(),
            deadlines: BTreeSet::new(),
            ready: Vec::new(),
            cursors: FxHashMap::default(),
            lacking: BTreeMap::new(),
            metrics: FetchMetrics::default(),
        }
    }
}

impl<P: Page> Fetches<P> {
    /// Takes a Fetch request.
    pub fn on_fetch(
        &mut self,
        now: Time,
        ticket: Ticket,
        header: RequestHeader,
        request: &FetchRequest,
        parts: &mut Parts<'_, P>,
    ) {
        parts.connections.hold(ticket);
        if request.session_id != 0 {
            // Sessions (KIP-227) are not offered: 0 in our answers keeps clients from using them.
            let code = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
            let version = header.api_version;
            let encoder =
                FetchResponseEncoder::begin(version, header.correlation_id, 0, code, 0, 0);
            let bytes = encoder.finish(&[]).bytes;
            parts.connections.traffic.error(FETCH_INDEX, code);
            return parts.connections.answer_parts(ticket, vec![Part::Bytes(bytes.into())]);
        }
        let job = Job::of_fetch(now, ticket, header, request, parts);
        let id = self.jobs.insert(job);
        self.run(id, now, parts);
    }

    /// Starts a ListOffsets request that must look into batches.
    pub fn on_list_offsets(
        &mut self,
        now: Time,
        ticket: Ticket,
        header: RequestHeader,
        request: ListOffsets,
        lookups: Vec<(PartitionPlacement, Goal, Offset)>,
        parts: &mut Parts<'_, P>,
    ) {
        parts.connections.hold(ticket);
        let of_lookup = |(placement, goal, offset)| JobPart::of_lookup(placement, goal, offset);
        let job_parts = lookups.into_iter().map(of_lookup).collect();
        let purpose = Purpose::ListOffsets(request);
        let job = Job::new(ticket, header, purpose, job_parts);
        let id = self.jobs.insert(job);
        self.run(id, now, parts);
    }

    /// Goes on with a job until it is answered, parked, or waits for the disk.
    fn run(&mut self, id: usize, now: Time, parts: &mut Parts<'_, P>) {
        while self.jobs[id].at < self.jobs[id].parts.len() {
            let at = self.jobs[id].at;
            self.jobs[id].at += 1;
            self.step_part(id, at, false, parts);
        }
        if self.catch_up(id, parts) {
            self.finish(id, now, parts);
        }
        self.read_ahead(parts);
    }

    /// Takes those parts that are behind through the chunks that are in memory, always the one
    /// furthest behind, and has the next chunk read. False if the job waits for it.
    fn catch_up(&mut self, id: usize, parts: &mut Parts<'_, P>) -> bool {
        while let Some(part) = self.jobs[id].behind.furthest() {
            self.step_part(id, part, true, parts);
        }
        let job = &mut self.jobs[id];
        if matches!(job.purpose, Purpose::Fetch(_)) && job.taken > 0 && job.behind.is_enough() {
            for part in job.behind.give_up() {
                self.keep_cursor(id, part);
            }
            return true;
        }
        let Some((group, position)) = job.behind.next_read() else {
            // What waits for another node keeps nobody from what is there.
            return job.lacking == 0 || (matches!(job.purpose, Purpose::Fetch(_)) && job.taken > 0);
        };
        let bytes = self.chunks.bytes_needed(group, position);
        if let Some(group) = parts.groups.get(group) {
            let journal = &group.journal;
            let reader = For::Reader(id);
            self.chunks.read(journal, group.id, position, bytes, reader, parts.outputs);
        }
        false
    }

    /// Takes what a part can have now: of one chunk, if chunks are `allowed`, or what is cached.
    fn step_part(&mut self, id: usize, at: usize, allowed: bool, parts: &mut Parts<'_, P>) {
        let job = &mut self.jobs[id];
        let part = &mut job.parts[at];
        if !part.error.is_none() {
            return;
        }
        let group = part.group.and_then(|group| parts.groups.get(group));
        let found = group.and_then(|group| Some((group, group.partitions.by_key(part.asked.key)?)));
        let Some((group, partition)) = found else {
            part.error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            return;
        };
        if part.reader.is_none() {
            let Asked { key, offset, .. } = part.asked;
            if offset < partition.log_start() || offset > partition.high_watermark() {
                part.error = ErrorCode::OFFSET_OUT_OF_RANGE;
                return;
            }
            let cursor = self.cursors.remove(&(key, offset));
            part.reader = Some(PartitionReader::new(key, Goal::Batches, offset, cursor));
        }
        let reader = part.reader.as_mut().expect("it was just made");
        if reader.next_offset() < partition.log_start() {
            // Trimmed while the disk was being read: what came may be another segment's bytes. Who
            // looks for a time names no offset that could be wrong, and looks on.
            if matches!(job.purpose, Purpose::Fetch(_)) {
                part.error = ErrorCode::OFFSET_OUT_OF_RANGE;
                return;
            }
            part.asked.offset = partition.log_start();
            reader.begin_again(part.asked.offset);
        }
        let before = reader.bytes;
        if let Purpose::Fetch(fetch) = &job.purpose {
            let others = job.taken - before;
            let mut room = fetch.bytes_max.saturating_sub(others);
            if !allowed && !job.behind.is_empty() {
                // Parts that are behind come later, and those before this one must find room.
                room = room.saturating_sub(fetch.bytes_max / 2);
            }
            reader.bound(part.asked.bytes_max.min(room), others == 0);
        }
        let step = reader.step(group, partition, allowed.then_some(&mut self.chunks));
        job.taken += reader.bytes - before;
        match step {
            Step::Done => {
                job.behind.done(allowed && reader.is_full(partition));
                self.keep_cursor(id, at);
            }
            Step::Chunk { position } => {
                let there = allowed && self.chunks.find(group.id, position).is_some();
                job.behind.put(at, group.id, position, there || !allowed);
            }
            Step::Damaged(Cursor { position, previous_crc }) => {
                let offset = reader.next_offset();
                let by = FoundBy::Consumer { offset, key: part.asked.key };
                let (repairs, outputs) = (&mut *parts.repairs, &mut *parts.outputs);
                let comes = repairs.damaged(group, position, previous_crc, by, outputs);
                // That it was mended and is damaged still is no reason to try for ever.
                if comes && part.lacked != Some(position) {
                    (part.lacks, part.lacked) = (Some(position), Some(position));
                    job.lacking += 1;
                    let place = (group.id, group.journal.entry_start(position));
                    self.lacking.entry(place).or_default().push((id, at));
                } else {
                    part.error = ErrorCode::KAFKA_STORAGE_ERROR;
                }
            }
        }
    }

    /// A group's journal was cut off.
    pub fn on_truncated(&mut self, group: GroupId, cut: Position) {
        self.chunks.truncate(group, cut);
        self.cursors.clear();
    }

    /// So that the next fetch goes on where this one ended.
    fn keep_cursor(&mut self, id: usize, at: usize) {
        let part = &self.jobs[id].parts[at];
        if let Some((offset, cursor)) = part.reader.as_ref().and_then(PartitionReader::cursor) {
            if self.cursors.len() >= CURSORS_MAX {
                self.cursors.clear();
            }
            self.cursors.insert((part.asked.key, offset), cursor);
        }
    }

    /// A damaged entry is whole again, or nobody has it.
    pub fn on_repair(
        &mut self,
        now: Time,
        group: GroupId,
        at: Position,
        mended: bool,
        parts: &mut Parts<'_, P>,
    ) {
        if mended {
            self.chunks.truncate(group, at);
        }
        let mut woken = Vec::new();
        for (id, at_part) in self.lacking.remove(&(group, at)).unwrap_or_default() {
            // The job may have been answered without it, and another may have its number.
            let Some(job) = self.jobs.get_mut(id) else { continue };
            let Some(part) = job.parts.get_mut(at_part) else { continue };
            let Some(position) = part.lacks.take_if(|_| part.group == Some(group)) else {
                continue;
            };
            job.lacking -= 1;
            let reads = job.behind.reading().is_some();
            match mended {
                true => job.behind.put(at_part, group, position, !reads),
                false => part.error = ErrorCode::KAFKA_STORAGE_ERROR,
            }
            if !reads && !woken.contains(&id) {
                woken.push(id);
            }
        }
        for id in woken {
            self.run(id, now, parts);
        }
    }

    /// A journal read is done.
    pub fn on_read(
        &mut self,
        now: Time,
        group: GroupId,
        read: ReadId,
        result: Result<P, IoFailure>,
        parts: &mut Parts<'_, P>,
    ) {
        let (readers, done) = self.chunks.on_read(group, read, result);
        // What was trimmed meanwhile nobody needs: whoever wanted it goes on behind it.
        if let Err((position, failure)) = done
            && parts.groups.get(group).is_some_and(|own| own.journal.start() <= position)
        {
            let line = format!("group {group}: a journal read failed: {failure:?}");
            parts.outputs.push_back(Output::Log { level: LogLevel::Error, line });
            for id in &readers {
                if let Some(job) = self.jobs.get_mut(*id) {
                    if let Some((group, position)) = job.behind.reading() {
                        parts.repairs.unreadable(group, position);
                    }
                    for part in job.behind.failed() {
                        job.parts[part].error = ErrorCode::KAFKA_STORAGE_ERROR;
                    }
                }
            }
        }
        for id in readers {
            if let Some(job) = self.jobs.get_mut(id) {
                job.behind.go_on();
                self.run(id, now, parts);
            }
        }
        self.read_ahead(parts);
    }

    /// Has those chunks read that will be wanted soon.
    fn read_ahead(&mut self, parts: &mut Parts<'_, P>) {
        while let Some(ahead) = self.chunks.next_ahead() {
            let Some(group) = parts.groups.get(ahead.group) else { continue };
            let journal = &group.journal;
            let position = journal.entry_start(ahead.position);
            // What isn't flushed can't be read, and when an entry didn't fit into the segment
            // anything that is flushed may end before the cache begins.
            if position < journal.cache_start() && position < journal.flush_position() {
                let bytes = self.chunks.bytes_needed(group.id, position);
                let later = For::Later(ahead);
                self.chunks.read(journal, group.id, position, bytes, later, parts.outputs);
            }
        }
    }

    /// All parts are read: answer or park.
    fn finish(&mut self, id: usize, now: Time, parts: &mut Parts<'_, P>) {
        let job = &mut self.jobs[id];
        if let Purpose::Fetch(fetch) = &mut job.purpose {
            let bytes = job.taken;
            let failed = job.parts.iter().any(|part| !part.error.is_none());
            // A client that went while the disk was read has nobody to wake its long poll.
            let open = parts.connections.is_open(job.ticket.connection);
            if bytes < fetch.bytes_min && !failed && open && now < fetch.deadline {
                fetch.missing = (fetch.bytes_min - bytes) as i64;
                return self.park(id);
            }
        }
        let job = self.jobs.remove(id);
        match job.purpose {
            Purpose::Fetch(ref fetch) => {
                self.count(&job, parts);
                let response = fetch_response(&job, fetch, parts);
                parts.connections.answer_parts(job.ticket, response);
            }
            Purpose::ListOffsets(request) => {
                request.answer(job.ticket, &job.header, &job.parts, parts.connections);
            }
        }
    }

    fn count(&mut self, job: &Job<P>, parts: &mut Parts<'_, P>) {
        for part in &job.parts {
            parts.connections.traffic.error(FETCH_INDEX, part.error);
            let Some(reader) = &part.reader else { continue };
            if !part.error.is_none() || reader.bytes == 0 {
                continue;
            }
            self.metrics.bytes += reader.bytes as u64;
            self.metrics.records += (reader.next_offset().0 - part.asked.offset.0) as u64;
            if reader.needed_disk() {
                self.metrics.cache_misses += 1;
            } else {
                self.metrics.cache_hits += 1;
            }
        }
    }

    /// Jobs under way, long polls included.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }
}

/// Where a partition of a topic is.
pub fn place(topic: &Topic, partition: i32) -> Option<PartitionPlacement> {
    topic.partitions.get(usize::try_from(partition).ok()?).copied()
}

/// Whether this shard leads a partition, at the epoch that the client knows (-1: it doesn't say).
pub fn check_leader<P: Page>(
    placement: PartitionPlacement,
    epoch: i32,
    parts: &Parts<'_, P>,
) -> ErrorCode {
    let Some(group) = parts.groups.get(placement.group) else {
        return ErrorCode::NOT_LEADER_OR_FOLLOWER;
    };
    if !group.is_serving() {
        return ErrorCode::NOT_LEADER_OR_FOLLOWER;
    }
    let own = group.replica.term().0 as i32;
    match epoch {
        _ if group.partitions.slot(placement.key).is_none() => {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        }
        epoch if epoch >= 0 && epoch < own => ErrorCode::FENCED_LEADER_EPOCH,
        epoch if epoch > own => ErrorCode::UNKNOWN_LEADER_EPOCH,
        _ => ErrorCode::NONE,
    }
}
