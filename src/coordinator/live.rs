//! The coordinator of one Raft group's consumer groups, on the shard that leads it.
//!
//! Decisions become records, records are handed out in numbered batches to be appended, and when
//! the journal has applied a batch, whoever waited for it is answered. It is made from the store
//! when this shard becomes leader, and dropped when it no longer is.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::coordinator::classic::{Answer, Caller, Classic, Context, Fault, Then};
use crate::coordinator::modern::{ConsumerGroup, Env, Groups};
use crate::coordinator::record::{CommittedOffset, Record};
use crate::coordinator::store::Store;
use crate::limits::{CONSUMER_GROUPS_MAX, ENTRY_BYTES_TARGET};
use crate::model::ids::PartitionKey;

/// The leader's state.
#[derive(Debug, Default)]
pub struct Coordinator {
    /// Groups that use the classic protocol and have members.
    pub classic: Classic,
    /// Groups that use the new protocol.
    pub modern: Groups,
    /// Who is to be answered with the last record that waits to be taken.
    riders: Vec<(Caller, Answer)>,
    /// The number of the next batch, and of the oldest that isn't applied.
    next_batch: u64,
    first_batch: u64,
    /// What is done when each of them is applied.
    unapplied: VecDeque<Batch>,
    unapplied_bytes: usize,
    /// The number of the last record that was applied.
    applied_record: u64,
}

#[derive(Debug)]
struct Batch {
    bytes: usize,
    records: u64,
    then: Vec<Then>,
}

impl Coordinator {
    /// Goes on where the last leader left off.
    pub fn recover(store: &Store, env: &Env<'_>) -> Coordinator {
        let mut modern = Groups::default();
        for (id, stored) in store.groups() {
            if let Some(state) = stored.modern() {
                modern.insert(Rc::from(id), ConsumerGroup::take_over(state.clone(), env));
            }
        }
        Coordinator { classic: Classic::recover(store, env.now), modern, ..Coordinator::default() }
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
        let is_live = self.classic.group(&group).is_some() || self.modern.get(&group).is_some();
        if !is_live
            && context.store.group(&group).is_none()
            && context.store.len() >= CONSUMER_GROUPS_MAX
        {
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
        if self.modern.with_members(&group).is_some() {
            return Err(Fault::NotEmpty);
        }
        if self.classic.group(&group).is_some() || self.modern.get(&group).is_none() {
            self.classic.may_delete(context, &group)?;
            self.classic.deleted(&group);
        }
        self.modern.forget_past(&group, self.classic.outbox.last_record + 1);
        self.propose(Record::GroupDeleted { group }, caller);
        Ok(())
    }

    /// Records that offsets of a group are too old, and the group itself if nothing is left of it.
    pub fn expire_offsets(&mut self, record: Record) {
        self.forget_empty(record.group());
        self.record(record);
    }

    /// Forgets a group of the new protocol of which the store knows all.
    pub(super) fn forget_empty(&mut self, id: &str) {
        let known = |last: u64| last <= self.applied_record;
        let live = self.modern.get(id).filter(|live| live.group.state().members().is_empty());
        if live.is_some_and(|live| known(live.last_record)) {
            self.modern.remove(id);
        }
    }

    /// Records something that nobody waits for.
    pub fn record(&mut self, record: Record) {
        self.classic.outbox.propose(record, Then::Nothing);
    }

    fn propose(&mut self, record: Record, caller: Caller) {
        self.classic.outbox.propose(record, Then::Answer(caller, Answer::Done));
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
            then.extend(riders.into_iter().map(|(caller, answer)| Then::Answer(caller, answer)));
        }
        let number = self.next_batch;
        self.next_batch += 1;
        self.unapplied_bytes += data.len();
        self.unapplied.push_back(Batch { bytes: data.len(), records: taken as u64, then });
        Some((number, data))
    }

    /// A batch has been applied, and with it all before.
    pub fn applied(&mut self, context: Context<'_>, batch: u64) {
        while self.first_batch <= batch
            && let Some(Batch { bytes, records, then }) = self.unapplied.pop_front()
        {
            self.first_batch += 1;
            self.applied_record += records;
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
        self.answer_after_last(caller, Answer::Done);
    }

    /// Answers somebody when the record of this number is applied, or soon after.
    pub(super) fn answer_after(&mut self, record: u64, caller: Caller, answer: Answer) {
        if record <= self.applied_record {
            self.classic.outbox.answers.push((caller, answer));
        } else {
            self.answer_after_last(caller, answer);
        }
    }

    fn answer_after_last(&mut self, caller: Caller, answer: Answer) {
        if !self.classic.outbox.proposals.is_empty() {
            self.riders.push((caller, answer));
        } else if let Some(last) = self.unapplied.back_mut() {
            last.then.push(Then::Answer(caller, answer));
        } else {
            self.classic.outbox.answers.push((caller, answer));
        }
    }
}
