//! The journals of another node that runs, as it tells of them over the peer protocol. Waits for
//! each answer: for tools, and for a shard that can't begin without.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::model::ids::{GroupId, NodeId, ShardId, shard_of_group};
use crate::model::position::Term;
use crate::runtime::node_connection::NodeConnection;
use crate::shard::peers::repair_wire::{
    self, JournalPlace, JournalQuestion, NoSums, NotHeld, Sums,
};
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
    connections: BTreeMap<ShardId, NodeConnection>,
}

impl JournalClient {
    /// Connects to any shard of a node, which must be of the cluster with this id unless it is
    /// empty.
    ///
    /// # Errors
    /// A sentence that names the address.
    pub fn connect(host: &str, port: u16, cluster_id: &str) -> Result<JournalClient> {
        let mut connection = NodeConnection::open(host, port, PATIENCE)?;
        let address = connection.address().to_owned();
        let hello = say_hello(&mut connection, cluster_id)?;
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
            let answer = ask(connection, &question)?;
            match repair_wire::sums(&answer).with_context(|| format!("{address} says nonsense"))? {
                Ok(sums) => return Ok(Some(sums)),
                Err(NoSums::NotHere) => return Ok(None),
                Err(NoSums::Busy) => std::thread::sleep(BUSY_PAUSE),
            }
        }
        bail!("{} has had too much to do to answer: try again later", self.address)
    }

    /// The entry that follows a place, byte for byte, and is known to be committed; or any that
    /// follows, if the node leads the group in this term or a later one. `None` if there is none.
    ///
    /// # Errors
    /// A sentence, if it can't be asked.
    pub fn led(&mut self, place: JournalPlace, term: Term) -> Result<Option<Vec<u8>>> {
        let question = Request::Journal(JournalQuestion::Led(place, term));
        let answer = ask(self.connection(place.group)?, &question)?;
        Ok(Some(answer).filter(|answer| !answer.is_empty()))
    }

    /// The entry that follows a place, whether it is known to be committed or not.
    ///
    /// # Errors
    /// A sentence, if it can't be asked.
    pub fn held(&mut self, place: JournalPlace) -> Result<Result<Vec<u8>, NotHeld>> {
        let address = self.address.clone();
        let question = Request::Journal(JournalQuestion::Held(place));
        let answer = ask(self.connection(place.group)?, &question)?;
        repair_wire::held(&answer).with_context(|| format!("{address} says nonsense"))
    }

    /// Where entries of a group are damaged there that no node has which runs.
    ///
    /// # Errors
    /// A sentence, if it can't be asked.
    pub fn damaged(&mut self, group: GroupId) -> Result<Vec<JournalPlace>> {
        let address = self.address.clone();
        let answer = ask(self.connection(group)?, &Request::Damaged { group })?;
        repair_wire::damaged(&answer).with_context(|| format!("{address} says nonsense"))
    }

    /// Gives it the entry that follows such a place on `node`, committed or not.
    ///
    /// # Errors
    /// A sentence, if it can't be given.
    pub fn give(&mut self, node: NodeId, place: JournalPlace, entry: &[u8]) -> Result<()> {
        ask(self.connection(place.group)?, &Request::Give { node, place, entry })?;
        Ok(())
    }

    fn connection(&mut self, group: GroupId) -> Result<&mut NodeConnection> {
        let shard = shard_of_group(group, self.hello.shards);
        if !self.connections.contains_key(&shard) {
            let port = self.port + shard.0;
            let mut connection = NodeConnection::open(&self.host, port, PATIENCE)?;
            say_hello(&mut connection, &self.hello.cluster_id)?;
            self.connections.insert(shard, connection);
        }
        Ok(self.connections.get_mut(&shard).expect("it was just put there"))
    }
}

fn say_hello(connection: &mut NodeConnection, cluster_id: &str) -> Result<Hello> {
    let address = connection.address().to_owned();
    let hello = Request::Hello(Hello::of_visitor(cluster_id));
    let answer = ask(connection, &hello).with_context(|| {
        format!("{address} doesn't answer as a node does: is it one of this release?")
    })?;
    let answer = hello_answer(&answer).with_context(|| format!("{address} says nonsense"))?;
    answer.map_err(|why| anyhow!("{address} refuses: {why}"))
}

fn ask(connection: &mut NodeConnection, request: &Request<'_>) -> Result<Vec<u8>> {
    let mut payload = Vec::new();
    request.encode(&mut payload);
    connection.ask(&payload)
}
