//! KIP-848's consumer groups: members say what they want and have, the coordinator says what they
//! get. A state machine: requests, the time and the topics go in, records and answers come out.
//!
//! # How the leader works ahead of what is committed
//!
//! A [`ConsumerGroup`] is what the shard that leads a group works with. Each of its calls applies
//! its records to the group at once and returns them in an [`Outcome`]. Whoever calls it
//!
//! 1. appends the records to the journal as one batch ([`encode_batch`](record::encode_batch)),
//!    in the order of the calls, and none of them twice;
//! 2. holds the answer until that batch, and all batches of the group before it, are committed.
//!    An answer without records waits for the group's last batch, if that isn't committed yet: it
//!    may tell what that batch says. So a client never hears of a state that may still be lost,
//!    errors included;
//! 3. does not apply the batch again when it is committed, as followers and restarts do
//!    ([`ModernState::apply`](state::ModernState::apply));
//! 4. drops the group when leadership is lost or an append fails, answers nothing held (the client
//!    asks the new leader), and builds it again from what is committed.
//!
//! A shard that begins to lead calls [`ConsumerGroup::take_over`] with the applied state. Timers
//! are not part of it: every member has a whole session again. Nor is what regular expressions
//! mean, which follows from the catalog: at the first heartbeat it is found out again, and the
//! hash of the topics says whether anything has changed meanwhile.
//!
//! # Why no partition has two owners
//!
//! The state knows who holds a partition ([`ModernState::owner`](state::ModernState::owner)):
//! whoever was told to use it, until that member says that it has given it up, leaves, or is
//! removed for being silent. A partition is put into a member's assignment only when nobody holds
//! it. Targets say where partitions are to go, and bind nobody.
//!
//! # Reading order
//!
//! `partitions`, `member`, `record`, `state`: what there is. `reconcile`, `assignor`: what is
//! decided. `request`, `topics` (with `pattern`), `timers`: what it is decided by. `group`,
//! `heartbeat`, `offsets`, `describe`: what can be asked. `mixed` and `convert` (with `embedded`):
//! members of the classic protocol in such a group, and switching a group from one to the other.
//! `groups`: all that are live.

pub mod assignor;
mod codec;
mod convert;
mod describe;
pub mod embedded;
mod group;
mod groups;
mod heartbeat;
pub mod member;
mod mixed;
mod offsets;
pub mod partitions;
mod pattern;
mod reconcile;
pub mod record;
pub mod request;
pub mod state;
mod timers;
mod topics;

#[cfg(test)]
mod tests;

pub use assignor::Assignor;
pub use codec::DecodeError;
pub use convert::{ClassicGroup, ClassicGroupMember};
pub use describe::{DescribedGroup, DescribedMember};
pub use group::ConsumerGroup;
pub use groups::{Groups, Live, fits, too_large};
pub use mixed::{ClassicJoin, ClassicJoinAnswer};
pub use partitions::{Partitions, TopicPartition};
pub use record::ModernRecord;
pub use request::{Env, ErrorKind, GroupError, Heartbeat, HeartbeatAnswer, Outcome, Settings};
pub use state::{GroupState, ModernState};
pub use timers::Fenced;
pub use topics::Topics;
