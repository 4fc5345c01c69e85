//! One non-blocking connection: bytes queued to go out, and frames cut from what comes in.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use hutong::limits::FRAME_BYTES_MAX;

/// What a read asks for at least.
const READ_BYTES_MIN: usize = 16 << 10;
/// What a read asks for at most, unless a frame is larger.
const READ_BYTES_MAX: usize = 512 << 10;
/// Answers may be larger than what a broker takes, by what surrounds the records.
const ANSWER_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// See the module. Memory grows with what is in flight and is kept.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    /// Bytes of `input` that are filled.
    filled: usize,
}

impl Connection {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// The system's, when the socket is gone.
    pub fn new(stream: TcpStream) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, out: Vec::new(), sent: 0, input: Vec::new(), filled: 0 })
    }

    /// The socket, to be watched.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Where requests are put. They leave with the next [`Connection::flush`].
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes that wait to leave.
    pub fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Sends what the kernel takes. True when all has left.
    ///
    /// # Errors
    /// The connection is over.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.move_up();
                    return Ok(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Keeps what is sent from piling up in front of what isn't.
    fn move_up(&mut self) {
        if self.sent > self.out.len() / 2 {
            self.out.copy_within(self.sent.., 0);
            self.out.truncate(self.out.len() - self.sent);
            self.sent = 0;
        }
    }

    /// Reads once what is there. True if there may be more.
    ///
    /// # Errors
    /// The connection is over; `UnexpectedEof` if the broker closed it.
    pub fn read(&mut self) -> io::Result<bool> {
        let want = match next_frame_bytes(&self.input[..self.filled])? {
            Some(frame) => frame.saturating_sub(self.filled),
            None => 0,
        };
        let space = want.max(READ_BYTES_MIN);
        if self.input.len() - self.filled < space {
            self.input.resize(self.filled + space, 0);
        }
        let asked = self.input.len() - self.filled;
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.filled += count;
                if count == asked && self.input.len() < READ_BYTES_MAX {
                    let doubled = self.input.len() * 2;
                    self.input.resize(doubled, 0);
                }
                Ok(count == asked)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Hands out every whole frame that has been read, without its length prefix, and forgets it.
    ///
    /// # Errors
    /// Bytes that can't be a frame; or whatever `take` returns, which ends it.
    pub fn frames(&mut self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut at = 0;
        while let Some(frame) = next_frame_bytes(&self.input[at..self.filled])? {
            if self.filled - at < frame {
                break;
            }
            take(&self.input[at + 4..at + frame])?;
            at += frame;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }
}

/// The size of the frame at the front, prefix included, if so much of it is there.
fn next_frame_bytes(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(prefix) = bytes.first_chunk::<4>() else { return Ok(None) };
    let body = i32::from_be_bytes(*prefix);
    match usize::try_from(body) {
        Ok(body) if body <= ANSWER_BYTES_MAX => Ok(Some(4 + body)),
        _ => Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("it announced an answer of {body} bytes; is it a Kafka broker?"),
        )),
    }
}
