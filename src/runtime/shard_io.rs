//! What the tasks of one shard share: the inbox, the connections, the files, the counts.
//!
//! Rule: a borrow of anything in here ends before the next await, and before a task is spawned:
//! spawning runs the new task at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::model::ids::{ConnectionId, ShardId};
use crate::model::time::Time;
use crate::runtime::buffers::ReadBuffer;
use crate::runtime::clock::Clock;
use crate::runtime::connection::Connection;
use crate::runtime::counters::Counters;
use crate::runtime::executor::sleep;
use crate::runtime::flush_task::SyncQueue;
use crate::runtime::frames::{Budgets, READ_BYTES};
use crate::runtime::heartbeats::Heartbeats;
use crate::runtime::inbox::Inbox;
use crate::runtime::journal_files::JournalFiles;
use crate::runtime::logging::Complaints;
use crate::runtime::mesh::ShardMail;
use crate::runtime::metrics::ShardReport;
use crate::runtime::segment_files::FileHelper;
use crate::shard::snapshot::ShardSnapshot;

/// How often a shard has a turn though nothing happens.
const TICK_PERIOD: Duration = Duration::from_millis(100);
/// How often connections are looked at for time-outs.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);
/// Where the shard is in a connection's number, so that none is used twice in a process.
const CONNECTION_SHARD_SHIFT: u32 = 48;

/// Everything around the core of one shard.
pub struct ShardIo {
    pub shard: ShardId,
    pub clock: Clock,
    pub inbox: Inbox,
    pub counters: Counters,
    pub complaints: Complaints,
    /// Memory for frames begun.
    pub budgets: Budgets,
    pub heartbeats: Heartbeats,
    /// The buffer that all connections read into, one at a time.
    pub scratch: RefCell<ReadBuffer>,
    pub connections: RefCell<FxHashMap<ConnectionId, Rc<Connection>>>,
    /// How many of them are to other nodes.
    pub to_nodes: Cell<usize>,
    /// Of all others.
    pub connections_max: usize,
    pub files: JournalFiles,
    pub syncs: SyncQueue,
    pub helper: FileHelper,
    /// The mailboxes of all shards of the node, this one's included.
    pub mailboxes: Vec<flume::Sender<ShardMail>>,
    /// When the last turn had handed over all its outputs.
    turn_end: Cell<Time>,
    /// Those who wait to be told what was counted.
    report_to: RefCell<Vec<flume::Sender<Box<ShardReport>>>>,
    connections_made: Cell<u64>,
    stopping: Cell<bool>,
    listener: RefCell<Option<Waker>>,
    next_sweep: Cell<Time>,
}

impl ShardIo {
    /// Puts the parts together.
    pub fn new(
        shard: ShardId,
        clock: Clock,
        connections_max: usize,
        files: JournalFiles,
        helper: FileHelper,
        mailboxes: Vec<flume::Sender<ShardMail>>,
    ) -> Rc<ShardIo> {
        Rc::new(ShardIo {
            shard,
            clock,
            inbox: Inbox::default(),
            counters: Counters::default(),
            complaints: Complaints::new(clock),
            budgets: Budgets::default(),
            heartbeats: Heartbeats::default(),
            scratch: RefCell::new(ReadBuffer::take(READ_BYTES)),
            connections: RefCell::default(),
            to_nodes: Cell::new(0),
            connections_max,
            files,
            syncs: SyncQueue::default(),
            helper,
            mailboxes,
            turn_end: Cell::new(Time(0)),
            report_to: RefCell::default(),
            connections_made: Cell::new(0),
            stopping: Cell::new(false),
            listener: RefCell::new(None),
            next_sweep: Cell::new(Time(0)),
        })
    }

    /// A number for a new connection.
    pub fn next_connection(&self) -> ConnectionId {
        let made = self.connections_made.get() + 1;
        self.connections_made.set(made);
        ConnectionId(u64::from(self.shard.0) << CONNECTION_SHARD_SHIFT | made)
    }

    /// A connection, if it is still there.
    pub fn connection(&self, id: ConnectionId) -> Option<Rc<Connection>> {
        self.connections.borrow().get(&id).cloned()
    }

    /// How many clients are connected: all that haven't said that they are nodes.
    pub fn clients(&self) -> usize {
        self.connections.borrow().len() - self.to_nodes.get()
    }

    /// Counts a client for which there is no room.
    pub fn turned_away(&self) {
        self.counters.connections_refused.up();
        self.complaints.say(|| {
            format!(
                "turned a client away: shard {} has {} connections; allow more with \
                 --connections-max",
                self.shard, self.connections_max
            )
        });
    }

    /// This shard's own mailbox, for answers from other threads.
    pub fn mailbox(&self) -> flume::Sender<ShardMail> {
        self.mailboxes[usize::from(self.shard.0)].clone()
    }

    /// Ten times a second, for good: gives the core a turn, and looks for time-outs once a second.
    pub async fn tick(self: Rc<Self>) {
        loop {
            sleep(TICK_PERIOD).await;
            self.tick_once();
        }
    }

    fn tick_once(&self) {
        self.heartbeats.tick(TICK_PERIOD);
        // Whatever was put in quietly waits no longer.
        self.inbox.wake_driver();
        let now = self.clock.time();
        if now < self.next_sweep.get() {
            return;
        }
        self.next_sweep.set(now + SWEEP_PERIOD);
        for connection in self.connections.borrow().values() {
            connection.sweep(now, self);
        }
    }

    /// A turn that began at `began` has handed over all its outputs, and with them so many produce
    /// responses whose level was reached in it.
    pub fn end_outputs(&self, began: Time, released: u64) {
        let now = self.clock.time();
        self.turn_end.set(now);
        self.counters.turn.record(now.since(began), 1);
        self.counters.release.record(now.since(began), released);
    }

    /// When the last turn had handed over all its outputs.
    pub fn turn_end(&self) -> Time {
        self.turn_end.get()
    }

    /// Has the next turn end with a report.
    pub fn ask_report(&self, reply: flume::Sender<Box<ShardReport>>) {
        self.report_to.borrow_mut().push(reply);
        self.inbox.wake_driver();
    }

    /// Tells what was counted, if anybody asked.
    pub fn report(&self, snapshot: impl Fn() -> Option<ShardSnapshot>) {
        if self.report_to.borrow().is_empty() {
            return;
        }
        let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
        for reply in self.report_to.take() {
            // Who asked may have given up.
            if !reply.is_disconnected()
                && let Some(core) = snapshot()
            {
                let cpu = clock.now().map(Duration::from).unwrap_or_default();
                let counters = self.counters.clone();
                let _ = reply.try_send(Box::new(ShardReport { core, counters, cpu }));
            }
        }
    }

    /// Takes no more clients.
    pub fn stop_accepting(&self) {
        self.stopping.set(true);
        let listener = self.listener.borrow_mut().take();
        if let Some(listener) = listener {
            listener.wake();
        }
    }

    /// Whether no more clients are to be taken; the waker is woken when that changes.
    pub fn is_stopping(&self, waker: &Waker) -> bool {
        if !self.stopping.get() {
            *self.listener.borrow_mut() = Some(waker.clone());
        }
        self.stopping.get()
    }
}
