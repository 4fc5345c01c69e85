//! Waiting for many sockets at once.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Events taken from the kernel in one call.
const EVENTS_MAX: usize = 1024;

/// The sockets of one thread, by the tokens their owner gave them.
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    pub token: usize,
    /// There are bytes, an end or an error to be read.
    pub readable: bool,
    pub writable: bool,
}

impl Poller {
    /// A poller that watches nothing yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Poller> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Poller { epoll, events: vec![EpollEvent::empty(); EVENTS_MAX] })
    }

    /// Watches a socket for reading. Dropping the socket ends it.
    ///
    /// # Errors
    /// The system's: no memory, or the socket is watched already.
    pub fn add(&self, socket: impl AsFd, token: usize) -> io::Result<()> {
        Ok(self.epoll.add(socket, interest(token, false))?)
    }

    /// Watches a socket for writing as well, or no longer.
    ///
    /// # Errors
    /// The socket isn't watched.
    pub fn watch_writing(&self, socket: impl AsFd, token: usize, on: bool) -> io::Result<()> {
        Ok(self.epoll.modify(socket, &mut interest(token, on))?)
    }

    /// Waits until a socket is ready, or for `timeout` in full milliseconds, rounded down: who
    /// waits for a moment spins through the rest of it.
    ///
    /// # Errors
    /// None that a caller could do something about.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<impl Iterator<Item = Ready> + '_> {
        let timeout = EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::MAX);
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(self.events[..count].iter().map(|event| {
            let flags = event.events();
            let broken = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
            Ready {
                token: event.data() as usize,
                readable: broken || flags.contains(EpollFlags::EPOLLIN),
                writable: flags.contains(EpollFlags::EPOLLOUT),
            }
        }))
    }
}

fn interest(token: usize, writing: bool) -> EpollEvent {
    let mut flags = EpollFlags::EPOLLIN;
    flags.set(EpollFlags::EPOLLOUT, writing);
    EpollEvent::new(flags, token as u64)
}
