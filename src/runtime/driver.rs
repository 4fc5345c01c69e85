//! Drives one shard: carries inputs to the core and its outputs away, and nothing else.
//!
//! How it stays fair:
//! - A reader waits for the turn that takes its frames. By then it has either read its socket
//!   empty, so that its next read waits for the kernel; or it has filled its buffer, and could
//!   read on at once. If any has, [`let_io_in`] has the driver wait until the kernel was looked at
//!   before the readers are let go: disk completions and other sockets are seen once a turn, and a
//!   turn takes at most what the inbox holds.
//! - Whoever wakes the driver does so behind the readers that are runnable already, so one turn
//!   takes what all of them have read: batches grow with the load by themselves.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use crate::journal::page::Page;
use crate::model::time::{Now, Time};
use crate::runtime::alarm::Alarm;
use crate::runtime::dial::dial;
use crate::runtime::executor::{let_io_in, spawn_local};
use crate::runtime::flush_task::{write_journal, write_vote};
use crate::runtime::journal_page::JournalPage;
use crate::runtime::logging::core_line;
use crate::runtime::mesh::ShardMail;
use crate::runtime::read_task::read_journal;
use crate::runtime::segment_files::FileJob;
use crate::runtime::shard_io::ShardIo;
use crate::shard::Shard;
use crate::shard::input::Input;
use crate::shard::output::Output;
use crate::shard::snapshot::ShardSnapshot;

/// What the rest of the node must know of a shard.
#[derive(Debug)]
pub enum Milestone {
    /// It serves clients.
    Ready,
    /// All is on disk. Nothing follows.
    Stopped,
    /// It can't go on.
    Fatal(String),
}

/// The four calls that a driver makes of a core, and what it asks to be told. Tests of the runtime
/// put their own behind it.
pub trait Core {
    /// See [`Shard::handle`].
    fn handle(&mut self, now: Now, input: Input<JournalPage>);
    /// See [`Shard::advance`].
    fn advance(&mut self, now: Now);
    /// See [`Shard::poll_output`].
    fn poll_output(&mut self) -> Option<Output<JournalPage>>;
    /// See [`Shard::next_deadline`].
    fn next_deadline(&self) -> Option<Time>;
    /// See [`Shard::released`].
    fn released(&self) -> u64 {
        0
    }
    /// See [`Shard::snapshot`].
    fn snapshot(&self) -> Option<ShardSnapshot> {
        None
    }
}

impl Core for Shard<JournalPage> {
    fn handle(&mut self, now: Now, input: Input<JournalPage>) {
        Shard::handle(self, now, input);
    }
    fn advance(&mut self, now: Now) {
        Shard::advance(self, now);
    }
    fn poll_output(&mut self) -> Option<Output<JournalPage>> {
        Shard::poll_output(self)
    }
    fn next_deadline(&self) -> Option<Time> {
        Shard::next_deadline(self)
    }
    fn released(&self) -> u64 {
        Shard::released(self)
    }
    fn snapshot(&self) -> Option<ShardSnapshot> {
        Some(Shard::snapshot(self))
    }
}

/// Runs the core until it has stopped or can't go on.
pub async fn drive(io: Rc<ShardIo>, mut core: impl Core, mut tell: impl FnMut(Milestone)) {
    spawn_local(io.clone().tick()).detach();
    let mut inputs = VecDeque::new();
    let mut alarm = Alarm::default();
    loop {
        let now = io.clock.now();
        io.inbox.begin_turn(&mut inputs);
        io.counters.turns.up();
        for input in inputs.drain(..) {
            core.handle(now, input);
        }
        let released = core.released();
        core.advance(now);
        while let Some(output) = core.poll_output() {
            match output {
                Output::Ready => tell(Milestone::Ready),
                Output::Stopped => return tell(Milestone::Stopped),
                Output::Fatal { reason } => return tell(Milestone::Fatal(reason)),
                output => perform(&io, now.time, output),
            }
        }
        // Before the turn ends: what a report costs is to show in what the next one tells.
        io.report(|| core.snapshot());
        io.end_outputs(now.time, core.released() - released);
        if io.inbox.take_more_to_read() {
            let_io_in().await;
        }
        io.inbox.end_turn();
        let deadline = core.next_deadline().unwrap_or(Time::NEVER);
        poll_fn(|context| {
            if io.inbox.poll_ready(context).is_ready() {
                return Poll::Ready(());
            }
            alarm.poll(context, io.clock.time(), deadline)
        })
        .await;
    }
}

/// Does one thing the core asked for, or starts it.
fn perform(io: &Rc<ShardIo>, now: Time, output: Output<JournalPage>) {
    match output {
        Output::Respond { connection, parts } => {
            if let Some(connection) = io.connection(connection) {
                connection.respond(now, parts);
            }
        }
        Output::CloseConnection { connection } => {
            if let Some(connection) = io.connection(connection) {
                connection.close(now);
            }
        }
        Output::PauseReading { connection } => {
            if let Some(connection) = io.connection(connection) {
                connection.pause();
            }
        }
        Output::ResumeReading { connection } => {
            if let Some(connection) = io.connection(connection) {
                connection.resume();
            }
        }
        Output::Dial { connection, host, port } => dial(io, connection, host, port),
        Output::SendShard { to, message } => {
            if let Some(mailbox) = io.mailboxes.get(usize::from(to.0)) {
                // A shard that is gone has stopped, or the process is about to.
                let _ = mailbox.send(ShardMail::FromShard { from: io.shard, message });
            }
        }
        Output::WriteJournal { group, write, segment, at, page } => {
            io.helper.note_write(group, segment, at, page.bytes().len());
            write_journal(io, group, write, segment, at, page);
        }
        Output::ReadJournal { group, read, segment, at, bytes } => {
            read_journal(io, group, read, segment, at, bytes);
        }
        Output::WriteVote { group, write, at, page } => write_vote(io, group, write, at, page),
        Output::CreateSegment { group, segment, header } => {
            // After a truncation, a file of that name may be open still.
            io.files.forget(group, segment);
            io.helper.send(FileJob::Create { group, segment, header }, io.mailbox());
        }
        Output::RemoveSegment { group, segment } => {
            let zeros = io.files.forget(group, segment);
            io.helper.send(FileJob::Remove { group, segment, zeros }, io.mailbox());
        }
        Output::WriteCheckpoint { group, position, bytes } => {
            io.helper.send(FileJob::Checkpoint { group, position, bytes }, io.mailbox());
        }
        Output::CreateGroup { group, checkpoint } => {
            io.helper.send(FileJob::CreateGroup { group, checkpoint }, io.mailbox());
        }
        Output::RemoveGroup { group, checkpoint } => {
            io.files.forget_group(group);
            io.helper.send(FileJob::RemoveGroup { group, checkpoint }, io.mailbox());
        }
        Output::RememberNodes { nodes } => {
            io.helper.send(FileJob::RememberNodes { nodes }, io.mailbox());
        }
        Output::Log { level, line } => core_line(io.shard, level, &line),
        Output::Ready | Output::Stopped | Output::Fatal { .. } => {}
    }
}
