//! Entries whose bytes have rotted on this node's disk: found, and fetched again from other nodes.
//!
//! Journals of one group are equal byte for byte, so whatever is damaged here lies whole at the
//! same position of another node. Readers come upon damage (`fetch`, `catch_up`), and `scrub` goes
//! through all journals to find it before they do. `mend` asks the other nodes, one after the
//! other, checks what comes, and has it written again in its place; who waits for it reads again.
//! `questions` answers what others ask. `given` takes what only a node has that isn't open. `look`
//! is how all of them see what lies on the disk.
//!
//! Only what is committed and on this disk is ever mended: nothing else is written there any more,
//! and no leader can have another entry in its place. What comes must follow the entry before it by
//! its checksum, so a node whose journal differs can't change this one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::journal::page::Page;
use crate::model::ids::{GroupId, NodeId, PartitionKey, ReadId, WriteId};
use crate::model::position::{Offset, Position};
use crate::model::time::Time;
use crate::shard::follow::ReplyTo;
use crate::shard::group::Group;
use crate::shard::repair::look::Look;
use crate::shard::repair::questions::Wanted;
use crate::shard::repair::scrub::Scrub;

pub mod at_start;
mod given;
mod look;
mod mend;
pub mod questions;
pub mod scrub;
mod unreadable;

/// Set in the numbers of reads made here, and in no others.
pub const REPAIR_READ: u64 = 1 << 62;

/// How long a node may take to answer before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it is remembered that what was said to be damaged isn't.
const WHOLE_PAUSE: Duration = Duration::from_secs(10);

/// When no node has what is damaged, they are asked again after this; the pause doubles each time,
const PAUSE_MIN: Duration = Duration::from_secs(10);
/// up to this.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// What is damaged on this shard, and what is being done about it.
#[derive(Debug)]
pub struct Repairs {
    /// Whether there are other nodes, who may have what is damaged here.
    has_others: bool,
    /// By where the entry before ends.
    places: BTreeMap<(GroupId, Position), Damage>,
    reads: BTreeMap<ReadId, Reading>,
    next_read: u64,
    /// Chunks of journals that the disk can't read, and whether they are being looked at.
    unreadable: BTreeMap<(GroupId, Position), bool>,
    /// Places that were mended, or of which it is known that they can't be now.
    outcomes: Vec<(GroupId, Position, bool)>,
    /// When something is to be done for a place.
    due: Option<Time>,
    pub scrub: Scrub,
    pub metrics: RepairMetrics,
}

/// What was found and mended since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairMetrics {
    /// Entries that were found to be damaged, or missing.
    pub damaged: u64,
    /// Of those, the ones that are whole again.
    pub repaired: u64,
}

/// A place where an entry should lie and doesn't.
#[derive(Debug)]
struct Damage {
    /// The checksum of the entry before, if it is known.
    previous_crc: Option<u32>,
    state: State,
    /// Nodes that were asked and don't have it.
    asked: Vec<NodeId>,
    /// How often all of them were.
    rounds: u32,
}

#[derive(Debug)]
enum State {
    /// The next node is to be asked.
    New,
    Asked {
        node: NodeId,
        until: Time,
    },
    /// What came is held against what lies there.
    Comparing {
        came: Came,
    },
    /// What was given is held against what lies behind it.
    Proving {
        came: Came,
    },
    Writing {
        write: WriteId,
        position: Position,
        node: NodeId,
    },
    /// What lies there is what another node has: it was mended between the read of who came upon it
    /// and the look at it. Who comes upon it again was misled by something else.
    Whole {
        node: NodeId,
        until: Time,
    },
    /// Nobody has it. Readers get an error until the nodes are asked again.
    Hopeless {
        until: Time,
    },
}

/// An entry that came from another node, and may be the one that is damaged here.
#[derive(Clone, Debug)]
struct Came {
    position: Position,
    bytes: Bytes,
    node: NodeId,
    /// If the node doesn't know that it is committed, it is still to be proven to be what lay here.
    /// If it isn't, the nodes are asked again after this.
    unproven: Option<Time>,
}

/// What a read is for.
#[derive(Debug)]
enum Reading {
    Question {
        look: Look,
        reply: ReplyTo,
        wanted: Wanted,
    },
    Scrub(Look),
    /// Of a chunk that begins at `from`.
    Unreadable {
        look: Look,
        from: Position,
    },
    Compare {
        group: GroupId,
        at: Position,
    },
    /// Of what lies behind the entry that may belong to `at`.
    Behind {
        look: Look,
        at: Position,
    },
}

/// Who came upon damage.
#[derive(Clone, Copy, Debug)]
pub enum FoundBy {
    /// A consumer of a partition, at an offset.
    Consumer {
        offset: Offset,
        key: PartitionKey,
    },
    /// The leader, when it read for a member that lacks entries.
    CatchUp,
    Scrub,
    /// A consumer, from whose chunk the disk could not read it.
    Disk,
}

impl Repairs {
    /// Nothing is known to be damaged. The scrub reads so many bytes of the shard's journals in a
    /// second; with 0 there is none.
    pub fn new(scrub_bytes_per_second: u64, now: Time) -> Repairs {
        Repairs {
            has_others: false,
            places: BTreeMap::new(),
            reads: BTreeMap::new(),
            next_read: 0,
            unreadable: BTreeMap::new(),
            outcomes: Vec::new(),
            due: None,
            scrub: Scrub::new(scrub_bytes_per_second, now),
            metrics: RepairMetrics::default(),
        }
    }

    /// Whether there are other nodes now. When the first joins, it is asked for what was given up
    /// because there was nobody to ask.
    pub fn has_others(&mut self, has_others: bool) {
        if std::mem::replace(&mut self.has_others, has_others) || !has_others {
            return;
        }
        for damage in self.places.values_mut() {
            if matches!(damage.state, State::Hopeless { until: Time::NEVER }) {
                damage.state = State::New;
                self.due = Some(Time(0));
            }
        }
    }

    /// When to do something if nothing happens.
    pub fn next_deadline(&self) -> Option<Time> {
        let scrub = self.scrub.next();
        Some(self.due.map_or(scrub, |due| due.min(scrub))).filter(|at| *at < Time::NEVER)
    }

    fn read_id(&mut self, reading: Reading) -> ReadId {
        self.next_read += 1;
        let read = ReadId(REPAIR_READ | self.next_read);
        self.reads.insert(read, reading);
        read
    }
}

/// The end of what can be looked at and mended: all before it is committed and on this disk.
fn limit<P: Page>(group: &Group<P>) -> Position {
    group.applied().end.min(group.journal.flush_position())
}
