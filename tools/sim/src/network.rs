//! Connections between nodes: bytes arrive late and in order, or not at all.
//!
//! Each has two ends and a flow to each, as with TCP: nothing overtakes, and nothing comes twice
//! but what is said again on another connection. A connection breaks at any byte, and each end
//! learns of it in its own time, one maybe long after the other. It can also carry nothing for a
//! while and then go on. So can all from one node to another, while the other direction works:
//! nothing arrives, and nobody is told.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hutong::kafka::frame::whole_frames;
use hutong::limits::FRAME_BYTES_MAX;
use hutong::model::ids::ConnectionId;
use hutong::shard::input::Input;

use crate::events::Event;
use crate::host::Place;
use crate::lie;
use crate::node::BASE_PORT;
use crate::plan::{MS, SECOND};
use crate::world::{Phase, World};

/// How long a dial waits for an answer.
const DIAL_TIMEOUT: u64 = 2 * SECOND;

/// All connections between nodes.
#[derive(Debug, Default)]
pub struct Network {
    links: BTreeMap<u64, Link>,
    ends: BTreeMap<(Place, u64), (u64, usize)>,
    next: u64,
    /// Until when nothing arrives, by sender and receiver.
    silent: BTreeMap<(usize, usize), u64>,
}

#[derive(Debug)]
struct Link {
    /// The side that dialed comes first.
    ends: [End; 2],
    /// What is on its way to each end.
    flows: [Flow; 2],
    /// Until when it carries nothing.
    stalled_until: u64,
}

#[derive(Debug)]
struct End {
    place: Place,
    connection: u64,
    state: State,
    paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The process doesn't know of it yet.
    Dialing,
    Open,
    /// The process has asked to close it.
    Closing,
    Gone,
}

#[derive(Debug, Default)]
struct Flow {
    parcels: VecDeque<Parcel>,
    last_at: u64,
}

#[derive(Debug)]
enum Parcel {
    Opened,
    Bytes(Bytes),
    Closed,
}

impl Network {
    /// Whether this is a connection to another node, as a shard knows it.
    pub fn knows(&self, place: Place, connection: ConnectionId) -> bool {
        self.ends.contains_key(&(place, connection.0))
    }

    /// Until when nothing gets from one node to another, if that is in the future.
    pub fn silent_until(&self, from: usize, to: usize, now: u64) -> Option<u64> {
        self.silent.get(&(from, to)).copied().filter(|until| *until > now)
    }

    /// Whether one of two nodes can't reach the other at `now`, or couldn't at some time since.
    pub fn are_apart(&self, one: usize, other: usize, now: u64) -> bool {
        let silent = |from, to| self.silent_until(from, to, now).is_some();
        silent(one, other) || silent(other, one)
    }

    /// Connections that are there.
    fn open(&self) -> Vec<u64> {
        self.links.keys().copied().collect()
    }

    fn forget(&mut self, id: u64) {
        if let Some(link) = self.links.remove(&id) {
            for end in link.ends {
                self.ends.remove(&(end.place, end.connection));
            }
        }
    }
}

impl World {
    /// A shard dials another node.
    pub(crate) fn dial(
        &mut self,
        from: Place,
        connection: ConnectionId,
        host: &str,
        port: u16,
    ) -> Result<(), String> {
        let node = host.strip_prefix("node-").and_then(|number| number.parse().ok());
        let shard = port.checked_sub(BASE_PORT);
        let (Some(node), Some(shard)) = (node, shard) else {
            return Err(format!("contract: {from:?} dials {host}:{port}, which is no node"));
        };
        let end =
            |place, connection| End { place, connection, state: State::Dialing, paused: false };
        let link = Link {
            ends: [end(from, connection.0), end(Place { node, shard }, 0)],
            flows: [Flow::default(), Flow::default()],
            stalled_until: 0,
        };
        self.network.next += 1;
        let id = self.network.next;
        self.network.ends.insert((from, connection.0), (id, 0));
        self.network.links.insert(id, link);
        let at = self.now + self.network_delay();
        self.events.push(at, Event::Dial { link: id, since: self.now });
        Ok(())
    }

    /// A dial has come as far as it gets.
    pub(crate) fn dialed(&mut self, id: u64, since: u64) {
        let Some(link) = self.network.links.get(&id) else { return };
        let (from, to) = (link.ends[0].place, link.ends[1].place);
        let number = link.ends[0].connection;
        let there = self.network.silent_until(from.node, to.node, self.now);
        let back = self.network.silent_until(to.node, from.node, self.now);
        if let Some(until) = there.max(back) {
            let at = until.min(since + DIAL_TIMEOUT) + self.random.between(1, MS);
            if self.now < since + DIAL_TIMEOUT {
                return self.events.push(at, Event::Dial { link: id, since });
            }
            return self.dial_failed(id, from, number, "timed out");
        }
        let running = self.hosts[to.node].node.as_ref();
        let listens = running.is_some_and(|node| usize::from(to.shard) < node.shards.len());
        if !listens {
            return self.dial_failed(id, from, number, "connection refused");
        }
        let accepted = self.next_connection;
        self.next_connection += 1;
        self.trace.event(self.now, &[30, id, accepted], || {
            format!("link {id}: {from:?} is connected to {to:?}, as {accepted}")
        });
        let Some(link) = self.network.links.get_mut(&id) else { return };
        link.ends[1].connection = accepted;
        link.ends[1].state = State::Open;
        self.network.ends.insert((to, accepted), (id, 1));
        self.input(
            to,
            Input::ConnectionOpened { connection: ConnectionId(accepted), host: String::new() },
        );
        self.ship(id, 0, Parcel::Opened);
    }

    fn dial_failed(&mut self, id: u64, from: Place, number: u64, why: &str) {
        self.network.forget(id);
        let reason = why.to_string();
        self.input(from, Input::DialFailed { connection: ConnectionId(number), reason });
    }

    /// A shard gives out bytes for another node.
    ///
    /// # Errors
    /// They aren't whole frames, or the connection isn't its own any more.
    pub(crate) fn send_to_node(
        &mut self,
        place: Place,
        connection: ConnectionId,
        bytes: Vec<u8>,
    ) -> Result<(), String> {
        let Some(&(id, side)) = self.network.ends.get(&(place, connection.0)) else {
            return Ok(());
        };
        match whole_frames(&bytes, FRAME_BYTES_MAX) {
            Ok((whole, _)) if whole == bytes.len() => {}
            cut => return Err(format!("contract: {place:?} sends part of a frame: {cut:?}")),
        }
        let link = &self.network.links[&id];
        if matches!(link.ends[side].state, State::Dialing | State::Closing) {
            return Err(format!("contract: {place:?} sends on link {id}, which isn't open"));
        }
        let other = link.ends[1 - side].state;
        let to = link.ends[1 - side].place;
        self.trace.event(self.now, &[31, id, side as u64, bytes.len() as u64], || {
            format!("  link {id}: {place:?} -> {to:?} {}", lie::describe(&bytes))
        });
        self.trace.bytes(&bytes);
        if other != State::Gone {
            self.ship(id, 1 - side, Parcel::Bytes(bytes.into()));
        }
        Ok(())
    }

    fn network_delay(&mut self) -> u64 {
        let mean = if self.phase == Phase::Faults { self.plan.network } else { MS / 10 };
        self.random.around(mean)
    }

    fn ship(&mut self, id: u64, to: usize, parcel: Parcel) {
        let delay = self.network_delay();
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let flow = &mut link.flows[to];
        flow.last_at = flow.last_at.max(self.now + delay);
        flow.parcels.push_back(parcel);
        self.events.push(flow.last_at, Event::Parcel { link: id, to });
    }

    /// Something reaches an end of a connection.
    pub(crate) fn parcel(&mut self, id: u64, to: usize) {
        let Some(link) = self.network.links.get(&id) else { return };
        let (sender, receiver) = (link.ends[1 - to].place, link.ends[to].place);
        let stalled = Some(link.stalled_until).filter(|until| *until > self.now);
        let silent = self.network.silent_until(sender.node, receiver.node, self.now);
        if let Some(until) = stalled.max(silent) {
            let at = until + self.random.between(1, MS);
            return self.events.push(at, Event::Parcel { link: id, to });
        }
        self.arrive_in_parts(id, to);
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let [a, b] = &mut link.ends;
        let (end, other) = if to == 0 { (a, b) } else { (b, a) };
        if end.paused {
            // It goes on when the process reads again.
            return;
        }
        let Some(parcel) = link.flows[to].parcels.pop_front() else { return };
        let connection = ConnectionId(end.connection);
        let sender_connection = ConnectionId(other.connection);
        let sender_is_open = other.state == State::Open;
        let input = match (parcel, end.state) {
            (Parcel::Opened, State::Dialing) => {
                end.state = State::Open;
                Input::ConnectionOpened { connection, host: String::new() }
            }
            // The other side went away before this one knew that it was there.
            (Parcel::Closed, State::Dialing) => {
                end.state = State::Gone;
                Input::DialFailed { connection, reason: "connection reset".into() }
            }
            (Parcel::Bytes(frames), State::Open) => Input::Frames { connection, frames },
            (Parcel::Closed, State::Open | State::Closing) => {
                end.state = State::Gone;
                Input::ConnectionClosed { connection }
            }
            _ => return,
        };
        let sent = match &input {
            Input::Frames { frames, .. } if sender_is_open => Some(frames.len()),
            _ => None,
        };
        if end.state == State::Gone && other.state == State::Gone {
            self.network.forget(id);
        }
        let input = match input {
            Input::Frames { connection, frames } => {
                Input::Frames { connection, frames: lie::on_the_way(self.lie, frames) }
            }
            input => input,
        };
        self.input(receiver, input);
        if let Some(bytes) = sent {
            self.input(sender, Input::Sent { connection: sender_connection, bytes });
        }
    }

    /// What was sent at once may arrive in two parts.
    fn arrive_in_parts(&mut self, id: u64, to: usize) {
        if self.phase != Phase::Faults || !self.random.chance(5) {
            return;
        }
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let Some(Parcel::Bytes(bytes)) = link.flows[to].parcels.front_mut() else { return };
        let first = bytes.split_to(whole(bytes, self.random.below(bytes.len() as u64)));
        if first.is_empty() {
            return;
        }
        link.flows[to].parcels.push_front(Parcel::Bytes(first));
        let at = self.now + self.random.between(1, MS);
        self.events.push(at, Event::Parcel { link: id, to });
    }

    /// A shard stops or goes on reading.
    pub(crate) fn pause_link(&mut self, place: Place, connection: ConnectionId, paused: bool) {
        let Some(&(id, side)) = self.network.ends.get(&(place, connection.0)) else { return };
        let Some(link) = self.network.links.get_mut(&id) else { return };
        link.ends[side].paused = paused;
        if !paused {
            for _ in 0..link.flows[side].parcels.len() {
                self.events.push(self.now + 1, Event::Parcel { link: id, to: side });
            }
        }
    }

    /// A shard closes a connection: the other end gets what was given out before.
    pub(crate) fn close_link(&mut self, place: Place, connection: ConnectionId) {
        let Some(&(id, side)) = self.network.ends.get(&(place, connection.0)) else { return };
        let Some(link) = self.network.links.get_mut(&id) else { return };
        if link.ends[side].state != State::Open {
            return;
        }
        link.ends[side].state = State::Closing;
        link.ends[side].paused = false;
        link.flows[side].parcels.clear();
        self.ship(id, side, Parcel::Closed);
        self.ship(id, 1 - side, Parcel::Closed);
    }

    /// A connection breaks: each end gets some of what was on its way, and learns of it, one of
    /// them maybe late.
    fn break_link(&mut self, id: u64) {
        self.trace.event(self.now, &[32, id], || format!("link {id} breaks"));
        for side in 0..2 {
            self.lose_some(id, side);
            let late = if self.random.chance(20) { self.plan.cut_for } else { 0 };
            let Some(link) = self.network.links.get_mut(&id) else { return };
            link.ends[side].paused = false;
            link.flows[side].last_at = link.flows[side].last_at.max(self.now + late);
            self.ship(id, side, Parcel::Closed);
        }
    }

    /// What is on its way to an end is cut at some byte. A part of a frame is as good as nothing.
    fn lose_some(&mut self, id: u64, side: usize) {
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let parcels = &mut link.flows[side].parcels;
        let kept = self.random.below(parcels.len() as u64 + 1) as usize;
        let cut = match parcels.get(kept) {
            Some(Parcel::Bytes(bytes)) => {
                bytes.slice(..whole(bytes, self.random.below(bytes.len() as u64)))
            }
            _ => Bytes::new(),
        };
        parcels.truncate(kept);
        if !cut.is_empty() {
            parcels.push_back(Parcel::Bytes(cut));
        }
    }

    /// A node's process has ended, and with it its ends of all connections.
    pub(crate) fn hang_up(&mut self, node: usize) {
        for id in self.network.open() {
            let Some(link) = self.network.links.get_mut(&id) else { continue };
            let Some(side) = link.ends.iter().position(|end| end.place.node == node) else {
                continue;
            };
            if side == 1 && link.ends[side].state == State::Dialing {
                // What is on its way there finds out by itself.
                continue;
            }
            link.ends[side].state = State::Gone;
            link.ends[1 - side].paused = false;
            link.flows[side].parcels.clear();
            let other = link.ends[1 - side].state;
            let (place, connection) = (link.ends[side].place, link.ends[side].connection);
            self.network.ends.remove(&(place, connection));
            if matches!(other, State::Gone) || side == 0 && other == State::Dialing {
                self.network.forget(id);
                continue;
            }
            self.lose_some(id, 1 - side);
            self.ship(id, 1 - side, Parcel::Closed);
        }
    }

    /// Something happens to the network between nodes.
    pub(crate) fn cut(&mut self) {
        if self.phase != Phase::Faults || self.hosts.len() < 2 {
            return;
        }
        let next = self.now + self.random.around(self.plan.cut_every);
        self.events.push(next, Event::Cut);
        self.report.cuts += 1;
        let nodes = self.hosts.len() as u64;
        let one = self.random.below(nodes) as usize;
        let two = (one + 1 + self.random.below(nodes - 1) as usize) % nodes as usize;
        let until = self.now + self.random.around(self.plan.cut_for);
        match self.random.below(11) {
            // Connections end and can be made anew.
            0..3 => {
                for id in self.network.open() {
                    if self.random.chance(40) {
                        self.break_link(id);
                    }
                }
            }
            // Connections carry nothing for a while.
            10 => {
                for link in self.network.links.values_mut() {
                    if self.random.chance(40) {
                        link.stalled_until = until;
                    }
                }
            }
            // One direction between two nodes.
            3..5 => self.silence(&[(one, two)], until),
            // Both.
            5..7 => self.silence(&[(one, two), (two, one)], until),
            // One node hears nothing, or is not heard.
            7 => {
                let hears = self.random.chance(50);
                let others = (0..self.hosts.len()).filter(|other| *other != one);
                let pairs: Vec<_> =
                    others.map(|other| if hears { (one, other) } else { (other, one) }).collect();
                self.silence(&pairs, until);
            }
            // One node, or two, alone.
            _ => {
                let with = if self.random.chance(50) { one } else { two };
                let inside = |node: usize| node == one || node == with;
                let all = 0..self.hosts.len();
                let pairs: Vec<_> = all
                    .clone()
                    .flat_map(|a| all.clone().map(move |b| (a, b)))
                    .filter(|(a, b)| inside(*a) != inside(*b))
                    .collect();
                self.silence(&pairs, until);
            }
        }
    }

    fn silence(&mut self, pairs: &[(usize, usize)], until: u64) {
        self.trace.event(self.now, &[33, until], || {
            format!("nothing gets over {pairs:?} until {:.3}", until as f64 / 1e9)
        });
        for pair in pairs {
            let known = self.network.silent.entry(*pair).or_default();
            *known = until.max(*known);
        }
    }

    /// Faults stop: what is held up arrives.
    pub(crate) fn heal_network(&mut self) {
        self.network.silent.clear();
        for link in self.network.links.values_mut() {
            link.stalled_until = 0;
        }
        for id in self.network.open() {
            for to in 0..2 {
                let flow = self.network.links.get(&id).map(|link| link.flows[to].parcels.len());
                for _ in 0..flow.unwrap_or(0) {
                    let at = self.now + self.random.between(1, MS);
                    self.events.push(at, Event::Parcel { link: id, to });
                }
            }
        }
    }
}

/// How many of the first `cut` bytes are whole frames.
fn whole(bytes: &Bytes, cut: u64) -> usize {
    whole_frames(&bytes[..cut as usize], FRAME_BYTES_MAX).map_or(0, |(whole, _)| whole)
}
