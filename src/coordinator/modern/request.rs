//! What a group is asked and what it answers, as plain values.

use std::rc::Rc;
use std::time::Duration;

use super::assignor::Assignor;
use super::partitions::Partitions;
use super::record::ModernRecord;
use super::topics::Topics;
use crate::model::time::Time;

/// What a call is made with.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// Now.
    pub now: Time,
    /// The topics there are.
    pub topics: &'a dyn Topics,
    /// The settings of this group.
    pub settings: &'a Settings,
}

/// Settings of a group, Kafka's `group.consumer.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `group.consumer.session.timeout.ms`: a member silent for longer is removed.
    pub session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`: told to members.
    pub heartbeat_interval: Duration,
    /// `group.consumer.max.size`. More than
    /// [`CONSUMER_GROUP_MEMBERS_MAX`](crate::limits::CONSUMER_GROUP_MEMBERS_MAX) counts as that.
    pub max_size: usize,
    /// `group.consumer.assignors`, the one of groups whose members don't ask for one first.
    pub assignors: &'static [Assignor],
    /// `group.consumer.migration.policy`: whether a classic group with members may become one of
    /// the new protocol.
    pub upgrades: bool,
    /// And the other way round, when its last member that speaks the new protocol is gone.
    pub downgrades: bool,
}

impl Settings {
    /// The assignor of groups whose members don't ask for one.
    pub fn default_assignor(&self) -> Assignor {
        self.assignors.first().copied().unwrap_or(Assignor::Uniform)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            max_size: crate::limits::CONSUMER_GROUP_MEMBERS_MAX,
            assignors: &Assignor::ALL,
            upgrades: true,
            downgrades: true,
        }
    }
}

/// A ConsumerGroupHeartbeat. What is `None` is as it was.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat<'a> {
    /// Made by the client; for version 0, in which it may be empty when joining, drawn by the
    /// caller.
    pub member_id: &'a str,
    /// 0 joins, -1 leaves, -2 leaves for a while (static members); else the member's epoch.
    pub member_epoch: i32,
    /// `group.instance.id` of a static member, in each of its requests.
    pub instance_id: Option<&'a str>,
    /// `client.rack`.
    pub rack_id: Option<&'a str>,
    /// How long it may take to give up partitions. `None` for -1.
    pub rebalance_timeout_ms: Option<i32>,
    /// Topics by name.
    pub subscribed_topic_names: Option<Vec<&'a str>>,
    /// Topics by expression. Empty for none any more.
    pub subscribed_topic_regex: Option<&'a str>,
    /// The assignor it would like.
    pub server_assignor: Option<&'a str>,
    /// All it has, if it says so.
    pub owned: Option<Partitions>,
    /// As the client calls itself.
    pub client_id: &'a str,
    /// Where it speaks from.
    pub client_host: &'a str,
}

/// The answer to a [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// The member.
    pub member_id: Rc<str>,
    /// Its epoch from now on.
    pub member_epoch: i32,
    /// When to speak again.
    pub heartbeat_interval: Duration,
    /// All it may have from now on, if it has to know: what it has and isn't here is to be given
    /// up.
    pub assignment: Option<Partitions>,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the records must be appended, and the answer held until they are committed"]
pub struct Outcome<T> {
    /// To be appended as one batch, unless empty. Already applied to the group that was asked.
    pub records: Vec<ModernRecord>,
    /// The answer, to be held until these records and all the group had before are committed.
    pub answer: T,
}

/// Which of Kafka's errors it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// INVALID_REQUEST
    InvalidRequest,
    /// UNSUPPORTED_ASSIGNOR
    UnsupportedAssignor,
    /// INVALID_REGULAR_EXPRESSION
    InvalidRegularExpression,
    /// UNKNOWN_MEMBER_ID
    UnknownMemberId,
    /// FENCED_MEMBER_EPOCH
    FencedMemberEpoch,
    /// STALE_MEMBER_EPOCH
    StaleMemberEpoch,
    /// FENCED_INSTANCE_ID
    FencedInstanceId,
    /// UNRELEASED_INSTANCE_ID
    UnreleasedInstanceId,
    /// GROUP_MAX_SIZE_REACHED
    GroupMaxSizeReached,
    /// UNSUPPORTED_VERSION
    UnsupportedVersion,
    /// INCONSISTENT_GROUP_PROTOCOL
    InconsistentGroupProtocol,
    /// ILLEGAL_GENERATION
    IllegalGeneration,
    /// REBALANCE_IN_PROGRESS
    RebalanceInProgress,
    /// GROUP_ID_NOT_FOUND
    GroupIdNotFound,
    /// POLICY_VIOLATION
    PolicyViolation,
    /// COORDINATOR_LOAD_IN_PROGRESS
    LoadInProgress,
}

/// Why a group refuses. It is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GroupError {
    /// Which error.
    pub kind: ErrorKind,
    /// A sentence for the user.
    pub message: String,
}

impl GroupError {
    /// A refusal.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        GroupError { kind, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        GroupError::new(ErrorKind::InvalidRequest, message)
    }

    pub(super) fn unknown(member: &str) -> Self {
        let message = format!("Member {member} is not a member of this group.");
        GroupError::new(ErrorKind::UnknownMemberId, message)
    }
}
