//! What a restart needs not read the journal for.
//!
//! A checkpoint holds a group's partitions (offsets, index, producers), its consumer groups, its
//! members and, of group 0, the catalog, as of one entry that was committed. It is taken between
//! entries, once in so many bytes of the journal (by default `CHECKPOINT_JOURNAL_BYTES`): the
//! writer pauses until what is in flight has landed, a matter of one disk write. If that takes
//! long, it is put off. The journal is trimmed no further than the last checkpoint.

use std::time::Duration;

use crate::coordinator::Store;
use crate::journal::format::{SEGMENT_HEADER_BYTES, checksum};
use crate::journal::page::Page;
use crate::limits::CHECKPOINT_JOURNAL_BYTES;
use crate::metadata::Catalog;
use crate::model::position::{LogIndex, Position, Term};
use crate::model::time::Time;
use crate::partition::Partition;
use crate::replica::Members;
use crate::shard::group::{Chain, Group};
use crate::shard::partitions::Partitions;
use crate::shard::snapshot_transfer::is_marker;

const MAGIC: [u8; 4] = *b"HTCP";
const VERSION: u32 = 3;

/// How long the writer pauses at most.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// After a pause that was too short, this part of the usual distance is written before the next.
const PUT_OFF_PART: u64 = 8;

/// Where a group stands with its checkpoints.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointState {
    /// What the last one covers.
    pub position: Position,
    /// The next is due when this has been applied.
    due: Position,
    /// One that covers this is wanted soon.
    hurried: Position,
    /// Journal bytes from one to the next.
    distance: u64,
    /// The writer pauses, until then at most.
    pause_until: Option<Time>,
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
            pause_until: None,
            writing: false,
            failed: false,
        }
    }

    /// Takes one every so many bytes of the journal.
    pub fn every(self, distance: u64) -> CheckpointState {
        CheckpointState { due: Position(self.position.0 + distance), distance, ..self }
    }

    /// Whether the writer must append nothing now.
    pub fn pauses_writer(&self) -> bool {
        self.pause_until.is_some()
    }

    /// When to look again if nothing happens.
    pub fn deadline(&self) -> Option<Time> {
        self.pause_until
    }

    /// Looks whether a checkpoint is to be taken now. `settled`: nothing is in flight.
    pub fn take(&mut self, applied: Position, settled: bool, now: Time) -> bool {
        if self.writing || applied < self.due {
            return false;
        }
        if settled {
            self.begin();
            return true;
        }
        match self.pause_until {
            None => self.pause_until = Some(now + PAUSE_MAX),
            Some(until) if now >= until => {
                self.pause_until = None;
                self.due = Position(applied.0 + self.distance / PUT_OFF_PART);
            }
            Some(_) => {}
        }
        false
    }

    /// One is due as soon as this has been applied, whatever was written since the last.
    pub fn hurry(&mut self, position: Position) {
        self.due = position;
        self.hurried = position;
    }

    /// A checkpoint is being written.
    pub fn begin(&mut self) {
        self.writing = true;
        self.pause_until = None;
    }

    /// Whether one is being written.
    pub fn is_writing(&self) -> bool {
        self.writing
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
        encode_parts(self.applied, parts, self.catalog.as_ref())
    }
}

/// The bytes of a checkpoint of a settled group.
pub fn encode<P: Page>(group: &Group<P>, catalog: Option<&Catalog>) -> Vec<u8> {
    let parts = (&group.partitions, &group.consumer_groups, group.replica.group_members());
    encode_parts(group.applied(), parts, catalog)
}

fn encode_parts(
    applied: Chain,
    (partitions, consumer_groups, members): (&Partitions, &Store, &Members),
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
        partition.encode(&mut out);
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
