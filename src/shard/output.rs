//! All that a shard can ask for.

use bytes::Bytes;

use crate::model::ids::{ConnectionId, GroupId, ReadId, SegmentId, ShardId, WriteId};
use crate::model::position::Position;
use crate::shard::NodeAddress;
use crate::shard::message::ShardMessage;

/// One action. The driver may do those of a turn in any order and at the same time; only what
/// goes to one connection or one shard stays in line.
#[derive(Debug)]
pub enum Output<P> {
    /// Bytes for a client, already in the order of its requests.
    Respond { connection: ConnectionId, parts: Vec<Part<P>> },
    /// Close the connection once everything given out before has been sent.
    CloseConnection { connection: ConnectionId },
    /// Read no more from this connection until told to resume.
    PauseReading { connection: ConnectionId },
    /// Read from it again.
    ResumeReading { connection: ConnectionId },
    /// Connect to a shard of another node, under a number that the core has chosen (with
    /// `DIALED_CONNECTION` set, which the runtime never gives). From then on it is a connection
    /// like any other.
    Dial { connection: ConnectionId, host: String, port: u16 },
    /// A message to another shard of this node.
    SendShard { to: ShardId, message: ShardMessage },
    /// Write the whole page at byte `at` of the segment's file, and have it on disk. Up to
    /// `JOURNAL_WRITES_IN_FLIGHT_MAX` are out at once for a group; they never overlap. Besides
    /// those, damaged entries are written again in their places (`journal::REPAIR_WRITE` is set in
    /// the number), up to `REPAIRS_IN_FLIGHT_MAX` at once.
    WriteJournal { group: GroupId, write: WriteId, segment: SegmentId, at: u64, page: P },
    /// Read `bytes` bytes at byte `at` of the segment's file. Both are aligned, and lie within it.
    ReadJournal { group: GroupId, read: ReadId, segment: SegmentId, at: u64, bytes: usize },
    /// Write the page at byte `at` of the group's vote file, and have it on disk. One at a time.
    WriteVote { group: GroupId, write: WriteId, at: u64, page: P },
    /// Make the segment's file: full size, zeros but for `header` at its start, on disk, under
    /// its name. One at a time for a group.
    CreateSegment { group: GroupId, segment: SegmentId, header: Bytes },
    /// The segment is needed no more: keep its file for reuse, or delete it. Those of a group go in
    /// the order they are given out, oldest first, so that a crash leaves no gap.
    RemoveSegment { group: GroupId, segment: SegmentId },
    /// Put this in the place of the group's checkpoint, atomically. One at a time for a group.
    WriteCheckpoint { group: GroupId, position: Position, bytes: Bytes },
    /// Make a group's directory. What it has still from the last time it was here stays: otherwise
    /// it gets an empty vote file, and this checkpoint.
    CreateGroup { group: GroupId, checkpoint: Bytes },
    /// The group is held here no more: delete all but its vote, and this in the place of its
    /// checkpoint. Nothing of it is under way.
    RemoveGroup { group: GroupId, checkpoint: Bytes },
    /// Keep which nodes there are and where, for the next start.
    RememberNodes { nodes: Vec<NodeAddress> },
    /// Something a person should read in the log.
    Log { level: LogLevel, line: String },
    /// This shard has its groups and its catalog and serves clients. Given out once.
    Ready,
    /// After `Input::Shutdown`: all is on disk. Nothing follows.
    Stopped,
    /// The shard can't go on: log the reason and end the process.
    Fatal { reason: String },
}

/// A piece of a response.
#[derive(Clone, Debug)]
pub enum Part<P> {
    /// Bytes made for this response.
    Bytes(Bytes),
    /// Bytes `start` to `end` of a journal page, sent without a copy.
    Page { page: P, start: usize, end: usize },
}

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl<P> Part<P> {
    /// Its bytes on the wire.
    pub fn len(&self) -> usize {
        match self {
            Part::Bytes(bytes) => bytes.len(),
            Part::Page { start, end, .. } => end - start,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
