//! The table of topic settings: Kafka's, with Kafka's defaults, and Hutong's own.
//!
//! Settings of Kafka that mean nothing here are checked as Kafka checks them and then ignored, so
//! that tools which set them work. Their documentation says so.

use super::setting::{ConfigKind, DefaultValue, Rule, Setting};
use crate::limits::{RECORD_BATCH_BYTES_DEFAULT, RECORD_BATCH_BYTES_MAX};

pub(super) const RETENTION_MS: &str = "retention.ms";
pub(super) const RETENTION_BYTES: &str = "retention.bytes";
pub(super) const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
pub(super) const TIMESTAMP_TYPE: &str = "message.timestamp.type";
pub(super) const ACKS_ONE: &str = "hutong.acks.one";
pub(super) const ACKS_ALL: &str = "hutong.acks.all";
pub(super) const CHECK_COMPRESSED: &str = "hutong.check.compressed";

/// The value of [`TIMESTAMP_TYPE`] that makes the broker stamp records.
pub(super) const LOG_APPEND_TIME: &str = "LogAppendTime";

/// [`RETENTION_MS`] by default: a week.
pub(super) const RETENTION_MS_DEFAULT: i64 = 604_800_000;

/// The names of [`Qos::WITH_RESPONSE`](crate::model::qos::Qos::WITH_RESPONSE); a test compares.
const LEVELS: &[&str] = &["received", "flushed", "replicated", "durable"];

/// All topic settings, in the order in which they are described.
pub(super) const TOPIC_SETTINGS: &[Setting] = &[
    long(
        RETENTION_MS,
        RETENTION_MS_DEFAULT,
        -1,
        "How long records are kept, in milliseconds; -1 keeps them for ever. Records may be kept \
         longer, since disk space is given back a whole journal segment at a time.",
    ),
    long(
        RETENTION_BYTES,
        -1,
        -1,
        "How many bytes of records each partition keeps at least before old ones may go; -1 sets \
         no bound.",
    ),
    Setting {
        name: MAX_MESSAGE_BYTES,
        kind: ConfigKind::Int,
        default: DefaultValue::Number(RECORD_BATCH_BYTES_DEFAULT as i64),
        rule: Rule::Number { min: 0, max: RECORD_BATCH_BYTES_MAX as i64 },
        documentation: "The largest record batch that is accepted, in bytes, after compression.",
    },
    text(
        TIMESTAMP_TYPE,
        "CreateTime",
        Rule::OneOf(&["CreateTime", LOG_APPEND_TIME]),
        "Whose clock gives records their timestamp: the producer's (CreateTime) or the broker's \
         (LogAppendTime).",
    ),
    text(
        ACKS_ONE,
        "flushed",
        Rule::OneOf(LEVELS),
        "What acks=1 means: received (in the leader's memory), flushed (on the leader's disk), \
         replicated (in the memory of a majority) or durable (on the disks of a majority).",
    ),
    text(
        ACKS_ALL,
        "durable",
        Rule::OneOf(LEVELS),
        "What acks=-1 (all) means: received, flushed, replicated or durable, as for \
         hutong.acks.one.",
    ),
    Setting {
        name: CHECK_COMPRESSED,
        kind: ConfigKind::Boolean,
        default: DefaultValue::Text("true"),
        rule: Rule::Boolean,
        documentation: "Whether compressed batches are decompressed on their way in, to see that \
                        their records are as many as they say, as Kafka does. false saves that \
                        CPU time and believes the producers; one that lies can move the offsets \
                        of its partition.",
    },
    Setting {
        name: "cleanup.policy",
        kind: ConfigKind::List,
        default: DefaultValue::Text("delete"),
        rule: Rule::Only {
            value: "delete",
            why: "Hutong doesn't compact topics yet: it deletes old records by retention.ms and \
                  retention.bytes",
        },
        documentation: "What happens to old records. Only delete: compaction isn't there yet.",
    },
    text(
        "compression.type",
        "producer",
        Rule::Only {
            value: "producer",
            why: "Hutong keeps batches exactly as their producer compressed them",
        },
        "How records are compressed. Only producer: batches are kept as their producer sent them.",
    ),
    int(
        "min.insync.replicas",
        1,
        1,
        "Accepted for compatibility, without effect: a majority of the replicas always holds what \
         was acknowledged as durable.",
    ),
    boolean(
        "unclean.leader.election.enable",
        "Accepted for compatibility, without effect: only a replica that holds all committed \
         records can become leader.",
    ),
    int("segment.bytes", 1 << 30, 14, SEGMENTS_ARE_SHARED),
    long("segment.ms", 604_800_000, 1, SEGMENTS_ARE_SHARED),
    long("segment.jitter.ms", 0, 0, SEGMENTS_ARE_SHARED),
    int("segment.index.bytes", 10 << 20, 4, INDEX_IN_MEMORY),
    int("index.interval.bytes", 4096, 0, INDEX_IN_MEMORY),
    boolean("preallocate", SEGMENTS_ARE_SHARED),
    long("file.delete.delay.ms", 60_000, 0, SEGMENTS_ARE_SHARED),
    long("flush.messages", i64::MAX, 1, ALWAYS_FLUSHED),
    long("flush.ms", i64::MAX, 0, ALWAYS_FLUSHED),
    long("message.timestamp.before.max.ms", i64::MAX, 0, TIMESTAMPS_UNCHECKED),
    long("message.timestamp.after.max.ms", i64::MAX, 0, TIMESTAMPS_UNCHECKED),
    long("message.timestamp.difference.max.ms", i64::MAX, 0, TIMESTAMPS_UNCHECKED),
    long("delete.retention.ms", 86_400_000, 0, NOT_COMPACTED),
    long("min.compaction.lag.ms", 0, 0, NOT_COMPACTED),
    long("max.compaction.lag.ms", i64::MAX, 1, NOT_COMPACTED),
    Setting {
        name: "min.cleanable.dirty.ratio",
        kind: ConfigKind::Double,
        default: DefaultValue::Text("0.5"),
        rule: Rule::Ratio,
        documentation: NOT_COMPACTED,
    },
    text(
        "message.format.version",
        "3.0-IV1",
        Rule::KafkaVersion,
        "Accepted for compatibility, without effect, as in Kafka since 3.0: records have format 2.",
    ),
];

const SEGMENTS_ARE_SHARED: &str = "Accepted for compatibility, without effect: the partitions of a \
     group share one journal, whose segments are set for the whole broker.";
const INDEX_IN_MEMORY: &str =
    "Accepted for compatibility, without effect: partitions have no index files.";
const ALWAYS_FLUSHED: &str = "Accepted for compatibility, without effect: everything is flushed at \
     once, and acks says who waits for it.";
const TIMESTAMPS_UNCHECKED: &str =
    "Accepted for compatibility, without effect: timestamps of producers are taken as they are.";
const NOT_COMPACTED: &str =
    "Accepted for compatibility, without effect: Hutong doesn't compact topics yet.";

const fn text(
    name: &'static str,
    default: &'static str,
    rule: Rule,
    documentation: &'static str,
) -> Setting {
    let default = DefaultValue::Text(default);
    Setting { name, kind: ConfigKind::String, default, rule, documentation }
}

const fn boolean(name: &'static str, documentation: &'static str) -> Setting {
    let default = DefaultValue::Text("false");
    Setting { name, kind: ConfigKind::Boolean, default, rule: Rule::Boolean, documentation }
}

const fn int(name: &'static str, default: i64, min: i64, documentation: &'static str) -> Setting {
    let rule = Rule::Number { min, max: i32::MAX as i64 };
    let default = DefaultValue::Number(default);
    Setting { name, kind: ConfigKind::Int, default, rule, documentation }
}

const fn long(name: &'static str, default: i64, min: i64, documentation: &'static str) -> Setting {
    let rule = Rule::Number { min, max: i64::MAX };
    let default = DefaultValue::Number(default);
    Setting { name, kind: ConfigKind::Long, default, rule, documentation }
}
