//! Produce: check a request, let go of it, and answer it when its level is reached.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;

use crate::journal::page::Page;
use crate::kafka::api::PRODUCE_INDEX;
use crate::kafka::decode_error::DecodeError;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::kafka::produce::{ProducePartition, ProduceRequest};
use crate::kafka::record_batch::{self, BatchError, CODEC_NONE};
use crate::limits::PRODUCE_DECOMPRESSED_BYTES_MAX;
use crate::metadata::{Catalog, Topic};
use crate::model::ids::{GroupId, PartitionKey};
use crate::model::qos::Qos;
use crate::model::time::Time;
use crate::shard::cluster::Cluster;
use crate::shard::connections::{Connections, Ticket};
use crate::shard::groups::Groups;
use crate::shard::partitions::PartitionSlot;
use crate::shard::produce_answers::{
    LastTemplate, encode_multi, encode_outcome, encode_refusal, error_of,
};
use crate::shard::request_queue::{ProduceAnswer, QueuedBatch, SingleProduce};

/// What a Produce request needs of the shard.
pub struct Produce<'a, P> {
    pub catalog: &'a Catalog,
    pub cluster: &'a Cluster,
    pub groups: &'a mut Groups<P>,
    pub connections: &'a mut Connections<P>,
    pub requests: &'a mut Slab<MultiProduce>,
    pub template: &'a mut LastTemplate,
    /// Where the catalog has the topic of the last batch.
    pub last_topic: &'a mut u32,
    /// What was decompressed in this turn.
    pub decompressed_bytes: &'a mut u64,
}

/// An answer that waits for its level.
#[derive(Debug)]
pub struct PendingProduce {
    pub answer: ProduceAnswer,
    pub queued_at: Time,
    pub outcome: Appended,
}

/// Where a batch was appended.
#[derive(Clone, Copy, Debug)]
pub struct Appended {
    pub base_offset: i64,
    /// -1 unless the topic stamps records with it.
    pub append_time: i64,
    pub log_start: i64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug)]
pub enum ProduceOutcome {
    Appended(Appended),
    /// Its deadline came first. It may still become durable.
    TimedOut,
    /// The disk is full.
    NoSpace,
    /// The partition was deleted while the batch waited.
    UnknownPartition,
    OutOfOrder,
    Fenced,
    /// Another shard has the partition.
    Elsewhere(GroupId),
    BadBatch(BatchError),
    Refused(ErrorCode, &'static str),
}

/// A request with several batches, until each has its outcome.
#[derive(Debug)]
pub struct MultiProduce {
    ticket: Ticket,
    pub(super) header: RequestHeader,
    /// The frame, which still holds the topics' names.
    pub(super) frame: Bytes,
    pub(super) outcomes: Vec<ProduceOutcome>,
    missing: usize,
    silent: bool,
}

/// What a request asks for all its batches.
#[derive(Clone, Copy)]
struct Wanted {
    acks: i16,
    timeout_ms: i32,
}

/// A batch that was found good, and where it belongs.
struct Checked {
    group: usize,
    partition: PartitionSlot,
    key: PartitionKey,
    qos: Qos,
    append_time: bool,
}

/// The first Produce version whose clients know zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

impl<'a, P: Page> Produce<'a, P> {
    /// Takes one request. Batches that are good go to the queue; what is wrong is answered now.
    ///
    /// # Errors
    /// If the request can't be read, or can't be answered because its client wants no response:
    /// then the connection must be closed.
    pub fn on_request(
        &mut self,
        now: Time,
        ticket: Ticket,
        header: RequestHeader,
        read: &Bytes,
        frame_at: Range<usize>,
    ) -> Result<(), DecodeError> {
        let frame = &read[frame_at.clone()];
        let request = ProduceRequest::decode(&header, frame)?;
        let mut partitions = request.partitions();
        let first = partitions.next();
        let second = if partitions.is_over() { None } else { partitions.next() };
        let (Some(Ok(only)), None) = (first, second) else {
            request.check()?;
            return self.multi(now, ticket, header, &request, &read.slice(frame_at));
        };
        let wanted = Wanted { acks: request.acks, timeout_ms: request.timeout_ms };
        let mut bytes_left = PRODUCE_DECOMPRESSED_BYTES_MAX;
        let checked = self.check(&header, &request, frame, &only, &mut bytes_left);
        *self.decompressed_bytes += PRODUCE_DECOMPRESSED_BYTES_MAX - bytes_left;
        match checked {
            Ok((topic, checked)) => {
                let (partition, records) = (only.partition, only.records.unwrap_or_default());
                let answer = self.single_answer(ticket, &header, topic, partition, checked.qos);
                let records = frame_at.start + records.start..frame_at.start + records.end;
                self.enqueue(now, wanted, read, records, checked, answer);
            }
            Err(outcome) if wanted.acks == 0 => {
                self.count_failure(&outcome);
                return self.refuse_silent(ticket);
            }
            Err(outcome) => {
                self.count_failure(&outcome);
                let cluster = self.cluster;
                self.connections.answer(ticket, |out| {
                    encode_refusal(out, cluster, &header, &only, outcome);
                });
            }
        }
        Ok(())
    }

    /// Who is told of a request's only batch. Nobody with `acks=0`: then the request is done with.
    fn single_answer(
        &mut self,
        ticket: Ticket,
        header: &RequestHeader,
        topic: &Topic,
        partition: i32,
        qos: Qos,
    ) -> ProduceAnswer {
        if qos == Qos::OneWay {
            self.connections.answer_parts(ticket, Vec::new());
            return ProduceAnswer::None;
        }
        ProduceAnswer::Single(SingleProduce {
            ticket,
            correlation_id: header.correlation_id,
            version: header.api_version,
            topic: topic.name.clone(),
            partition,
        })
    }

    fn multi(
        &mut self,
        now: Time,
        ticket: Ticket,
        header: RequestHeader,
        request: &ProduceRequest<'_>,
        frame: &Bytes,
    ) -> Result<(), DecodeError> {
        let count = request.partitions().count();
        let pending = ProduceOutcome::TimedOut;
        let silent = request.acks == 0;
        let wanted = Wanted { acks: request.acks, timeout_ms: request.timeout_ms };
        let slot = self.requests.insert(MultiProduce {
            ticket,
            header,
            frame: frame.clone(),
            outcomes: vec![pending; count],
            // One more than there are batches, so that it can't be finished in this loop.
            missing: count + 1,
            silent,
        });
        let mut failed = false;
        let mut bytes_left = PRODUCE_DECOMPRESSED_BYTES_MAX;
        for (part, partition) in request.partitions().flatten().enumerate() {
            match self.check(&header, request, frame, &partition, &mut bytes_left) {
                Ok((_, checked)) => {
                    let answer = if silent {
                        ProduceAnswer::None
                    } else {
                        ProduceAnswer::Multi { request: slot, part }
                    };
                    let records = partition.records.unwrap_or_default();
                    self.enqueue(now, wanted, frame, records, checked, answer);
                }
                Err(outcome) => {
                    failed = true;
                    self.count_failure(&outcome);
                    self.settle(slot, part, outcome);
                }
            }
        }
        *self.decompressed_bytes += PRODUCE_DECOMPRESSED_BYTES_MAX - bytes_left;
        if silent {
            self.requests.remove(slot);
            if failed {
                return self.refuse_silent(ticket);
            }
            self.connections.answer_parts(ticket, Vec::new());
            return Ok(());
        }
        self.settle_one(slot);
        Ok(())
    }

    /// With `acks=0` there is no response to carry an error: the connection is closed instead, as
    /// Kafka does, so that the client notices.
    fn refuse_silent(&mut self, ticket: Ticket) -> Result<(), DecodeError> {
        self.connections.answer_parts(ticket, Vec::new());
        Err(DecodeError::Malformed("a batch sent with acks=0 was refused"))
    }

    fn check(
        &mut self,
        header: &RequestHeader,
        request: &ProduceRequest<'_>,
        frame: &[u8],
        partition: &ProducePartition<'_>,
        bytes_left: &mut u64,
    ) -> Result<(&'a Topic, Checked), ProduceOutcome> {
        let catalog = self.catalog;
        let refused = |code, why| ProduceOutcome::Refused(code, why);
        let topic = catalog.topic_again(partition.topic, self.last_topic);
        let topic = topic.ok_or(ProduceOutcome::UnknownPartition)?;
        let number = usize::try_from(partition.partition);
        let placement = number.ok().and_then(|number| topic.partitions.get(number));
        let placement = placement.ok_or(ProduceOutcome::UnknownPartition)?;
        let elsewhere = ProduceOutcome::Elsewhere(placement.group);
        let group = self.groups.index(placement.group).ok_or(elsewhere)?;
        let leads = self.groups.at(group).is_serving();
        let slot = self.groups.at(group).partitions.slot(placement.key);
        let slot = slot.filter(|_| leads).ok_or(elsewhere)?;
        if request.transactional {
            return Err(refused(ErrorCode::INVALID_REQUEST, "transactions are not offered"));
        }
        let config = &topic.config;
        let qos = Qos::from_acks(request.acks, config.acks_one, config.acks_all);
        let qos =
            qos.ok_or_else(|| refused(ErrorCode::INVALID_REQUIRED_ACKS, "acks must be -1 to 5"))?;
        let records = partition.records.clone().ok_or_else(|| {
            refused(ErrorCode::INVALID_RECORD, "a partition came without records")
        })?;
        let zstd_allowed = header.api_version >= ZSTD_FROM;
        let records = &frame[records];
        let batch = record_batch::check(records, config.max_message_bytes, zstd_allowed)
            .map_err(ProduceOutcome::BadBatch)?;
        if config.check_compressed || batch.codec() == CODEC_NONE {
            record_batch::check_records(&batch, records, bytes_left)
                .map_err(ProduceOutcome::BadBatch)?;
        }
        if batch.is_transactional() {
            return Err(refused(ErrorCode::INVALID_REQUEST, "transactions are not offered"));
        }
        let append_time = config.append_time;
        Ok((topic, Checked { group, partition: slot, key: placement.key, qos, append_time }))
    }

    fn enqueue(
        &mut self,
        now: Time,
        wanted: Wanted,
        read: &Bytes,
        records: Range<usize>,
        checked: Checked,
        answer: ProduceAnswer,
    ) {
        let timeout_ms = u64::try_from(wanted.timeout_ms).unwrap_or(0);
        let queue = &mut self.groups.at_mut(checked.group).queue;
        let place = queue.place(read, records);
        queue.push(QueuedBatch {
            partition: checked.partition,
            key: checked.key,
            place,
            append_time: checked.append_time,
            qos: checked.qos,
            queued_at: now,
            deadline: now + Duration::from_millis(timeout_ms),
            answer,
        });
    }

    /// Tells whoever waits for a batch what became of it.
    pub fn answer(&mut self, answer: ProduceAnswer, outcome: ProduceOutcome) {
        if !matches!(outcome, ProduceOutcome::Appended(_)) {
            self.count_failure(&outcome);
        }
        match answer {
            ProduceAnswer::None => {}
            ProduceAnswer::Single(single) => {
                let (cluster, template) = (self.cluster, &mut *self.template);
                self.connections.answer(single.ticket, |out| {
                    encode_outcome(out, cluster, template, &single, outcome);
                });
            }
            ProduceAnswer::Multi { request, part } => self.settle(request, part, outcome),
        }
    }

    fn count_failure(&mut self, outcome: &ProduceOutcome) {
        self.connections.traffic.error(PRODUCE_INDEX, error_of(outcome));
    }

    fn settle(&mut self, request: usize, part: usize, outcome: ProduceOutcome) {
        let Some(multi) = self.requests.get_mut(request) else { return };
        multi.outcomes[part] = outcome;
        self.settle_one(request);
    }

    fn settle_one(&mut self, request: usize) {
        let multi = &mut self.requests[request];
        multi.missing -= 1;
        if multi.missing > 0 {
            return;
        }
        let multi = self.requests.remove(request);
        if multi.silent {
            return;
        }
        let cluster = self.cluster;
        self.connections.answer(multi.ticket, |out| encode_multi(out, cluster, &multi));
    }
}
