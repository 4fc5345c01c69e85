//! Responses of the small APIs: ApiVersions and the generic encoder.

use kafka_protocol::messages::{ApiVersionsResponse, MetadataResponse, ResponseHeader};
use kafka_protocol::protocol::Decodable;

use super::super::api::{APIS, api_versions_response, encode_response, is_valid_software_name};
use super::super::error_code::ErrorCode;
use super::super::header::RequestHeader;
use super::frame;

fn header(api_key: i16, version: i16) -> RequestHeader {
    RequestHeader::decode(&frame(api_key, version, &[])).expect("a header")
}

#[test]
fn api_versions_lists_the_table_and_no_tagged_fields() {
    for version in 0..=4 {
        let mut out = Vec::new();
        let response = api_versions_response(version, 0);
        encode_response(&mut out, &header(18, version), &response).expect("encodable");
        assert_eq!(out[..4], (out.len() as u32 - 4).to_be_bytes());
        // The response header is always version 0: the correlation id alone.
        assert_eq!(out[4..8], 77u32.to_be_bytes());
        let mut body = &out[8..];
        let read = ApiVersionsResponse::decode(&mut body, version).expect("decodable");
        assert!(body.is_empty());
        assert_eq!(read, response);
        assert_eq!(read.api_keys.len(), APIS.len());
        assert_eq!((read.api_keys[0].min_version, read.api_keys[0].max_version), (0, 11));
        if version >= 3 {
            assert_eq!(out.last(), Some(&0), "no tagged fields");
        }
    }
}

#[test]
fn api_versions_from_the_future_is_answered_in_version_0() {
    for version in [-1, 5, 99] {
        let mut out = Vec::new();
        let response = api_versions_response(version, 0);
        encode_response(&mut out, &header(18, version), &response).expect("encodable");
        let read = ApiVersionsResponse::decode(&mut &out[8..], 0).expect("decodable");
        assert_eq!(read.error_code, ErrorCode::UNSUPPORTED_VERSION.code());
        assert!(read.api_keys.iter().any(|api| api.api_key == 18));
    }
}

#[test]
fn responses_have_the_header_of_their_version() {
    for version in 0..=13 {
        let mut out = b"before".to_vec();
        let response = MetadataResponse::default();
        encode_response(&mut out, &header(3, version), &response).expect("encodable");
        let mut rest = &out[10..];
        let header_version = i16::from(version >= 9);
        let read = ResponseHeader::decode(&mut rest, header_version).expect("a header");
        assert_eq!(read.correlation_id, 77);
        MetadataResponse::decode(&mut rest, version).expect("a body");
        assert!(rest.is_empty());
    }
}

#[test]
fn what_cannot_be_encoded_leaves_nothing_behind() {
    let mut out = b"before".to_vec();
    let response = MetadataResponse::default();
    let error = encode_response(&mut out, &header(3, 99), &response).expect_err("no such version");
    assert_eq!((error.api_key, error.api_version), (3, 99));
    assert_eq!(out, b"before");
}

#[test]
fn software_names_are_checked_as_kafka_does() {
    for name in ["librdkafka", "2.0.2", "apache-kafka-java", "a"] {
        assert!(is_valid_software_name(name), "{name}");
    }
    for name in ["", "-a", "a.", "a b", "a_b", "\u{e9}"] {
        assert!(!is_valid_software_name(name), "{name}");
    }
}
