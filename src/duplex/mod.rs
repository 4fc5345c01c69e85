//! The duplex frame: two sides on one connection, who both speak whenever they like.
//!
//! Either side sends requests without waiting for the answers to those before. An answer carries
//! the serial of its request, so it may come at any time and in any order. A frame, byte by byte:
//!
//! ```text
//! byte  0        4        8                    4 + length
//!       +--------+--------+---------- - - - ---+
//!       | length | serial | payload            |
//!       +--------+--------+---------- - - - ---+
//!
//! length   u32, big-endian: the bytes behind it, so at least 4, those of the serial
//! serial   u32, big-endian:
//!          bit 31      0 a request, 1 an answer
//!          bits 0-30   the request's number. Each side counts its own requests from 0, one by
//!                      one; behind 2^31 - 1 comes 0. An answer has its request's number
//! payload  length - 4 bytes, which mean what the two sides have agreed on; may be empty
//! ```
//!
//! The length counts all that is behind it, as in front of a Kafka frame: who wants to cut frames
//! needs to know nothing else of them.
//!
//! Request or answer is told by the top bit of the *serial*. The two sides number their requests
//! independently, so a number means nothing without whose it is, and the bit says that: 0 the
//! sender's, 1 the receiver's. The length stays a plain number, for which one comparison is enough
//! of a check. 31 bits are plenty, since a number is free again when its answer has come.
//!
//! On a connection each side keeps [`Outstanding`], its requests that wait for an answer, and
//! [`Incoming`], the number that the other's next request must have. With both, whatever the other
//! side sends is either as agreed or an error. [`Frames`] cuts what was received.

mod frame;
mod outstanding;
mod serial;

pub use frame::{Frame, FrameError, Frames, HEAD_BYTES, Kind, head, put};
pub use outstanding::Outstanding;
pub use serial::{Incoming, Serial, SerialError};

#[cfg(test)]
mod tests;
