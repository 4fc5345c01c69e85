//! Instructions of the shard loop for one request: a cost that doesn't depend on the machine's
//! mood, so that a slower path shows in the change that brings it.
//!
//! `cargo run --release -p hutong-instructions` has valgrind count them and compares with
//! `benches/instructions.toml`: more than 5 % up or down fails. Down as well, so that what was
//! gained is kept. Behind `--`:
//!
//! - `--update` writes the file anew, for changes that are meant;
//! - `--profile TEXT` counts only cases with TEXT in their names, and keeps their profiles, which
//!   tell what the instructions are spent on.
//!
//! What is counted is one function that does nothing but rounds of a warm shard: its caches are
//! full, each partition has been written to. The work is the same each time; two runs of one
//! binary differ by less than 0.1 %. Another compiler or C library moves the counts a little.
//!
//! Valgrind emulates a CPU without AVX-512, so crc-fast takes another way there than on a CPU that
//! has it: the share of the checksum is not that of the real machine, all other code is the same.
//! Waiting for memory is not counted at all. For time see `benches/parts.rs` and
//! `benches/shard_loop.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use support::rig::{Load, Rig};

mod callgrind;
#[path = "../../support"]
mod support {
    pub mod frames;
    pub mod page;
    pub mod rig;
}

/// How far a count may be from the one that is kept.
const TOLERANCE: f64 = 0.05;

/// Small, so that after a few rounds entries leave it as fast as they come.
const JOURNAL_CACHE_BYTES: usize = 8 << 20;

const FILE: &str = "benches/instructions.toml";

/// One line of the table.
struct Case {
    load: Load,
    /// Rounds that are counted; as many go before. They come to each partition several times.
    rounds: usize,
}

impl Case {
    const fn new(connections: u64, partitions: i32, per_read: usize, rounds: usize) -> Case {
        Case { load: Load { connections, partitions, per_read }, rounds }
    }

    fn name(&self) -> String {
        let Load { connections, partitions, per_read } = self.load;
        format!("{connections} connections, {partitions} partitions, {per_read} requests a read")
    }

    fn requests(&self) -> u64 {
        (self.rounds * self.load.per_round()) as u64
    }
}

/// The first is one request at a time: an entry of the journal for each.
const CASES: &[Case] = &[
    Case::new(1, 1, 1, 4000),
    Case::new(1, 1, 512, 120),
    Case::new(1, 10, 512, 120),
    Case::new(1, 1000, 512, 120),
    Case::new(1, 10_000, 512, 120),
    Case::new(1000, 1, 4, 20),
    Case::new(1000, 10, 4, 20),
    Case::new(1000, 1000, 4, 20),
    Case::new(1000, 10_000, 4, 20),
];

/// The function that callgrind counts. Not inlined, so that it can be told by its name.
#[inline(never)]
fn measured_rounds(rig: &mut Rig, rounds: usize) {
    rig.rounds(rounds);
}

fn run(case: &Case, rounds: usize) {
    let mut rig = Rig::new(case.load, JOURNAL_CACHE_BYTES);
    rig.rounds(rounds);
    measured_rounds(&mut rig, rounds);
    rig.finish();
}

/// What is kept in the file.
#[derive(Deserialize)]
struct Kept {
    compiler: String,
    instructions: BTreeMap<String, f64>,
}

impl Kept {
    fn load() -> Result<Kept, String> {
        let text = std::fs::read_to_string(file());
        let text = text.map_err(|error| format!("{FILE} can't be read: {error}"))?;
        let kept: Kept = toml::from_str(&text)
            .map_err(|error| format!("{FILE}: {}; {UPDATE}", error.message()))?;
        let names: Vec<String> = CASES.iter().map(Case::name).collect();
        let missing = names.iter().find(|name| !kept.instructions.contains_key(*name));
        let unknown = kept.instructions.keys().find(|name| !names.contains(name));
        match (missing, unknown) {
            (None, None) => Ok(kept),
            (Some(name), _) => Err(format!("{FILE} lacks \"{name}\"; {UPDATE}")),
            (_, Some(name)) => Err(format!("{FILE} has \"{name}\", which is no case; {UPDATE}")),
        }
    }
}

const UPDATE: &str = "`cargo run --release -p hutong-instructions -- --update` writes it anew";

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(FILE)
}

/// Which compiler made the counts, as far as can be told afterwards: the one that is there.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    version.unwrap_or_else(|_| "unknown".into())
}

/// Instructions a request of some cases, as many at a time as there are CPUs.
fn count<'a>(
    cases: &[(usize, &'a Case)],
    profile: impl Fn(usize) -> PathBuf + Sync,
) -> Result<Vec<(&'a Case, f64)>, String> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..cpus.min(cases.len()) {
            scope.spawn(|| {
                while let Some(&(number, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let arguments = ["--case".to_string(), number.to_string()];
                    let name = "measured_rounds";
                    let counted = callgrind::count(&arguments, name, &profile(number));
                    let each = counted.map(|count| (case, count as f64 / case.requests() as f64));
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(number, each);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn compare() -> Result<(), String> {
    let kept = Kept::load()?;
    let all: Vec<_> = CASES.iter().enumerate().collect();
    let counts = count(&all, |_| PathBuf::from("/dev/null"))?;
    println!("{:<56} {:>10} {:>10} {:>7}", "instructions a request", "kept", "now", "ratio");
    let mut off = 0;
    for (case, now) in counts {
        let before = kept.instructions[&case.name()];
        let ratio = now / before;
        let verdict = match ratio {
            ratio if ratio > 1.0 + TOLERANCE => "  more",
            ratio if ratio < 1.0 - TOLERANCE => "  less",
            _ => "",
        };
        off += usize::from(!verdict.is_empty());
        println!("{:<56} {before:>10.1} {now:>10.1} {ratio:>7.3}{verdict}", case.name());
    }
    if off == 0 {
        return Ok(());
    }
    let compiler = compiler();
    let other = match kept.compiler == compiler {
        true => String::new(),
        false => format!(" They were made with {}, and this is {compiler}.", kept.compiler),
    };
    Err(format!(
        "{off} of {} counts are more than {:.0} % off those in {FILE}.{other} If that is meant, \
         {UPDATE}; if not, `-- --profile TEXT` tells where they go",
        CASES.len(),
        TOLERANCE * 100.0,
    ))
}

fn update() -> Result<(), String> {
    let all: Vec<_> = CASES.iter().enumerate().collect();
    let counts = count(&all, |_| PathBuf::from("/dev/null"))?;
    let mut text = format!(
        "# Instructions of the shard loop for one request, on x86_64, by case. Checked by\n\
         # `cargo run --release -p hutong-instructions`, see benches/instructions/src/main.rs.\n\
         compiler = \"{}\"\n\n[instructions]\n",
        compiler()
    );
    for (case, now) in counts {
        text += &format!("\"{}\" = {now:.1}\n", case.name());
    }
    std::fs::write(file(), &text).map_err(|error| format!("{FILE} can't be written: {error}"))?;
    print!("{text}");
    Ok(())
}

fn profile(text: &str) -> Result<(), String> {
    let wanted = |(_, case): &(usize, &Case)| case.name().contains(text);
    let cases: Vec<_> = CASES.iter().enumerate().filter(wanted).collect();
    if cases.is_empty() {
        let names: Vec<String> = CASES.iter().map(Case::name).collect();
        return Err(format!("no case has \"{text}\" in its name:\n  {}", names.join("\n  ")));
    }
    let program = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let path = |number| program.with_file_name(format!("instructions.{number}.callgrind"));
    let counts = count(&cases, path)?;
    for ((number, _), (case, now)) in cases.into_iter().zip(counts) {
        println!("{}: {now:.1} instructions a request, {} requests", case.name(), case.requests());
        println!("  callgrind_annotate {}", path(number).display());
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        // So this program calls itself.
        ["--case", number] => {
            let case = number.parse().ok().and_then(|number: usize| CASES.get(number));
            case.map(|case| run(case, case.rounds)).ok_or(format!("there is no case {number}"))
        }
        [] | ["--update"] | ["--profile", _] if cfg!(debug_assertions) => {
            Err("this is not optimised: `cargo run --release -p hutong-instructions`".into())
        }
        [] | ["--update"] | ["--profile", _] if cfg!(not(target_arch = "x86_64")) => {
            Err(format!("{FILE} was counted on x86_64, and says nothing of other CPUs"))
        }
        [] => compare(),
        ["--update"] => update(),
        ["--profile", text] => profile(text),
        _ => {
            eprintln!(
                "error: only --update or --profile TEXT may follow, not {}",
                arguments.join(" ")
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_runs() {
        // Small, and without valgrind: it panics if a request has no answer.
        CASES.iter().for_each(|case| run(case, 2));
    }

    #[test]
    fn what_is_kept_has_the_cases_there_are() {
        let kept = Kept::load().unwrap();
        assert!(kept.instructions.values().all(|count| *count > 100.0));
    }
}
