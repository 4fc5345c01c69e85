//! What was seen, and nothing of what it means: what the broker told producers, and what readers
//! read.

use serde::{Deserialize, Serialize};

use super::runs::{Ranges, Run, Runs};

/// What became of one producer's records for one partition, as far as the broker told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Told {
    /// Sequences below this one were given out.
    pub given_out: u64,
    /// Acknowledged, with offsets.
    pub acked: Runs,
    /// Acknowledged without an offset: the broker knew the batch, but not where it is any more.
    pub acked_somewhere: Ranges,
    /// No answer settled it: may be there or not.
    pub unknown: Ranges,
    /// Refused for good: must not be there.
    pub refused: Ranges,
    /// Sent more than once.
    pub resent: Ranges,
    /// How often the broker did not remember this producer's last record, so that it had to begin
    /// a new sequence.
    pub new_epochs: u64,
}

/// What a reader saw of one partition.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The offset it began at.
    pub from: i64,
    /// It has read everything before this offset that there was.
    pub until: i64,
    /// Whether it got as far as it should have.
    pub complete: bool,
    /// The records, by ascending offset.
    pub records: Runs,
    /// Offsets whose records were damaged.
    pub corrupt: Ranges,
    /// Offsets that it could not read, because the log began behind them by then.
    pub trimmed: Ranges,
    /// Records that lay before the offset that was asked for, where the broker must not go.
    pub backwards: Vec<Run>,
    /// Records that other runs or other programs wrote.
    pub foreign: u64,
}

/// All that is known of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Partition<'a> {
    pub number: i32,
    /// By producer.
    pub told: &'a [&'a Told],
    /// The read from the beginning to the end, once all had settled.
    pub at_rest: &'a View,
    /// By consumer, while all went on.
    pub live: &'a [&'a View],
}
