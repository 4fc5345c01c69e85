//! The request header: which API, which version, and the number the response must carry.
//!
//! Read for every request, so it allocates nothing and checks the client id's UTF-8 only on demand.

use super::api;
use super::decode_error::DecodeError;
use super::wire::Reader;

/// A request's header, and where its parts lie in the frame it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API, as on the wire. It may be one that is not offered.
    pub api_key: i16,
    /// Which version of it. It may be one that is not offered.
    pub api_version: i16,
    /// Goes into the response unchanged.
    pub correlation_id: i32,
    /// Where the body begins in the frame. Of no meaning for an API or a version not offered.
    pub body_at: usize,
    client_id_at: u32,
    /// Negative for null.
    client_id_bytes: i16,
}

impl RequestHeader {
    /// Reads the header at the start of a frame (without its length prefix).
    ///
    /// An unknown API or version is no error here, so that the caller still learns the
    /// correlation id and the client id; whoever decodes the body refuses it. Header versions 1
    /// and 2 are told apart by the API table; version 0 belonged to ControlledShutdown v0 alone.
    #[inline]
    pub fn decode(frame: &[u8]) -> Result<RequestHeader, DecodeError> {
        let mut reader = Reader::new(frame, 0);
        let api_key = reader.i16()?;
        let api_version = reader.i16()?;
        let correlation_id = reader.i32()?;
        if api_key == CONTROLLED_SHUTDOWN && api_version == 0 {
            return Ok(RequestHeader {
                api_key,
                api_version,
                correlation_id,
                body_at: reader.at(),
                client_id_at: 0,
                client_id_bytes: -1,
            });
        }
        let client_id_bytes = reader.i16()?;
        let client_id_at = reader.at() as u32;
        if client_id_bytes > 0 {
            reader.take(client_id_bytes as usize)?;
        } else if client_id_bytes < -1 {
            return Err(DecodeError::Malformed("the client id has a negative length"));
        }
        // Of a version from the future we don't know the header, and must not need to: an
        // ApiVersions request from there is to be answered.
        if api::is_flexible(api_key, api_version) && api::is_offered(api_key, api_version) {
            reader.skip_tagged_fields()?;
        }
        let body_at = reader.at();
        Ok(RequestHeader {
            api_key,
            api_version,
            correlation_id,
            body_at,
            client_id_at,
            client_id_bytes,
        })
    }

    /// The client id, given the frame the header was read from. `None` if it is null or not UTF-8.
    pub fn client_id<'a>(&self, frame: &'a [u8]) -> Option<&'a str> {
        let bytes = usize::try_from(self.client_id_bytes).ok()?;
        let at = self.client_id_at as usize;
        std::str::from_utf8(frame.get(at..at + bytes)?).ok()
    }
}

/// The one API whose version 0 has a header without a client id.
const CONTROLLED_SHUTDOWN: i16 = 7;
