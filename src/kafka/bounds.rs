//! The guard before the crate's decoders: a walk over a request's bytes that believes nothing.
//!
//! The crate allocates as many elements as an array's count says, so twelve bytes from anybody
//! could abort the process. Here every count is checked against the bytes that are left, every
//! element is stepped over, and the crate must end where the walk did. Bytes behind that place are
//! ignored, as Kafka does: librdkafka 2.16 asks for all topics with three bytes too many. What
//! passes costs memory in proportion to its bytes (at worst some forty times as much: an empty
//! topic name in Metadata v9 takes 2 bytes here and 72 decoded), and `SMALL_FRAME_BYTES_MAX`
//! bounds those.

use super::decode_error::DecodeError;
use super::request_schemas::{self, Field, Kind, Struct};
use super::wire::Reader;
use crate::limits::SMALL_FRAME_BYTES_MAX;

/// Tagged fields in one request. Clients send none or a few; the crate keeps a tree for each
/// struct that has any, at some 500 bytes.
const TAGGED_FIELDS_MAX: u32 = 1024;

/// Walks the body of a request (what follows the header) against the schema of its API. Returns
/// the bytes that the request takes.
///
/// The version must be one that is offered. Produce is not walked here: `produce` reads it.
pub fn walk(api_key: i16, version: i16, body: &[u8]) -> Result<usize, DecodeError> {
    let schema = request_schemas::of(api_key).ok_or(DecodeError::UnknownApi(api_key))?;
    if body.len() > SMALL_FRAME_BYTES_MAX {
        return Err(DecodeError::Bounds("the request is longer than its kind may be"));
    }
    let mut walk = Walk {
        reader: Reader::new(body, 0),
        version,
        flexible: super::api::is_flexible(api_key, version),
        tagged_fields_left: TAGGED_FIELDS_MAX,
        #[cfg(test)]
        counts: Vec::new(),
    };
    walk.structure(schema)?;
    Ok(walk.reader.at())
}

/// Where the counts and lengths of arrays stand in a valid body, for tests that falsify them.
#[cfg(test)]
pub(super) fn counts(api_key: i16, version: i16, body: &[u8]) -> Vec<usize> {
    let mut walk = Walk {
        reader: Reader::new(body, 0),
        version,
        flexible: super::api::is_flexible(api_key, version),
        tagged_fields_left: TAGGED_FIELDS_MAX,
        counts: Vec::new(),
    };
    walk.structure(request_schemas::of(api_key).expect("an API that is walked"))
        .expect("a valid body");
    walk.counts
}

/// Panics if an array of this version counts elements that take no bytes.
#[cfg(test)]
pub(super) fn assert_elements_take_bytes(api_key: i16, version: i16, schema: &Struct) {
    let walk = Walk {
        reader: Reader::new(&[], 0),
        version,
        flexible: super::api::is_flexible(api_key, version),
        tagged_fields_left: 0,
        counts: Vec::new(),
    };
    for field in schema.fields {
        match field.kind {
            Kind::Structs { element, .. } => {
                assert!(walk.bytes_min(element) > 0, "API {api_key} v{version}");
                assert_elements_take_bytes(api_key, version, element);
            }
            Kind::OptionalStruct(inner) | Kind::Inline(inner) => {
                assert_elements_take_bytes(api_key, version, inner);
            }
            _ => {}
        }
    }
}

struct Walk<'a> {
    reader: Reader<'a>,
    version: i16,
    flexible: bool,
    tagged_fields_left: u32,
    #[cfg(test)]
    counts: Vec<usize>,
}

impl Walk<'_> {
    fn structure(&mut self, schema: &Struct) -> Result<(), DecodeError> {
        for field in schema.fields {
            self.field(field)?;
        }
        if self.flexible { self.tagged_fields(schema.tagged) } else { Ok(()) }
    }

    fn field(&mut self, field: &Field) -> Result<(), DecodeError> {
        if !field.is_in(self.version) {
            return Ok(());
        }
        match field.kind {
            Kind::Fixed(bytes) => self.reader.take(bytes).map(drop),
            Kind::String { nullable } => self.string(nullable),
            Kind::Strings { nullable } => {
                let bytes_min = if self.flexible { 1 } else { 2 };
                let count = self.array(nullable, bytes_min)?;
                (0..count).try_for_each(|_| self.string(false))
            }
            Kind::Int32s => {
                let count = self.array(false, 4)?;
                self.reader.take(count * 4).map(drop)
            }
            Kind::Bytes => {
                let count = self.array(false, 1)?;
                self.reader.take(count).map(drop)
            }
            Kind::Structs { element, nullable } => {
                let bytes_min = self.bytes_min(element);
                let count = self.array(nullable, bytes_min)?;
                (0..count).try_for_each(|_| self.structure(element))
            }
            Kind::OptionalStruct(inner) => match self.reader.i8()? {
                -1 => Ok(()),
                1 => self.structure(inner),
                _ => Err(DecodeError::Malformed("a struct is neither there nor null")),
            },
            Kind::Inline(inner) => self.structure(inner),
        }
    }

    fn string(&mut self, nullable: bool) -> Result<(), DecodeError> {
        match self.reader.nullable_string(self.flexible)? {
            None if !nullable => Err(DecodeError::Malformed("a string is null that may not be")),
            _ => Ok(()),
        }
    }

    /// The count of an array, 0 for null where null is legal. Safe to multiply with `bytes_min`.
    fn array(&mut self, nullable: bool, bytes_min: usize) -> Result<usize, DecodeError> {
        #[cfg(test)]
        self.counts.push(self.reader.at());
        let mut ahead = self.reader;
        if nullable && ahead.count(self.flexible)? == -1 {
            self.reader = ahead;
            return Ok(0);
        }
        self.reader.array(self.flexible, bytes_min)
    }

    /// The fewest bytes a struct takes on the wire in this version. Never zero: each struct of
    /// the schemas has a field that takes some, see the test.
    fn bytes_min(&self, schema: &Struct) -> usize {
        let length = |fixed| if self.flexible { 1 } else { fixed };
        let field_bytes_min = |field: &Field| match field.kind {
            Kind::Fixed(bytes) => bytes,
            Kind::String { .. } => length(2),
            Kind::OptionalStruct(_) => 1,
            Kind::Strings { .. } | Kind::Int32s | Kind::Bytes | Kind::Structs { .. } => length(4),
            // Stands only where no array counts it.
            Kind::Inline(_) => 0,
        };
        let fields = schema.fields.iter().filter(|field| field.is_in(self.version));
        fields.map(field_bytes_min).sum::<usize>() + usize::from(self.flexible)
    }

    fn tagged_fields(&mut self, known: &[(u32, Field)]) -> Result<(), DecodeError> {
        let count = self.reader.unsigned_varint()?;
        if count == 0 {
            return Ok(());
        }
        self.reader.check_tagged_field_count(count)?;
        self.tagged_fields_left = self
            .tagged_fields_left
            .checked_sub(count)
            .ok_or(DecodeError::Bounds("the request has too many tagged fields"))?;
        for _ in 0..count {
            let tag = self.reader.unsigned_varint()?;
            let bytes = self.reader.unsigned_varint()? as usize;
            let start = self.reader.at();
            // The crate decodes the tags it knows without regard to their size, so the size
            // must be what the value really takes.
            match known.iter().find(|(known, field)| *known == tag && field.is_in(self.version)) {
                Some((_, field)) => {
                    self.field(field)?;
                    if self.reader.at() - start != bytes {
                        return Err(DecodeError::Malformed("a tagged field's size is wrong"));
                    }
                }
                None => drop(self.reader.take(bytes)?),
            }
        }
        Ok(())
    }
}
