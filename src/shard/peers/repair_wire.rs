//! What is asked about a journal, by nodes and by tools, and what is answered.
//!
//! All of them name a place by what comes before it: a position, and the checksum of the entry
//! that ends there if that is known. What follows it lies at that position or, as it may not have
//! fit there, at the start of the next segment.

use crate::model::ids::GroupId;
use crate::model::position::{Position, Term};
use crate::shard::peers::wire::{NotUnderstood, Reader};

const ENTRY: u8 = 16;
const SUMS: u8 = 17;
const HELD: u8 = 18;
const LED: u8 = 19;
pub const DAMAGED: u8 = 20;
pub const GIVE: u8 = 21;

/// A place in a group's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalPlace {
    pub group: GroupId,
    /// Where the entry before ends.
    pub at: Position,
    /// The checksum of the entry before; without it, what is asked for lies at just `at`.
    pub previous_crc: Option<u32>,
}

/// A question about a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalQuestion {
    /// The entry that follows and is known to be committed, byte for byte.
    Entry(JournalPlace),
    /// The entry that follows, committed or not.
    Held(JournalPlace),
    /// The entry that follows and is known to be committed; or any that follows, of a node that
    /// leads the group in this term or a later one.
    Led(JournalPlace, Term),
    /// The checksums of the entries that follow.
    Sums(JournalPlace),
}

/// An entry, as far as journals are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntrySum {
    pub position: Position,
    pub term: Term,
    pub crc: u32,
}

/// Some of what is committed in a journal and on the answering node's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// The first position of its oldest segment. What is asked of before it is answered from here.
    pub start: Position,
    /// The end of what can be asked for now.
    pub end: Position,
    /// Where to ask next.
    pub next: Position,
    /// There lies no entry at `next` that follows, though one should.
    pub is_damaged: bool,
    /// The entries before `next`.
    pub entries: Vec<EntrySum>,
}

/// Whether a request of this kind is a question about a journal.
pub fn is_question(kind: u8) -> bool {
    matches!(kind, ENTRY | SUMS | HELD | LED)
}

impl JournalPlace {
    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.group.0.to_le_bytes());
        out.extend(self.at.0.to_le_bytes());
        out.push(u8::from(self.previous_crc.is_some()));
        out.extend(self.previous_crc.unwrap_or(0).to_le_bytes());
    }

    /// The next one of some bytes.
    ///
    /// # Errors
    /// If there is none.
    pub fn decode(reader: &mut Reader<'_>) -> Result<JournalPlace, NotUnderstood> {
        let (group, at) = (GroupId(reader.u32()?), Position(reader.u64()?));
        let previous_crc = match (reader.u8()?, reader.u32()?) {
            (0, _) => None,
            (1, crc) => Some(crc),
            _ => return Err(NotUnderstood),
        };
        Ok(JournalPlace { group, at, previous_crc })
    }
}

impl JournalQuestion {
    /// Appends the request's payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, place, term) = match self {
            JournalQuestion::Entry(place) => (ENTRY, place, None),
            JournalQuestion::Held(place) => (HELD, place, None),
            JournalQuestion::Led(place, term) => (LED, place, Some(term)),
            JournalQuestion::Sums(place) => (SUMS, place, None),
        };
        out.push(kind);
        place.encode(out);
        out.extend(term.into_iter().flat_map(|term| term.0.to_le_bytes()));
    }

    /// The question in the rest of a payload that begins with `kind`.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(kind: u8, rest: &[u8]) -> Result<JournalQuestion, NotUnderstood> {
        let mut reader = Reader::new(rest);
        let place = JournalPlace::decode(&mut reader)?;
        let term = if kind == LED { Term(reader.u64()?) } else { Term(0) };
        reader.end()?;
        match kind {
            ENTRY => Ok(JournalQuestion::Entry(place)),
            HELD => Ok(JournalQuestion::Held(place)),
            LED => Ok(JournalQuestion::Led(place, term)),
            SUMS => Ok(JournalQuestion::Sums(place)),
            _ => Err(NotUnderstood),
        }
    }
}

/// Why an entry isn't given to a node that asks what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHeld {
    /// It isn't there, or can't be given now.
    Nothing,
    /// It was trimmed, and the node leads the group: it can give a snapshot instead.
    Trimmed,
}

/// What comes in front of an entry in the answer to `Held`, and what says that it was trimmed.
const IS_TRIMMED: u8 = 1;
const IS_HELD: u8 = 2;

/// Appends the answer to `Held`.
pub fn put_held(entry: Result<&[u8], NotHeld>, out: &mut Vec<u8>) {
    match entry {
        Ok(entry) => {
            out.push(IS_HELD);
            out.extend(entry);
        }
        Err(NotHeld::Trimmed) => out.push(IS_TRIMMED),
        Err(NotHeld::Nothing) => {}
    }
}

/// Reads the answer to `Held`.
///
/// # Errors
/// If it is none.
pub fn held(payload: &[u8]) -> Result<Result<Vec<u8>, NotHeld>, NotUnderstood> {
    match payload {
        [] => Ok(Err(NotHeld::Nothing)),
        [IS_TRIMMED] => Ok(Err(NotHeld::Trimmed)),
        [IS_HELD, entry @ ..] => Ok(Ok(entry.to_vec())),
        _ => Err(NotUnderstood),
    }
}

/// Appends the answer to `Damaged`.
pub fn put_damaged(places: &[JournalPlace], out: &mut Vec<u8>) {
    places.iter().for_each(|place| place.encode(out));
}

/// Reads the answer to `Damaged`.
///
/// # Errors
/// If it is none.
pub fn damaged(payload: &[u8]) -> Result<Vec<JournalPlace>, NotUnderstood> {
    let mut reader = Reader::new(payload);
    let mut places = Vec::new();
    while !reader.rest.is_empty() {
        places.push(JournalPlace::decode(&mut reader)?);
    }
    Ok(places)
}

/// The bytes of one `EntrySum`.
const SUM_BYTES: usize = 20;

/// Why checksums are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSums {
    /// The group isn't on the shard that was asked.
    NotHere,
    /// Too much is being asked at this moment.
    Busy,
}

/// Appends the answer to `Sums`.
pub fn put_sums(sums: Result<&Sums, NoSums>, out: &mut Vec<u8>) {
    let sums = match sums {
        Ok(sums) => sums,
        Err(NoSums::NotHere) => return,
        Err(NoSums::Busy) => return out.push(0),
    };
    for position in [sums.start, sums.end, sums.next] {
        out.extend(position.0.to_le_bytes());
    }
    out.push(u8::from(sums.is_damaged));
    for entry in &sums.entries {
        out.extend(entry.position.0.to_le_bytes());
        out.extend(entry.term.0.to_le_bytes());
        out.extend(entry.crc.to_le_bytes());
    }
}

/// Reads the answer to `Sums`.
///
/// # Errors
/// If it is none.
pub fn sums(payload: &[u8]) -> Result<Result<Sums, NoSums>, NotUnderstood> {
    match payload {
        [] => return Ok(Err(NoSums::NotHere)),
        [0] => return Ok(Err(NoSums::Busy)),
        _ => {}
    }
    let mut reader = Reader::new(payload);
    let (start, end) = (Position(reader.u64()?), Position(reader.u64()?));
    let next = Position(reader.u64()?);
    let is_damaged = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(NotUnderstood),
    };
    if !reader.rest.len().is_multiple_of(SUM_BYTES) {
        return Err(NotUnderstood);
    }
    let mut entries = Vec::with_capacity(reader.rest.len() / SUM_BYTES);
    while !reader.rest.is_empty() {
        entries.push(EntrySum {
            position: Position(reader.u64()?),
            term: Term(reader.u64()?),
            crc: reader.u32()?,
        });
    }
    Ok(Ok(Sums { start, end, next, is_damaged, entries }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::NodeId;
    use crate::shard::peers::wire::Request;

    fn place() -> JournalPlace {
        JournalPlace { group: GroupId(5), at: Position(3 << 12), previous_crc: Some(0xabcd) }
    }

    #[test]
    fn questions_come_back_as_they_were_and_nothing_else_is_one() {
        let unknown = JournalPlace { previous_crc: None, ..place() };
        for question in [
            JournalQuestion::Entry(place()),
            JournalQuestion::Held(place()),
            JournalQuestion::Led(place(), Term(1 << 40)),
            JournalQuestion::Sums(place()),
            JournalQuestion::Sums(unknown),
        ] {
            let mut bytes = Vec::new();
            question.encode(&mut bytes);
            assert_eq!(Request::decode(&bytes), Ok(Request::Journal(question)));
            // One that is cut anywhere, or goes on, is none.
            for cut in 0..bytes.len() {
                assert_eq!(Request::decode(&bytes[..cut]), Err(NotUnderstood));
            }
            bytes.push(0);
            assert_eq!(Request::decode(&bytes), Err(NotUnderstood));
            bytes.pop();
            let flag = 1 + 4 + 8;
            bytes[flag] = 2;
            assert_eq!(Request::decode(&bytes), Err(NotUnderstood));
        }
    }

    #[test]
    fn what_is_held_comes_back_as_it_was() {
        for answer in [Ok(b"entry".to_vec()), Err(NotHeld::Nothing), Err(NotHeld::Trimmed)] {
            let mut bytes = Vec::new();
            put_held(answer.as_deref().map_err(|why| *why), &mut bytes);
            assert_eq!(held(&bytes), Ok(answer));
        }
        assert_eq!(held(&[1, 1]), Err(NotUnderstood));
        assert_eq!(held(&[3]), Err(NotUnderstood));
    }

    #[test]
    fn damaged_places_and_what_is_given_for_them_come_back_as_they_were() {
        let unknown = JournalPlace { previous_crc: None, ..place() };
        for places in [vec![], vec![place()], vec![unknown, place()]] {
            let mut bytes = Vec::new();
            put_damaged(&places, &mut bytes);
            assert_eq!(damaged(&bytes), Ok(places));
            bytes.push(0);
            assert_eq!(damaged(&bytes), Err(NotUnderstood));
        }
        for request in [
            Request::Damaged { group: GroupId(5) },
            Request::Give { node: NodeId(3), place: place(), entry: b"entry" },
            Request::Give { node: NodeId(3), place: unknown, entry: b"" },
        ] {
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            assert_eq!(Request::decode(&bytes), Ok(request));
        }
        for cut in [&[DAMAGED, 0, 0, 0][..], &[DAMAGED, 0, 0, 0, 0, 0], &[GIVE, 0]] {
            assert_eq!(Request::decode(cut), Err(NotUnderstood));
        }
    }

    #[test]
    fn sums_come_back_as_they_were() {
        let sum = EntrySum { position: Position(4096), term: Term(7), crc: 99 };
        let there = Sums {
            start: Position(4096),
            end: Position(9 << 12),
            next: Position(2 << 12),
            is_damaged: true,
            entries: vec![sum, EntrySum { crc: 100, ..sum }],
        };
        for answer in [
            Err(NoSums::NotHere),
            Err(NoSums::Busy),
            Ok(Sums { entries: Vec::new(), ..there.clone() }),
            Ok(there),
        ] {
            let mut bytes = Vec::new();
            put_sums(answer.as_ref().map_err(|why| *why), &mut bytes);
            assert_eq!(sums(&bytes), Ok(answer.clone()));
            if answer.is_ok() {
                for cut in 2..25 {
                    assert_eq!(sums(&bytes[..cut]), Err(NotUnderstood));
                }
                bytes.push(0);
                assert_eq!(sums(&bytes), Err(NotUnderstood));
            }
        }
    }
}
