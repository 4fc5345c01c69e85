//! Offsets of groups of KIP-848: fenced by member and epoch.

use super::script::check;

#[test]
fn only_members_commit_and_only_in_their_epoch() {
    check(
        "
        > topic a 2
        > commit nobody 1
        nobody: commit ok
        > fetch nobody
        nobody: fetch 1
        > join one a
        one: epoch 1, a:0-1
        > commit nobody 2
        nobody: commit UNKNOWN_MEMBER_ID
        > commit one 3
        one: commit ok
        > commit one 4 version=8
        one: commit UNSUPPORTED_VERSION
        > fetch one
        one: fetch 3
        > fetch nobody
        nobody: fetch 3
        > join two a
        two: epoch 2, nothing
        > beat one
        one: epoch 1, a:0
        > commit one 5
        one: commit ok
        > beat one
        one: epoch 2
        > commit one 6
        one: commit ok
        > fetch one
        one: fetch 6
        > leave one
        one: epoch -1
        > commit one 7
        one: commit UNKNOWN_MEMBER_ID
        > fetch one
        one: fetch UNKNOWN_MEMBER_ID
        > leave two
        two: epoch -1
        > commit nobody 8
        nobody: commit ok
        > fetch nobody
        nobody: fetch 8
        ",
    );
}

#[test]
fn offsets_of_a_topic_that_members_read_stay() {
    check(
        "
        > topic a 1
        > topic b 1
        > commit nobody 1
        nobody: commit ok
        > join one ~a.*
        one: epoch 1, a:0
        > delete-offsets a
        delete-offsets: GROUP_SUBSCRIBED_TO_TOPIC
        > delete-offsets b
        delete-offsets: ok
        > leave one
        one: epoch -1
        > delete-offsets a
        delete-offsets: ok
        > fetch nobody
        nobody: fetch -1
        ",
    );
}

#[test]
fn offsets_of_a_group_without_members_expire_and_so_does_the_group() {
    check(
        "
        > topic a 1
        > topic b 1
        > join one a
        one: epoch 1, a:0
        > commit one 7
        one: commit ok
        > leave one
        one: epoch -1
        > days 6
        > fetch nobody
        nobody: fetch 7
        > list
        list: g Empty consumer consumer
        > days 2
        > fetch nobody
        nobody: fetch -1
        > list
        list: nothing
        > join one a
        one: epoch 1, a:0
        ",
    );
}

#[test]
fn offsets_of_what_members_read_stay_and_the_others_grow_old() {
    check(
        "
        > topic a 1
        > topic b 1
        > set group.consumer.session.timeout.ms=2000000000
        > commit nobody 7
        nobody: commit ok
        > join one ~a.*
        one: epoch 1, a:0
        > days 8
        > fetch nobody
        nobody: fetch 7
        > join two b
        two: epoch 2, b:0
        > leave one
        one: epoch -1
        > days 8
        > fetch nobody
        nobody: fetch -1
        ",
    );
}
