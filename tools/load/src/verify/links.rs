//! The connections of one thread: made, lost and made again while the thread goes on.
//!
//! Nothing here waits for a broker: connecting is left to a thread of its own each time, because a
//! broker behind a cut network lets it hang for seconds, and others must be served meanwhile.

use std::io;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use hutong::cli::client::Endpoint;

use crate::net::connection::Connection;
use crate::net::poller::{Poller, Ready};
use crate::routes::connect;

/// The pause after a first failure.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// See the module. A link is named by the number that [`Links::to`] gives.
pub struct Links {
    poller: Poller,
    links: Vec<Link>,
    ready: Vec<Ready>,
}

struct Link {
    at: Endpoint,
    state: State,
    pause: Duration,
}

enum State {
    Down { until: Instant },
    Dialing(Receiver<Option<TcpStream>>),
    Up { connection: Connection, watched_for_writing: bool },
}

impl Links {
    /// No links yet.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> anyhow::Result<Links> {
        let poller = Poller::new().context("can't watch sockets")?;
        Ok(Links { poller, links: Vec::new(), ready: Vec::new() })
    }

    /// The link to a broker. Asking for one is what makes it.
    pub fn to(&mut self, at: &Endpoint) -> usize {
        if let Some(number) = self.links.iter().position(|link| link.at == *at) {
            return number;
        }
        let state = State::Down { until: Instant::now() };
        self.links.push(Link { at: at.clone(), state, pause: PAUSE_MIN });
        self.links.len() - 1
    }

    /// How many links there are, up or down.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// The connection, if there is one. Otherwise it is being made.
    pub fn connection(&mut self, number: usize, now: Instant) -> Option<&mut Connection> {
        let link = &mut self.links[number];
        match &link.state {
            State::Down { until } if now >= *until => link.state = dial(&link.at, now),
            State::Dialing(dialed) => match dialed.try_recv() {
                Ok(Some(stream)) => {
                    link.state = match watch(&self.poller, number, stream) {
                        Ok(connection) => State::Up { connection, watched_for_writing: false },
                        Err(_) => link.down(now),
                    }
                }
                Ok(None) | Err(TryRecvError::Disconnected) => link.state = link.down(now),
                Err(TryRecvError::Empty) => {}
            },
            _ => {}
        }
        match &mut link.state {
            State::Up { connection, .. } => Some(connection),
            _ => None,
        }
    }

    /// Drops the connection.
    pub fn cut(&mut self, number: usize, now: Instant) {
        let link = &mut self.links[number];
        link.state = link.down(now);
    }

    /// Sends what is queued, waits for up to `timeout`, and hands out what has come: the link's
    /// number and a frame. Returns the links that broke meanwhile.
    ///
    /// # Errors
    /// The system can't wait for sockets.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut take: impl FnMut(usize, &[u8]) -> io::Result<()>,
    ) -> anyhow::Result<Vec<usize>> {
        let mut broken = Vec::new();
        for number in 0..self.links.len() {
            if self.flush(number).is_err() {
                broken.push(number);
            }
        }
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        ready.extend(self.poller.wait(timeout).context("can't wait for sockets")?);
        for Ready { token, .. } in ready.iter().filter(|ready| ready.readable) {
            let link = &mut self.links[*token];
            let State::Up { connection, .. } = &mut link.state else { continue };
            let result = connection.read().and_then(|_| {
                connection.frames(|frame| {
                    link.pause = PAUSE_MIN;
                    take(*token, frame)
                })
            });
            if result.is_err() && !broken.contains(token) {
                broken.push(*token);
            }
        }
        self.ready = ready;
        let now = Instant::now();
        broken.iter().for_each(|&number| self.cut(number, now));
        Ok(broken)
    }

    fn flush(&mut self, number: usize) -> io::Result<()> {
        let State::Up { connection, watched_for_writing } = &mut self.links[number].state else {
            return Ok(());
        };
        let all_left = connection.flush()?;
        if all_left == *watched_for_writing {
            self.poller.watch_writing(connection.socket(), number, !all_left)?;
            *watched_for_writing = !all_left;
        }
        Ok(())
    }
}

impl Link {
    fn down(&mut self, now: Instant) -> State {
        let until = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        State::Down { until }
    }
}

fn dial(at: &Endpoint, now: Instant) -> State {
    let (dialed, result) = channel();
    let at = at.clone();
    let dialer = thread::Builder::new().name("dialer".into()).spawn(move || {
        let stream = connect(&at).ok().filter(|stream| !is_to_itself(stream));
        // Whoever asked may be gone.
        let _ = dialed.send(stream);
    });
    match dialer {
        Ok(_) => State::Dialing(result),
        Err(_) => State::Down { until: now + PAUSE_MAX },
    }
}

/// While a broker on this machine is down, the kernel may give a connection to its port that very
/// port as its own: then it is connected to itself, and keeps the broker from coming back.
fn is_to_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(here), Ok(there)) if here == there)
}

fn watch(poller: &Poller, number: usize, stream: TcpStream) -> io::Result<Connection> {
    let connection = Connection::new(stream)?;
    poller.add(connection.socket(), number)?;
    Ok(connection)
}
