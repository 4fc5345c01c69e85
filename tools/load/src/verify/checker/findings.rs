//! What the checker has found.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Examples that are kept of each anomaly.
const EXAMPLES_MAX: usize = 5;

/// What can be wrong. Each is explained in `docs/verify.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Anomaly {
    /// Acknowledged, and not there.
    Lost,
    /// There more than once.
    Duplicated,
    /// Behind a later record of the same producer.
    Reordered,
    /// Damaged.
    Corrupt,
    /// Refused for good, and there all the same.
    RefusedButThere,
    /// A consumer saw it, and nothing is at its offset now.
    Vanished,
    /// A consumer saw one record at an offset, and another is there now.
    Divergent,
    /// A consumer that read on was never given it.
    Skipped,
    /// A consumer was given it again, or from before where it asked.
    WentBack,
    /// Acknowledged with another offset than it has.
    WrongOffset,
    /// There, and never sent.
    Invented,
    /// Acknowledged, and removed from the front of the log before it could be read.
    Trimmed,
    /// Acknowledged, and the last read did not get that far.
    Unchecked,
}

impl Anomaly {
    /// All of them, in the order of a report.
    pub const ALL: [Anomaly; 13] = [
        Anomaly::Lost,
        Anomaly::Duplicated,
        Anomaly::Reordered,
        Anomaly::Corrupt,
        Anomaly::RefusedButThere,
        Anomaly::Vanished,
        Anomaly::Divergent,
        Anomaly::Skipped,
        Anomaly::WentBack,
        Anomaly::WrongOffset,
        Anomaly::Invented,
        Anomaly::Trimmed,
        Anomaly::Unchecked,
    ];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Anomaly::Lost => "lost",
            Anomaly::Duplicated => "duplicated",
            Anomaly::Reordered => "reordered",
            Anomaly::Corrupt => "corrupt",
            Anomaly::RefusedButThere => "refused but there",
            Anomaly::Vanished => "vanished",
            Anomaly::Divergent => "divergent",
            Anomaly::Skipped => "skipped",
            Anomaly::WentBack => "went back",
            Anomaly::WrongOffset => "wrong offset",
            Anomaly::Invented => "invented",
            Anomaly::Trimmed => "trimmed",
            Anomaly::Unchecked => "unchecked",
        }
    }
}

/// A record with which something is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Example {
    pub partition: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// The consumer that saw it; none is the last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<usize>,
    /// What is there instead, or why it is wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {}", self.partition)?;
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        if let (Some(producer), Some(sequence)) = (self.producer, self.sequence) {
            write!(f, ", producer {producer}'s record {sequence}")?;
        }
        if let Some(consumer) = self.consumer {
            write!(f, ", seen by consumer {consumer}")?;
        }
        if !self.note.is_empty() {
            write!(f, ": {}", self.note)?;
        }
        Ok(())
    }
}

/// How many records one thing is wrong with, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    pub records: u64,
    pub examples: Vec<Example>,
}

/// What the checker has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    found: BTreeMap<Anomaly, Found>,
    /// There more than once, as may happen to who sends again without idempotence.
    pub duplicated_by_retries: u64,
    /// Out of order for the same reason.
    pub reordered_by_retries: u64,
    /// Different records of this run that are there.
    pub there: u64,
    /// Of those, records whose outcome was not known.
    pub unknown_but_there: u64,
}

impl Findings {
    /// Something is wrong with so many records, the first of which is this one.
    pub fn add(&mut self, anomaly: Anomaly, records: u64, example: impl FnOnce() -> Example) {
        if records == 0 {
            return;
        }
        let found = self.found.entry(anomaly).or_default();
        found.records += records;
        if found.examples.len() < EXAMPLES_MAX {
            found.examples.push(example());
        }
    }

    /// What is known of one anomaly.
    pub fn of(&self, anomaly: Anomaly) -> Found {
        self.found.get(&anomaly).cloned().unwrap_or_default()
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    /// The anomalies that were found, with how many records each has.
    pub fn counts(&self) -> Vec<(Anomaly, u64)> {
        self.found.iter().map(|(anomaly, found)| (*anomaly, found.records)).collect()
    }
}
