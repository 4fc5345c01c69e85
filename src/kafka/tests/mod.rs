//! Tests of the protocol against the `kafka_protocol` crate, which was written by others.

mod batches;
mod compressed;
mod counted;
mod fetch;
mod frames_and_headers;
mod generator;
mod produce;
mod requests;
mod responses;

use bytes::Bytes;
use kafka_protocol::messages::RequestHeader as CrateHeader;
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::api;

/// A frame without its length prefix: a header for this API and version, then the body.
fn frame(api_key: i16, api_version: i16, body: &[u8]) -> Bytes {
    let header = CrateHeader::default()
        .with_request_api_key(api_key)
        .with_request_api_version(api_version)
        .with_correlation_id(77)
        .with_client_id(Some(StrBytes::from_static_str("tester")));
    let mut out = Vec::new();
    let header_version = if api::is_flexible(api_key, api_version) { 2 } else { 1 };
    header.encode(&mut out, header_version).expect("a header that can be encoded");
    out.extend_from_slice(body);
    Bytes::from(out)
}

/// A small generator of numbers, so that every run tests the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
