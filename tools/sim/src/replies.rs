//! What the node answers: read, held against the rules, and handed to the client that asked.

use bytes::Bytes;
use hutong::kafka::error_code::ErrorCode;
use hutong::model::ids::{BROKERS_PER_NODE, ConnectionId};
use hutong::model::qos::Qos;
use hutong::shard::input::Input;
use kafka_protocol::messages::{
    CreateTopicsResponse, DeleteRecordsResponse, DeleteTopicsResponse, FetchResponse,
    IncrementalAlterConfigsResponse, InitProducerIdResponse, ListOffsetsResponse, MetadataResponse,
    ProduceResponse,
};

use crate::checkers::durability::Acknowledged;
use crate::checkers::{FetchedPart, deadlines, name, responses};
use crate::connection::{Asked, PartitionId, Reply, SentBatch, What};
use crate::events::Event;
use crate::host::Place;
use crate::plan::{MS, SECOND};
use crate::wire;
use crate::world::World;

/// After the disk was full, refusals may go on until the core has asked for space again.
const FULL_AFTERMATH: u64 = 3 * SECOND;

impl World {
    /// The node gave out one whole response.
    pub(crate) fn answered(&mut self, id: u64, frame: Bytes) -> Result<(), String> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let asked = responses::given_out(connection, &frame)?;
        let excused = self.is_excused(id, &asked);
        deadlines::given_out(&asked, self.now, self.plan.drift, excused)?;
        self.trace.event(self.now, &[9, id, asked.correlation as u64], || {
            format!("  connection {id} is answered: {:.120?}", asked.what)
        });
        let place = self.connections[&id].place;
        let reply = self.read_reply(place, &asked, &frame)?;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.to_client.push_back((Some(reply), 0));
        }
        Ok(())
    }

    /// Whether a request may be late: the node hasn't looked at it, or must read the disk for it.
    fn is_excused(&self, id: u64, asked: &Asked) -> bool {
        let Some(connection) = self.connections.get(&id) else { return true };
        let host = &self.hosts[connection.place.node];
        let Some(process) = &host.node else { return true };
        let arrived = asked.arrived_at.unwrap_or(self.now);
        let shard = &process.shards[usize::from(connection.place.shard)];
        let reads = matches!(asked.what, What::Fetch { .. } | What::ListOffsets { .. });
        process.stopping
            || !shard.ready
            || shard.ready_at >= arrived
            || host.paused_until >= arrived && host.paused_until > 0
            || connection.paused
            || connection.paused_at >= arrived
            || reads && (shard.reads > 0 || shard.last_read_at >= arrived)
            || reads && (!host.rotten.is_empty() || host.mended_at >= arrived)
    }

    /// Looks whether somebody waits for too long.
    pub(crate) fn check_waiting(&self, id: u64) -> Result<(), String> {
        match self.connections.get(&id).and_then(|connection| connection.awaiting.front()) {
            Some(asked) => {
                deadlines::given_out(asked, self.now, self.plan.drift, self.is_excused(id, asked))
            }
            None => Ok(()),
        }
    }

    fn read_reply(&mut self, place: Place, asked: &Asked, frame: &Bytes) -> Result<Reply, String> {
        let version = asked.version;
        match &asked.what {
            What::Produce { acks, batches } => {
                self.produced(place, asked, *acks, batches, &wire::response(version, frame)?)
            }
            What::Fetch { wanted, wait } => {
                let response: FetchResponse = wire::response(version, frame)?;
                self.fetched(place, asked, wanted, *wait, &response)
            }
            What::ListOffsets { wanted, timestamp } => {
                let response: ListOffsetsResponse = wire::response(version, frame)?;
                self.listed(place, asked, wanted, *timestamp, &response)
            }
            What::InitProducerId => {
                let response: InitProducerIdResponse = wire::response(version, frame)?;
                Ok(Reply::ProducerId(response.error_code, response.producer_id.0))
            }
            What::Metadata => {
                let response: MetadataResponse = wire::response(version, frame)?;
                self.described(asked, &response)
            }
            What::CreateTopic { name } => {
                let response: CreateTopicsResponse = wire::response(version, frame)?;
                let code = response.topics.first().map_or(-1, |topic| topic.error_code);
                if code == ErrorCode::NONE.code()
                    && let Some(topic) = self.topics.by_name.get_mut(name)
                {
                    topic.created_at = Some(self.now);
                }
                self.expect(asked, code, &[ErrorCode::NONE, ErrorCode::REQUEST_TIMED_OUT])?;
                self.topics.stale = true;
                Ok(Reply::Done)
            }
            What::Configure => {
                let response: IncrementalAlterConfigsResponse = wire::response(version, frame)?;
                let code = response.responses.first().map_or(-1, |resource| resource.error_code);
                self.configured |= code == ErrorCode::NONE.code();
                self.expect(asked, code, &[ErrorCode::NONE, ErrorCode::REQUEST_TIMED_OUT])?;
                Ok(Reply::Done)
            }
            What::Change(change) => self.changed(change, frame),
            What::DeleteTopic { name } => {
                let response: DeleteTopicsResponse = wire::response(version, frame)?;
                let code = response.responses.first().map_or(-1, |topic| topic.error_code);
                if code == ErrorCode::NONE.code()
                    && let Some(topic) = self.topics.by_name.get_mut(name)
                {
                    topic.deleted_at = Some(self.now);
                }
                let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                let allowed = [ErrorCode::NONE, ErrorCode::REQUEST_TIMED_OUT, unknown];
                self.expect(asked, code, &allowed)?;
                Ok(Reply::Done)
            }
            What::DeleteRecords { partition, offset } => {
                let response: DeleteRecordsResponse = wire::response(version, frame)?;
                self.records_deleted(place, asked, *partition, *offset, &response)
            }
            _ => self.read_group_reply(place, asked, frame),
        }
    }

    /// What a refusal may say of a topic, at this moment.
    pub(crate) fn allowed(
        &mut self,
        asked: &Asked,
        id: &[u8; 16],
        code: i16,
    ) -> Result<(), String> {
        let topic = self.topics.by_id(id);
        // Another node's catalog may be behind.
        let lags = !self.is_calm_since(asked.sent_at);
        let missing = topic.is_none_or(|topic| {
            let created = topic.created_at;
            lags || topic.doomed || created.is_none_or(|created| created > asked.sent_at)
        });
        let code = ErrorCode(code);
        let allowed = match code {
            ErrorCode::NOT_LEADER_OR_FOLLOWER => true,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID => missing,
            _ => false,
        };
        self.topics.stale |= code == ErrorCode::NOT_LEADER_OR_FOLLOWER;
        if allowed {
            return Ok(());
        }
        Err(format!("responses: {} in answer to {:?}", code.name(), asked.what))
    }

    fn lacks_space(&self, node: usize) -> bool {
        let host = &self.hosts[node];
        // A segment that is asked for again may be waited for.
        let until = host.full_last.max(host.stalled_until).max(host.slow_until);
        host.full_since_start && self.now < until + FULL_AFTERMATH
    }

    /// Whether something that a node's disk was asked for has failed since somebody asked, or may
    /// have been damaged.
    fn disk_failed(&self, node: usize, asked: &Asked) -> bool {
        let host = &self.hosts[node];
        host.failed_at.is_some_and(|at| at >= asked.sent_at) || !host.rotten.is_empty()
    }

    fn expect(&self, asked: &Asked, code: i16, allowed: &[ErrorCode]) -> Result<(), String> {
        let no_leader = self.is_cluster() && ErrorCode(code) == ErrorCode::NOT_CONTROLLER;
        if allowed.contains(&ErrorCode(code)) || no_leader {
            return Ok(());
        }
        Err(format!("responses: {} in answer to {:?}", ErrorCode(code).name(), asked.what))
    }

    fn produced(
        &mut self,
        place: Place,
        asked: &Asked,
        acks: i16,
        batches: &[SentBatch],
        response: &ProduceResponse,
    ) -> Result<Reply, String> {
        let parts = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let parts: Vec<_> = parts.collect();
        if parts.len() != batches.len() {
            return Err(format!("responses: {} parts for {asked:?}", parts.len()));
        }
        let mut outcomes = Vec::new();
        for batch in batches {
            let part = parts.iter().find(|part| part.index == batch.partition.1);
            let part = part.ok_or("responses: a partition is missing")?;
            match ErrorCode(part.error_code) {
                ErrorCode::NONE if self.topics.is_live(&batch.partition.0) => {
                    let level = Qos::from_acks(acks, Qos::Flushed, Qos::Durable);
                    let level = level.unwrap_or(Qos::Durable);
                    let consensus = &self.checks.consensus;
                    let group = consensus.group_of(&batch.partition);
                    let (node, since) = (place.node, asked.sent_at);
                    let leads = |group| consensus.led_since(node, group, since);
                    let still_leads = group.is_some_and(leads);
                    let group = group.unwrap_or_default();
                    let by = Acknowledged { node, group, level, since, still_leads };
                    self.checks.durability.acknowledged(batch, part.base_offset, by)?;
                }
                ErrorCode::NONE | ErrorCode::REQUEST_TIMED_OUT => {}
                // Only a producer that had no answer to an earlier batch gets this one.
                ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => {}
                ErrorCode::KAFKA_STORAGE_ERROR if self.lacks_space(place.node) => {}
                _ => self.allowed(asked, &batch.partition.0, part.error_code)?,
            }
            outcomes.push((batch.clone(), part.error_code, part.base_offset));
        }
        Ok(Reply::Produce(outcomes))
    }

    fn fetched(
        &mut self,
        place: Place,
        asked: &Asked,
        wanted: &[(PartitionId, i64)],
        wait: u64,
        response: &FetchResponse,
    ) -> Result<Reply, String> {
        let parts = response.responses.iter().flat_map(|topic| &topic.partitions);
        let (mut next, mut fetched) = (Vec::new(), Vec::new());
        let mut quiet = true;
        for ((partition, from), part) in wanted.iter().zip(parts) {
            if part.partition_index != partition.1 {
                return Err(format!("responses: partitions out of order in answer to {asked:?}"));
            }
            if !self.topics.is_live(&partition.0) {
                next.push((*partition, ErrorCode::UNKNOWN_TOPIC_ID.code(), 0));
                quiet = false;
                continue;
            }
            let checked = FetchedPart {
                partition: *partition,
                from: *from,
                high_watermark: part.high_watermark,
                log_start: part.log_start_offset,
                records: wire::records(part.records.as_deref().unwrap_or_default())?,
            };
            quiet &= part.error_code == 0 && checked.records.is_empty();
            match ErrorCode(part.error_code) {
                ErrorCode::NONE => {
                    self.checks.fetched(place.node, &checked)?;
                    self.report.fetched += checked.records.len() as u64;
                    let end = checked.records.last().map_or(*from, |last| last.offset + 1);
                    next.push((*partition, 0, end.max(*from)));
                    fetched.push(checked);
                }
                ErrorCode::KAFKA_STORAGE_ERROR if self.disk_failed(place.node, asked) => {
                    next.push((*partition, part.error_code, *from));
                }
                ErrorCode::OFFSET_OUT_OF_RANGE | ErrorCode::KAFKA_STORAGE_ERROR
                    if *from < checked.log_start =>
                {
                    self.checks.visibility.fetched(place.node, &checked)?;
                    next.push((*partition, part.error_code, checked.log_start));
                }
                _ => {
                    self.allowed(asked, &partition.0, part.error_code)
                        .map_err(|why| format!("{why}; {} {checked:?}", name(partition)))?;
                    next.push((*partition, part.error_code, *from));
                }
            }
        }
        // By the node's own clock.
        let slack = MS + wait * self.plan.drift / 400_000;
        let early = asked.arrived_at.is_some_and(|arrived| self.now + slack < arrived + wait);
        let stopping = !self.hosts[place.node].is_up();
        if quiet && early && !stopping {
            return Err(format!("deadlines: an empty answer before its time to {asked:?}"));
        }
        Ok(Reply::Fetch(next, fetched))
    }

    fn listed(
        &mut self,
        place: Place,
        asked: &Asked,
        wanted: &[PartitionId],
        timestamp: i64,
        response: &ListOffsetsResponse,
    ) -> Result<Reply, String> {
        let parts = response.topics.iter().flat_map(|topic| &topic.partitions);
        let mut listed = Vec::new();
        for (partition, part) in wanted.iter().zip(parts) {
            listed.push((*partition, part.error_code, part.offset));
            if !self.topics.is_live(&partition.0) {
                continue;
            }
            match (part.error_code, timestamp) {
                (0, -1) => {
                    self.checks.visibility.told(place.node, *partition, None, Some(part.offset))?
                }
                (0, -2) => {
                    self.checks.visibility.told(place.node, *partition, Some(part.offset), None)?
                }
                (0, _) => {}
                (code, _)
                    if ErrorCode(code) == ErrorCode::KAFKA_STORAGE_ERROR
                        && self.disk_failed(place.node, asked) => {}
                (code, _) => self.allowed(asked, &partition.0, code)?,
            }
        }
        Ok(Reply::ListOffsets(listed, timestamp))
    }

    fn records_deleted(
        &mut self,
        place: Place,
        asked: &Asked,
        partition: PartitionId,
        offset: i64,
        response: &DeleteRecordsResponse,
    ) -> Result<Reply, String> {
        let parts = response.topics.iter().flat_map(|topic| &topic.partitions);
        let part = parts.into_iter().next().ok_or("responses: no partition in DeleteRecords")?;
        if !self.topics.is_live(&partition.0) {
            return Ok(Reply::Done);
        }
        match ErrorCode(part.error_code) {
            ErrorCode::NONE if part.low_watermark < offset => {
                Err(format!("visibility: a log start of {} for {asked:?}", part.low_watermark))
            }
            ErrorCode::NONE => {
                self.checks.visibility.told(
                    place.node,
                    partition,
                    Some(part.low_watermark),
                    None,
                )?;
                Ok(Reply::Done)
            }
            ErrorCode::REQUEST_TIMED_OUT => Ok(Reply::Done),
            code => self.allowed(asked, &partition.0, code.code()).map(|()| Reply::Done),
        }
    }

    fn described(&mut self, asked: &Asked, response: &MetadataResponse) -> Result<Reply, String> {
        let knows = self.is_calm_since(asked.sent_at);
        for topic in self.topics.by_name.values_mut() {
            let found = response.topics.iter().find(|listed| {
                listed.name.as_ref().is_some_and(|name| name.as_str() == topic.name)
            });
            let created = topic.created_at.is_some_and(|at| at < asked.sent_at) && !topic.doomed;
            let deleted = topic.deleted_at.is_some_and(|at| at < asked.sent_at);
            if knows && ((created && found.is_none()) || (deleted && found.is_some())) {
                return Err(format!("durability: the catalog is wrong about {topic:?}"));
            }
            let Some(found) = found else { continue };
            let id = *found.topic_id.as_bytes();
            if topic.id.is_some_and(|known| known != id) {
                return Err(format!("durability: topic {} has a new id", topic.name));
            }
            topic.id = Some(id);
            if topic.retained {
                self.checks.visibility.retains(id);
            }
            for part in &found.partitions {
                let number = part.partition_index as usize;
                // Of what different nodes say, the later term counts.
                if part.leader_id.0 >= 0 && part.leader_epoch >= topic.terms[number] {
                    topic.terms[number] = part.leader_epoch;
                    topic.leaders[number] = Some(Place {
                        node: (part.leader_id.0 / BROKERS_PER_NODE) as usize,
                        shard: (part.leader_id.0 % BROKERS_PER_NODE) as u16,
                    });
                }
            }
        }
        Ok(Reply::Done)
    }

    pub(crate) fn schedule_responses(&mut self, id: u64) {
        let slow = if self.random.chance(2) { 100 } else { 1 };
        let delay = self.random.around(MS / 10) * slow;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.last_response_at = connection.last_response_at.max(self.now + delay);
        self.events.push(connection.last_response_at, Event::Response { connection: id });
    }

    /// What was given out in one piece reaches the client.
    pub(crate) fn deliver_response(&mut self, id: u64) -> Result<(), String> {
        self.hand_over(id)?;
        let over = self.connections.get(&id);
        if over.is_some_and(|connection| connection.closing && connection.to_client.is_empty()) {
            self.disconnect(id);
        }
        Ok(())
    }

    pub(crate) fn hand_over(&mut self, id: u64) -> Result<(), String> {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
            let (client, place) = (connection.client, connection.place);
            match connection.to_client.pop_front() {
                Some((Some(reply), _)) => self.tell_client(client, reply)?,
                Some((None, bytes)) => {
                    self.input(place, Input::Sent { connection: ConnectionId(id), bytes });
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }
}
