//! Which APIs are offered, and all requests but Produce.
//!
//! The table is the one place that says what this broker speaks. Before the crate decodes
//! anything, `bounds` has walked the bytes: the crate trusts the counts it reads.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{self, ApiVersionsResponse};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use thiserror::Error;

use super::bounds;
use super::header::RequestHeader;
use super::produce::{PRODUCE_FLEXIBLE_FROM, PRODUCE_KEY};
use super::topic_id_requests::{self, TOPIC_IDS_FROM};
use super::wire::{begin_frame, end_frame};

pub use super::decode_error::DecodeError;

const OFFSET_COMMIT_KEY: i16 = 8;
const OFFSET_FETCH_KEY: i16 = 9;
const HEARTBEAT_KEY: i16 = 12;
const CONSUMER_GROUP_HEARTBEAT_KEY: i16 = 68;
/// ApiVersions' key.
pub const API_VERSIONS_KEY: i16 = 18;

/// One API and the versions of it that are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRange {
    /// The API key.
    pub key: i16,
    /// The name in the protocol guide.
    pub name: &'static str,
    /// The lowest version advertised.
    pub min: i16,
    /// The lowest version taken. Higher than `min` only for Produce.
    pub accepted_min: i16,
    /// The highest version, advertised and taken.
    pub max: i16,
    /// The first version in the flexible encoding.
    pub flexible_from: i16,
}

const fn range(key: i16, name: &'static str, min: i16, max: i16, flexible_from: i16) -> ApiRange {
    ApiRange { key, name, min, accepted_min: min, max, flexible_from }
}

/// Everything this broker speaks, by ascending key.
pub const APIS: &[ApiRange] = &[
    // Old librdkafka compresses only for brokers that advertise version 0 (research: measured).
    ApiRange {
        key: PRODUCE_KEY,
        name: "Produce",
        min: 0,
        accepted_min: 3,
        max: 11,
        flexible_from: PRODUCE_FLEXIBLE_FROM,
    },
    range(1, "Fetch", 4, 16, 12),
    range(2, "ListOffsets", 1, 10, 6),
    range(3, "Metadata", 0, 13, 9),
    range(8, "OffsetCommit", 2, 10, 8),
    range(9, "OffsetFetch", 1, 10, 6),
    range(10, "FindCoordinator", 0, 6, 3),
    range(11, "JoinGroup", 0, 9, 6),
    range(HEARTBEAT_KEY, "Heartbeat", 0, 4, 4),
    range(13, "LeaveGroup", 0, 5, 4),
    range(14, "SyncGroup", 0, 5, 4),
    range(15, "DescribeGroups", 0, 6, 5),
    range(16, "ListGroups", 0, 5, 3),
    range(API_VERSIONS_KEY, "ApiVersions", 0, 4, 3),
    range(19, "CreateTopics", 2, 7, 5),
    range(20, "DeleteTopics", 1, 6, 4),
    range(21, "DeleteRecords", 0, 2, 2),
    range(22, "InitProducerId", 0, 5, 2),
    range(23, "OffsetForLeaderEpoch", 2, 4, 4),
    range(32, "DescribeConfigs", 1, 4, 4),
    range(33, "AlterConfigs", 0, 2, 2),
    range(35, "DescribeLogDirs", 1, 4, 2),
    range(37, "CreatePartitions", 0, 3, 2),
    range(42, "DeleteGroups", 0, 2, 2),
    range(44, "IncrementalAlterConfigs", 0, 1, 1),
    range(47, "OffsetDelete", 0, 0, i16::MAX),
    range(55, "DescribeQuorum", 0, 2, 0),
    range(60, "DescribeCluster", 0, 2, 0),
    range(CONSUMER_GROUP_HEARTBEAT_KEY, "ConsumerGroupHeartbeat", 0, 1, 0),
    range(69, "ConsumerGroupDescribe", 0, 1, 0),
    range(75, "DescribeTopicPartitions", 0, 0, 0),
];

const NOT_OFFERED: u8 = u8::MAX;

/// For each key its index in `APIS`: one load on the hot path instead of a search.
const INDEX_BY_KEY: [u8; 128] = {
    let mut index = [NOT_OFFERED; 128];
    let mut at = 0;
    while at < APIS.len() {
        index[APIS[at].key as usize] = at as u8;
        at += 1;
    }
    index
};

/// The API of this key, if it is offered.
#[inline]
pub fn api(key: i16) -> Option<&'static ApiRange> {
    let index = *INDEX_BY_KEY.get(usize::try_from(key).ok()?)?;
    APIS.get(usize::from(index))
}

/// The place of an API in [`APIS`], for tables with a line for each.
#[inline]
pub fn api_index(key: i16) -> Option<usize> {
    let index = usize::from(*INDEX_BY_KEY.get(usize::try_from(key).ok()?)?);
    (index < APIS.len()).then_some(index)
}

/// Whether a request, which begins with its key, is one by which a member of a consumer group says
/// that it lives.
pub fn is_heartbeat(request: &[u8]) -> bool {
    let key = request.first_chunk().map(|key| i16::from_be_bytes(*key));
    matches!(key, Some(HEARTBEAT_KEY | CONSUMER_GROUP_HEARTBEAT_KEY))
}

/// The place of Produce in [`APIS`].
pub const PRODUCE_INDEX: usize = INDEX_BY_KEY[PRODUCE_KEY as usize] as usize;
/// The place of Fetch in [`APIS`].
pub const FETCH_INDEX: usize = INDEX_BY_KEY[1] as usize;

/// Whether a request of this API and version is taken.
#[inline]
pub fn is_offered(key: i16, version: i16) -> bool {
    api(key).is_some_and(|api| (api.accepted_min..=api.max).contains(&version))
}

/// Whether this version of this API has the flexible encoding: compact lengths, tagged fields.
#[inline]
pub fn is_flexible(key: i16, version: i16) -> bool {
    api(key).is_some_and(|api| version >= api.flexible_from)
}

macro_rules! requests {
    ($($key:literal $name:ident $type:ident,)*) => {
        /// A request of any API but Produce. Strings and bytes in it share the frame's memory.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request {
            $(
                #[doc = concat!("`", stringify!($name), "`, API key ", stringify!($key), ".")]
                $name(messages::$type),
            )*
        }

        #[cfg(test)]
        impl Request {
            /// The default request of each API, with its key.
            pub(super) fn defaults() -> Vec<(i16, Request)> {
                vec![$(($key, Request::$name(Default::default())),)*]
            }

            /// The body as the crate encodes it.
            pub(super) fn body(&self, version: i16) -> anyhow::Result<Vec<u8>> {
                let mut out = Vec::new();
                match self {
                    $(Request::$name(request) => request.encode(&mut out, version)?,)*
                }
                Ok(out)
            }

            /// The header version and the versions that the crate gives this API.
            pub(super) fn crate_versions(key: i16, version: i16) -> (i16, i16, i16) {
                use kafka_protocol::protocol::Message;
                match key {
                    $($key => {
                        type Type = messages::$type;
                        (Type::header_version(version), Type::VERSIONS.min, Type::VERSIONS.max)
                    })*
                    _ => panic!("API {key} is not in the list of requests"),
                }
            }
        }

        fn decode_body(key: i16, version: i16, body: &mut Bytes) -> Result<Request, DecodeError> {
            match key {
                $($key => messages::$type::decode(body, version).map(Request::$name),)*
                _ => return Err(DecodeError::UnknownApi(key)),
            }
            // What the bounds walk leaves: strings that aren't UTF-8, tags in wrong versions.
            .map_err(|_| DecodeError::Malformed("the request does not follow its schema"))
        }
    };
}

requests! {
    1 Fetch FetchRequest,
    2 ListOffsets ListOffsetsRequest,
    3 Metadata MetadataRequest,
    8 OffsetCommit OffsetCommitRequest,
    9 OffsetFetch OffsetFetchRequest,
    10 FindCoordinator FindCoordinatorRequest,
    11 JoinGroup JoinGroupRequest,
    12 Heartbeat HeartbeatRequest,
    13 LeaveGroup LeaveGroupRequest,
    14 SyncGroup SyncGroupRequest,
    15 DescribeGroups DescribeGroupsRequest,
    16 ListGroups ListGroupsRequest,
    18 ApiVersions ApiVersionsRequest,
    19 CreateTopics CreateTopicsRequest,
    20 DeleteTopics DeleteTopicsRequest,
    21 DeleteRecords DeleteRecordsRequest,
    22 InitProducerId InitProducerIdRequest,
    23 OffsetForLeaderEpoch OffsetForLeaderEpochRequest,
    32 DescribeConfigs DescribeConfigsRequest,
    33 AlterConfigs AlterConfigsRequest,
    35 DescribeLogDirs DescribeLogDirsRequest,
    37 CreatePartitions CreatePartitionsRequest,
    42 DeleteGroups DeleteGroupsRequest,
    44 IncrementalAlterConfigs IncrementalAlterConfigsRequest,
    47 OffsetDelete OffsetDeleteRequest,
    55 DescribeQuorum DescribeQuorumRequest,
    60 DescribeCluster DescribeClusterRequest,
    68 ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest,
    69 ConsumerGroupDescribe ConsumerGroupDescribeRequest,
    75 DescribeTopicPartitions DescribeTopicPartitionsRequest,
}

/// Decodes the body of any request but Produce (which is `UnknownApi` here), after walking it
/// against its schema.
///
/// `header` must come from the same frame. Frames longer than `SMALL_FRAME_BYTES_MAX` are
/// refused. For ApiVersions, an unsupported version is the caller's cue to answer with
/// `UNSUPPORTED_VERSION` and the table; for the others, to close the connection.
pub fn decode_request(header: &RequestHeader, frame: &Bytes) -> Result<Request, DecodeError> {
    let (api_key, api_version) = (header.api_key, header.api_version);
    if api(api_key).is_none() {
        return Err(DecodeError::UnknownApi(api_key));
    }
    if !is_offered(api_key, api_version) {
        return Err(DecodeError::UnsupportedVersion { api_key, api_version });
    }
    let body = frame.get(header.body_at..).ok_or(DecodeError::Truncated)?;
    let walked = bounds::walk(api_key, api_version, body)?;
    let ignored = body.len() - walked;
    let mut body = frame.slice(header.body_at..);
    let request = match decode_by_hand(api_key, api_version, &mut body)? {
        Some(request) => request,
        None => decode_body(api_key, api_version, &mut body)?,
    };
    if body.remaining() != ignored {
        return Err(DecodeError::Malformed("the request ends elsewhere than its schema says"));
    }
    Ok(request)
}

/// Reads a request of a version that the crate doesn't know.
fn decode_by_hand(
    api_key: i16,
    api_version: i16,
    body: &mut Bytes,
) -> Result<Option<Request>, DecodeError> {
    if !is_read_by_hand(api_key, api_version) {
        return Ok(None);
    }
    let (request, bytes) = if api_key == OFFSET_COMMIT_KEY {
        let (request, bytes) = topic_id_requests::offset_commit(body)?;
        (Request::OffsetCommit(request), bytes)
    } else {
        let (request, bytes) = topic_id_requests::offset_fetch(body)?;
        (Request::OffsetFetch(request), bytes)
    };
    body.advance(bytes);
    Ok(Some(request))
}

/// Whether the crate doesn't know this version's requests.
pub(super) fn is_read_by_hand(api_key: i16, api_version: i16) -> bool {
    matches!(api_key, OFFSET_COMMIT_KEY | OFFSET_FETCH_KEY) && api_version >= TOPIC_IDS_FROM
}

/// A response that the crate could not encode: a field is set that its version doesn't have, or
/// something is too long to say. A bug of ours, whatever the client did.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the response to API {api_key} version {api_version} can't be encoded: {reason}")]
pub struct EncodeError {
    /// The API of the request.
    pub api_key: i16,
    /// The version of the response.
    pub api_version: i16,
    /// The crate's own words.
    pub reason: String,
}

/// Appends a whole frame, length prefix included: the response to the request with this header,
/// in the request's version. On an error `out` is left as it was.
///
/// The response to an ApiVersions request of a version not offered is encoded in version 0, the
/// only one that such a client is sure to understand.
pub fn encode_response<M: Encodable + HeaderVersion>(
    out: &mut Vec<u8>,
    header: &RequestHeader,
    response: &M,
) -> Result<(), EncodeError> {
    let api_key = header.api_key;
    let from_the_future = api_key == API_VERSIONS_KEY && !is_offered(api_key, header.api_version);
    let version = if from_the_future { 0 } else { header.api_version };
    let flexible_header = M::header_version(version) >= 1;
    let frame_at = begin_frame(out, header.correlation_id, flexible_header);
    if let Err(error) = response.encode(out, version) {
        out.truncate(frame_at);
        return Err(EncodeError { api_key, api_version: version, reason: error.to_string() });
    }
    end_frame(out, frame_at, 0);
    Ok(())
}

/// The answer to an ApiVersions request of this version: the whole table, with this error.
///
/// If the version is not offered, the error is `UNSUPPORTED_VERSION` whatever `error` says. There
/// are no features, and with none the crate writes no tagged fields, which librdkafka before
/// 2.2.0 could not skip.
pub fn api_versions_response(version: i16, error: i16) -> ApiVersionsResponse {
    let offered = is_offered(API_VERSIONS_KEY, version);
    let unsupported = super::error_code::ErrorCode::UNSUPPORTED_VERSION.code();
    let ranges = APIS.iter().map(|api| {
        ApiVersion::default()
            .with_api_key(api.key)
            .with_min_version(api.min)
            .with_max_version(api.max)
    });
    ApiVersionsResponse::default()
        .with_error_code(if offered { error } else { unsupported })
        .with_api_keys(ranges.collect())
}

/// Whether a client's software name or version (ApiVersions v3 and later) is one that Kafka
/// takes: letters, digits, dots and dashes, with a letter or digit at both ends. Others are
/// answered with `INVALID_REQUEST`.
pub fn is_valid_software_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}
