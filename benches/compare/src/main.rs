//! Hutong and Apache Kafka under the same load, on the same cores and the same disk.
//!
//! `cargo run --release -p hutong-compare` gets Kafka with Maven, starts it and Hutong in turn,
//! drives each with the same `hutong-load` commands, and writes `docs/benchmarks.md`, its plots and
//! its raw results. `-- --help` tells what can be changed.
//!
//! Nothing is left out because it is bad: a workload that fails for a system is written down as
//! failed, with its reason. Processes and data end with the run, however it ends.

mod args;
mod child;
mod host;
mod kafka;
mod load;
mod markdown;
mod plots;
mod results;
mod rounds;
mod system;
mod tools;
mod workload;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use args::Args;
use results::Results;

/// As a shell has it for a run that Ctrl-C ended.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hutong-compare: {error:#}");
            let interrupted = error.is::<child::Interrupted>();
            if interrupted { ExitCode::from(EXIT_INTERRUPTED) } else { ExitCode::FAILURE }
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let raw = args.out.join("benchmarks/results.json");
    if args.render {
        let text = fs::read(&raw).with_context(|| format!("can't read {}", raw.display()))?;
        let results = serde_json::from_slice(&text)
            .with_context(|| format!("{} doesn't hold results", raw.display()))?;
        return write(&args.out.join("benchmarks.md"), &markdown::page(&results));
    }
    let results = rounds::run(args)?;
    write(&raw, &to_json(&results))?;
    write(&args.out.join("benchmarks.md"), &markdown::page(&results))?;
    eprintln!("{} and its plots are written", args.out.join("benchmarks.md").display());
    Ok(())
}

/// One line for each run, so that a change of the file can be read.
fn to_json(results: &Results) -> String {
    let line = |value: &serde_json::Value| value.to_string();
    let mut head = serde_json::to_value(results).expect("strings, numbers and maps");
    let runs = head["runs"].take();
    let runs: Vec<String> = runs.as_array().into_iter().flatten().map(line).collect();
    let mut text = String::from("{\n");
    for (name, value) in head.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()) {
        text.push_str(&format!("\"{name}\": {value},\n"));
    }
    text + &format!("\"runs\": [\n{}\n]\n}}\n", runs.join(",\n"))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}
