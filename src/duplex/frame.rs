//! One frame: its bytes from what it says, and what it says from its bytes.

use thiserror::Error;

use crate::duplex::serial::Serial;

/// The bytes of length and serial in front of a payload.
pub const HEAD_BYTES: usize = LENGTH_BYTES + SERIAL_BYTES;

const LENGTH_BYTES: usize = 4;
const SERIAL_BYTES: usize = 4;

/// The bit of the serial's word that makes it an answer.
const ANSWER: u32 = Serial::COUNT;

/// Whether a frame asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its serial is one of the sender's.
    Request,
    /// Its serial is the receiver's, of the request it answers.
    Answer,
}

/// A whole frame, in the bytes it was received in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Whether it asks or answers.
    pub kind: Kind,
    /// The number of the request.
    pub serial: Serial,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Why bytes can't be cut into frames any further. Close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length doesn't even hold the serial.
    #[error("a frame of {0} bytes was announced; it must have at least {SERIAL_BYTES}")]
    TooShort(u32),
    /// The length is over the bound.
    #[error("a frame of {bytes} bytes was announced; no more than {bytes_max} are taken")]
    TooLong {
        /// The length.
        bytes: u32,
        /// The bound.
        bytes_max: usize,
    },
}

/// Cuts received bytes into frames, without copying them.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    payload_bytes_max: usize,
}

/// The head of a frame, for payloads that lie elsewhere and are sent behind it as they are.
///
/// # Panics
/// If the payload is longer than a u32 can say.
pub fn head(kind: Kind, serial: Serial, payload_bytes: usize) -> [u8; HEAD_BYTES] {
    let length = u32::try_from(SERIAL_BYTES + payload_bytes).expect("a payload is below 4 GiB");
    let serial = match kind {
        Kind::Request => serial.number(),
        Kind::Answer => serial.number() | ANSWER,
    };
    // Length first, so in the high half: it is one store.
    (u64::from(length) << 32 | u64::from(serial)).to_be_bytes()
}

/// Appends a whole frame to `out`.
///
/// # Panics
/// If the payload is longer than a u32 can say.
pub fn put(out: &mut Vec<u8>, kind: Kind, serial: Serial, payload: &[u8]) {
    out.extend_from_slice(&head(kind, serial, payload.len()));
    out.extend_from_slice(payload);
}

impl<'a> Frames<'a> {
    /// Will cut `received`, and take no payload beyond `payload_bytes_max`.
    pub fn new(received: &'a [u8], payload_bytes_max: usize) -> Frames<'a> {
        Frames { rest: received, payload_bytes_max }
    }

    /// The next frame; `None` when what is left is not a whole one.
    ///
    /// A length that can't be right is an error as soon as it is there, so nobody waits, or makes
    /// room, for bytes that would be refused.
    pub fn cut(&mut self) -> Result<Option<Frame<'a>>, FrameError> {
        let Some((length, behind)) = self.rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length);
        let Some(payload_bytes) = (length as usize).checked_sub(SERIAL_BYTES) else {
            return Err(FrameError::TooShort(length));
        };
        if payload_bytes > self.payload_bytes_max {
            let bytes_max = SERIAL_BYTES + self.payload_bytes_max;
            return Err(FrameError::TooLong { bytes: length, bytes_max });
        }
        let Some((serial, behind)) = behind.split_first_chunk::<SERIAL_BYTES>() else {
            return Ok(None);
        };
        let Some((payload, rest)) = behind.split_at_checked(payload_bytes) else {
            return Ok(None);
        };
        self.rest = rest;
        let serial = u32::from_be_bytes(*serial);
        let kind = if serial & ANSWER == 0 { Kind::Request } else { Kind::Answer };
        Ok(Some(Frame { kind, serial: Serial::new(serial), payload }))
    }

    /// What has not been cut: the beginning of a frame whose rest is still to come.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}
