//! KIP-848: members are led to their targets one by one, and the others don't stop.

use super::script::check;

#[test]
fn partitions_move_when_they_were_given_up() {
    check(
        "
        > topic a 4
        > join one a
        one: epoch 1, a:0-3
        > join two a
        two: epoch 2, nothing
        > beat two
        two: epoch 2
        > beat one
        one: epoch 1, a:0-1
        > beat two
        two: epoch 2
        > beat one
        one: epoch 2
        > beat two
        two: epoch 2, a:2-3
        > describe
        describe: Stable epoch 2 assignment 2 uniform
        - one consumer epoch 2: a:0-1, to have a:0-1
        - two consumer epoch 2: a:2-3, to have a:2-3
        ",
    );
}

#[test]
fn a_member_that_leaves_is_inherited_from() {
    check(
        "
        > topic a 4
        > join one a
        one: epoch 1, a:0-3
        > join two a
        two: epoch 2, nothing
        > settle one two
        one: epoch 2, a:0-1
        two: epoch 2, a:2-3
        > leave one
        one: epoch -1
        > settle two
        two: epoch 3, a:0-3
        > describe
        describe: Stable epoch 3 assignment 3 uniform
        - two consumer epoch 3: a:0-3, to have a:0-3
        ",
    );
}

#[test]
fn a_silent_member_is_removed_and_told_so_when_it_is_back() {
    check(
        "
        > topic a 2
        > join one a
        one: epoch 1, a:0-1
        > join two a
        two: epoch 2, nothing
        > settle one two
        one: epoch 2, a:0
        two: epoch 2, a:1
        > die one
        > wait 30
        > beat two
        two: epoch 2
        > wait 20
        > settle two
        two: epoch 3, a:0-1
        > beat one
        one: UNKNOWN_MEMBER_ID
        > join one a
        one: epoch 4, nothing
        > settle one two
        one: epoch 4, a:1
        two: epoch 4, a:0
        ",
    );
}

#[test]
fn who_does_not_give_up_in_time_is_removed() {
    check(
        "
        > topic a 2
        > join one a timeout=5000
        one: epoch 1, a:0-1
        > join two a
        two: epoch 2, nothing
        > beat one
        one: epoch 1, a:0
        > die one
        > wait 3
        > beat two
        two: epoch 2
        > wait 3
        > beat two
        two: epoch 3, a:0-1
        > beat two
        two: epoch 3
        ",
    );
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    check(
        "
        > topic a 2
        > join one a
        one: epoch 1, a:0-1
        > join two a
        two: epoch 2, nothing
        > settle one two
        one: epoch 2, a:0
        two: epoch 2, a:1
        > stale one
        one: epoch 2
        > beat one
        one: epoch 2
        ",
    );
}

#[test]
fn topics_that_come_grow_and_go_are_noticed() {
    check(
        "
        > join one ~a|b.*
        one: epoch 1, nothing
        > topic a 2
        > wait 10
        > settle one
        one: epoch 2, a:0-1
        > topic b1 1
        > topic c 1
        > wait 10
        > settle one
        one: epoch 3, a:0-1 b1:0
        > delete-topic a
        > wait 10
        > settle one
        one: epoch 4, b1:0
        ",
    );
}

#[test]
fn the_assignor_that_most_ask_for_is_used() {
    check(
        "
        > topic a 3
        > topic b 3
        > join one a,b assignor=range
        one: epoch 1, a:0-2 b:0-2
        > join two a,b assignor=range
        two: epoch 2, nothing
        > settle one two
        one: epoch 2, a:0-1 b:0-1
        two: epoch 2, a:2 b:2
        > describe
        describe: Stable epoch 2 assignment 2 range
        - one consumer epoch 2: a:0-1 b:0-1, to have a:0-1 b:0-1
        - two consumer epoch 2: a:2 b:2, to have a:2 b:2
        > join three a assignor=sticky
        three: UNSUPPORTED_ASSIGNOR
        ",
    );
}
