//! Chunks of a journal that the disk can't read: which entry it is that it has lost.

use super::look::{Look, Looked};
use super::{FoundBy, Reading, Repairs, limit};
use crate::journal::page::Page;
use crate::limits::{DAMAGED_PLACES_MAX, READ_CHUNK_BYTES, SCRUB_READ_BYTES};
use crate::model::ids::GroupId;
use crate::model::position::Position;
use crate::model::time::Time;
use crate::shard::Shard;
use crate::shard::output::Output;
use crate::shard::peers::repair_wire::JournalPlace;

impl Repairs {
    /// The disk could not read the chunk that begins with the entry at `from`. If other nodes may
    /// have what is lost, it is looked for; whoever reads the chunk gets an error until then.
    pub fn unreadable(&mut self, group: GroupId, from: Position) {
        if self.has_others && self.unreadable.len() < DAMAGED_PLACES_MAX {
            self.unreadable.entry((group, from)).or_insert(false);
            self.due = Some(Time(0));
        }
    }
}

impl<P: Page> Shard<P> {
    /// Begins to look into chunks that can't be read.
    pub(super) fn look_into_unreadable(&mut self) {
        let places = self.repairs.unreadable.iter_mut();
        let new =
            places.filter_map(|(place, begun)| (!std::mem::replace(begun, true)).then_some(*place));
        let new: Vec<_> = new.collect();
        for (group, from) in new {
            let place = JournalPlace { group, at: from, previous_crc: None };
            self.look_on(place, from);
        }
    }

    fn look_on(&mut self, place: JournalPlace, from: Position) {
        let Some(own) = self.groups.get(place.group) else { return };
        let mut look = Look::new(place, SCRUB_READ_BYTES);
        let looked = look.begin(&own.journal, limit(own));
        self.looked_into_unreadable(look, looked, from);
    }

    /// A read of such a chunk is done.
    pub(super) fn on_unreadable_read(&mut self, mut look: Look, page: Option<P>, from: Position) {
        let Some(own) = self.groups.get(look.place.group) else { return };
        let looked = look.on_read(&own.journal, limit(own), page);
        self.looked_into_unreadable(look, looked, from);
    }

    fn looked_into_unreadable(&mut self, look: Look, looked: Looked<P>, from: Position) {
        let (place, group) = (look.place, look.place.group);
        let Some(own) = self.groups.get(group) else { return };
        match looked {
            Looked::Read { position, bytes } => {
                let (segment, at) = own.journal.locate(position);
                let read = self.repairs.read_id(Reading::Unreadable { look, from });
                self.outputs.push_back(Output::ReadJournal { group, read, segment, at, bytes });
                return;
            }
            Looked::Entries { heads, end, .. } if end.0 < from.0 + READ_CHUNK_BYTES as u64 => {
                let previous_crc = heads.last().map(|head| head.crc);
                return self.look_on(JournalPlace { at: end, previous_crc, ..place }, from);
            }
            Looked::Bad { .. } => {
                let (crc, outputs) = (place.previous_crc, &mut self.outputs);
                self.repairs.damaged(own, place.at, crc, FoundBy::Disk, outputs);
            }
            Looked::Entries { .. } | Looked::End => {}
        }
        self.repairs.unreadable.remove(&(group, from));
    }
}
