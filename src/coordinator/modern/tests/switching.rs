//! A live group goes from the classic protocol to the new one and back, member by member.

use std::rc::Rc;

use super::*;

const PROTOCOLS: [(&str, &[u8]); 2] = [("cooperative-sticky", b"c"), ("range", b"r")];

fn classic_join<'a>(member: &'a str, owned: &str) -> ClassicJoin<'a> {
    ClassicJoin {
        member_id: member,
        client_id: "client",
        client_host: "/127.0.0.1",
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        protocol_type: "consumer",
        protocols: PROTOCOLS.to_vec(),
        topics: vec!["a"],
        owned: parts(owned),
        ..ClassicJoin::default()
    }
}

fn classic_member(id: &str, assigned: &str) -> ClassicGroupMember {
    ClassicGroupMember {
        member_id: Rc::from(id),
        instance_id: None,
        client_id: Rc::from("client"),
        client_host: Rc::from("/127.0.0.1"),
        rack_id: None,
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        protocols: PROTOCOLS.iter().map(|(name, b)| ((*name).to_owned(), b.to_vec())).collect(),
        topics: vec!["a".to_owned()],
        assigned: parts(assigned),
        claimed: Partitions::EMPTY,
    }
}

/// Two classic members in generation 5, and the group they are in now.
fn upgraded() -> (Rig, ClassicGroup) {
    let mut rig = Rig::new(&[("a", 4)]);
    let classic = ClassicGroup {
        generation: 5,
        protocol: Some("cooperative-sticky".to_owned()),
        members: vec![classic_member("one", "1:0-1"), classic_member("two", "1:2-3")],
        names_unknown: false,
    };
    let env = Env { now: rig.now, topics: &rig.catalog, settings: &rig.settings };
    let outcome = ConsumerGroup::from_classic(&classic, &env).expect("it may");
    rig.group = outcome.answer;
    rig.replicate(&outcome.records);
    (rig, classic)
}

impl Rig {
    fn classic_join(&mut self, request: ClassicJoin<'_>) -> Result<ClassicJoinAnswer, ErrorKind> {
        self.call(|group, env| group.classic_join(&request, env)).map_err(|error| error.kind)
    }

    fn classic_sync(&mut self, id: &str, generation: i32) -> Result<Partitions, ErrorKind> {
        let answer = self.call(|group, env| group.classic_sync(id, None, generation, env));
        answer.map_err(|error| error.kind)
    }

    fn classic_beat(&mut self, id: &str, generation: i32) -> Result<(), ErrorKind> {
        let answer = self.call(|group, env| group.classic_heartbeat(id, None, generation, env));
        answer.map_err(|error| error.kind)
    }
}

#[test]
fn nobody_notices_the_switch() {
    let (mut rig, classic) = upgraded();
    assert_eq!(rig.state(), GroupState::Stable);
    assert_eq!(rig.classic_beat("one", 5), Ok(()));
    assert_eq!(rig.classic_beat("one", 4), Err(ErrorKind::IllegalGeneration));
    assert_eq!(rig.classic_sync("two", 5), Ok(parts("1:2-3")));
    assert_eq!(rig.group.state().check_commit("two", 5, Some(7)), Ok(()));
    // And back, as if nothing had been.
    assert_eq!(rig.group.to_classic(), Some(classic));
}

#[test]
fn consumers_are_restarted_one_by_one() {
    let (mut rig, _) = upgraded();
    assert!(rig.group.can_downgrade());
    let new = rig.join("new", &["a"]);
    assert_eq!((new.member_epoch, new.assignment), (6, Some(parts(""))));
    assert!(!rig.group.can_downgrade());
    // The classic members are told to join again; nothing is taken from them before.
    assert_eq!(rig.classic_beat("two", 5), Err(ErrorKind::RebalanceInProgress));
    assert_eq!(rig.classic_sync("two", 5), Err(ErrorKind::RebalanceInProgress));
    // Four among three: the second has to give up one. It learns so by the assignment, drops it,
    // and joins again.
    let two = rig.classic_join(classic_join("two", "1:2-3")).expect("it may");
    assert_eq!((two.generation, &*two.protocol), (5, "cooperative-sticky"));
    assert_eq!(rig.classic_sync("two", 5), Ok(parts("1:2")));
    assert_eq!(rig.stays("new", 6).assignment, None);
    assert_eq!(rig.classic_beat("two", 5), Err(ErrorKind::RebalanceInProgress));
    let two = rig.classic_join(classic_join("two", "1:2")).expect("it may");
    assert_eq!(two.generation, 6);
    assert_eq!(rig.classic_sync("two", 6), Ok(parts("1:2")));
    assert_eq!(rig.stays("new", 6).assignment, Some(parts("1:3")));
    assert_eq!(rig.classic_join(classic_join("one", "1:0-1")).expect("it may").generation, 6);
    assert_eq!(rig.classic_sync("one", 6), Ok(parts("1:0-1")));
    assert_eq!(rig.classic_beat("one", 6), Ok(()));
    assert_eq!(rig.state(), GroupState::Stable);
    // The old ones leave, and the group is a new one altogether.
    let left = rig.call(|group, env| {
        group.classic_leave(&[("one", None), ("two", None), ("two", None), ("new", None)], env)
    });
    assert_eq!(left.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, false]);
    assert_eq!(rig.stays("new", 6).assignment, Some(parts("1:0-3")));
}

#[test]
fn an_eager_member_gives_up_all_by_joining() {
    let (mut rig, _) = upgraded();
    rig.join("new", &["a"]);
    let two = rig.classic_join(classic_join("two", "")).expect("it may");
    assert_eq!(two.generation, 6);
    assert_eq!(rig.classic_sync("two", 6), Ok(parts("1:2")));
    assert_eq!(rig.stays("new", 6).assignment, Some(parts("1:3")));
}

#[test]
fn a_classic_member_waits_for_what_others_hold() {
    let mut rig = Rig::new(&[("a", 2)]);
    rig.join("new", &["a"]);
    let old = rig.classic_join(classic_join("old", "")).expect("it may");
    assert_eq!((old.generation, rig.classic_sync("old", 2)), (2, Ok(parts(""))));
    assert_eq!(rig.classic_beat("old", 2), Ok(()), "there is nothing for it yet");
    rig.stays("new", 1);
    rig.has("new", 1, "1:0");
    assert_eq!(rig.classic_beat("old", 2), Err(ErrorKind::RebalanceInProgress), "now there is");
    rig.classic_join(classic_join("old", "")).expect("it may");
    assert_eq!(rig.classic_sync("old", 2), Ok(parts("1:1")));
}

#[test]
fn the_last_new_member_leaves_and_the_group_is_classic() {
    let (mut rig, _) = upgraded();
    rig.join("new", &["a"]);
    rig.classic_join(classic_join("one", "1:0-1")).expect("it may");
    rig.classic_join(classic_join("two", "1:2")).expect("it may");
    rig.beat(leaving("new")).expect("it may leave");
    assert!(rig.group.can_downgrade());
    let classic = rig.group.to_classic().expect("all are classic");
    // The generation that both know, so that both can be told to join again.
    assert_eq!(classic.generation, 6);
    let assigned: Vec<_> = classic.members.iter().map(|member| &member.assigned).collect();
    assert_eq!(assigned, [&parts("1:0-1"), &parts("1:2")]);
}

#[test]
fn classic_members_have_their_own_deadlines() {
    let (mut rig, _) = upgraded();
    assert_eq!(rig.after(9), []);
    rig.classic_beat("two", 5).expect("all is well");
    assert_eq!(rig.after(1), [("one".to_owned(), Fenced::Session)]);
    // Told to join again, it doesn't, but is alive.
    for _ in 0..2 {
        assert_eq!(rig.classic_beat("two", 5), Err(ErrorKind::RebalanceInProgress));
        assert_eq!(rig.after(9), []);
    }
    rig.classic_beat("two", 5).expect_err("still");
    assert_eq!(rig.after(2), [("two".to_owned(), Fenced::Join)]);
    // Having joined, it doesn't sync.
    let three = rig.classic_join(classic_join("three", "")).expect("it may").generation;
    for _ in 0..2 {
        assert_eq!(rig.after(9), []);
        rig.classic_beat("three", three).expect("all is well");
    }
    assert_eq!(rig.after(2), [("three".to_owned(), Fenced::Sync)]);
}

#[test]
fn protocols_must_fit() {
    let (mut rig, _) = upgraded();
    let request = ClassicJoin { protocols: vec![("mine", b"m")], ..classic_join("x", "") };
    assert_eq!(rig.classic_join(request), Err(ErrorKind::InconsistentGroupProtocol));
    let request = ClassicJoin { protocol_type: "connect", ..classic_join("x", "") };
    assert_eq!(rig.classic_join(request), Err(ErrorKind::InconsistentGroupProtocol));
    let request = ClassicJoin { protocols: vec![("range", b"r")], ..classic_join("x", "") };
    assert_eq!(rig.classic_join(request).expect("all have it").protocol, "range");
    let one = rig.classic_join(classic_join("one", "1:0-1")).expect("it may");
    assert_eq!(one.protocol, "range", "the one that is left in common");
}

#[test]
fn a_static_member_comes_back_with_the_new_protocol() {
    let mut rig = Rig::new(&[("a", 2)]);
    let request =
        ClassicJoin { instance_id: Some("i"), has_no_id: true, ..classic_join("one", "") };
    let one = rig.classic_join(request.clone()).expect("it may");
    rig.classic_sync("one", one.generation).expect("it may");
    // A classic member doesn't say that it will be back: its place is taken at once.
    let request_848 = Heartbeat { instance_id: Some("i"), ..joining("two", &["a"]) };
    let two = rig.beat(request_848).expect("it may come back");
    assert_eq!((two.member_epoch, two.assignment), (one.generation, Some(parts("1:0-1"))));
    assert!(rig.classic_beat("one", 1).is_err());
    assert!(!rig.group.can_downgrade());
    // And back again.
    let three = ClassicJoin { member_id: "three", ..request };
    let three = rig.classic_join(three).expect("it may");
    assert_eq!(rig.classic_sync("three", three.generation), Ok(parts("1:0-1")));
    assert!(rig.group.can_downgrade());
}

#[test]
fn what_two_were_given_only_one_has() {
    let rig = Rig::new(&[("a", 2)]);
    let members = vec![classic_member("one", "1:0-1"), classic_member("two", "1:1")];
    let classic = ClassicGroup { generation: 1, protocol: None, members, names_unknown: false };
    let env = Env { now: rig.now, topics: &rig.catalog, settings: &rig.settings };
    let group = ConsumerGroup::from_classic(&classic, &env).expect("it may").answer;
    assert_eq!(group.state().owner(&parts("1:1").iter().next().copied().unwrap()), Some("one"));
    assert!(group.state().members()["two"].current.assigned.is_empty());
}

#[test]
fn a_group_whose_members_have_what_is_not_known_is_not_switched() {
    let (rig, classic) = upgraded();
    let classic = ClassicGroup { names_unknown: true, ..classic };
    let env = Env { now: rig.now, topics: &rig.catalog, settings: &rig.settings };
    let refused = ConsumerGroup::from_classic(&classic, &env).map(|_| ());
    assert_eq!(refused.unwrap_err().kind, ErrorKind::LoadInProgress);
}

#[test]
fn what_a_member_has_of_a_topic_that_is_not_known_nobody_else_gets_before_it_gives_it_up() {
    let (mut rig, _) = upgraded();
    // Another node coordinates, whose catalog is behind.
    rig.delete_topic("a");
    rig.join("new", &["a"]);
    let unknown = ClassicJoin { names_unknown: true, ..classic_join("two", "") };
    assert_eq!(rig.classic_join(unknown).expect("it may").generation, 5);
    assert_eq!(rig.classic_sync("two", 5), Ok(parts("")));
    rig.set_topic("a", 1, 4);
    let new = rig.stays("new", 6);
    assert_eq!((new.member_epoch, new.assignment), (7, None), "nothing is free");
    // It knows now that it is to give it up.
    rig.classic_join(classic_join("two", "")).expect("it may");
    assert_eq!(rig.stays("new", 7).assignment, Some(parts("1:3")));
}
