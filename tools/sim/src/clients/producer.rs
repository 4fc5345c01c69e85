//! A producer: many requests under way, at some level. An idempotent one sends again whatever it
//! had no answer for.

use std::collections::VecDeque;

use bytes::Bytes;
use hutong::kafka::error_code::ErrorCode;
use hutong::kafka::record_batch;
use hutong::limits::PRODUCER_BATCHES_REMEMBERED;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProducerId, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::connection::{PartitionId, Reply, SentBatch, What};
use crate::host::Place;
use crate::lie;
use crate::plan::MS;
use crate::random::Random;
use crate::wire::{self, RecordId};
use crate::world::World;

/// A producer.
#[derive(Debug)]
pub struct Producer {
    number: u32,
    acks: i16,
    timeout_ms: i32,
    version: i16,
    idempotent: bool,
    producer_id: Option<i64>,
    asked_id: bool,
    target: Option<Target>,
    next_sequence: u64,
    next_base: i32,
    in_flight: usize,
    in_flight_max: usize,
    /// Of an idempotent one, oldest first: no answer yet, or a bad one.
    unsettled: VecDeque<Unsettled>,
    /// It waits until nothing is in flight, and sends all of them again.
    resend: bool,
    /// Answers in a row that miss a batch before.
    refused: u32,
}

/// More answers than this that miss a batch before: it is gone.
const REFUSED_MAX: u32 = 50;

#[derive(Clone, Debug)]
struct Target {
    topic: String,
    partitions: Vec<PartitionId>,
    place: Place,
}

#[derive(Clone, Debug)]
struct Unsettled {
    batch: SentBatch,
    records: Bytes,
    /// Batches that were sent for the first time after it.
    later: usize,
}

impl Producer {
    /// A producer with the habits that chance gives it.
    pub fn new(number: u32, random: &mut Random) -> Producer {
        let idempotent = random.chance(40);
        let acks = if idempotent {
            random.pick(&[-1, -1, 5, 3, 1])
        } else {
            random.pick(&[-1, 0, 1, 2, 2, 3, 4, 5])
        };
        let in_flight_max = if idempotent {
            random.between(1, PRODUCER_BATCHES_REMEMBERED as u64)
        } else {
            random.pick(&[1, 5, 50, 300])
        };
        Producer {
            number,
            acks,
            timeout_ms: random.pick(&[20, 300, 2000, 10_000]),
            version: random.between(3, 11) as i16,
            idempotent,
            producer_id: None,
            asked_id: false,
            target: None,
            next_sequence: 0,
            next_base: 0,
            in_flight: 0,
            in_flight_max: in_flight_max as usize,
            unsettled: VecDeque::new(),
            resend: false,
            refused: 0,
        }
    }

    /// Its connection is gone.
    pub fn disconnected(&mut self) {
        self.in_flight = 0;
        self.asked_id = false;
        self.resend = !self.unsettled.is_empty();
    }

    /// Does what is next. Returns when to come back.
    pub fn step(
        &mut self,
        world: &mut World,
        connection: &mut Option<u64>,
        number: usize,
    ) -> Option<u64> {
        if !world.is_loaded() {
            return None;
        }
        let think = world.random.around(world.plan.think);
        if self.find_target(world) && connection.is_some() {
            // It has moved: what was sent to the old place is given up or sent again.
            world.disconnect(connection.take().unwrap_or_default());
            self.disconnected();
        }
        let Some(target) = self.target.clone() else { return Some(think.max(50 * MS)) };
        if connection.is_none() {
            *connection = world.connect(number, target.place);
            if !self.idempotent {
                world.checks.order.reconnected(self.number, self.next_sequence);
            }
        }
        let Some(id) = *connection else { return Some(think.max(20 * MS)) };
        if self.idempotent && self.producer_id.is_none() {
            self.ask_id(world, id);
        } else if self.resend {
            if self.refused > REFUSED_MAX && self.in_flight == 0 {
                self.begin_anew();
            } else if self.in_flight == 0 {
                self.resend = false;
                for unsettled in self.unsettled.clone() {
                    self.send(world, id, &target, &[(unsettled.batch, unsettled.records)]);
                }
            }
        } else if self.in_flight < self.in_flight_max
            && self.unsettled.len() < self.in_flight_max
            && self.is_remembered()
            && world.produced_bytes < world.plan.produce_bytes_max
        {
            self.send_new(world, id, &target);
        }
        Some(think)
    }

    /// Whether the oldest batch that had no good answer is still remembered by the broker when
    /// another one was sent. Who goes on regardless may find what it sends again taken for new, as
    /// with Kafka: a client sends nothing new while it has to send something older again.
    fn is_remembered(&self) -> bool {
        let oldest = self.unsettled.front();
        oldest.is_none_or(|oldest| oldest.later + 1 < PRODUCER_BATCHES_REMEMBERED)
    }

    /// Returns whether the target has moved to another shard.
    fn find_target(&mut self, world: &mut World) -> bool {
        if let Some(target) = &mut self.target {
            let (_, leader) = leader_of(world, &target.partitions[0]);
            if world.topics.is_live(&target.partitions[0].0) {
                let moved = leader.is_some_and(|leader| leader != target.place);
                target.place = leader.unwrap_or(target.place);
                return moved;
            }
        }
        let all: Vec<(String, PartitionId, Place)> = world
            .topics
            .partitions()
            .filter_map(|(topic, id, leader)| Some((topic.to_string(), id, leader?)))
            .collect();
        let before = self.target.take();
        if all.is_empty() {
            return false;
        }
        let first = world.random.below(all.len() as u64) as usize;
        let (topic, id, place) = all[first].clone();
        let mut partitions = vec![id];
        if !self.idempotent && world.random.chance(40) {
            let beside =
                all.iter().filter(|(other, p, s)| *other == topic && *s == place && *p != id);
            partitions.extend(beside.map(|(_, id, _)| *id).take(2));
        }
        self.unsettled.clear();
        self.resend = false;
        self.next_base = 0;
        self.target = Some(Target { topic, partitions, place });
        before.is_some_and(|before| before.place != place)
    }

    /// What it was told to be flushed is gone with its leader: it gives up what it had no answer
    /// for, and goes on under another id.
    fn begin_anew(&mut self) {
        self.refused = 0;
        self.unsettled.clear();
        self.resend = false;
        self.producer_id = None;
        self.asked_id = false;
        self.next_base = 0;
    }

    fn ask_id(&mut self, world: &mut World, id: u64) {
        if std::mem::replace(&mut self.asked_id, true) {
            return;
        }
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        world.ask(id, (22, 3), What::InitProducerId, None, &request);
    }

    fn send_new(&mut self, world: &mut World, id: u64, target: &Target) {
        let timestamp = world.clocks(target.place.node).wallclock.0;
        let random = &mut world.random;
        let mut sent = Vec::new();
        for partition in target.partitions.clone() {
            let count = random.between(1, 4) as u32;
            let filler = match (world.plan.fat, random.below(100)) {
                (true, 0..60) => random.between(20_000, 250_000),
                (_, 0..3) => random.between(1000, 30_000),
                _ => random.below(300),
            } as usize;
            let first = RecordId { producer: self.number, sequence: self.next_sequence };
            self.next_sequence += u64::from(count);
            let who = match self.producer_id {
                Some(id) if self.idempotent => {
                    record_batch::Producer { id, epoch: 0, base_sequence: self.next_base }
                }
                _ => record_batch::Producer::NONE,
            };
            self.next_base += count as i32;
            let records = wire::batch(first, count, filler, timestamp, who);
            world.produced_bytes += records.len() as u64;
            let batch = SentBatch { partition, first, count };
            if self.idempotent {
                let (batch, records) = (batch.clone(), records.clone());
                self.unsettled.iter_mut().for_each(|unsettled| unsettled.later += 1);
                self.unsettled.push_back(Unsettled { batch, records, later: 0 });
            }
            sent.push((batch, records));
        }
        self.send(world, id, target, &sent);
    }

    fn send(&mut self, world: &mut World, id: u64, target: &Target, sent: &[(SentBatch, Bytes)]) {
        let partitions = sent.iter().map(|(batch, records)| {
            PartitionProduceData::default()
                .with_index(batch.partition.1)
                .with_records(Some(records.clone()))
        });
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(target.topic.clone())))
            .with_partition_data(partitions.collect());
        let request = ProduceRequest::default()
            .with_acks(lie::acks(world.lie, self.acks))
            .with_timeout_ms(self.timeout_ms)
            .with_topic_data(vec![topic]);
        let batches = sent.iter().map(|(batch, _)| batch.clone()).collect();
        self.in_flight += usize::from(self.acks != 0);
        let what = What::Produce { acks: self.acks, batches };
        let timeout = Some(self.timeout_ms as u64 * MS);
        world.ask(id, (0, self.version), what, timeout, &request);
    }

    /// An answer has come.
    pub fn told(&mut self, _world: &mut World, reply: Reply) {
        match reply {
            Reply::ProducerId(0, id) => self.producer_id = Some(id),
            Reply::ProducerId(..) => self.asked_id = false,
            Reply::Produce(outcomes) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                for (batch, code, _) in outcomes {
                    if !self.idempotent {
                        continue;
                    }
                    if code == 0 {
                        self.refused = 0;
                        self.unsettled.retain(|unsettled| unsettled.batch.first != batch.first);
                    } else {
                        let lost = code == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER.code();
                        self.refused += u32::from(lost);
                        self.resend = !self.unsettled.is_empty();
                    }
                }
            }
            _ => {}
        }
    }
}

/// Sends one batch at the level Durable, for somebody who is no producer otherwise.
pub fn produce(world: &mut World, id: u64, topic: &str, batch: SentBatch) {
    let timestamp = world.clocks(0).wallclock.0;
    let none = record_batch::Producer::NONE;
    let records = wire::batch(batch.first, batch.count, 0, timestamp, none);
    let partition =
        PartitionProduceData::default().with_index(batch.partition.1).with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_string())))
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_acks(lie::acks(world.lie, -1))
        .with_timeout_ms(PROBE_TIMEOUT_MS)
        .with_topic_data(vec![topic]);
    let what = What::Produce { acks: -1, batches: vec![batch] };
    world.ask(id, (0, 9), what, Some(PROBE_TIMEOUT_MS as u64 * MS), &request);
}

/// How long an auditor's record may take.
const PROBE_TIMEOUT_MS: i32 = 3000;

/// The topic and the leader of a partition.
fn leader_of(world: &World, partition: &PartitionId) -> (Option<String>, Option<Place>) {
    let topic = world.topics.by_id(&partition.0);
    let leader = topic.and_then(|topic| *topic.leaders.get(partition.1 as usize)?);
    (topic.map(|topic| topic.name.clone()), leader)
}
