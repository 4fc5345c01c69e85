//! Every entry of a group's journal, from the oldest segment on, by the rules of recovery.

use serde_json::{Value, json};

use crate::journal::format::{Entry, SEGMENT_HEADER_BYTES};
use crate::journal::recovery::{Chain, JournalFiles, RecoverError, Recovered, recover};
use crate::journal::source::{GroupFiles, SegmentSource};
use crate::model::ids::{GroupId, NodeId, SegmentId};
use crate::model::position::Position;

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
    let journal = JournalFiles { group, node, segment_bytes, segments: &files.segments };
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
