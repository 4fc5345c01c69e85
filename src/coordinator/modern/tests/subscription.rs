//! Subscriptions that change, regular expressions, and topics that come, grow and go.

use super::*;

fn matching<'a>(member: &'a str, regex: &'a str) -> Heartbeat<'a> {
    Heartbeat {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(regex),
        ..joining(member, &[])
    }
}

#[test]
fn other_topics_begin_an_epoch() {
    let mut rig = Rig::new(&[("a", 2), ("b", 2)]);
    rig.join("one", &["a"]);
    let names = Some(vec!["a", "a", "b"]);
    let request = Heartbeat { subscribed_topic_names: names, ..staying("one", 1) };
    let one = rig.beat(request).expect("it may");
    assert_eq!((one.member_epoch, one.assignment), (2, Some(parts("1:0-1 2:0-1"))));
    let request = Heartbeat { subscribed_topic_names: Some(vec!["b"]), ..staying("one", 2) };
    let one = rig.beat(request).expect("it may");
    assert_eq!((one.member_epoch, one.assignment), (2, Some(parts("2:0-1"))), "gives up a");
    assert_eq!(rig.has("one", 2, "2:0-1").member_epoch, 3);
}

#[test]
fn a_topic_grows() {
    let mut rig = Rig::new(&[("a", 2)]);
    rig.join("one", &["a"]);
    rig.set_topic("a", 1, 3);
    let one = rig.stays("one", 1);
    assert_eq!((one.member_epoch, one.assignment), (2, Some(parts("1:0-2"))));
}

#[test]
fn a_topic_comes_late_goes_and_comes_back() {
    let mut rig = Rig::new(&[]);
    assert_eq!(rig.join("one", &["a"]).assignment, Some(parts("")));
    rig.set_topic("a", 1, 2);
    assert_eq!(rig.stays("one", 1).assignment, Some(parts("1:0-1")));
    rig.delete_topic("a");
    let one = rig.stays("one", 2);
    assert_eq!((one.member_epoch, one.assignment), (2, Some(parts(""))), "it is to give them up");
    rig.set_topic("a", 9, 1);
    let one = rig.has("one", 2, "");
    assert_eq!((one.member_epoch, one.assignment), (4, Some(parts("9:0"))), "another topic");
}

#[test]
fn a_topic_nobody_wants_disturbs_nobody() {
    let mut rig = Rig::new(&[("a", 1)]);
    rig.join("one", &["a"]);
    let batches = rig.batches;
    rig.set_topic("b", 2, 1);
    assert_eq!(rig.stays("one", 1).member_epoch, 1);
    assert_eq!(rig.batches, batches);
}

#[test]
fn an_expression_means_whole_names() {
    let mut rig = Rig::new(&[("a1", 1), ("a2", 1), ("ba1", 1), ("a1b", 1)]);
    let one = rig.beat(matching("one", "a[0-9]|c")).expect("it may join");
    assert_eq!(one.assignment, Some(parts("1:0 2:0")));
    let one =
        rig.beat(Heartbeat { subscribed_topic_regex: Some(r"\Qa1\E.?"), ..staying("one", 1) });
    assert_eq!(one.expect("it may").assignment, Some(parts("1:0")), "first it gives up");
    assert_eq!(rig.has("one", 1, "1:0").assignment, Some(parts("1:0 4:0")));
    // With names besides; and then with names only.
    let names = Some(vec!["ba1"]);
    let one = rig.beat(Heartbeat { subscribed_topic_names: names, ..staying("one", 2) });
    assert_eq!(one.expect("it may").assignment, Some(parts("1:0 3:0 4:0")));
    let one = rig.beat(Heartbeat { subscribed_topic_regex: Some(""), ..staying("one", 3) });
    assert_eq!(one.expect("it may").assignment, Some(parts("3:0")));
}

#[test]
fn an_expression_finds_new_topics_after_a_while() {
    let mut rig = Rig::new(&[("a1", 1)]);
    rig.beat(matching("one", "a.*")).expect("it may join");
    rig.set_topic("a2", 2, 1);
    assert_eq!(rig.stays("one", 1).assignment, None, "not at each change of the catalog");
    rig.after(10);
    assert_eq!(rig.stays("one", 1).assignment, Some(parts("1:0 2:0")));
    // One that it knows grows: noticed at once.
    rig.set_topic("a2", 2, 2);
    assert_eq!(rig.stays("one", 2).assignment, Some(parts("1:0 2:0-1")));
    // A new expression is looked at right away, whatever the others do.
    rig.set_topic("b", 3, 1);
    let two = rig.beat(matching("two", "b|c")).expect("it may join");
    assert_eq!(two.assignment, Some(parts("3:0")));
}

#[test]
fn expressions_that_are_none_or_explode_are_refused() {
    let mut rig = Rig::new(&[("a", 1)]);
    let long = "a".repeat(5000);
    let nested = "(".repeat(1000) + &")".repeat(1000);
    let bad = [
        "(",
        "a)|(b",
        "*",
        "[z-a]",
        r"(a)\1",
        "(?=a)",
        "a{1000000}",
        "((a{1000}){1000}){1000}",
        &long,
        &nested,
    ];
    for regex in bad {
        let kind = rig.refused(matching("one", regex));
        assert_eq!(kind, ErrorKind::InvalidRegularExpression, "{regex:.40}");
    }
    let error = rig.beat(matching("one", "(a")).expect_err("it is not closed").message;
    assert_eq!(error, "SubscribedTopicRegex `(a` is not a valid expression: unclosed group.");
    assert_eq!(rig.state(), GroupState::Empty);
    // A backtracking engine would not come back from this one.
    rig.set_topic(&"a".repeat(249), 2, 1);
    let one = rig.beat(matching("one", "(a*)*(a|aa)+$b?")).expect("it is harmless here");
    assert_eq!(one.assignment, Some(parts("1:0 2:0")));
}

#[test]
fn a_group_takes_only_so_many_expressions() {
    let mut rig = Rig::new(&[("a", 1)]);
    for number in 0..crate::limits::CONSUMER_GROUP_REGEXES_MAX {
        let (id, regex) = (format!("m{number}"), format!("a{{0,{}}}", number + 1));
        rig.beat(matching(&id, &regex)).expect("it may join");
    }
    assert_eq!(rig.refused(matching("one", "b")), ErrorKind::InvalidRegularExpression);
    rig.beat(matching("one", "a{0,1}")).expect("others have it as well");
}
