//! The committed state: what all records applied so far say.
//!
//! Every replica of a Raft group has it, in its checkpoint and in memory. Changed by
//! [`Store::apply`] alone, so equal journals make equal stores, byte for byte.
//!
//! As bytes, in the words of `record`:
//!
//! ```text
//! format version u8 | groups u32, in the order of their ids, each:
//!     id string | list of, by ascending key: partition key u32 | offset
//!     kind of its members u8: 0 none, 1 classic, followed by a classic state, 2 new protocol,
//!     followed by a list of byte strings: batches of records, as `modern/record` draws them
//! ```

use std::collections::BTreeMap;

use super::codec::{DecodeError, Reader, put_bytes, put_count};
use super::modern::ModernState;
use super::modern::record::{decode_batch, encode_batch};
use super::record::{ClassicState, CommittedOffset, Record};
use crate::model::ids::PartitionKey;

const FORMAT_VERSION: u8 = 1;

/// The consumer groups of one Raft group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    groups: BTreeMap<String, StoredGroup>,
}

/// One consumer group: its offsets, whatever kind it is, and its members, if it has or had any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredGroup {
    /// How far it has read each partition.
    pub offsets: BTreeMap<PartitionKey, CommittedOffset>,
    /// Its members, in the words of the protocol it uses.
    pub members: Members,
}

/// The members of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Members {
    /// It never had any.
    #[default]
    None,
    /// Of a group that uses the classic protocol.
    Classic(ClassicState),
    /// Of one that uses the new protocol.
    Modern(ModernState),
}

impl StoredGroup {
    fn is_empty(&self) -> bool {
        self.offsets.is_empty() && self.members == Members::None
    }

    /// Whether it has neither offsets nor members.
    pub fn is_unused(&self) -> bool {
        self.offsets.is_empty() && self.member_count() == 0
    }

    /// How many members it has.
    pub fn member_count(&self) -> usize {
        match &self.members {
            Members::None => 0,
            Members::Classic(state) => state.members.len(),
            Members::Modern(state) => state.members().len(),
        }
    }

    /// Its members, if it uses the classic protocol.
    pub fn classic(&self) -> Option<&ClassicState> {
        match &self.members {
            Members::Classic(state) => Some(state),
            _ => None,
        }
    }

    /// Its members, if it uses the new protocol.
    pub fn modern(&self) -> Option<&ModernState> {
        match &self.members {
            Members::Modern(state) => Some(state),
            _ => None,
        }
    }
}

impl Store {
    /// Does what a record says.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::OffsetsCommitted { group, offsets } => {
                self.groups.entry(group).or_default().offsets.extend(offsets);
            }
            Record::OffsetsDeleted { group, partitions } => {
                let Some(stored) = self.groups.get_mut(&group) else { return };
                for partition in partitions {
                    stored.offsets.remove(&partition);
                }
                if stored.is_empty() {
                    self.groups.remove(&group);
                }
            }
            Record::OffsetsExpired { group, offsets } => {
                let Some(stored) = self.groups.get_mut(&group) else { return };
                for (partition, committed_at) in offsets {
                    let known = stored.offsets.get(&partition);
                    if known.is_some_and(|offset| offset.committed_at == committed_at) {
                        stored.offsets.remove(&partition);
                    }
                }
                if stored.is_unused() {
                    self.groups.remove(&group);
                }
            }
            Record::Classic { group, state } => {
                self.groups.entry(group).or_default().members = Members::Classic(state);
            }
            Record::Modern { group, records } => {
                let members = &mut self.groups.entry(group).or_default().members;
                if !matches!(members, Members::Modern(_)) {
                    *members = Members::Modern(ModernState::default());
                }
                if let Members::Modern(state) = members {
                    records.iter().for_each(|record| state.apply(record));
                }
            }
            Record::GroupDeleted { group } => {
                self.groups.remove(&group);
            }
        }
    }

    /// The group of this id.
    pub fn group(&self, id: &str) -> Option<&StoredGroup> {
        self.groups.get(id)
    }

    /// All groups, by their ids.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &StoredGroup)> {
        self.groups.iter().map(|(id, group)| (id.as_str(), group))
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Appends the store's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT_VERSION);
        put_count(out, self.groups.len());
        for (id, group) in &self.groups {
            put_bytes(out, id.as_bytes());
            put_count(out, group.offsets.len());
            for (partition, offset) in &group.offsets {
                out.extend(partition.0.to_le_bytes());
                offset.encode(out);
            }
            match &group.members {
                Members::None => out.push(0),
                Members::Classic(state) => {
                    out.push(1);
                    state.encode(out);
                }
                Members::Modern(state) => {
                    out.push(2);
                    encode_modern(state, out);
                }
            }
        }
    }

    /// The store in `bytes`, which hold nothing else.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Store, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            FORMAT_VERSION => {}
            version => return Err(DecodeError::UnknownVersion(version)),
        }
        let mut store = Store::default();
        for _ in 0..reader.u32()? {
            let id = reader.text()?;
            let group = decode_group(&mut reader)?;
            if store.groups.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(DecodeError::OutOfOrder("consumer groups"));
            }
            store.groups.insert(id, group);
        }
        reader.end()?;
        Ok(store)
    }
}

fn decode_group(reader: &mut Reader<'_>) -> Result<StoredGroup, DecodeError> {
    let mut group = StoredGroup::default();
    for _ in 0..reader.u32()? {
        let partition = PartitionKey(reader.u32()?);
        if group.offsets.last_key_value().is_some_and(|(last, _)| *last >= partition) {
            return Err(DecodeError::OutOfOrder("offsets"));
        }
        group.offsets.insert(partition, CommittedOffset::decode(reader)?);
    }
    group.members = match reader.u8()? {
        0 => Members::None,
        1 => Members::Classic(ClassicState::decode(reader)?),
        2 => Members::Modern(decode_modern(reader)?),
        tag => return Err(DecodeError::UnknownTag { what: "kind of group", tag }),
    };
    Ok(group)
}

fn encode_modern(state: &ModernState, out: &mut Vec<u8>) {
    let batches = state.snapshot();
    put_count(out, batches.len());
    for batch in batches {
        let mut bytes = Vec::new();
        encode_batch(&batch, &mut bytes);
        put_bytes(out, &bytes);
    }
}

fn decode_modern(reader: &mut Reader<'_>) -> Result<ModernState, DecodeError> {
    let mut state = ModernState::default();
    for _ in 0..reader.u32()? {
        let length = reader.u32()? as usize;
        decode_batch(reader.take(length)?)?.iter().for_each(|record| state.apply(record));
    }
    Ok(state)
}
