//! Entries that are damaged here and that nobody has who runs, but a node that waits at its own
//! start to be mended (`at_start`): it asks what is damaged here, and gives what it holds of that.
//!
//! It can't know what is committed, so what it gives may be what a leader had there that was
//! replaced. It is what lay here if it has the checksum that the damaged entry still says it has,
//! or the one that the entry behind it names; else it isn't taken.

use bytes::Bytes;

use super::look::{Look, Looked};
use super::mend::check;
use super::{Came, Reading, State, limit};
use crate::journal::format::{Entry, EntryHead};
use crate::journal::page::Page;
use crate::limits::{DAMAGED_PLACES_TOLD_MAX, ENTRY_ALIGN_BYTES, REPAIRS_IN_FLIGHT_MAX};
use crate::model::ids::{GroupId, NodeId};
use crate::model::position::Position;
use crate::shard::Shard;
use crate::shard::follow::ReplyTo;
use crate::shard::output::Output;
use crate::shard::peers::repair_wire::{JournalPlace, put_damaged};

impl Came {
    /// Whether this is what lay where now lies what was read there, if that can be told from it.
    pub(super) fn is_proven_by(&self, there: Option<&[u8]>) -> bool {
        let crc = Entry::of_page(&self.bytes, self.position).crc;
        let head = there.and_then(|bytes| EntryHead::read(bytes, self.position));
        self.unproven.is_none() || head.is_some_and(|head| head.crc == crc)
    }
}

impl<P: Page> Shard<P> {
    /// Where entries of a group are damaged that are committed, and that no other node that runs
    /// has; the first [`DAMAGED_PLACES_TOLD_MAX`] of them.
    pub fn damaged_everywhere(&self, group: GroupId) -> Vec<JournalPlace> {
        let Some(own) = self.groups.get(group) else { return Vec::new() };
        let places = self.repairs.places.range((group, Position(0))..=(group, Position(u64::MAX)));
        let told = places.filter_map(|(&(group, at), damage)| {
            let is_given_up = matches!(damage.state, State::Hopeless { .. });
            let is_needed = at >= own.journal.start() && at < limit(own);
            let previous_crc = damage.previous_crc;
            (is_given_up && is_needed).then_some(JournalPlace { group, at, previous_crc })
        });
        told.take(DAMAGED_PLACES_TOLD_MAX).collect()
    }

    pub(in crate::shard) fn tell_damaged(&mut self, group: GroupId, reply: ReplyTo) {
        let places = self.damaged_everywhere(group);
        self.peers.answer(reply, |out| put_damaged(&places, out));
    }

    /// A node gives what it holds behind such a place. It may be anything.
    pub fn take_given(&mut self, from: NodeId, place: JournalPlace, entry: Bytes) {
        let JournalPlace { group, at, .. } = place;
        let Some(own) = self.groups.get(group) else { return };
        let Some(damage) = self.repairs.places.get(&(group, at)) else { return };
        let State::Hopeless { until } = damage.state else { return };
        if self.repairs.under_way().get(&group).is_some_and(|out| *out >= REPAIRS_IN_FLIGHT_MAX) {
            // It is given again in a second.
            return;
        }
        if let Ok(position) = check(own, at, damage.previous_crc, &entry) {
            let came = Came { position, bytes: entry, node: from, unproven: Some(until) };
            self.compare(group, at, came);
        }
    }

    /// What lies in the place of an entry that was given doesn't tell what lay there: what lies
    /// behind it may.
    pub(super) fn look_behind(&mut self, index: usize, at: Position, came: Came) {
        let own = self.groups.at_mut(index);
        let group = own.id;
        let Some(damage) = self.repairs.places.get_mut(&(group, at)) else { return };
        let entry = Entry::of_page(&came.bytes, came.position);
        let place = JournalPlace { group, at: entry.end(), previous_crc: Some(entry.crc) };
        damage.state = State::Proving { came };
        let mut look = Look::new(place, ENTRY_ALIGN_BYTES);
        let looked = look.begin(&own.journal, limit(own));
        self.on_looked_behind(index, at, look, looked);
    }

    pub(super) fn on_behind_read(&mut self, mut look: Look, at: Position, page: Option<P>) {
        let Some(index) = self.groups.index(look.place.group) else { return };
        let own = self.groups.at_mut(index);
        let looked = look.on_read(&own.journal, limit(own), page);
        self.on_looked_behind(index, at, look, looked);
    }

    fn on_looked_behind(&mut self, index: usize, at: Position, look: Look, looked: Looked<P>) {
        let own = self.groups.at_mut(index);
        let group = own.id;
        let Some(damage) = self.repairs.places.get_mut(&(group, at)) else { return };
        let State::Proving { came } = &damage.state else { return };
        let last = own.applied();
        let is_proven = match looked {
            Looked::Read { position, bytes } => {
                let (segment, byte) = own.journal.locate(position);
                let read = self.repairs.read_id(Reading::Behind { look, at });
                let at = byte;
                self.outputs.push_back(Output::ReadJournal { group, read, segment, at, bytes });
                return;
            }
            Looked::Entries { .. } => true,
            Looked::End => (last.end, Some(last.crc)) == (look.place.at, look.place.previous_crc),
            Looked::Bad { .. } => false,
        };
        let came = came.clone();
        if is_proven {
            return self.put_back(index, at, came);
        }
        damage.state = State::Hopeless { until: came.unproven.unwrap_or_default() };
        self.repairs.end(group, at, false);
    }
}
