//! What must hold whatever happens: one rule, one file.
//!
//! `durability`, `offsets`, `idempotence`, `order` and `visibility` watch what clients are told;
//! `progress` and `queues` look into the shards after each turn; `responses`, `deadlines` and
//! `liveness` watch when clients are told anything at all.

pub mod deadlines;
pub mod durability;
pub mod idempotence;
pub mod liveness;
pub mod offsets;
pub mod order;
pub mod progress;
pub mod queues;
pub mod responses;
pub mod visibility;

use crate::connection::{PartitionId, SentBatch};
use crate::wire::Fetched;

/// The rules about records, together.
#[derive(Debug, Default)]
pub struct Checks {
    pub durability: durability::Durability,
    pub offsets: offsets::Offsets,
    pub idempotence: idempotence::Idempotence,
    pub order: order::Order,
    pub visibility: visibility::Visibility,
    pub progress: progress::ProgressCheck,
}

/// A partition's part of a Fetch response.
#[derive(Clone, Debug)]
pub struct FetchedPart {
    pub partition: PartitionId,
    /// The offset that was asked for.
    pub from: i64,
    pub high_watermark: i64,
    pub log_start: i64,
    pub records: Vec<Fetched>,
}

impl Checks {
    /// A batch was acknowledged.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn acknowledged(
        &mut self,
        batch: &SentBatch,
        base_offset: i64,
        survives_crash: bool,
    ) -> Result<(), String> {
        self.durability.acknowledged(batch, base_offset, survives_crash)
    }

    /// Records were fetched.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn fetched(&mut self, part: &FetchedPart) -> Result<(), String> {
        self.visibility.fetched(part)?;
        let new = self.offsets.fetched(part)?;
        for fetched in new {
            self.durability.seen(part.partition, &fetched)?;
            self.idempotence.seen(part.partition, &fetched)?;
            self.order.seen(part.partition, &fetched)?;
        }
        Ok(())
    }

    /// The process was killed.
    pub fn crashed(&mut self) {
        self.durability.crashed();
        self.progress.restarted();
    }

    /// The process has stopped in order.
    pub fn stopped(&mut self) {
        self.progress.restarted();
    }

    /// All of a partition was fetched, and nothing is written any more.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn audited(
        &mut self,
        partition: PartitionId,
        log_start: i64,
        end: i64,
        records: &[Fetched],
    ) -> Result<(), String> {
        self.offsets.audited(partition, log_start, end, records)?;
        self.durability.audited(partition, log_start, end, records)
    }

    /// A topic is deleted: nothing is promised of it any more.
    pub fn forget(&mut self, topic: &[u8; 16]) {
        self.durability.forget(topic);
        self.offsets.forget(topic);
    }
}

/// A partition's name in a message.
pub fn name(partition: &PartitionId) -> String {
    let [a, b, ..] = partition.0;
    format!("partition {} of topic {a:02x}{b:02x}..", partition.1)
}
