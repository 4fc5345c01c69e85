//! Every entry of a group's journal, from the oldest segment on, by the rules of recovery.

use serde_json::{Value, json};

use crate::journal::format::{Entry, SEGMENT_HEADER_BYTES};
use crate::journal::recovery::{Chain, JournalFiles, RecoverError, Recovered, recover};
use crate::journal::source::{GroupFiles, SegmentSource};
use crate::model::ids::{GroupId, NodeId, SegmentId};
use crate::model::position::Position;
use crate::replica::vote::VoteFile;

/// Where something is wrong, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPlace {
    pub group: GroupId,
    pub segment: Option<SegmentId>,
    pub position: Option<Position>,
    /// A sentence that names all three.
    pub problem: String,
}

impl BadPlace {
    /// Something wrong with an entry.
    pub fn at(group: GroupId, segment: SegmentId, position: Position, what: &str) -> BadPlace {
        BadPlace {
            group,
            segment: Some(segment),
            position: Some(position),
            problem: format!("group {group}, segment {segment}, position {position}: {what}"),
        }
    }

    /// Something wrong with a group's other files, in a sentence.
    pub fn of_group(group: GroupId, problem: String) -> BadPlace {
        BadPlace { group, segment: None, position: None, problem }
    }

    fn of_recovery(group: GroupId, error: &RecoverError) -> BadPlace {
        let (segment, position) = error.place();
        BadPlace { group, segment: Some(segment), position, problem: error.to_string() }
    }

    /// The place for machines.
    pub fn to_json(&self) -> Value {
        json!({
            "group": self.group.0,
            "segment": self.segment.map(|segment| segment.0),
            "position": self.position.map(|position| position.0),
            "problem": self.problem,
        })
    }
}

/// Hands every entry there still is to `visit`, in order.
///
/// # Errors
/// The first place that can't be trusted. What came before it has been visited.
pub fn walk(
    node: NodeId,
    segment_bytes: u64,
    files: &GroupFiles,
    source: &mut dyn SegmentSource,
    mut visit: impl FnMut(&Entry<'_>),
) -> Result<Recovered, BadPlace> {
    let group = files.group;
    let first = files.segments.first().copied().unwrap_or(SegmentId(0));
    let from = Position(first.0 * segment_bytes + SEGMENT_HEADER_BYTES);
    // What came before the oldest segment is gone, with the chain's beginning.
    let chain = (first.0 == 0).then(Chain::default);
    // A damaged vote file is told of elsewhere.
    let truncation = VoteFile::decode(&files.vote).ok().and_then(|file| file.truncation);
    let segments = &files.segments;
    let journal = JournalFiles { group, node, segment_bytes, segments, truncation };
    let mut begun_at = None;
    let recovered = recover(&journal, from, chain, source, |entry| {
        if *begun_at.get_or_insert(entry.header.position) == from {
            visit(entry);
        }
    })
    .map_err(|error| BadPlace::of_recovery(group, &error))?;
    match begun_at {
        // Without a chain the first whole entry is taken as it is: it must be the first there was.
        Some(position) if position != from => {
            let what = format!("damaged entry: the first whole one lies at position {position}");
            Err(BadPlace::at(group, first, from, &what))
        }
        _ => Ok(recovered),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::journal::page::{MemoryPage, Page};
    use crate::journal::segments::Segments;
    use crate::journal::{EntryStamp, Journal, JournalOutput, JournalTail};
    use crate::model::position::{LogIndex, Term};
    use crate::model::time::Wallclock;

    const SEGMENT_BYTES: u64 = 16 << 10;
    const NODE: NodeId = NodeId(1);
    const FIRST: u64 = 5;

    /// Whole segment files by number.
    struct Disk(BTreeMap<u64, Vec<u8>>);

    impl SegmentSource for Disk {
        fn read(
            &mut self,
            _: GroupId,
            segment: SegmentId,
            at: u64,
            into: &mut [u8],
        ) -> Result<(), String> {
            into.copy_from_slice(&self.0[&segment.0][at as usize..][..into.len()]);
            Ok(())
        }
    }

    /// A journal whose first segments were trimmed, with two entries in each that is left.
    fn trimmed() -> (Disk, GroupFiles) {
        let segments = Segments::new(SEGMENT_BYTES, SegmentId(FIRST), SegmentId(FIRST));
        let append = Position(FIRST * SEGMENT_BYTES);
        let tail = JournalTail { append, last_crc: 77 };
        let mut journal: Journal<MemoryPage> =
            Journal::new(GroupId(2), NODE, segments, tail, 1 << 20);
        let mut disk = Disk(BTreeMap::new());
        journal.prepare_segments();
        for index in 0..5 {
            carry(&mut journal, &mut disk);
            let stamp = EntryStamp {
                term: Term(3),
                index: LogIndex(40 + index),
                leader: NODE,
                appended_at: Wallclock(0),
            };
            journal.append(stamp, &[], |_| ());
        }
        carry(&mut journal, &mut disk);
        let segments = disk.0.keys().copied().map(SegmentId).collect();
        (disk, GroupFiles { segments, ..GroupFiles::new(GroupId(2)) })
    }

    fn carry(journal: &mut Journal<MemoryPage>, disk: &mut Disk) {
        while let Some(output) = journal.poll_output() {
            match output {
                JournalOutput::CreateSegment { segment, header } => {
                    let mut file = header.to_vec();
                    file.resize(SEGMENT_BYTES as usize, 0);
                    disk.0.insert(segment.0, file);
                    journal.on_segment_created(segment);
                }
                JournalOutput::Write { write, segment, at, page } => {
                    let file = disk.0.get_mut(&segment.0).unwrap();
                    file[at as usize..][..page.bytes().len()].copy_from_slice(page.bytes());
                    journal.on_written(write);
                }
                JournalOutput::RemoveSegment { .. } => {}
            }
        }
    }

    fn visited(disk: &mut Disk, files: &GroupFiles) -> (Vec<u64>, Option<BadPlace>) {
        let mut seen = Vec::new();
        let walked = walk(NODE, SEGMENT_BYTES, files, disk, |entry| {
            seen.push(entry.header.index.0);
        });
        (seen, walked.err())
    }

    #[test]
    fn a_trimmed_journal_is_walked_from_its_oldest_segment() {
        let (mut disk, files) = trimmed();
        assert_eq!(visited(&mut disk, &files), (vec![40, 41, 42, 43, 44], None));
    }

    #[test]
    fn damage_before_the_first_whole_entry_is_found_too() {
        let (mut disk, files) = trimmed();
        // All of the oldest segment: the next begins with a whole entry, and no chain says that it
        // isn't the first.
        disk.0.get_mut(&FIRST).unwrap()[4096..].fill(9);
        let (seen, bad) = visited(&mut disk, &files);
        let bad = bad.expect("something is wrong");
        assert!(seen.is_empty());
        assert_eq!(bad.segment, Some(SegmentId(FIRST)));
        assert_eq!(bad.position, Some(Position(FIRST * SEGMENT_BYTES + 4096)));
    }
}
