//! The scrub: all journals of a shard, read from their beginnings to what is committed and on disk,
//! slowly, to find what has rotted before somebody needs it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::look::{Look, Looked};
use super::{FoundBy, Reading, limit};
use crate::journal::page::Page;
use crate::limits::SCRUB_READ_BYTES;
use crate::model::ids::GroupId;
use crate::model::position::Position;
use crate::model::time::{Now, Time};
use crate::shard::output::Output;
use crate::shard::peers::repair_wire::JournalPlace;
use crate::shard::{Shard, State};

/// From the end of one round through all journals to the beginning of the next.
pub const SCRUB_PAUSE: Duration = Duration::from_secs(3600);

/// A shard that doesn't serve yet is left alone for so long.
const NOT_SERVING_PAUSE: Duration = Duration::from_secs(1);

/// Where the scrub is.
#[derive(Debug)]
pub struct Scrub {
    bytes_per_second: u64,
    /// When it reads on; never, while it waits for a read or a repair.
    next: Time,
    /// The group whose turn it is, or the next one of this shard's behind it: groups come and go.
    group: GroupId,
    /// Where it goes on in that group; `None` at its beginning.
    place: Option<JournalPlace>,
    /// The place whose repair it waits for, and where it goes on if that comes to nothing.
    waits: Option<(JournalPlace, JournalPlace)>,
    /// The last place that was mended. If it is bad again, it isn't waited for once more.
    mended: Option<Position>,
    /// How far each group has been read in this round, or in the last.
    reached: BTreeMap<GroupId, Position>,
    /// Rounds through all journals.
    pub rounds: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl Scrub {
    /// Begins at once, if there is to be one.
    pub fn new(bytes_per_second: u64, now: Time) -> Scrub {
        Scrub {
            bytes_per_second,
            next: if bytes_per_second > 0 { now } else { Time::NEVER },
            group: GroupId(0),
            place: None,
            waits: None,
            mended: None,
            reached: BTreeMap::new(),
            rounds: 0,
            bytes: 0,
        }
    }

    /// When it reads on.
    pub fn next(&self) -> Time {
        self.next
    }

    /// Up to where a group has been read in this round; the beginning if not at all.
    pub fn reached(&self, group: GroupId) -> Position {
        self.reached.get(&group).copied().unwrap_or_default()
    }

    /// So much was read now; the next read comes when its share of a second has passed.
    fn spend(&mut self, bytes: usize, now: Time) {
        self.bytes += bytes as u64;
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second.max(1);
        self.next = now + Duration::from_nanos(nanos);
    }

    fn go_on(&mut self, place: JournalPlace, now: Now) {
        self.place = Some(place);
        self.next = self.next.max(now.time);
    }

    fn next_group(&mut self, done: GroupId) {
        self.group = GroupId(done.0 + 1);
        (self.place, self.mended) = (None, None);
    }

    /// A damaged place was mended, or can't be now.
    pub(super) fn on_outcome(&mut self, group: GroupId, at: Position, mended: bool) {
        let Some((place, otherwise)) = self.waits else { return };
        if (place.group, place.at) != (group, at) {
            return;
        }
        self.waits = None;
        self.next = Time(0);
        self.place = Some(if mended { place } else { otherwise });
        self.mended = mended.then_some(at);
    }
}

impl<P: Page> Shard<P> {
    /// Reads on, if it is time.
    pub(in crate::shard) fn scrub(&mut self, now: Now) {
        if self.repairs.scrub.next > now.time {
            return;
        }
        if self.state != State::Serving {
            self.repairs.scrub.next = now.time + NOT_SERVING_PAUSE;
            return;
        }
        let scrub = &mut self.repairs.scrub;
        let Some(own) = self.groups.iter().find(|own| own.id >= scrub.group) else {
            (scrub.group, scrub.place) = (GroupId(0), None);
            scrub.rounds += 1;
            scrub.next = now.time + SCRUB_PAUSE;
            return;
        };
        scrub.group = own.id;
        let start = own.journal.start();
        let begin = JournalPlace { group: own.id, at: start, previous_crc: None };
        let is_here = |place: &JournalPlace| place.group == own.id && place.at >= start;
        let place = scrub.place.filter(is_here).unwrap_or(begin);
        scrub.place = Some(place);
        scrub.reached.insert(own.id, place.at);
        let mut look = Look::new(place, SCRUB_READ_BYTES);
        let looked = look.begin(&own.journal, limit(own));
        self.scrubbed(look, looked, now);
    }

    /// A read of the scrub is done.
    pub(super) fn on_scrub_read(&mut self, mut look: Look, page: Option<P>, now: Now) {
        let read = page.as_ref().map_or(0, |page| page.bytes().len());
        self.repairs.scrub.spend(read, now.time);
        let Some(own) = self.groups.get(look.place.group) else { return };
        let looked = look.on_read(&own.journal, limit(own), page);
        self.scrubbed(look, looked, now);
    }

    fn scrubbed(&mut self, look: Look, looked: Looked<P>, now: Now) {
        let place = look.place;
        let Some(own) = self.groups.get(place.group) else { return };
        let journal = &own.journal;
        match looked {
            Looked::Read { position, bytes } => {
                let (group, (segment, at)) = (own.id, journal.locate(position));
                let read = self.repairs.read_id(Reading::Scrub(look));
                self.repairs.scrub.next = Time::NEVER;
                self.outputs.push_back(Output::ReadJournal { group, read, segment, at, bytes });
            }
            Looked::Entries { heads, end, .. } => {
                let previous_crc = heads.last().map(|head| head.crc);
                let at = journal.entry_start(end);
                self.repairs.scrub.reached.insert(own.id, at);
                self.repairs.scrub.place = Some(JournalPlace { at, previous_crc, ..place });
            }
            Looked::End => self.repairs.scrub.next_group(place.group),
            Looked::Bad { .. } if place.at < journal.start() => {
                // Its segment went while it was read.
                self.repairs.scrub.place = None;
            }
            Looked::Bad { says } => {
                // Behind it there is no chain to hold on to: what it says of its own end may be
                // as wrong as the rest.
                let next = journal.next_segment_start(place.at);
                let at = says.map_or(next, |end| journal.entry_start(end));
                let otherwise = JournalPlace { at, previous_crc: None, ..place };
                let is_guess = place.previous_crc.is_none() && !journal.is_segment_start(place.at);
                match is_guess {
                    true => self.repairs.scrub.go_on(JournalPlace { at: next, ..otherwise }, now),
                    false => self.scrub_found(place, otherwise, now),
                }
            }
        }
    }

    /// Has what is damaged mended, and waits for that; or goes on behind it.
    fn scrub_found(&mut self, place: JournalPlace, otherwise: JournalPlace, now: Now) {
        let Some(own) = self.groups.get(place.group) else { return };
        let (repairs, outputs) = (&mut self.repairs, &mut self.outputs);
        let mends = repairs.scrub.mended != Some(place.at)
            && repairs.damaged(own, place.at, place.previous_crc, FoundBy::Scrub, outputs);
        let scrub = &mut repairs.scrub;
        if mends {
            scrub.waits = Some((place, otherwise));
            scrub.next = Time::NEVER;
        } else {
            scrub.go_on(otherwise, now);
        }
    }
}
