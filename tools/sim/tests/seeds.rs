//! Fixed seeds, fresh seeds, and the same seed twice: alone and in clusters. Seventy-five in all.

use std::time::{SystemTime, UNIX_EPOCH};

use hutong_sim::{Options, run};

fn all_pass(seeds: impl Iterator<Item = u64>, nodes: usize) {
    for seed in seeds {
        if let Err(why) = run(&Options::new(seed, nodes)) {
            panic!(
                "seed {seed} failed: {why}\n\
                 replay it with: hutong-sim --nodes {nodes} --seed {seed} --trace"
            );
        }
    }
}

/// Seeds that nobody has run before, most likely.
fn fresh(count: u64) -> impl Iterator<Item = u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let first = now.as_nanos() as u64 % 1_000_000_000;
    println!("fresh seeds {first}..{}", first + count);
    first..first + count
}

#[test]
fn fixed_seeds_of_one_node_pass() {
    all_pass(1..9, 1);
}

#[test]
fn fixed_seeds_of_three_nodes_pass() {
    all_pass(1..11, 3);
}

#[test]
fn fixed_seeds_of_five_nodes_pass() {
    all_pass(1..5, 5);
}

#[test]
fn seeds_that_once_found_something_pass() {
    // A tail that ends within another leader's entry; turns without end beside a disk that stands
    // still; a coordinator that didn't know a topic yet and took it for one without offsets.
    // Runs of a deleted topic behind a checkpoint without it; who is elected as it is removed. A
    // leader that is damaged needs one who waits, as it is damaged where only itself has been; or
    // it is damaged where nothing is committed yet, and nobody else has it; or only who waits has
    // it, and the leader has no majority but with who is filled; or nobody can lead in its place.
    // A segment that goes while it is read; a size that has rotted, which is read again and again,
    // or leads into the midst of an entry; a coordinator that switches a group and doesn't know its
    // topics.
    all_pass([57, 261, 346, 770, 2048, 3188, 4111, 5085, 5678].into_iter(), 3);
    all_pass([7042, 7553, 8466, 20448].into_iter(), 3);
    all_pass([526].into_iter(), 5);
}

#[test]
fn seeds_of_clusters_that_change_that_once_found_something_pass() {
    // Nodes that wait for each other; a coordinator that went by another group's records; turns
    // without end when a group goes; catching up from the beginning again; rot in a chain; a leader
    // that is no majority without a member which lacks what was trimmed; a connection on which an
    // answer is missing; damage where a member's last entries differ; what is left over of another
    // leader's where a member's last entries are that one's; a group that was moved before it had a
    // leader; a partition that was known to be deleted, and was in a checkpoint all the same; a
    // shard with nothing but an added group, which talked to nobody once it had no catalog; a vote
    // for who has less, as who has more asked too early.
    all_pass([105, 127, 228, 399, 487, 801, 1329, 1573, 2234, 2514].into_iter(), 3);
    all_pass([3355, 4233, 4304, 4338, 4359, 5862, 6323, 7205].into_iter(), 3);
}

#[test]
fn fresh_seeds_of_one_node_pass() {
    all_pass(fresh(9), 1);
}

#[test]
fn fresh_seeds_of_three_nodes_pass() {
    all_pass(fresh(10), 3);
}

#[test]
fn fresh_seeds_of_five_nodes_pass() {
    all_pass(fresh(2), 5);
}

#[test]
fn a_seed_runs_the_same_each_time() {
    for (seed, nodes) in [(30, 1), (31, 3)] {
        let first = run(&Options::new(seed, nodes)).expect("it passes");
        let second = run(&Options::new(seed, nodes)).expect("it passes");
        assert_eq!(first, second, "seed {seed}");
    }
}
