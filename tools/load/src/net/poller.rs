//! Waiting for many sockets at once.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// Events taken from the kernel in one call.
const EVENTS_MAX: usize = 1024;
/// Stands for the timer where sockets have their tokens.
const TIMER: u64 = u64::MAX;
/// What is left of a wait when it is no longer worth to sleep: to go to sleep and wake up takes the
/// kernel as long.
const SPIN: Duration = Duration::from_micros(20);
/// Longer waits are epoll's: a millisecond before their end they become short ones.
const COARSE: Duration = Duration::from_millis(2);

/// The sockets of one thread, by the tokens their owner gave them.
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    /// epoll itself counts in milliseconds, and whoever spins through what is left of them keeps
    /// the CPU from the kernel's own work, such as telling that a disk write is done.
    timer: TimerFd,
    /// It was set, and may go off.
    timer_set: bool,
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
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let events = vec![EpollEvent::empty(); EVENTS_MAX];
        Ok(Poller { epoll, events, timer, timer_set: false })
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

    /// Waits until a socket is ready, or for `timeout` less the last [`SPIN`] of it: who waits for
    /// a moment spins through the rest.
    ///
    /// # Errors
    /// None that a caller could do something about.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<impl Iterator<Item = Ready> + '_> {
        let timeout = self.sleep_at_most(timeout)?;
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let sockets = self.events[..count].iter().filter(|event| event.data() != TIMER);
        Ok(sockets.map(|event| {
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

impl Poller {
    /// Sets the timer for short waits; what epoll itself is to wait at most.
    fn sleep_at_most(&mut self, timeout: Duration) -> io::Result<EpollTimeout> {
        let sleep = timeout.saturating_sub(SPIN);
        if !sleep.is_zero() && timeout < COARSE {
            let after = Expiration::OneShot(TimeSpec::from_duration(sleep));
            self.timer.set(after, TimerSetTimeFlags::empty())?;
            self.timer_set = true;
            return Ok(EpollTimeout::NONE);
        }
        if self.timer_set {
            // What has gone off would be told again and again.
            self.timer.unset()?;
            self.timer_set = false;
        }
        let millis = timeout.as_millis().saturating_sub(1);
        Ok(match u16::try_from(millis) {
            _ if timeout < COARSE => EpollTimeout::ZERO,
            Ok(millis) => millis.into(),
            Err(_) => EpollTimeout::MAX,
        })
    }
}

fn interest(token: usize, writing: bool) -> EpollEvent {
    let mut flags = EpollFlags::EPOLLIN;
    flags.set(EpollFlags::EPOLLOUT, writing);
    EpollEvent::new(flags, token as u64)
}
