//! `hutong-sim --seed S` replays one seed, `hutong-sim --seeds A..B` runs many.

use std::cell::Cell;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hutong_sim::lie::Lie;
use hutong_sim::{Options, Report, run};

const USAGE: &str = "\
usage: hutong-sim (--seed S | --seeds A..B) [--nodes N] [--jobs N] [--keep-going] [--trace]

  --seed S      run the seed S: the same each time
  --seeds A..B  run the seeds from A up to, but without, B
  --nodes N     of clusters of so many nodes, 1 to 9 (default 3)
  --jobs N      so many seeds at a time, each in a thread of its own (default 1)
  --keep-going  run the other seeds too when one fails; a panic ends all in a release build
  --trace       write all that happens to standard error";

/// More nodes than this are no cluster that anybody runs.
const NODES_MAX: usize = 9;
/// More threads than this help on no machine.
const JOBS_MAX: usize = 1024;
/// How often it is told how far a long run has come.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

struct Arguments {
    from: u64,
    to: u64,
    nodes: usize,
    jobs: usize,
    keep_going: bool,
    trace: bool,
}

/// What all threads have come to.
#[derive(Default)]
struct Totals {
    seeds: u64,
    failed: u64,
    report: Report,
    told: Option<Instant>,
}

thread_local! {
    /// The seed that this thread runs.
    static SEED: Cell<u64> = const { Cell::new(0) };
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
    let Arguments { from, to, nodes, jobs, keep_going, .. } = arguments;
    if !keep_going || cfg!(panic = "abort") {
        // A release build ends at a panic, so the seed is told from within.
        std::panic::set_hook(Box::new(move |info| {
            fail(SEED.get(), nodes, &format!("panic: {info}"));
            std::process::exit(1);
        }));
    }
    let began = Instant::now();
    let totals = Mutex::new(Totals::default());
    let next = AtomicU64::new(from);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| work(&arguments, &next, &totals, began));
        }
    });
    let Totals { seeds, failed, report, .. } = totals.into_inner().expect("no thread has died");
    tell(&report, seeds - failed, nodes, began);
    if failed > 0 {
        println!("{failed} of {} seeds failed", to - from);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs seeds until there are none left.
fn work(arguments: &Arguments, next: &AtomicU64, totals: &Mutex<Totals>, began: Instant) {
    let Arguments { from, to, nodes, keep_going, trace, .. } = *arguments;
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= to {
            return;
        }
        SEED.set(seed);
        let result = run(&Options { seed, nodes, lie: Lie::Honest, print: trace });
        let mut totals = totals.lock().expect("no thread has died");
        totals.seeds += 1;
        match result {
            // The sum doesn't depend on which thread is first.
            Ok(report) => totals.report.add(&report),
            Err(why) => {
                fail(seed, nodes, &why);
                if !keep_going {
                    std::process::exit(1);
                }
                totals.failed += 1;
            }
        }
        let last = totals.told.unwrap_or(began);
        if last.elapsed() >= PROGRESS_EVERY {
            totals.told = Some(Instant::now());
            let (seeds, all) = (totals.seeds, to - from);
            let rate = seeds as f64 / began.elapsed().as_secs_f64();
            let failed = totals.failed;
            eprintln!("{seeds} of {all} seeds, {failed} failed, {rate:.1} seeds/s");
        }
    }
}

fn tell(total: &Report, seeds: u64, nodes: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let simulated = total.simulated as f64 / 1e9;
    println!(
        "{seeds} seeds of {nodes} nodes passed: {simulated:.0} s simulated in {seconds:.1} s \
         ({:.0} times real time), {} crashes, {} clean stops, {} failed disks, {} rotten bits, {} \
         entries mended, {} groups given up, {} changes of members, {} groups moved, {} disks \
         lost, {} network troubles, {} elections, {} requests, {} records acknowledged, {} \
         fetched, {} journal reads, {} checkpoints, {} snapshots, {} segments removed, {} group \
         assignments, {} group commits, {} live switches of a group's protocol; trace {:016x}",
        simulated / seconds,
        total.crashes,
        total.clean_stops,
        total.disk_failures,
        total.rotten,
        total.mended,
        total.given_up,
        total.changes,
        total.groups_moved,
        total.wipes,
        total.cuts,
        total.elections,
        total.requests,
        total.acknowledged,
        total.fetched,
        total.journal_reads,
        total.checkpoints,
        total.snapshots,
        total.segments_removed,
        total.assignments,
        total.commits,
        total.switches,
        total.trace_hash
    );
}

fn fail(seed: u64, nodes: usize, why: &str) {
    println!(
        "seed {seed} failed: {why}\n\
         replay it with: hutong-sim --nodes {nodes} --seed {seed} --trace"
    );
}

fn parse(arguments: &[String]) -> Result<Arguments, String> {
    let (mut seeds, mut nodes, mut jobs) = (None, 3, 1);
    let (mut keep_going, mut trace) = (false, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--trace" => trace = true,
            "--keep-going" => keep_going = true,
            "--jobs" => jobs = number(value()?)? as usize,
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
    if !(1..=JOBS_MAX).contains(&jobs) {
        return Err(format!("--jobs is {jobs}; it must be 1 to {JOBS_MAX}"));
    }
    Ok(Arguments { from, to, nodes, jobs, keep_going, trace })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number"))
}
