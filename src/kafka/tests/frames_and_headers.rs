//! Frames, request headers, error codes.

use bytes::Bytes;
use kafka_protocol::messages::RequestHeader as CrateHeader;
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::super::api::DecodeError;
use super::super::error_code::{ALL, ErrorCode};
use super::super::frame::{FrameError, LENGTH_BYTES, next_frame, whole_frames};
use super::super::header::RequestHeader;

#[test]
fn whole_frames_are_counted_and_cut() {
    let mut bytes = Vec::new();
    for body in [&b"abc"[..], b"d", b"efgh"] {
        bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
        bytes.extend_from_slice(body);
    }
    for length in 0..bytes.len() {
        let ends = [(0, 7), (7, 5), (12, 8)];
        let (whole, next) = ends.into_iter().rfind(|(end, _)| *end <= length).expect("0 fits");
        let next = (length - whole >= LENGTH_BYTES).then_some(next);
        assert_eq!(whole_frames(&bytes[..length], 4), Ok((whole, next)));
    }
    assert_eq!(whole_frames(&bytes, 4), Ok((20, None)));
    assert_eq!(whole_frames(&bytes, 3), Err(FrameError::TooLong { bytes: 4, bytes_max: 3 }));
    let mut frames = Bytes::from(bytes);
    for body in [&b"abc"[..], b"d", b"efgh"] {
        assert_eq!(next_frame(&mut frames).as_deref(), Some(body));
    }
    assert_eq!(next_frame(&mut frames), None);
}

#[test]
fn bad_lengths_are_refused() {
    for (length, error) in [
        (0, FrameError::NotPositive(0)),
        (-1, FrameError::NotPositive(-1)),
        (i32::MIN, FrameError::NotPositive(i32::MIN)),
        (i32::MAX, FrameError::TooLong { bytes: i32::MAX as usize, bytes_max: 100 }),
    ] {
        assert_eq!(whole_frames(&length.to_be_bytes(), 100), Err(error));
        let mut frames = Bytes::from(length.to_be_bytes().to_vec());
        if length != 0 {
            assert_eq!(next_frame(&mut frames), None);
        }
    }
}

#[test]
fn headers_of_both_kinds_are_read() {
    for (key, version, header_version) in [(0, 8, 1), (0, 9, 2), (18, 2, 1), (18, 3, 2), (60, 0, 2)]
    {
        for client_id in [None, Some(""), Some("kcat")] {
            let mut bytes = Vec::new();
            let header = CrateHeader::default()
                .with_request_api_key(key)
                .with_request_api_version(version)
                .with_correlation_id(-5)
                .with_client_id(client_id.map(StrBytes::from_static_str));
            let header = if header_version == 2 {
                header.with_unknown_tagged_field(3, Bytes::from_static(b"tag"))
            } else {
                header
            };
            header.encode(&mut bytes, header_version).expect("encodable");
            for length in 0..bytes.len() {
                assert!(RequestHeader::decode(&bytes[..length]).is_err());
            }
            let read = RequestHeader::decode(&bytes).expect("a whole header");
            assert_eq!((read.api_key, read.api_version, read.correlation_id), (key, version, -5));
            assert_eq!(read.body_at, bytes.len());
            assert_eq!(read.client_id(&bytes), client_id);
        }
    }
}

#[test]
fn headers_from_the_future_still_give_their_correlation_id() {
    let bytes = [0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0xff];
    let header = RequestHeader::decode(&bytes).expect("nothing of the body is needed");
    assert_eq!((header.api_version, header.correlation_id), (99, 7));
    let negative = [0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xfe];
    assert!(matches!(RequestHeader::decode(&negative), Err(DecodeError::Malformed(_))));
}

#[test]
fn error_codes_have_the_names_of_the_crate() {
    for code in ALL {
        let spelled: String = code.name().split('_').map(str::to_lowercase).collect();
        let theirs = kafka_protocol::ResponseError::try_from_code(code.code());
        let theirs = theirs.map_or("none".to_owned(), |error| format!("{error:?}").to_lowercase());
        assert_eq!(
            spelled.trim_end_matches("exception"),
            theirs.trim_end_matches("exception"),
            "{code}"
        );
    }
    assert_eq!(ErrorCode(999).name(), "UNLISTED");
}
