//! What changes a group, and its bytes in the journal.
//!
//! The records of one call are one batch: written, committed and applied together, for a batch
//! that is cut in two would leave a group that nobody asked for (a member gone whose partitions
//! nobody is given). The group's id is not among them: whoever keeps many groups puts it in front.
//!
//! ```text
//! batch  = version u8 | count u32 | count x record
//! record = tag u8 | fields, little-endian
//! string = length u32, bytes         option = 0 u8, or 1 u8 and the value
//! partitions = topics u32 | topics x (id 16 bytes | count u32 | count x partition i32)
//! ```

use std::rc::Rc;

use super::codec::{
    DecodeError, Reader, put_bytes, put_count, put_i32, put_option, put_partitions, put_text,
};
use super::member::{ClassicMember, Current, MemberState, Profile, Subscription};
use super::partitions::Partitions;
use crate::limits::{
    CLASSIC_PROTOCOL_BYTES_MAX, CLASSIC_PROTOCOLS_MAX, CONSUMER_GROUP_RECORDS_MAX,
    MEMBER_STRING_BYTES_MAX, SMALL_FRAME_BYTES_MAX, TOPIC_REGEX_BYTES_MAX,
};

const FORMAT_VERSION: u8 = 1;

/// One change of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModernRecord {
    /// The group has another epoch: its members or what they subscribe to are others.
    Group {
        /// The epoch, from 1.
        epoch: i32,
        /// Of the topics that the group subscribes to, so that a change is seen by whoever leads
        /// the group when it happens, or later.
        topics_hash: u64,
    },
    /// A member has joined, or says other things of itself.
    Member {
        /// Its id.
        id: Rc<str>,
        /// What it says.
        profile: Profile,
    },
    /// A member is to have these partitions.
    Target {
        /// Its id.
        id: Rc<str>,
        /// All it is to have.
        partitions: Partitions,
    },
    /// All targets are those of this epoch.
    AssignmentEpoch {
        /// A group epoch.
        epoch: i32,
    },
    /// A member has these partitions.
    Current {
        /// Its id.
        id: Rc<str>,
        /// What it has.
        current: Current,
    },
    /// A member is gone, and with it its target and all that it had.
    MemberGone {
        /// Its id.
        id: Rc<str>,
    },
}

/// Appends the bytes of one call's records. They must not be none.
pub fn encode_batch(records: &[ModernRecord], out: &mut Vec<u8>) {
    out.push(FORMAT_VERSION);
    put_count(out, records.len());
    for record in records {
        record.encode(out);
    }
}

/// The records in `bytes`, which hold nothing else.
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<ModernRecord>, DecodeError> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        FORMAT_VERSION => {}
        version => return Err(DecodeError::UnknownVersion(version)),
    }
    // As they come: a record in memory is larger than the least bytes that make one.
    let mut records = Vec::new();
    for _ in 0..reader.count("records", CONSUMER_GROUP_RECORDS_MAX)? {
        records.push(ModernRecord::decode(&mut reader)?);
    }
    reader.end()?;
    Ok(records)
}

impl ModernRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            ModernRecord::Group { epoch, topics_hash } => {
                out.push(1);
                put_i32(out, *epoch);
                out.extend_from_slice(&topics_hash.to_le_bytes());
            }
            ModernRecord::Member { id, profile } => {
                out.push(2);
                put_text(out, id);
                put_profile(out, profile);
            }
            ModernRecord::Target { id, partitions } => {
                out.push(3);
                put_text(out, id);
                put_partitions(out, partitions);
            }
            ModernRecord::AssignmentEpoch { epoch } => {
                out.push(4);
                put_i32(out, *epoch);
            }
            ModernRecord::Current { id, current } => {
                out.push(5);
                put_text(out, id);
                put_current(out, current);
            }
            ModernRecord::MemberGone { id } => {
                out.push(6);
                put_text(out, id);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<ModernRecord, DecodeError> {
        let id = |reader: &mut Reader<'_>| reader.shared_text(MEMBER_STRING_BYTES_MAX);
        Ok(match reader.u8()? {
            1 => ModernRecord::Group { epoch: reader.i32()?, topics_hash: reader.u64()? },
            2 => ModernRecord::Member { id: id(reader)?, profile: profile(reader)? },
            3 => ModernRecord::Target { id: id(reader)?, partitions: reader.partitions()? },
            4 => ModernRecord::AssignmentEpoch { epoch: reader.i32()? },
            5 => ModernRecord::Current { id: id(reader)?, current: current(reader)? },
            6 => ModernRecord::MemberGone { id: id(reader)? },
            found => return Err(DecodeError::Unknown { what: "record", found }),
        })
    }
}

fn put_profile(out: &mut Vec<u8>, profile: &Profile) {
    put_option(out, profile.instance_id.as_deref(), put_text);
    put_option(out, profile.rack_id.as_deref(), put_text);
    put_text(out, &profile.client_id);
    put_text(out, &profile.client_host);
    put_count(out, profile.subscription.names.len());
    for name in &profile.subscription.names {
        put_text(out, name);
    }
    put_option(out, profile.subscription.regex.as_deref(), put_text);
    put_option(out, profile.server_assignor.as_deref(), put_text);
    put_i32(out, profile.rebalance_timeout_ms);
    put_option(out, profile.classic.as_ref(), |out, classic| {
        put_i32(out, classic.session_timeout_ms);
        put_count(out, classic.protocols.len());
        for (name, metadata) in &classic.protocols {
            put_text(out, name);
            put_bytes(out, metadata);
        }
    });
}

fn profile(reader: &mut Reader<'_>) -> Result<Profile, DecodeError> {
    let short = |reader: &mut Reader<'_>| reader.shared_text(MEMBER_STRING_BYTES_MAX);
    Ok(Profile {
        instance_id: reader.option(short)?,
        rack_id: reader.option(short)?,
        client_id: short(reader)?,
        client_host: short(reader)?,
        subscription: Rc::new(subscription(reader)?),
        server_assignor: reader.option(short)?,
        rebalance_timeout_ms: reader.i32()?,
        classic: reader.option(classic)?,
    })
}

fn subscription(reader: &mut Reader<'_>) -> Result<Subscription, DecodeError> {
    let mut names: Vec<String> = Vec::new();
    for _ in 0..reader.count("topic names", SMALL_FRAME_BYTES_MAX)? {
        let name = reader.text(SMALL_FRAME_BYTES_MAX)?;
        if names.last().is_some_and(|last| **last >= *name) {
            return Err(DecodeError::OutOfOrder("topic names"));
        }
        names.push(name.to_owned());
    }
    let regex = reader.option(|reader| reader.text(TOPIC_REGEX_BYTES_MAX))?.map(str::to_owned);
    Ok(Subscription { names, regex })
}

fn classic(reader: &mut Reader<'_>) -> Result<ClassicMember, DecodeError> {
    let session_timeout_ms = reader.i32()?;
    let mut protocols = Vec::new();
    for _ in 0..reader.count("protocols", CLASSIC_PROTOCOLS_MAX)? {
        let name = reader.text(MEMBER_STRING_BYTES_MAX)?.to_owned();
        protocols.push((name, reader.bytes(CLASSIC_PROTOCOL_BYTES_MAX)?.to_vec()));
    }
    Ok(ClassicMember { session_timeout_ms, protocols })
}

fn put_current(out: &mut Vec<u8>, current: &Current) {
    put_i32(out, current.epoch);
    put_i32(out, current.previous_epoch);
    out.push(match current.state {
        MemberState::Stable => 0,
        MemberState::UnrevokedPartitions => 1,
        MemberState::UnreleasedPartitions => 2,
    });
    put_partitions(out, &current.assigned);
    put_partitions(out, &current.pending);
}

fn current(reader: &mut Reader<'_>) -> Result<Current, DecodeError> {
    Ok(Current {
        epoch: reader.i32()?,
        previous_epoch: reader.i32()?,
        state: match reader.u8()? {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            found => return Err(DecodeError::Unknown { what: "member state", found }),
        },
        assigned: reader.partitions()?,
        pending: reader.partitions()?,
    })
}
