//! A new leader starts from what was recorded.

use super::script::check;

#[test]
fn members_go_on_where_they_were() {
    check(
        "join a old
         sync a a=1
         commit a 5
         lead
         beat a
         sync a
         commit a 6
         wait 999
         beat a
         lead
         wait 1000
         state",
        "a: generation 1 of range, leads [a]
         a: got 1
         a: done
         a: alive
         a: got 1
         a: done
         a: alive
         stored, generation Some(2), offset Some(6)",
    );
}

#[test]
fn a_generation_that_was_not_recorded_is_begun_anew() {
    check(
        "join a old
         sync a a=1
         join b old
         join a
         hold
         sync a a=1 b=2
         lead
         beat b
         beat a
         join a
         sync a a=1",
        "a: generation 1 of range, leads [a]
         a: got 1
         a: generation 2 of range, leads [a b]
         b: generation 2 of range, a leads
         b: UnknownMember
         a: IllegalGeneration
         a: generation 2 of range, leads [a]
         a: got 1",
    );
}

#[test]
fn static_members_are_still_known_by_their_names() {
    check(
        "join a old static=A
         sync a a=1
         lead
         fresh a static=A
         sync a static=A
         lead
         beat a static=A",
        "a: generation 1 of range, leads [a]
         a: got 1
         a: generation 1 of range, a leads
         a: got 1
         a: alive",
    );
}
