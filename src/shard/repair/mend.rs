//! From damage to an entry that is whole again.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{
    Came, Damage, FoundBy, PATIENCE, PAUSE_MAX, PAUSE_MIN, Reading, Repairs, State, WHOLE_PAUSE,
    limit,
};
use crate::journal::format::Entry;
use crate::journal::page::Page;
use crate::limits::{DAMAGED_PLACES_MAX, REPAIRS_IN_FLIGHT_MAX};
use crate::model::ids::{GroupId, NodeId, ReadId, WriteId};
use crate::model::position::Position;
use crate::model::time::{Now, Time};
use crate::shard::Shard;
use crate::shard::group::Group;
use crate::shard::output::{LogLevel, Output};
use crate::shard::peers::repair_wire::JournalPlace;

impl Repairs {
    /// Somebody needs the entry that follows the one which ends at `at`, and there is no whole one.
    /// Returns whether it is worth waiting for: then the fetches are told what became of it.
    pub fn damaged<P: Page>(
        &mut self,
        group: &Group<P>,
        at: Position,
        previous_crc: Option<u32>,
        found_by: FoundBy,
        outputs: &mut VecDeque<Output<P>>,
    ) -> bool {
        let at = group.journal.entry_start(at);
        if let Some(damage) = self.places.get_mut(&(group.id, at)) {
            if let State::Whole { node, until } = damage.state {
                // It was looked at lately: waiting would not end.
                damage.state = State::Hopeless { until };
                self.metrics.damaged += 1;
                let line = format!(
                    "group {}: the entry at position {at} is as node {node} has it, so it isn't \
                     damage of the disk that keeps readers from what they want; compare the nodes \
                     with 'hutong journal verify --against'",
                    group.id
                );
                outputs.push_back(Output::Log { level: LogLevel::Error, line });
                return false;
            }
            if damage.previous_crc.is_none() && previous_crc.is_some() {
                // More is known of it now, and so it may be found.
                damage.previous_crc = previous_crc;
                if matches!(damage.state, State::Hopeless { until } if until < Time::NEVER) {
                    *damage = Damage::new(previous_crc, State::New);
                    self.due = Some(Time(0));
                }
            }
            return !matches!(damage.state, State::Hopeless { .. });
        }
        if self.places.len() >= DAMAGED_PLACES_MAX {
            return false;
        }
        self.metrics.damaged += 1;
        let is_mendable = self.has_others && at < limit(group);
        outputs.push_back(Output::Log {
            level: LogLevel::Error,
            line: told(group, at, found_by, is_mendable),
        });
        let state = match is_mendable {
            true => State::New,
            false => State::Hopeless { until: Time::NEVER },
        };
        self.places.insert((group.id, at), Damage::new(previous_crc, state));
        if is_mendable {
            self.due = Some(Time(0));
        }
        is_mendable
    }

    /// The journal of a group was given up: what was damaged is gone.
    pub fn forget(&mut self, group: GroupId) {
        let gone: Vec<_> = self.places.keys().copied().filter(|(of, _)| *of == group).collect();
        self.unreadable.retain(|(of, _), _| *of != group);
        for (group, at) in gone {
            self.places.remove(&(group, at));
            self.end(group, at, true);
        }
    }

    pub(super) fn end(&mut self, group: GroupId, at: Position, mended: bool) {
        self.outcomes.push((group, at, mended));
        self.due = Some(Time(0));
    }

    /// Nobody has it now.
    fn give_up(&mut self, group: GroupId, at: Position, now: Time) {
        let Some(damage) = self.places.get_mut(&(group, at)) else { return };
        let pause = PAUSE_MIN.saturating_mul(1 << damage.rounds.min(10)).min(PAUSE_MAX);
        damage.rounds += 1;
        damage.asked.clear();
        damage.state = State::Hopeless { until: now + pause };
        self.end(group, at, false);
    }

    /// Of each group, the places for which something is under way.
    pub(super) fn under_way(&self) -> BTreeMap<GroupId, usize> {
        let mut counts = BTreeMap::new();
        for ((group, _), damage) in &self.places {
            if !matches!(damage.state, State::New | State::Whole { .. } | State::Hopeless { .. }) {
                *counts.entry(*group).or_default() += 1;
            }
        }
        counts
    }

    fn next_due(&self) -> Option<Time> {
        if !self.outcomes.is_empty() {
            return Some(Time(0));
        }
        let under_way = self.under_way();
        let has_room = |group| under_way.get(group).is_none_or(|out| *out < REPAIRS_IN_FLIGHT_MAX);
        let times = self.places.iter().filter_map(|((group, _), damage)| match damage.state {
            State::New => has_room(group).then_some(Time(0)),
            State::Asked { until, .. } | State::Whole { until, .. } | State::Hopeless { until } => {
                Some(until)
            }
            State::Comparing { .. } | State::Proving { .. } | State::Writing { .. } => None,
        });
        times.min()
    }
}

impl Damage {
    fn new(previous_crc: Option<u32>, state: State) -> Damage {
        Damage { previous_crc, state, asked: Vec::new(), rounds: 0 }
    }
}

/// The line for the log when damage is found.
fn told<P: Page>(group: &Group<P>, at: Position, found_by: FoundBy, is_mendable: bool) -> String {
    let (id, segment) = (group.id, group.journal.locate(at).0);
    let by = match found_by {
        FoundBy::Consumer { offset, key } => {
            format!("the first is at offset {offset} of partition key {key}")
        }
        FoundBy::CatchUp => "a member that is behind needs it".to_string(),
        FoundBy::Scrub => "the scrub has found it".to_string(),
        FoundBy::Disk => "the disk can't read it".to_string(),
    };
    let place = format!("group {id}: damaged entry in segment {segment} at position {at}");
    match is_mendable {
        true => format!("{place}: consumers wait while other nodes are asked for it; {by}"),
        false => format!(
            "{place}: consumers that want what is in it, or can't be led around it, get \
             KAFKA_STORAGE_ERROR; {by}. `hutong journal verify` on the stopped node tells what \
             else is damaged"
        ),
    }
}

/// Where an entry that came lies, if it is the one that is missing.
pub(super) fn check<P: Page>(
    group: &Group<P>,
    at: Position,
    previous_crc: Option<u32>,
    bytes: &[u8],
) -> Result<Position, String> {
    let journal = &group.journal;
    let places = [at, journal.next_segment_start(at)];
    let places = &places[..1 + usize::from(previous_crc.is_some())];
    let entry = places.iter().find_map(|position| Entry::read(bytes, *position));
    let entry = entry.ok_or("what it sent is no whole entry of that place")?;
    let (position, end) = (entry.header.position, entry.end());
    let leaves_segment = journal.locate(position).1 + bytes.len() as u64 > journal.segment_bytes();
    if end.0 - position.0 != bytes.len() as u64 || end > limit(group) || leaves_segment {
        return Err("what it sent doesn't fit there".to_string());
    }
    match previous_crc.filter(|crc| *crc != entry.header.previous_crc) {
        None => Ok(position),
        Some(crc) => Err(format!(
            "its entry there follows one with checksum {:08x}, and here that has {crc:08x}: the \
             journals differ before that position; compare them with 'hutong journal verify \
             --against'",
            entry.header.previous_crc
        )),
    }
}

impl<P: Page> Shard<P> {
    /// Goes on with what is damaged, and tells who waits for it.
    pub(in crate::shard) fn mend(&mut self, now: Now) {
        if self.repairs.due.is_none_or(|due| due > now.time) {
            return;
        }
        self.look_into_unreadable();
        let keys: Vec<_> = self.repairs.places.keys().copied().collect();
        let mut under_way = self.repairs.under_way();
        for (group, at) in keys {
            let Some(damage) = self.repairs.places.get_mut(&(group, at)) else { continue };
            match damage.state {
                State::Whole { until, .. } if until <= now.time => {
                    self.repairs.places.remove(&(group, at));
                    continue;
                }
                State::Asked { until, .. } | State::Hopeless { until } if until <= now.time => {
                    damage.state = State::New;
                }
                _ => {}
            }
            let out = under_way.entry(group).or_default();
            if matches!(damage.state, State::New) && *out < REPAIRS_IN_FLIGHT_MAX {
                *out += usize::from(self.ask_next(group, at, now.time));
            }
        }
        let outcomes = std::mem::take(&mut self.repairs.outcomes);
        for (group, at, mended) in outcomes {
            self.repairs.scrub.on_outcome(group, at, mended);
            if let Some(own) = self.groups.get_mut(group).filter(|_| mended) {
                own.catch_ups_mended();
            }
            let (fetches, mut parts) = self.fetch_parts();
            fetches.on_repair(now.time, group, at, mended, &mut parts);
        }
        self.repairs.due = self.repairs.next_due();
    }

    /// Asks the next node for an entry. Returns whether there was one.
    fn ask_next(&mut self, group: GroupId, at: Position, now: Time) -> bool {
        let Some(own) = self.groups.get(group) else { return false };
        if at < own.journal.start() {
            // It is needed no more.
            self.repairs.places.remove(&(group, at));
            self.repairs.end(group, at, true);
            return false;
        }
        let Some(damage) = self.repairs.places.get_mut(&(group, at)) else { return false };
        let nodes: Vec<NodeId> = self.peers.nodes_up().collect();
        for node in nodes {
            if damage.asked.contains(&node) {
                continue;
            }
            damage.asked.push(node);
            let place = JournalPlace { group, at, previous_crc: damage.previous_crc };
            if self.peers.ask_entry(node, place) {
                damage.state = State::Asked { node, until: now + PATIENCE };
                return true;
            }
        }
        let is_first = damage.rounds == 0;
        self.repairs.give_up(group, at, now);
        if is_first {
            self.tell_of_repair(
                LogLevel::Error,
                format!(
                    "group {group}: no other node that can be reached has the damaged entry at \
                     position {at}: consumers get KAFKA_STORAGE_ERROR, and the nodes are asked \
                     again from time to time"
                ),
            );
        }
        false
    }

    /// A node has answered.
    pub(in crate::shard) fn on_entry(
        &mut self,
        from: NodeId,
        group: GroupId,
        at: Position,
        bytes: Option<Bytes>,
    ) {
        let Some(own) = self.groups.get(group) else { return };
        let Some(damage) = self.repairs.places.get_mut(&(group, at)) else { return };
        if !matches!(damage.state, State::Asked { node, .. } if node == from) {
            return;
        }
        damage.state = State::New;
        self.repairs.due = Some(Time(0));
        let Some(bytes) = bytes else { return };
        match check(own, at, damage.previous_crc, &bytes) {
            Ok(position) => {
                let came = Came { position, bytes, node: from, unproven: None };
                self.compare(group, at, came);
            }
            Err(why) => {
                let line = format!(
                    "group {group}: node {from} was asked for the damaged entry at position {at}: \
                     {why}"
                );
                self.tell_of_repair(LogLevel::Error, line);
            }
        }
    }

    /// Reads what lies where an entry belongs that came.
    pub(super) fn compare(&mut self, group: GroupId, at: Position, came: Came) {
        let Some(own) = self.groups.get(group) else { return };
        let Some(damage) = self.repairs.places.get_mut(&(group, at)) else { return };
        let (segment, byte) = own.journal.locate(came.position);
        let bytes = came.bytes.len();
        damage.state = State::Comparing { came };
        let read = self.repairs.read_id(Reading::Compare { group, at });
        self.outputs.push_back(Output::ReadJournal { group, read, segment, at: byte, bytes });
    }

    /// What lies in the place was read, or can't be.
    pub(super) fn on_compared(&mut self, group: GroupId, at: Position, there: Option<P>, now: Now) {
        let Some(index) = self.groups.index(group) else { return };
        let Some(damage) = self.repairs.places.get_mut(&(group, at)) else { return };
        let State::Comparing { came } = &damage.state else { return };
        if there.as_ref().is_some_and(|page| page.bytes() == &came.bytes[..]) {
            // Most likely it was mended after it had been read. Whoever waits reads again.
            damage.state = State::Whole { node: came.node, until: now.time + WHOLE_PAUSE };
            self.repairs.metrics.repaired += 1;
            return self.repairs.end(group, at, true);
        }
        let came = came.clone();
        match came.is_proven_by(there.as_ref().map(Page::bytes)) {
            true => self.put_back(index, at, came),
            false => self.look_behind(index, at, came),
        }
    }

    /// Writes what came in the place of what is damaged.
    pub(super) fn put_back(&mut self, index: usize, at: Position, came: Came) {
        let own = self.groups.at_mut(index);
        let Some(damage) = self.repairs.places.get_mut(&(own.id, at)) else { return };
        if came.position < own.journal.start() {
            damage.state = State::New;
            self.repairs.due = Some(Time(0));
            return;
        }
        let Came { position, bytes, node, .. } = came;
        let write = own.journal.repair(position, page_of(position, &bytes));
        damage.state = State::Writing { write, position, node };
        self.give_out_journal(index);
    }

    /// An entry has been written again.
    pub(in crate::shard) fn on_repaired(&mut self, group: GroupId, write: WriteId) {
        let Some(own) = self.groups.get_mut(group) else { return };
        own.journal.on_repaired(write);
        let found = self.repairs.places.iter().find_map(|((of, at), damage)| match damage.state {
            State::Writing { write: out, position, node } if *of == group && out == write => {
                Some((*at, position, node))
            }
            _ => None,
        });
        let Some((at, position, node)) = found else { return };
        let segment = own.journal.locate(position).0;
        self.repairs.places.remove(&(group, at));
        self.repairs.metrics.repaired += 1;
        self.repairs.end(group, at, true);
        self.tell_of_repair(
            LogLevel::Warn,
            format!(
                "group {group}: the damaged entry in segment {segment} at position {position} is \
                 whole again: node {node} had it"
            ),
        );
    }

    /// A read that was asked for here is done.
    pub(in crate::shard) fn on_repair_read(&mut self, read: ReadId, page: Option<P>, now: Now) {
        match self.repairs.reads.remove(&read) {
            Some(Reading::Compare { group, at }) => self.on_compared(group, at, page, now),
            Some(Reading::Behind { look, at }) => self.on_behind_read(look, at, page),
            Some(Reading::Scrub(look)) => self.on_scrub_read(look, page, now),
            Some(Reading::Unreadable { look, from }) => self.on_unreadable_read(look, page, from),
            Some(Reading::Question { look, reply, wanted }) => {
                self.on_question_read(look, page, reply, wanted);
            }
            None => {}
        }
    }

    fn tell_of_repair(&mut self, level: LogLevel, line: String) {
        self.outputs.push_back(Output::Log { level, line });
    }
}

/// The entry as a page. What lies behind it up to the next block is zeros, whatever was sent.
fn page_of<P: Page>(position: Position, bytes: &[u8]) -> P {
    let used = Entry::of_page(bytes, position).used_bytes();
    P::build(bytes.len(), |into| {
        into[..used].copy_from_slice(&bytes[..used]);
        into[used..].fill(0);
    })
}
