//! Settings that are changed while groups have members.

use super::script::check;

#[test]
fn a_group_has_as_many_members_as_it_may() {
    check(
        "
        > topic a 3
        > set group.consumer.max.size=2
        > join one a
        one: epoch 1, a:0-2
        > join two a
        two: epoch 2, nothing
        > join three a
        three: GROUP_MAX_SIZE_REACHED
        > set group.consumer.max.size=3
        > join three a
        three: epoch 3, nothing
        > set group.consumer.max.size=1
        > join three a
        three: epoch 3, nothing
        > beat one
        one: epoch 1, a:0
        ",
    );
}

#[test]
fn the_next_heartbeat_has_another_session() {
    check(
        "
        > topic a 1
        > join one a
        one: epoch 1, a:0
        > set group.consumer.session.timeout.ms=2000
        > wait 10
        > beat one
        one: epoch 1
        > wait 3
        > beat one
        one: UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn the_assignors_may_be_others() {
    check(
        "
        > topic a 2
        > set group.consumer.assignors=range
        > join one a assignor=uniform
        one: UNSUPPORTED_ASSIGNOR
        > join one a
        one: epoch 1, a:0-1
        > describe
        describe: Stable epoch 1 assignment 1 range
        - one consumer epoch 1: a:0-1, to have a:0-1
        ",
    );
}

#[test]
fn classic_groups_take_new_limits_as_well() {
    check(
        "
        > topic a 3
        > set group.max.size=1
        > old-join one a
        one: generation 1
        one: a:0-2
        > old-join two a
        two: GROUP_MAX_SIZE_REACHED
        > set group.max.size=2
        > old-join two one a
        two: generation 2
        one: generation 2
        one: a:1
        two: a:0,2
        > set group.max.session.timeout.ms=9000
        > old-join one two a
        one: INVALID_SESSION_TIMEOUT
        two: INVALID_SESSION_TIMEOUT
        ",
    );
}
