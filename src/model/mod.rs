//! Words shared by all: identities, positions, acknowledgement levels and times.
//!
//! Plain values without behaviour of their own. Depends on nothing.

pub mod ids;
pub mod position;
pub mod qos;
pub mod time;
