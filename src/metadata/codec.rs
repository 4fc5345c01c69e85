//! Fixed-width little-endian bytes, for commands and snapshots.
//!
//! Reading trusts nothing: every length is checked against what is there and against its bound
//! before memory is taken for it.

use std::collections::BTreeMap;

use super::setting::{SETTING_NAME_BYTES_MAX, SETTING_VALUE_BYTES_MAX, SETTINGS_MAX};
use crate::model::fields::{BadEnd, Fields};

/// Why bytes are no command or no snapshot.
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
    /// Fields that contradict each other or a rule of the catalog.
    #[error("{0}")]
    Inconsistent(String),
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
    pub(super) fn boolean(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(DecodeError::UnknownTag { what: "boolean", tag }),
        }
    }

    /// A count of things, of which there may be `max`.
    pub(super) fn count(&mut self, what: &'static str, max: usize) -> Result<usize, DecodeError> {
        let found = self.u32()? as usize;
        if found > max {
            return Err(DecodeError::TooMany { what, found, max });
        }
        Ok(found)
    }

    /// A string of at most `max` bytes, borrowed.
    pub(super) fn text(&mut self, max: usize) -> Result<&'a str, DecodeError> {
        let bytes = self.count("bytes of a string", max)?;
        std::str::from_utf8(self.take(bytes)?).map_err(|_| DecodeError::NotText)
    }

    /// Settings and their values, in strictly ascending order of their names, so that equal
    /// settings have equal bytes.
    pub(super) fn settings(&mut self) -> Result<BTreeMap<String, String>, DecodeError> {
        let mut settings = BTreeMap::new();
        for _ in 0..self.count("settings", SETTINGS_MAX)? {
            let name = self.text(SETTING_NAME_BYTES_MAX)?;
            let value = self.text(SETTING_VALUE_BYTES_MAX)?;
            if settings.last_key_value().is_some_and(|(last, _): (&String, _)| **last >= *name) {
                return Err(DecodeError::Inconsistent(format!("setting {name} is out of order")));
            }
            settings.insert(name.to_owned(), value.to_owned());
        }
        Ok(settings)
    }
}

/// Appends a count or length.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    // More than fits is read back as beyond the bound, never as a smaller number.
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// Appends a string behind its length.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends settings and their values.
pub(super) fn put_settings(out: &mut Vec<u8>, settings: &BTreeMap<String, String>) {
    put_count(out, settings.len());
    for (name, value) in settings {
        put_text(out, name);
        put_text(out, value);
    }
}
