//! Two copies of one journal, held against each other entry by entry.
//!
//! An entry's checksum covers that of the entry before it, so equal checksums mean equal journals
//! up to there. Compared is what the other node, which runs, says is committed and on its disk.

use std::collections::VecDeque;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::super::UsageError;
use crate::model::ids::GroupId;
use crate::model::position::Position;
use crate::runtime::journal_client::JournalClient;
use crate::shard::peers::repair_wire::{EntrySum, JournalPlace};

/// Connects to the node at an address that somebody has typed, of the cluster with this id unless
/// it is empty.
///
/// # Errors
/// A sentence that names the address.
pub fn connect(address: &str, cluster_id: &str) -> Result<JournalClient> {
    let parts = address.rsplit_once(':');
    let parsed = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let Some((host, port)) = parsed else {
        let what = "is not the address of a node; write it as HOST:PORT";
        return Err(UsageError(format!("{address:?} {what}")).into());
    };
    JournalClient::connect(host, port, cluster_id)
}

/// Sees to it that something was compared.
///
/// # Errors
/// A sentence, if the other node has a replica of none of the groups.
pub fn check_kept<'a>(
    remote: &JournalClient,
    mut all: impl Iterator<Item = &'a Compared>,
) -> Result<()> {
    if !all.any(Compared::is_kept) {
        let (address, node) = (remote.address(), remote.hello().node);
        bail!(
            "{address} is node {node} and has a replica of none of these groups: compare with \
             another node"
        );
    }
    Ok(())
}

/// One group's journal against that of another node.
pub struct Against<'a> {
    remote: &'a mut JournalClient,
    group: GroupId,
    /// What lies before is committed here for sure.
    committed: Position,
    /// Where to ask next; `None` before the first question.
    place: Option<JournalPlace>,
    theirs: VecDeque<EntrySum>,
    /// The other node can tell no more.
    at_end: bool,
    /// There lies no whole entry there.
    damaged_there: Option<Position>,
    compared: Compared,
    is_done: bool,
}

/// What a comparison has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    against: String,
    /// Entries that are the same on both sides.
    entries: u64,
    from: Option<Position>,
    /// All before this is the same, as far as both have it.
    equal_to: Position,
    verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Equal,
    /// The other node has no replica of the group.
    NotKept,
    DamagedThere,
    Differs {
        here: EntrySum,
        there: EntrySum,
    },
    /// Entries here that were never committed, and in whose place others were.
    Replaced {
        here: EntrySum,
        there: EntrySum,
    },
}

impl<'a> Against<'a> {
    /// Nothing is compared yet. What lies before `committed` is committed here for sure.
    pub fn new(remote: &'a mut JournalClient, group: GroupId, committed: Position) -> Against<'a> {
        let compared = Compared {
            against: remote.address().to_owned(),
            entries: 0,
            from: None,
            equal_to: Position(0),
            verdict: Verdict::Equal,
        };
        Against {
            remote,
            group,
            committed,
            place: None,
            theirs: VecDeque::new(),
            at_end: false,
            damaged_there: None,
            compared,
            is_done: false,
        }
    }

    /// Takes the next entry that is here.
    ///
    /// # Errors
    /// A sentence, if the other node can't be asked.
    pub fn entry(&mut self, here: EntrySum, end: Position) -> Result<()> {
        if self.is_done || !self.ask(here.position)? {
            return Ok(());
        }
        let Some(there) = self.theirs.front().copied() else {
            // Either it can tell no more, or what lies there is damaged.
            self.end(if self.at_end { Verdict::Equal } else { Verdict::DamagedThere });
            return Ok(());
        };
        if here.position < there.position && self.compared.from.is_none() {
            // The other node has let go of it.
            return Ok(());
        }
        if here == there {
            self.theirs.pop_front();
            self.compared.entries += 1;
            self.compared.from.get_or_insert(here.position);
            self.compared.equal_to = end;
        } else if here.position >= self.committed && here.term < there.term {
            self.end(Verdict::Replaced { here, there });
        } else {
            self.end(Verdict::Differs { here, there });
        }
        Ok(())
    }

    fn end(&mut self, verdict: Verdict) {
        self.compared.verdict = verdict;
        self.is_done = true;
    }

    /// Sees to it that the other node's next entries are here, if there are any. Returns whether
    /// it keeps the group.
    fn ask(&mut self, first: Position) -> Result<bool> {
        let begin = JournalPlace { group: self.group, at: first, previous_crc: None };
        while self.theirs.is_empty() && !self.at_end && self.damaged_there.is_none() {
            let place = *self.place.get_or_insert(begin);
            let Some(sums) = self.remote.sums(place)? else {
                self.end(Verdict::NotKept);
                return Ok(false);
            };
            self.damaged_there = sums.is_damaged.then_some(sums.next);
            self.at_end = sums.entries.is_empty() && !sums.is_damaged;
            let last = sums.entries.last().map(|entry| entry.crc);
            let previous_crc = last.or(place.previous_crc);
            self.place = Some(JournalPlace { at: sums.next, previous_crc, ..place });
            self.theirs.extend(sums.entries);
        }
        Ok(true)
    }

    /// Whether more entries change nothing.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// All entries that are here have been taken.
    pub fn finish(self) -> Compared {
        self.compared
    }
}

impl Compared {
    /// Whether the journals are the same as far as both have them.
    pub fn is_equal(&self) -> bool {
        matches!(self.verdict, Verdict::Equal | Verdict::Replaced { .. } | Verdict::NotKept)
    }

    /// Whether the other node has the group.
    pub fn is_kept(&self) -> bool {
        self.verdict != Verdict::NotKept
    }

    /// A line for people.
    pub fn to_text(&self) -> String {
        let Compared { against, entries, equal_to, .. } = self;
        let same = match (self.from, entries) {
            (Some(from), _) => {
                format!("entries {entries} are equal, positions {from} to {equal_to}")
            }
            (None, _) => "there is nothing that both have".to_owned(),
        };
        let told = match &self.verdict {
            Verdict::Equal => same,
            Verdict::NotKept => "has no replica of this group".to_owned(),
            Verdict::DamagedThere => {
                format!("BAD: it has no whole entry behind position {equal_to}; {same}")
            }
            Verdict::Differs { here, there } => format!(
                "DIFFERS from position {} on: here {}, there {}; {same}",
                here.position.min(there.position),
                sum_to_text(here),
                sum_to_text(there),
            ),
            Verdict::Replaced { here, there } => format!(
                "{same}; what lies here from position {} on was never committed ({}, there {}), \
                 and is cut off when this node starts",
                here.position,
                sum_to_text(here),
                sum_to_text(there),
            ),
        };
        format!("  against {against}: {told}\n")
    }

    /// The same for machines.
    pub fn to_json(&self) -> Value {
        let (verdict, differs_at) = match &self.verdict {
            Verdict::Equal => ("equal", None),
            Verdict::NotKept => ("not kept", None),
            Verdict::DamagedThere => ("damaged there", Some(self.equal_to)),
            Verdict::Differs { here, there } => {
                ("differs", Some(here.position.min(there.position)))
            }
            Verdict::Replaced { here, .. } => ("replaced", Some(here.position)),
        };
        json!({
            "against": self.against,
            "verdict": verdict,
            "entries": self.entries,
            "from": self.from.map(|position| position.0),
            "equal_to": self.equal_to.0,
            "differs_at": differs_at.map(|position| position.0),
        })
    }
}

fn sum_to_text(sum: &EntrySum) -> String {
    format!("checksum {:08x} of term {} at {}", sum.crc, sum.term, sum.position)
}
