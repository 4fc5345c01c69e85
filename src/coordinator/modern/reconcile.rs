//! One member's next step towards its target: first give up, then take what is free.
//!
//! ```text
//!            target differs, something to give up
//!   STABLE ----------------------------------------> UNREVOKED   (keeps its epoch)
//!     ^  \                                            /
//!     |   \ nothing to give up, not all is free      / the member no longer names what it gave up
//!     |    v                                        v
//!     +-- UNRELEASED <------------------------------       (in the target's epoch)
//!       all is free
//! ```

use super::member::{Current, MemberState};
use super::partitions::{Partitions, TopicPartition};

/// Where a member is to go.
pub(super) struct Goal<'a> {
    pub(super) epoch: i32,
    pub(super) target: &'a Partitions,
}

/// What the member has after this step. `owned` is what it says it has, if it does; `is_free`
/// whether nobody has a partition.
pub(super) fn reconcile(
    current: &Current,
    goal: &Goal<'_>,
    owned: Option<&Partitions>,
    is_free: impl Fn(&TopicPartition) -> bool,
) -> Current {
    match current.state {
        MemberState::Stable if current.epoch == goal.epoch => current.clone(),
        MemberState::Stable | MemberState::UnreleasedPartitions => {
            step(current, current.epoch, goal, owned, is_free)
        }
        // A member may keep what it was told to give up for as long as it names it, or is silent.
        MemberState::UnrevokedPartitions if still_has(owned, &current.pending) => current.clone(),
        // What was pending is given up by this very step. Should the target want it back for
        // this member, it can have it at once.
        MemberState::UnrevokedPartitions => {
            let is_free = |partition: &_| current.pending.contains(partition) || is_free(partition);
            step(current, current.epoch + 1, goal, owned, is_free)
        }
    }
}

fn still_has(owned: Option<&Partitions>, revoked: &Partitions) -> bool {
    owned.is_none_or(|owned| owned.meets(revoked))
}

fn step(
    current: &Current,
    epoch: i32,
    goal: &Goal<'_>,
    owned: Option<&Partitions>,
    is_free: impl Fn(&TopicPartition) -> bool,
) -> Current {
    let kept = current.assigned.and(goal.target);
    let revoked = current.assigned.minus(&kept);
    if !revoked.is_empty() && still_has(owned, &revoked) {
        let (epoch, previous_epoch) = current.at_epoch(epoch);
        let state = MemberState::UnrevokedPartitions;
        return Current { epoch, previous_epoch, state, assigned: kept, pending: revoked };
    }
    let wanted = goal.target.minus(&kept);
    let free = wanted.only(is_free);
    let state = if free.len() < wanted.len() {
        MemberState::UnreleasedPartitions
    } else {
        MemberState::Stable
    };
    let (epoch, previous_epoch) = current.at_epoch(goal.epoch);
    let (assigned, pending) = (kept.plus(&free), Partitions::EMPTY);
    Current { epoch, previous_epoch, state, assigned, pending }
}
