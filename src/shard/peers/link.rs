//! One connection to a shard of another node, from its first byte to its last.

use std::time::Duration;

use bytes::Bytes;

use crate::duplex::{HEAD_BYTES, Incoming, Kind, Outstanding, Serial, head};
use crate::limits::{PEER_REQUESTS_MAX, PEER_UNSENT_BYTES_MAX};
use crate::model::ids::{GroupId, NodeId, ShardId};
use crate::model::position::Position;
use crate::model::time::Time;
use crate::shard::output::Part;

/// A connection is given up over which nothing came for so long, though something was asked, or
/// over which nothing could be asked for so long, as an answer is missing.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What was asked, for when the answer comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Hello,
    Raft {
        group: GroupId,
    },
    /// Nothing: something was told.
    Nothing,
    Layout,
    Where {
        group: GroupId,
    },
    Members {
        group: GroupId,
    },
    /// The entry of a journal that follows what ends at a position.
    Entry {
        group: GroupId,
        at: Position,
    },
    /// With the number of what waits for it.
    Propose {
        proposal: u64,
    },
}

/// A shard of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub node: NodeId,
    pub shard: ShardId,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub place: Place,
    /// See [`Hello`](super::wire::Hello).
    pub incarnation: u64,
    pub directory: u128,
}

/// A connection.
#[derive(Debug)]
pub struct Link<P> {
    /// Whom it was dialed to reach; nobody if the other side dialed.
    pub dialed: Option<Place>,
    /// Who is there, once it has said so.
    pub peer: Option<Peer>,
    /// Of the layout that the other side said it goes by, as long as that wasn't asked for.
    pub epoch: u64,
    /// The last one that it was told of this side.
    pub told_epoch: u64,
    /// A tool is there, which may ask about journals.
    pub visits: bool,
    pub outstanding: Outstanding<Asked>,
    pub incoming: Incoming,
    /// Frames that have come and not been looked at.
    pub received: Vec<Bytes>,
    pub last_heard: Time,
    /// When it is to be closed, if its node is of the cluster no more.
    pub leaves_at: Option<Time>,
    /// Since when nothing more can be asked, as an answer is missing.
    full_since: Option<Time>,
    /// What leaves at the end of the turn: parts, and the small things behind them.
    parts: Vec<Part<P>>,
    tail: Vec<u8>,
    unsent_bytes: usize,
}

impl<P> Link<P> {
    /// A connection that was just made.
    pub fn new(dialed: Option<Place>, now: Time) -> Link<P> {
        Link {
            dialed,
            peer: None,
            epoch: 0,
            told_epoch: 0,
            visits: false,
            outstanding: Outstanding::new(PEER_REQUESTS_MAX),
            incoming: Incoming::default(),
            received: Vec::new(),
            last_heard: now,
            leaves_at: None,
            full_since: None,
            parts: Vec::new(),
            tail: Vec::new(),
            unsent_bytes: 0,
        }
    }

    /// Sends a request: `payload` appends the bytes, `pages` go behind them as they are. Returns
    /// whether there was room for it.
    pub fn ask(
        &mut self,
        asked: Asked,
        payload: impl FnOnce(&mut Vec<u8>),
        pages: Vec<Part<P>>,
    ) -> bool {
        if self.is_choked() {
            return false;
        }
        let Some(serial) = self.outstanding.ask(asked) else { return false };
        self.put(Kind::Request, serial, payload, pages);
        true
    }

    /// Why it is to be closed, if it is: the end of a sentence about who is there.
    pub fn why_given_up(&mut self, now: Time) -> Option<String> {
        match self.outstanding.is_full() {
            true => _ = self.full_since.get_or_insert(now),
            false => self.full_since = None,
        }
        if self.leaves_at.is_some_and(|at| at <= now) {
            return Some("isn't of this cluster any more".into());
        }
        if !self.outstanding.is_empty() && now.since(self.last_heard) > SILENCE_MAX {
            return Some(format!("has been silent for {SILENCE_MAX:?}"));
        }
        let is_full = self.full_since.is_some_and(|since| now.since(since) > SILENCE_MAX);
        is_full.then(|| {
            format!(
                "has not answered one of the last {PEER_REQUESTS_MAX} requests: it is connected to \
                 anew"
            )
        })
    }

    /// Whether the socket is so far behind that nothing more is sent for now.
    pub fn is_choked(&self) -> bool {
        self.unsent_bytes > PEER_UNSENT_BYTES_MAX
    }

    /// Answers a request.
    pub fn answer(&mut self, serial: Serial, payload: impl FnOnce(&mut Vec<u8>)) {
        self.put(Kind::Answer, serial, payload, Vec::new());
    }

    fn put(
        &mut self,
        kind: Kind,
        serial: Serial,
        payload: impl FnOnce(&mut Vec<u8>),
        pages: Vec<Part<P>>,
    ) {
        let at = self.tail.len();
        self.tail.extend([0; HEAD_BYTES]);
        payload(&mut self.tail);
        let page_bytes: usize = pages.iter().map(Part::len).sum();
        let payload_bytes = self.tail.len() - at - HEAD_BYTES + page_bytes;
        self.tail[at..at + HEAD_BYTES].copy_from_slice(&head(kind, serial, payload_bytes));
        self.unsent_bytes += HEAD_BYTES + payload_bytes;
        if !pages.is_empty() {
            self.settle();
            self.parts.extend(pages);
        }
    }

    fn settle(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push(Part::Bytes(std::mem::take(&mut self.tail).into()));
        }
    }

    /// All that is to be sent now.
    pub fn take_parts(&mut self) -> Vec<Part<P>> {
        self.settle();
        std::mem::take(&mut self.parts)
    }

    /// The socket has taken bytes.
    pub fn sent(&mut self, bytes: usize) {
        self.unsent_bytes = self.unsent_bytes.saturating_sub(bytes);
    }
}
