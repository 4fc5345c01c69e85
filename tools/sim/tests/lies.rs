//! The checkers notice what is planted: each lie within 200 seeds.
//!
//! Nothing in the core changes for it. A disk that breaks its promises does what a broker would
//! that acknowledges before it has flushed, that forgets its vote or that doesn't truncate; a vote
//! that counts twice and an answer that is released at the wrong position are made by bending a
//! byte on its way. See `lie`.

use hutong_sim::lie::Lie;
use hutong_sim::{Options, run};

fn is_caught(lie: Lie, nodes: usize) {
    for seed in 1..=200 {
        let options = Options { seed, nodes, lie, print: false };
        if let Err(why) = run(&options) {
            println!("{lie:?} of {nodes} nodes: seed {seed} caught it: {why:.300}");
            return;
        }
    }
    panic!("{lie:?} was not caught in 200 seeds");
}

/// The five bugs of a replicated log.
mod cluster {
    use super::*;

    #[test]
    fn acknowledging_before_the_flush() {
        is_caught(Lie::AcknowledgesEarly, 3);
    }

    #[test]
    fn counting_a_vote_twice() {
        is_caught(Lie::CountsVoteTwice, 3);
    }

    #[test]
    fn skipping_the_truncation() {
        is_caught(Lie::SkipsTruncation, 3);
    }

    #[test]
    fn forgetting_the_vote() {
        is_caught(Lie::ForgetsVote, 3);
    }

    #[test]
    fn releasing_at_the_wrong_position() {
        is_caught(Lie::ReleasesEarly, 3);
    }
}

/// The bug of a node that doesn't know what it has lost.
mod membership {
    use super::*;

    #[test]
    fn coming_back_without_a_disk_under_the_old_name() {
        is_caught(Lie::KeepsPlace, 3);
    }
}

/// The bugs of a coordinator of consumer groups.
mod groups {
    use super::*;

    #[test]
    fn forgetting_an_acknowledged_commit() {
        is_caught(Lie::ForgetsCommit, 3);
    }

    #[test]
    fn a_partition_with_two_owners() {
        is_caught(Lie::GivesTwice, 3);
    }

    #[test]
    fn never_telling_a_member_to_join_again() {
        is_caught(Lie::SaysAllIsWell, 3);
    }
}

/// The bugs of a journal.
mod alone {
    use super::*;

    #[test]
    fn acknowledging_before_the_flush() {
        is_caught(Lie::AcknowledgesEarly, 1);
    }

    #[test]
    fn a_written_entry_that_is_gone() {
        is_caught(Lie::DropsWritten, 1);
    }

    #[test]
    fn a_written_entry_that_is_torn() {
        is_caught(Lie::TearsWritten, 1);
    }

    #[test]
    fn a_segment_that_is_gone() {
        is_caught(Lie::LosesSegment, 1);
    }

    #[test]
    fn a_checkpoint_that_was_not_replaced() {
        is_caught(Lie::KeepsOldCheckpoint, 1);
    }

    #[test]
    fn a_bit_that_flips_on_the_way_from_the_disk() {
        is_caught(Lie::ReadsWrong, 1);
    }

    /// One node alone loses nothing with its vote: the term is in its entries, and nobody else
    /// could have been voted for. So this must be survived.
    #[test]
    fn a_forgotten_vote_harms_no_lone_node() {
        for seed in 1..=10 {
            let options = Options { lie: Lie::ForgetsVote, ..Options::new(seed, 1) };
            run(&options).expect("a lone node doesn't need its vote");
        }
    }
}
