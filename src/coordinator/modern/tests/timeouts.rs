//! Members that are silent or slow, and leaders that fail.

use super::*;

#[test]
fn who_is_silent_for_a_session_is_removed() {
    let mut rig = Rig::new(&[("a", 2)]);
    rig.join("one", &["a"]);
    assert_eq!(rig.after(30), []);
    rig.join("two", &["a"]);
    assert_eq!(rig.after(16), [("one".to_owned(), Fenced::Session)]);
    assert_eq!(rig.stays("two", 2).assignment, Some(parts("1:0-1")));
    assert_eq!(rig.refused(staying("one", 1)), ErrorKind::UnknownMemberId);
    let again = rig.join("one", &["a"]);
    assert_eq!(again.assignment, Some(parts("")), "it waits for what the other gives up");
}

#[test]
fn who_does_not_give_up_in_time_is_removed() {
    let mut rig = Rig::new(&[("a", 2)]);
    let request = Heartbeat { rebalance_timeout_ms: Some(10_000), ..joining("one", &["a"]) };
    rig.beat(request).expect("it may join");
    rig.join("two", &["a"]);
    rig.stays("one", 1);
    for _ in 0..3 {
        assert_eq!(rig.after(3), []);
        // It is alive, but won't let go.
        rig.has("one", 1, "1:0-1");
        rig.stays("two", 2);
    }
    assert_eq!(rig.after(1), [("one".to_owned(), Fenced::Rebalance)]);
    assert_eq!(rig.stays("two", 2).assignment, Some(parts("1:0-1")));
}

#[test]
fn who_gives_up_in_time_is_not() {
    let mut rig = Rig::new(&[("a", 2)]);
    let request = Heartbeat { rebalance_timeout_ms: Some(10_000), ..joining("one", &["a"]) };
    rig.beat(request).expect("it may join");
    rig.join("two", &["a"]);
    rig.stays("one", 1);
    rig.after(9);
    rig.has("one", 1, "1:0");
    assert_eq!(rig.after(30), []);
}

#[test]
fn the_deadline_is_never_later_than_what_is_due() {
    let mut rig = Rig::new(&[("a", 2)]);
    assert_eq!(rig.group.next_deadline(), Time::NEVER);
    rig.join("one", &["a"]);
    let session = Duration::from_secs(45);
    assert_eq!(rig.group.next_deadline(), Time(1) + session);
    rig.now = rig.now + Duration::from_secs(20);
    rig.stays("one", 1);
    // Looked at once too early, it is moved to where it belongs.
    rig.now = Time(1) + session;
    assert_eq!(rig.after(0), []);
    assert_eq!(rig.group.next_deadline(), Time(1) + Duration::from_secs(65));
    assert_eq!(rig.after(20).len(), 1);
    assert_eq!(rig.group.next_deadline(), Time::NEVER);
}

#[test]
fn a_new_leader_goes_on_where_the_old_one_was() {
    let mut rig = Rig::new(&[("a", 4)]);
    rig.join("one", &["a"]);
    rig.join("two", &["a"]);
    rig.stays("one", 1);
    rig.after(40);
    rig.fail_over();
    assert_eq!(rig.after(10), [], "both have a whole session again");
    assert_eq!(rig.stays("two", 2).assignment, None, "the first still has what it is to give up");
    let batches = rig.batches;
    assert_eq!(rig.has("one", 1, "1:0-3").member_epoch, 1);
    assert_eq!(rig.batches, batches, "nothing has changed but the leader");
    assert_eq!(rig.has("one", 1, "1:0-1").member_epoch, 2);
    assert_eq!(rig.stays("two", 2).assignment, Some(parts("1:2-3")));
    assert_eq!(rig.after(46).len(), 2);
}

#[test]
fn a_new_leader_gives_up_who_does_not_give_up() {
    let mut rig = Rig::new(&[("a", 2)]);
    let request = Heartbeat { rebalance_timeout_ms: Some(10_000), ..joining("one", &["a"]) };
    rig.beat(request).expect("it may join");
    rig.join("two", &["a"]);
    rig.stays("one", 1);
    rig.fail_over();
    assert_eq!(rig.after(9), []);
    assert_eq!(rig.after(1), [("one".to_owned(), Fenced::Rebalance)]);
}

#[test]
fn a_topic_that_changed_during_the_fail_over_is_noticed() {
    let mut rig = Rig::new(&[("a", 1), ("b", 1)]);
    rig.join("one", &["a"]);
    rig.fail_over();
    rig.set_topic("b", 2, 5);
    let batches = rig.batches;
    assert_eq!(rig.stays("one", 1).member_epoch, 1, "it isn't subscribed to");
    assert_eq!(rig.batches, batches);
    rig.set_topic("a", 1, 2);
    rig.fail_over();
    let one = rig.stays("one", 1);
    assert_eq!((one.member_epoch, one.assignment), (2, Some(parts("1:0-1"))));
}
