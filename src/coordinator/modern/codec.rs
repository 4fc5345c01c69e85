//! Little-endian bytes of group records. Reading trusts nothing: every count is checked against
//! its bound and against what is there before memory is taken for it.

use std::rc::Rc;

use super::partitions::{Partitions, TopicPartition};
use crate::limits::PARTITIONS_MAX;
use crate::model::fields::{BadEnd, Fields};

/// Why bytes are no record of a group.
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
    /// A number that stands for nothing.
    #[error("{what} {found} is not known")]
    Unknown {
        /// What was to be read.
        what: &'static str,
        /// What was found.
        found: u8,
    },
    /// A length or count beyond its bound.
    #[error("{found} {what}, where at most {max} are allowed")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The count found.
        found: usize,
        /// The count allowed.
        max: usize,
    },
    /// A string that isn't UTF-8.
    #[error("a string is not UTF-8")]
    NotText,
    /// A list that must be in strictly ascending order isn't.
    #[error("{0} are not in order")]
    OutOfOrder(&'static str),
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

impl<'a> Reader<'a> {
    /// A count of things, of which there may be `max`, and each of which takes a byte at least.
    pub(super) fn count(&mut self, what: &'static str, max: usize) -> Result<usize, DecodeError> {
        let found = self.u32()? as usize;
        if found > max {
            return Err(DecodeError::TooMany { what, found, max });
        }
        if found > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(found)
    }

    pub(super) fn bytes(&mut self, max: usize) -> Result<&'a [u8], DecodeError> {
        let length = self.count("bytes", max)?;
        self.take(length)
    }

    pub(super) fn text(&mut self, max: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(max)?).map_err(|_| DecodeError::NotText)
    }

    /// Something that may be absent.
    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            found => Err(DecodeError::Unknown { what: "presence", found }),
        }
    }

    pub(super) fn shared_text(&mut self, max: usize) -> Result<Rc<str>, DecodeError> {
        self.text(max).map(Rc::from)
    }

    /// Topics with their partitions, both in strictly ascending order.
    pub(super) fn partitions(&mut self) -> Result<Partitions, DecodeError> {
        let mut all: Vec<TopicPartition> = Vec::new();
        for _ in 0..self.count("topics", PARTITIONS_MAX)? {
            let topic = self.topic_id()?;
            for _ in 0..self.count("partitions", PARTITIONS_MAX - all.len())? {
                let next = TopicPartition { topic, partition: self.i32()? };
                if all.last().is_some_and(|last| *last >= next) {
                    return Err(DecodeError::OutOfOrder("partitions"));
                }
                all.push(next);
            }
        }
        Ok(all.into_iter().collect())
    }
}

/// Appends a count or length.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    // More than fits is read back as beyond the bound, never as a smaller number.
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

pub(super) fn put_option<T>(
    out: &mut Vec<u8>,
    value: Option<T>,
    put: impl FnOnce(&mut Vec<u8>, T),
) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

pub(super) fn put_i32(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_partitions(out: &mut Vec<u8>, partitions: &Partitions) {
    put_count(out, partitions.by_topic().count());
    for (topic, run) in partitions.by_topic() {
        out.extend_from_slice(&topic.0);
        put_count(out, run.len());
        for partition in run {
            put_i32(out, partition.partition);
        }
    }
}
