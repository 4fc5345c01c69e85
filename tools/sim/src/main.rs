//! `hutong-sim --seed S` replays one seed, `hutong-sim --seeds A..B` runs many.

use std::process::ExitCode;
use std::time::Instant;

use hutong_sim::disk::Lie;
use hutong_sim::{Report, run};

const USAGE: &str = "usage: hutong-sim (--seed S | --seeds A..B) [--trace]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((from, to, trace)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let mut total = Report::default();
    for seed in from..to {
        // A release build ends at a panic, so the seed is told from within.
        std::panic::set_hook(Box::new(move |info| fail(seed, &format!("panic: {info}"))));
        match run(seed, Lie::Honest, trace) {
            Ok(report) if to - from == 1 => total = report,
            Ok(report) => total.add(&report),
            Err(why) => fail(seed, &why),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let simulated = total.simulated as f64 / 1e9;
    println!(
        "{} seeds passed: {simulated:.0} s simulated in {seconds:.1} s ({:.0} times real time), \
         {} crashes, {} clean stops, {} requests, {} records acknowledged, {} fetched, {} journal \
         reads, {} checkpoints, {} segments removed; trace {:016x}",
        to - from,
        simulated / seconds,
        total.crashes,
        total.clean_stops,
        total.requests,
        total.acknowledged,
        total.fetched,
        total.journal_reads,
        total.checkpoints,
        total.segments_removed,
        total.trace_hash
    );
    ExitCode::SUCCESS
}

fn fail(seed: u64, why: &str) {
    println!("seed {seed} failed: {why}\nreplay it with: hutong-sim --seed {seed} --trace");
    std::process::exit(1);
}

fn parse(arguments: &[String]) -> Option<(u64, u64, bool)> {
    let trace = arguments.iter().any(|argument| argument == "--trace");
    let rest: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| *argument != "--trace").collect();
    match rest[..] {
        ["--seed", seed] => {
            let seed = seed.parse().ok()?;
            Some((seed, seed + 1, trace))
        }
        ["--seeds", seeds] => {
            let (from, to) = seeds.split_once("..")?;
            Some((from.parse().ok()?, to.parse().ok()?, trace))
        }
        _ => None,
    }
}
