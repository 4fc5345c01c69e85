//! A request as it goes over a connection.

use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Encodable, HeaderVersion};

/// A whole frame, length included, of a request whose kind and version the header says.
pub fn request_frame<M: Encodable + HeaderVersion>(header: &RequestHeader, body: &M) -> Vec<u8> {
    let version = header.request_api_version;
    let mut frame = vec![0; 4];
    header.encode(&mut frame, M::header_version(version)).expect("the header fits");
    body.encode(&mut frame, version).expect("the request fits its version");
    let bytes = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&bytes.to_be_bytes());
    frame
}
