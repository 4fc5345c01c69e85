//! The coordinator's node dies, and the group goes on where another leads.

use hutong::kafka::error_code::ErrorCode;
use hutong::metadata::placement::home_of_consumer_group;
use hutong::model::ids::{GroupId, NodeId};
use hutong::shard::peers::visit::Change;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{GroupId as ConsumerGroupId, JoinGroupRequest, ListGroupsRequest};
use kafka_protocol::protocol::StrBytes;

use super::rig::Cluster;
use super::script::check_on;

#[test]
fn a_group_of_the_new_protocol_goes_on_elsewhere() {
    check_on(
        3,
        "
        > topic a 6
        > join one a
        one: epoch 1, a:0-5
        > join two ~a
        two: epoch 2, nothing
        > settle one two
        one: epoch 2, a:0-2
        two: epoch 2, a:3-5
        > commit one 7
        one: commit ok
        > kill
        > beat one
        one: epoch 2
        > beat two
        two: epoch 2
        > fetch one
        one: fetch 7
        > commit two 8
        two: commit ok
        > join three a
        three: epoch 3, nothing
        > settle one two three
        one: epoch 3, a:0-1
        two: epoch 3, a:3-4
        three: epoch 3, a:2,5
        > restart
        > kill
        > settle one two three
        one: epoch 3, a:0-1
        two: epoch 3, a:3-4
        three: epoch 3, a:2,5
        > fetch nobody
        nobody: fetch 8
        > leave two
        two: epoch -1
        > settle one three
        one: epoch 4, a:0-1,3
        three: epoch 4, a:2,4-5
        > describe
        describe: Stable epoch 4 assignment 4 uniform
        - one consumer epoch 4: a:0-1,3, to have a:0-1,3
        - three consumer epoch 4: a:2,4-5, to have a:2,4-5
        ",
    );
}

#[test]
fn half_a_move_is_gone_on_with_elsewhere() {
    check_on(
        3,
        "
        > topic a 4
        > join one a
        one: epoch 1, a:0-3
        > join two a
        two: epoch 2, nothing
        > beat one
        one: epoch 1, a:0-1
        > kill
        > beat two
        two: epoch 2
        > beat one
        one: epoch 2
        > settle one two
        one: epoch 2, a:0-1
        two: epoch 2, a:2-3
        > describe
        describe: Stable epoch 2 assignment 2 uniform
        - one consumer epoch 2: a:0-1, to have a:0-1
        - two consumer epoch 2: a:2-3, to have a:2-3
        ",
    );
}

#[test]
fn a_classic_group_goes_on_elsewhere() {
    check_on(
        3,
        "
        > topic a 4
        > old-join one two a
        one: generation 1
        two: generation 1
        one: a:0,2
        two: a:1,3
        > commit one 7
        one: commit ok
        > kill
        > old-beat one two
        one: ok
        two: ok
        > fetch nobody
        nobody: fetch 7
        > commit two 8
        two: commit ok
        > old-join three one two a
        three: generation 2
        one: generation 2
        two: generation 2
        one: a:1
        three: a:0,3
        two: a:2
        > restart
        > list
        list: g Stable classic consumer
        ",
    );
}

#[test]
fn a_group_of_both_goes_on_elsewhere_and_back() {
    check_on(
        3,
        "
        > topic a 4
        > old-join one two a
        one: generation 1
        two: generation 1
        one: a:0,2
        two: a:1,3
        > join new a
        new: epoch 2, nothing
        > kill
        > old-beat one two
        one: REBALANCE_IN_PROGRESS
        two: REBALANCE_IN_PROGRESS
        > old-join one a
        one: generation 2
        one: a:0,2
        > old-join two a
        two: generation 1
        two: a:1
        > settle new
        new: epoch 2, nothing
        > describe
        describe: Reconciling epoch 2 assignment 2 uniform
        - one classic epoch 2: a:0,2, to have a:0,2
        - two classic epoch 1: a:1, to have a:1
        - new consumer epoch 2: nothing, to have a:3
        > restart
        > leave new
        new: epoch -1
        > kill
        > list
        list: g PreparingRebalance classic consumer
        > old-beat one two
        one: REBALANCE_IN_PROGRESS
        two: ILLEGAL_GENERATION
        > old-join one two a
        one: generation 3
        two: generation 3
        one: a:0,2
        two: a:1,3
        ",
    );
}

#[test]
fn one_node_that_is_killed_has_its_groups_again() {
    check_on(
        1,
        "
        > topic a 4
        > join one a
        one: epoch 1, a:0-3
        > join two a
        two: epoch 2, nothing
        > settle one two
        one: epoch 2, a:0-1
        two: epoch 2, a:2-3
        > commit one 7
        one: commit ok
        > reboot
        > beat one
        one: epoch 2
        > beat two
        two: epoch 2
        > describe
        describe: Stable epoch 2 assignment 2 uniform
        - one consumer epoch 2: a:0-1, to have a:0-1
        - two consumer epoch 2: a:2-3, to have a:2-3
        > fetch nobody
        nobody: fetch 7
        > settle one two
        one: epoch 2, a:0-1
        two: epoch 2, a:2-3
        ",
    );
}

/// Whoever has just been elected doesn't know all groups yet: a list of the rest would look whole.
#[test]
fn a_list_is_given_when_it_is_whole() {
    let mut cluster = Cluster::start(3);
    cluster.create_topic("a", 1);
    let old = cluster.leader();
    cluster.commit_offset(old, "a", 7);
    cluster.kill(old);
    let mut codes = Vec::new();
    while cluster.leader_if_any().is_none() {
        for node in (0..3).filter(|node| *node != old) {
            let at = cluster.send(node, 5, &ListGroupsRequest::default());
            let listed = cluster.answer::<ListGroupsRequest>(node, at, 5, 2).expect("an answer");
            codes.push(ErrorCode(listed.error_code));
            assert!(codes.len() < 10_000, "nobody is elected");
        }
    }
    assert!(codes.contains(&ErrorCode::COORDINATOR_LOAD_IN_PROGRESS), "{codes:?}");
    let new = cluster.leader();
    let at = cluster.send(new, 5, &ListGroupsRequest::default());
    let listed = cluster.answer::<ListGroupsRequest>(new, at, 5, 2).expect("an answer");
    assert_eq!(listed.groups[0].group_id.as_str(), "readers");
}

/// A coordinator stays what it is when another group leaves the shard, and so does who waits for
/// it: two members join while the shard lets go of a group that comes before theirs.
#[test]
fn a_group_that_goes_takes_no_other_coordinator_with_it() {
    let mut cluster = Cluster::start_with(3, |_, config| config.groups = 3);
    let stays = GroupId(2);
    cluster.change(0, Change::Transfer { group: stays, to: NodeId(0) }).expect("it may lead");
    cluster.run_ms(2000);
    let names = (0..).map(|number| format!("readers-{number}"));
    let name = { names }.find(|name| home_of_consumer_group(name, 3) == stays).expect("a name");
    let join = |member: &str| {
        let protocol =
            JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
        JoinGroupRequest::default()
            .with_group_id(ConsumerGroupId(StrBytes::from_string(name.clone())))
            .with_member_id(StrBytes::from_string(member.to_owned()))
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol])
            .with_session_timeout_ms(300_000)
            .with_rebalance_timeout_ms(300_000)
    };
    let at = cluster.send(0, 2, &join(""));
    let one = cluster.answer::<JoinGroupRequest>(0, at, 2, 5000).expect("an answer");
    assert_eq!(ErrorCode(one.error_code), ErrorCode::NONE);
    // It waits until the first has joined again.
    let waits = cluster.send(0, 2, &join(""));
    assert!(cluster.answer::<JoinGroupRequest>(0, waits, 2, 100).is_none());

    let change = Change::Add { node: NodeId(3), host: "3".into(), port: 9092 };
    cluster.change(0, change).expect("it is added");
    cluster.join(3);
    cluster.run_ms(10_000);
    assert_eq!(cluster.groups_of(0), 2, "one of three has gone");

    let again = cluster.send(0, 2, &join(&one.member_id));
    for connection in [waits, again] {
        let joined = cluster.answer::<JoinGroupRequest>(0, connection, 2, 100).expect("an answer");
        assert_eq!(ErrorCode(joined.error_code), ErrorCode::NONE);
        assert_eq!(joined.generation_id, one.generation_id + 1);
    }
}
