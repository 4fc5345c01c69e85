//! How recovery and the offline tools read what is on disk.

use crate::model::ids::{GroupId, SegmentId};

/// Files of the groups of one data directory, as they were found before anything was started.
pub trait SegmentSource {
    /// Fills `into` from byte `at` of the segment's file. Bytes past the file's end read as zeros.
    ///
    /// # Errors
    /// What the system said, in words.
    fn read(
        &mut self,
        group: GroupId,
        segment: SegmentId,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), String>;

    /// How many bytes are best read at a time, where many are to be read: whole blocks. By default
    /// so many that a disk reads at full speed, several parts of them at a time.
    fn window_bytes(&self) -> u64 {
        8 << 20
    }
}

/// What was found on disk of one group.
#[derive(Clone, Debug)]
pub struct GroupFiles {
    pub group: GroupId,
    /// The segment files there are, in ascending order. Gaps are allowed here and judged by
    /// recovery.
    pub segments: Vec<SegmentId>,
    /// The vote file, whole. Empty for a new group.
    pub vote: Vec<u8>,
    /// The checkpoint file, whole, if there is one.
    pub checkpoint: Option<Vec<u8>>,
    /// Nothing of its journal is believed, as it is damaged and the others have let go of what is:
    /// the group waits for a snapshot. Not found, but decided before a shard is opened.
    pub wants_snapshot: bool,
}

impl GroupFiles {
    /// Those of a group of which there is nothing.
    pub fn new(group: GroupId) -> GroupFiles {
        let (segments, vote) = (Vec::new(), Vec::new());
        GroupFiles { group, segments, vote, checkpoint: None, wants_snapshot: false }
    }
}
