//! The Kafka wire protocol: bytes to types and back, and nothing else.
//!
//! No I/O, no clock, no knowledge of journals or shards. Whatever bytes come in, nothing here
//! panics and nothing allocates more than a small multiple of the bytes it was given.
//!
//! A request goes `frame` -> `header` -> `produce` (the hot path, read by hand) or `api` (all
//! others: `bounds` walks the bytes first, then the `kafka_protocol` crate decodes them).

pub mod api;
mod batch_builder;
pub mod bounds;
mod compression;
pub mod crc;
pub mod decode_error;
pub mod error_code;
pub mod fetch;
pub mod frame;
pub mod header;
pub mod leader_hint;
pub mod produce;
mod produce_response;
pub mod record_batch;
mod record_check;
mod record_search;
mod records;
mod request_schemas;
pub mod response_errors;
pub mod topic_id_requests;
mod wire;

#[cfg(test)]
mod tests;
