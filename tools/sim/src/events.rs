//! What is to happen, in order of time; what is due at the same moment, in order of arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hutong::model::ids::ShardId;

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A shard takes a turn.
    Turn { life: u64, shard: u16 },
    /// The deadline that a shard gave has come.
    Wake { life: u64, shard: u16, at: u64 },
    /// A message from one shard to another arrives.
    Mesh { life: u64, from: ShardId, to: ShardId },
    /// An operation of the disk is done.
    Disk { operation: u64 },
    /// Frames of a client reach the node.
    Request { connection: u64 },
    /// Bytes of the node reach a client.
    Response { connection: u64 },
    /// A client does what it does next.
    Client { client: usize },
    /// The node is killed, or told to stop.
    Crash,
    /// The node starts.
    Start,
    /// The disk stands still.
    Stall,
    /// The disk is full.
    Full,
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
