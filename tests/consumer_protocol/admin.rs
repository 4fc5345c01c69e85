//! What administrators are told of groups of both protocols.

use super::script::check;

#[test]
fn groups_are_listed_described_and_deleted_by_their_protocol() {
    check(
        "
        > topic a 2
        > describe
        describe: GROUP_ID_NOT_FOUND
        > describe-classic
        describe-classic: GROUP_ID_NOT_FOUND Group g not found., ok Dead, 0 members
        > list
        list: nothing
        > join one a
        one: epoch 1, a:0-1
        > list
        list: g Stable consumer consumer
        > list consumer
        list: g Stable consumer consumer
        > list classic
        list: nothing
        > describe
        describe: Stable epoch 1 assignment 1 uniform
        - one consumer epoch 1: a:0-1, to have a:0-1
        > describe-classic
        describe-classic: GROUP_ID_NOT_FOUND Group g is not a classic group., ok Dead, 0 members
        > delete
        delete: NON_EMPTY_GROUP
        > leave one
        one: epoch -1
        > list consumer
        list: g Empty consumer consumer
        > delete
        delete: ok
        > list
        list: nothing
        > describe
        describe: GROUP_ID_NOT_FOUND
        ",
    );
}

#[test]
fn a_group_without_members_belongs_to_whoever_joins_next() {
    check(
        "
        > topic a 2
        > join one a
        one: epoch 1, a:0-1
        > leave one
        one: epoch -1
        > old-join two a
        two: generation 1
        two: a:0-1
        > list
        list: g Stable classic consumer
        > describe
        describe: GROUP_ID_NOT_FOUND
        > old-leave two
        two: left ok
        > list
        list: g Empty classic consumer
        > join three a
        three: epoch 3, a:0-1
        > list
        list: g Stable consumer consumer
        ",
    );
}

#[test]
fn a_group_that_changes_hands_again_and_again_begins_anew_each_time() {
    check(
        "
        > topic a 2
        > join one a
        one: epoch 1, a:0-1
        > leave one
        one: epoch -1
        > old-join two a
        two: generation 1
        two: a:0-1
        > old-leave two
        two: left ok
        > join one a
        one: epoch 3, a:0-1
        > leave one
        one: epoch -1
        > delete
        delete: ok
        > old-join two a
        two: UNKNOWN_MEMBER_ID
        > old-leave two
        two: left UNKNOWN_MEMBER_ID
        > delete
        delete: ok
        > beat one
        one: GROUP_ID_NOT_FOUND
        > join one a
        one: epoch 1, a:0-1
        > describe
        describe: Stable epoch 1 assignment 1 uniform
        - one consumer epoch 1: a:0-1, to have a:0-1
        ",
    );
}

#[test]
fn members_of_a_deleted_group_are_strangers() {
    check(
        "
        > topic a 1
        > join one a
        one: epoch 1, a:0
        > leave one
        one: epoch -1
        > delete
        delete: ok
        > beat one
        one: GROUP_ID_NOT_FOUND
        > commit one 7
        one: commit GROUP_ID_NOT_FOUND
        > join one a
        one: epoch 1, a:0
        ",
    );
}
