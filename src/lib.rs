//! Hutong, a message broker for Linux.
//!
//! Read in this order: the words everything is told in, the wire, the journal, consensus, what a
//! consumer sees, the control plane, the core where they meet, and last the only part that does
//! I/O. `docs/ARCHITECTURE.md` is the map.

pub mod cli;
pub mod config;
pub mod coordinator;
pub mod duplex;
pub mod journal;
pub mod kafka;
pub mod limits;
pub mod metadata;
pub mod model;
pub mod partition;
pub mod replica;
pub mod runtime;
pub mod shard;
