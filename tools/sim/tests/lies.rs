//! The checkers notice a disk that breaks its promises: each lie within 200 seeds.

use hutong_sim::disk::Lie;
use hutong_sim::run;

fn is_caught(lie: Lie) {
    for seed in 1..=200 {
        if let Err(why) = run(seed, lie, false) {
            println!("{lie:?}: seed {seed} caught it: {why:.300}");
            return;
        }
    }
    panic!("{lie:?} was not caught in 200 seeds");
}

#[test]
fn acknowledging_before_the_flush() {
    is_caught(Lie::AcknowledgesEarly);
}

#[test]
fn a_written_entry_that_is_gone() {
    is_caught(Lie::DropsWritten);
}

#[test]
fn a_written_entry_that_is_torn() {
    is_caught(Lie::TearsWritten);
}

#[test]
fn a_segment_that_is_gone() {
    is_caught(Lie::LosesSegment);
}

#[test]
fn a_checkpoint_that_was_not_replaced() {
    is_caught(Lie::KeepsOldCheckpoint);
}

#[test]
fn a_bit_that_flips_on_the_way_from_the_disk() {
    is_caught(Lie::ReadsWrong);
}

/// One node alone loses nothing with its vote: the term is in its entries, and nobody else could
/// have been voted for. So this must be survived.
#[test]
fn a_forgotten_vote_harms_no_lone_node() {
    for seed in 1..=10 {
        run(seed, Lie::ForgetsVote, false).expect("a lone node doesn't need its vote");
    }
}
