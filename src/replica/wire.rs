//! Raft's messages on the wire. Our own codec: no protobuf is parsed from a socket.
//!
//! ```text
//! type u8 | reject u8 | term u64 | log term u64 | index u64 | commit u64 | commit term u64
//! | reject hint u64 | requested snapshot u64 | priority i64
//! | context u16 bytes | entries u32 | snapshot u8
//! then each entry      type u8 | term u64 | position u64 | bytes u32 | crc u32 | data u32 bytes
//! then the snapshot    index u64 | term u64 | voters, learners, outgoing, next: u16 ids each u64
//!                      | leaves by itself u8
//! ```
//!
//! Little-endian. Entries are numbered from the message's index on. Behind the message lie the
//! entries' own bytes, just as they are in the journal. Sender and receiver aren't named: they
//! are the two ends of the connection.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot};

use crate::limits::{ENTRY_BYTES_MAX, RAFT_ENTRIES_PER_MESSAGE_MAX};
use crate::model::fields::{BadEnd, Fields};
use crate::model::position::Position;
use crate::replica::log_store::Descriptor;

/// Bytes that are no message. The peer runs other code, or has gone mad: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It ends too early.
    #[error("a Raft message ends too early")]
    Truncated,
    /// A field has a value that it can't have.
    #[error("a Raft message has a {0} that can't be")]
    Bad(&'static str),
}

/// The messages that cross the wire. Their types are Raft's numbers for them.
const MESSAGE_TYPES: [MessageType; 11] = [
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgTransferLeader,
    MessageType::MsgTimeoutNow,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
];
const ENTRY_TYPES: [EntryType; 3] =
    [EntryType::EntryNormal, EntryType::EntryConfChange, EntryType::EntryConfChangeV2];

/// The longest context: the names of kinds of campaigns.
const CONTEXT_BYTES_MAX: usize = 64;
/// The most data that an entry of Raft's own carries: a change of members.
const DATA_BYTES_MAX: usize = 64 << 10;
/// Members in each list of a snapshot.
const MEMBERS_MAX: usize = 1000;

/// Appends a message. `places` are those of its entries.
pub(super) fn encode(message: &Message, places: &[Descriptor], out: &mut Vec<u8>) {
    out.push(message.msg_type as u8);
    out.push(u8::from(message.reject));
    for number in [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
        message.request_snapshot,
        message.priority as u64,
    ] {
        out.extend(number.to_le_bytes());
    }
    out.extend((message.context.len() as u16).to_le_bytes());
    out.extend(&message.context[..]);
    out.extend((message.entries.len() as u32).to_le_bytes());
    let snapshot = message.snapshot.as_ref();
    out.push(u8::from(snapshot.is_some()));
    for (entry, place) in message.entries.iter().zip(places) {
        out.push(entry.entry_type as u8);
        out.extend(entry.term.to_le_bytes());
        out.extend(place.encode());
        out.extend((entry.data.len() as u32).to_le_bytes());
        out.extend(&entry.data[..]);
    }
    if let Some(snapshot) = snapshot {
        encode_snapshot(snapshot, out);
    }
}

fn encode_snapshot(snapshot: &Snapshot, out: &mut Vec<u8>) {
    let metadata = snapshot.get_metadata();
    out.extend(metadata.index.to_le_bytes());
    out.extend(metadata.term.to_le_bytes());
    put_members(metadata.get_conf_state(), out);
}

/// Appends who belongs to a group.
fn put_members(state: &ConfState, out: &mut Vec<u8>) {
    for ids in [&state.voters, &state.learners, &state.voters_outgoing, &state.learners_next] {
        out.extend((ids.len() as u16).to_le_bytes());
        for id in ids {
            out.extend(id.to_le_bytes());
        }
    }
    out.push(u8::from(state.auto_leave));
}

/// The message at the front of `bytes`, and the places of its entries. What is left of `bytes` is
/// what lies behind it.
pub(super) fn decode(bytes: &mut &[u8]) -> Result<(Message, Vec<Descriptor>), WireError> {
    let mut reader = Reader::new(bytes);
    let mut message = Message::default();
    let kind = reader.u8()?;
    let known = MESSAGE_TYPES.into_iter().find(|known| *known as u8 == kind);
    message.msg_type = known.ok_or(WireError::Bad("type"))?;
    message.reject = reader.u8()? != 0;
    message.term = reader.u64()?;
    message.log_term = reader.u64()?;
    message.index = reader.u64()?;
    message.commit = reader.u64()?;
    message.commit_term = reader.u64()?;
    message.reject_hint = reader.u64()?;
    message.request_snapshot = reader.u64()?;
    message.priority = reader.u64()? as i64;
    let context = usize::from(reader.u16()?);
    message.context = reader.bytes(context, CONTEXT_BYTES_MAX, "context")?;
    let entries = reader.u32()? as usize;
    let has_snapshot = reader.u8()? != 0;
    if entries > RAFT_ENTRIES_PER_MESSAGE_MAX {
        return Err(WireError::Bad("number of entries"));
    }
    let mut places = Vec::with_capacity(entries);
    for number in 0..entries as u64 {
        let index = message.index.checked_add(number + 1).ok_or(WireError::Bad("index"))?;
        let (entry, place) = decode_entry(&mut reader, index)?;
        message.entries.push(entry);
        places.push(place);
    }
    if has_snapshot {
        message.set_snapshot(decode_snapshot(&mut reader)?);
    }
    *bytes = reader.rest;
    Ok((message, places))
}

fn decode_entry(reader: &mut Reader<'_>, index: u64) -> Result<(Entry, Descriptor), WireError> {
    let kind = reader.u8()?;
    let known = ENTRY_TYPES.into_iter().find(|known| *known as u8 == kind);
    let entry_type = known.ok_or(WireError::Bad("type of entry"))?;
    let term = reader.u64()?;
    let place =
        Descriptor { position: Position(reader.u64()?), bytes: reader.u32()?, crc: reader.u32()? };
    let size = place.bytes as usize;
    if size == 0 || size > ENTRY_BYTES_MAX || place.position.0.checked_add(size as u64).is_none() {
        return Err(WireError::Bad("size of an entry"));
    }
    let data = reader.u32()? as usize;
    let data = reader.bytes(data, DATA_BYTES_MAX, "size of an entry's data")?;
    let context = Bytes::from(place.encode());
    Ok((Entry { entry_type, index, term, data, context, ..Entry::default() }, place))
}

fn decode_snapshot(reader: &mut Reader<'_>) -> Result<Snapshot, WireError> {
    let mut snapshot = Snapshot::default();
    snapshot.mut_metadata().index = reader.u64()?;
    snapshot.mut_metadata().term = reader.u64()?;
    snapshot.mut_metadata().set_conf_state(members(reader)?);
    Ok(snapshot)
}

fn members(reader: &mut Reader<'_>) -> Result<ConfState, WireError> {
    let mut lists: [Vec<u64>; 4] = Default::default();
    for list in &mut lists {
        let count = usize::from(reader.u16()?);
        if count > MEMBERS_MAX {
            return Err(WireError::Bad("number of members"));
        }
        for _ in 0..count {
            list.push(reader.u64()?);
        }
    }
    let [voters, learners, voters_outgoing, learners_next] = lists;
    let auto_leave = reader.u8()? != 0;
    Ok(ConfState {
        voters,
        learners,
        voters_outgoing,
        learners_next,
        auto_leave,
        ..ConfState::default()
    })
}

type Reader<'a> = Fields<'a, WireError>;

impl From<BadEnd> for WireError {
    fn from(_: BadEnd) -> WireError {
        // What lies behind a message is its entries, so nothing is ever left over.
        WireError::Truncated
    }
}

impl Reader<'_> {
    fn bytes(&mut self, count: usize, max: usize, what: &'static str) -> Result<Bytes, WireError> {
        if count > max {
            return Err(WireError::Bad(what));
        }
        Ok(Bytes::copy_from_slice(self.take(count)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> (Message, Vec<Descriptor>) {
        let mut message = Message {
            msg_type: MessageType::MsgAppend,
            term: 7,
            log_term: 6,
            index: 41,
            ..Message::default()
        };
        (message.commit, message.commit_term, message.reject_hint) = (40, 5, 3);
        message.priority = -2;
        message.context = Bytes::from_static(b"CampaignTransfer");
        let place = |at: u64| Descriptor { position: Position(at * 4096), bytes: 4096, crc: 9 };
        let places = vec![place(10), place(11)];
        for (number, place) in places.iter().enumerate() {
            let entry_type = ENTRY_TYPES[number * 2];
            message.entries.push(Entry {
                entry_type,
                index: 42 + number as u64,
                term: 7,
                data: Bytes::from(vec![1; number * 3]),
                context: Bytes::from(place.encode()),
                ..Entry::default()
            });
        }
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = 12;
        snapshot.mut_metadata().term = 3;
        snapshot.mut_metadata().mut_conf_state().voters = vec![1, 2, 3];
        snapshot.mut_metadata().mut_conf_state().learners = vec![9];
        message.set_snapshot(snapshot);
        (message, places)
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let (message, places) = sample();
        let mut bytes = Vec::new();
        encode(&message, &places, &mut bytes);
        bytes.extend(b"behind");
        let mut rest = &bytes[..];
        assert_eq!(decode(&mut rest), Ok((message, places)));
        assert_eq!(rest, b"behind");
    }

    #[test]
    fn every_cut_is_an_error() {
        let (message, places) = sample();
        let mut bytes = Vec::new();
        encode(&message, &places, &mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(decode(&mut &bytes[..len]), Err(WireError::Truncated), "{len} bytes");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn whatever_comes_is_a_message_or_an_error(
            flips in proptest::collection::vec((0..200_usize, any::<u8>()), 1..20),
        ) {
            let (message, places) = sample();
            let mut bytes = Vec::new();
            encode(&message, &places, &mut bytes);
            for (at, value) in flips {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            let _ = decode(&mut &bytes[..]);
        }
    }
}
