//! KIP-345 in groups of KIP-848: a static member that is away for a while keeps what it has.

use super::script::check;

#[test]
fn a_static_member_that_is_away_keeps_its_partitions() {
    check(
        "
        > topic a 4
        > join one a static=i
        one: epoch 1, a:0-3
        > join two a static=j
        two: epoch 2, nothing
        > settle one two
        one: epoch 2, a:0-1
        two: epoch 2, a:2-3
        > away one
        one: epoch -2
        > settle two
        two: epoch 2, a:2-3
        > join three a static=i
        three: epoch 2, a:0-1
        > settle three two
        three: epoch 2, a:0-1
        two: epoch 2, a:2-3
        > beat one
        one: FENCED_INSTANCE_ID
        ",
    );
}

#[test]
fn a_static_member_that_stays_away_is_removed() {
    check(
        "
        > topic a 4
        > join one a static=i
        one: epoch 1, a:0-3
        > join two a static=j
        two: epoch 2, nothing
        > settle one two
        one: epoch 2, a:0-1
        two: epoch 2, a:2-3
        > away one
        one: epoch -2
        > wait 30
        > settle two
        two: epoch 2, a:2-3
        > wait 30
        > settle two
        two: epoch 3, a:0-3
        ",
    );
}

#[test]
fn a_name_that_is_in_use_is_refused() {
    check(
        "
        > topic a 1
        > join one a static=i
        one: epoch 1, a:0
        > join two a static=i
        two: UNRELEASED_INSTANCE_ID
        > leave one
        one: epoch -1
        > join two a static=i
        two: epoch 3, a:0
        ",
    );
}
