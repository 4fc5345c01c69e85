//! Takes clients and other nodes: one listening socket for each shard, bound before anything is
//! recovered.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockname, listen,
    setsockopt, socket, sockopt,
};

use crate::runtime::connection::Connection;
use crate::runtime::executor::{let_io_in, sleep};
use crate::runtime::shard_io::ShardIo;
use crate::runtime::socket::{Listener, Stream};

/// Clients that have connected and wait to be taken.
const BACKLOG: i32 = 4096;
/// So many connections beyond --connections-max may say that they are nodes.
const ON_TRIAL_MAX: usize = 64;
/// Clients taken in one go; then others get their turn.
const ACCEPTS_IN_A_ROW: usize = 64;
/// When the system has no descriptor or memory for another client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often, and how far apart, to ask for a port that is in use.
const IN_USE_TRIES: u32 = 10;
const IN_USE_PAUSE: Duration = Duration::from_millis(100);
/// How often to look for a run of free ports when the system may choose.
const PORT_TRIES: usize = 64;

/// Binds one socket for each shard, at ports in a row. Returns them and shard 0's address.
///
/// # Errors
/// A sentence with the address: it is in use, or not of this machine.
pub fn bind_all(address: SocketAddr, shards: u16) -> Result<(Vec<OwnedFd>, SocketAddr)> {
    if address.port() != 0 {
        return bind_row(address, shards);
    }
    let mut last = anyhow!("no port");
    for _ in 0..PORT_TRIES {
        let (_, chosen) = bind_row(address, 1)?;
        match bind_row(chosen, shards) {
            Ok(row) => return Ok(row),
            Err(error) => last = error,
        }
    }
    Err(last.context(format!("found no {shards} free ports in a row")))
}

fn bind_row(address: SocketAddr, shards: u16) -> Result<(Vec<OwnedFd>, SocketAddr)> {
    let mut sockets = Vec::new();
    let mut first = address;
    for shard in 0..shards {
        let mut at = first;
        if shard > 0 {
            let port = first.port().checked_add(shard).context("ports end at 65535")?;
            at.set_port(port);
        }
        let (socket, bound) = bind_patiently(at).map_err(|error| why_not(at, shard, error))?;
        if shard == 0 {
            first = bound;
        }
        sockets.push(socket);
    }
    Ok((sockets, first))
}

fn why_not(at: SocketAddr, shard: u16, error: Errno) -> anyhow::Error {
    match error {
        Errno::EADDRINUSE => anyhow!(
            "can't listen on {at} (shard {shard}): the port is in use. Stop the process that has \
             it, or choose another with --listen"
        ),
        Errno::EADDRNOTAVAIL => anyhow!(
            "can't listen on {at}: this machine doesn't have that address. Choose one that it \
             has with --listen"
        ),
        Errno::EACCES => anyhow!(
            "can't listen on {at}: the port is reserved. Choose one from 1024 on with --listen"
        ),
        error => anyhow!("can't listen on {at}: {error}. Choose another with --listen"),
    }
}

/// Tries again for a second: a killed process's sockets live a moment longer than it, in the ring.
fn bind_patiently(at: SocketAddr) -> nix::Result<(OwnedFd, SocketAddr)> {
    for _ in 0..IN_USE_TRIES {
        match bind_one(at) {
            Err(Errno::EADDRINUSE) => std::thread::sleep(IN_USE_PAUSE),
            done => return done,
        }
    }
    bind_one(at)
}

/// Without SO_REUSEPORT, with which a second broker on the same port would silently get half of
/// the clients.
fn bind_one(at: SocketAddr) -> nix::Result<(OwnedFd, SocketAddr)> {
    let family = if at.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    // Sockets accepted from this one inherit it.
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    let bound: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let port = match (bound.as_sockaddr_in(), bound.as_sockaddr_in6()) {
        (Some(v4), _) => v4.port(),
        (_, Some(v6)) => v6.port(),
        _ => at.port(),
    };
    Ok((fd, SocketAddr::new(at.ip(), port)))
}

/// Takes clients until the shard stops.
pub async fn accept_clients(io: Rc<ShardIo>, socket: OwnedFd) {
    let mut listener = Listener::new(socket);
    let mut in_a_row = 0;
    loop {
        // False: was there at once.
        let mut waited = false;
        let accepted = poll_fn(|context| {
            if io.is_stopping(context.waker()) {
                return Poll::Ready(None);
            }
            let polled = listener.poll_accept(context);
            waited |= polled.is_pending();
            polled.map(Some)
        })
        .await;
        match accepted {
            None => return,
            Some(Ok(client)) => take_client(&io, client),
            Some(Err(error)) => {
                io.complaints.say(|| {
                    format!(
                        "can't take a client: {error}; raise the limit of open files (ulimit -n)"
                    )
                });
                sleep(ACCEPT_PAUSE).await;
            }
        }
        in_a_row = if waited { 0 } else { in_a_row + 1 };
        if in_a_row >= ACCEPTS_IN_A_ROW {
            in_a_row = 0;
            let_io_in().await;
        }
    }
}

fn take_client(io: &Rc<ShardIo>, stream: Stream) {
    let clients = io.clients();
    if clients >= io.connections_max + ON_TRIAL_MAX {
        return io.turned_away();
    }
    // It may be another node, for which there is always room: what it says first will tell.
    let on_trial = clients >= io.connections_max;
    Connection::start(io, io.next_connection(), stream, on_trial);
}
