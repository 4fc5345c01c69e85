//! What is to happen, in order of time; what is due at the same moment, in order of arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hutong::model::ids::ShardId;

/// Something that is due. `life` counts the processes of a node: what was due for one that is gone
/// doesn't happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A shard takes a turn.
    Turn { node: usize, life: u64, shard: u16 },
    /// The deadline that a shard gave has come.
    Wake { node: usize, life: u64, shard: u16, at: u64 },
    /// A message from one shard to another of the same node arrives.
    Mesh { node: usize, life: u64, from: ShardId, to: ShardId },
    /// An operation of a disk is done.
    Disk { node: usize, operation: u64 },
    /// A node's dial has reached the other one, or nobody.
    Dial { link: u64, since: u64 },
    /// Something reaches one end of a connection between two nodes.
    Parcel { link: u64, to: usize },
    /// Frames of a client reach its node.
    Request { connection: u64 },
    /// Bytes of a node reach a client.
    Response { connection: u64 },
    /// A client does what it does next.
    Client { client: usize },
    /// Some node, or all of them, are killed or told to stop.
    Crash,
    /// This node is killed, for it has just promised something.
    CrashOf { node: usize, life: u64 },
    /// This node was told to stop and takes too long.
    StopTimeout { node: usize, life: u64 },
    /// A node starts.
    Start { node: usize },
    /// A disk stands still.
    Stall,
    /// A disk is full.
    Full,
    /// Operations of a disk fail.
    Fail,
    /// A bit flips on a disk.
    Rot,
    /// A node's disk is lost with all that was on it.
    Wipe,
    /// Somebody sets a wall clock.
    Step,
    /// A node learns that a client is gone.
    HangUp { node: usize, life: u64, shard: u16, connection: u64 },
    /// A node gets no time on its CPUs.
    Pause,
    /// Connections between nodes end, or carry nothing.
    Cut,
    /// Some client loses its connection.
    Disconnect,
    /// Faults stop; what is under way must come to an end.
    Heal,
    /// The end is looked at once more.
    Check,
}

/// Events that are still to come.
#[derive(Debug, Default)]
pub struct Events {
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
}

impl Events {
    /// Adds one.
    pub fn push(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.queue.push(Reverse((at, self.number, event)));
    }

    /// Takes the next one, with its time.
    pub fn pop(&mut self) -> Option<(u64, Event)> {
        self.queue.pop().map(|Reverse((at, _, event))| (at, event))
    }
}
