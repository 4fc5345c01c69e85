//! Sockets that tasks wait for. What is there is read and written by system calls of its own; only
//! to wait, the ring is asked.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{POLLIN, POLLOUT};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, accept4, connect, getsockopt,
    recv, sendmsg, socket, sockopt,
};

use crate::runtime::executor::{self, Hears, Op, Timer};

/// One direction of a socket.
#[derive(Default)]
struct Direction {
    waiting: Option<Op<()>>,
    /// There is nothing to be had without waiting.
    drained: bool,
    /// How whoever waits is told.
    hears: Hears,
}

impl Direction {
    /// Tries `act` once it may succeed, until it doesn't say that it would have to wait.
    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        socket: &impl AsRawFd,
        events: i16,
        mut act: impl FnMut() -> nix::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            if self.drained && self.waiting.is_none() {
                self.waiting = Some(executor::ready_as(self.hears, socket.as_raw_fd(), events));
            }
            if let Some(waiting) = &mut self.waiting {
                let (seen, ()) = ready!(Future::poll(Pin::new(waiting), context));
                self.waiting = None;
                self.drained = false;
                seen?;
            }
            match act() {
                Err(Errno::EAGAIN) => self.drained = true,
                Err(Errno::EINTR) => {}
                done => return Poll::Ready(done.map_err(io::Error::from)),
            }
        }
    }
}

/// A connection.
pub struct Stream {
    socket: TcpStream,
    reading: Direction,
    writing: Direction,
}

impl Stream {
    /// Of a connected socket, which is made non-blocking.
    fn new(socket: OwnedFd) -> Stream {
        let socket = TcpStream::from(socket);
        Stream { socket, reading: Direction::default(), writing: Direction::default() }
    }

    /// Connects, giving it so long.
    ///
    /// # Errors
    /// The system's, or that it took too long.
    pub async fn connect(address: SocketAddr, patience: Duration) -> io::Result<Stream> {
        let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, SockType::Stream, flags, None)?;
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) => {}
            Err(Errno::EINPROGRESS) => {
                let answered = async {
                    executor::ready(socket.as_raw_fd(), POLLOUT).await.0?;
                    Ok(())
                };
                let too_late = async {
                    Timer::after(patience).await;
                    Err(io::Error::from(io::ErrorKind::TimedOut))
                };
                futures_lite::future::or(answered, too_late).await?;
                match getsockopt(&socket, sockopt::SocketError)? {
                    0 => {}
                    error => return Err(io::Error::from_raw_os_error(error)),
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Stream::new(socket))
    }

    /// The socket itself.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// From the next time on that there is nothing to be read, what comes is heard of like this.
    pub fn hear_reads(&mut self, hears: Hears) {
        self.reading.hears = hears;
    }

    /// Reads what is there. Zero bytes are the end.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.socket;
        let read = ready!(self.reading.poll(context, socket, POLLIN, || {
            recv(socket.as_raw_fd(), into, MsgFlags::MSG_DONTWAIT)
        }))?;
        // It took all there was: to ask for more would be in vain.
        self.reading.drained = read > 0 && read < into.len();
        Poll::Ready(Ok(read))
    }

    /// Writes as much as the socket takes.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.socket;
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        self.writing.poll(context, socket, POLLOUT, || {
            sendmsg::<()>(socket.as_raw_fd(), pieces, &[], flags, None)
        })
    }
}

/// A socket that clients connect to.
pub struct Listener {
    socket: OwnedFd,
    coming: Direction,
}

impl Listener {
    /// Of a socket that listens, and that doesn't block.
    pub fn new(socket: OwnedFd) -> Listener {
        Listener { socket, coming: Direction::default() }
    }

    /// Takes the next client.
    pub fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let socket = &self.socket;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = ready!(self.coming.poll(context, socket, POLLIN, || {
            match accept4(socket.as_raw_fd(), flags) {
                // It was gone again before it was taken.
                Err(Errno::ECONNABORTED) => Err(Errno::EINTR),
                accepted => accepted,
            }
        }))?;
        // SAFETY: the kernel has just given us this descriptor.
        Poll::Ready(Ok(Stream::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }
}
