//! The disk: completes what it is asked for late and out of order, and keeps at a crash only what
//! it has promised.
//!
//! A write that was reported is there for good. One that wasn't, or that has failed, may be there,
//! or not, or in part: each 512-byte sector for itself. Segments and checkpoints appear whole or
//! not at all, as they are renamed into place. [`Lie`] breaks these promises on purpose, to see
//! whether the checkers notice.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hutong::journal::REPAIR_WRITE;
use hutong::journal::format::ENTRY_HEADER_BYTES;
use hutong::journal::page::{MemoryPage, Page};
use hutong::journal::source::{GroupFiles, SegmentSource};
use hutong::limits::{ENTRY_ALIGN_BYTES, JOURNAL_WRITES_IN_FLIGHT_MAX, REPAIRS_IN_FLIGHT_MAX};
use hutong::model::ids::{GroupId, ReadId, SegmentId, WriteId};
use hutong::model::position::Position;
use hutong::replica::vote::VOTE_FILE_BYTES;
use hutong::shard::NodeAddress;
use hutong::shard::checkpoint;
use hutong::shard::input::{Input, IoFailure};
use hutong::shard::snapshot_transfer::is_marker;

use crate::lie::Lie;
use crate::random::Random;
use crate::segment::Segment;

/// The unit that a disk writes whole.
const SECTOR_BYTES: usize = 512;
/// Removed segments that are kept for reuse, for each group, as the runtime does.
const SPARES_MAX: usize = 2;

/// All files of a node.
#[derive(Debug)]
pub struct Disk {
    segment_bytes: u64,
    groups: BTreeMap<u32, Files>,
    /// The nodes of the cluster, as this one was last told to remember them.
    known_nodes: Vec<NodeAddress>,
    operations: BTreeMap<u64, Operation>,
    next_operation: u64,
    /// All but writes and reads is done by one thread, one after the other.
    helper: VecDeque<u64>,
    lie: Lie,
    /// The last reported journal write, with what was there before.
    last_reported: Option<Journal>,
}

#[derive(Debug, Default)]
struct Files {
    segments: BTreeMap<u64, Segment>,
    /// With the numbers they had.
    spares: VecDeque<(u64, Segment)>,
    vote: Vec<u8>,
    checkpoint: Option<Vec<u8>>,
    /// Other nodes hold the group now: nothing is left of it but the vote.
    is_gone: bool,
}

#[derive(Clone, Debug)]
struct Journal {
    group: GroupId,
    write: WriteId,
    segment: SegmentId,
    at: u64,
    page: MemoryPage,
    before: Vec<u8>,
}

#[derive(Debug)]
enum Operation {
    Journal(Journal),
    Vote { group: GroupId, write: WriteId, at: u64, page: MemoryPage },
    Read { group: GroupId, read: ReadId, segment: SegmentId, at: u64, bytes: usize },
    Checkpoint { group: GroupId, position: Position, bytes: Bytes },
    Create { group: GroupId, segment: SegmentId, header: Bytes },
    Remove { group: GroupId, segment: SegmentId },
    CreateGroup { group: GroupId, checkpoint: Bytes },
    RemoveGroup { group: GroupId, checkpoint: Bytes },
    Remember { nodes: Vec<NodeAddress> },
}

impl Operation {
    /// Whether nobody is told of its end.
    fn is_silent(&self) -> bool {
        use Operation::{Remember, Remove, RemoveGroup};
        matches!(self, Remove { .. } | RemoveGroup { .. } | Remember { .. })
    }
}

/// What the end of an operation means.
#[derive(Debug)]
pub struct Done {
    pub group: GroupId,
    pub input: Input<MemoryPage>,
}

impl Disk {
    /// An empty disk.
    pub fn new(segment_bytes: u64, groups: impl Iterator<Item = u32>, lie: Lie) -> Disk {
        Disk {
            segment_bytes,
            groups: groups.map(|group| (group, Files::default())).collect(),
            known_nodes: Vec::new(),
            operations: BTreeMap::new(),
            next_operation: 0,
            helper: VecDeque::new(),
            lie,
            last_reported: None,
        }
    }

    fn begin(&mut self, operation: Operation) -> u64 {
        self.next_operation += 1;
        self.operations.insert(self.next_operation, operation);
        self.next_operation
    }

    fn files(&mut self, group: GroupId) -> &mut Files {
        self.groups.get_mut(&group.0).expect("a group of this node")
    }

    /// Begins a journal write.
    ///
    /// # Errors
    /// What the core must not ask for.
    pub fn write_journal(
        &mut self,
        group: GroupId,
        write: WriteId,
        segment: SegmentId,
        at: u64,
        page: MemoryPage,
    ) -> Result<u64, String> {
        let bytes = page.bytes().len() as u64;
        let align = ENTRY_ALIGN_BYTES as u64;
        if !at.is_multiple_of(align) || !bytes.is_multiple_of(align) || bytes == 0 {
            return Err(format!("a write of {bytes} bytes at {at} isn't aligned"));
        }
        if at + bytes > self.segment_bytes {
            return Err(format!("a write of {bytes} bytes at {at} leaves its segment"));
        }
        // Damaged entries that are written again come on top of the others.
        let is_repair = |write: WriteId| write.0 & REPAIR_WRITE != 0;
        let mut out = 0;
        for operation in self.operations.values() {
            let Operation::Journal(other) = operation else { continue };
            let is_alike = is_repair(other.write) == is_repair(write);
            out += usize::from(other.group == group && is_alike);
            let apart = other.at + other.page.bytes().len() as u64 <= at || at + bytes <= other.at;
            if other.group == group && other.segment == segment && !apart {
                return Err(format!("writes {} and {write} of one place are out", other.write));
            }
        }
        let out_max = match is_repair(write) {
            true => REPAIRS_IN_FLIGHT_MAX,
            false => JOURNAL_WRITES_IN_FLIGHT_MAX,
        };
        if out >= out_max && self.lie != Lie::AcknowledgesEarly {
            return Err(format!("{out} journal writes of group {group} are out already"));
        }
        if !self.files(group).segments.contains_key(&segment.0) {
            return Err(format!("a write to segment {segment}, which isn't there"));
        }
        let before = Vec::new();
        Ok(self.begin(Operation::Journal(Journal { group, write, segment, at, page, before })))
    }

    /// Begins a journal read.
    pub fn read_journal(
        &mut self,
        group: GroupId,
        read: ReadId,
        segment: SegmentId,
        at: u64,
        bytes: usize,
    ) -> Result<u64, String> {
        let aligned = at.is_multiple_of(4096) && bytes.is_multiple_of(4096) && bytes > 0;
        if !aligned || at + bytes as u64 > self.segment_bytes {
            return Err(format!(
                "a read of {bytes} bytes at {at} isn't aligned or leaves its file"
            ));
        }
        Ok(self.begin(Operation::Read { group, read, segment, at, bytes }))
    }

    /// Begins the write of a vote.
    ///
    /// # Errors
    /// Another one is out.
    pub fn write_vote(
        &mut self,
        group: GroupId,
        write: WriteId,
        at: u64,
        page: MemoryPage,
    ) -> Result<u64, String> {
        self.alone(|other| matches!(other, Operation::Vote { group: of, .. } if *of == group))?;
        Ok(self.begin(Operation::Vote { group, write, at, page }))
    }

    /// Begins to replace a checkpoint.
    ///
    /// # Errors
    /// Another one is out.
    pub fn write_checkpoint(
        &mut self,
        group: GroupId,
        position: Position,
        bytes: Bytes,
    ) -> Result<u64, String> {
        self.alone(
            |other| matches!(other, Operation::Checkpoint { group: of, .. } if *of == group),
        )?;
        Ok(self.begin(Operation::Checkpoint { group, position, bytes }))
    }

    /// Begins to make a segment.
    ///
    /// # Errors
    /// Another one is being made.
    pub fn create_segment(
        &mut self,
        group: GroupId,
        segment: SegmentId,
        header: Bytes,
    ) -> Result<u64, String> {
        self.alone(|other| matches!(other, Operation::Create { group: of, .. } if *of == group))?;
        let operation = self.begin(Operation::Create { group, segment, header });
        self.helper.push_back(operation);
        Ok(operation)
    }

    /// Begins to remove a segment.
    pub fn remove_segment(&mut self, group: GroupId, segment: SegmentId) -> u64 {
        let operation = self.begin(Operation::Remove { group, segment });
        self.helper.push_back(operation);
        operation
    }

    /// Begins to make a group's directory.
    ///
    /// # Errors
    /// It is there, and isn't being deleted.
    pub fn create_group(&mut self, group: GroupId, checkpoint: Bytes) -> Result<u64, String> {
        let deletes =
            |it: &Operation| matches!(it, Operation::RemoveGroup { group: of, .. } if *of == group);
        let is_here = self.groups_here().any(|here| here == group);
        if is_here && !self.operations.values().any(deletes) {
            return Err(format!("group {group} is to be made, and is there"));
        }
        let operation = self.begin(Operation::CreateGroup { group, checkpoint });
        self.helper.push_back(operation);
        Ok(operation)
    }

    /// Begins to delete a group.
    ///
    /// # Errors
    /// Something of it is being written.
    pub fn remove_group(&mut self, group: GroupId, checkpoint: Bytes) -> Result<u64, String> {
        self.alone(|other| match other {
            Operation::Journal(Journal { group: of, .. })
            | Operation::Vote { group: of, .. }
            | Operation::Checkpoint { group: of, .. } => *of == group,
            _ => false,
        })?;
        let operation = self.begin(Operation::RemoveGroup { group, checkpoint });
        self.helper.push_back(operation);
        Ok(operation)
    }

    /// Begins to keep the nodes of the cluster for the next start.
    pub fn remember(&mut self, nodes: Vec<NodeAddress>) -> u64 {
        let operation = self.begin(Operation::Remember { nodes });
        self.helper.push_back(operation);
        operation
    }

    /// The groups that are there.
    pub fn groups_here(&self) -> impl Iterator<Item = GroupId> + use<'_> {
        let here = self.groups.iter().filter(|(_, files)| !files.is_gone);
        here.map(|(group, _)| GroupId(*group))
    }

    /// The nodes that it was told to remember; none if it never was.
    pub fn known_nodes(&self) -> &[NodeAddress] {
        &self.known_nodes
    }

    /// All that was on it is lost, and nothing is under way any more.
    pub fn wipe(&mut self) {
        self.groups.clear();
        self.known_nodes.clear();
        self.operations.clear();
        self.helper.clear();
        self.last_reported = None;
    }

    /// Groups of which there is nothing yet.
    pub fn begin_with(&mut self, groups: &[GroupId]) {
        self.groups.extend(groups.iter().map(|group| (group.0, Files::default())));
    }

    fn alone(&self, other: impl Fn(&Operation) -> bool) -> Result<(), String> {
        match self.operations.values().find(|operation| other(operation)) {
            Some(operation) => Err(format!("asked for while one is out: {operation:.200?}")),
            None => Ok(()),
        }
    }

    /// Whether an operation must wait for another one before it.
    pub fn is_behind(&self, operation: u64) -> bool {
        self.helper.contains(&operation) && self.helper.front() != Some(&operation)
    }

    /// The disk is told to report a write at once, if it is one that lies about that.
    pub fn early_report(&mut self, operation: u64) -> Option<Done> {
        if self.lie != Lie::AcknowledgesEarly {
            return None;
        }
        match self.operations.get(&operation)? {
            Operation::Journal(journal) => {
                let (group, write) = (journal.group, journal.write);
                Some(Done { group, input: Input::JournalWritten { group, write, result: Ok(()) } })
            }
            _ => None,
        }
    }

    /// Fails an operation: what was to be written is there, or not, or in part. `None` if it is one
    /// that doesn't fail, or if nobody is to be told.
    pub fn fail(&mut self, operation: u64, random: &mut Random) -> Option<Done> {
        if self.operations.get(&operation)?.is_silent() {
            return self.complete(operation, false);
        }
        if self.helper.front() == Some(&operation) {
            self.helper.pop_front();
        }
        let error = || IoFailure::Failed("input/output error".to_string());
        let (group, input) = match self.operations.remove(&operation)? {
            Operation::Journal(journal) => {
                let (group, write) = (journal.group, journal.write);
                self.tear(&journal, random);
                (group, Input::JournalWritten { group, write, result: Err(error()) })
            }
            Operation::Vote { group, write, at, page } => {
                self.tear_vote(group, at, &page, random);
                (group, Input::VoteWritten { group, write, result: Err(error()) })
            }
            Operation::Read { group, read, .. } => {
                (group, Input::JournalRead { group, read, result: Err(error()) })
            }
            Operation::Checkpoint { group, position, .. } => {
                (group, Input::CheckpointWritten { group, position, result: Err(error()) })
            }
            Operation::Create { group, segment, .. } => {
                (group, Input::SegmentCreated { group, segment, result: Err(error()) })
            }
            Operation::CreateGroup { group, .. } => {
                (group, Input::GroupCreated { group, result: Err(error()) })
            }
            silent => unreachable!("{silent:?} was looked at before"),
        };
        Some(Done { group, input })
    }

    /// Ends an operation. `None` if nobody is to be told.
    pub fn complete(&mut self, operation: u64, full: bool) -> Option<Done> {
        if self.helper.front() == Some(&operation) {
            self.helper.pop_front();
        }
        let lie = self.lie;
        let failed = |why: &str| Err(IoFailure::Failed(why.to_string()));
        match self.operations.remove(&operation)? {
            Operation::Journal(mut journal) => {
                journal.before = self.apply_journal(&journal);
                let (group, write) = (journal.group, journal.write);
                self.last_reported = Some(journal);
                (lie != Lie::AcknowledgesEarly).then(|| Done {
                    group,
                    input: Input::JournalWritten { group, write, result: Ok(()) },
                })
            }
            Operation::Vote { group, write, at, page } => {
                self.apply_vote(group, at, page.bytes());
                Some(Done { group, input: Input::VoteWritten { group, write, result: Ok(()) } })
            }
            Operation::Read { group, read, segment, at, bytes } => {
                let result = match self.files(group).segments.get(&segment.0) {
                    Some(file) => Ok(MemoryPage::build(bytes, |into| {
                        file.read(at, into);
                        if lie == Lie::ReadsWrong && into.len() > 200 {
                            into[150] ^= 4;
                        }
                    })),
                    None => failed("no such file"),
                };
                Some(Done { group, input: Input::JournalRead { group, read, result } })
            }
            Operation::Checkpoint { group, position, bytes } => {
                let result = if full { Err(IoFailure::NoSpace) } else { Ok(()) };
                if !full && lie != Lie::KeepsOldCheckpoint {
                    self.files(group).checkpoint = Some(bytes.to_vec());
                }
                Some(Done { group, input: Input::CheckpointWritten { group, position, result } })
            }
            Operation::Create { group, segment, header } => {
                let result = if full { Err(IoFailure::NoSpace) } else { Ok(()) };
                if !full {
                    self.apply_create(group, segment, &header);
                }
                Some(Done { group, input: Input::SegmentCreated { group, segment, result } })
            }
            Operation::Remove { group, segment } => {
                self.apply_remove(group, segment);
                None
            }
            Operation::CreateGroup { group, checkpoint } => {
                let result = if full { Err(IoFailure::NoSpace) } else { Ok(()) };
                let result = result.map(|()| {
                    self.apply_create_group(group, &checkpoint);
                    self.group_files(group)
                });
                Some(Done { group, input: Input::GroupCreated { group, result } })
            }
            Operation::RemoveGroup { group, checkpoint } => {
                self.apply_remove_group(group, &checkpoint);
                None
            }
            Operation::Remember { nodes } => {
                self.known_nodes = nodes;
                None
            }
        }
    }

    fn apply_create_group(&mut self, group: GroupId, checkpoint: &Bytes) {
        let files = self.groups.entry(group.0).or_default();
        files.checkpoint.get_or_insert_with(|| checkpoint.to_vec());
        files.is_gone = false;
    }

    fn apply_remove_group(&mut self, group: GroupId, checkpoint: &Bytes) {
        let files = self.files(group);
        let vote = std::mem::take(&mut files.vote);
        let checkpoint = Some(checkpoint.to_vec());
        *files = Files { vote, checkpoint, is_gone: true, ..Files::default() };
    }

    /// Returns what was there before.
    fn apply_journal(&mut self, journal: &Journal) -> Vec<u8> {
        let lie = self.lie;
        let position = journal.segment.0 * self.segment_bytes + journal.at;
        let file = self.files(journal.group).segments.get_mut(&journal.segment.0);
        let file = file.expect("it was there when the write began");
        let mut before = Vec::new();
        if lie == Lie::SkipsTruncation && file.entry(journal.at, Position(position)).is_some() {
            return before;
        }
        if matches!(lie, Lie::DropsWritten | Lie::TearsWritten) {
            before.resize(journal.page.bytes().len(), 0);
            file.read(journal.at, &mut before);
        }
        file.write(journal.at, &journal.page);
        before
    }

    fn apply_vote(&mut self, group: GroupId, at: u64, bytes: &[u8]) {
        let vote = &mut self.files(group).vote;
        vote.resize(VOTE_FILE_BYTES, 0);
        vote[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn apply_create(&mut self, group: GroupId, segment: SegmentId, header: &Bytes) {
        let blocks = self.segment_bytes / ENTRY_ALIGN_BYTES as u64;
        let files = self.files(group);
        // What a spare held stays in it, as in the runtime, which doesn't take one that had the
        // same number or a higher one: what it holds did lie in the same places.
        let usable = files.spares.iter().position(|(number, _)| *number < segment.0);
        let spare = usable.and_then(|at| files.spares.remove(at)).map(|(_, file)| file);
        let mut file = spare.unwrap_or_else(|| Segment::new(blocks));
        file.write(0, &MemoryPage::from(header.to_vec()));
        files.segments.insert(segment.0, file);
    }

    fn apply_remove(&mut self, group: GroupId, segment: SegmentId) {
        let files = self.files(group);
        if let Some(file) = files.segments.remove(&segment.0)
            && files.spares.len() < SPARES_MAX
        {
            files.spares.push_back((segment.0, file));
        }
    }

    /// The node is killed: what is under way is done, not done, or done in part.
    pub fn crash(&mut self, random: &mut Random) {
        let mut helper_goes_on = true;
        // All at once or one by one: both must be survived.
        let fate = random.below(4);
        for (_, operation) in std::mem::take(&mut self.operations) {
            let done = match fate {
                0 => false,
                1 => true,
                _ => random.chance(50),
            };
            match operation {
                Operation::Journal(journal) if done => {
                    self.apply_journal(&journal);
                }
                Operation::Journal(journal) if random.chance(60) => self.tear(&journal, random),
                Operation::Journal(_) | Operation::Read { .. } => {}
                Operation::Vote { group, at, page, .. } => self.tear_vote(group, at, &page, random),
                Operation::Checkpoint { group, bytes, .. } if done => {
                    self.files(group).checkpoint = Some(bytes.to_vec());
                }
                Operation::Checkpoint { .. } => {}
                Operation::Create { group, segment, header } => {
                    helper_goes_on &= done;
                    if helper_goes_on {
                        self.apply_create(group, segment, &header);
                    }
                }
                Operation::Remove { group, segment } => {
                    helper_goes_on &= done;
                    if helper_goes_on {
                        self.apply_remove(group, segment);
                    }
                }
                Operation::CreateGroup { group, checkpoint } => {
                    helper_goes_on &= done;
                    if helper_goes_on {
                        self.apply_create_group(group, &checkpoint);
                    }
                }
                Operation::RemoveGroup { group, checkpoint } => {
                    helper_goes_on &= done;
                    if helper_goes_on {
                        self.apply_remove_group(group, &checkpoint);
                    }
                }
                Operation::Remember { nodes } => {
                    helper_goes_on &= done;
                    if helper_goes_on {
                        self.known_nodes = nodes;
                    }
                }
            }
        }
        self.helper.clear();
        self.break_promise(random);
    }

    fn tear(&mut self, journal: &Journal, random: &mut Random) {
        let new = journal.page.bytes();
        let file = self.files(journal.group).segments.get_mut(&journal.segment.0);
        let Some(file) = file else { return };
        let mut torn = vec![0; new.len()];
        file.read(journal.at, &mut torn);
        let sectors = (new.len() / SECTOR_BYTES) as u64;
        let (low, high) = (random.below(sectors), random.below(sectors));
        let shape = random.below(4);
        for (number, (old, new)) in
            (0..).zip(torn.chunks_mut(SECTOR_BYTES).zip(new.chunks(SECTOR_BYTES)))
        {
            let written = match shape {
                0 => number < low,
                1 => number > low,
                2 => number < low.min(high) || number > low.max(high),
                _ => random.chance(50),
            };
            if written {
                old.copy_from_slice(new);
            }
        }
        file.write(journal.at, &MemoryPage::from(torn));
    }

    fn tear_vote(&mut self, group: GroupId, at: u64, page: &MemoryPage, random: &mut Random) {
        let bytes = match random.below(3) {
            0 => return,
            1 => page.bytes(),
            _ => &page.bytes()[..SECTOR_BYTES * random.between(0, 7) as usize],
        };
        let bytes = bytes.to_vec();
        self.apply_vote(group, at, &bytes);
    }

    fn break_promise(&mut self, random: &mut Random) {
        match self.lie {
            Lie::DropsWritten | Lie::TearsWritten => {
                let Some(journal) = self.last_reported.take() else { return };
                let Some(file) = self.files(journal.group).segments.get_mut(&journal.segment.0)
                else {
                    return;
                };
                file.write(journal.at, &MemoryPage::from(journal.before.clone()));
                if self.lie == Lie::TearsWritten {
                    self.tear(&journal, random);
                }
            }
            Lie::LosesSegment => {
                for files in self.groups.values_mut() {
                    files.segments.pop_last();
                }
            }
            Lie::ForgetsVote => {
                for files in self.groups.values_mut() {
                    files.vote.clear();
                }
            }
            _ => {}
        }
        self.last_reported = None;
    }

    /// A bit flips in what was written long ago: somewhere in these bytes of a journal. Whether
    /// they are still there.
    pub fn rot(
        &mut self,
        group: GroupId,
        position: Position,
        bytes: u32,
        random: &mut Random,
    ) -> bool {
        let (segment, at) = (position.0 / self.segment_bytes, position.0 % self.segment_bytes);
        let Some(file) = self.files(group).segments.get_mut(&segment) else { return false };
        // What an entry says of itself is little, and what most goes by: its size above all.
        let byte = match random.below(3) {
            0 => 8 + random.below(4),
            1 => random.below(ENTRY_HEADER_BYTES as u64),
            _ => random.below(u64::from(bytes)),
        };
        let bit = random.below(8);
        let align = ENTRY_ALIGN_BYTES as u64;
        let block = (at + byte) / align * align;
        let mut found = vec![0; ENTRY_ALIGN_BYTES];
        file.read(block, &mut found);
        found[(at + byte - block) as usize] ^= 1 << bit;
        file.write(block, &MemoryPage::from(found));
        true
    }

    /// Writes an entry in a process that doesn't run yet: at once, and for good.
    pub fn mend(&mut self, group: GroupId, segment: SegmentId, at: u64, bytes: &[u8]) {
        if let Some(file) = self.files(group).segments.get_mut(&segment.0) {
            file.write(at, &MemoryPage::from(bytes.to_vec()));
        }
    }

    /// What lies at a position, if that is a whole entry.
    pub fn entry(&self, group: GroupId, position: Position) -> Option<Vec<u8>> {
        let (segment, at) = (position.0 / self.segment_bytes, position.0 % self.segment_bytes);
        self.groups.get(&group.0)?.segments.get(&segment)?.entry(at, position)
    }

    /// From where on a start reads the journal of a group.
    pub fn read_from(&self, group: GroupId) -> Position {
        let checkpoint = self.groups.get(&group.0).and_then(|files| files.checkpoint.as_ref());
        let decoded = checkpoint.and_then(|bytes| checkpoint::decode(bytes).ok());
        decoded.map_or(Position(0), |checkpoint| checkpoint.applied.end)
    }

    /// Whether a group's journal was given up for a snapshot, which isn't there yet.
    pub fn is_given_up(&self, group: GroupId) -> bool {
        let checkpoint = self.groups.get(&group.0).and_then(|files| files.checkpoint.as_ref());
        checkpoint.is_some_and(|bytes| is_marker(bytes))
    }

    /// What is found of a group at a start.
    pub fn group_files(&self, group: GroupId) -> GroupFiles {
        let files = &self.groups[&group.0];
        GroupFiles {
            segments: files.segments.keys().copied().map(SegmentId).collect(),
            vote: files.vote.clone(),
            checkpoint: files.checkpoint.clone(),
            ..GroupFiles::new(group)
        }
    }

    /// Operations under way.
    pub fn operations(&self) -> usize {
        self.operations.len()
    }
}

impl SegmentSource for Disk {
    fn read(
        &mut self,
        group: GroupId,
        segment: SegmentId,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), String> {
        let file = self.files(group).segments.get(&segment.0).ok_or("no such file")?;
        file.read(at, into);
        Ok(())
    }

    /// No more than what stays in a CPU's cache: most of it is zeros.
    fn window_bytes(&self) -> u64 {
        256 << 10
    }
}
