//! Bytes of records: what was written is read, what is damaged is refused.

use std::rc::Rc;

use proptest::prelude::*;

use super::super::member::{ClassicMember, Current, MemberState, Profile, Subscription};
use super::*;

fn every_record() -> Vec<ModernRecord> {
    let id: Rc<str> = Rc::from("one");
    let profile = Profile {
        instance_id: Some(Rc::from("i")),
        rack_id: None,
        client_id: Rc::from("client"),
        client_host: Rc::from("/127.0.0.1"),
        subscription: Rc::new(Subscription::new(["b", "a"], Some("c.*"))),
        server_assignor: Some(Rc::from("range")),
        rebalance_timeout_ms: 60_000,
        classic: Some(ClassicMember {
            session_timeout_ms: 45_000,
            protocols: vec![("range".to_owned(), vec![1, 2, 3])],
        }),
    };
    let current = Current {
        epoch: 7,
        previous_epoch: -2,
        state: MemberState::UnrevokedPartitions,
        assigned: parts("1:0-2 2:5"),
        pending: parts("3:1"),
    };
    vec![
        ModernRecord::Member { id: id.clone(), profile },
        ModernRecord::Group { epoch: 8, topics_hash: u64::MAX },
        ModernRecord::Target { id: id.clone(), partitions: parts("1:0-9") },
        ModernRecord::AssignmentEpoch { epoch: 8 },
        ModernRecord::Current { id: id.clone(), current },
        ModernRecord::MemberGone { id },
    ]
}

fn encoded(records: &[ModernRecord]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_batch(records, &mut bytes);
    bytes
}

#[test]
fn every_record_round_trips() {
    assert_eq!(decode_batch(&encoded(&every_record())), Ok(every_record()));
}

#[test]
fn what_is_damaged_says_how() {
    let bytes = encoded(&every_record());
    for end in 0..bytes.len() {
        assert_eq!(decode_batch(&bytes[..end]), Err(DecodeError::Truncated));
    }
    assert_eq!(decode_batch(&[&*bytes, &[0]].concat()), Err(DecodeError::LeftOver(1)));
    assert_eq!(decode_batch(&[9]), Err(DecodeError::UnknownVersion(9)));
    let unknown = DecodeError::Unknown { what: "record", found: 99 };
    assert_eq!(decode_batch(&[1, 1, 0, 0, 0, 99]), Err(unknown));
    assert!(matches!(
        decode_batch(&[1, 255, 255, 255, 255]),
        Err(DecodeError::TooMany { what: "records", .. })
    ));
    let twice = [1, 1, 0, 0, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0];
    let topic = [7; 16];
    let twice = [&twice[..], &topic, &[2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]].concat();
    assert_eq!(decode_batch(&twice), Err(DecodeError::OutOfOrder("partitions")));
}

#[test]
fn a_snapshot_makes_the_same_state() {
    let mut rig = Rig::new(&[("a", 5), ("b", 3)]);
    rig.join("one", &["a"]);
    rig.join("two", &["a", "b"]);
    rig.stays("one", 1);
    let mut state = ModernState::default();
    for batch in rig.group.state().snapshot() {
        for record in decode_batch(&encoded(&batch)).expect("what was written can be read") {
            state.apply(&record);
        }
    }
    assert_eq!(&state, rig.group.state());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_break_the_reader(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = encoded(&every_record());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let mut state = ModernState::default();
        for record in decode_batch(&bytes).into_iter().flatten() {
            state.apply(&record);
        }
        let _ = decode_batch(&[&[1, 1, 0, 0, 0], &*noise].concat());
    }
}
