//! What happens because nothing does.

use super::script::check;

#[test]
fn without_heartbeats_a_member_is_let_go() {
    check(
        "join a old
         sync a a=1
         wait 900
         beat a
         wait 900
         beat a
         wait 999
         state
         wait 1
         state
         beat a",
        "a: generation 1 of range, leads [a]
         a: got 1
         a: alive
         a: alive
         Stable, members [a]
         stored, generation Some(2), offset None
         a: UnknownMember",
    );
}

#[test]
fn the_others_are_asked_to_join_when_one_dies() {
    check(
        "join a old
         join b old session=9000
         join a
         sync a a=1 b=2
         sync b
         wait 1000
         beat b
         join b
         sync b b=12",
        "a: generation 1 of range, leads [a]
         a: generation 2 of range, leads [a b]
         b: generation 2 of range, a leads
         a: got 1
         b: got 2
         b: RebalanceInProgress
         b: generation 3 of range, leads [b]
         b: got 12",
    );
}

#[test]
fn who_does_not_join_again_in_time_is_left_out() {
    check(
        "join a old rebalance=500 session=9000
         sync a a=1
         join b old rebalance=500
         wait 499
         wait 1
         sync b b=1
         beat a",
        "a: generation 1 of range, leads [a]
         a: got 1
         b: generation 2 of range, leads [b]
         b: got 1
         a: UnknownMember",
    );
}

#[test]
fn who_waits_for_us_is_not_let_go() {
    check(
        "join a old rebalance=5000
         sync a a=1
         join b old rebalance=5000
         wait 900
         beat a
         wait 900
         beat a
         wait 900
         join a
         sync b
         wait 990
         sync a a=1 b=2",
        "a: generation 1 of range, leads [a]
         a: got 1
         a: RebalanceInProgress
         a: RebalanceInProgress
         a: generation 2 of range, leads [a b]
         b: generation 2 of range, a leads
         a: got 1
         b: got 2",
    );
}

#[test]
fn who_never_asks_for_its_assignment_is_let_go() {
    check(
        "join a old rebalance=600 session=9000
         join b old rebalance=600 session=9000
         join a rebalance=600 session=9000
         sync b
         wait 600
         join b rebalance=600 session=9000",
        "a: generation 1 of range, leads [a]
         a: generation 2 of range, leads [a b]
         b: generation 2 of range, a leads
         b: RebalanceInProgress
         b: generation 3 of range, leads [b]",
    );
}

#[test]
fn an_id_that_nobody_joins_with_is_forgotten() {
    check(
        "join a old session=9000
         sync a a=1
         join b
         join a session=9000
         state
         wait 999
         wait 1
         join b
         state",
        "a: generation 1 of range, leads [a]
         a: got 1
         b: MemberIdRequired
         PreparingRebalance, members [a]
         a: generation 2 of range, leads [a]
         b: UnknownMember
         CompletingRebalance, members [a]",
    );
    check("join a\n wait 1000\n state", "a: MemberIdRequired\n none");
}
