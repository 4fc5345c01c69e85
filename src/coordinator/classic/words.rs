//! What is said to a classic group, and what it answers.

use std::time::Duration;

use bytes::Bytes;

use crate::coordinator::modern::{ErrorKind, GroupError, HeartbeatAnswer};

/// Who is to be answered. A number of the shard's, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caller(pub u64);

/// Settings of the whole cluster that bound what groups may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.max.size`: members of one group.
    pub members_max: usize,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The group has no member of this id.
    UnknownMember,
    /// The generation isn't the group's.
    IllegalGeneration,
    /// Members are joining; join as well.
    RebalanceInProgress,
    /// The protocol isn't one that the group has chosen or could choose.
    InconsistentProtocol,
    /// Another member goes by this instance id now.
    FencedInstance,
    /// Join again with the id that comes with this.
    MemberIdRequired,
    /// The session time-out is out of bounds.
    InvalidSessionTimeout,
    /// The group has as many members, or bytes of what they say, as it may.
    GroupFull,
    /// There are as many groups as there may be.
    TooManyGroups,
    /// There is no such group.
    NoSuchGroup,
    /// The group has members.
    NotEmpty,
    /// The assignment is larger than what is kept.
    AssignmentTooLarge,
    /// The member's epoch isn't the one it is in.
    StaleEpoch,
    /// The coordinator doesn't know all yet that it must.
    Loading,
    /// The request is in words that such a member may not use.
    UnsupportedVersion,
    /// The request makes no sense.
    Invalid,
}

/// What a group of the new protocol refuses, to those who speak the classic one.
impl From<GroupError> for Fault {
    fn from(error: GroupError) -> Fault {
        match error.kind {
            ErrorKind::UnknownMemberId => Fault::UnknownMember,
            ErrorKind::FencedInstanceId | ErrorKind::UnreleasedInstanceId => Fault::FencedInstance,
            ErrorKind::GroupMaxSizeReached => Fault::GroupFull,
            ErrorKind::UnsupportedVersion => Fault::UnsupportedVersion,
            ErrorKind::InconsistentGroupProtocol => Fault::InconsistentProtocol,
            ErrorKind::IllegalGeneration => Fault::IllegalGeneration,
            ErrorKind::RebalanceInProgress => Fault::RebalanceInProgress,
            ErrorKind::GroupIdNotFound => Fault::NoSuchGroup,
            ErrorKind::PolicyViolation => Fault::TooManyGroups,
            ErrorKind::LoadInProgress => Fault::Loading,
            ErrorKind::StaleMemberEpoch | ErrorKind::FencedMemberEpoch => Fault::StaleEpoch,
            ErrorKind::InvalidRequest
            | ErrorKind::UnsupportedAssignor
            | ErrorKind::InvalidRegularExpression => Fault::Invalid,
        }
    }
}

/// A member wants to join, for the first time or again.
#[derive(Clone, Debug)]
pub struct Join {
    pub caller: Caller,
    pub group: String,
    /// Empty if it has none yet.
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocol_type: String,
    /// The one it likes best first.
    pub protocols: Vec<(String, Bytes)>,
    /// It understands to be given an id first.
    pub takes_id_first: bool,
    /// It understands that it leads and need not assign.
    pub skips_assignment: bool,
    /// The id it gets if it has none.
    pub new_member_id: String,
}

/// A member asks for its assignment; the leader brings everybody's.
#[derive(Clone, Debug)]
pub struct Sync {
    pub caller: Caller,
    pub member: MemberRef,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// By member ids. Only the leader's count.
    pub assignments: Vec<(String, Bytes)>,
}

/// A member as it names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRef {
    pub group: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
}

/// What a member that joined is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Why it hasn't joined; what else stands here holds only if it has, but for the id.
    pub fault: Option<Fault>,
    pub member_id: String,
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: Option<String>,
    pub leader: String,
    /// It leads, and the assignment stands.
    pub skip_assignment: bool,
    /// To the leader: all members with what they said of themselves.
    pub members: Vec<JoinedMember>,
}

/// A member as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub id: String,
    pub instance_id: Option<String>,
    pub metadata: Bytes,
}

impl Joined {
    /// What a member is told that has not joined.
    pub fn refused(fault: Fault, member_id: String) -> Joined {
        Joined {
            fault: Some(fault),
            member_id,
            generation: -1,
            protocol_type: String::new(),
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            members: Vec::new(),
        }
    }
}

/// What a member that asked for its assignment is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: String,
    pub protocol: String,
    pub assignment: Bytes,
}

/// An answer to somebody who waited, however shortly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Join(Joined),
    Sync(Result<Synced, Fault>),
    /// To a member of the new protocol.
    Heartbeat(Result<HeartbeatAnswer, GroupError>),
    /// To classic members that leave a group of the new protocol, in their order.
    Left(Vec<Result<(), Fault>>),
    /// What was to be recorded is.
    Done,
}
