//! Fixed-width little-endian bytes, for records and the store.
//!
//! Reading trusts nothing: every length is checked against what is there before memory is taken
//! for it.

use bytes::Bytes;

use crate::model::fields::{BadEnd, Fields};

/// Why bytes are no record or no store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early.
    #[error("the bytes end in the middle of a field")]
    Truncated,
    /// They go on after the end. Holds how many are left.
    #[error("{0} bytes are left over after the last field")]
    LeftOver(usize),
    /// A later version of Hutong wrote them.
    #[error("format version {0} is not known to this version of Hutong")]
    UnknownVersion(u8),
    /// A tag that stands for nothing.
    #[error("tag {tag} stands for no {what}")]
    UnknownTag {
        /// What was to be read.
        what: &'static str,
        /// What was found.
        tag: u8,
    },
    /// A string that isn't UTF-8.
    #[error("a string is not UTF-8")]
    NotText,
    /// Items that must be in strictly ascending order and aren't.
    #[error("{0} are out of order")]
    OutOfOrder(&'static str),
    /// Of a group of the new protocol, which has errors of its own.
    #[error(transparent)]
    Modern(#[from] super::modern::DecodeError),
}

impl From<BadEnd> for DecodeError {
    fn from(bad: BadEnd) -> DecodeError {
        match bad {
            BadEnd::Truncated => DecodeError::Truncated,
            BadEnd::LeftOver(left) => DecodeError::LeftOver(left),
        }
    }
}

/// Takes fields off the front of a byte string.
pub(super) type Reader<'a> = Fields<'a, DecodeError>;

impl Reader<'_> {
    /// A count of items, each of which takes at least `bytes_min` bytes.
    pub(super) fn count(&mut self, bytes_min: usize) -> Result<usize, DecodeError> {
        let count = self.u32()? as usize;
        match count.checked_mul(bytes_min) {
            Some(bytes) if bytes <= self.rest.len() => Ok(count),
            _ => Err(DecodeError::Truncated),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.u32()? as usize;
        Ok(Bytes::copy_from_slice(self.take(length)?))
    }

    pub(super) fn text(&mut self) -> Result<String, DecodeError> {
        let length = self.u32()? as usize;
        let text = std::str::from_utf8(self.take(length)?);
        text.map(str::to_owned).map_err(|_| DecodeError::NotText)
    }

    /// What may be absent: a byte that tells, and then it.
    pub(super) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            tag => Err(DecodeError::UnknownTag { what: "choice between absent and there", tag }),
        }
    }
}

/// Appends a count or length.
///
/// # Panics
/// If it is beyond what `limits` lets anything grow to.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("limits keep counts far below this");
    out.extend_from_slice(&count.to_le_bytes());
}

/// Appends bytes behind their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends what may be absent.
pub(super) fn put_optional<T>(
    out: &mut Vec<u8>,
    value: Option<T>,
    put: impl FnOnce(&mut Vec<u8>, T),
) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}
