//! Static members (KIP-345): who comes back by its own name takes its place again.

use super::script::check;

const TWO: &str = "
    join a old static=A session=9000
    join b old static=B session=9000
    join a static=A session=9000
    sync a a=1 b=2
    sync b
";
const TWO_TOLD: &str = "
    a: generation 1 of range, leads [a]
    a: generation 2 of range, leads [a b]
    b: generation 2 of range, a leads
    a: got 1
    b: got 2
";

#[test]
fn who_comes_back_has_its_assignment_and_nobody_notices() {
    check(
        &format!("{TWO} fresh b static=B\n sync b\n beat a"),
        &format!("{TWO_TOLD} b: generation 2 of range, a leads\n b: got 2\n a: alive"),
    );
}

#[test]
fn a_leader_that_comes_back_does_not_assign() {
    // A new client is told so; an old one is told that its former self leads.
    check(
        &format!("{TWO} fresh a static=A new\n sync a\n beat b"),
        &format!(
            "{TWO_TOLD}
             a: generation 2 of range, leads [a#6 b], need not assign
             a: got 1
             b: alive"
        ),
    );
    check(
        &format!("{TWO} fresh a static=A\n sync a"),
        &format!("{TWO_TOLD} a: generation 2 of range, a leads\n a: got 1"),
    );
}

#[test]
fn whoever_had_its_place_is_fenced() {
    check(
        &format!(
            "{TWO}
             fresh b static=B
             beat b id=b static=B
             sync b id=b static=B
             commit b 7 id=b static=B
             beat b id=b
             beat b static=B"
        ),
        &format!(
            "{TWO_TOLD}
             b: generation 2 of range, a leads
             b: FencedInstance
             b: FencedInstance
             b: FencedInstance
             b: UnknownMember
             b: alive"
        ),
    );
}

#[test]
fn two_that_join_under_one_name_fence_each_other() {
    check(
        &format!("{TWO} join c old\n fresh b static=B\n fresh b static=B"),
        &format!("{TWO_TOLD} b: FencedInstance"),
    );
}

#[test]
fn it_takes_its_place_with_what_it_knows_now() {
    check(
        &format!("{TWO} fresh b static=B knows=other,range\n fresh b static=B knows=other"),
        &format!("{TWO_TOLD} b: generation 2 of range, a leads\n b: InconsistentProtocol"),
    );
}

#[test]
fn it_stays_through_rebalances_that_it_misses() {
    check(
        &format!(
            "{TWO}
             join c old session=9000
             join a static=A session=9000
             wait 5000
             beat b static=B generation=3
             sync a a=1 b=2 c=3
             sync c"
        ),
        &format!(
            "{TWO_TOLD}
             a: generation 3 of range, leads [a b c]
             c: generation 3 of range, a leads
             b: alive
             a: got 1
             c: got 3"
        ),
    );
}

#[test]
fn an_administrator_lets_it_go_by_its_name() {
    check(
        &format!("{TWO} leave x static=B\n leave x static=B\n beat a"),
        &format!("{TWO_TOLD} x: left\n x: UnknownMember\n a: RebalanceInProgress"),
    );
}
