//! Records and stores as bytes: what is written is read back, and bad bytes are refused.

use std::rc::Rc;

use proptest::prelude::*;

use super::super::modern::member::{Current, MemberState, Profile, Subscription};
use super::super::modern::{self, TopicPartition};
use super::super::store::Store;
use super::*;
use crate::model::ids::TopicId;

fn offset() -> impl Strategy<Value = CommittedOffset> {
    (any::<i64>(), any::<i32>(), "[a-z]{0,9}", any::<i64>(), any::<Option<i64>>()).prop_map(
        |(offset, leader_epoch, metadata, committed_at, expires_at)| CommittedOffset {
            offset,
            leader_epoch,
            metadata,
            committed_at,
            expires_at,
        },
    )
}

fn member() -> impl Strategy<Value = ClassicMember> {
    let texts = ("[a-z]{1,9}", any::<Option<String>>(), "[a-z]{0,9}", "[a-z]{0,9}");
    let bytes = prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    (texts, any::<i32>(), any::<i32>(), bytes.clone(), bytes).prop_map(
        |(texts, session_timeout_ms, rebalance_timeout_ms, subscription, assignment)| {
            let (id, instance_id, client_id, client_host) = texts;
            ClassicMember {
                id,
                instance_id,
                client_id,
                client_host,
                session_timeout_ms,
                rebalance_timeout_ms,
                subscription,
                assignment,
            }
        },
    )
}

fn state() -> impl Strategy<Value = ClassicState> {
    let members = prop::collection::vec(member(), 0..4);
    let texts = ("[a-z]{0,9}", any::<Option<String>>(), any::<Option<String>>());
    (any::<i32>(), texts, any::<i64>(), members).prop_map(
        |(generation, (protocol_type, protocol, leader), changed_at, members)| ClassicState {
            generation,
            protocol_type,
            protocol,
            leader,
            changed_at,
            members,
        },
    )
}

/// What may be said of one of three members; no two have the same partitions.
fn modern() -> impl Strategy<Value = Vec<ModernRecord>> {
    let said = (any::<bool>(), any::<bool>(), any::<bool>(), 0..5i32, 0..5i32);
    (0..3u8, any::<i32>(), said).prop_map(
        |(number, epoch, (goes, is_static, is_classic, has, more))| {
            let id: Rc<str> = Rc::from(format!("member-{number}"));
            if goes {
                return vec![ModernRecord::MemberGone { id }];
            }
            let partition = |partition| TopicPartition { topic: TopicId([number; 16]), partition };
            let classic = is_classic.then(|| modern::member::ClassicMember {
                session_timeout_ms: has,
                protocols: vec![("range".to_owned(), vec![1, 2, 3])],
            });
            let profile = Profile {
                instance_id: is_static.then(|| Rc::from(format!("instance-{number}"))),
                rack_id: None,
                client_id: Rc::from("client"),
                client_host: Rc::from(""),
                subscription: Rc::new(Subscription::new(["a", "b"], is_static.then_some("c.*"))),
                server_assignor: is_static.then(|| Rc::from("range")),
                rebalance_timeout_ms: more,
                classic,
            };
            let state =
                if has > more { MemberState::UnrevokedPartitions } else { MemberState::Stable };
            let current = Current {
                epoch,
                previous_epoch: epoch.saturating_sub(1),
                state,
                assigned: (0..has).map(partition).collect(),
                pending: (has..has + more).map(partition).collect(),
            };
            vec![
                ModernRecord::Member { id: id.clone(), profile },
                ModernRecord::Group { epoch, topics_hash: 7 },
                ModernRecord::Target {
                    id: id.clone(),
                    partitions: (0..more).map(partition).collect(),
                },
                ModernRecord::AssignmentEpoch { epoch },
                ModernRecord::Current { id, current },
            ]
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let group = "[a-c]";
    let key = || (0u32..5).prop_map(PartitionKey);
    prop_oneof![
        (group, prop::collection::vec((key(), offset()), 0..4))
            .prop_map(|(group, offsets)| Record::OffsetsCommitted { group, offsets }),
        (group, prop::collection::vec(key(), 0..4))
            .prop_map(|(group, partitions)| Record::OffsetsDeleted { group, partitions }),
        (group, prop::collection::vec((key(), 0..3i64), 0..4))
            .prop_map(|(group, offsets)| Record::OffsetsExpired { group, offsets }),
        (group, state()).prop_map(|(group, state)| Record::Classic { group, state }),
        (group, modern()).prop_map(|(group, records)| Record::Modern { group, records }),
        group.prop_map(|group| Record::GroupDeleted { group }),
    ]
}

proptest! {
    #[test]
    fn records_are_read_back_as_written(records in prop::collection::vec(record(), 0..6)) {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        let read: Result<Vec<Record>, DecodeError> = Record::decode_all(&bytes).collect();
        prop_assert_eq!(read, Ok(records));
    }

    #[test]
    fn a_store_is_read_back_as_written(records in prop::collection::vec(record(), 0..20)) {
        let mut store = Store::default();
        records.into_iter().for_each(|record| store.apply(record));
        let mut bytes = Vec::new();
        store.encode(&mut bytes);
        prop_assert_eq!(Store::decode(&bytes), Ok(store));
        for end in 0..bytes.len() {
            prop_assert!(Store::decode(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn bad_bytes_never_panic(
        record in record(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        noise in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        Record::decode_all(&bytes).count();
        Record::decode_all(&noise).count();
        let _ = Store::decode(&noise);
    }
}

#[test]
fn whichever_protocol_is_spoken_last_has_the_group() {
    let group = || "g".to_owned();
    let mut store = Store::default();
    store.apply(Record::Classic { group: group(), state: ClassicState::default() });
    let records = vec![ModernRecord::Group { epoch: 3, topics_hash: 1 }];
    store.apply(Record::Modern { group: group(), records });
    let stored = store.group("g").expect("it is there");
    assert_eq!((stored.classic(), stored.modern().map(|state| state.epoch())), (None, Some(3)));
    store.apply(Record::Classic { group: group(), state: ClassicState::default() });
    assert!(store.group("g").is_some_and(|stored| stored.modern().is_none()));
}

#[test]
fn bytes_stay_what_they_are() {
    let mut bytes = Vec::new();
    let partitions = vec![PartitionKey(7)];
    Record::OffsetsDeleted { group: "g".to_owned(), partitions }.encode(&mut bytes);
    let expected = [15, 0, 0, 0, 1, 2, 1, 0, 0, 0, b'g', 1, 0, 0, 0, 7, 0, 0, 0];
    assert_eq!(bytes, expected);
}

#[test]
fn what_cannot_be_read_is_refused_for_what_it_is() {
    let first = |bytes: &[u8]| Record::decode_all(bytes).next().expect("there are bytes");
    assert_eq!(first(&[1]), Err(DecodeError::Truncated));
    assert_eq!(first(&[1, 0, 0, 0, 9]), Err(DecodeError::UnknownVersion(9)));
    let unknown = DecodeError::UnknownTag { what: "record", tag: 77 };
    assert_eq!(first(&[6, 0, 0, 0, 1, 77, 0, 0, 0, 0]), Err(unknown));
    assert_eq!(first(&[7, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0]), Err(DecodeError::LeftOver(1)));
    // A count that would take more memory than there are bytes.
    let boast = [10, 0, 0, 0, 1, 1, 0, 0, 0, 0, 255, 255, 255, 255];
    assert_eq!(first(&boast), Err(DecodeError::Truncated));
}
