//! What a shard answers that isn't open yet, as its own journals are to be mended first: what
//! others need that wait for the same. Else nodes that have all lost something would wait for each
//! other.
//!
//! It tells no more than who it is, and what lies in its files at a place that another node names;
//! whoever asks sees for itself whether that is what it has lost. Everybody else is hung up on, and
//! comes again: nothing is served here.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::duplex::{self, Frames, Kind};
use crate::limits::{JOURNAL_QUESTIONS_MAX, SMALL_FRAME_BYTES_MAX};
use crate::runtime::segment_source::DirSource;
use crate::shard::ShardConfig;
use crate::shard::peers::handshake::{own_hello, refusal_of_visitor};
use crate::shard::peers::repair_wire::{JournalQuestion, NoSums, NotHeld, put_held, put_sums};
use crate::shard::peers::wire::{Hello, Request, VISITOR, put_hello_answer};
use crate::shard::repair::at_start::held;

/// How long one who has connected may say nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often to look whether the shard goes on.
const LOOK_PAUSE_MS: u16 = 100;

/// Answers, as long as it lives.
pub struct Answers {
    teller: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What all threads know.
struct Shared {
    hello: Hello,
    dir: PathBuf,
    segment_bytes: u64,
    is_over: AtomicBool,
    connections: AtomicUsize,
}

impl Answers {
    /// Begins to answer whoever comes to the shard's socket.
    pub fn begin(config: &ShardConfig, dir: &Path, socket: &OwnedFd) -> Answers {
        let shared = Arc::new(Shared {
            hello: own_hello(config),
            dir: dir.to_path_buf(),
            segment_bytes: config.segment_bytes,
            is_over: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        });
        let teller = socket.try_clone().and_then(|socket| {
            let (listener, shared) = (TcpListener::from(socket), shared.clone());
            let name = format!("mend-{}", config.shard);
            std::thread::Builder::new().name(name).spawn(move || accept(&listener, &shared))
        });
        if let Err(error) = &teller {
            tracing::warn!("can't answer other nodes that are damaged as well: {error}");
        }
        Answers { teller: teller.ok(), shared }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // From here on the socket is the shard's alone.
        if let Some(teller) = self.teller.take() {
            let _ = teller.join();
        }
    }
}

/// The socket doesn't block: it is the shard's.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.is_over.load(Ordering::Relaxed) {
        let mut waits = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waits, PollTimeout::from(LOOK_PAUSE_MS)) != Ok(1) {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else {
            // Gone again, or there is no descriptor for it now.
            std::thread::sleep(Duration::from_millis(LOOK_PAUSE_MS.into()));
            continue;
        };
        if shared.connections.load(Ordering::Relaxed) >= JOURNAL_QUESTIONS_MAX {
            continue;
        }
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let of_thread = shared.clone();
        let begun = std::thread::Builder::new().name("mend-answers".into()).spawn(move || {
            // However it ends, whoever is there comes again.
            let _ = answer_all(stream, &of_thread);
            of_thread.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if begun.is_err() {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Answers one who has connected, question by question.
fn answer_all(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut source = DirSource::new(&shared.dir);
    let mut is_welcome = false;
    loop {
        let received = read_frame(&mut stream)?;
        let frame = Frames::new(&received, SMALL_FRAME_BYTES_MAX).cut()?;
        let frame = frame.filter(|frame| frame.kind == Kind::Request).context("no request")?;
        let mut payload = Vec::new();
        match Request::decode(frame.payload)? {
            Request::Hello(hello) if hello.node == VISITOR => {
                let answer = match refusal_of_visitor(&shared.hello, &hello) {
                    Some(why) => Err(why),
                    None => Ok(shared.hello.clone()),
                };
                is_welcome = answer.is_ok();
                put_hello_answer(&answer, &mut payload);
            }
            Request::Journal(question) if is_welcome => match question {
                // What is committed isn't known before the group is open, and it leads nobody.
                JournalQuestion::Entry(_) | JournalQuestion::Led(..) => {}
                JournalQuestion::Sums(_) => put_sums(Err(NoSums::Busy), &mut payload),
                JournalQuestion::Held(place) => {
                    let found = held(&mut source, shared.segment_bytes, place);
                    let found = found.as_ref().map(|(_, bytes)| &bytes[..]);
                    put_held(found.ok_or(NotHeld::Nothing), &mut payload);
                }
            },
            // Who waits as well has no use for what is given: it asks for what it needs.
            Request::Damaged { .. } | Request::Give { .. } if is_welcome => {}
            _ => bail!("nothing else is answered here"),
        }
        if shared.is_over.load(Ordering::Relaxed) {
            bail!("the shard goes on");
        }
        let mut answer = Vec::new();
        duplex::put(&mut answer, Kind::Answer, frame.serial, &payload);
        stream.write_all(&answer)?;
    }
}

/// The next frame, length included.
fn read_frame(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let bytes = u32::from_be_bytes(length) as usize;
    if bytes > SMALL_FRAME_BYTES_MAX {
        bail!("{bytes} bytes are no question");
    }
    let mut received = length.to_vec();
    received.resize(length.len() + bytes, 0);
    stream.read_exact(&mut received[length.len()..])?;
    Ok(received)
}
