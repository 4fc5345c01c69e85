//! Fixed seeds, fresh seeds, and the same seed twice: alone and in clusters. Sixty in all.

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
fn ten_fixed_seeds_of_one_node_pass() {
    all_pass(1..11, 1);
}

#[test]
fn seeds_of_one_node_that_once_found_something_pass() {
    // Reused admin requests, the retention timer, full segments, reading ahead of the disk, and
    // checkpoints without the commands they cover.
    all_pass([25, 29, 41, 43, 293, 327].into_iter(), 1);
}

#[test]
fn ten_fixed_seeds_of_three_nodes_pass() {
    all_pass(1..11, 3);
}

#[test]
fn ten_more_fixed_seeds_of_three_nodes_pass() {
    all_pass(11..21, 3);
}

#[test]
fn ten_seeds_more_of_three_nodes_pass() {
    all_pass(31..41, 3);
}

#[test]
fn seeds_of_three_nodes_that_once_found_something_pass() {
    // A tail that was cut off and still served; a record that was lost with its holders' memory.
    all_pass([50_412_703, 31].into_iter(), 3);
}

#[test]
fn five_seeds_of_five_nodes_pass() {
    all_pass(1..6, 5);
}

#[test]
fn five_fresh_seeds_of_one_node_pass() {
    all_pass(fresh(5), 1);
}

#[test]
fn a_seed_runs_the_same_each_time() {
    for (seed, nodes) in [(30, 1), (31, 3)] {
        let first = run(&Options::new(seed, nodes)).expect("it passes");
        let second = run(&Options::new(seed, nodes)).expect("it passes");
        assert_eq!(first, second, "seed {seed}");
    }
}
