//! The log of one group on one shard: data structures, no I/O.

pub mod page;
pub mod source;
