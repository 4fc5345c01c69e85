//! One client, or another node: a task that reads frames and a task that writes responses.
//!
//! Rules: a connection at rest holds no buffer. A reader has one read in the inbox at most and
//! waits for the turn that takes it. All that a turn gives a connection leaves in one write.
//! Time-outs are found by a sweep over all connections, never by timers, which would be set and
//! unset for each frame.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::journal::page::Page;
use crate::kafka::frame::{LENGTH_BYTES, frame_at};
use crate::model::ids::{ConnectionId, DIALED_CONNECTION};
use crate::model::time::Time;
use crate::runtime::executor::{Hears, spawn_local};
use crate::runtime::frames::{Cut, Partial};
use crate::runtime::journal_page::JournalPage;
use crate::runtime::shard_io::ShardIo;
use crate::runtime::socket::Stream;
use crate::shard::consumer_groups::is_heartbeat;
use crate::shard::input::Input;
use crate::shard::output::Part;
use crate::shard::peers::wire;

/// Half a frame, then no progress for so long: the client is gone.
const HALF_FRAME_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });
/// The same while frames of others wait for memory.
const HALF_FRAME_TIMEOUT_CONTENDED: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// Responses lie ready and the client takes no byte for so long: it is gone, too.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 300 });
/// What was queued before a close may take so long to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// While frames of others wait for memory, so many bytes count as progress, and no less.
const PROGRESS_BYTES_CONTENDED: usize = 64 << 10;
/// So long a connection for which there is no room may take to say that it is another node's.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Pieces of responses in one write.
const WRITE_PIECES_MAX: usize = 256;
/// The core hears of smaller writes that left nothing behind at its next turn, whenever that is.
const QUIET_BYTES_MAX: usize = 64 << 10;

/// One connection, shared by its two tasks and the driver.
pub struct Connection {
    id: ConnectionId,
    /// To another node, which this one has chosen to talk to.
    dialed: bool,
    /// To another node: dialed, or one that has said so.
    to_node: Cell<bool>,
    /// Until when one for which there is no room among the clients must say that it is a node.
    on_trial_until: Cell<Option<Time>>,
    stream: RefCell<Stream>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    queue: RefCell<VecDeque<Part<JournalPage>>>,
    /// Bytes of the queue's first part that have been sent.
    sent_of_first: Cell<usize>,
    paused: Cell<bool>,
    /// To be closed once the queue is empty.
    closing: Cell<bool>,
    /// Over, for whatever reason.
    dead: Cell<bool>,
    tasks: Cell<u8>,
    /// Since when nothing came although a frame is begun.
    half_frame_since: Cell<Option<Time>>,
    /// Since when nothing left although something is queued.
    unread_since: Cell<Option<Time>>,
    /// When the oldest of what is queued was handed over, once its writing has begun.
    handed_at: Cell<Option<Time>>,
    close_by: Cell<Option<Time>>,
}

/// What ends a task: nobody asks why.
struct Ended;

impl Connection {
    /// Tells the core of a connection and starts its two tasks. One that is `on_trial` ends unless
    /// it turns out to be another node's, or there is room when it first speaks.
    pub fn start(io: &Rc<ShardIo>, id: ConnectionId, stream: Stream, on_trial: bool) {
        let dialed = id.0 & DIALED_CONNECTION != 0;
        let host = stream.socket().peer_addr().map_or(String::new(), |peer| peer.ip().to_string());
        let on_trial_until = on_trial.then(|| io.clock.time() + TRIAL_TIMEOUT);
        let connection = Rc::new(Connection {
            id,
            dialed,
            to_node: Cell::new(dialed),
            on_trial_until: Cell::new(on_trial_until),
            stream: RefCell::new(stream),
            reader: RefCell::default(),
            writer: RefCell::default(),
            queue: RefCell::default(),
            sent_of_first: Cell::new(0),
            paused: Cell::new(false),
            closing: Cell::new(false),
            dead: Cell::new(false),
            tasks: Cell::new(2),
            half_frame_since: Cell::new(None),
            unread_since: Cell::new(None),
            handed_at: Cell::new(None),
            close_by: Cell::new(None),
        });
        if dialed {
            io.to_nodes.update(|count| count + 1);
        }
        io.connections.borrow_mut().insert(id, connection.clone());
        io.counters.connections_opened.up();
        io.inbox.push(Input::ConnectionOpened { connection: id, host });
        // Spawning runs the task up to its first wait, before this returns.
        let (writer, writer_io) = (connection.clone(), io.clone());
        spawn_local(async move {
            let _ = writer.write_all(&writer_io).await;
            writer.end_task(&writer_io);
        })
        .detach();
        let io = io.clone();
        spawn_local(async move {
            let _ = connection.read_all(&io).await;
            connection.end_task(&io);
        })
        .detach();
    }

    /// Queues a response. It leaves when the turn is over.
    pub fn respond(&self, now: Time, parts: Vec<Part<JournalPage>>) {
        if self.dead.get() {
            return;
        }
        if self.unread_since.get().is_none() {
            self.unread_since.set(Some(now));
        }
        self.queue.borrow_mut().extend(parts);
        wake(&self.writer);
    }

    /// Closes it when all that is queued has left.
    pub fn close(&self, now: Time) {
        self.closing.set(true);
        self.close_by.set(Some(now + CLOSE_TIMEOUT));
        wake(&self.writer);
    }

    /// Reads no more until told to.
    pub fn pause(&self) {
        self.paused.set(true);
    }

    /// Reads again.
    pub fn resume(&self) {
        self.paused.set(false);
        wake(&self.reader);
    }

    /// Ends the connection if it has made no progress for too long.
    pub fn sweep(&self, now: Time, io: &ShardIo) {
        let over =
            |since: &Cell<Option<Time>>, limit| since.get().is_some_and(|t| now.since(t) >= limit);
        let half_frame_timeout =
            if self.is_pressed(io) { HALF_FRAME_TIMEOUT_CONTENDED } else { HALF_FRAME_TIMEOUT };
        let by = |by: &Cell<Option<Time>>| by.get().is_some_and(|by| now >= by);
        if !self.dead.get() && by(&self.on_trial_until) {
            io.turned_away();
            return self.kill();
        }
        let closing_over = by(&self.close_by);
        if !self.dead.get()
            && (closing_over
                || over(&self.half_frame_since, half_frame_timeout)
                || over(&self.unread_since, UNREAD_TIMEOUT))
        {
            io.counters.connections_timed_out.up();
            self.kill();
        }
    }

    /// Whether it must make haste, since others wait for the memory it holds. Another node that
    /// this one wants to talk to is never pressed.
    fn is_pressed(&self, io: &ShardIo) -> bool {
        !self.dialed && io.budgets.is_contended()
    }

    /// Makes both tasks end, now.
    fn kill(&self) {
        self.dead.set(true);
        // Wakes whatever waits in the kernel for this socket; an error means it is closed already.
        let _ = self.stream.borrow().socket().shutdown(Shutdown::Both);
        wake(&self.reader);
        wake(&self.writer);
    }

    /// One of the two tasks is over: so is the other. The second one tells the core.
    fn end_task(&self, io: &ShardIo) {
        self.tasks.set(self.tasks.get() - 1);
        if self.tasks.get() > 0 {
            self.kill();
            return;
        }
        self.queue.borrow_mut().clear();
        io.connections.borrow_mut().remove(&self.id);
        if self.to_node.get() {
            io.to_nodes.update(|count| count - 1);
        }
        io.counters.connections_closed.up();
        io.inbox.push(Input::ConnectionClosed { connection: self.id });
    }

    async fn read_all(&self, io: &Rc<ShardIo>) -> Result<(), Ended> {
        let mut partial = Partial::default();
        let mut progress = 0;
        let mut has_spoken = self.dialed;
        loop {
            self.may_read(io).await?;
            let read = poll_fn(|context| self.poll_read(context, io, &mut partial)).await?;
            let Some((bytes, cut)) = read else { return Err(Ended) };
            progress += bytes;
            if self.half_frame_since.get().is_none()
                || !self.is_pressed(io)
                || progress >= PROGRESS_BYTES_CONTENDED
            {
                self.half_frame_since.set(Some(io.clock.time()));
                progress = 0;
            }
            let handed_over = cut.frames.is_some();
            self.expect_next(io, cut.frames.as_deref().unwrap_or_default(), &partial);
            if let Some(frames) = cut.frames {
                if !has_spoken {
                    has_spoken = true;
                    self.speaks_first(io, &frames)?;
                }
                io.inbox.push(Input::Frames { connection: self.id, frames });
            }
            if !partial.is_begun() {
                self.half_frame_since.set(None);
                partial.rest();
            }
            if let Some(total) = cut.reserve {
                // Not the client's fault, so not on its clock.
                self.half_frame_since.set(None);
                let reservation = io.budgets.reserve(total).await;
                partial.grant(total, reservation);
                self.half_frame_since.set(Some(io.clock.time()));
            }
            if handed_over {
                io.inbox.turn_done().await;
            }
        }
    }

    /// Who has sent a heartbeat will most likely send nothing but the next one, which may wait for
    /// those of others if there are many. What nodes say to each other only looks like one.
    fn expect_next(&self, io: &ShardIo, frames: &[u8], partial: &Partial) {
        let whole = frame_at(frames, 0).filter(|body| body.end == frames.len());
        let rests = !self.to_node.get()
            && !partial.is_begun()
            && whole.is_some_and(|body| is_heartbeat(&frames[body]))
            && io.heartbeats.count();
        let hears = if rests { Hears::NowAndThen } else { Hears::AtOnce };
        self.stream.borrow_mut().hear_reads(hears);
    }

    /// Its first frames tell a node from a client, and clients there may be no more than allowed.
    fn speaks_first(&self, io: &ShardIo, frames: &[u8]) -> Result<(), Ended> {
        if wire::is_hello(&frames[LENGTH_BYTES..]) {
            self.to_node.set(true);
            io.to_nodes.update(|count| count + 1);
        } else if self.on_trial_until.get().is_some() && io.clients() > io.connections_max {
            io.turned_away();
            return Err(Ended);
        }
        self.on_trial_until.set(None);
        Ok(())
    }

    /// Waits while the core has paused this connection, or while the inbox is full.
    async fn may_read(&self, io: &ShardIo) -> Result<(), Ended> {
        loop {
            if self.paused.get() || self.closing.get() {
                // The client can't send the rest while it isn't read from.
                self.half_frame_since.set(None);
            }
            poll_fn(|context| {
                if self.dead.get() {
                    return Poll::Ready(Err(Ended));
                }
                if self.paused.get() || self.closing.get() {
                    *self.reader.borrow_mut() = Some(context.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(Ok(()))
            })
            .await?;
            if io.inbox.has_room() {
                return Ok(());
            }
            io.inbox.turn_done().await;
        }
    }

    /// One read. `None` is the end of the stream, or bytes that can't be frames.
    fn poll_read(
        &self,
        context: &mut Context<'_>,
        io: &ShardIo,
        partial: &mut Partial,
    ) -> Poll<Result<Option<(usize, Cut)>, Ended>> {
        if self.dead.get() {
            return Poll::Ready(Err(Ended));
        }
        let mut scratch = io.scratch.borrow_mut();
        let space = partial.space(&mut scratch, io.budgets.is_contended());
        let asked = space.len();
        let mut stream = self.stream.borrow_mut();
        let read = match stream.poll_read(context, space) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => return Poll::Ready(Ok(None)),
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Ended)),
        };
        io.counters.reads.up();
        io.counters.received_bytes.add(read as u64);
        if read == asked {
            io.inbox.has_more_to_read();
        }
        match partial.take(&mut scratch, read) {
            Ok(cut) => Poll::Ready(Ok(Some((read, cut)))),
            Err(bad) => {
                io.counters.frames_bad.up();
                io.complaints.say(|| format!("closed a connection: {bad}"));
                Poll::Ready(Ok(None))
            }
        }
    }

    async fn write_all(&self, io: &ShardIo) -> Result<(), Ended> {
        loop {
            poll_fn(|context| {
                if self.dead.get() || (self.closing.get() && self.queue.borrow().is_empty()) {
                    return Poll::Ready(Err(Ended));
                }
                if !self.queue.borrow().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                *self.writer.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            })
            .await?;
            if self.handed_at.get().is_none() {
                // What was queued was queued by the last turn, or this task would have run before.
                self.handed_at.set(Some(io.turn_end()));
            }
            let sent = poll_fn(|context| self.poll_write(context)).await?;
            self.took(sent, io);
        }
    }

    fn poll_write(&self, context: &mut Context<'_>) -> Poll<Result<usize, Ended>> {
        if self.dead.get() {
            return Poll::Ready(Err(Ended));
        }
        let queue = self.queue.borrow();
        let mut pieces = [IoSlice::new(&[]); WRITE_PIECES_MAX];
        let mut used = 0;
        let mut skip = self.sent_of_first.get();
        for part in queue.iter().take(WRITE_PIECES_MAX) {
            pieces[used] = IoSlice::new(&bytes_of(part)[skip..]);
            skip = 0;
            used += 1;
        }
        let mut stream = self.stream.borrow_mut();
        stream.poll_write(context, &pieces[..used]).map_err(|_| Ended)
    }

    /// Drops what the client has taken from the queue, and tells the core.
    fn took(&self, sent: usize, io: &ShardIo) {
        let mut queue = self.queue.borrow_mut();
        let mut left = self.sent_of_first.get() + sent;
        while let Some(first) = queue.front() {
            let len = bytes_of(first).len();
            if left < len {
                break;
            }
            left -= len;
            queue.pop_front();
        }
        self.sent_of_first.set(left);
        let all_left = queue.is_empty();
        if all_left && queue.capacity() > 64 {
            queue.shrink_to(0);
        }
        drop(queue);
        let now = io.clock.time();
        self.unread_since.set((!all_left).then_some(now));
        if all_left && let Some(handed_at) = self.handed_at.take() {
            io.counters.socket.record(now.since(handed_at), 1);
        }
        io.counters.writes.up();
        io.counters.sent_bytes.add(sent as u64);
        let input = Input::Sent { connection: self.id, bytes: sent };
        if all_left && sent < QUIET_BYTES_MAX && !self.paused.get() {
            io.inbox.push_quietly(input);
        } else {
            io.inbox.push(input);
        }
    }
}

fn bytes_of(part: &Part<JournalPage>) -> &[u8] {
    match part {
        Part::Bytes(bytes) => bytes,
        Part::Page { page, start, end } => &page.bytes()[*start..*end],
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    let waker = waker.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}
