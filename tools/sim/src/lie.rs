//! Bugs that are planted from outside, to see whether the checkers notice. The core is the one that
//! runs: what it is told, or what leaves it, is bent on the way.

use bytes::Bytes;
use hutong::kafka::error_code::ErrorCode;
use hutong::model::qos::Qos;

use crate::connection::PartitionId;

/// A promise that is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// None.
    #[default]
    Honest,
    /// The disk reports journal writes before they are done: acknowledged before flush.
    AcknowledgesEarly,
    /// The disk loses a reported journal write at a crash.
    DropsWritten,
    /// The disk tears a reported journal write at a crash.
    TearsWritten,
    /// The disk loses a reported segment at a crash.
    LosesSegment,
    /// The disk reports checkpoints and keeps the old one.
    KeepsOldCheckpoint,
    /// The disk loses the vote file at a crash.
    ForgetsVote,
    /// The disk gives back a page with a flipped bit.
    ReadsWrong,
    /// A vote that is refused, because it went to another candidate, arrives as granted: it counts
    /// for both.
    CountsVoteTwice,
    /// What was cut off stays on disk: writes over whole entries are reported and not done.
    SkipsTruncation,
    /// Requests at the level Durable reach the node at the level Flushed, so it answers when its
    /// own disk has them.
    ReleasesEarly,
    /// Now and then a commit of a consumer group reaches the node with the offset before it: what
    /// was acknowledged is forgotten.
    ForgetsCommit,
    /// A node whose disk is lost is there again with an empty one, and says that it is the same.
    KeepsPlace,
    /// Now and then a member of a consumer group is told what another one was told before.
    GivesTwice,
    /// While faults go on members of the classic protocol hear that all is well, when they are to
    /// join again and when they were expelled.
    SaysAllIsWell,
}

/// Where the bytes of a duplex frame lie: length, serial, then the payload.
const PAYLOAD_AT: usize = 8;
/// In a payload: that it is a Raft message, its group, its type, whether it refuses.
const RAFT: u8 = 1;
const TYPE_AT: usize = PAYLOAD_AT + 5;
const REJECT_AT: usize = TYPE_AT + 1;
/// Raft's numbers of the answers to a candidate.
const VOTE_RESPONSE: u8 = 6;

/// Frames of another node arrive.
pub fn on_the_way(lie: Lie, frames: Bytes) -> Bytes {
    if lie != Lie::CountsVoteTwice {
        return frames;
    }
    let mut bytes = frames.to_vec();
    for at in frame_starts(&frames) {
        let frame = &mut bytes[at..];
        if is_request(frame)
            && frame.get(PAYLOAD_AT) == Some(&RAFT)
            && frame.get(TYPE_AT) == Some(&VOTE_RESPONSE)
        {
            frame[REJECT_AT] = 0;
        }
    }
    bytes.into()
}

/// The level a producer's request has when it reaches the node.
pub fn acks(lie: Lie, acks: i16) -> i16 {
    let durable = Qos::from_acks(acks, Qos::Flushed, Qos::Durable) == Some(Qos::Durable);
    if lie == Lie::ReleasesEarly && durable { 3 } else { acks }
}

/// The offset that a consumer group's commit has when it reaches the node.
pub fn committed(lie: Lie, offset: i64) -> i64 {
    if lie == Lie::ForgetsCommit && offset % 8 == 0 { offset - 1 } else { offset }
}

/// What a member is told that it owns; `last` is what one was told before.
pub fn assignment(lie: Lie, last: &mut Bytes, assignment: &Bytes) -> Bytes {
    let before = std::mem::replace(last, assignment.clone());
    let twice = lie == Lie::GivesTwice && before.len().is_multiple_of(3);
    if twice { before } else { assignment.clone() }
}

/// What a member's heartbeat is answered.
pub fn heard(lie: Lie, code: ErrorCode) -> ErrorCode {
    let asks_more = [
        ErrorCode::REBALANCE_IN_PROGRESS,
        ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorCode::FENCED_INSTANCE_ID,
    ];
    if lie == Lie::SaysAllIsWell && asks_more.contains(&code) { ErrorCode::NONE } else { code }
}

/// What a member is told to own where the coordinator assigns; `last` is what one was told before.
pub fn owned(lie: Lie, last: &mut Vec<PartitionId>, owns: Vec<PartitionId>) -> Vec<PartitionId> {
    let before = std::mem::replace(last, owns.clone());
    if lie == Lie::GivesTwice && before.len() > 1 { before } else { owns }
}

fn is_request(frame: &[u8]) -> bool {
    frame.get(4).is_some_and(|byte| byte & 0x80 == 0)
}

fn frame_starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        starts.push(at);
        at += 4 + u32::from_be_bytes(*length) as usize;
    }
    starts
}

/// What frames between two nodes are, for a person who reads a trace.
pub fn describe(bytes: &[u8]) -> String {
    let names = frame_starts(bytes).into_iter().map(|at| {
        let frame = &bytes[at..];
        match (is_request(frame), frame.get(PAYLOAD_AT), frame.get(TYPE_AT)) {
            (false, ..) => "answer".to_string(),
            (true, Some(&RAFT), Some(kind)) => {
                let number = |at: usize| {
                    frame
                        .get(at..at + 8)
                        .and_then(|word| word.first_chunk())
                        .map_or(0, |word| u64::from_le_bytes(*word))
                };
                let (term, index, commit) =
                    (number(REJECT_AT + 1), number(REJECT_AT + 17), number(REJECT_AT + 25));
                let refused = if frame.get(REJECT_AT) == Some(&1) { " refused" } else { "" };
                let group = frame.get(PAYLOAD_AT + 1).copied().unwrap_or_default();
                let name = match kind {
                    3 => "append",
                    4 => "appended",
                    5 => "vote?",
                    6 => "vote",
                    7 => "snapshot",
                    8 => "heartbeat",
                    9 => "alive",
                    13 => "transfer",
                    14 => "now",
                    17 => "would vote?",
                    18 => "would vote",
                    _ => "raft",
                };
                let bytes = frame.len();
                format!("{name}{refused} g{group} t{term} i{index} c{commit} {bytes}B")
            }
            (true, Some(2), _) => "leads".to_string(),
            (true, Some(3), _) => "propose".to_string(),
            _ => "hello".to_string(),
        }
    });
    names.collect::<Vec<_>>().join(", ")
}
