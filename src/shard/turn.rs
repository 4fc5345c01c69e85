//! The steps of a turn, in the order `advance` takes them.

use std::time::Duration;

use bytes::Bytes;

use crate::journal::page::Page;
use crate::limits::{PENDING_RESPONSES_MAX, TURN_DECOMPRESSED_BYTES};
use crate::model::ids::{ConnectionId, GroupId, SegmentId};
use crate::model::position::Position;
use crate::model::time::{Now, Time};
use crate::shard::append;
use crate::shard::checkpoint;
use crate::shard::connections::Connections;
use crate::shard::control::CommandWaiter;
use crate::shard::group::{Group, GroupEvent};
use crate::shard::input::IoFailure;
use crate::shard::output::{LogLevel, Output};
use crate::shard::peers::wire;
use crate::shard::produce::{Produce, ProduceOutcome};
use crate::shard::request_queue;
use crate::shard::retention;
use crate::shard::{Shard, State, holds_catalog};

/// How long a start waits for other groups to have leaders, once it has the catalog.
const OTHERS_MAX: Duration = Duration::from_secs(5);

impl<P: Page> Shard<P> {
    /// Looks at the frames that have come, as long as there is room for what they ask.
    pub(super) fn take_requests(&mut self, now: Now) {
        if !self.queue_waiters.is_empty()
            && request_queue::has_room_again(self.groups.queued_bytes())
        {
            for connection in std::mem::take(&mut self.queue_waiters) {
                self.connections.run(connection);
            }
        }
        self.decompressed_bytes = 0;
        let mut spent = None;
        for connection in self.connections.take_runnable() {
            if spent.is_some() {
                self.connections.run(connection);
            } else {
                self.take_requests_of(connection, now);
                spent = (self.decompressed_bytes >= TURN_DECOMPRESSED_BYTES).then_some(connection);
            }
        }
        // It goes on when the others had their turn: what it sends takes long to look into.
        if let Some(connection) = spent {
            self.connections.run(connection);
        }
    }

    fn take_requests_of(&mut self, connection: ConnectionId, now: Now) {
        if self.state == State::Starting {
            // In a cluster the port is open before there is anything to say: other nodes use it.
            return self.take_early(connection, now);
        }
        let mut room = PENDING_RESPONSES_MAX.saturating_sub(self.groups.waiting_requests());
        let mut going_on = !matches!(self.state, State::Stopping | State::Stopped);
        while going_on && let Some(mut read) = self.connections.take_read(connection) {
            loop {
                if room == 0 || request_queue::is_full(self.groups.queued_bytes()) {
                    self.queue_waiters.push(connection);
                    going_on = false;
                    break;
                }
                if self.decompressed_bytes >= TURN_DECOMPRESSED_BYTES {
                    going_on = false;
                    break;
                }
                let next = self.connections.next_frame(connection, &mut read);
                let Some((ticket, frame)) = next else { break };
                room -= 1;
                self.on_request(now, ticket, &read.bytes, frame);
            }
            self.connections.put_back(connection, read);
        }
        self.connections.settle_reading(connection, &mut self.outputs);
    }

    /// Before this shard serves only other nodes are heard; clients wait.
    fn take_early(&mut self, connection: ConnectionId, now: Now) {
        let Some(read) = self.connections.take_read(connection) else { return };
        match Connections::<P>::peek_frame(&read) {
            Some(frame) if wire::is_hello(&read.bytes[frame.clone()]) => {
                self.adopt_peer(connection, &read.bytes, frame, now);
            }
            _ => {
                self.connections.put_back(connection, read);
                self.early_clients.push(connection);
                // What it has sent so far is all that is kept of it until then.
                self.connections.settle_reading(connection, &mut self.outputs);
            }
        }
    }

    /// Tells whoever waits for commands that are done.
    pub(super) fn carry_out_done(&mut self) {
        while let Some(done) = self.control.poll_done() {
            match done.waiter {
                CommandWaiter::Admin { request, part } => {
                    let connections = &mut self.connections;
                    self.admin_requests.command_done(request, part, &done.result, connections);
                }
                CommandWaiter::ProducerIds => {
                    self.producer_ids.on_block(&done.result, &mut self.connections);
                }
                CommandWaiter::Visitor(reply) => self.answer_visitor(reply, &done),
                CommandWaiter::Nobody => {}
            }
        }
        self.producer_ids.advance(
            &mut self.control,
            &self.cluster,
            &mut self.groups,
            &mut self.connections,
            &mut self.outputs,
        );
    }

    /// One group's turn: Raft's work, the queue, commit, responses.
    pub(super) fn turn_group(&mut self, index: usize, now: Now) {
        self.groups.at_mut(index).retry_space(now.time);
        if self.fill(index, now) {
            return;
        }
        self.work(index, now);
        self.fail_if_deposed(index);
        self.append(index, now);
        self.work(index, now);
        self.fail_if_deposed(index);
        let events = &mut self.events;
        let group = self.groups.at_mut(index);
        group.apply(now.time, |event| events.push((index, event)));
        group.evict();
        self.release(index, now);
        self.follow_leader(index);
        self.give_out_journal(index);
    }

    fn append(&mut self, index: usize, now: Now) {
        let group = self.groups.at_mut(index);
        let mut refused = Vec::new();
        append::append(group, &mut self.workspace, now, |batch, outcome| {
            refused.push((batch.answer, outcome));
        });
        let mut produce = self.produce();
        for (answer, outcome) in refused {
            produce.answer(answer, outcome);
        }
    }

    pub(super) fn produce(&mut self) -> Produce<'_, P> {
        Produce {
            catalog: &self.control.catalog,
            cluster: &self.cluster,
            groups: &mut self.groups,
            connections: &mut self.connections,
            requests: &mut self.produce_requests,
            template: &mut self.produce_template,
            last_topic: &mut self.last_topic,
            decompressed_bytes: &mut self.decompressed_bytes,
        }
    }

    /// Answers every request whose level has been reached.
    fn release(&mut self, index: usize, now: Now) {
        let mut pending = std::mem::take(&mut self.groups.at_mut(index).pending);
        let progress = *self.groups.at(index).progress();
        let mut produce = self.produce();
        let mut alike = (0, now.time);
        let mut released = 0;
        pending.release(&progress, |response| {
            if response.queued_at != alike.1 && alike.0 > 0 {
                let took = now.time.since(alike.1);
                produce.groups.at_mut(index).metrics.released(took, alike.0);
                alike.0 = 0;
            }
            alike = (alike.0 + 1, response.queued_at);
            released += 1;
            produce.answer(response.answer, ProduceOutcome::Appended(response.outcome));
        });
        let group = self.groups.at_mut(index);
        group.metrics.released(now.time.since(alike.1), alike.0);
        group.pending = pending;
        self.metrics.released += released;
    }

    /// Carries out what the groups have applied.
    pub(super) fn carry_out_events(&mut self, now: Now) {
        let mut events = std::mem::take(&mut self.events);
        let mut trimmable = Vec::new();
        for (index, event) in events.drain(..) {
            match event {
                GroupEvent::Committed { partition, bytes } => {
                    self.fetches.on_committed(partition, bytes);
                }
                GroupEvent::Command { command, ticket } => {
                    let (cluster, groups) = (&self.cluster, &mut self.groups);
                    self.control.committed(command, ticket, cluster, groups, &mut self.outputs);
                }
                GroupEvent::Coordinator { batch } => {
                    let home = self.groups.at(index).id;
                    self.coordination(now).applied(home, batch);
                }
                GroupEvent::LogStart { partition, request } => {
                    let group = self.groups.at(index);
                    let log_start = group.partitions.by_key(partition).map(|p| p.log_start().0);
                    if trimmable.last() != Some(&index) {
                        trimmable.push(index);
                    }
                    if let Some(request) = request {
                        let (id, part) = (request.request, request.part);
                        let connections = &mut self.connections;
                        self.admin_requests.log_start_done(id, part, log_start, connections);
                    }
                }
            }
        }
        self.events = events;
        // Once, however many log starts have moved: trimming looks at every partition.
        for index in trimmable {
            retention::trim(self.groups.at_mut(index));
            self.give_out_journal(index);
        }
        // Not before: a checkpoint says that all commands up to its position are in its catalog.
        for index in 0..self.groups.len() {
            self.take_checkpoint(index);
        }
    }

    /// Whether connections that were held up for lack of room may go on.
    pub(super) fn has_room_again(&self) -> bool {
        !self.queue_waiters.is_empty()
            && request_queue::has_room_again(self.groups.queued_bytes())
            && self.groups.waiting_requests() < PENDING_RESPONSES_MAX
    }

    /// Goes on with fetches that have something to give now.
    pub(super) fn wake_fetches(&mut self, now: Now) {
        let (fetches, mut parts) = self.fetch_parts();
        fetches.advance(now.time, &mut parts);
    }

    /// Answers what took too long.
    pub(super) fn expire(&mut self, now: Now) {
        self.admin_requests.expire(now.time, &mut self.connections);
        self.coordination(now).expire();
        if self.state == State::Serving {
            self.coordination(now).retire_offsets();
        }
        for index in 0..self.groups.len() {
            let group = self.groups.at_mut(index);
            let mut expired = Vec::new();
            group.pending.expire(now.time, |response| expired.push(response.answer));
            let queued = group.queue.take_expired(now.time);
            expired.extend(queued.into_iter().map(|batch| batch.answer));
            group.metrics.expired += expired.len() as u64;
            let mut produce = self.produce();
            for answer in expired {
                produce.answer(answer, ProduceOutcome::TimedOut);
            }
        }
    }

    /// Lets go of what topics don't want kept.
    pub(super) fn retire(&mut self, now: Now) {
        // In this order: a time that has come and isn't moved on would be due in every turn.
        if !self.retention.is_due(now.time) || self.state != State::Serving {
            return;
        }
        for group in self.groups.iter_mut().filter(|group| group.is_serving()) {
            retention::retire(group, &self.control.catalog, now);
            self.again |= !group.control.is_empty();
        }
        // What a stop or a deleted topic left needless frees its space here: no log start moves
        // for it, and the next checkpoint may be far away.
        for index in 0..self.groups.len() {
            if retention::trim(self.groups.at_mut(index)) > 0 {
                self.give_out_journal(index);
            }
        }
    }

    fn take_checkpoint(&mut self, index: usize) {
        let stopping = self.state == State::Stopping;
        let group = self.groups.at_mut(index);
        if group.is_filling() {
            return group.checkpoint.drop_taken();
        }
        let applied = group.applied();
        let is_last = stopping
            && group.is_settled()
            && group.queue.is_empty()
            && !group.checkpoint.is_writing()
            && !group.checkpoint.has_failed()
            && applied.end > group.checkpoint.position;
        if is_last || group.checkpoint.is_due(applied.end) {
            let catalog = holds_catalog(group.id).then_some(&self.control.catalog);
            let bytes = Bytes::from(checkpoint::encode(group, catalog));
            group.checkpoint.take(applied, bytes);
        }
        let flushed = group.progress().flush;
        if let Some((until, bytes)) = group.checkpoint.poll(flushed) {
            group.snapshots.keep(group.journal.start(), until, &bytes);
            let (group, position) = (group.id, until.end);
            self.outputs.push_back(Output::WriteCheckpoint { group, position, bytes });
        }
    }

    pub(super) fn on_checkpoint_written(
        &mut self,
        group: GroupId,
        position: Position,
        result: Result<(), IoFailure>,
        now: Now,
    ) {
        let Some(index) = self.groups.index(group) else { return };
        if self.on_fill_checkpoint(index, &result, now) {
            return;
        }
        let written = result.is_ok();
        if let Err(failure) = result {
            let line = format!(
                "group {group}: the checkpoint could not be written: {failure:?}. The last one \
                 stays; a restart reads more of the journal"
            );
            self.outputs.push_back(Output::Log { level: LogLevel::Warn, line });
        }
        let group = self.groups.at_mut(index);
        group.checkpoint.done(position, written);
        if written {
            retention::trim(group);
            self.give_out_journal(index);
        }
    }

    pub(super) fn on_segment_created(
        &mut self,
        group: GroupId,
        segment: SegmentId,
        result: Result<(), IoFailure>,
        now: Now,
    ) {
        let Some(created) = self.groups.get_mut(group) else { return };
        if result == Err(IoFailure::NoSpace) && created.space_deadline().is_none() {
            let line = format!(
                "group {group}: no disk space for segment {segment}. When the segments there are \
                 full, produce requests get KAFKA_STORAGE_ERROR; free some space and they go on"
            );
            self.outputs.push_back(Output::Log { level: LogLevel::Error, line });
        }
        if let Err(why) = created.on_segment_created(segment, result, now.time) {
            self.fatal(group, "making a segment", IoFailure::Failed(why));
        }
    }

    /// Starts serving when all is there, stops when all is done.
    pub(super) fn change_state(&mut self, now: Now) {
        match self.state {
            State::Starting => self.start(now.time),
            State::Stopping => self.stop(),
            State::Serving | State::Stopped => {}
        }
    }

    fn start(&mut self, now: Time) {
        let catalog = self.groups.iter().find(|group| holds_catalog(group.id));
        if catalog.is_some_and(Group::is_current) && !self.control.has_catalog() {
            self.control.publish(&self.cluster, &mut self.groups, &mut self.outputs);
        }
        if !self.control.has_catalog() {
            return;
        }
        let until = *self.ready_by.get_or_insert(now + OTHERS_MAX);
        // One that is being filled is served by its other members.
        let mut groups = self.groups.iter();
        let all_current = groups.all(|group| group.is_current() || group.is_filling())
            && self.cluster.is_complete();
        // A group that has no majority now must not keep those from being served that have.
        if all_current || now >= until {
            self.state = State::Serving;
            for connection in std::mem::take(&mut self.early_clients) {
                self.connections.run(connection);
            }
            self.outputs.push_back(Output::Ready);
        }
    }

    fn stop(&mut self) {
        let alone = !self.cluster.has_others();
        let done = self.groups.iter().all(|group| {
            let at_rest = if alone {
                group.is_settled()
                    && (group.checkpoint.has_failed()
                        || group.applied().end <= group.checkpoint.position)
            } else {
                // What its leader has committed since it learns when it is back.
                group.following.is_closed() && group.journal.writes_in_flight() == 0
            };
            at_rest && group.queue.is_empty() && !group.checkpoint.is_writing()
        });
        if done {
            self.state = State::Stopped;
            self.outputs.push_back(Output::Stopped);
        }
    }
}
