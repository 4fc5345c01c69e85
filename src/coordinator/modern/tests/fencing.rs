//! Epochs: retries after lost answers, zombies, bad requests, and who may commit offsets.

use super::*;

#[test]
fn a_lost_answer_is_told_again() {
    let mut rig = Rig::new(&[("a", 4)]);
    rig.join("one", &["a"]);
    // The answer that says epoch 1 is lost; the client joins again.
    let again = rig.join("one", &["a"]);
    assert_eq!((again.member_epoch, again.assignment), (1, Some(parts("1:0-3"))));
    rig.join("two", &["a"]);
    rig.stays("one", 1);
    rig.has("one", 1, "1:0-1");
    // It is in epoch 2, but hasn't heard of it. It sends all there is to say.
    let full =
        |owned| Heartbeat { member_epoch: 1, owned: Some(parts(owned)), ..joining("one", &["a"]) };
    let again = rig.beat(full("1:0-1")).expect("the epoch before is good");
    assert_eq!((again.member_epoch, again.assignment), (2, Some(parts("1:0-1"))));
    // With more than it may have, it is no retry.
    assert_eq!(rig.refused(full("1:0-2")), ErrorKind::FencedMemberEpoch);
    // Nor if it says nothing of what it has.
    assert_eq!(rig.refused(staying("one", 1)), ErrorKind::FencedMemberEpoch);
}

#[test]
fn other_epochs_are_fenced() {
    let mut rig = Rig::new(&[("a", 1)]);
    rig.join("one", &["a"]);
    rig.join("two", &["a"]);
    rig.join("three", &["a"]);
    rig.stays("one", 1);
    for epoch in [1, 2, 4] {
        let owned = Some(parts("1:0"));
        let request = Heartbeat { owned, ..staying("one", epoch) };
        match epoch {
            4 => assert_eq!(rig.refused(request), ErrorKind::FencedMemberEpoch),
            2 => assert_eq!(rig.refused(request), ErrorKind::FencedMemberEpoch),
            _ => assert_eq!(rig.beat(request).expect("the one before").member_epoch, 3),
        }
    }
    assert_eq!(rig.refused(staying("nobody", 1)), ErrorKind::UnknownMemberId);
}

#[test]
fn bad_requests_are_refused_and_change_nothing() {
    let mut rig = Rig::new(&[("a", 1)]);
    let long = "x".repeat(2000);
    let join = || joining("one", &["a"]);
    let bad = [
        Heartbeat { member_id: "", ..join() },
        Heartbeat { member_id: &long, ..join() },
        Heartbeat { instance_id: Some(""), ..join() },
        Heartbeat { rack_id: Some(""), ..join() },
        Heartbeat { rebalance_timeout_ms: None, ..join() },
        Heartbeat { rebalance_timeout_ms: Some(-2), ..join() },
        Heartbeat { owned: None, ..join() },
        Heartbeat { owned: Some(parts("1:0")), ..join() },
        Heartbeat { subscribed_topic_names: None, ..join() },
        Heartbeat { member_epoch: -3, ..join() },
        Heartbeat { member_epoch: -2, ..join() },
    ];
    for request in bad {
        assert_eq!(rig.refused(request.clone()), ErrorKind::InvalidRequest, "{request:?}");
    }
    let request = Heartbeat { server_assignor: Some("fair"), ..join() };
    assert_eq!(rig.refused(request), ErrorKind::UnsupportedAssignor);
    assert_eq!((rig.batches, rig.state()), (0, GroupState::Empty));
    let request = Heartbeat { client_id: &long, ..join() };
    rig.beat(request).expect("a client id is only shown, and cut");
    assert_eq!(rig.group.state().describe(Assignor::Uniform).members[0].client_id.len(), 1024);
}

#[test]
fn offsets_are_for_members_in_their_epoch() {
    let mut rig = Rig::new(&[("a", 1)]);
    let kind = |result: Result<(), GroupError>| result.map_err(|error| error.kind);
    // Nobody is there: tools may commit.
    assert_eq!(kind(rig.group.state().check_commit("", -1, Some(9))), Ok(()));
    rig.join("one", &["a"]);
    let commit = |rig: &Rig, member, epoch, version| {
        kind(rig.group.state().check_commit(member, epoch, version))
    };
    assert_eq!(commit(&rig, "", -1, Some(9)), Err(ErrorKind::UnknownMemberId));
    assert_eq!(commit(&rig, "one", 1, Some(9)), Ok(()));
    assert_eq!(commit(&rig, "one", 1, Some(8)), Err(ErrorKind::UnsupportedVersion));
    assert_eq!(commit(&rig, "one", 1, None), Ok(()));
    assert_eq!(commit(&rig, "one", 0, Some(9)), Err(ErrorKind::StaleMemberEpoch));
    assert_eq!(commit(&rig, "one", 2, Some(10)), Err(ErrorKind::StaleMemberEpoch));
    assert_eq!(kind(rig.group.state().check_fetch(None, -1)), Ok(()));
    assert_eq!(kind(rig.group.state().check_fetch(Some("one"), 1)), Ok(()));
    assert_eq!(
        kind(rig.group.state().check_fetch(Some("one"), 2)),
        Err(ErrorKind::StaleMemberEpoch)
    );
    assert_eq!(
        kind(rig.group.state().check_fetch(Some("two"), 2)),
        Err(ErrorKind::UnknownMemberId)
    );
}
