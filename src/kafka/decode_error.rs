//! What can be wrong with a request. Small and `Copy`: making one costs nothing.

use thiserror::Error;

/// Why a request could not be read. The caller decides whether to answer or to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The frame ends in the middle of a field.
    #[error("the request ends in the middle of a field")]
    Truncated,
    /// The API is offered, this version of it is not.
    #[error("version {api_version} of API {api_key} is not supported")]
    UnsupportedVersion {
        /// The API asked for.
        api_key: i16,
        /// The version asked for.
        api_version: i16,
    },
    /// The API is not offered in any version.
    #[error("API {0} is not supported")]
    UnknownApi(i16),
    /// A count or length says more than the frame can hold.
    #[error("{0}")]
    Bounds(&'static str),
    /// The bytes don't follow the schema.
    #[error("{0}")]
    Malformed(&'static str),
}
