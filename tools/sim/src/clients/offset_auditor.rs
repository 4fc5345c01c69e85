//! Asks what every consumer group has committed, when nobody commits any more.

use std::collections::{BTreeMap, VecDeque};

use crate::clients::group_requests;
use crate::connection::{PartitionId, Reply};
use crate::host::Place;
use crate::plan::MS;
use crate::world::World;

/// An auditor of offsets.
#[derive(Debug)]
pub struct OffsetAuditor {
    todo: VecDeque<(String, Vec<PartitionId>)>,
    coordinator: Option<Place>,
    connected_to: Option<Place>,
    waiting: bool,
}

impl OffsetAuditor {
    /// One that asks for these, by group.
    pub fn new(committed: BTreeMap<String, Vec<PartitionId>>) -> OffsetAuditor {
        let todo = committed.into_iter().collect();
        OffsetAuditor { todo, coordinator: None, connected_to: None, waiting: false }
    }

    /// Whether everything was looked at.
    pub fn is_done(&self) -> bool {
        self.todo.is_empty()
    }

    /// Its connection is gone.
    pub fn disconnected(&mut self) {
        self.waiting = false;
        self.connected_to = None;
        self.coordinator = None;
    }

    /// Does what is next. Returns when to come back.
    pub fn step(
        &mut self,
        world: &mut World,
        connection: &mut Option<u64>,
        number: usize,
    ) -> Option<u64> {
        let again = Some(20 * MS);
        if self.waiting {
            return again;
        }
        let (group, partitions) = self.todo.front()?;
        let place = self.coordinator.unwrap_or_else(|| world.random_place());
        if self.connected_to != Some(place)
            && let Some(id) = connection.take()
        {
            world.disconnect(id);
        }
        if connection.is_none() {
            *connection = world.connect(number, place);
            self.connected_to = connection.map(|_| place);
        }
        let Some(id) = *connection else {
            self.coordinator = None;
            return again;
        };
        self.waiting = true;
        match self.coordinator {
            None => group_requests::find(world, id, group),
            Some(_) => group_requests::fetch_offsets(world, id, group, partitions),
        }
        again
    }

    /// An answer has come. The answers to what it is after are checked where they are read.
    pub fn told(&mut self, reply: Reply) {
        self.waiting = false;
        match reply {
            Reply::Coordinator(place) => self.coordinator = place,
            Reply::Told { code: 0 } => {
                self.todo.pop_front();
                self.coordinator = None;
            }
            _ => self.coordinator = None,
        }
    }
}
