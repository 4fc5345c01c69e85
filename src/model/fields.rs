//! Little-endian fields, taken off the front of bytes that nobody vouches for.

use std::marker::PhantomData;

use crate::model::ids::TopicId;

/// Why bytes don't hold the fields that are read from them. Each codec says it in its own error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadEnd {
    /// They end in the middle of a field.
    Truncated,
    /// So many are left over after the last field.
    LeftOver(usize),
}

/// The fields of a codec whose error is `E`. What is particular to a codec it adds itself.
#[derive(Clone, Debug)]
pub struct Fields<'a, E> {
    /// What has not been read.
    pub rest: &'a [u8],
    error: PhantomData<E>,
}

impl<'a, E: From<BadEnd>> Fields<'a, E> {
    /// All fields of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Fields<'a, E> {
        Fields { rest: bytes, error: PhantomData }
    }

    /// The next so many bytes.
    ///
    /// # Errors
    /// If there are fewer, as with all that follow.
    pub fn take(&mut self, bytes: usize) -> Result<&'a [u8], E> {
        let (head, rest) = self.rest.split_at_checked(bytes).ok_or(BadEnd::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], E> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(BadEnd::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// A topic's id.
    pub fn topic_id(&mut self) -> Result<TopicId, E> {
        Ok(TopicId(self.array()?))
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// If something is.
    pub fn end(&self) -> Result<(), E> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(BadEnd::LeftOver(left).into()),
        }
    }
}

macro_rules! numbers {
    ($($number:ident),*) => {
        impl<E: From<BadEnd>> Fields<'_, E> {$(
            #[doc = concat!("A number of type `", stringify!($number), "`.")]
            pub fn $number(&mut self) -> Result<$number, E> {
                Ok($number::from_le_bytes(self.array()?))
            }
        )*}
    };
}

numbers!(u8, u16, u32, u64, i16, i32, i64);
