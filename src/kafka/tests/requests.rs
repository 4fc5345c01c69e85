//! Requests: schemas against the crate, lying counts, truncations, random bytes.

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{CreateTopicsRequest, FetchRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;

use super::super::api::{self, APIS, DecodeError, Request, decode_request};
use super::super::bounds;
use super::super::header::RequestHeader;
use super::super::produce::{PRODUCE_KEY, ProduceRequest};
use super::super::request_schemas;
use super::{Numbers, frame, generator};
use crate::limits::SMALL_FRAME_BYTES_MAX;

fn decode(frame: &Bytes) -> Result<Request, DecodeError> {
    decode_request(&RequestHeader::decode(frame)?, frame)
}

/// Every version of every API but Produce.
fn versions() -> impl Iterator<Item = (i16, i16)> {
    let walked = APIS.iter().filter(|api| api.key != PRODUCE_KEY);
    walked.flat_map(|api| (api.min..=api.max).map(|version| (api.key, version)))
}

/// Those of them that the crate decodes.
fn crate_versions() -> impl Iterator<Item = (i16, i16)> {
    versions().filter(|(key, version)| !api::is_read_by_hand(*key, *version))
}

#[test]
fn the_table_is_within_what_the_crate_speaks() {
    for (key, version) in crate_versions() {
        let (header_version, min, max) = Request::crate_versions(key, version);
        assert!((min..=max).contains(&version), "API {key} version {version}");
        assert_eq!(api::is_flexible(key, version), header_version == 2, "{key} {version}");
    }
    assert!(APIS.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(Request::defaults().len() + 1, APIS.len());
    assert!(APIS.iter().all(|api| api::api(api.key) == Some(api)));
    for key in [-1, 4, 127, 128, i16::MIN, i16::MAX] {
        assert_eq!(api::api(key), None);
    }
}

#[test]
fn default_requests_decode_to_themselves() {
    let mut checked = 0;
    for (key, request) in Request::defaults() {
        let range = api::api(key).expect("an offered API");
        for version in (range.min..=range.max).filter(|v| !api::is_read_by_hand(key, *v)) {
            let body = request.body(version).expect("defaults can be encoded");
            assert_eq!(decode(&frame(key, version, &body)), Ok(request.clone()), "{key} {version}");
            checked += 1;
        }
    }
    assert_eq!(checked, crate_versions().count());
}

#[test]
fn generated_requests_decode_and_encode_to_the_same_bytes() {
    let mut numbers = Numbers(1);
    for (key, version) in crate_versions() {
        for round in 0..40 {
            let body = generator::body(key, version, &mut numbers);
            let request = decode(&frame(key, version, &body))
                .unwrap_or_else(|error| panic!("API {key} v{version} round {round}: {error}"));
            assert_eq!(request.body(version).expect("encodable"), body, "API {key} v{version}");
        }
    }
}

#[test]
fn filled_requests_of_the_crate_pass() {
    let name = || TopicName(StrBytes::from_static_str("orders"));
    let create = CreateTopicsRequest::default().with_timeout_ms(5).with_topics(vec![
        CreatableTopic::default()
            .with_name(name())
            .with_num_partitions(3)
            .with_assignments(vec![
                CreatableReplicaAssignment::default().with_broker_ids(vec![1.into(), 2.into()]),
            ])
            .with_configs(vec![
                CreatableTopicConfig::default().with_name(StrBytes::from_static_str("k")),
            ]),
    ]);
    let create = Request::CreateTopics(create);
    for version in 2..=7 {
        let body = create.body(version).expect("encodable");
        assert_eq!(decode(&frame(19, version, &body)), Ok(create.clone()));
    }
    let partition = FetchPartition::default().with_fetch_offset(9).with_partition_max_bytes(10);
    for version in 4..=12 {
        let topic =
            FetchTopic::default().with_topic(name()).with_partitions(vec![partition.clone(); 3]);
        let fetch = Request::Fetch(FetchRequest::default().with_topics(vec![topic; 2]));
        let body = fetch.body(version).expect("encodable");
        assert!(decode(&frame(1, version, &body)).is_ok());
    }
    let all = Request::Metadata(MetadataRequest::default().with_topics(None));
    for version in 1..=13 {
        let body = all.body(version).expect("encodable");
        assert_eq!(decode(&frame(3, version, &body)), Ok(all.clone()));
    }
}

#[test]
fn a_lying_count_is_refused_before_anything_is_allocated() {
    let mut numbers = Numbers(2);
    let mut falsified = 0;
    for (key, version) in versions() {
        for _ in 0..10 {
            let body = generator::body(key, version, &mut numbers);
            for at in bounds::counts(key, version, &body) {
                for lie in lies(&body, at, api::is_flexible(key, version)) {
                    assert!(decode(&frame(key, version, &lie)).is_err(), "API {key} v{version}");
                    falsified += 1;
                }
            }
        }
    }
    assert!(falsified > 1000);
}

/// The body with the count at `at` replaced by the largest one, and by the least that is wrong.
fn lies(body: &[u8], at: usize, flexible: bool) -> Vec<Vec<u8>> {
    let (behind, counts): (usize, &[&[u8]]) = if flexible {
        // The generator's counts are small: one byte each.
        (at + 1, &[&[0xff, 0xff, 0xff, 0xff, 0x07], &[0xff, 0xff, 0xff, 0xff, 0x0f]])
    } else {
        (at + 4, &[&[0x7f, 0xff, 0xff, 0xff], &[0x80, 0, 0, 0], &[0xff, 0xff, 0xff, 0xfe]])
    };
    counts.iter().map(|count| [&body[..at], *count, &body[behind..]].concat()).collect()
}

#[test]
fn every_truncation_is_refused_and_every_leftover_ignored() {
    let mut numbers = Numbers(3);
    for (key, version) in versions() {
        for _ in 0..3 {
            let body = generator::body(key, version, &mut numbers);
            let whole = frame(key, version, &body);
            for length in 0..whole.len() {
                assert!(decode(&whole.slice(..length)).is_err(), "API {key} v{version} {length}");
            }
            let longer = frame(key, version, &[&body[..], &[1, 0, 0]].concat());
            assert_eq!(decode(&longer), decode(&whole), "API {key} v{version}");
        }
    }
}

#[test]
fn no_element_is_free() {
    // An array of elements that take no bytes could count as many as it likes.
    for (key, version) in versions() {
        let schema = request_schemas::of(key).expect("walked");
        bounds::assert_elements_take_bytes(key, version, schema);
    }
}

#[test]
fn too_many_tagged_fields_and_too_long_requests_are_refused() {
    // ListGroups v3: nothing but tagged fields.
    let mut body = vec![0x81, 0x08];
    (0..1025u32).for_each(|_| body.extend_from_slice(&[5, 0]));
    assert!(matches!(decode(&frame(16, 3, &body)), Err(DecodeError::Bounds(_))));
    let long = frame(16, 0, &vec![0; SMALL_FRAME_BYTES_MAX + 1]);
    assert!(matches!(decode(&long), Err(DecodeError::Bounds(_))));
}

#[test]
fn what_is_not_offered_is_named() {
    let unknown = frame(4, 0, &[]);
    assert_eq!(decode(&unknown), Err(DecodeError::UnknownApi(4)));
    let future = frame(3, 99, &[]);
    let expected = DecodeError::UnsupportedVersion { api_key: 3, api_version: 99 };
    assert_eq!(decode(&future), Err(expected));
}

/// Whatever decoder this API has, run over these bytes.
fn decode_anything(frame: &Bytes) {
    let Ok(header) = RequestHeader::decode(frame) else { return };
    header.client_id(frame);
    let _ = decode_request(&header, frame);
    if let Ok(request) = ProduceRequest::decode(&header, frame) {
        for partition in request.partitions().flatten() {
            assert!(partition.records.is_none_or(|range| range.end <= frame.len()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        small in prop::collection::vec(0u8..6, 0..200),
    ) {
        decode_anything(&Bytes::from(bytes.clone()));
        for range in APIS {
            for version in -1..=range.max + 1 {
                decode_anything(&frame(range.key, version, &bytes));
                decode_anything(&frame(range.key, version, &small));
            }
        }
    }

    #[test]
    fn damaged_requests_never_panic(
        seed in any::<u64>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut numbers = Numbers(seed);
        for (key, version) in versions() {
            let body = generator::body(key, version, &mut numbers);
            let mut bytes = frame(key, version, &body).to_vec();
            for (index, byte) in &damage {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
            decode_anything(&Bytes::from(bytes));
        }
    }
}
