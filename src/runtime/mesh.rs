//! How a shard is reached from other threads: other shards, helper threads, the node.
//!
//! One unbounded channel into each shard. Unbounded because nothing a client does is sent over
//! it: it carries the control plane, a handful of messages a second.

use std::rc::Rc;

use crate::journal::source::GroupFiles;
use crate::model::ids::{GroupId, SegmentId, ShardId};
use crate::model::position::Position;
use crate::runtime::executor::spawn_local;
use crate::runtime::journal_files::FileKey;
use crate::runtime::metrics::ShardReport;
use crate::runtime::shard_io::ShardIo;
use crate::shard::input::{Input, IoFailure};
use crate::shard::message::ShardMessage;

/// What is sent to a shard from another thread.
#[derive(Debug)]
pub enum ShardMail {
    FromShard {
        from: ShardId,
        message: ShardMessage,
    },
    SegmentCreated {
        group: GroupId,
        segment: SegmentId,
        result: Result<(), IoFailure>,
    },
    CheckpointWritten {
        group: GroupId,
        position: Position,
        result: Result<(), IoFailure>,
    },
    GroupCreated {
        group: GroupId,
        result: Result<GroupFiles, IoFailure>,
    },
    /// Tell what was counted, between two turns.
    Report {
        reply: flume::Sender<Box<ShardReport>>,
    },
    /// Stop: no more clients, finish what is in flight.
    Shutdown,
}

/// Takes what is sent to this shard and puts it into its inbox, for good.
pub async fn receive_mail(io: Rc<ShardIo>, mail: flume::Receiver<ShardMail>) {
    while let Ok(mail) = mail.recv_async().await {
        let input = match mail {
            ShardMail::Report { reply } => {
                io.ask_report(reply);
                continue;
            }
            ShardMail::FromShard { from, message } => Input::FromShard { from, message },
            ShardMail::SegmentCreated { group, segment, result } => {
                open_then_report(&io, group, segment, result);
                continue;
            }
            ShardMail::CheckpointWritten { group, position, result } => {
                Input::CheckpointWritten { group, position, result }
            }
            ShardMail::GroupCreated { group, result } => Input::GroupCreated { group, result },
            ShardMail::Shutdown => {
                io.stop_accepting();
                Input::Shutdown
            }
        };
        io.inbox.push(input);
    }
}

/// Opens a new segment's file before the core hears of it, so that no write waits for that.
fn open_then_report(
    io: &Rc<ShardIo>,
    group: GroupId,
    segment: SegmentId,
    made: Result<(), IoFailure>,
) {
    let io = io.clone();
    spawn_local(async move {
        let result = match made {
            Ok(()) => io.files.get(FileKey::Segment(group, segment)).await.map(|_| ()),
            failed => failed,
        };
        io.inbox.push(Input::SegmentCreated { group, segment, result });
    })
    .detach();
}
