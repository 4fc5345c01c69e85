//! Whom to dial, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::ids::{ConnectionId, NodeId};
use crate::model::time::Time;
use crate::shard::peers::link::Place;

/// How soon a lost connection is dialed again; the pause doubles with each failure,
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// up to this.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The places that this shard keeps connections to.
#[derive(Debug, Default)]
pub struct Dials {
    places: BTreeMap<Place, Dial>,
}

#[derive(Debug)]
struct Dial {
    state: State,
    failures: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting(Time),
    Dialing(ConnectionId),
    Connected,
}

impl Dials {
    /// Keeps connections to just these places of a node.
    pub fn want(&mut self, node: NodeId, places: &[Place], now: Time) {
        let unwanted = |place: &Place, dial: &Dial| {
            place.node == node && !places.contains(place) && dial.state != State::Connected
        };
        self.places.retain(|place, dial| !unwanted(place, dial));
        for place in places {
            self.places.entry(*place).or_insert(Dial { state: State::Waiting(now), failures: 0 });
        }
    }

    /// Dials nobody but these nodes any more.
    pub fn forget_all_but(&mut self, nodes: &[NodeId]) {
        self.places.retain(|place, _| nodes.contains(&place.node));
    }

    /// A place that is to be dialed now.
    pub fn due(&self, now: Time) -> Option<Place> {
        let is_due = |dial: &Dial| matches!(dial.state, State::Waiting(at) if at <= now);
        self.places.iter().find(|(_, dial)| is_due(dial)).map(|(place, _)| *place)
    }

    /// When the next one is.
    pub fn next(&self) -> Option<Time> {
        let times = self.places.values().filter_map(|dial| match dial.state {
            State::Waiting(at) => Some(at),
            _ => None,
        });
        times.min()
    }

    /// A place is being dialed.
    pub fn began(&mut self, place: Place, connection: ConnectionId) {
        if let Some(dial) = self.places.get_mut(&place) {
            dial.state = State::Dialing(connection);
        }
    }

    /// A connection is there; returns to where.
    pub fn opened(&mut self, connection: ConnectionId) -> Option<Place> {
        let (place, dial) = self.find(connection)?;
        dial.state = State::Connected;
        Some(place)
    }

    /// A connection could not be made; returns to where.
    pub fn failed(&mut self, connection: ConnectionId, now: Time) -> Option<Place> {
        let (place, _) = self.find(connection)?;
        self.lost(place, now);
        Some(place)
    }

    /// A connection is gone, or was refused.
    pub fn lost(&mut self, place: Place, now: Time) {
        if let Some(dial) = self.places.get_mut(&place) {
            let pause = PAUSE_MIN.saturating_mul(1 << dial.failures.min(10)).min(PAUSE_MAX);
            dial.failures += 1;
            dial.state = State::Waiting(now + pause);
        }
    }

    /// The other side is who it should be.
    pub fn agreed(&mut self, place: Place) {
        if let Some(dial) = self.places.get_mut(&place) {
            dial.failures = 0;
        }
    }

    /// Failures of a place since it could be reached.
    pub fn failures(&self, place: Place) -> u32 {
        self.places.get(&place).map_or(0, |dial| dial.failures)
    }

    fn find(&mut self, connection: ConnectionId) -> Option<(Place, &mut Dial)> {
        let mut dials = self.places.iter_mut();
        let found = dials.find(|(_, dial)| dial.state == State::Dialing(connection))?;
        Some((*found.0, found.1))
    }
}
