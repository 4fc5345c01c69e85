//! Reading and writing the protocol's primitive types.
//!
//! The reader checks every step against the end of the frame; the writers append to a buffer.

use super::decode_error::DecodeError;

/// A place in a frame. Never goes past its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    /// What has not been read: one check tells whether there is enough of it.
    rest: &'a [u8],
    /// The bytes of the whole frame.
    frame_bytes: usize,
}

impl<'a> Reader<'a> {
    /// Reads on from `at`, which may lie behind the end: then every read fails.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Reader<'a> {
        Reader { rest: bytes.get(at..).unwrap_or_default(), frame_bytes: bytes.len() }
    }

    /// The bytes read so far, counted from the start of the frame.
    #[inline]
    pub(super) fn at(&self) -> usize {
        self.frame_bytes - self.rest.len()
    }

    /// The bytes not yet read.
    #[inline]
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (chunk, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*chunk)
    }

    #[inline]
    pub(super) fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.chunk()?))
    }

    #[inline]
    pub(super) fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.chunk()?))
    }

    #[inline]
    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.chunk()?))
    }

    /// The next `count` bytes.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned varint of at most 32 bits.
    #[inline]
    pub(super) fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let [first] = self.chunk()?;
        if first < 0x80 {
            return Ok(u32::from(first));
        }
        self.unsigned_varint_rest(u32::from(first & 0x7f))
    }

    fn unsigned_varint_rest(&mut self, first: u32) -> Result<u32, DecodeError> {
        let mut value = first;
        for shift in [7, 14, 21, 28] {
            let [byte] = self.chunk()?;
            // The crate would drop the bits above 32 and read on; both must see the same value.
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::Malformed("a varint has more than 32 bits"));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed("a varint has more than 5 bytes"))
    }

    /// A string's bytes: `None` for null.
    #[inline]
    pub(super) fn nullable_string(
        &mut self,
        flexible: bool,
    ) -> Result<Option<&'a [u8]>, DecodeError> {
        let length =
            if flexible { i64::from(self.unsigned_varint()?) - 1 } else { i64::from(self.i16()?) };
        if length > i64::from(i16::MAX) {
            return Err(DecodeError::Bounds("a string has more than 32767 bytes"));
        }
        self.nullable(length)
    }

    /// A byte array's bytes: `None` for null.
    #[inline]
    pub(super) fn nullable_bytes(
        &mut self,
        flexible: bool,
    ) -> Result<Option<&'a [u8]>, DecodeError> {
        let length = self.count(flexible)?;
        self.nullable(length)
    }

    #[inline]
    fn nullable(&mut self, length: i64) -> Result<Option<&'a [u8]>, DecodeError> {
        match length {
            -1 => Ok(None),
            0.. => self.take(length as usize).map(Some),
            _ => Err(DecodeError::Malformed("a length is negative")),
        }
    }

    /// The count of an array as it stands: -1 for null, other negative ones possible.
    #[inline]
    pub(super) fn count(&mut self, flexible: bool) -> Result<i64, DecodeError> {
        Ok(if flexible { i64::from(self.unsigned_varint()?) - 1 } else { i64::from(self.i32()?) })
    }

    /// The count of an array that may not be null, refused if that many elements of
    /// `element_bytes_min` bytes don't fit into what is left.
    #[inline]
    pub(super) fn array(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
    ) -> Result<usize, DecodeError> {
        let count = self.count(flexible)?;
        if count < 0 {
            return Err(DecodeError::Malformed("an array is null or has a negative count"));
        }
        if count as u64 * element_bytes_min as u64 > self.remaining() as u64 {
            return Err(DecodeError::Bounds("an array counts more elements than the frame holds"));
        }
        Ok(count as usize)
    }

    /// Skips a section of tagged fields. Almost always it is the single byte 0.
    #[inline]
    pub(super) fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        if count == 0 {
            return Ok(());
        }
        self.skip_some_tagged_fields(count)
    }

    #[cold]
    fn skip_some_tagged_fields(&mut self, count: u32) -> Result<(), DecodeError> {
        self.check_tagged_field_count(count)?;
        for _ in 0..count {
            self.unsigned_varint()?;
            let bytes = self.unsigned_varint()?;
            self.take(bytes as usize)?;
        }
        Ok(())
    }

    /// Refuses a number of tagged fields that can't fit: each takes two bytes or more.
    pub(super) fn check_tagged_field_count(&self, count: u32) -> Result<(), DecodeError> {
        if count as usize > self.remaining() / 2 {
            return Err(DecodeError::Bounds("more tagged fields are counted than the frame holds"));
        }
        Ok(())
    }
}

/// Appends an unsigned varint.
#[inline]
pub(super) fn put_unsigned_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes `put_unsigned_varint` takes for this value.
#[inline]
pub(super) fn unsigned_varint_bytes(value: u32) -> usize {
    (38 - (value | 1).leading_zeros() as usize) / 7
}

/// Appends an array's count.
#[inline]
pub(super) fn put_count(out: &mut Vec<u8>, flexible: bool, count: usize) {
    // Counts come from our own collections, which are bounded far below.
    debug_assert!(count < i32::MAX as usize);
    if flexible {
        put_unsigned_varint(out, count as u32 + 1);
    } else {
        out.extend_from_slice(&(count as i32).to_be_bytes());
    }
}

/// Appends a string. One that is longer than the encoding can say is cut.
#[inline]
pub(super) fn put_string(out: &mut Vec<u8>, flexible: bool, string: &[u8]) {
    let string = &string[..string.len().min(i16::MAX as usize)];
    if flexible {
        put_unsigned_varint(out, string.len() as u32 + 1);
    } else {
        out.extend_from_slice(&(string.len() as i16).to_be_bytes());
    }
    out.extend_from_slice(string);
}

/// Appends a string or null.
#[inline]
pub(super) fn put_nullable_string(out: &mut Vec<u8>, flexible: bool, string: Option<&str>) {
    match string {
        Some(string) => put_string(out, flexible, string.as_bytes()),
        None if flexible => out.push(0),
        None => out.extend_from_slice(&(-1i16).to_be_bytes()),
    }
}

/// Leaves room for a frame's length and returns where it is.
#[inline]
pub(super) fn begin_frame(out: &mut Vec<u8>, correlation_id: i32, flexible_header: bool) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&correlation_id.to_be_bytes());
    if flexible_header {
        out.push(0);
    }
    at
}

/// Fills the length of the frame that began at `at`, given bytes that will be spliced into it.
///
/// # Panics
/// If the frame is 2 GiB or more, which the limits on responses rule out.
#[inline]
pub(super) fn end_frame(out: &mut [u8], at: usize, spliced_bytes: usize) {
    let bytes = out.len() - at - 4 + spliced_bytes;
    let length = i32::try_from(bytes).expect("a response frame is shorter than 2 GiB");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}
