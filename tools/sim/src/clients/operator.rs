//! The one who has nodes and groups come and go, as `hutong cluster` does: one question of the peer
//! protocol on a connection of its own, asked of any node.

use hutong::duplex::{Kind, Serial, put};
use hutong::shard::peers::visit::{Change, Visit};

use crate::connection::{Asked, What};
use crate::plan::{MS, SECOND};
use crate::world::World;

/// How long it waits for an answer.
const PATIENCE: u64 = 5 * SECOND;
/// The answer to a connection's first request has that one's number, 0, and a bit that says what
/// it is.
const FIRST_ANSWER: i32 = i32::MIN;

/// The operator.
#[derive(Debug, Default)]
pub struct Operator {
    waiting_since: Option<u64>,
    next_at: u64,
}

impl Operator {
    /// Its connection is gone. Whether the change was made it sees by itself.
    pub fn disconnected(&mut self) {
        self.waiting_since = None;
    }

    /// An answer has come: the change was made, or refused.
    pub fn told(&mut self, world: &mut World) {
        self.waiting_since = None;
        self.next_at = world.now + world.random.around(world.plan.change_every);
    }

    /// Does what is next. Returns when to come back. What was begun is brought to its end after
    /// faults have stopped, too.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn step(
        &mut self,
        world: &mut World,
        connection: &mut Option<u64>,
        number: usize,
    ) -> Result<Option<u64>, String> {
        world.turn_off_forgotten()?;
        let again = Ok(Some(world.random.around(100 * MS)));
        if self.waiting_since.is_some_and(|since| world.now < since + PATIENCE) {
            return again;
        }
        if let Some(id) = connection.take() {
            world.disconnect(id);
            self.waiting_since = None;
        }
        if world.is_loaded() && world.now < self.next_at {
            return again;
        }
        let Some(change) = world.next_change() else { return again };
        let place = world.random_place();
        *connection = world.connect(number, place);
        let Some(id) = *connection else { return again };
        self.waiting_since = Some(world.now);
        if let Change::Add { node, .. } = &change {
            world.prepare(node.0 as usize);
        }
        world.trace.event(world.now, &[21, id], || format!("{place:?} is asked for {change:?}"));
        let mut frame = Vec::new();
        let payload = Visit::Change(change.clone()).encode();
        put(&mut frame, Kind::Request, Serial::default(), &payload);
        let asked = Asked {
            correlation: FIRST_ANSWER,
            version: 0,
            what: What::Change(change),
            sent_at: world.now,
            timeout: None,
            arrived_at: None,
            answer_by: None,
        };
        world.ask_frame(id, asked, frame.into());
        again
    }
}
