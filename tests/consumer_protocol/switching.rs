//! A live group goes from the classic protocol to the new one and back. Nobody stops reading.

use super::script::check;

#[test]
fn consumers_are_restarted_one_by_one() {
    check(
        "
        > topic a 4
        > old-join one two a
        one: generation 1
        two: generation 1
        one: a:0,2
        two: a:1,3
        > commit one 7
        one: commit ok
        > list
        list: g Stable classic consumer
        > join new a
        new: epoch 2, nothing
        > list
        list: g Reconciling consumer consumer
        > describe
        describe: Reconciling epoch 2 assignment 2 uniform
        - one classic epoch 1: a:0,2, to have a:0,2
        - two classic epoch 1: a:1,3, to have a:1
        - new consumer epoch 2: nothing, to have a:3
        > old-beat one
        one: REBALANCE_IN_PROGRESS
        > old-join one a
        one: generation 2
        one: a:0,2
        > old-beat two
        two: REBALANCE_IN_PROGRESS
        > old-join two a
        two: generation 1
        two: a:1
        > beat new
        new: epoch 2
        > commit two 8
        two: commit ok
        > fetch nobody
        nobody: fetch 8
        > describe
        describe: Reconciling epoch 2 assignment 2 uniform
        - one classic epoch 2: a:0,2, to have a:0,2
        - two classic epoch 1: a:1, to have a:1
        - new consumer epoch 2: nothing, to have a:3
        > old-leave one
        one: left ok
        > join one a
        one: epoch 4, a:0,2
        > old-beat two
        two: REBALANCE_IN_PROGRESS
        > settle new one
        new: epoch 4, nothing
        one: epoch 4, a:0,2
        > old-join two a
        two: generation 4
        two: a:1
        > settle new one
        new: epoch 4, a:3
        one: epoch 4, a:0,2
        > old-leave two
        two: left ok
        > settle new one
        new: epoch 5, a:1,3
        one: epoch 5, a:0,2
        > describe
        describe: Stable epoch 5 assignment 5 uniform
        - one consumer epoch 5: a:0,2, to have a:0,2
        - new consumer epoch 5: a:1,3, to have a:1,3
        ",
    );
}

#[test]
fn the_last_new_member_leaves_and_the_group_is_classic_again() {
    check(
        "
        > topic a 4
        > old-join one two a
        one: generation 1
        two: generation 1
        one: a:0,2
        two: a:1,3
        > join new a
        new: epoch 2, nothing
        > old-join one a
        one: generation 2
        one: a:0,2
        > old-join two a
        two: generation 1
        two: a:1
        > beat new
        new: epoch 2
        > leave new
        new: epoch -1
        > list
        list: g PreparingRebalance classic consumer
        > describe
        describe: GROUP_ID_NOT_FOUND
        > old-beat one
        one: REBALANCE_IN_PROGRESS
        > old-beat two
        two: ILLEGAL_GENERATION
        > old-join one two a
        one: generation 3
        two: generation 3
        one: a:0,2
        two: a:1,3
        > old-beat one
        one: ok
        ",
    );
}

#[test]
fn a_silent_new_member_is_removed_and_the_group_is_classic_again() {
    check(
        "
        > topic a 2
        > old-join one a
        one: generation 1
        one: a:0-1
        > join new a
        new: epoch 2, nothing
        > old-join one a
        one: generation 1
        one: a:0
        > old-join one a
        one: generation 2
        one: a:0
        > beat new
        new: epoch 2, a:1
        > die new
        > wait 9
        > old-beat one
        one: ok
        > wait 9
        > old-beat one
        one: ok
        > wait 9
        > old-beat one
        one: ok
        > wait 9
        > old-beat one
        one: ok
        > wait 9
        > list
        list: g PreparingRebalance classic consumer
        > old-beat one
        one: REBALANCE_IN_PROGRESS
        > old-join one a
        one: generation 3
        one: a:0-1
        > list
        list: g Stable classic consumer
        ",
    );
}

#[test]
fn a_policy_forbids_it() {
    check(
        "
        > topic a 2
        > set group.consumer.migration.policy=disabled
        > old-join one a
        one: generation 1
        one: a:0-1
        > join new a
        new: GROUP_ID_NOT_FOUND
        > set group.consumer.migration.policy=upgrade
        > join new a
        new: epoch 2, nothing
        > leave new
        new: epoch -1
        > list
        list: g Assigning consumer consumer
        > old-join one a
        one: generation 3
        one: a:0-1
        > set group.consumer.migration.policy=downgrade
        > join new a
        new: epoch 4, nothing
        > leave new
        new: epoch -1
        > list
        list: g PreparingRebalance classic consumer
        ",
    );
}

#[test]
fn a_group_is_switched_once_nobody_has_what_is_not_there() {
    check(
        "
        > topic a 2
        > topic b 1
        > old-join one a
        one: generation 1
        one: a:0-1
        > delete-topic a
        > join new b
        new: COORDINATOR_LOAD_IN_PROGRESS
        > old-join one b
        one: generation 2
        one: b:0
        > join new b
        new: COORDINATOR_LOAD_IN_PROGRESS
        > old-join one b
        one: generation 3
        one: b:0
        > join new b
        new: epoch 4, nothing
        ",
    );
}

#[test]
fn members_that_wait_in_a_rebalance_are_asked_again() {
    check(
        "
        > topic a 4
        > old-join one two a
        one: generation 1
        two: generation 1
        one: a:0,2
        two: a:1,3
        > old-ask one a
        > join new a
        new: epoch 2, nothing
        > old-hear one
        one: REBALANCE_IN_PROGRESS
        > old-sync two
        two: sync REBALANCE_IN_PROGRESS
        > old-join one a
        one: generation 2
        one: a:0,2
        > old-join two a
        two: generation 1
        two: a:1
        > beat new
        new: epoch 2
        > old-join two a
        two: generation 2
        two: a:1
        > settle new
        new: epoch 2, a:3
        ",
    );
}

/// Its last assignment takes something from a member that hasn't heard so: it reads on, and nobody
/// else may begin to.
#[test]
fn who_has_not_heard_its_assignment_has_what_it_had() {
    check(
        "
        > topic a 4
        > old-join one two a
        one: generation 1
        two: generation 1
        one: a:0,2
        two: a:1,3
        > old-ask one a
        > old-ask two a
        > old-hear one
        one: generation 2
        > old-hear two
        two: generation 2
        > old-sync one
        one: nothing
        > reboot
        > join new a
        new: epoch 3, nothing
        > old-join one a
        one: generation 3
        one: a:0
        > old-beat two
        two: REBALANCE_IN_PROGRESS
        > old-join two a
        two: generation 2
        two: nothing
        > old-join two a
        two: generation 3
        two: a:1
        > settle new
        new: epoch 3, a:2
        > old-join one a
        one: generation 3
        one: a:0,3
        ",
    );
}

/// Whoever was removed and still believes to have something is told so when it comes back: others
/// read that by then.
#[test]
fn who_was_removed_is_a_stranger_if_it_claims_partitions() {
    check(
        "
        > topic a 4
        > old-join one a
        one: generation 1
        one: a:0-3
        > join new a
        new: epoch 2, nothing
        > wait 12
        > old-ask one a
        > old-hear one
        one: UNKNOWN_MEMBER_ID
        > die one
        > settle new
        new: epoch 3, a:0-3
        > old-join one a
        one: generation 4
        one: nothing
        ",
    );
}
