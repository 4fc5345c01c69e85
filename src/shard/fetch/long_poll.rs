//! Long polls: fetches that found too little wait until a partition they asked for has grown
//! enough, is led by another node, or their time is up.

use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::model::ids::{ConnectionId, GroupId, PartitionKey};
use crate::model::time::Time;
use crate::shard::fetch::behind::Behind;
use crate::shard::fetch::job::Purpose;
use crate::shard::fetch::{Fetches, Parts};

impl<P: Page> Fetches<P> {
    /// Lets a job wait.
    pub(super) fn park(&mut self, id: usize) {
        let job = &mut self.jobs[id];
        job.parked = true;
        for part in &mut job.parts {
            part.reader = None;
            part.lacks = None;
            self.parked_on.entry(part.asked.key).or_default().push(id);
        }
        if let Purpose::Fetch(fetch) = &job.purpose {
            self.deadlines.insert((fetch.deadline, id));
        }
    }

    /// A job begins anew.
    fn unpark(&mut self, id: usize) {
        let job = &mut self.jobs[id];
        job.parked = false;
        (job.at, job.taken, job.lacking) = (0, 0, 0);
        job.behind = Behind::default();
        for part in &job.parts {
            if let Some(parked) = self.parked_on.get_mut(&part.asked.key) {
                parked.retain(|other| *other != id);
                if parked.is_empty() {
                    self.parked_on.remove(&part.asked.key);
                }
            }
        }
        if let Purpose::Fetch(fetch) = &job.purpose {
            self.deadlines.remove(&(fetch.deadline, id));
        }
    }

    /// A partition has grown.
    pub fn on_committed(&mut self, key: PartitionKey, bytes: u32) {
        let Some(parked) = self.parked_on.get(&key) else { return };
        for id in parked {
            if let Purpose::Fetch(fetch) = &mut self.jobs[*id].purpose {
                let waited = fetch.missing > 0;
                fetch.missing -= i64::from(bytes);
                if waited && fetch.missing <= 0 {
                    self.ready.push(*id);
                }
            }
        }
    }

    /// Another node leads a group: who waits here for more of it asks there.
    pub fn on_led_elsewhere(&mut self, group: GroupId) {
        for (_, id) in &self.deadlines {
            let parts = self.jobs[*id].parts.iter_mut();
            let mut moved = parts.filter(|part| part.group == Some(group)).peekable();
            if moved.peek().is_some() {
                self.ready.push(*id);
            }
            moved.for_each(|part| part.error = ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
    }

    /// Goes on with the parked jobs that may have enough, and with those whose time is up.
    pub fn advance(&mut self, now: Time, parts: &mut Parts<'_, P>) {
        let mut ready = std::mem::take(&mut self.ready);
        while let Some((deadline, id)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.unpark(id);
            self.run(id, now, parts);
        }
        for id in ready.drain(..) {
            if self.jobs.get(id).is_some_and(|job| job.parked) {
                self.unpark(id);
                self.run(id, now, parts);
            }
        }
        self.ready = ready;
    }

    /// A client is gone: its long poll, if it has one, is dropped.
    pub fn on_connection_closed(&mut self, connection: ConnectionId) {
        let parked = self
            .deadlines
            .iter()
            .map(|(_, id)| *id)
            .find(|id| self.jobs[*id].ticket.connection == connection);
        if let Some(id) = parked {
            self.unpark(id);
            self.jobs.remove(id);
        }
    }

    /// When the next long poll's time is up.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}
