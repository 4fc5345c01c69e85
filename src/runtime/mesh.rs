//! How a shard is reached from other threads: other shards, helper threads, the node.
//!
//! One unbounded channel into each shard. Unbounded because nothing a client does is sent over
//! it: it carries the control plane, a handful of messages a second.

use std::rc::Rc;
use std::time::Duration;

use crate::journal::source::GroupFiles;
use crate::model::ids::{GroupId, SegmentId, ShardId};
use crate::model::position::Position;
use crate::runtime::executor::WakeSignal;
use crate::runtime::journal_files::FileKey;
use crate::runtime::metrics::ShardReport;
use crate::runtime::shard_io::ShardIo;
use crate::shard::input::{Input, IoFailure};
use crate::shard::message::ShardMessage;

/// How often the guard wakes every shard.
const GUARD_PERIOD: Duration = Duration::from_millis(100);

/// What is sent to a shard from another thread.
#[derive(Debug)]
pub enum ShardMail {
    /// Nothing: the guard wakes everybody now and then.
    Tick,
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
            ShardMail::Tick => {
                io.tick();
                continue;
            }
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
    glommio::spawn_local(async move {
        let result = match made {
            Ok(()) => io.files.get(FileKey::Segment(group, segment)).await.map(|_| ()),
            failed => failed,
        };
        io.inbox.push(Input::SegmentCreated { group, segment, result });
    })
    .detach();
}

/// Wakes every shard each 100 ms, so that no lost wake-up of the executor below can last: this
/// release parks with runnable tasks when its CPU is lent elsewhere at the wrong moment. Mail is
/// enough while the task that takes it waits for it; if that one is to run itself, only a signal
/// wakes its thread.
///
/// # Errors
/// The system refused a thread.
pub fn start_guard(shards: Vec<(flume::Sender<ShardMail>, WakeSignal)>) -> std::io::Result<()> {
    std::thread::Builder::new().name("guard".to_string()).spawn(move || {
        while shards.iter().any(|(mailbox, _)| !mailbox.is_disconnected()) {
            std::thread::sleep(GUARD_PERIOD);
            for (mailbox, signal) in &shards {
                // One that hasn't taken what was sent before is busy, or it sleeps.
                if mailbox.is_empty() {
                    let _ = mailbox.send(ShardMail::Tick);
                } else {
                    signal.send();
                }
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sleeps_and_takes_no_mail_is_woken() {
        let (mailbox, mail) = flume::unbounded();
        let (tell_signal, signal) = flume::bounded(1);
        let thread = std::thread::spawn(move || {
            tell_signal.send(WakeSignal::of_this_thread().unwrap()).unwrap();
            // SAFETY: waits, and touches no memory.
            let ended = unsafe { nix::libc::pause() };
            (ended, mail.len())
        });
        start_guard(vec![(mailbox, signal.recv().unwrap())]).unwrap();
        assert_eq!(thread.join().unwrap(), (-1, 1));
    }
}
