//! Members come, assign, go: the states of a group in order.

use super::script::{check, check_with};

/// Two members, and all of it: what most cases begin with.
const TWO: &str = "
    join a old
    join b old
    join a
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
fn a_new_client_is_given_its_id_first() {
    check(
        "join a
         state
         join a
         sync a a=1
         state",
        "a: MemberIdRequired
         Empty, members []
         a: generation 1 of range, leads [a]
         a: got 1
         Stable, members [a]",
    );
}

#[test]
fn an_assignment_is_told_when_it_is_recorded() {
    check(
        "join a old
         hold
         sync a a=1
         state
         apply
         state",
        "a: generation 1 of range, leads [a]
         CompletingRebalance, members [a]
         a: got 1
         Stable, members [a]",
    );
}

#[test]
fn who_comes_has_all_join_again() {
    check(
        &format!(
            "{TWO}
             join c old
             beat a
             sync a
             join a
             join b
             beat b
             sync b
             sync c
             sync a a=1 b=2 c=3
             beat a"
        ),
        &format!(
            "{TWO_TOLD}
             a: RebalanceInProgress
             a: RebalanceInProgress
             a: generation 3 of range, leads [a b c]
             b: generation 3 of range, a leads
             c: generation 3 of range, a leads
             b: alive
             a: got 1
             b: got 2
             c: got 3
             a: alive"
        ),
    );
}

#[test]
fn who_goes_leaves_its_share_to_the_others() {
    check(
        &format!("{TWO} leave a\n beat b\n join b\n sync b b=12\n leave b\n state"),
        &format!(
            "{TWO_TOLD}
             a: left
             b: RebalanceInProgress
             b: generation 3 of range, leads [b]
             b: got 12
             b: left
             stored, generation Some(4), offset None"
        ),
    );
}

#[test]
fn generations_go_on_when_a_group_was_empty() {
    check(
        "join a old\n sync a a=1\n leave a\n fresh a old",
        "a: generation 1 of range, leads [a]
         a: got 1
         a: left
         a: generation 3 of range, leads [a#3]",
    );
}

#[test]
fn a_follower_that_joins_again_unchanged_changes_nothing_and_the_leader_does() {
    check(
        &format!("{TWO} join b\n state\n join a\n state\n join b"),
        &format!(
            "{TWO_TOLD}
             b: generation 2 of range, a leads
             Stable, members [a b]
             PreparingRebalance, members [a b]
             a: generation 3 of range, leads [a b]
             b: generation 3 of range, a leads"
        ),
    );
}

#[test]
fn a_member_that_missed_its_answer_gets_it_again() {
    check(
        "join a old\n join a\n sync a a=1\n sync a",
        "a: generation 1 of range, leads [a]
         a: generation 1 of range, leads [a]
         a: got 1
         a: got 1",
    );
}

#[test]
fn the_protocol_is_elected_among_those_all_know() {
    check(
        "join a old knows=x,y,z\n join b old knows=z,y\n join c old knows=z,y
         join a knows=x,y,z",
        "a: generation 1 of x, leads [a]
         a: generation 2 of z, leads [a b c]
         b: generation 2 of z, a leads
         c: generation 2 of z, a leads",
    );
}

#[test]
fn who_speaks_no_common_protocol_is_refused_and_nobody_notices() {
    check(
        "join a old knows=x\n sync a a=1\n join b old knows=y
         join c old knows=x type=connect\n join d old type= \n state",
        "a: generation 1 of x, leads [a]
         a: got 1
         b: InconsistentProtocol
         c: InconsistentProtocol
         d: InconsistentProtocol
         Stable, members [a]",
    );
}

#[test]
fn strangers_and_the_past_are_refused() {
    check(
        &format!(
            "beat x
             sync x
             leave x
             {TWO}
             beat x
             beat a generation=1
             sync a generation=1
             sync b protocol=other
             leave x
             commit a 7 generation=1"
        ),
        &format!(
            "x: UnknownMember
             x: UnknownMember
             x: UnknownMember
             {TWO_TOLD}
             x: UnknownMember
             a: IllegalGeneration
             a: IllegalGeneration
             b: InconsistentProtocol
             x: UnknownMember
             a: IllegalGeneration"
        ),
    );
}

#[test]
fn a_full_group_takes_no_more() {
    check(
        "join a old\n join b old\n join c old\n join d old\n join a",
        // Those who join first have the places, whoever had them before.
        "a: generation 1 of range, leads [a]
         b: generation 2 of range, leads [b c d]
         c: generation 2 of range, b leads
         d: generation 2 of range, b leads
         a: GroupFull",
    );
    check(
        "join a old\n join b old\n join c old\n join a\n join d old\n state",
        "a: generation 1 of range, leads [a]
         a: generation 2 of range, leads [a b c]
         b: generation 2 of range, a leads
         c: generation 2 of range, a leads
         d: GroupFull
         CompletingRebalance, members [a b c]",
    );
}

#[test]
fn ids_that_nobody_uses_are_bounded_and_forgotten() {
    check(
        "join a
         join b
         join c
         join d
         wait 1000
         join e",
        "a: MemberIdRequired
         b: MemberIdRequired
         c: MemberIdRequired
         d: GroupFull
         e: MemberIdRequired",
    );
}

#[test]
fn an_empty_group_waits_for_more_members_before_its_first_rebalance() {
    check_with(
        300,
        "join a old\n wait 200\n join b old\n wait 100\n join c old\n wait 299\n wait 1\n wait 300",
        "a: generation 1 of range, leads [a b c]
         b: generation 1 of range, a leads
         c: generation 1 of range, a leads",
    );
    check_with(300, "join a old\n wait 299\n wait 1", "a: generation 1 of range, leads [a]");
}

#[test]
fn the_first_rebalance_is_not_put_off_for_ever() {
    check_with(
        300,
        "join a old rebalance=500\n wait 200\n join b old\n wait 200\n join c old\n wait 100",
        "a: generation 1 of range, leads [a b c]
         b: generation 1 of range, a leads
         c: generation 1 of range, a leads",
    );
}

#[test]
fn a_session_out_of_bounds_is_refused() {
    check("join a old session=9", "a: InvalidSessionTimeout");
    check("join a old session=60001\n state", "a: InvalidSessionTimeout\n none");
}

#[test]
fn only_a_group_without_members_can_be_deleted() {
    check(
        "delete\n join a old\n delete\n leave a\n delete\n state\n delete",
        "delete: NoSuchGroup
         a: generation 1 of range, leads [a]
         delete: NotEmpty
         a: left
         delete: done
         none
         delete: NoSuchGroup",
    );
}
