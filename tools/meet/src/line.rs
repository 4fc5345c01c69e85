//! The connection between them: one TCP stream, a buffer for what is said, one for what is heard.
//!
//! Both may speak at any time, so both might come to a point where the other has no room for what
//! they say. If then neither listened, they would stand there for ever. It can't happen, because
//! **each always listens**, whether or not he could send what he has said: [`Side::hear`] can't
//! refuse. What he has to say because of what he heard waits in `out`, and that is bounded by the
//! meetings that are under way. Only what he says of his own accord waits for room. So each one's
//! socket is emptied again and again, the other can send, and something always moves.
//!
//! Neither socket blocks. When nothing could be sent or heard, the thread sleeps in `poll`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Duration;

use hutong::duplex::{FrameError, Frames};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use crate::dialogue::{Side, Who, Wrong};

/// No sentence, and no reason for a refusal, is longer.
pub const PAYLOAD_BYTES_MAX: usize = 256;

/// What one read takes at most.
const HEARD_BYTES: usize = 128 << 10;

/// How long one waits for a word of the other before he gives up.
pub const SILENCE: Duration = Duration::from_secs(10);

/// Why the talk ended before its end.
#[derive(Debug, Error)]
pub enum TalkError {
    /// The other one did what he must not.
    #[error("{who} {wrong}; {progress}")]
    Wrong {
        /// Who did.
        who: Who,
        /// What he did.
        wrong: Wrong,
        /// How far they were.
        progress: String,
    },
    /// The other one sent bytes that are no frames.
    #[error("{who} doesn't speak hutong-meet: {error}; {progress}")]
    NoFrames {
        /// Who did.
        who: Who,
        /// What is wrong with them.
        error: FrameError,
        /// How far they were.
        progress: String,
    },
    /// The connection was closed.
    #[error("{who} went away in the middle of the talk; {progress}")]
    Gone {
        /// Who went.
        who: Who,
        /// How far they were.
        progress: String,
    },
    /// Nothing came for too long.
    #[error("{who} has said nothing for {} s; {progress}", silence.as_secs_f32())]
    Silent {
        /// Who is silent.
        who: Who,
        /// For how long.
        silence: Duration,
        /// How far they were.
        progress: String,
    },
    /// The system would not.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// What the talk took on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Calls that sent something.
    pub writes: u64,
    /// Calls that brought something.
    pub reads: u64,
    /// Times nothing could be done but wait.
    pub waits: u64,
    /// The most bytes that were said and not sent.
    pub unsent_bytes_max: usize,
}

/// One end of the connection.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    silence: Duration,
    /// Received and not cut: the first `heard_bytes`.
    heard: Box<[u8]>,
    heard_bytes: usize,
    /// Said and not sent: from `sent_bytes` on.
    out: Vec<u8>,
    sent_bytes: usize,
    /// The other one takes nothing more. What he has said before can still be heard.
    deaf: bool,
    effort: Effort,
}

impl Line {
    /// A line over a connected stream. `silence` is how long to wait for a word.
    pub fn new(stream: TcpStream, silence: Duration) -> io::Result<Line> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Line {
            stream,
            silence,
            heard: vec![0; HEARD_BYTES].into(),
            heard_bytes: 0,
            out: Vec::with_capacity(HEARD_BYTES),
            sent_bytes: 0,
            deaf: false,
            effort: Effort::default(),
        })
    }

    /// What the talk took so far.
    pub fn effort(&self) -> Effort {
        self.effort
    }

    /// Talks until `side` is done and all he said is sent.
    pub fn talk<S: Side>(&mut self, side: &mut S) -> Result<(), TalkError> {
        loop {
            side.speak(&mut self.out);
            let sent = self.send()?;
            let heard = !side.is_done() && self.listen(side)?;
            if side.is_done() {
                match (self.out.is_empty(), self.deaf) {
                    (true, _) => return Ok(()),
                    // His last words reach nobody.
                    (false, true) => return Err(lost(side)),
                    (false, false) => {}
                }
            }
            if !sent && !heard {
                self.wait(side)?;
            }
        }
    }

    /// Sends what the socket takes. Whether it took something.
    fn send(&mut self) -> io::Result<bool> {
        let unsent_bytes = self.out.len() - self.sent_bytes;
        self.effort.unsent_bytes_max = self.effort.unsent_bytes_max.max(unsent_bytes);
        if unsent_bytes == 0 || self.deaf {
            return Ok(false);
        }
        match self.stream.write(&self.out[self.sent_bytes..]) {
            Ok(bytes) => {
                self.effort.writes += 1;
                self.sent_bytes += bytes;
                if self.sent_bytes == self.out.len() {
                    self.out.clear();
                    self.sent_bytes = 0;
                } else if self.sent_bytes >= self.out.len() / 2 {
                    // Now moving the rest costs less than was sent since the last time.
                    self.out.drain(..self.sent_bytes);
                    self.sent_bytes = 0;
                }
                Ok(true)
            }
            Err(error) if gone(&error) => {
                self.deaf = true;
                Ok(true)
            }
            Err(error) => later(error),
        }
    }

    /// Reads once and hears all frames that are whole. Whether anything came.
    fn listen<S: Side>(&mut self, side: &mut S) -> Result<bool, TalkError> {
        match self.stream.read(&mut self.heard[self.heard_bytes..]) {
            Ok(0) => Err(lost(side)),
            Ok(bytes) => {
                self.effort.reads += 1;
                self.heard_bytes += bytes;
                self.hear(side)?;
                Ok(true)
            }
            Err(error) if gone(&error) => Err(lost(side)),
            Err(error) => Ok(later(error)?),
        }
    }

    fn hear<S: Side>(&mut self, side: &mut S) -> Result<(), TalkError> {
        let mut frames = Frames::new(&self.heard[..self.heard_bytes], PAYLOAD_BYTES_MAX);
        while !side.is_done() {
            match frames.cut() {
                Ok(Some(frame)) => {
                    if let Err(wrong) = side.hear(frame, &mut self.out) {
                        let progress = side.progress();
                        return Err(TalkError::Wrong { who: S::OTHER, wrong, progress });
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let progress = side.progress();
                    return Err(TalkError::NoFrames { who: S::OTHER, error, progress });
                }
            }
        }
        // The beginning of a frame: a few bytes. A whole frame fits into what is free behind it.
        let rest_bytes = frames.rest().len();
        self.heard.copy_within(self.heard_bytes - rest_bytes..self.heard_bytes, 0);
        self.heard_bytes = rest_bytes;
        Ok(())
    }

    /// Sleeps until there is something to hear, or room for what is unsent.
    fn wait<S: Side>(&mut self, side: &S) -> Result<(), TalkError> {
        self.effort.waits += 1;
        let mut events = PollFlags::POLLIN;
        if !self.out.is_empty() && !self.deaf {
            events |= PollFlags::POLLOUT;
        }
        let timeout = PollTimeout::try_from(self.silence).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.stream.as_fd(), events)], timeout) {
            Ok(0) => Err(TalkError::Silent {
                who: S::OTHER,
                silence: self.silence,
                progress: side.progress(),
            }),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(TalkError::Io(error.into())),
        }
    }
}

const _: () = assert!(HEARD_BYTES > 2 * (PAYLOAD_BYTES_MAX + hutong::duplex::HEAD_BYTES));

fn lost<S: Side>(side: &S) -> TalkError {
    TalkError::Gone { who: S::OTHER, progress: side.progress() }
}

/// Whether an error says that the other one has closed the connection.
fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
    )
}

/// Nothing moved, if the error says no more than that.
fn later(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        ErrorKind::WouldBlock => Ok(false),
        // Try again at once.
        ErrorKind::Interrupted => Ok(true),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use hutong::duplex::{Frame, Kind, Serial, put};

    use super::*;

    /// Says so many frames of the largest size as soon as he may, and hears as many.
    struct Talker {
        said: u32,
        heard: u32,
        frames: u32,
    }

    impl Side for Talker {
        const OTHER: Who = Who::Li;

        fn speak(&mut self, out: &mut Vec<u8>) {
            for serial in self.said..self.frames {
                put(out, Kind::Request, Serial::new(serial), &[7; PAYLOAD_BYTES_MAX]);
            }
            self.said = self.frames;
        }

        fn hear(&mut self, frame: Frame<'_>, _: &mut Vec<u8>) -> Result<(), Wrong> {
            assert_eq!((frame.serial.number(), frame.payload.len()), (self.heard, 256));
            self.heard += 1;
            Ok(())
        }

        fn is_done(&self) -> bool {
            self.heard == self.frames
        }

        fn progress(&self) -> String {
            String::new()
        }
    }

    fn lines() -> [Line; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let other = listener.accept().unwrap().0;
        [one, other].map(|stream| Line::new(stream, Duration::from_secs(60)).unwrap())
    }

    /// Each has more to say than all buffers of the system hold.
    #[test]
    fn two_who_both_say_all_at_once_hear_each_other() {
        thread::scope(|scope| {
            for mut line in lines() {
                scope.spawn(move || {
                    let mut side = Talker { said: 0, heard: 0, frames: 200_000 };
                    line.talk(&mut side).unwrap();
                    assert_eq!(side.heard, side.said);
                });
            }
        });
    }

    #[test]
    fn last_words_that_reach_nobody_are_no_end() {
        let [mut line, other] = lines();
        // More than fits, so that he must find out.
        line.out = vec![0; 64 << 20];
        drop(other);
        let mut done = Talker { said: 0, heard: 0, frames: 0 };
        assert!(matches!(line.talk(&mut done), Err(TalkError::Gone { .. })));
    }
}
