//! Consumer groups: who is a member, who reads which partition, and which offsets are committed.
//!
//! Two kinds of state. The [`Store`] is what the records of a Raft group's journal say: every
//! replica has it, it changes only by [`Store::apply`], and it is what a new leader starts from.
//! The live state is the leader's alone: who waits for what, and until when. [`classic`] is that
//! of groups whose members assign partitions among themselves; [`modern`] is KIP-848's protocol,
//! in which the coordinator assigns. `consumer` has what members of the new protocol ask, `either`
//! what those of the classic one ask of a group of either protocol, `switch` leads a group with its
//! members from one to the other. They take events and the time, answer callers by numbers that
//! mean nothing here, and hand out [`Record`]s to be appended; what depends on a record is
//! answered when the record is applied.
//!
//! Nothing here does I/O, reads a clock, draws a random number or iterates over a hash map.

pub mod classic;
mod codec;
mod consumer;
mod either;
pub mod live;
pub mod modern;
pub mod record;
pub mod store;
mod switch;

pub use codec::DecodeError;
pub use live::Coordinator;
pub use record::{ClassicMember, ClassicState, CommittedOffset, Record};
pub use store::{Members, Store, StoredGroup};
