//! The lane where they meet: both in one process, a thread each, or each in a process of his own.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::cpu::{self, Place};
use crate::dialogue::{Spoken, Who};
use crate::hello::Plan;
use crate::li::Li;
use crate::line::{Effort, Line, SILENCE, TalkError};
use crate::zhang::Zhang;

/// How one of them is to take part.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The CPU to run on, if any in particular.
    pub cpu: Option<usize>,
    /// Whether to remember every sentence.
    pub transcript: bool,
    /// How long to wait for a word of the other.
    pub silence: Duration,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner { cpu: None, transcript: false, silence: SILENCE }
    }
}

/// What one of them has to tell when all is over.
#[derive(Clone, Debug)]
pub struct Account {
    /// Who tells it.
    pub who: Who,
    /// What was agreed, and done.
    pub plan: Plan,
    /// By his clock; the crate's page says what it covers.
    pub elapsed: Duration,
    /// Where he ran.
    pub place: Place,
    /// What it took.
    pub effort: Effort,
    /// Every sentence, if he was to remember them.
    pub transcript: Vec<Spoken>,
}

/// Why they did not meet as planned.
#[derive(Debug, Error)]
pub enum MeetError {
    /// Li can't wait there.
    #[error("can't wait at {0}: {1}. Choose another port, or 0 to let the system choose one.")]
    Wait(SocketAddr, io::Error),
    /// Zhang can't get there.
    #[error("can't reach {0}: {1}. Is there a hutong-meet --wait?")]
    Visit(SocketAddr, io::Error),
    /// It ended before its end.
    #[error(transparent)]
    Talk(#[from] TalkError),
    /// Li turned Zhang away.
    #[error("turned the visitor away: {0}")]
    TurnedAway(String),
    /// The system would not.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

/// Both in this process: Zhang on a thread of his own, Li on another, over loopback.
pub fn both(plan: Plan, zhang: Manner, li: Manner) -> Result<[Account; 2], MeetError> {
    let (zhangs, lis) = connect()?;
    thread::scope(|scope| {
        let zhang = scope.spawn(move || be_zhang(zhangs, plan, zhang));
        let li = scope.spawn(move || be_li(lis, Some(plan.meets), li));
        let zhang = zhang.join().expect("a thread that panics ends the process");
        let li = li.join().expect("a thread that panics ends the process");
        match (zhang, li) {
            (Ok(zhang), Ok(li)) => Ok([zhang, li]),
            // Who found the fault hangs up, so the other one only sees that.
            (Err(MeetError::Talk(TalkError::Gone { .. })), Err(error)) => Err(error),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    })
}

/// Both ends of a connection over loopback.
fn connect() -> Result<(TcpStream, TcpStream), MeetError> {
    let (listener, address) = listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let failed = |error| MeetError::Visit(address, error);
    let zhangs = TcpStream::connect(address).map_err(failed)?;
    loop {
        let (lis, from) = listener.accept().map_err(failed)?;
        // Another program might have found the port.
        if from == zhangs.local_addr().map_err(failed)? {
            return Ok((zhangs, lis));
        }
    }
}

/// A place where Li can wait, and its address.
pub fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), MeetError> {
    let failed = |error| MeetError::Wait(address, error);
    let listener = TcpListener::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Li's part: waits for a visitor and meets him, `meets` times or as often as the visitor likes.
pub fn wait(
    listener: &TcpListener,
    meets: Option<u64>,
    manner: Manner,
) -> Result<Account, MeetError> {
    let accepted = listener.accept();
    let (stream, _) = accepted.map_err(|error| MeetError::System("can't take a visitor", error))?;
    be_li(stream, meets, manner)
}

fn be_li(stream: TcpStream, meets: Option<u64>, manner: Manner) -> Result<Account, MeetError> {
    pin(manner)?;
    let mut line = Line::new(stream, manner.silence).map_err(TalkError::Io)?;
    let mut li = Li::new(meets, manner.transcript);
    line.talk(&mut li)?;
    if let Some(why) = li.refused() {
        return Err(MeetError::TurnedAway(why.to_owned()));
    }
    Ok(Account {
        who: Who::Li,
        plan: li.plan().expect("who has met has agreed to"),
        elapsed: li.elapsed(),
        place: place(manner)?,
        effort: line.effort(),
        transcript: li.transcript().to_vec(),
    })
}

/// Zhang's part: goes to where Li waits and meets him as planned.
pub fn visit(address: SocketAddr, plan: Plan, manner: Manner) -> Result<Account, MeetError> {
    let stream = TcpStream::connect_timeout(&address, manner.silence)
        .map_err(|error| MeetError::Visit(address, error))?;
    be_zhang(stream, plan, manner)
}

fn be_zhang(stream: TcpStream, plan: Plan, manner: Manner) -> Result<Account, MeetError> {
    pin(manner)?;
    let mut line = Line::new(stream, manner.silence).map_err(TalkError::Io)?;
    let mut zhang = Zhang::new(plan, manner.transcript);
    line.talk(&mut zhang)?;
    Ok(Account {
        who: Who::Zhang,
        plan,
        elapsed: zhang.elapsed(),
        place: place(manner)?,
        effort: line.effort(),
        transcript: zhang.transcript().to_vec(),
    })
}

fn pin(manner: Manner) -> Result<(), MeetError> {
    cpu::pin(manner.cpu).map_err(|error| MeetError::System("can't pin to the CPU", error))
}

fn place(manner: Manner) -> Result<Place, MeetError> {
    cpu::place(manner.cpu).map_err(|error| MeetError::System("can't ask for the CPU", error))
}
