//! The shards of other nodes: connections to them, and what they say.
//!
//! Each shard keeps a connection of its own to each shard of another node where groups of its run,
//! or would: who holds them changes, and who held one and doesn't know that it shall no longer must
//! be told. Of two nodes the one with the lower number dials; it tries again for ever, ever less
//! often. Both sides begin with a hello, and whoever finds the other to be of another cluster,
//! another version or another shape says so and hangs up. From then on both speak whenever they
//! like (`duplex`), and nobody waits for an answer before speaking again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::duplex::{Frame, Frames, Kind};
use crate::limits::FRAME_BYTES_MAX;
use crate::metadata::Layout;
use crate::model::ids::{ConnectionId, DIALED_CONNECTION, GroupId, NodeId, ShardId};
use crate::model::position::{LogIndex, Position, Term};
use crate::model::time::Time;
use crate::shard::follow::ReplyTo;
use crate::shard::output::{Output, Part};
use crate::shard::peers::dials::Dials;
use crate::shard::peers::link::{Asked, Link, Peer, Place};
use crate::shard::peers::repair_wire::{JournalPlace, JournalQuestion};
use crate::shard::peers::snapshot_wire::{Offer, PartHead, Standing};
use crate::shard::peers::visit::Visit;
use crate::shard::peers::wire::{Hello, MembersTold, Request};
use crate::shard::{NodeAddress, ShardConfig};

mod dials;
pub mod handshake;
mod layouts;
pub mod link;
pub mod repair_wire;
pub mod snapshot_wire;
pub mod visit;
pub mod wire;

/// Who was heard so lately is still there.
const ALIVE: Duration = Duration::from_millis(300);

/// How long a node that was removed is talked to: it asks several times in a second.
const FAREWELL: Duration = Duration::from_secs(10);

/// What other nodes have said.
#[derive(Debug)]
pub enum PeerEvent {
    /// A node can be talked to.
    Up { node: NodeId, shards: u16, host: String, port: u16 },
    /// The last connection to a node is gone.
    Down { node: NodeId },
    /// A message of a group's Raft, and where its answer goes.
    Raft { from: NodeId, group: GroupId, message: Bytes, reply: ReplyTo },
    /// A member has taken in a message of a group's Raft: this much of it is in its memory, or 0 if
    /// it says nothing of that.
    Received { from: NodeId, group: GroupId, term: Term, index: LogIndex },
    /// A leader wants to know how far a group's journal reaches here.
    Where { group: GroupId, reply: ReplyTo },
    /// How a member stands with a group, because it was asked, or `unasked`.
    Stands { from: NodeId, group: GroupId, standing: Standing, unasked: bool },
    /// A leader could bring this member up by a snapshot.
    Offered { from: NodeId, group: GroupId, offer: Offer, reply: ReplyTo },
    /// A part of one has come.
    Part { group: GroupId, head: PartHead, bytes: Bytes, reply: ReplyTo },
    /// Another node wants to know who belongs to a group that is led here.
    AsksMembers { group: GroupId, reply: ReplyTo },
    /// Who belongs to a group, as its leader says.
    Members { group: GroupId, told: MembersTold },
    /// Another node wants to know by which layout this one goes.
    AsksLayout { reply: ReplyTo },
    /// The layout of one that goes by a newer one.
    Layout(Box<Layout>),
    /// Someone who is no node asks for something.
    Visit { visit: Visit, reply: ReplyTo },
    /// A node leads a group and serves it.
    Leads { node: NodeId, group: GroupId, term: Term },
    /// A command for the catalog.
    Propose { command: Bytes, reply: ReplyTo },
    /// What became of a proposal: the catalog's version with it; or the node that was asked
    /// doesn't lead, or is gone and nobody knows.
    Proposed { proposal: u64, version: Option<u64> },
    /// Somebody asks about a journal.
    Asked { question: JournalQuestion, reply: ReplyTo },
    /// A node that isn't open asks what of a group is damaged here and can't be mended.
    AsksDamaged { group: GroupId, reply: ReplyTo },
    /// It gives what it holds at such a place.
    Given { from: NodeId, place: JournalPlace, entry: Bytes },
    /// A node's answer when it was asked for the entry of a journal that follows what ends at a
    /// position: its bytes, or that it doesn't have it.
    Entry { from: NodeId, group: GroupId, at: Position, bytes: Option<Bytes> },
    /// Something for the log.
    Note(String),
}

/// The connections of this shard to shards of other nodes.
pub struct Peers<P> {
    hello: Hello,
    /// The nodes of the cluster.
    members: BTreeSet<NodeId>,
    /// Where they are, as far as that was told.
    addresses: BTreeMap<NodeId, NodeAddress>,
    /// What each node's data directory drew, as far as the cluster knows.
    directories: BTreeMap<NodeId, u128>,
    /// How many shards each node said it has.
    shards: BTreeMap<NodeId, u16>,
    /// The groups that run on this shard.
    groups: Vec<GroupId>,
    /// Of the layout that this node goes by; 0 as long as it knows none.
    epoch: u64,
    links: BTreeMap<ConnectionId, Link<P>>,
    /// The connection to each place that can be talked to.
    up: BTreeMap<Place, ConnectionId>,
    dials: Dials,
    dialed: u64,
    events: Vec<PeerEvent>,
    /// Why another node last refused this one.
    refused: Option<String>,
    /// Connections that have frames to be looked at.
    heard: Vec<ConnectionId>,
    /// Connections that are gone.
    gone: Vec<ConnectionId>,
    /// Connections that have something to send.
    dirty: BTreeSet<ConnectionId>,
    /// Connections that are to be closed, and what they are still given.
    closing: Vec<(ConnectionId, Vec<Part<P>>)>,
    pub metrics: PeerMetrics,
}

/// What went over all connections to other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerMetrics {
    pub received_bytes: u64,
    /// Bytes that sockets have taken.
    pub sent_bytes: u64,
}

fn known_directories(config: &ShardConfig) -> BTreeMap<NodeId, u128> {
    let known = config.nodes.iter().filter(|address| address.directory != 0);
    known.map(|address| (address.node, address.directory)).collect()
}

impl<P> Peers<P> {
    /// Nobody is connected yet. `groups` are those that run on this shard, as far as is known.
    pub fn new(config: &ShardConfig, groups: Vec<GroupId>, now: Time) -> Peers<P> {
        let others = config.nodes.iter().filter(|address| address.node != config.node);
        let mut peers = Peers {
            hello: handshake::own_hello(config),
            members: config
                .formed
                .iter()
                .chain(config.nodes.iter().map(|it| &it.node))
                .copied()
                .collect(),
            addresses: others.map(|address| (address.node, address.clone())).collect(),
            directories: known_directories(config),
            shards: BTreeMap::new(),
            groups,
            epoch: 0,
            links: BTreeMap::new(),
            up: BTreeMap::new(),
            dials: Dials::default(),
            dialed: 0,
            events: Vec::new(),
            refused: None,
            heard: Vec::new(),
            gone: Vec::new(),
            dirty: BTreeSet::new(),
            closing: Vec::new(),
            metrics: PeerMetrics::default(),
        };
        let nodes: Vec<NodeId> = peers.addresses.keys().copied().collect();
        for node in nodes {
            peers.plan(node, now);
        }
        peers
    }

    /// Nodes or groups have come or gone. Those that are gone are talked to no more; where a node
    /// is somewhere else, the next dial goes there.
    pub fn follow(
        &mut self,
        layout: &Layout,
        addresses: &[NodeAddress],
        groups: Vec<GroupId>,
        now: Time,
    ) {
        let known = layout.nodes.iter().filter(|(_, node)| node.directory != 0);
        self.directories.extend(known.map(|(id, node)| (*id, node.directory)));
        let others = addresses.iter().filter(|address| address.node != self.hello.node);
        self.addresses = others.map(|address| (address.node, address.clone())).collect();
        self.groups = groups;
        self.epoch = layout.epoch;
        self.members = layout.nodes.keys().copied().collect();
        let nodes: Vec<NodeId> = self.members.iter().copied().collect();
        self.say_farewell(now);
        self.dials.forget_all_but(&nodes);
        for node in nodes {
            self.plan(node, now);
        }
    }

    /// Nodes that were removed are talked to for a while yet: they may not have heard of which
    /// groups they are out, and there is nobody else who would tell them. Those who come in the
    /// place of another are not.
    fn say_farewell(&mut self, now: Time) {
        let mut gone = Vec::new();
        for (connection, link) in &mut self.links {
            let Some(peer) = &link.peer else { continue };
            let node = peer.place.node;
            if !self.members.contains(&node) {
                link.leaves_at.get_or_insert(now + FAREWELL);
                continue;
            }
            link.leaves_at = None;
            if self.directories.get(&node).is_some_and(|known| *known != peer.directory) {
                gone.push(*connection);
            }
        }
        for connection in gone {
            self.note(format!("{} isn't of this cluster any more", self.who(connection)));
            self.close(connection, now);
        }
    }

    /// Asks a node that leads a group who belongs to it.
    pub fn ask_members(&mut self, to: NodeId, group: GroupId) -> bool {
        let place = Place { node: to, shard: self.shard_of(to, group) };
        let request = Request::Members { group };
        self.ask(place, Asked::Members { group }, |out| request.encode(out), Vec::new())
    }

    /// Whether this connection is one to another node.
    pub fn is_link(&self, connection: ConnectionId) -> bool {
        self.links.contains_key(&connection)
    }

    /// Whether there is any such connection.
    pub fn has_links(&self) -> bool {
        !self.links.is_empty()
    }

    /// A connection that was dialed is there: says hello.
    pub fn on_opened(&mut self, connection: ConnectionId, now: Time) {
        let Some(place) = self.dials.opened(connection) else { return };
        let mut link = Link::new(Some(place), now);
        let hello = Request::Hello(self.hello.clone());
        link.ask(Asked::Hello, |out| hello.encode(out), Vec::new());
        self.links.insert(connection, link);
        self.dirty.insert(connection);
    }

    /// A connection could not be made.
    pub fn on_dial_failed(&mut self, connection: ConnectionId, reason: &str, now: Time) {
        if let Some(place) = self.dials.failed(connection, now) {
            let first = self.dials.failures(place) == 1;
            if first {
                let (node, shard) = (place.node, place.shard);
                self.note(format!("can't reach node {node}, shard {shard}: {reason}"));
            }
            // It may have fewer shards than it had: its first one is always there.
            self.plan(place.node, now);
        }
    }

    /// Another node has dialed, and this is what it said first.
    pub fn adopt(&mut self, connection: ConnectionId, frame: Bytes, now: Time) {
        let mut link = Link::new(None, now);
        self.metrics.received_bytes += frame.len() as u64;
        link.received.push(frame);
        self.links.insert(connection, link);
        self.heard.push(connection);
    }

    /// Frames of a connection have come.
    pub fn on_frames(&mut self, connection: ConnectionId, frames: Bytes, now: Time) {
        if let Some(link) = self.links.get_mut(&connection) {
            link.last_heard = now;
            self.metrics.received_bytes += frames.len() as u64;
            link.received.push(frames);
            self.heard.push(connection);
        }
    }

    /// The socket has taken bytes.
    pub fn on_sent(&mut self, connection: ConnectionId, bytes: usize) {
        if let Some(link) = self.links.get_mut(&connection) {
            link.sent(bytes);
            self.metrics.sent_bytes += bytes as u64;
        }
    }

    /// A connection is gone. What came before is still heard.
    pub fn on_closed(&mut self, connection: ConnectionId) {
        if self.links.contains_key(&connection) {
            self.gone.push(connection);
        }
    }

    fn forget(&mut self, connection: ConnectionId, now: Time) {
        let Some(mut link) = self.links.remove(&connection) else { return };
        self.dirty.remove(&connection);
        if let Some(place) = link.dialed {
            self.dials.lost(place, now);
        }
        for (_, asked) in link.outstanding.give_up() {
            if let Asked::Propose { proposal } = asked {
                self.events.push(PeerEvent::Proposed { proposal, version: None });
            }
        }
        if let Some(Peer { place, .. }) = link.peer
            && self.up.get(&place) == Some(&connection)
        {
            self.up.remove(&place);
            if !self.is_up(place.node) {
                self.events.push(PeerEvent::Down { node: place.node });
            }
        }
    }

    /// Whether any connection to a node is there.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.up.keys().any(|place| place.node == node)
    }

    /// What the data directories of the nodes that can be talked to have drawn.
    pub fn seen_directories(&self) -> impl Iterator<Item = (NodeId, u128)> {
        let peers = self.up.values().filter_map(|connection| self.links.get(connection)?.peer);
        peers.map(|peer| (peer.place.node, peer.directory))
    }

    /// Shards of other nodes that can be talked to.
    pub fn count_up(&self) -> usize {
        self.up.len()
    }

    /// Requests to them that wait for an answer.
    pub fn count_unanswered(&self) -> usize {
        self.links.values().map(|link| link.outstanding.len()).sum()
    }

    /// When something last came from a node, over the connections that this shard has to it now.
    pub fn last_heard(&self, node: NodeId) -> Option<Time> {
        let places = self.up.iter().filter(|(place, _)| place.node == node);
        let links = places.filter_map(|(_, connection)| self.links.get(connection));
        links.map(|link| link.last_heard).max()
    }

    /// Looks at all that has come, dials who is to be dialed, and gives up on who is silent.
    pub fn advance(&mut self, now: Time, outputs: &mut VecDeque<Output<P>>) {
        for connection in std::mem::take(&mut self.heard) {
            let Some(link) = self.links.get_mut(&connection) else { continue };
            for frames in std::mem::take(&mut link.received) {
                if let Err(problem) = self.take_frames(connection, &frames, now) {
                    self.note(format!(
                        "closed the connection to {}: {problem}",
                        self.who(connection)
                    ));
                    self.close(connection, now);
                    break;
                }
            }
        }
        for connection in std::mem::take(&mut self.gone) {
            self.forget(connection, now);
        }
        let given_up = self.links.iter_mut().filter_map(|(connection, link)| {
            let why = link.why_given_up(now)?;
            Some((*connection, why))
        });
        for (connection, why) in given_up.collect::<Vec<_>>() {
            self.note(format!("{} {why}", self.who(connection)));
            self.close(connection, now);
        }
        while let Some(place) = self.dials.due(now) {
            let Some(address) = self.addresses.get(&place.node) else {
                self.dials.lost(place, now);
                continue;
            };
            self.dialed += 1;
            let connection = ConnectionId(DIALED_CONNECTION | self.dialed);
            self.dials.began(place, connection);
            outputs.push_back(Output::Dial {
                connection,
                host: address.host.clone(),
                port: address.port + place.shard.0,
            });
        }
    }

    /// What has been said since the last call.
    pub fn take_events(&mut self) -> Vec<PeerEvent> {
        std::mem::take(&mut self.events)
    }

    /// Gives out what is to be sent, one write for each connection.
    pub fn give_out(&mut self, outputs: &mut VecDeque<Output<P>>) {
        for connection in std::mem::take(&mut self.dirty) {
            let Some(link) = self.links.get_mut(&connection) else { continue };
            let parts = link.take_parts();
            if !parts.is_empty() {
                outputs.push_back(Output::Respond { connection, parts });
            }
        }
        for (connection, parts) in std::mem::take(&mut self.closing) {
            if !parts.is_empty() {
                outputs.push_back(Output::Respond { connection, parts });
            }
            outputs.push_back(Output::CloseConnection { connection });
        }
    }

    /// When to call `advance` again if nothing comes.
    pub fn next_deadline(&self) -> Option<Time> {
        self.dials.next()
    }

    /// Sends a message of a group's Raft, with its entries' pages. Returns whether it left.
    pub fn send_raft(
        &mut self,
        to: NodeId,
        group: GroupId,
        message: impl FnOnce(&mut Vec<u8>),
        pages: Vec<Part<P>>,
    ) -> bool {
        let payload = |out: &mut Vec<u8>| {
            wire::put_raft(group, out);
            message(out);
        };
        let shard = self.shard_of(to, group);
        self.ask(Place { node: to, shard }, Asked::Raft { group }, payload, pages)
    }

    /// Asks the node that leads group 0 for a change of the catalog. Returns whether it left.
    pub fn propose(&mut self, to: NodeId, proposal: u64, command: &[u8]) -> bool {
        let place = Place { node: to, shard: ShardId(0) };
        let request = Request::Propose { command };
        self.ask(place, Asked::Propose { proposal }, |out| request.encode(out), Vec::new())
    }

    /// Asks a member how far its journal reaches. Returns whether that left.
    pub fn ask_where(&mut self, to: NodeId, group: GroupId) -> bool {
        let place = Place { node: to, shard: self.shard_of(to, group) };
        let request = Request::Where { group };
        self.ask(place, Asked::Where { group }, |out| request.encode(out), Vec::new())
    }

    /// Asks a node for an entry of a journal. Returns whether that left.
    pub fn ask_entry(&mut self, to: NodeId, place: JournalPlace) -> bool {
        let JournalPlace { group, at, .. } = place;
        let to = Place { node: to, shard: self.shard_of(to, group) };
        let request = Request::Journal(JournalQuestion::Entry(place));
        self.ask(to, Asked::Entry { group, at }, |out| request.encode(out), Vec::new())
    }

    /// Whether so much was given to a connection and not taken that nothing large goes there now.
    pub fn is_choked(&self, connection: ConnectionId) -> bool {
        self.links.get(&connection).is_none_or(Link::is_choked)
    }

    /// The nodes that can be talked to.
    pub fn nodes_up(&self) -> impl Iterator<Item = NodeId> {
        let nodes: BTreeSet<NodeId> = self.up.keys().map(|place| place.node).collect();
        nodes.into_iter()
    }

    /// Tells all other nodes that this one leads a group.
    pub fn tell_leads(&mut self, group: GroupId, term: Term) {
        let places: Vec<Place> = self.up.keys().copied().collect();
        for place in places {
            self.tell_leads_to(place, group, term);
        }
    }

    /// Tells one of them.
    pub fn tell_leads_to(&mut self, place: Place, group: GroupId, term: Term) {
        let request = Request::Leads { group, term };
        self.ask(place, Asked::Nothing, |out| request.encode(out), Vec::new());
    }

    /// Answers a request.
    pub fn answer(&mut self, to: ReplyTo, payload: impl FnOnce(&mut Vec<u8>)) {
        if let Some(link) = self.links.get_mut(&to.connection) {
            link.answer(to.serial, payload);
            self.dirty.insert(to.connection);
        }
    }

    fn ask(
        &mut self,
        place: Place,
        asked: Asked,
        payload: impl FnOnce(&mut Vec<u8>),
        pages: Vec<Part<P>>,
    ) -> bool {
        let Some(connection) = self.up.get(&place) else { return false };
        let link = self.links.get_mut(connection).expect("what is up is there");
        self.dirty.insert(*connection);
        link.ask(asked, payload, pages)
    }

    /// The places of all that is up.
    pub fn places_of(&self, node: NodeId) -> impl Iterator<Item = Place> {
        self.up.keys().copied().filter(move |place| place.node == node)
    }

    fn shard_of(&self, node: NodeId, group: GroupId) -> ShardId {
        let shards = self.shards.get(&node).copied().unwrap_or(self.hello.shards);
        crate::model::ids::shard_of_group(group, shards)
    }

    fn take_frames(
        &mut self,
        connection: ConnectionId,
        bytes: &Bytes,
        now: Time,
    ) -> Result<(), String> {
        let mut frames = Frames::new(bytes, FRAME_BYTES_MAX);
        while let Some(frame) = frames.cut().map_err(|error| error.to_string())? {
            let Some(link) = self.links.get_mut(&connection) else { return Ok(()) };
            match frame.kind {
                Kind::Request => {
                    link.incoming.check(frame.serial).map_err(|error| error.to_string())?;
                    self.take_request(connection, &frame, bytes, now)?;
                }
                Kind::Answer => {
                    let asked = link.outstanding.answered(frame.serial);
                    let asked = asked.map_err(|error| error.to_string())?;
                    self.take_answer(connection, asked, frame.payload, now)?;
                }
            }
        }
        Ok(())
    }

    fn take_request(
        &mut self,
        connection: ConnectionId,
        frame: &Frame<'_>,
        bytes: &Bytes,
        now: Time,
    ) -> Result<(), String> {
        let request = Request::decode(frame.payload).map_err(|error| error.to_string())?;
        let reply = ReplyTo { connection, serial: frame.serial };
        let request = match request {
            Request::Hello(hello) => {
                self.on_hello(reply, hello, now);
                return Ok(());
            }
            Request::Visit(visit) => {
                self.events.push(PeerEvent::Visit { visit, reply });
                return Ok(());
            }
            request => request,
        };
        let link = self.links.get(&connection);
        let from = link.and_then(|link| link.peer);
        let may_ask = link.is_some_and(|link| link.visits || from.is_some());
        if may_ask && self.take_question(&request, reply, bytes) {
            return Ok(());
        }
        let Some(Peer { place: Place { node: from, .. }, .. }) = from else {
            return Err("it speaks before it says who it is".into());
        };
        match request {
            Request::Hello(_) | Request::Visit(_) => {}
            Request::Journal(_) | Request::Damaged { .. } | Request::Give { .. } => {}
            Request::Members { group } => self.events.push(PeerEvent::AsksMembers { group, reply }),
            Request::Layout => self.events.push(PeerEvent::AsksLayout { reply }),
            Request::Epoch { epoch } => {
                self.answer(reply, |_| {});
                self.heard_epoch(connection, epoch);
            }
            Request::Refuse { why } => self.on_refusal(from, why),
            Request::Raft { group, message } => {
                let message = wire::share(bytes, message);
                self.events.push(PeerEvent::Raft { from, group, message, reply });
            }
            Request::Leads { group, term } => {
                self.answer(reply, |_| {});
                self.events.push(PeerEvent::Leads { node: from, group, term });
            }
            Request::Where { group } => self.events.push(PeerEvent::Where { group, reply }),
            Request::Offer { group, offer } => {
                self.events.push(PeerEvent::Offered { from, group, offer, reply });
            }
            Request::Part { group, head, bytes: part } => {
                let bytes = wire::share(bytes, part);
                self.events.push(PeerEvent::Part { group, head, bytes, reply });
            }
            Request::Standing { group, standing } => {
                self.answer(reply, |_| {});
                let unasked = true;
                self.events.push(PeerEvent::Stands { from, group, standing, unasked });
            }
            Request::Propose { command } => {
                let command = wire::share(bytes, command);
                self.events.push(PeerEvent::Propose { command, reply });
            }
        }
        Ok(())
    }

    /// What tools, and nodes that aren't open, may say as well. Returns whether it was that.
    fn take_question(&mut self, request: &Request<'_>, reply: ReplyTo, bytes: &Bytes) -> bool {
        match *request {
            Request::Journal(question) => self.events.push(PeerEvent::Asked { question, reply }),
            Request::Damaged { group } => self.events.push(PeerEvent::AsksDamaged { group, reply }),
            Request::Give { node, place, entry } => {
                self.answer(reply, |_| {});
                let entry = wire::share(bytes, entry);
                self.events.push(PeerEvent::Given { from: node, place, entry });
            }
            _ => return false,
        }
        true
    }

    fn take_answer(
        &mut self,
        connection: ConnectionId,
        asked: Asked,
        payload: &[u8],
        now: Time,
    ) -> Result<(), String> {
        let link = self.links.get(&connection).expect("it was just looked at");
        let from = link.peer.map(|peer| peer.place.node);
        match (asked, from) {
            (Asked::Raft { group }, Some(from)) => {
                let (term, index) = wire::received(payload).map_err(|error| error.to_string())?;
                self.events.push(PeerEvent::Received { from, group, term, index });
            }
            (Asked::Propose { proposal }, _) => {
                let version = wire::proposed(payload).map_err(|error| error.to_string())?;
                self.events.push(PeerEvent::Proposed { proposal, version });
            }
            (Asked::Hello, _) => {
                let answer = wire::hello_answer(payload).map_err(|error| error.to_string())?;
                self.on_hello_answer(connection, answer, now);
            }
            (Asked::Where { group }, Some(from)) => {
                let standing = Standing::decode(payload).map_err(|error| error.to_string())?;
                let unasked = false;
                self.events.push(PeerEvent::Stands { from, group, standing, unasked });
            }
            (Asked::Members { group }, _) => {
                let members = wire::members(payload).map_err(|error| error.to_string())?;
                if let Some(told) = members {
                    self.heard_epoch(connection, told.epoch);
                    self.events.push(PeerEvent::Members { group, told });
                }
            }
            (Asked::Entry { group, at }, Some(from)) => {
                let bytes = (!payload.is_empty()).then(|| Bytes::copy_from_slice(payload));
                self.events.push(PeerEvent::Entry { from, group, at, bytes });
            }
            (Asked::Layout, _) => {
                let layout = wire::layout(payload).map_err(|error| error.to_string())?;
                self.events.extend(layout.map(|layout| PeerEvent::Layout(Box::new(layout))));
            }
            (Asked::Nothing, _) => {}
            (Asked::Raft { .. } | Asked::Where { .. } | Asked::Entry { .. }, None) => {}
        }
        Ok(())
    }

    fn close(&mut self, connection: ConnectionId, now: Time) {
        // What it is still given is sent before it closes; nothing of it is listened to any more.
        if let Some(link) = self.links.get_mut(&connection) {
            self.closing.push((connection, link.take_parts()));
        }
        self.forget(connection, now);
    }

    /// A node that has dialed won't talk to this one. It dials again and again, and is heard once.
    fn on_refusal(&mut self, from: NodeId, why: String) {
        if self.refused.as_ref() != Some(&why) {
            self.note(format!("node {from} refuses this one: {why}"));
            self.refused = Some(why);
        }
    }

    fn who(&self, connection: ConnectionId) -> String {
        let link = self.links.get(&connection);
        let place = link.and_then(|link| link.peer.map(|peer| peer.place).or(link.dialed));
        match place {
            Some(Place { node, shard }) => format!("node {node}, shard {shard}"),
            None => "somebody who hasn't said who it is".into(),
        }
    }

    fn note(&mut self, line: String) {
        self.events.push(PeerEvent::Note(line));
    }
}
