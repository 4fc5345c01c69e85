//! `hutong-sim --seed S` replays one seed, `hutong-sim --seeds A..B` runs many.

use std::process::ExitCode;
use std::time::Instant;

use hutong_sim::lie::Lie;
use hutong_sim::{Options, Report, run};

const USAGE: &str = "\
usage: hutong-sim (--seed S | --seeds A..B) [--nodes N] [--trace]

  --seed S      run the seed S: the same each time
  --seeds A..B  run the seeds from A up to, but without, B
  --nodes N     of clusters of so many nodes, 1 to 9 (default 3)
  --trace       write all that happens to standard error";

/// More nodes than this are no cluster that anybody runs.
const NODES_MAX: usize = 9;

struct Arguments {
    from: u64,
    to: u64,
    nodes: usize,
    trace: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let arguments = match parse(&arguments) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("hutong-sim: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let Arguments { from, to, nodes, trace } = arguments;
    let began = Instant::now();
    let mut total = Report::default();
    for seed in from..to {
        // A release build ends at a panic, so the seed is told from within.
        std::panic::set_hook(Box::new(move |info| fail(seed, nodes, &format!("panic: {info}"))));
        match run(&Options { seed, nodes, lie: Lie::Honest, print: trace }) {
            Ok(report) if to - from == 1 => total = report,
            Ok(report) => total.add(&report),
            Err(why) => fail(seed, nodes, &why),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let simulated = total.simulated as f64 / 1e9;
    println!(
        "{} seeds of {nodes} nodes passed: {simulated:.0} s simulated in {seconds:.1} s ({:.0} \
         times real time), {} crashes, {} clean stops, {} network troubles, {} elections, {} \
         requests, {} records acknowledged, {} fetched, {} journal reads, {} checkpoints, {} \
         segments removed; trace {:016x}",
        to - from,
        simulated / seconds,
        total.crashes,
        total.clean_stops,
        total.cuts,
        total.elections,
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

fn fail(seed: u64, nodes: usize, why: &str) {
    println!(
        "seed {seed} failed: {why}\n\
         replay it with: hutong-sim --nodes {nodes} --seed {seed} --trace"
    );
    std::process::exit(1);
}

fn parse(arguments: &[String]) -> Result<Arguments, String> {
    let (mut seeds, mut nodes, mut trace) = (None, 3, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--trace" => trace = true,
            "--seed" => {
                let seed = number(value()?)?;
                seeds = Some((seed, seed + 1));
            }
            "--seeds" => {
                let range = value()?;
                let (from, to) = range
                    .split_once("..")
                    .ok_or_else(|| format!("'{range}' is no range of seeds like 1..100"))?;
                seeds = Some((number(from)?, number(to)?));
            }
            "--nodes" => nodes = number(value()?)? as usize,
            other => return Err(format!("there is no option '{other}'")),
        }
    }
    let (from, to) = seeds.ok_or("say which seeds to run, with --seed or --seeds")?;
    if from >= to {
        return Err(format!("{from}..{to} holds no seed: the second number must be greater"));
    }
    if !(1..=NODES_MAX).contains(&nodes) {
        return Err(format!("--nodes is {nodes}; it must be 1 to {NODES_MAX}"));
    }
    Ok(Arguments { from, to, nodes, trace })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number"))
}
