//! Writes a record to every partition and then fetches all it holds, when nobody else writes any
//! more.

use std::collections::VecDeque;

use hutong::kafka::error_code::ErrorCode;

use crate::clients::consumer::{fetch, list_offsets};
use crate::clients::producer::produce;
use crate::connection::{PartitionId, Reply, SentBatch};
use crate::host::Place;
use crate::plan::MS;
use crate::wire::{Fetched, RecordId};
use crate::world::World;

/// The first auditor's number as a producer.
const PRODUCER: u32 = 1_000_000;

/// An auditor.
#[derive(Debug, Default)]
pub struct Auditor {
    /// What is still to be done; `None` before the work was laid out.
    todo: Option<VecDeque<(String, PartitionId)>>,
    audit: Option<Audit>,
    waiting: bool,
    connected_to: Option<Place>,
    /// As a producer.
    number: u32,
    next_sequence: u64,
}

#[derive(Debug)]
struct Audit {
    topic: String,
    partition: PartitionId,
    /// The offset of the record that was taken.
    wrote: Option<i64>,
    log_start: Option<i64>,
    end: Option<i64>,
    records: Vec<Fetched>,
}

impl Auditor {
    /// One that hasn't begun.
    pub fn new(round: u32) -> Auditor {
        Auditor { number: PRODUCER + round, ..Auditor::default() }
    }

    /// Whether everything was looked at.
    pub fn is_done(&self) -> bool {
        self.todo.as_ref().is_some_and(VecDeque::is_empty) && self.audit.is_none()
    }

    /// Its connection is gone.
    pub fn disconnected(&mut self) {
        self.waiting = false;
        self.connected_to = None;
    }

    /// Does what is next. Returns when to come back.
    pub fn step(
        &mut self,
        world: &mut World,
        connection: &mut Option<u64>,
        number: usize,
    ) -> Result<Option<u64>, String> {
        let again = Ok(Some(MS));
        if self.waiting {
            return again;
        }
        let todo = self.todo.get_or_insert_with(|| {
            world.topics.partitions().map(|(topic, id, _)| (topic.to_string(), id)).collect()
        });
        if self.audit.is_none() {
            let Some((topic, partition)) = todo.pop_front() else { return Ok(None) };
            let (log_start, end) = (None, None);
            let records = Vec::new();
            self.audit = Some(Audit { topic, partition, wrote: None, log_start, end, records });
        }
        let Some(audit) = &self.audit else { return again };
        let topic = world.topics.by_id(&audit.partition.0);
        let leader = topic.and_then(|topic| topic.leaders[audit.partition.1 as usize]);
        if leader != self.connected_to || leader.is_none() {
            if let Some(id) = connection.take() {
                world.disconnect(id);
            }
            self.connected_to = None;
            let Some(leader) = leader else { return Ok(Some(100 * MS)) };
            *connection = world.connect(number, leader);
            self.connected_to = connection.map(|_| leader);
        }
        let Some(audit) = &self.audit else { return again };
        let Some(id) = *connection else { return Ok(Some(100 * MS)) };
        self.waiting = true;
        let wanted = (audit.topic.clone(), audit.partition);
        if audit.wrote.is_none() {
            let first = RecordId { producer: self.number, sequence: self.next_sequence };
            self.next_sequence += 1;
            let batch = SentBatch { partition: audit.partition, first, count: 1 };
            produce(world, id, &audit.topic, batch);
            return again;
        }
        match (audit.log_start, audit.end) {
            (None, _) => list_offsets(world, id, &[wanted], -2),
            (_, None) => list_offsets(world, id, &[wanted], -1),
            (Some(log_start), Some(end)) => {
                let next = audit.records.last().map_or(log_start, |last| last.offset + 1);
                if next < end {
                    let wanted = (wanted.0, wanted.1, next);
                    fetch(world, id, 12, 500, 1 << 20, &[wanted]);
                } else {
                    self.waiting = false;
                    world.checks.audited(audit.partition, log_start, end, &audit.records)?;
                    self.audit = None;
                }
            }
        }
        again
    }

    /// An answer has come.
    pub fn told(&mut self, world: &World, reply: Reply) -> Result<(), String> {
        self.waiting = false;
        let Some(audit) = &mut self.audit else { return Ok(()) };
        match reply {
            Reply::Produce(outcomes) => {
                let taken = outcomes.first().filter(|(_, code, _)| *code == 0);
                audit.wrote = taken.map(|(_, _, offset)| *offset);
            }
            Reply::ListOffsets(listed, timestamp) => {
                let found = listed.first().filter(|(_, code, _)| *code == 0).map(|(_, _, at)| *at);
                match timestamp {
                    -2 => audit.log_start = found,
                    // A leader with a slow disk shows a record later than it acknowledges it.
                    _ => audit.end = found.filter(|end| Some(*end) > audit.wrote),
                }
            }
            Reply::Fetch(next, parts) => {
                let code = next.first().map_or(0, |(_, code, _)| *code);
                let is_damaged = ErrorCode(code) == ErrorCode::KAFKA_STORAGE_ERROR;
                if is_damaged && world.hosts.iter().any(|host| !host.rotten.is_empty()) {
                    // It says so, and gives nothing else instead. Other nodes have it.
                    if !world.is_cluster() {
                        self.audit = None;
                    }
                    return Ok(());
                }
                if code == 1 {
                    // Retention went on meanwhile.
                    (audit.log_start, audit.end) = (None, None);
                    audit.records.clear();
                }
                for part in parts {
                    let wanted = part.records.into_iter();
                    audit.records.extend(wanted.filter(|fetched| fetched.offset >= part.from));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
