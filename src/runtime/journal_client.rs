//! The journals of another node that runs, as it tells of them over the peer protocol. Waits for
//! each answer: for tools, and for a shard that can't begin without.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::duplex::{self, Frames, Kind, Outstanding};
use crate::limits::FRAME_BYTES_MAX;
use crate::model::ids::{GroupId, ShardId, shard_of_group};
use crate::shard::peers::repair_wire::{self, JournalPlace, JournalQuestion, NoSums, Sums};
use crate::shard::peers::wire::{Hello, Request, hello_answer};

/// How long to wait for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// When a node says that it has too much to do, it is asked again after this,
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// so often.
const BUSY_TRIES: u32 = 100;

/// A node, with a connection to each of its shards that was asked something.
pub struct JournalClient {
    address: String,
    host: String,
    /// Where its shard 0 listens.
    port: u16,
    hello: Hello,
    connections: BTreeMap<ShardId, Connection>,
}

struct Connection {
    stream: TcpStream,
    outstanding: Outstanding<()>,
}

impl JournalClient {
    /// Connects to any shard of a node, which must be of the cluster with this id unless it is
    /// empty.
    ///
    /// # Errors
    /// A sentence that names the address.
    pub fn connect(host: &str, port: u16, cluster_id: &str) -> Result<JournalClient> {
        let address = format!("{host}:{port}");
        let mut connection = Connection::open(&address, host, port)?;
        let hello = connection.say_hello(&address, cluster_id)?;
        let shard = hello.shard;
        let first = port.checked_sub(shard.0).with_context(|| {
            format!("{address} says that it is shard {shard}, which can't be on that port")
        })?;
        let connections = BTreeMap::from([(shard, connection)]);
        let host = host.to_owned();
        Ok(JournalClient { address, host, port: first, hello, connections })
    }

    /// Where it is, as it was given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Who is there.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whether positions there mean what they mean here.
    ///
    /// # Errors
    /// A sentence, if they don't.
    pub fn check_shape(&self, segment_bytes: u64) -> Result<()> {
        match self.hello.segment_bytes == segment_bytes {
            true => Ok(()),
            false => bail!(
                "{} has segments of {} bytes, and here they have {segment_bytes}: the two were not \
                 made for one cluster",
                self.address,
                self.hello.segment_bytes
            ),
        }
    }

    /// The checksums of entries from a place on; `None` if the node has no replica of the group.
    ///
    /// # Errors
    /// A sentence, if it can't be asked.
    pub fn sums(&mut self, place: JournalPlace) -> Result<Option<Sums>> {
        for _ in 0..BUSY_TRIES {
            let address = self.address.clone();
            let connection = self.connection(place.group)?;
            let question = Request::Journal(JournalQuestion::Sums(place));
            let answer = connection.ask(&address, &question)?;
            match repair_wire::sums(&answer).with_context(|| format!("{address} says nonsense"))? {
                Ok(sums) => return Ok(Some(sums)),
                Err(NoSums::NotHere) => return Ok(None),
                Err(NoSums::Busy) => std::thread::sleep(BUSY_PAUSE),
            }
        }
        bail!("{} has had too much to do to answer: try again later", self.address)
    }

    /// The entry that follows a place, byte for byte; `None` if the node doesn't have it.
    ///
    /// # Errors
    /// A sentence, if it can't be asked.
    pub fn entry(&mut self, place: JournalPlace) -> Result<Option<Vec<u8>>> {
        let address = self.address.clone();
        let question = Request::Journal(JournalQuestion::Entry(place));
        let answer = self.connection(place.group)?.ask(&address, &question)?;
        Ok(Some(answer).filter(|answer| !answer.is_empty()))
    }

    fn connection(&mut self, group: GroupId) -> Result<&mut Connection> {
        let shard = shard_of_group(group, self.hello.shards);
        if !self.connections.contains_key(&shard) {
            let port = self.port + shard.0;
            let address = format!("{}:{port}", self.host);
            let mut connection = Connection::open(&address, &self.host, port)?;
            connection.say_hello(&address, &self.hello.cluster_id)?;
            self.connections.insert(shard, connection);
        }
        Ok(self.connections.get_mut(&shard).expect("it was just put there"))
    }
}

impl Connection {
    fn open(address: &str, host: &str, port: u16) -> Result<Connection> {
        let unreachable = || format!("can't reach {address}: does a node run there?");
        let places = (host, port).to_socket_addrs().with_context(unreachable)?;
        let mut problem = anyhow!("the host has no address");
        for place in places {
            match TcpStream::connect_timeout(&place, PATIENCE) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).with_context(unreachable)?;
                    stream.set_write_timeout(Some(PATIENCE)).with_context(unreachable)?;
                    stream.set_nodelay(true).with_context(unreachable)?;
                    return Ok(Connection { stream, outstanding: Outstanding::new(1) });
                }
                Err(error) => problem = error.into(),
            }
        }
        Err(problem.context(unreachable()))
    }

    fn say_hello(&mut self, address: &str, cluster_id: &str) -> Result<Hello> {
        let hello = Request::Hello(Hello::of_visitor(cluster_id));
        let answer = self.ask(address, &hello).with_context(|| {
            format!("{address} doesn't answer as a node does: is it one of this release?")
        })?;
        let answer = hello_answer(&answer).with_context(|| format!("{address} says nonsense"))?;
        answer.map_err(|why| anyhow!("{address} refuses: {why}"))
    }

    fn ask(&mut self, address: &str, request: &Request<'_>) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        request.encode(&mut payload);
        let serial = self.outstanding.ask(()).context("one question at a time")?;
        let mut frame = Vec::new();
        duplex::put(&mut frame, Kind::Request, serial, &payload);
        let lost = || format!("lost the connection to {address}");
        self.stream.write_all(&frame).with_context(lost)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).with_context(lost)?;
        let bytes = u32::from_be_bytes(length) as usize;
        if bytes > FRAME_BYTES_MAX {
            bail!("{address} announces a frame of {bytes} bytes: it is no node of this release");
        }
        let mut received = length.to_vec();
        received.resize(length.len() + bytes, 0);
        self.stream.read_exact(&mut received[length.len()..]).with_context(lost)?;
        let nonsense = || format!("{address} says nonsense");
        let answer = Frames::new(&received, FRAME_BYTES_MAX).cut().with_context(nonsense)?;
        let answer = answer.filter(|frame| frame.kind == Kind::Answer).with_context(nonsense)?;
        self.outstanding.answered(answer.serial).with_context(nonsense)?;
        Ok(answer.payload.to_vec())
    }
}
