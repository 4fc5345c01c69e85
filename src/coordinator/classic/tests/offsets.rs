//! Who may commit offsets, and when.

use super::script::check;

#[test]
fn without_members_anybody_may_commit() {
    check("commit nobody 5\n state", "nobody: done\n stored, generation None, offset Some(5)");
    check("commit nobody 5 generation=3", "nobody: IllegalGeneration");
}

#[test]
fn with_members_only_they_may_and_only_in_their_generation() {
    check(
        "join a old
         commit a 5
         sync a a=1
         commit a 5
         commit nobody 6
         commit a 7 generation=2
         join b old
         commit a 8
         leave a
         leave b
         commit nobody 9
         state",
        "a: generation 1 of range, leads [a]
         a: RebalanceInProgress
         a: got 1
         a: done
         nobody: UnknownMember
         a: IllegalGeneration
         a: done
         a: left
         b: generation 2 of range, leads [b]
         b: left
         nobody: done
         stored, generation Some(3), offset Some(9)",
    );
}

#[test]
fn a_commit_is_a_sign_of_life() {
    check(
        "join a old
         sync a a=1
         wait 900
         commit a 5
         wait 900
         beat a",
        "a: generation 1 of range, leads [a]
         a: got 1
         a: done
         a: alive",
    );
}
