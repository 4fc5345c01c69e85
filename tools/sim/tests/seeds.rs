//! Fixed seeds, fresh seeds, and the same seed twice.

use std::time::{SystemTime, UNIX_EPOCH};

use hutong_sim::disk::Lie;
use hutong_sim::run;

fn all_pass(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        if let Err(why) = run(seed, Lie::Honest, false) {
            panic!("seed {seed} failed: {why}\nreplay it with: hutong-sim --seed {seed} --trace");
        }
    }
}

#[test]
fn twenty_fixed_seeds_pass() {
    all_pass(1..21);
}

#[test]
fn seeds_that_once_found_something_pass() {
    // Reused admin requests, the retention timer, full segments, reading ahead of the disk, and
    // checkpoints without the commands they cover.
    all_pass([5, 10, 11, 25, 29, 41, 43, 293, 327].into_iter());
}

#[test]
fn twenty_fresh_seeds_pass() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let first = now.as_nanos() as u64 % 1_000_000_000;
    println!("fresh seeds {first}..{}", first + 20);
    all_pass(first..first + 20);
}

#[test]
fn a_seed_runs_the_same_each_time() {
    for seed in [3, 7, 12, 30] {
        let first = run(seed, Lie::Honest, false).expect("it passes");
        let second = run(seed, Lie::Honest, false).expect("it passes");
        assert_eq!(first, second, "seed {seed}");
    }
}
