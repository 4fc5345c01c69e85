//! Two nodes that run, compared by what each tells of its journals.

use anyhow::Result;
use serde_json::{Value, json};

use super::super::FoundBad;
use super::super::output::{print, print_json};
use super::against::{Against, Compared, check_kept, connect};
use crate::model::ids::GroupId;
use crate::model::position::Position;
use crate::runtime::journal_client::JournalClient;
use crate::shard::peers::repair_wire::{EntrySum, JournalPlace};

/// One group of the first node, and what came of it.
struct Walked {
    group: GroupId,
    /// No whole entry lies there behind this position.
    damaged: Option<Position>,
    compared: Compared,
}

/// Compares all groups that both nodes have, and tells what was found.
///
/// # Errors
/// A sentence, if a node can't be asked or they have no group in common; [`FoundBad`] if they
/// differ.
pub fn compare(node: &str, against: &str, json: bool) -> Result<()> {
    let mut here = connect(node, "")?;
    let mut there = connect(against, &here.hello().cluster_id)?;
    there.check_shape(here.hello().segment_bytes)?;
    let mut walked = Vec::new();
    for group in (0..here.hello().groups).map(GroupId) {
        walked.extend(walk(&mut here, &mut there, group)?);
    }
    check_kept(&there, walked.iter().map(|group| &group.compared))?;
    let is_ok = walked.iter().all(|group| group.damaged.is_none() && group.compared.is_equal());
    if json {
        let groups: Vec<Value> = walked.iter().map(Walked::to_json).collect();
        print_json(&json!({ "node": node, "ok": is_ok, "groups": groups }))?;
    } else {
        print(&walked.iter().map(Walked::to_text).collect::<String>())?;
    }
    if is_ok { Ok(()) } else { Err(FoundBad.into()) }
}

/// One group; `None` if the first node has no replica of it.
fn walk(
    here: &mut JournalClient,
    there: &mut JournalClient,
    group: GroupId,
) -> Result<Option<Walked>> {
    let mut place = JournalPlace { group, at: Position(0), previous_crc: None };
    // All that the first node tells of is committed.
    let mut against = Against::new(there, group, Position(u64::MAX));
    while let Some(sums) = here.sums(place)? {
        let ends = sums.entries.iter().skip(1).map(|entry| entry.position).chain([sums.next]);
        for (entry, end) in sums.entries.iter().zip(ends) {
            against.entry(EntrySum { ..*entry }, end)?;
        }
        let last = sums.entries.last().map(|entry| entry.crc);
        if last.is_none() || against.is_done() {
            let damaged = sums.is_damaged.then_some(sums.next);
            return Ok(Some(Walked { group, damaged, compared: against.finish() }));
        }
        place = JournalPlace { at: sums.next, previous_crc: last, ..place };
    }
    Ok(None)
}

impl Walked {
    fn to_text(&self) -> String {
        let bad = self.damaged.map_or("  ok\n".to_owned(), |position| {
            format!("  BAD: no whole entry lies behind position {position}\n")
        });
        format!("group {}:\n{bad}{}", self.group, self.compared.to_text())
    }

    fn to_json(&self) -> Value {
        json!({
            "group": self.group.0,
            "bad": self.damaged.map(|position| json!({ "position": position.0 })),
            "against": self.compared.to_json(),
        })
    }
}
