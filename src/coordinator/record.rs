//! What an entry of a journal says about consumer groups.
//!
//! Little-endian. A string or byte string is a length u32 and its bytes; a list is a count u32
//! and its items; `?` is a byte, 0 for absent, 1 for there. A run holds one record or several:
//!
//! ```text
//! record    length u32 of what follows | format version u8 | kind u8 | consumer group string | ...
//! 1 offsets committed  list of: partition key u32 | offset
//! 2 offsets deleted    list of: partition key u32
//! 3 classic state      state
//! 4 group deleted
//! 5 offsets expired    list of: partition key u32 | committed at i64
//! 6 members changed    a batch, as `modern/record` draws it
//! offset    offset i64 | leader epoch i32 | metadata string | committed at i64 | ? expires at i64
//! state     generation i32 | protocol type string | ? protocol string | ? leader string |
//!           changed at i64 | list of members
//! member    id string | ? instance id string | client id string | client host string |
//!           session time-out i32 | rebalance time-out i32 | subscription bytes | assignment bytes
//! ```
//!
//! Times are milliseconds since 1970, time-outs milliseconds. Rule for later versions: kinds are
//! added, and what is drawn here stays readable.

use bytes::Bytes;

use super::codec::{DecodeError, Reader, put_bytes, put_count, put_optional};
use super::modern::record::{ModernRecord, decode_batch, encode_batch};
use crate::model::ids::PartitionKey;

const FORMAT_VERSION: u8 = 1;

/// One change of the committed state of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The group has read so far.
    OffsetsCommitted {
        /// The consumer group.
        group: String,
        /// Partitions in any order; of one that is there twice, the last counts.
        offsets: Vec<(PartitionKey, CommittedOffset)>,
    },
    /// The group has no offsets of these partitions any more.
    OffsetsDeleted {
        /// The consumer group.
        group: String,
        /// The partitions.
        partitions: Vec<PartitionKey>,
    },
    /// These offsets are too old, unless they were committed anew meanwhile; and so is the group,
    /// if nothing is left of it then.
    OffsetsExpired {
        /// The consumer group.
        group: String,
        /// The partitions, and when the offset that is too old was committed.
        offsets: Vec<(PartitionKey, i64)>,
    },
    /// The members of a group that uses the classic protocol, and what each was assigned.
    Classic {
        /// The consumer group.
        group: String,
        /// All of it, instead of what was before.
        state: ClassicState,
    },
    /// The group is gone, with its offsets.
    GroupDeleted {
        /// The consumer group.
        group: String,
    },
    /// What has changed in a group of the new protocol. If it was a classic one before, it no
    /// longer is.
    Modern {
        /// The consumer group.
        group: String,
        /// All that one request has changed.
        records: Vec<ModernRecord>,
    },
}

/// How far a consumer group has read a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record read; -1 if the consumer didn't say.
    pub leader_epoch: i32,
    /// Whatever the consumer wants to find again.
    pub metadata: String,
    /// When it was committed, in milliseconds since 1970.
    pub committed_at: i64,
    /// When it is to go, if the consumer asked for that, in milliseconds since 1970.
    pub expires_at: Option<i64>,
}

/// A classic group as of its last generation that was synced, or as it became empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicState {
    /// Counts rebalances.
    pub generation: i32,
    /// What its members have in common: `consumer`, `connect`, ...
    pub protocol_type: String,
    /// The assignor they agreed on. `None` without members.
    pub protocol: Option<String>,
    /// The member that assigns. `None` without members, and if they are to join again first.
    pub leader: Option<String>,
    /// When it got into this state, in milliseconds since 1970.
    pub changed_at: i64,
    /// In the order of their ids.
    pub members: Vec<ClassicMember>,
}

/// A member of a classic group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicMember {
    /// Given by the coordinator.
    pub id: String,
    /// Given by the user, of a static member.
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// Without a heartbeat for so long it is dead, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long it may take to join again, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// What it said of itself for the protocol that was chosen.
    pub subscription: Bytes,
    /// What the leader gave it.
    pub assignment: Bytes,
}

impl Record {
    /// The consumer group it is about.
    pub fn group(&self) -> &str {
        match self {
            Record::OffsetsCommitted { group, .. }
            | Record::OffsetsDeleted { group, .. }
            | Record::OffsetsExpired { group, .. }
            | Record::Classic { group, .. }
            | Record::GroupDeleted { group }
            | Record::Modern { group, .. } => group,
        }
    }

    /// What it does, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Record::OffsetsCommitted { .. } => "offsets committed",
            Record::OffsetsDeleted { .. } => "offsets deleted",
            Record::OffsetsExpired { .. } => "offsets expired",
            Record::Classic { .. } => "classic state",
            Record::GroupDeleted { .. } => "group deleted",
            Record::Modern { .. } => "members changed",
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Record::OffsetsCommitted { .. } => 1,
            Record::OffsetsDeleted { .. } => 2,
            Record::Classic { .. } => 3,
            Record::GroupDeleted { .. } => 4,
            Record::OffsetsExpired { .. } => 5,
            Record::Modern { .. } => 6,
        }
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend([0; 4]);
        out.extend([FORMAT_VERSION, self.kind()]);
        put_bytes(out, self.group().as_bytes());
        match self {
            Record::OffsetsCommitted { offsets, .. } => {
                put_count(out, offsets.len());
                for (partition, offset) in offsets {
                    out.extend(partition.0.to_le_bytes());
                    offset.encode(out);
                }
            }
            Record::OffsetsDeleted { partitions, .. } => {
                put_count(out, partitions.len());
                partitions.iter().for_each(|partition| out.extend(partition.0.to_le_bytes()));
            }
            Record::OffsetsExpired { offsets, .. } => {
                put_count(out, offsets.len());
                for (partition, committed_at) in offsets {
                    out.extend(partition.0.to_le_bytes());
                    out.extend(committed_at.to_le_bytes());
                }
            }
            Record::Classic { state, .. } => state.encode(out),
            Record::GroupDeleted { .. } => {}
            Record::Modern { records, .. } => encode_batch(records, out),
        }
        let length = u32::try_from(out.len() - at - 4).expect("limits keep records small");
        out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// The records in `bytes`, in order. Ends after the first that can't be read: nothing behind
    /// it can be trusted.
    pub fn decode_all(bytes: &[u8]) -> impl Iterator<Item = Result<Record, DecodeError>> + use<'_> {
        let mut reader = Reader::new(bytes);
        std::iter::from_fn(move || {
            if reader.rest.is_empty() {
                return None;
            }
            let record = Record::decode_next(&mut reader);
            if record.is_err() {
                reader = Reader::new(&[]);
            }
            Some(record)
        })
    }

    fn decode_next(reader: &mut Reader<'_>) -> Result<Record, DecodeError> {
        let length = reader.u32()? as usize;
        let mut reader = Reader::new(reader.take(length)?);
        match reader.u8()? {
            FORMAT_VERSION => {}
            version => return Err(DecodeError::UnknownVersion(version)),
        }
        let kind = reader.u8()?;
        let group = reader.text()?;
        let record = match kind {
            1 => {
                let mut offsets = Vec::new();
                for _ in 0..reader.count(4 + OFFSET_BYTES_MIN)? {
                    let partition = PartitionKey(reader.u32()?);
                    offsets.push((partition, CommittedOffset::decode(&mut reader)?));
                }
                Record::OffsetsCommitted { group, offsets }
            }
            2 => {
                let count = reader.count(4)?;
                let partitions = (0..count).map(|_| reader.u32().map(PartitionKey));
                Record::OffsetsDeleted { group, partitions: partitions.collect::<Result<_, _>>()? }
            }
            3 => Record::Classic { group, state: ClassicState::decode(&mut reader)? },
            4 => Record::GroupDeleted { group },
            5 => {
                let mut offsets = Vec::new();
                for _ in 0..reader.count(12)? {
                    offsets.push((PartitionKey(reader.u32()?), reader.i64()?));
                }
                Record::OffsetsExpired { group, offsets }
            }
            6 => {
                let records = decode_batch(std::mem::take(&mut reader.rest))?;
                Record::Modern { group, records }
            }
            tag => return Err(DecodeError::UnknownTag { what: "record", tag }),
        };
        reader.end()?;
        Ok(record)
    }
}

/// The bytes of a committed offset without metadata.
const OFFSET_BYTES_MIN: usize = 8 + 4 + 4 + 8 + 1;

impl CommittedOffset {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.offset.to_le_bytes());
        out.extend(self.leader_epoch.to_le_bytes());
        put_bytes(out, self.metadata.as_bytes());
        out.extend(self.committed_at.to_le_bytes());
        put_optional(out, self.expires_at, |out, at| out.extend(at.to_le_bytes()));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<CommittedOffset, DecodeError> {
        Ok(CommittedOffset {
            offset: reader.i64()?,
            leader_epoch: reader.i32()?,
            metadata: reader.text()?,
            committed_at: reader.i64()?,
            expires_at: reader.optional(Reader::i64)?,
        })
    }
}

/// The bytes of a member without any text.
const MEMBER_BYTES_MIN: usize = 4 + 1 + 4 + 4 + 4 + 4 + 4 + 4;

impl ClassicState {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let put_text = |out: &mut Vec<u8>, text: &String| put_bytes(out, text.as_bytes());
        out.extend(self.generation.to_le_bytes());
        put_text(out, &self.protocol_type);
        put_optional(out, self.protocol.as_ref(), put_text);
        put_optional(out, self.leader.as_ref(), put_text);
        out.extend(self.changed_at.to_le_bytes());
        put_count(out, self.members.len());
        for member in &self.members {
            put_text(out, &member.id);
            put_optional(out, member.instance_id.as_ref(), put_text);
            put_text(out, &member.client_id);
            put_text(out, &member.client_host);
            out.extend(member.session_timeout_ms.to_le_bytes());
            out.extend(member.rebalance_timeout_ms.to_le_bytes());
            put_bytes(out, &member.subscription);
            put_bytes(out, &member.assignment);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<ClassicState, DecodeError> {
        let mut state = ClassicState {
            generation: reader.i32()?,
            protocol_type: reader.text()?,
            protocol: reader.optional(Reader::text)?,
            leader: reader.optional(Reader::text)?,
            changed_at: reader.i64()?,
            members: Vec::new(),
        };
        for _ in 0..reader.count(MEMBER_BYTES_MIN)? {
            state.members.push(ClassicMember {
                id: reader.text()?,
                instance_id: reader.optional(Reader::text)?,
                client_id: reader.text()?,
                client_host: reader.text()?,
                session_timeout_ms: reader.i32()?,
                rebalance_timeout_ms: reader.i32()?,
                subscription: reader.bytes()?,
                assignment: reader.bytes()?,
            });
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests;
