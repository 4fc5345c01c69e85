//! All that can happen to a shard.

use bytes::Bytes;

use crate::journal::source::GroupFiles;
use crate::model::ids::{ConnectionId, GroupId, ReadId, SegmentId, ShardId, WriteId};
use crate::model::position::Position;
use crate::shard::message::ShardMessage;

/// One event. `P` is the page type of the driver: see [`crate::journal::page::Page`].
#[derive(Debug)]
pub enum Input<P> {
    /// A client connected, from this address, or another node that was dialed has answered.
    ConnectionOpened { connection: ConnectionId, host: String },
    /// One or more whole Kafka frames of one connection, each with its length in front, in the
    /// order they came. The runtime has checked each length against `FRAME_BYTES_MAX`.
    Frames { connection: ConnectionId, frames: Bytes },
    /// The socket has taken this many more bytes of what `Output::Respond` gave out.
    Sent { connection: ConnectionId, bytes: usize },
    /// The client is gone, or `Output::CloseConnection` has been done. Nothing follows.
    ConnectionClosed { connection: ConnectionId },
    /// `Output::Dial` came to nothing: nobody listens there, or the host is unknown. Nothing
    /// follows for this connection. A dial that succeeds is told as `ConnectionOpened`.
    DialFailed { connection: ConnectionId, reason: String },
    /// A message of another shard of this node; those of one sender come in order.
    FromShard { from: ShardId, message: ShardMessage },
    /// `Output::WriteJournal` is done: on disk, or failed.
    JournalWritten { group: GroupId, write: WriteId, result: Result<(), IoFailure> },
    /// `Output::ReadJournal` is done.
    JournalRead { group: GroupId, read: ReadId, result: Result<P, IoFailure> },
    /// `Output::WriteVote` is done: on disk, or failed.
    VoteWritten { group: GroupId, write: WriteId, result: Result<(), IoFailure> },
    /// `Output::CreateSegment` is done: zeroed, headed and named on disk, or failed.
    SegmentCreated { group: GroupId, segment: SegmentId, result: Result<(), IoFailure> },
    /// `Output::WriteCheckpoint` is done: it replaced the one before, or failed.
    CheckpointWritten { group: GroupId, position: Position, result: Result<(), IoFailure> },
    /// `Output::CreateGroup` is done: what there is of it on disk now, or why it failed.
    GroupCreated { group: GroupId, result: Result<GroupFiles, IoFailure> },
    /// Finish what is in flight, then give out `Output::Stopped`.
    Shutdown,
}

/// Why an I/O could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoFailure {
    /// No space left on the device, or the quota is used up. Worth another try later.
    NoSpace,
    /// Anything else, as the system put it.
    Failed(String),
}
