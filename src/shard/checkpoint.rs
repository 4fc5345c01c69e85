//! What a restart needs not read the journal for.
//!
//! A checkpoint holds a group's partitions (offsets, index, producers), its consumer groups and, of
//! group 0, the catalog, as of one entry that was committed. It is taken between entries, once in
//! so many bytes of the journal (by default `CHECKPOINT_JOURNAL_BYTES`): the writer pauses until
//! what is in flight has landed, a matter of one disk write. If that takes long, it is put off. The
//! journal is trimmed no further than the last checkpoint.

use std::time::Duration;

use crate::coordinator::Store;
use crate::journal::format::checksum;
use crate::journal::page::Page;
use crate::limits::CHECKPOINT_JOURNAL_BYTES;
use crate::metadata::Catalog;
use crate::model::position::{LogIndex, Position, Term};
use crate::model::time::Time;
use crate::partition::Partition;
use crate::shard::group::{Chain, Group, Partitions};

const MAGIC: [u8; 4] = *b"HTCP";
const VERSION: u32 = 2;
/// Without consumer groups. Still read.
const VERSION_1: u32 = 1;

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
            self.due = Position(position.0 + self.distance);
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
    pub catalog: Option<Catalog>,
}

/// The bytes of a checkpoint of a settled group.
pub fn encode<P: Page>(group: &Group<P>, catalog: Option<&Catalog>) -> Vec<u8> {
    let applied = group.applied();
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend([0; 4]);
    out.extend(VERSION.to_le_bytes());
    out.extend(applied.crc.to_le_bytes());
    out.extend(applied.index.0.to_le_bytes());
    out.extend(applied.term.0.to_le_bytes());
    out.extend(applied.end.0.to_le_bytes());
    out.extend((group.partitions.iter().count() as u64).to_le_bytes());
    for partition in group.partitions.iter() {
        partition.encode(&mut out);
    }
    let mut consumer_groups = Vec::new();
    group.consumer_groups.encode(&mut consumer_groups);
    out.extend((consumer_groups.len() as u64).to_le_bytes());
    out.extend(consumer_groups);
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
    if bytes.len() < 48 || bytes[0..4] != MAGIC {
        return Err("it is not a checkpoint".into());
    }
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    if word(4) != checksum(&bytes[8..]) {
        return Err("its checksum is wrong".into());
    }
    let version = word(8);
    if !(VERSION_1..=VERSION).contains(&version) {
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
    let mut consumer_groups = Store::default();
    if version > VERSION_1 {
        let (length, after) = rest.split_first_chunk().ok_or("it ends too early")?;
        let length = u64::from_le_bytes(*length);
        let (store, after) = usize::try_from(length)
            .ok()
            .and_then(|length| after.split_at_checked(length))
            .ok_or("it ends too early")?;
        consumer_groups = Store::decode(store).map_err(|error| error.to_string())?;
        rest = after;
    }
    let catalog = match rest {
        [] => None,
        bytes => Some(Catalog::decode(bytes).map_err(|error| error.to_string())?),
    };
    Ok(Checkpoint { applied, partitions, consumer_groups, catalog })
}
