//! The clients of a shard: what they have asked, and what they are owed, in order.
//!
//! Requests of a connection are numbered as they come. They may be answered in any order; answers
//! leave in the order of the requests. A request that waits for something other than the journal
//! (a long poll, a change of the catalog) holds up those behind it, as in Kafka; produce requests
//! don't, so a connection may have thousands of them under way.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;
use hdrhistogram::Histogram;
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::kafka::api::{FETCH_INDEX, PRODUCE_INDEX, api_index, encode_response};
use crate::kafka::frame::frame_at;
use crate::kafka::header::RequestHeader;
use crate::kafka::response_errors::ErrorCodes;
use crate::limits::CONNECTION_UNSENT_BYTES_MAX;
use crate::model::ids::ConnectionId;
use crate::model::time::Time;
use crate::shard::metrics::{Traffic, durations};
use crate::shard::output::{Output, Part};

/// A request that is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub connection: ConnectionId,
    /// Its number among the requests of its connection.
    pub sequence: u64,
}

/// Whole frames as they came, side by side, and how far they have been looked at.
#[derive(Clone, Debug)]
pub struct Read {
    pub bytes: Bytes,
    at: usize,
}

impl Read {
    fn has_frame(&self) -> bool {
        frame_at(&self.bytes, self.at).is_some()
    }
}

/// No more than this is set aside for the answers of a turn before there are any.
const TAIL_BYTES_RESERVED_MAX: usize = 64 << 10;

/// All connections of a shard.
#[derive(Debug)]
pub struct Connections<P> {
    slots: Slab<Connection<P>>,
    by_id: FxHashMap<ConnectionId, usize>,
    /// The connection that was found last, and its slot.
    last: Option<(ConnectionId, usize)>,
    /// Those with something to give out at the end of the turn.
    dirty: Vec<ConnectionId>,
    /// Those that may go on with their backlog.
    runnable: Vec<ConnectionId>,
    faults: Vec<String>,
    /// Given out and not yet taken by the sockets, all connections together.
    unsent_bytes: usize,
    /// What was asked and answered, by API.
    pub traffic: Traffic,
    order: Order,
}

/// How long answers waited for those of earlier requests of their connections.
#[derive(Debug)]
struct Order {
    /// When this turn began.
    now: Time,
    waited: Histogram<u64>,
}

/// An answer that waits for those before it.
#[derive(Debug)]
struct Early<P> {
    since: Time,
    parts: Vec<Part<P>>,
}

#[derive(Debug)]
struct Connection<P> {
    /// The address it comes from, as Kafka writes it.
    host: Rc<str>,
    next_request: u64,
    next_answer: u64,
    /// Answers that wait for those before them.
    early: BTreeMap<u64, Early<P>>,
    /// Answers in order, to be given out at the end of the turn.
    parts: Vec<Part<P>>,
    /// The newest of them, still growing.
    tail: Vec<u8>,
    /// How many bytes the last tail had: the next one will have about as many.
    last_tail_bytes: usize,
    dirty: bool,
    unsent_bytes: usize,
    /// Frames that have come and not been looked at.
    backlog: VecDeque<Read>,
    /// The request that holds up those behind it.
    held_by: Option<u64>,
    paused: bool,
    closing: bool,
}

impl<P> Default for Connections<P> {
    fn default() -> Self {
        Connections {
            slots: Slab::new(),
            by_id: FxHashMap::default(),
            last: None,
            dirty: Vec::new(),
            runnable: Vec::new(),
            faults: Vec::new(),
            unsent_bytes: 0,
            traffic: Traffic::default(),
            order: Order { now: Time(0), waited: durations() },
        }
    }
}

impl<P> Connections<P> {
    /// A turn begins. Answers that wait for others are timed by it.
    pub fn begin_turn(&mut self, now: Time) {
        self.order.now = now;
    }

    /// How long answers that had to wait for those of earlier requests did so, in nanoseconds.
    pub fn order_stage(&self) -> &Histogram<u64> {
        &self.order.waited
    }

    /// A client connected.
    pub fn open(&mut self, id: ConnectionId, host: String) {
        let slot = self.slots.insert(Connection::new(Rc::from(format!("/{host}"))));
        self.by_id.insert(id, slot);
    }

    /// The address that a client comes from, as Kafka writes it.
    pub fn host(&self, id: ConnectionId) -> Rc<str> {
        let connection = self.by_id.get(&id).map(|slot| &self.slots[*slot]);
        connection.map_or_else(|| Rc::from(""), |it| it.host.clone())
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection<P>> {
        self.last = None;
        let slot = self.by_id.remove(&id)?;
        Some(self.slots.remove(slot))
    }

    /// A client is gone: whatever it is owed is forgotten.
    pub fn closed(&mut self, id: ConnectionId) {
        if let Some(connection) = self.remove(id) {
            self.unsent_bytes -= connection.unsent_bytes;
        }
    }

    /// This connection turned out to be another node's: it is no client any more.
    pub fn hand_over(&mut self, id: ConnectionId) {
        self.closed(id);
    }

    /// Bytes that clients have been given and have not read.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Whether a client is still there.
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Frames have come. They wait until `next_frame` takes them.
    pub fn received(&mut self, id: ConnectionId, frames: Bytes) {
        if let Some(connection) = self.find(id)
            && !connection.closing
        {
            connection.backlog.push_back(Read { bytes: frames, at: 0 });
            self.runnable.push(id);
        }
    }

    /// Has the connection go on with its backlog.
    pub fn run(&mut self, id: ConnectionId) {
        self.runnable.push(id);
    }

    /// Whether some connection may go on.
    pub fn has_runnable(&self) -> bool {
        !self.runnable.is_empty()
    }

    /// The oldest of what a connection has sent, if it may be looked at now. What is left of it
    /// must be put back.
    pub fn take_read(&mut self, id: ConnectionId) -> Option<Read> {
        let connection = self.find(id)?;
        if !connection.may_go_on() {
            return None;
        }
        connection.backlog.pop_front()
    }

    /// What was taken and not looked at will be looked at first.
    pub fn put_back(&mut self, id: ConnectionId, read: Read) {
        if read.has_frame()
            && let Some(connection) = self.find(id)
            && !connection.closing
        {
            connection.backlog.push_front(read);
        }
    }

    /// The next request of a read, where it lies in it, if it may be looked at now.
    #[inline]
    pub fn next_frame(
        &mut self,
        id: ConnectionId,
        read: &mut Read,
    ) -> Option<(Ticket, Range<usize>)> {
        let connection = self.find(id)?;
        if !connection.may_go_on() {
            return None;
        }
        let frame = frame_at(&read.bytes, read.at)?;
        read.at = frame.end;
        let sequence = connection.next_request;
        connection.next_request += 1;
        Some((Ticket { connection: id, sequence }, frame))
    }

    /// Where the next request of a read lies. It isn't taken, so no answer is owed for it yet.
    pub fn peek_frame(read: &Read) -> Option<Range<usize>> {
        frame_at(&read.bytes, read.at)
    }

    /// The connection of this number. Requests of one connection come in rows, and so do their
    /// answers: the last one found is looked at first.
    #[inline]
    fn slot_of(&mut self, id: ConnectionId) -> Option<usize> {
        if let Some((last, slot)) = self.last
            && last == id
        {
            return Some(slot);
        }
        let slot = *self.by_id.get(&id)?;
        self.last = Some((id, slot));
        Some(slot)
    }

    #[inline]
    fn find(&mut self, id: ConnectionId) -> Option<&mut Connection<P>> {
        let slot = self.slot_of(id)?;
        self.slots.get_mut(slot)
    }

    /// Nothing behind this request is looked at before it is answered.
    pub fn hold(&mut self, ticket: Ticket) {
        if let Some(connection) = self.find(ticket.connection) {
            connection.held_by = Some(ticket.sequence);
        }
    }

    /// Stops or resumes reading, as the backlog asks for. `queue_full` holds up everyone.
    pub fn settle_reading(&mut self, id: ConnectionId, outputs: &mut VecDeque<Output<P>>) {
        let Some(connection) = self.find(id) else { return };
        let wanted = !connection.backlog.is_empty();
        if wanted != connection.paused {
            connection.paused = wanted;
            outputs.push_back(if wanted {
                Output::PauseReading { connection: id }
            } else {
                Output::ResumeReading { connection: id }
            });
        }
    }

    /// Answers a Produce request with a frame that `encode` appends to the connection's output.
    pub fn answer(&mut self, ticket: Ticket, encode: impl FnOnce(&mut Vec<u8>)) {
        self.answer_of(PRODUCE_INDEX, ticket, encode);
    }

    #[inline]
    fn answer_of(&mut self, api: usize, ticket: Ticket, encode: impl FnOnce(&mut Vec<u8>)) {
        let Some(slot) = self.slot_of(ticket.connection) else { return };
        let connection = &mut self.slots[slot];
        if ticket.sequence == connection.next_answer {
            let before = connection.tail.len();
            if before == 0 {
                connection.tail.reserve(connection.last_tail_bytes);
            }
            encode(&mut connection.tail);
            self.traffic.response(api, connection.tail.len() - before);
            connection.next_answer += 1;
            connection.follow_up(&mut self.order);
        } else {
            let mut bytes = Vec::new();
            encode(&mut bytes);
            self.traffic.response(api, bytes.len());
            let parts = vec![Part::Bytes(bytes.into())];
            connection.early.insert(ticket.sequence, Early { since: self.order.now, parts });
        }
        connection.answered(ticket, &mut self.dirty, &mut self.runnable);
    }

    /// Answers a request with a message of the protocol.
    ///
    /// A message that can't be encoded in the request's version would be a fault of ours; the
    /// client's connection is closed, so that it isn't left waiting.
    pub fn respond<M: Encodable + HeaderVersion + ErrorCodes>(
        &mut self,
        ticket: Ticket,
        header: &RequestHeader,
        response: &M,
    ) {
        let mut bytes = Vec::new();
        match encode_response(&mut bytes, header, response) {
            Ok(()) => {
                let api = api_index(header.api_key).expect("what isn't offered isn't answered");
                self.traffic.errors_of(api, response);
                self.answer_of(api, ticket, |out| out.extend_from_slice(&bytes));
            }
            Err(fault) => {
                self.close(ticket.connection);
                self.faults.push(fault.to_string());
            }
        }
    }

    /// Responses that could not be encoded since the last call: faults of ours.
    pub fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }

    /// Answers a Fetch request with parts; or, with none at all, a Produce request that gets no
    /// response.
    pub fn answer_parts(&mut self, ticket: Ticket, parts: Vec<Part<P>>) {
        let Some(slot) = self.slot_of(ticket.connection) else { return };
        let connection = &mut self.slots[slot];
        self.traffic.response(FETCH_INDEX, parts.iter().map(Part::len).sum());
        if ticket.sequence == connection.next_answer {
            connection.take_parts(parts);
            connection.next_answer += 1;
            connection.follow_up(&mut self.order);
        } else {
            connection.early.insert(ticket.sequence, Early { since: self.order.now, parts });
        }
        connection.answered(ticket, &mut self.dirty, &mut self.runnable);
    }

    /// The socket has taken bytes.
    pub fn sent(&mut self, id: ConnectionId, bytes: usize) {
        let Some(slot) = self.slot_of(id) else { return };
        let connection = &mut self.slots[slot];
        let was_over = connection.unsent_bytes > CONNECTION_UNSENT_BYTES_MAX;
        let bytes = bytes.min(connection.unsent_bytes);
        connection.unsent_bytes -= bytes;
        self.unsent_bytes -= bytes;
        if was_over && connection.unsent_bytes <= CONNECTION_UNSENT_BYTES_MAX {
            self.runnable.push(id);
        }
    }

    /// Has the connection closed, once what it is owed so far has been sent. Its requests that
    /// aren't answered yet get no answer.
    pub fn close(&mut self, id: ConnectionId) {
        let Some(slot) = self.slot_of(id) else { return };
        let connection = &mut self.slots[slot];
        connection.closing = true;
        connection.backlog.clear();
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(id);
        }
    }

    /// The connections that may go on with their backlog now.
    pub fn take_runnable(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.runnable)
    }

    /// Gives out all answers that are in order.
    pub fn give_out(&mut self, outputs: &mut VecDeque<Output<P>>) {
        let mut closed = Vec::new();
        for id in self.dirty.drain(..) {
            let Some(slot) = self.by_id.get(&id) else { continue };
            let connection = &mut self.slots[*slot];
            connection.dirty = false;
            connection.settle_tail();
            let parts = std::mem::take(&mut connection.parts);
            if !parts.is_empty() {
                let bytes = parts.iter().map(Part::len).sum::<usize>();
                connection.unsent_bytes += bytes;
                self.unsent_bytes += bytes;
                outputs.push_back(Output::Respond { connection: id, parts });
            }
            if connection.closing {
                self.unsent_bytes -= connection.unsent_bytes;
                closed.push(id);
                outputs.push_back(Output::CloseConnection { connection: id });
            }
        }
        for id in closed {
            self.remove(id);
        }
    }
}

impl<P> Connection<P> {
    fn new(host: Rc<str>) -> Connection<P> {
        Connection {
            host,
            next_request: 0,
            next_answer: 0,
            early: BTreeMap::new(),
            parts: Vec::new(),
            tail: Vec::new(),
            last_tail_bytes: 0,
            dirty: false,
            unsent_bytes: 0,
            backlog: VecDeque::new(),
            held_by: None,
            paused: false,
            closing: false,
        }
    }

    fn may_go_on(&self) -> bool {
        self.held_by.is_none()
            && !self.closing
            && self.unsent_bytes + self.tail.len() <= CONNECTION_UNSENT_BYTES_MAX
    }

    /// A request of this connection has its answer.
    fn answered(
        &mut self,
        ticket: Ticket,
        dirty: &mut Vec<ConnectionId>,
        runnable: &mut Vec<ConnectionId>,
    ) {
        if !self.dirty {
            self.dirty = true;
            dirty.push(ticket.connection);
        }
        if self.held_by == Some(ticket.sequence) {
            self.held_by = None;
            runnable.push(ticket.connection);
        }
    }

    /// Moves up the answers that waited for the one just given.
    fn follow_up(&mut self, order: &mut Order) {
        if self.early.is_empty() {
            return;
        }
        while let Some(early) = self.early.remove(&self.next_answer) {
            order.waited.saturating_record(order.now.since(early.since).as_nanos() as u64);
            self.take_parts(early.parts);
            self.next_answer += 1;
        }
    }

    fn take_parts(&mut self, parts: Vec<Part<P>>) {
        if !parts.is_empty() {
            self.settle_tail();
            self.parts.extend(parts);
        }
    }

    fn settle_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.last_tail_bytes = tail.len().min(TAIL_BYTES_RESERVED_MAX);
            self.parts.push(Part::Bytes(tail.into()));
        }
    }
}
