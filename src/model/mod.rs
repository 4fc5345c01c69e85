//! Words shared by all: identities, positions, acknowledgement levels and times; and how fields are
//! read from bytes.
//!
//! Plain values without behaviour of their own. Depends on nothing.

pub mod fields;
pub mod ids;
pub mod position;
pub mod qos;
pub mod time;
