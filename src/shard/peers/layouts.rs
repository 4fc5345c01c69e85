//! By which layout other nodes go. The catalog brings a layout to those who hold group 0; who was
//! taken out of it, was away meanwhile, or has just been started, hears from others that there is a
//! newer one, and asks for it.

use crate::model::ids::ConnectionId;
use crate::shard::peers::Peers;
use crate::shard::peers::link::{Asked, Link, Place};
use crate::shard::peers::wire::Request;

impl<P> Peers<P> {
    /// Tells by which layout this node goes, to whom that is news, and asks one of those that go by
    /// a newer one. Only nodes of the cluster get so far as to be believed.
    pub fn compare_layouts(&mut self) {
        let own = self.epoch;
        let places: Vec<Place> = self.up.keys().copied().collect();
        let mut newest = None;
        for place in places {
            let Some(link) = self.up.get(&place).and_then(|it| self.links.get(it)) else {
                continue;
            };
            newest = newest.max((link.epoch > own).then_some((link.epoch, place)));
            if link.told_epoch < own {
                let told = Request::Epoch { epoch: own };
                if self.ask(place, Asked::Nothing, |out| told.encode(out), Vec::new()) {
                    self.link_to(place).told_epoch = own;
                }
            }
        }
        // Once for each time that it was said: who says so and has none is not asked for ever.
        if let Some((_, place)) = newest
            && self.ask(place, Asked::Layout, |out| Request::Layout.encode(out), Vec::new())
        {
            self.link_to(place).epoch = 0;
        }
    }

    pub(super) fn heard_epoch(&mut self, connection: ConnectionId, epoch: u64) {
        if let Some(link) = self.links.get_mut(&connection) {
            link.epoch = epoch;
        }
    }

    fn link_to(&mut self, place: Place) -> &mut Link<P> {
        let link = self.up.get(&place).and_then(|connection| self.links.get_mut(connection));
        link.expect("something was just sent there")
    }
}
