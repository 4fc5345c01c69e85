//! What a restart needs not read the journal for.
//!
//! A checkpoint holds a group's partitions (offsets, index, producers), its consumer groups, its
//! members and, of group 0, the catalog, as of one entry: the last that was applied, and so
//! committed. One is taken once in so many bytes of the journal (by default
//! `CHECKPOINT_JOURNAL_BYTES`), while others go on being appended: partitions are encoded as if
//! what lies behind had been cut off. It is written when that entry is on this node's disk, too.
//! The journal is trimmed no further than the last checkpoint.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::coordinator::Store;
use crate::journal::format::{SEGMENT_HEADER_BYTES, checksum};
use crate::journal::page::Page;
use crate::limits::CHECKPOINT_JOURNAL_BYTES;
use crate::metadata::Catalog;
use crate::model::ids::PartitionKey;
use crate::model::position::{LogIndex, Position, Term};
use crate::partition::Partition;
use crate::replica::Members;
use crate::shard::group::{Chain, Group};
use crate::shard::partitions::Partitions;
use crate::shard::snapshot_transfer::is_marker;

const MAGIC: [u8; 4] = *b"HTCP";
const VERSION: u32 = 3;

/// After one that could not be written, this part of the usual distance comes before the next.
const PUT_OFF_PART: u64 = 8;

/// Where a group stands with its checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointState {
    /// What the last one covers.
    pub position: Position,
    /// The next is due when this has been applied.
    due: Position,
    /// One that covers this is wanted soon.
    hurried: Position,
    /// Journal bytes from one to the next.
    distance: u64,
    /// One that was taken, and the entry that has to be on disk before it is.
    taken: Option<(Chain, Bytes)>,
    writing: bool,
    failed: bool,
}

impl CheckpointState {
    /// The last checkpoint covers everything before `position`.
    pub fn new(position: Position) -> CheckpointState {
        CheckpointState {
            position,
            due: Position(position.0 + CHECKPOINT_JOURNAL_BYTES),
            hurried: Position(0),
            distance: CHECKPOINT_JOURNAL_BYTES,
            taken: None,
            writing: false,
            failed: false,
        }
    }

    /// Takes one every so many bytes of the journal.
    pub fn every(self, distance: u64) -> CheckpointState {
        CheckpointState { due: Position(self.position.0 + distance), distance, ..self }
    }

    /// Whether one is to be taken now.
    pub fn is_due(&self, applied: Position) -> bool {
        !self.is_writing() && applied >= self.due
    }

    /// One was taken, as of this entry.
    pub fn take(&mut self, until: Chain, bytes: Bytes) {
        self.taken = Some((until, bytes));
    }

    /// The one to be written now, if all that it covers is on disk.
    pub fn poll(&mut self, flushed: Position) -> Option<(Chain, Bytes)> {
        let polled = self.taken.take_if(|(until, _)| until.end <= flushed);
        self.writing |= polled.is_some();
        polled
    }

    /// What was taken isn't wanted any more: the group's journal is given up.
    pub fn drop_taken(&mut self) {
        self.taken = None;
    }

    /// One is due as soon as this has been applied, whatever was written since the last.
    pub fn hurry(&mut self, position: Position) {
        self.due = position;
        self.hurried = position;
    }

    /// A checkpoint is being written.
    pub fn begin(&mut self) {
        self.writing = true;
    }

    /// Whether one is being written, or will be.
    pub fn is_writing(&self) -> bool {
        self.writing || self.taken.is_some()
    }

    /// Whether the last one that was begun could not be written. A stop doesn't wait for another:
    /// without it a restart reads more of the journal, and that is all.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// It has been written, or not.
    pub fn done(&mut self, position: Position, written: bool) {
        self.writing = false;
        self.failed = !written;
        if written {
            self.position = position;
            // What was asked for while it was being written is not in it.
            self.due = match self.hurried > position {
                true => self.hurried,
                false => Position(position.0 + self.distance),
            };
        } else {
            self.due = Position(position.0 + self.distance / PUT_OFF_PART);
        }
    }
}

/// A checkpoint, read back.
#[derive(Debug)]
pub struct Checkpoint {
    pub applied: Chain,
    pub partitions: Partitions,
    pub consumer_groups: Store,
    pub members: Members,
    pub catalog: Option<Catalog>,
}

impl Checkpoint {
    /// What a group that has nothing yet begins with.
    pub fn before_all(members: Members) -> Checkpoint {
        Checkpoint {
            applied: Chain { end: Position(SEGMENT_HEADER_BYTES), ..Chain::default() },
            partitions: Partitions::default(),
            consumer_groups: Store::default(),
            members,
            catalog: None,
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let parts = (&self.partitions, &self.consumer_groups, &self.members);
        encode_parts(self.applied, parts, &BTreeMap::new(), self.catalog.as_ref())
    }
}

/// The bytes of a checkpoint of a group, as of the last entry that was applied.
pub fn encode<P: Page>(group: &Group<P>, catalog: Option<&Catalog>) -> Vec<u8> {
    let parts = (&group.partitions, &group.consumer_groups, group.replica.group_members());
    encode_parts(group.applied(), parts, &group.unapplied_bytes(), catalog)
}

fn encode_parts(
    applied: Chain,
    (partitions, consumer_groups, members): (&Partitions, &Store, &Members),
    unapplied: &BTreeMap<PartitionKey, u64>,
    catalog: Option<&Catalog>,
) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend([0; 4]);
    out.extend(VERSION.to_le_bytes());
    out.extend(applied.crc.to_le_bytes());
    out.extend(applied.index.0.to_le_bytes());
    out.extend(applied.term.0.to_le_bytes());
    out.extend(applied.end.0.to_le_bytes());
    out.extend((partitions.iter().count() as u64).to_le_bytes());
    for partition in partitions.iter() {
        partition.encode(unapplied.get(&partition.key).copied().unwrap_or(0), &mut out);
    }
    let mut store = Vec::new();
    consumer_groups.encode(&mut store);
    out.extend((store.len() as u64).to_le_bytes());
    out.extend(store);
    members.encode(&mut out);
    if let Some(catalog) = catalog {
        catalog.encode(&mut out);
    }
    let crc = checksum(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Reads a checkpoint.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn decode(bytes: &[u8]) -> Result<Checkpoint, String> {
    if is_marker(bytes) {
        return Err("the group is being brought up by a snapshot of another node, which begins \
                    again when this one is started"
            .into());
    }
    if bytes.len() < 48 || bytes[0..4] != MAGIC {
        return Err("it is not a checkpoint".into());
    }
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    if word(4) != checksum(&bytes[8..]) {
        return Err("its checksum is wrong".into());
    }
    let version = word(8);
    if version != VERSION {
        return Err(format!("it has version {version}, and this program reads {VERSION}"));
    }
    let applied = Chain {
        crc: word(12),
        index: LogIndex(long(16)),
        term: Term(long(24)),
        end: Position(long(32)),
    };
    let mut partitions = Partitions::default();
    let mut rest = &bytes[48..];
    for _ in 0..long(40) {
        partitions.insert(Partition::decode(&mut rest).map_err(|error| error.to_string())?);
    }
    let (length, after) = rest.split_first_chunk().ok_or("it ends too early")?;
    let length = u64::from_le_bytes(*length);
    let (store, mut rest) = usize::try_from(length)
        .ok()
        .and_then(|length| after.split_at_checked(length))
        .ok_or("it ends too early")?;
    let consumer_groups = Store::decode(store).map_err(|error| error.to_string())?;
    let members = Members::decode(&mut rest).map_err(|error| error.to_string())?;
    let catalog = match rest {
        [] => None,
        bytes => Some(Catalog::decode(bytes).map_err(|error| error.to_string())?),
    };
    Ok(Checkpoint { applied, partitions, consumer_groups, members, catalog })
}
