//! Bodies of requests made from the schemas of the bounds walk. If the crate decodes them and
//! encodes the same bytes again, schema and crate agree.

use super::super::api;
use super::super::request_schemas::{self, Field, Kind, Struct};
use super::super::wire::{put_count, put_string, put_unsigned_varint};
use super::Numbers;

pub(super) fn body(api_key: i16, version: i16, numbers: &mut Numbers) -> Vec<u8> {
    let schema = request_schemas::of(api_key).expect("an API that is walked");
    let flexible = api::is_flexible(api_key, version);
    let mut generator = Generator { version, flexible, numbers, out: Vec::new() };
    generator.structure(schema);
    generator.out
}

struct Generator<'a> {
    version: i16,
    flexible: bool,
    numbers: &'a mut Numbers,
    out: Vec<u8>,
}

impl Generator<'_> {
    fn structure(&mut self, schema: &Struct) {
        for field in schema.fields {
            if field.is_in(self.version) {
                self.field(field);
            }
        }
        if self.flexible {
            self.tagged_fields(schema);
        }
    }

    fn field(&mut self, field: &Field) {
        match field.kind {
            // Booleans are encoded again as 0 or 1.
            Kind::Fixed(1) => self.out.push(self.numbers.0 as u8 & 1),
            Kind::Fixed(bytes) => (0..bytes).for_each(|_| {
                let byte = self.numbers.below(256) as u8;
                self.out.push(byte);
            }),
            Kind::String { nullable } => self.string(nullable),
            Kind::Strings { nullable } => {
                let count = self.count(nullable);
                (0..count).for_each(|_| self.string(false));
            }
            Kind::Int32s => {
                let count = self.count(false);
                (0..count * 4).for_each(|byte| self.out.push(byte as u8));
            }
            Kind::Bytes => {
                let count = self.count(false);
                (0..count).for_each(|byte| self.out.push(byte as u8));
            }
            Kind::Structs { element, nullable } => {
                let count = self.count(nullable);
                (0..count).for_each(|_| self.structure(element));
            }
            Kind::OptionalStruct(inner) => {
                if self.numbers.below(2) == 0 {
                    self.out.push(0xff);
                } else {
                    self.out.push(1);
                    self.structure(inner);
                }
            }
            Kind::Inline(inner) => self.structure(inner),
        }
    }

    fn string(&mut self, nullable: bool) {
        if nullable && self.numbers.below(3) == 0 {
            self.out.extend_from_slice(if self.flexible { &[0] } else { &[0xff, 0xff] });
            return;
        }
        let length = self.numbers.below(200) as usize;
        put_string(&mut self.out, self.flexible, &b"abcdefghij".repeat(20)[..length]);
    }

    fn count(&mut self, nullable: bool) -> usize {
        if nullable && self.numbers.below(4) == 0 {
            self.out.extend_from_slice(if self.flexible { &[0] } else { &[0xff; 4] });
            return 0;
        }
        let count = self.numbers.below(4) as usize;
        put_count(&mut self.out, self.flexible, count);
        count
    }

    fn tagged_fields(&mut self, schema: &Struct) {
        let version = self.version;
        let known = schema.tagged.iter().filter(|(_, field)| field.is_in(version));
        let mut fields: Vec<(u32, Vec<u8>)> = Vec::new();
        for (tag, field) in known {
            let whole = std::mem::take(&mut self.out);
            self.field(field);
            let value = std::mem::replace(&mut self.out, whole);
            // The crate leaves out a null, the default.
            if value != [0] {
                fields.push((*tag, value));
            }
        }
        if self.numbers.below(3) == 0 {
            fields.push((9000, vec![7; self.numbers.below(300) as usize]));
        }
        put_unsigned_varint(&mut self.out, fields.len() as u32);
        for (tag, value) in fields {
            put_unsigned_varint(&mut self.out, tag);
            put_unsigned_varint(&mut self.out, value.len() as u32);
            self.out.extend_from_slice(&value);
        }
    }
}
