//! The coordinator of one Raft group's consumer groups, on the shard that leads it.
//!
//! Decisions become records, records are handed out in numbered batches to be appended, and when
//! the journal has applied a batch, whoever waited for it is answered. It is made from the store
//! when this shard becomes leader, and dropped when it no longer is.

use std::collections::VecDeque;

use crate::coordinator::classic::{Answer, Caller, Classic, Context, Fault, Proposal, Then};
use crate::coordinator::record::{CommittedOffset, Record};
use crate::coordinator::store::Store;
use crate::limits::{CONSUMER_GROUPS_MAX, ENTRY_BYTES_TARGET};
use crate::model::ids::PartitionKey;
use crate::model::time::Time;

/// The leader's state.
#[derive(Debug)]
pub struct Coordinator {
    /// Groups that use the classic protocol and have members.
    pub classic: Classic,
    /// Who is to be answered with the last record that waits to be taken.
    riders: Vec<Caller>,
    /// The number of the next batch, and of the oldest that isn't applied.
    next_batch: u64,
    first_batch: u64,
    /// What is done when each of them is applied.
    unapplied: VecDeque<Batch>,
    unapplied_bytes: usize,
}

#[derive(Debug)]
struct Batch {
    bytes: usize,
    then: Vec<Then>,
}

impl Coordinator {
    /// Goes on where the last leader left off.
    pub fn recover(store: &Store, now: Time) -> Coordinator {
        Coordinator {
            classic: Classic::recover(store, now),
            riders: Vec::new(),
            next_batch: 0,
            first_batch: 0,
            unapplied: VecDeque::new(),
            unapplied_bytes: 0,
        }
    }

    /// Commits offsets; the caller is answered when they are recorded. Whether it may was asked
    /// before (`Classic::may_commit`).
    ///
    /// # Errors
    /// If that would make one group too many.
    pub fn commit(
        &mut self,
        context: Context<'_>,
        caller: Caller,
        group: String,
        offsets: Vec<(PartitionKey, CommittedOffset)>,
    ) -> Result<(), Fault> {
        let is_new = context.store.group(&group).is_none() && self.classic.group(&group).is_none();
        if is_new && context.store.len() >= CONSUMER_GROUPS_MAX {
            return Err(Fault::TooManyGroups);
        }
        self.propose(Record::OffsetsCommitted { group, offsets }, caller);
        Ok(())
    }

    /// Deletes offsets; the caller is answered when that is recorded.
    pub fn delete_offsets(&mut self, caller: Caller, group: String, keys: Vec<PartitionKey>) {
        self.propose(Record::OffsetsDeleted { group, partitions: keys }, caller);
    }

    /// Deletes a group without members; the caller is answered when that is recorded.
    ///
    /// # Errors
    /// If it has members, or isn't there.
    pub fn delete_group(
        &mut self,
        context: Context<'_>,
        caller: Caller,
        group: String,
    ) -> Result<(), Fault> {
        self.classic.may_delete(context, &group)?;
        self.classic.deleted(&group);
        self.propose(Record::GroupDeleted { group }, caller);
        Ok(())
    }

    /// Records something that nobody waits for.
    pub fn record(&mut self, record: Record) {
        self.classic.outbox.proposals.push(Proposal { record, then: Then::Nothing });
    }

    fn propose(&mut self, record: Record, caller: Caller) {
        self.classic
            .outbox
            .proposals
            .push(Proposal { record, then: Then::Answer(caller, Answer::Done) });
    }

    /// The answers there are since the last call.
    pub fn take_answers(&mut self) -> Vec<(Caller, Answer)> {
        std::mem::take(&mut self.classic.outbox.answers)
    }

    /// Records to be appended, with the number to be told when they are applied. Batches are to be
    /// appended in their order.
    pub fn take_batch(&mut self) -> Option<(u64, Vec<u8>)> {
        let mut data = Vec::new();
        let mut then = Vec::new();
        let mut taken = 0;
        for proposal in &self.classic.outbox.proposals {
            proposal.record.encode(&mut data);
            taken += 1;
            if data.len() >= ENTRY_BYTES_TARGET {
                break;
            }
        }
        if taken == 0 {
            return None;
        }
        then.extend(self.classic.outbox.proposals.drain(..taken).map(|proposal| proposal.then));
        if self.classic.outbox.proposals.is_empty() {
            let riders = std::mem::take(&mut self.riders);
            then.extend(riders.into_iter().map(|caller| Then::Answer(caller, Answer::Done)));
        }
        let number = self.next_batch;
        self.next_batch += 1;
        self.unapplied_bytes += data.len();
        self.unapplied.push_back(Batch { bytes: data.len(), then });
        Some((number, data))
    }

    /// A batch has been applied, and with it all before.
    pub fn applied(&mut self, context: Context<'_>, batch: u64) {
        while self.first_batch <= batch
            && let Some(Batch { bytes, then }) = self.unapplied.pop_front()
        {
            self.first_batch += 1;
            self.unapplied_bytes -= bytes;
            for then in then {
                self.classic.applied(context, then);
            }
        }
    }

    /// Bytes of records that are decided and not applied.
    pub fn unapplied_bytes(&self) -> usize {
        self.unapplied_bytes
    }

    /// Whether all that has been decided is applied.
    pub fn is_settled(&self) -> bool {
        self.classic.outbox.proposals.is_empty() && self.unapplied.is_empty()
    }

    /// Answers somebody when all that has been decided so far is applied.
    pub fn answer_when_settled(&mut self, caller: Caller) {
        if !self.classic.outbox.proposals.is_empty() {
            self.riders.push(caller);
        } else if let Some(last) = self.unapplied.back_mut() {
            last.then.push(Then::Answer(caller, Answer::Done));
        } else {
            self.classic.outbox.answers.push((caller, Answer::Done));
        }
    }
}
