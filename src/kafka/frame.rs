//! Frames: a length (i32, big-endian), then that many bytes.
//!
//! The length is checked before anything is kept or allocated for it.

use std::ops::Range;

use bytes::{Buf, Bytes};
use thiserror::Error;

/// The bytes of a frame's length prefix.
pub const LENGTH_BYTES: usize = 4;

/// Why a stream of frames can't be followed any further. The connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length is zero or negative.
    #[error("a frame of {0} bytes was announced; it must have at least one")]
    NotPositive(i32),
    /// The length is over the bound.
    #[error("a frame of {bytes} bytes was announced; no more than {bytes_max} are taken")]
    TooLong {
        /// The announced length.
        bytes: usize,
        /// The bound it exceeds.
        bytes_max: usize,
    },
}

/// The bytes at the front of `bytes` that are whole frames, and the size of the one after them,
/// length prefixes included, if so much of that one is there that its size can be told.
///
/// An announced length that is not in `1..=frame_bytes_max` is an error as soon as it is seen,
/// also when whole frames stand before it.
pub fn whole_frames(
    bytes: &[u8],
    frame_bytes_max: usize,
) -> Result<(usize, Option<usize>), FrameError> {
    let mut whole = 0;
    while let Some((prefix, _)) = bytes[whole..].split_first_chunk::<LENGTH_BYTES>() {
        let announced = i32::from_be_bytes(*prefix);
        if announced <= 0 {
            return Err(FrameError::NotPositive(announced));
        }
        let body_bytes = announced as usize;
        if body_bytes > frame_bytes_max {
            return Err(FrameError::TooLong { bytes: body_bytes, bytes_max: frame_bytes_max });
        }
        let frame_bytes = LENGTH_BYTES + body_bytes;
        if bytes.len() - whole < frame_bytes {
            return Ok((whole, Some(frame_bytes)));
        }
        whole += frame_bytes;
    }
    Ok((whole, None))
}

/// Where the body of the frame that begins at `at` lies. `None` when no whole frame is left.
///
/// Nothing is copied and no reference is counted: a shard has millions of frames a second.
#[inline]
pub fn frame_at(frames: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = frames.get(at..)?;
    let body_bytes = usize::try_from(i32::from_be_bytes(*rest.first_chunk()?)).ok()?;
    if body_bytes > rest.len() - LENGTH_BYTES {
        return None;
    }
    let start = at + LENGTH_BYTES;
    Some(start..start + body_bytes)
}

/// Cuts one frame off the front and returns its body, without the length prefix and without
/// copying. `None` when no whole frame is left.
pub fn next_frame(frames: &mut Bytes) -> Option<Bytes> {
    let body = frame_at(frames, 0)?;
    frames.advance(LENGTH_BYTES);
    Some(frames.split_to(body.len()))
}
