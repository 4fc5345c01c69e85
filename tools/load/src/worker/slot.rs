//! A client of a worker, with its connection.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::Context;

use super::client::Client;
use crate::net::connection::Connection;
use crate::net::poller::Poller;
use crate::routes::{Routes, Share, connect};
use hutong::cli::client::Endpoint;

/// A client that is to be: what it is, and where it belongs.
pub struct Job {
    pub client: Box<dyn Client>,
    /// Which of the run's topics, and the leaders of that.
    pub topic: usize,
    pub routes: Arc<Routes>,
    pub share: Share,
}

/// See the module.
pub struct Slot {
    pub client: Box<dyn Client>,
    pub topic: usize,
    pub share: Share,
    /// Where it is connected to, or was.
    pub broker: Endpoint,
    pub connection: Option<Connection>,
    pub watched_for_writing: bool,
    /// Cut off: when to ask for another connection.
    pub ask_at: Option<u64>,
    /// When it was asked last.
    pub asked: u64,
}

impl Slot {
    /// Connects.
    ///
    /// # Errors
    /// A sentence: the broker can't be reached, or the system gives no more sockets.
    pub fn open(job: Job, poller: &Poller, token: usize) -> anyhow::Result<Slot> {
        let Job { mut client, topic, routes, share } = job;
        let (broker, partitions) =
            routes.pick(share).context("no partition of the topic has a leader")?;
        let connection = watch(poller, token, connect(&broker)?)
            .with_context(|| format!("can't use a connection to {broker}"))?;
        client.assign(partitions);
        Ok(Slot {
            client,
            topic,
            share,
            broker,
            connection: Some(connection),
            watched_for_writing: false,
            ask_at: None,
            asked: 0,
        })
    }

    /// Goes on over another connection. What was due and never sent goes out there.
    ///
    /// # Errors
    /// The system gives no more sockets.
    pub fn reopen(
        &mut self,
        routes: &Routes,
        stream: TcpStream,
        poller: &Poller,
        token: usize,
    ) -> anyhow::Result<()> {
        let share = routes.pick(self.share);
        let (broker, partitions) = share.expect("the router has connected it to a leader");
        self.connection = Some(watch(poller, token, stream).context("can't use a connection")?);
        self.broker = broker;
        self.client.assign(partitions);
        Ok(())
    }

    /// Sends what is there to be sent.
    ///
    /// # Errors
    /// The connection is over.
    pub fn flush(&mut self, poller: &Poller, token: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let all_left = connection.flush()?;
        if all_left == self.watched_for_writing {
            poller.watch_writing(connection.socket(), token, !all_left)?;
            self.watched_for_writing = !all_left;
        }
        Ok(())
    }
}

fn watch(poller: &Poller, token: usize, stream: TcpStream) -> io::Result<Connection> {
    let connection = Connection::new(stream)?;
    poller.add(connection.socket(), token)?;
    Ok(connection)
}
