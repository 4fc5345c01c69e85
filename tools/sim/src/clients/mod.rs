//! The load: clients that ask, wait, and ask again when their connection is gone.

pub mod admin;
pub mod auditor;
pub mod consumer;
pub mod group_requests;
pub mod member;
pub mod offset_auditor;
pub mod operator;
pub mod producer;

use bytes::Bytes;
use hutong::model::ids::ConnectionId;
use hutong::shard::input::Input;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Message};

use crate::clients::admin::Admin;
use crate::clients::auditor::Auditor;
use crate::clients::consumer::Consumer;
use crate::clients::member::Member;
use crate::clients::offset_auditor::OffsetAuditor;
use crate::clients::operator::Operator;
use crate::clients::producer::Producer;
use crate::connection::{Asked, Connection, Reply, What};
use crate::events::Event;
use crate::host::Place;
use crate::plan::MS;
use crate::random::Random;
use crate::wire;
use crate::world::World;

/// One client. It has one connection at a time.
#[derive(Debug)]
pub struct Client {
    pub number: usize,
    pub connection: Option<u64>,
    pub kind: Kind,
}

/// What a client does.
#[derive(Debug)]
pub enum Kind {
    Producer(Producer),
    Consumer(Consumer),
    Admin(Admin),
    Operator(Operator),
    Member(Member),
    Auditor(Auditor),
    OffsetAuditor(OffsetAuditor),
    /// Sends rubbish.
    Vandal,
}

impl Kind {
    /// A producer.
    pub fn producer(number: u32, random: &mut Random) -> Kind {
        Kind::Producer(Producer::new(number, random))
    }

    /// A consumer.
    pub fn consumer(random: &mut Random) -> Kind {
        Kind::Consumer(Consumer::new(random))
    }

    /// A member of a consumer group.
    pub fn member(group: u32, number: u32, random: &mut Random) -> Kind {
        Kind::Member(Member::new(group, number, random))
    }

    /// A member of a consumer group whose coordinator assigns.
    pub fn modern(group: u32, number: u32, random: &mut Random) -> Kind {
        Kind::Member(Member::modern(group, number, random))
    }

    /// A member of a consumer group that is switched from one protocol to the other and back.
    pub fn mixed(group: u32, number: u32, keeps: bool, random: &mut Random) -> Kind {
        Kind::Member(Member::mixed(group, number, keeps, random))
    }

    /// One that commits for a group without members.
    pub fn solo(number: u32, random: &mut Random) -> Kind {
        Kind::Member(Member::solo(number, random))
    }

    /// The one that makes topics.
    pub fn admin() -> Kind {
        Kind::Admin(Admin::default())
    }

    /// The one who has nodes and groups come and go.
    pub fn operator() -> Kind {
        Kind::Operator(Operator::default())
    }

    /// One that sends rubbish.
    pub fn vandal() -> Kind {
        Kind::Vandal
    }
}

impl Client {
    /// Its connection is gone, and with it the answers it waited for.
    pub fn disconnected(&mut self) {
        self.connection = None;
        match &mut self.kind {
            Kind::Producer(producer) => producer.disconnected(),
            Kind::Consumer(consumer) => consumer.disconnected(),
            Kind::Admin(admin) => admin.disconnected(),
            Kind::Operator(operator) => operator.disconnected(),
            Kind::Member(member) => member.disconnected(),
            Kind::Auditor(auditor) => auditor.disconnected(),
            Kind::OffsetAuditor(auditor) => auditor.disconnected(),
            Kind::Vandal => {}
        }
    }
}

impl World {
    pub(crate) fn step_client(&mut self, number: usize) -> Result<(), String> {
        self.check_patience()?;
        let Some(mut client) = self.clients[number].take() else { return Ok(()) };
        if let Some(id) = client.connection {
            self.check_waiting(id)?;
        }
        let again = match &mut client.kind {
            Kind::Producer(producer) => producer.step(self, &mut client.connection, number),
            Kind::Consumer(consumer) => consumer.step(self, &mut client.connection, number),
            Kind::Admin(admin) => admin.step(self, &mut client.connection, number),
            Kind::Operator(operator) => operator.step(self, &mut client.connection, number)?,
            Kind::Member(member) => member.step(self, &mut client.connection, number),
            Kind::Auditor(auditor) => auditor.step(self, &mut client.connection, number)?,
            Kind::OffsetAuditor(auditor) => auditor.step(self, &mut client.connection, number),
            Kind::Vandal => self.step_vandal(&mut client.connection, number),
        };
        self.clients[number] = Some(client);
        if let Some(after) = again {
            self.events.push(self.now + after, Event::Client { client: number });
        }
        Ok(())
    }

    pub(crate) fn tell_client(&mut self, number: usize, reply: Reply) -> Result<(), String> {
        let Some(mut client) = self.clients[number].take() else { return Ok(()) };
        match &mut client.kind {
            Kind::Producer(producer) => producer.told(self, reply),
            Kind::Consumer(consumer) => consumer.told(self, reply),
            Kind::Admin(admin) => admin.told(),
            Kind::Operator(operator) => operator.told(self),
            Kind::Member(member) => member.told(self, reply),
            Kind::Auditor(auditor) => auditor.told(self, reply)?,
            Kind::OffsetAuditor(auditor) => auditor.told(reply),
            Kind::Vandal => {}
        }
        self.clients[number] = Some(client);
        Ok(())
    }

    /// Connects a client to a shard that accepts, if it does. In a cluster a shard accepts before
    /// it can answer.
    pub(crate) fn connect(&mut self, number: usize, place: Place) -> Option<u64> {
        let early = self.is_cluster() && self.random.chance(20);
        let process = self.hosts[place.node].node.as_ref();
        let shard = process.and_then(|node| node.shards.get(usize::from(place.shard)));
        let accepts = shard.is_some_and(|shard| shard.ready || early);
        if !accepts || !self.hosts[place.node].is_up() {
            self.topics.stale |= self.is_cluster();
            return None;
        }
        let id = self.next_connection;
        self.next_connection += 1;
        self.connections.insert(id, Connection::new(number, place));
        self.input(
            place,
            Input::ConnectionOpened { connection: ConnectionId(id), host: String::new() },
        );
        Some(id)
    }

    /// Sends a request.
    pub(crate) fn ask<R: Encodable + HeaderVersion + Message>(
        &mut self,
        id: u64,
        (key, version): (i16, i16),
        what: What,
        timeout: Option<u64>,
        body: &R,
    ) {
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        let frame = wire::request(key, version, correlation, body);
        self.report.requests += 1;
        self.trace.event(self.now, &[20, id, correlation as u64], || {
            format!("connection {id} asks {correlation}: {what:.150?}")
        });
        let asked = Asked {
            correlation,
            version,
            what,
            sent_at: self.now,
            timeout,
            arrived_at: None,
            answer_by: None,
        };
        self.ask_frame(id, asked, frame);
    }

    /// Sends a request that is in its frame already.
    pub(crate) fn ask_frame(&mut self, id: u64, asked: Asked, frame: Bytes) {
        let silent = matches!(asked.what, What::Produce { acks: 0, .. });
        let correlation = asked.correlation;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.may_be_closed |= silent;
        if !silent {
            connection.awaiting.push_back(asked);
        }
        self.send(id, correlation, frame);
    }

    fn send(&mut self, id: u64, correlation: i32, frame: Bytes) {
        let delay = self.random.around(MS / 10);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.to_node.push_back((correlation, frame));
        connection.last_request_at = connection.last_request_at.max(self.now + delay);
        self.events.push(connection.last_request_at, Event::Request { connection: id });
    }

    /// Frames reach the node, one or several at once, unless it doesn't read.
    pub(crate) fn deliver_request(&mut self, id: u64) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.paused || connection.closing {
            return;
        }
        let mut frames = Vec::new();
        // A pause leaves several behind one event.
        let count = if connection.paused_at > 0 { usize::MAX } else { 1 };
        for _ in 0..count.min(connection.to_node.len()) {
            let Some((correlation, frame)) = connection.to_node.pop_front() else { break };
            frames.extend_from_slice(&frame);
            let asked = connection.awaiting.iter_mut().rev().find(|a| a.correlation == correlation);
            if let Some(asked) = asked {
                asked.arrived_at = Some(now);
                if let Some(timeout) = asked.timeout {
                    connection.last_answer_by = connection.last_answer_by.max(now + timeout);
                    asked.answer_by = Some(connection.last_answer_by);
                }
            }
        }
        let place = connection.place;
        if !frames.is_empty() {
            let connection = ConnectionId(id);
            self.input(place, Input::Frames { connection, frames: frames.into() });
        }
    }

    fn step_vandal(&mut self, connection: &mut Option<u64>, number: usize) -> Option<u64> {
        if !self.is_loaded() {
            return None;
        }
        let place = self.random_place();
        if connection.is_none() {
            *connection = self.connect(number, place);
        }
        if let Some(id) = *connection {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.vandal = true;
            }
            let length = self.random.between(1, 300);
            let mut frame = (length as i32).to_be_bytes().to_vec();
            let key = self.random.below(80) as u8;
            let version = self.random.below(14) as u8;
            let rubbish = (4..length).map(|_| self.random.next() as u8);
            frame.extend([0, key, 0, version].into_iter().chain(rubbish).take(length as usize));
            frame.resize(4 + length as usize, 0);
            self.send(id, 0, frame.into());
        }
        Some(self.random.around(300 * MS))
    }
}
