//! Joining, sharing, and leaving.

use super::*;

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut rig = Rig::new(&[("a", 3), ("b", 1)]);
    assert_eq!(rig.state(), GroupState::Empty);
    let answer = rig.join("one", &["b", "a", "not-there"]);
    assert_eq!((answer.member_epoch, answer.heartbeat_interval), (1, Duration::from_secs(5)));
    assert_eq!(answer.assignment, Some(parts("1:0-2 2:0")));
    assert_eq!(rig.state(), GroupState::Stable);
    // Nothing new: nothing is written, and nothing is told again.
    let batches = rig.batches;
    let answer = rig.has("one", 1, "1:0-2 2:0");
    assert_eq!((answer.member_epoch, answer.assignment), (1, None));
    assert_eq!(rig.batches, batches);
}

#[test]
fn a_second_member_takes_over_what_the_first_gives_up() {
    let mut rig = Rig::new(&[("a", 4)]);
    rig.join("one", &["a"]);
    // Both halves are decided; the second's is not free yet.
    let two = rig.join("two", &["a"]);
    assert_eq!((two.member_epoch, two.assignment), (2, Some(parts(""))));
    assert_eq!(rig.state(), GroupState::Reconciling);
    let one = rig.stays("one", 1);
    assert_eq!((one.member_epoch, one.assignment), (1, Some(parts("1:0-1"))), "to give up 2 and 3");
    // As long as it has them, or doesn't say, nobody else gets them.
    for _ in 0..2 {
        assert_eq!(rig.has("one", 1, "1:0-3").member_epoch, 1);
        assert_eq!(rig.stays("one", 1).member_epoch, 1);
        assert_eq!(rig.stays("two", 2).assignment, None);
    }
    let one = rig.has("one", 1, "1:0-1");
    assert_eq!((one.member_epoch, one.assignment), (2, None));
    assert_eq!(rig.stays("two", 2).assignment, Some(parts("1:2-3")));
    assert_eq!(rig.state(), GroupState::Stable);
}

#[test]
fn half_of_what_was_given_up_is_not_enough() {
    let mut rig = Rig::new(&[("a", 4)]);
    rig.join("one", &["a"]);
    rig.join("two", &["a"]);
    rig.stays("one", 1);
    rig.has("one", 1, "1:0-2");
    assert_eq!(rig.stays("two", 2).assignment, None);
    rig.has("one", 1, "1:0-1");
    assert_eq!(rig.stays("two", 2).assignment, Some(parts("1:2-3")));
}

#[test]
fn who_leaves_hands_over_at_once() {
    let mut rig = Rig::new(&[("a", 2)]);
    rig.join("one", &["a"]);
    rig.join("two", &["a"]);
    let left = rig.beat(leaving("one")).expect("it may leave");
    assert_eq!((left.member_epoch, left.assignment), (-1, None));
    assert_eq!(rig.state(), GroupState::Assigning);
    let two = rig.stays("two", 2);
    assert_eq!((two.member_epoch, two.assignment), (3, Some(parts("1:0-1"))));
    rig.beat(leaving("two")).expect("it may leave");
    assert_eq!(rig.state(), GroupState::Empty);
    assert_eq!(rig.refused(leaving("two")), ErrorKind::UnknownMemberId);
}

#[test]
fn an_epoch_can_be_overtaken_by_the_next() {
    let mut rig = Rig::new(&[("a", 6)]);
    rig.join("one", &["a"]);
    rig.join("two", &["a"]);
    rig.stays("one", 1);
    rig.join("three", &["a"]);
    // Only now the first gives up three; of the two it keeps then, it learns in the same answer.
    let one = rig.has("one", 1, "1:0-2");
    assert_eq!((one.member_epoch, one.assignment), (2, Some(parts("1:0-1"))));
    let one = rig.has("one", 2, "1:0-1");
    assert_eq!(one.member_epoch, 3);
    let two = rig.stays("two", 2).assignment.expect("two are free");
    let three = rig.stays("three", 3).assignment.expect("two are free");
    assert_eq!((two.len(), three.len()), (2, 2));
    assert_eq!(two.plus(&three), parts("1:2-5"));
    assert_eq!(rig.state(), GroupState::Stable);
}

#[test]
fn a_full_group_takes_nobody_else() {
    let mut rig = Rig::new(&[("a", 2)]);
    rig.settings.max_size = 1;
    rig.join("one", &["a"]);
    assert_eq!(rig.refused(joining("two", &["a"])), ErrorKind::GroupMaxSizeReached);
    assert_eq!(rig.join("one", &["a"]).member_epoch, 1, "a member may join again");
}

#[test]
fn a_group_is_described_as_it_is() {
    let mut rig = Rig::new(&[("a", 2)]);
    let request = Heartbeat {
        rack_id: Some("r"),
        server_assignor: Some("range"),
        subscribed_topic_regex: Some("a+"),
        ..joining("one", &["x"])
    };
    rig.beat(request).expect("it may join");
    rig.join("two", &["a"]);
    let described = rig.group.state().describe(Assignor::Uniform);
    assert_eq!((described.epoch, described.assignment_epoch), (2, 2));
    assert_eq!((described.state, described.assignor), (GroupState::Reconciling, "range"));
    let one = &described.members[0];
    assert_eq!((&*one.member_id, one.rack_id.as_deref(), one.member_type), ("one", Some("r"), 1));
    assert_eq!((one.assignment.clone(), one.target.clone()), (parts("1:0-1"), parts("1:0")));
    assert_eq!(one.subscription.names, ["x"]);
    assert_eq!(one.subscription.regex.as_deref(), Some("a+"));
}
