//! The whole core on one CPU, against a disk that is done at once: the ceiling of a shard.
//!
//! One record of 100 bytes to a request, acks=all. What is timed is all that a shard does for a
//! request: cutting frames, checking, appending, Raft, commit, the response. What isn't: sockets
//! and the disk. Time is the thread's CPU time. `cargo bench --bench shard_loop` prints requests a
//! second; under `cargo test --benches` a small size runs, so that it can't rot.

use std::time::Duration;

use hutong::limits::JOURNAL_CACHE_BYTES_DEFAULT;

use support::rig::{Load, Rig};

mod support {
    pub mod frames;
    pub mod page;
    pub mod rig;
}

/// Requests a second.
fn run(load: Load, rounds: usize) -> f64 {
    let mut rig = Rig::new(load, JOURNAL_CACHE_BYTES_DEFAULT);
    let started = cpu_time();
    rig.rounds(rounds);
    let requests = rig.finish();
    requests as f64 / (cpu_time() - started).as_secs_f64()
}

/// The CPU time of this thread: what the core costs, whatever else the machine is doing.
fn cpu_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    Duration::from(clock.now().expect("Linux has this clock"))
}

fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let (size, repeats) = if full { (4_000_000, 5) } else { (20_000, 1) };
    for (connections, partitions, per_read) in
        [(1, 1, 1), (1, 1, 512), (8, 1, 512), (8, 100, 512), (8, 10_000, 512), (1000, 10, 4)]
    {
        let load = Load { connections, partitions, per_read };
        let rounds = (size / load.per_round() / if per_read == 1 { 4 } else { 1 }).max(2);
        let mut rates: Vec<f64> = (0..repeats).map(|_| run(load, rounds)).collect();
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        println!(
            "{connections:>5} connections {partitions:>6} partitions {per_read:>4} requests a \
             read: {:>6.2} M requests/s, {:>4.0} ns each (median of {repeats}, {:.2} to {:.2})",
            median / 1e6,
            1e9 / median,
            rates[0] / 1e6,
            rates[rates.len() - 1] / 1e6,
        );
    }
}
