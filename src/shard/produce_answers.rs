//! What a client is told of its batches.

use std::borrow::Cow;
use std::rc::Rc;

use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::kafka::produce::{
    PartitionOutcome, ProducePartition, ProduceRequest, ProduceResponseEncoder, ResponseTemplate,
    encode_single_response,
};
use crate::shard::cluster::Cluster;
use crate::shard::produce::{MultiProduce, ProduceOutcome};
use crate::shard::request_queue::SingleProduce;

/// The template that was used last, and for what. Answers to one topic in one version come in
/// rows; where they don't, making one costs little more than encoding a response.
#[derive(Debug, Default)]
pub struct LastTemplate(Option<(Rc<str>, i16, ResponseTemplate)>);

impl LastTemplate {
    #[inline]
    fn get(&mut self, topic: &Rc<str>, version: i16) -> &ResponseTemplate {
        let fits = self.0.as_ref().is_some_and(|(last_topic, last_version, _)| {
            Rc::ptr_eq(last_topic, topic) && *last_version == version
        });
        if !fits {
            self.0 = None;
        }
        let (_, _, template) = self.0.get_or_insert_with(|| {
            (topic.clone(), version, ResponseTemplate::new(version, topic.as_bytes()))
        });
        template
    }
}

/// The response to a request with one batch.
pub fn encode_outcome(
    out: &mut Vec<u8>,
    cluster: &Cluster,
    templates: &mut LastTemplate,
    single: &SingleProduce,
    outcome: ProduceOutcome,
) {
    let message = message(&outcome);
    let wire = wire_outcome(cluster, outcome, message.as_deref());
    if let ProduceOutcome::Appended(_) = outcome {
        let template = templates.get(&single.topic, single.version);
        return template.put(out, single.correlation_id, single.partition, &wire);
    }
    encode_single_response(
        out,
        single.version,
        single.correlation_id,
        single.topic.as_bytes(),
        single.partition,
        &wire,
        cluster.hint(wire.current_leader).as_slice(),
    );
}

/// The response to a request whose only batch was refused at once.
pub fn encode_refusal(
    out: &mut Vec<u8>,
    cluster: &Cluster,
    header: &RequestHeader,
    partition: &ProducePartition<'_>,
    outcome: ProduceOutcome,
) {
    let message = message(&outcome);
    let outcome = wire_outcome(cluster, outcome, message.as_deref());
    encode_single_response(
        out,
        header.api_version,
        header.correlation_id,
        partition.topic,
        partition.partition,
        &outcome,
        cluster.hint(outcome.current_leader).as_slice(),
    );
}

/// The response to a request with several batches. The names come from the request's frame once
/// more: what was good then is good now.
pub fn encode_multi(out: &mut Vec<u8>, cluster: &Cluster, multi: &MultiProduce) {
    let request = ProduceRequest::decode(&multi.header, &multi.frame).expect("decoded before");
    let parts: Vec<ProducePartition<'_>> = request.partitions().flatten().collect();
    // Partitions of a topic stand side by side in the frame and share one slice as its name.
    let topics: Vec<&[ProducePartition<'_>]> =
        parts.chunk_by(|a, b| std::ptr::eq(a.topic, b.topic)).collect();
    let version = multi.header.api_version;
    let correlation_id = multi.header.correlation_id;
    let mut encoder = ProduceResponseEncoder::begin(out, version, correlation_id, topics.len());
    let mut hints = Vec::new();
    let mut outcomes = multi.outcomes.iter();
    for topic in topics {
        encoder.topic(topic[0].topic, topic.len());
        for partition in topic {
            let outcome = outcomes.next().expect("one for each partition");
            let message = message(outcome);
            let outcome = wire_outcome(cluster, *outcome, message.as_deref());
            hints.extend(cluster.hint(outcome.current_leader));
            encoder.partition(partition.partition, &outcome);
        }
    }
    hints.sort_unstable_by_key(|hint| hint.node_id);
    hints.dedup();
    encoder.finish(&hints);
}

/// A sentence for the client's log.
fn message(outcome: &ProduceOutcome) -> Option<Cow<'static, str>> {
    match outcome {
        ProduceOutcome::TimedOut => Some(Cow::Borrowed(
            "the level asked for was not reached in time; the records may still become durable",
        )),
        ProduceOutcome::NoSpace => Some(Cow::Borrowed("the broker's disk is full")),
        ProduceOutcome::BadBatch(error) => Some(Cow::Owned(error.to_string())),
        ProduceOutcome::Refused(_, message) => Some(Cow::Borrowed(message)),
        _ => None,
    }
}

/// An outcome in Kafka's words.
fn wire_outcome<'m>(
    cluster: &Cluster,
    outcome: ProduceOutcome,
    error_message: Option<&'m str>,
) -> PartitionOutcome<'m> {
    if let ProduceOutcome::Appended(appended) = outcome {
        return PartitionOutcome {
            error: ErrorCode::NONE,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.append_time,
            log_start_offset: appended.log_start,
            error_message: None,
            current_leader: None,
        };
    }
    let current_leader = match outcome {
        ProduceOutcome::Elsewhere(group) => cluster.leader(group),
        _ => None,
    };
    PartitionOutcome {
        error_message,
        current_leader,
        ..PartitionOutcome::failed(error_of(&outcome))
    }
}

/// Kafka's code for an outcome.
pub fn error_of(outcome: &ProduceOutcome) -> ErrorCode {
    match outcome {
        ProduceOutcome::Appended(_) => ErrorCode::NONE,
        ProduceOutcome::TimedOut => ErrorCode::REQUEST_TIMED_OUT,
        ProduceOutcome::NoSpace => ErrorCode::KAFKA_STORAGE_ERROR,
        ProduceOutcome::UnknownPartition => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ProduceOutcome::OutOfOrder => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ProduceOutcome::Fenced => ErrorCode::INVALID_PRODUCER_EPOCH,
        ProduceOutcome::Elsewhere(_) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ProduceOutcome::BadBatch(error) => error.code(),
        ProduceOutcome::Refused(code, _) => *code,
    }
}
