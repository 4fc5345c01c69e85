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
use crate::runtime::flush_task::SyncQueue;
use crate::runtime::frames::{Budgets, READ_BYTES};
use crate::runtime::inbox::Inbox;
use crate::runtime::journal_files::JournalFiles;
use crate::runtime::logging::Complaints;
use crate::runtime::mesh::ShardMail;
use crate::runtime::segment_files::FileHelper;

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
    /// The buffer that all connections read into, one at a time.
    pub scratch: RefCell<ReadBuffer>,
    pub connections: RefCell<FxHashMap<ConnectionId, Rc<Connection>>>,
    pub connections_max: usize,
    pub files: JournalFiles,
    pub syncs: SyncQueue,
    pub helper: FileHelper,
    /// The mailboxes of all shards of the node, this one's included.
    pub mailboxes: Vec<flume::Sender<ShardMail>>,
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
            scratch: RefCell::new(ReadBuffer::take(READ_BYTES)),
            connections: RefCell::default(),
            connections_max,
            files,
            syncs: SyncQueue::default(),
            helper,
            mailboxes,
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

    /// This shard's own mailbox, for answers from other threads.
    pub fn mailbox(&self) -> flume::Sender<ShardMail> {
        self.mailboxes[usize::from(self.shard.0)].clone()
    }

    /// Ten times a second: gives the core a turn, and looks for time-outs once a second.
    pub fn tick(&self) {
        // Whatever was put in quietly, or whatever timer rang a little early, waits no longer.
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
