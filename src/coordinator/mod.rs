//! Consumer groups: who is a member, and who reads which partition.
//!
//! State machines without I/O. `modern` is KIP-848's protocol, in which the coordinator assigns.

pub mod modern;
