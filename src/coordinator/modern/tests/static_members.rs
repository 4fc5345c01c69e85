//! Static members: away for a while, replaced, fenced.

use super::*;

fn of<'a>(instance: &'a str, request: Heartbeat<'a>) -> Heartbeat<'a> {
    Heartbeat { instance_id: Some(instance), ..request }
}

fn two_members() -> Rig {
    let mut rig = Rig::new(&[("a", 4)]);
    rig.beat(of("i", joining("one", &["a"]))).expect("it may join");
    rig.join("two", &["a"]);
    rig.beat(of("i", staying("one", 1))).expect("it may stay");
    let owned = Some(parts("1:0-1"));
    rig.beat(of("i", Heartbeat { owned, ..staying("one", 1) })).expect("it may stay");
    rig.stays("two", 2);
    assert_eq!(rig.state(), GroupState::Stable);
    rig
}

#[test]
fn back_before_its_session_is_over_it_has_what_it_had() {
    let mut rig = two_members();
    let left = rig.beat(of("i", staying("one", -2))).expect("it may leave");
    assert_eq!(left.member_epoch, -2);
    assert_eq!(rig.stays("two", 2).assignment, None, "nobody takes its place");
    let back = rig.beat(of("i", joining("three", &["a"]))).expect("it may come back");
    assert_eq!((back.member_epoch, back.assignment), (2, Some(parts("1:0-1"))));
    assert_eq!(rig.group.state().epoch(), 2, "nobody else is disturbed");
    assert_eq!(rig.refused(of("i", staying("one", 2))), ErrorKind::FencedInstanceId);
    assert_eq!(rig.refused(staying("one", 2)), ErrorKind::UnknownMemberId);
}

#[test]
fn back_with_other_topics_it_begins_an_epoch() {
    let mut rig = two_members();
    rig.set_topic("b", 2, 1);
    rig.beat(of("i", staying("one", -2))).expect("it may leave");
    let back = rig.beat(of("i", joining("three", &["b"]))).expect("it may come back");
    assert_eq!((back.member_epoch, back.assignment), (3, Some(parts("2:0"))));
    assert_eq!(rig.stays("two", 2).assignment, Some(parts("1:0-3")));
}

#[test]
fn not_back_in_time_its_place_is_given_away() {
    let mut rig = two_members();
    rig.beat(of("i", staying("one", -2))).expect("it may leave");
    assert_eq!(rig.after(44), []);
    rig.stays("two", 2);
    assert_eq!(rig.after(2), [("one".to_owned(), Fenced::Session)]);
    assert_eq!(rig.stays("two", 2).assignment, Some(parts("1:0-3")));
}

#[test]
fn while_it_is_there_nobody_takes_its_place() {
    let mut rig = two_members();
    let request = of("i", joining("three", &["a"]));
    assert_eq!(rig.refused(request), ErrorKind::UnreleasedInstanceId);
    assert_eq!(rig.refused(of("i", leaving("three"))), ErrorKind::FencedInstanceId);
    assert_eq!(rig.refused(of("j", leaving("one"))), ErrorKind::UnknownMemberId);
    assert_eq!(rig.refused(of("j", staying("one", 2))), ErrorKind::UnknownMemberId);
}

#[test]
fn away_while_it_was_to_give_up_it_has_given_up() {
    let mut rig = Rig::new(&[("a", 2)]);
    rig.beat(of("i", joining("one", &["a"]))).expect("it may join");
    rig.join("two", &["a"]);
    rig.beat(of("i", staying("one", 1))).expect("it is to give up one");
    assert_eq!(rig.stays("two", 2).assignment, None);
    rig.beat(of("i", staying("one", -2))).expect("it may leave");
    assert_eq!(rig.stays("two", 2).assignment, Some(parts("1:1")));
    let back = rig.beat(of("i", joining("one", &["a"]))).expect("under its old id, too");
    assert_eq!((back.member_epoch, back.assignment), (2, Some(parts("1:0"))));
}

#[test]
fn a_full_group_takes_a_static_member_back() {
    let mut rig = two_members();
    rig.settings.max_size = 2;
    rig.beat(of("i", staying("one", -2))).expect("it may leave");
    rig.beat(of("i", joining("three", &["a"]))).expect("its place is still there");
}
