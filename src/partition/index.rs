//! Offset -> place in the journal.
//!
//! Dense for the runs that are in the journal cache, so that a tail reader gets slices of pages
//! without a search; sparse for what is only on disk, so that memory grows with the bytes a
//! partition holds and not with the number of its batches. That a batch lies in a journal at all
//! is known to no one above this file.

use std::collections::{VecDeque, vec_deque};

use crate::model::position::{Offset, Position};

/// A landmark is kept when this much of the partition lies behind the one before,
const LANDMARK_BYTES: u64 = 16 << 10;
/// or this much of the journal, so that a thin partition's records are found without reading all
/// of its neighbours'.
const LANDMARK_JOURNAL_BYTES: u64 = 64 << 20;

/// A run of batches and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunPlace {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// The entry that holds it.
    pub entry: Position,
    /// Its first byte in the entry.
    pub at: u32,
    pub bytes: u32,
    pub max_timestamp: i64,
}

/// One place in the journal from which a reader finds all that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landmark {
    /// The first offset of the run it stands at.
    pub offset: Offset,
    pub entry: Position,
    /// The partition's bytes before it.
    pub bytes_before: u64,
    /// The largest timestamp before it, `i64::MIN` if none.
    pub max_timestamp_before: i64,
}

impl Landmark {
    fn at(run: &RunPlace, bytes_before: u64, timestamp_before: Option<i64>) -> Landmark {
        Landmark {
            offset: run.base_offset,
            entry: run.entry,
            bytes_before,
            max_timestamp_before: timestamp_before.unwrap_or(i64::MIN),
        }
    }
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the cache: `recent` run number so much.
    Recent(usize),
    /// On disk: at this entry or behind it.
    Journal(Position),
}

/// The index of one partition.
#[derive(Clone, Debug, Default)]
pub struct Index {
    landmarks: VecDeque<Landmark>,
    /// Runs in the cache, oldest first, and before them some that have left it.
    recent: VecDeque<RunPlace>,
    /// Bytes of all runs ever appended, those trimmed included.
    bytes_appended: u64,
    /// The bytes that `recent` accounts for.
    recent_bytes: u64,
    max_timestamp: Option<i64>,
    /// The largest timestamp of what isn't recent.
    evicted_max_timestamp: Option<i64>,
}

impl Index {
    /// Adds the newest run.
    pub fn append(&mut self, run: RunPlace) {
        self.bytes_appended += u64::from(run.bytes);
        self.recent_bytes += u64::from(run.bytes);
        self.max_timestamp = Some(self.max_timestamp.unwrap_or(i64::MIN).max(run.max_timestamp));
        self.recent.push_back(run);
    }

    /// The cache begins at `start` now: what lies before it is found by landmarks from now on. It
    /// may come late, since `locate` is told where the cache begins.
    pub fn evict_before(&mut self, start: Position) {
        while self.recent.front().is_some_and(|run| run.entry < start) {
            let run = self.recent.pop_front().expect("it was just seen");
            let bytes_before = self.bytes_appended - self.recent_bytes;
            self.recent_bytes -= u64::from(run.bytes);
            let landmark = Landmark::at(&run, bytes_before, self.evicted_max_timestamp);
            self.evicted_max_timestamp = self.evicted_max_timestamp.max(Some(run.max_timestamp));
            if self.landmarks.back().is_none_or(|last| is_far(last, &landmark)) {
                self.landmarks.push_back(landmark);
            }
        }
    }

    /// Forgets all that lies in entries at `cut` or behind it: `bytes` bytes of this partition.
    /// Timestamps seen there stay the largest, which makes a look-up by time search in vain.
    pub fn truncate(&mut self, cut: Position, bytes: u64) {
        self.bytes_appended -= bytes;
        while self.recent.back().is_some_and(|run| run.entry >= cut) {
            let run = self.recent.pop_back().expect("it was just seen");
            self.recent_bytes -= u64::from(run.bytes);
        }
        while self.landmarks.back().is_some_and(|landmark| landmark.entry >= cut) {
            self.landmarks.pop_back();
        }
    }

    /// Forgets what only serves offsets before `log_start`.
    pub fn trim(&mut self, log_start: Offset) {
        while self.landmarks.get(1).is_some_and(|next| next.offset <= log_start) {
            self.landmarks.pop_front();
        }
        let all_recent = self.recent.front().is_some_and(|run| run.base_offset <= log_start);
        if all_recent {
            self.landmarks.clear();
        }
    }

    /// Where the batch with this offset, which lies before the log's end, is found. `None` if
    /// nothing is known as far back. `cached_from` says where the cache begins.
    pub fn locate(&self, offset: Offset, cached_from: Position) -> Option<Place> {
        if self.recent.front().is_some_and(|run| run.base_offset <= offset) {
            let at = self.recent.partition_point(|run| run.last_offset < offset);
            let entry = self.recent.get(at)?.entry;
            let cached = entry >= cached_from;
            return Some(if cached { Place::Recent(at) } else { Place::Journal(entry) });
        }
        let after = self.landmarks.partition_point(|landmark| landmark.offset <= offset);
        let landmark = self.landmarks.get(after.checked_sub(1)?)?;
        Some(Place::Journal(landmark.entry))
    }

    /// The journal position from which on the batch with this offset is found.
    pub fn position_of(&self, offset: Offset) -> Option<Position> {
        match self.locate(offset, Position(0))? {
            Place::Recent(at) => Some(self.recent[at].entry),
            Place::Journal(position) => Some(position),
        }
    }

    /// The runs from recent run number `at` on.
    pub fn recent_from(&self, at: usize) -> impl Iterator<Item = &RunPlace> {
        self.recent.range(at.min(self.recent.len())..)
    }

    /// The offset to look from for the first record with `timestamp` or a later one: no earlier
    /// record has one. `None` if none has.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Option<Offset> {
        if self.max_timestamp.is_none_or(|largest| largest < timestamp) {
            return None;
        }
        let after =
            self.landmarks.partition_point(|landmark| landmark.max_timestamp_before < timestamp);
        if self.evicted_max_timestamp.is_some_and(|largest| largest >= timestamp) {
            return Some(self.landmarks[after.checked_sub(1)?].offset);
        }
        self.recent.iter().find(|run| run.max_timestamp >= timestamp).map(|run| run.base_offset)
    }

    /// The largest timestamp of the runs in the cache, and the first offset of its run.
    pub fn largest_recent_timestamp(&self) -> Option<(i64, Offset)> {
        let runs = self.recent.iter().map(|run| (run.max_timestamp, run.base_offset));
        runs.max_by_key(|(timestamp, offset)| (*timestamp, std::cmp::Reverse(*offset)))
    }

    /// The offset of the first landmark or recent run such that everything before it may go
    /// under `retention`: the largest one found, at most `end`.
    pub fn retained_from(&self, retention: &Retention, end: Offset) -> Option<Offset> {
        let bytes_total = self.bytes_appended;
        let mut found = None;
        let mut recent_before = bytes_total - self.recent_bytes;
        let mut max_timestamp = self.evicted_max_timestamp.unwrap_or(i64::MIN);
        for landmark in &self.landmarks {
            if landmark.offset > end
                || !retention
                    .drops(bytes_total - landmark.bytes_before, landmark.max_timestamp_before)
            {
                return found;
            }
            found = Some(landmark.offset);
        }
        for run in &self.recent {
            if run.base_offset > end || !retention.drops(bytes_total - recent_before, max_timestamp)
            {
                return found;
            }
            found = Some(run.base_offset);
            recent_before += u64::from(run.bytes);
            max_timestamp = max_timestamp.max(run.max_timestamp);
        }
        let all_old = retention.timestamp.is_some_and(|oldest| max_timestamp < oldest);
        if all_old { Some(end) } else { found }
    }

    /// Bytes of the partition from `offset` on, about.
    pub fn bytes_from(&self, offset: Offset) -> u64 {
        let after = self.landmarks.partition_point(|landmark| landmark.offset <= offset);
        let recent_start = self.recent.front().map(|run| run.base_offset);
        if recent_start.is_some_and(|start| start <= offset) {
            let at = self.recent.partition_point(|run| run.last_offset < offset);
            return self.recent.range(at..).map(|run| u64::from(run.bytes)).sum();
        }
        let before = after.checked_sub(1).map_or(0, |at| self.landmarks[at].bytes_before);
        self.bytes_appended - before
    }

    /// What there will be of the runs before `end`, behind which are so many `bytes`, when none is
    /// recent any more, as after a restart.
    pub(super) fn settled(&self, end: Offset, bytes: u64) -> Settled<'_> {
        let landmarks = self.landmarks.partition_point(|landmark| landmark.offset < end);
        let mut settled = Settled {
            landmarks: self.landmarks.range(..landmarks),
            more: Vec::new(),
            // Less, if the partition was deleted and made anew while they were on their way.
            bytes_appended: self.bytes_appended.saturating_sub(bytes),
            max_timestamp: self.evicted_max_timestamp,
            largest: None,
        };
        let mut last = landmarks.checked_sub(1).map(|last| self.landmarks[last]);
        let mut bytes_before = self.bytes_appended - self.recent_bytes;
        for run in self.recent.iter().take_while(|run| run.base_offset < end) {
            let landmark = Landmark::at(run, bytes_before, settled.max_timestamp);
            bytes_before += u64::from(run.bytes);
            settled.max_timestamp = settled.max_timestamp.max(Some(run.max_timestamp));
            if settled.largest.is_none_or(|(largest, _)| run.max_timestamp > largest) {
                settled.largest = Some((run.max_timestamp, run.base_offset));
            }
            if last.is_none_or(|last| is_far(&last, &landmark)) {
                last = Some(landmark);
                settled.more.push(landmark);
            }
        }
        settled
    }

    pub(super) fn from_parts(
        landmarks: Vec<Landmark>,
        bytes_appended: u64,
        max_timestamp: Option<i64>,
    ) -> Index {
        Index {
            landmarks: landmarks.into(),
            recent: VecDeque::new(),
            bytes_appended,
            recent_bytes: 0,
            max_timestamp,
            evicted_max_timestamp: max_timestamp,
        }
    }
}

/// An index without recent runs.
pub(super) struct Settled<'a> {
    /// Landmarks there are, and those of runs that are recent now.
    pub landmarks: vec_deque::Iter<'a, Landmark>,
    pub more: Vec<Landmark>,
    pub bytes_appended: u64,
    pub max_timestamp: Option<i64>,
    /// The largest timestamp of runs that are recent now, and the first offset of its run.
    pub largest: Option<(i64, Offset)>,
}

/// What a topic says about keeping records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Records before this time may go.
    pub timestamp: Option<i64>,
    /// As many bytes at least are kept.
    pub bytes: Option<u64>,
}

impl Retention {
    /// Whether all that lies before a place may go, given the bytes from that place to the end
    /// and the largest timestamp before it.
    fn drops(&self, bytes_behind: u64, max_timestamp_before: i64) -> bool {
        let too_old = self.timestamp.is_some_and(|oldest| max_timestamp_before < oldest);
        let too_much = self.bytes.is_some_and(|bytes| bytes_behind >= bytes);
        too_old || too_much
    }
}

fn is_far(last: &Landmark, next: &Landmark) -> bool {
    next.bytes_before - last.bytes_before >= LANDMARK_BYTES
        || next.entry.0 - last.entry.0 >= LANDMARK_JOURNAL_BYTES
}
