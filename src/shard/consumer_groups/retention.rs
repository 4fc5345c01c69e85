//! Offsets that nobody needs any more.
//!
//! Every ten minutes the leader looks at all offsets it keeps. Those of a group without members
//! go when it has been without for `offsets.retention.minutes`; those of consumers that never
//! were members, and of groups of the new protocol, that long after they were committed, as in
//! Kafka; and so do those of topics that the members of a group no longer read. Those of deleted
//! topics go at once. A group of which nothing is left goes as well.

use std::collections::BTreeMap;
use std::time::Duration;

use super::offsets::Subscribed;
use super::{Coordination, group_of};
use crate::coordinator::classic::State;
use crate::coordinator::modern::embedded::CONSUMER;
use crate::coordinator::{CommittedOffset, Coordinator, Record, StoredGroup};
use crate::journal::page::Page;
use crate::model::ids::{GroupId, PartitionKey};

/// Kafka's `offsets.retention.check.interval.ms`.
const CHECK_INTERVAL: Duration = Duration::from_secs(600);

impl<P: Page> Coordination<'_, P> {
    /// Records the end of what is too old, if it is time to look.
    pub fn retire_offsets(&mut self) {
        if self.now.time < self.state.next_retention {
            return;
        }
        self.state.next_retention = self.now.time + CHECK_INTERVAL;
        let coordinators = self.state.coordinators();
        let records = coordinators.map(|(home, coordinator)| {
            let stored = group_of(self.groups, home).consumer_groups.groups();
            let retire = |(id, stored)| self.retire_group(coordinator, id, stored);
            (home, stored.filter_map(retire).collect())
        });
        for (home, records) in records.collect::<Vec<(GroupId, Vec<Record>)>>() {
            self.with(home, |coordinator, _| {
                records.into_iter().for_each(|record| coordinator.expire_offsets(record));
            });
        }
    }

    fn retire_group(
        &self,
        coordinator: &Coordinator,
        id: &str,
        stored: &StoredGroup,
    ) -> Option<Record> {
        // A group that is only here, or that is doing something right now, can wait.
        let live = coordinator.classic.group(id);
        let modern = coordinator.modern.with_members(id);
        let is_empty = live.is_none() && modern.is_none();
        let read_by = |subscribed: &Subscribed<'_>| {
            self.old(&stored.offsets, |key, offset| {
                let topic = self.catalog.partition(*key);
                let read = topic.is_some_and(|(topic, _)| subscribed.contains(&topic.name));
                !read && self.is_past(offset, offset.committed_at)
            })
        };
        let old = match (live, modern) {
            (_, Some(group)) => read_by(&Subscribed::As(group.state())),
            (None, None) => self.old_of_empty(stored),
            (Some(group), None)
                if group.state == State::Stable && group.protocol_type == CONSUMER =>
            {
                read_by(&Subscribed::of(group))
            }
            (Some(_), None) => return None,
        };
        let over = is_empty && stored.is_unused();
        (over || !old.is_empty())
            .then(|| Record::OffsetsExpired { group: id.to_owned(), offsets: old })
    }

    fn old_of_empty(&self, stored: &StoredGroup) -> Vec<(PartitionKey, i64)> {
        let empty_since = stored.classic().map(|state| state.changed_at);
        self.old(&stored.offsets, |_, offset| {
            // One that was committed since, by an administrator, counts from then.
            let since = empty_since.map_or(offset.committed_at, |at| at.max(offset.committed_at));
            self.is_past(offset, since)
        })
    }

    fn old(
        &self,
        offsets: &BTreeMap<PartitionKey, CommittedOffset>,
        is_old: impl Fn(&PartitionKey, &CommittedOffset) -> bool,
    ) -> Vec<(PartitionKey, i64)> {
        let gone = |key: &PartitionKey| self.catalog.was_deleted(*key);
        let old = offsets.iter().filter(|(key, offset)| gone(key) || is_old(key, offset));
        old.map(|(key, offset)| (*key, offset.committed_at)).collect()
    }

    fn is_past(&self, offset: &CommittedOffset, since: i64) -> bool {
        let minutes = self.catalog.broker_config().consumer_groups.offsets_retention_minutes;
        let until = offset.expires_at.unwrap_or(since.saturating_add(minutes * 60_000));
        self.now.wallclock.0 >= until
    }
}
