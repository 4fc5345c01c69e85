//! The page: what was measured, in words, tables and pictures.

use std::collections::BTreeSet;
use std::fmt::Write;

use hutong_hist::units::{count, duration};

use crate::plots::middle;
use crate::results::{Figures, Results, Run, SHOWN, Spread};
use crate::system::System;
use crate::workload::{self, Workload};

/// The whole page.
pub fn page(results: &Results) -> String {
    let mut text = String::new();
    head(&mut text, results);
    overview(&mut text, results);
    set_up(&mut text, results);
    noise(&mut text, results);
    text.push_str("## The workloads\n\n");
    text.push_str(
        "Medians of the rounds, and the lowest and highest round in brackets. The last rows are \
         Hutong's median divided by the other's: above 1 is better for throughput, below 1 for \
         latencies.\n\n",
    );
    for workload in workload::chosen(&results.args.only) {
        section(&mut text, results, workload);
    }
    text
}

fn head(text: &mut String, results: &Results) {
    let args = &results.args;
    let mut command = format!(
        "cargo run --release -p hutong-compare -- --seconds {} --rounds {} --warmup {}",
        args.seconds, args.rounds, args.warmup
    );
    for only in &args.only {
        command.push_str(&format!(" --only {only}"));
    }
    if args.systems != System::ALL {
        let keys: Vec<&str> = args.systems.iter().map(|system| system.key()).collect();
        command.push_str(&format!(" --systems {}", keys.join(",")));
    }
    let _ = write!(
        text,
        "# Hutong and Apache Kafka under the same load\n\n\
         Measured on {} by one command, which writes this page; change it there, in \
         `benches/compare/`:\n\n\
         ```sh\n{command}\n```\n\n\
         It gets Kafka with Maven, starts the systems in turn on the same CPU and the same disk, \
         and drives each with the same `hutong-load` commands from another CPU. Kafka runs twice: \
         as it comes, when an acknowledged record is in memory, and with \
         `log.flush.interval.messages=1` (`flush.messages` of a topic), when it is on disk, as \
         Hutong's always are. [performance.md](performance.md) tells where Hutong's time goes. \
         The raw results \
         are in [benchmarks/results.json](benchmarks/results.json).\n\n",
        results.host.date
    );
}

/// Two tables: throughput, and the tail.
fn overview(text: &mut String, results: &Results) {
    type Figure = fn(&Workload, &Figures) -> Option<f64>;
    type Shown = fn(f64) -> String;
    let tables: [(&str, Figure, Shown); 2] = [
        ("requests/s", |_, figures| Some(figures.requests_per_second), |n| count(n as u64)),
        ("p99.99", |workload, figures| figures.percentile(workload.tag, "p99.99"), duration),
    ];
    text.push_str("## In short\n\n");
    for (name, figure, shown) in tables {
        row(text, [name.to_owned()].into_iter().chain(columns(results)));
        rule(text, 1 + columns(results).len());
        for workload in workload::chosen(&results.args.only) {
            let median = |system| {
                results.spread(workload.name, system, |f| figure(workload, f)).map(|s| s.median)
            };
            let mut cells = vec![workload.title.to_owned()];
            for system in results.compared() {
                cells.push(median(system).map_or("failed".into(), shown));
                if system != System::Hutong && results.compared().contains(&System::Hutong) {
                    cells.push(ratio(median(System::Hutong), median(system)));
                }
            }
            row(text, cells);
        }
        text.push('\n');
    }
    if failures(results).next().is_some() {
        text.push_str("Some did not go as they should; their sections tell what happened.\n\n");
    }
}

/// The names of the systems, with a column for the ratio behind each of Kafka's.
fn columns(results: &Results) -> Vec<String> {
    let compared = results.compared();
    let mut columns = Vec::new();
    for system in &compared {
        columns.push(system.title().to_owned());
        if *system != System::Hutong && compared.contains(&System::Hutong) {
            columns.push("ratio".to_owned());
        }
    }
    columns
}

fn set_up(text: &mut String, results: &Results) {
    let args = &results.args;
    text.push_str("## What ran where\n\n");
    row(text, ["", ""]);
    rule(text, 2);
    for (what, found) in &results.host.lines {
        row(text, [what, found]);
    }
    row(text, ["CPU of the broker", &args.broker_cpu.to_string()]);
    row(text, ["CPU of the generator", &args.load_cpu.to_string()]);
    text.push('\n');
    for described in &results.systems {
        let title = described.system.title();
        let _ = write!(
            text,
            "**{title}** {}, started anew with an empty directory in each round:\n\n\
             ```sh\n{}\n```\n\n",
            described.version, described.command
        );
        match described.system {
            System::Hutong => {}
            _ => {
                let _ = write!(text, "```properties\n{}```\n\n", described.settings);
            }
        }
    }
    let _ = writeln!(
        text,
        "{} round{}. In each every system gets {} s of load so that a JVM has compiled what it \
         runs, then each workload in turn: a warm-up, {} s measured, on a topic of its own \
         that is deleted afterwards. Each round begins with another system. acks=all, one shard or \
         broker, no \
         replicas.\n",
        args.rounds,
        if args.rounds == 1 { "" } else { "s" },
        args.warmup,
        args.seconds
    );
}

fn noise(text: &mut String, results: &Results) {
    text.push_str("## How noisy it was\n\nThe disk and the loopback, as `hutong doctor` ");
    text.push_str("measured them before the first round and after the last:\n\n");
    let whens = results.probes.iter().map(|probe| probe.when.clone());
    row(text, [String::new()].into_iter().chain(whens));
    rule(text, 1 + results.probes.len());
    let names: BTreeSet<_> = results.probes.iter().flat_map(|probe| probe.found.keys()).collect();
    for name in names {
        let found = |probe: &crate::results::Probe| probe.found.get(name).cloned();
        let cells = results.probes.iter().map(|probe| found(probe).unwrap_or_default());
        row(text, [format!("`{name}`")].into_iter().chain(cells));
    }
    let others = Spread::of(results.runs.iter().map(|run| run.other_cpus));
    if let Some(others) = others {
        let _ = write!(
            text,
            "\nBeside broker and generator, other work and the kernel's own took {:.2} CPUs in the \
             median workload ({:.2} to {:.2}).",
            others.median, others.min, others.max
        );
    }
    for system in results.compared() {
        let mut widths: Vec<f64> = Vec::new();
        for workload in workload::chosen(&results.args.only).iter().filter(|w| free(w)) {
            let spread =
                results.spread(workload.name, system, |figures| Some(figures.requests_per_second));
            widths.extend(spread.map(|spread| spread.width()));
        }
        if let Some(widths) = Spread::of(widths) {
            let _ = write!(
                text,
                " {}'s rounds differ by {:.0} % in throughput (median of the workloads that set no \
                 rate; at most {:.0} %).",
                system.title(),
                widths.median * 100.0,
                widths.max * 100.0
            );
        }
    }
    text.push_str("\n\n");
}

/// Whether the broker decides how fast it goes.
fn free(workload: &Workload) -> bool {
    !workload.at_half && workload.file.is_none() && !workload.load.contains(&"--rate")
}

fn section(text: &mut String, results: &Results, workload: &Workload) {
    let _ = write!(text, "### {}\n\n`{}`: {}\n\n", workload.title, workload.name, workload.what);
    let runs: Vec<&Run> = results.runs.iter().filter(|run| run.workload == workload.name).collect();
    if let Some(run) = runs.iter().find(|run| !run.command.is_empty()) {
        let _ = write!(text, "```sh\n{}\n```\n\n", general(&run.command));
    }
    if let Some(file) = workload.file {
        let minutes = results.args.seconds / 60.0;
        let _ = write!(text, "```toml\n{file}test_duration_minutes = {minutes:.4}\n```\n\n");
    }
    figures(text, results, workload);
    let drawn = results.compared().into_iter().any(|s| middle(results, workload, s).is_some());
    if drawn {
        let name = workload.name;
        let _ = write!(text, "![latency](benchmarks/{name}.svg)\n\n");
    }
    remarks(text, &runs);
}

/// What stands for a value that differs from run to run.
fn general(command: &str) -> String {
    let mut words: Vec<&str> = command.split(' ').collect();
    for at in 1..words.len() {
        words[at] = match words[at - 1] {
            "--brokers" => "HOST:PORT",
            "--hlog" => "FILE",
            // Only half of one's own highest load has more digits than thousands.
            "--rate" if !words[at].ends_with("000") => "HALF",
            _ => words[at],
        };
    }
    words.join(" ")
}

/// A row for each system, then the ratios.
fn figures(text: &mut String, results: &Results, workload: &Workload) {
    let all = columns_of(results, workload);
    row(text, [String::new()].into_iter().chain(all.iter().map(|column| column.0.clone())));
    rule(text, 1 + all.len());
    let compared = results.compared();
    for &system in &compared {
        let cell = |column: &Column| {
            let spread = results.spread(workload.name, system, |figures| (column.1)(figures));
            spread.map_or("failed".into(), |spread| with_range(spread, column.2))
        };
        row(text, [system.title().to_owned()].into_iter().chain(all.iter().map(cell)));
    }
    if compared.contains(&System::Hutong) {
        for &system in compared.iter().filter(|system| **system != System::Hutong) {
            let median = |system, column: &Column| {
                results.spread(workload.name, system, |f| (column.1)(f)).map(|s| s.median)
            };
            let cell =
                |column: &Column| ratio(median(System::Hutong, column), median(system, column));
            let name = format!("Hutong / {}", system.title());
            row(text, [name].into_iter().chain(all.iter().map(cell)));
        }
    }
    text.push('\n');
}

/// Its name, where it comes from, and how it is written.
type Column = (String, Box<dyn Fn(&Figures) -> Option<f64>>, fn(f64) -> String);

fn columns_of(results: &Results, workload: &Workload) -> Vec<Column> {
    let rate: fn(f64) -> String = |rate| count(rate as u64);
    let megabytes: fn(f64) -> String = |rate| format!("{rate:.1}");
    let mut all: Vec<Column> = vec![
        ("requests/s".into(), Box::new(|f| Some(f.requests_per_second)), rate),
        ("MB/s".into(), Box::new(|f| Some(f.produced_mb_per_second)), megabytes),
    ];
    let any = |figure: fn(&Figures) -> Option<f64>| {
        let runs = results.runs.iter().filter(|run| run.workload == workload.name);
        runs.filter_map(|run| run.figures.as_ref()).any(|figures| figure(figures).is_some())
    };
    if any(|f| f.consumed_mb_per_second) {
        all.push(("consumed MB/s".into(), Box::new(|f| f.consumed_mb_per_second), megabytes));
    }
    if any(|f| f.drained_seconds) {
        let seconds: fn(f64) -> String = |seconds| format!("{seconds:.2} s");
        all.push(("drained in".into(), Box::new(|f| f.drained_seconds), seconds));
    }
    for name in SHOWN {
        let tag = workload.tag;
        all.push((name.into(), Box::new(move |f| f.percentile(tag, name)), duration));
    }
    all
}

fn with_range(spread: Spread, shown: fn(f64) -> String) -> String {
    let median = shown(spread.median);
    if spread.min == spread.max {
        return median;
    }
    format!("{median} ({} to {})", shown(spread.min), shown(spread.max))
}

/// The first divided by the second, in three digits.
fn ratio(ours: Option<f64>, theirs: Option<f64>) -> String {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => hutong_hist::units::ratio(theirs, ours),
        _ => "-".into(),
    }
}

/// What went wrong, what clients were told, and what the generator says about itself.
fn remarks(text: &mut String, runs: &[&Run]) {
    let mut lines = Vec::new();
    for run in runs {
        let Some(system) = run.system else { continue };
        let who = format!("{}, round {}", system.title(), run.round);
        lines.extend(
            run.failures.iter().map(|why| format!("- {who}, **failed**: {}", one_line(why))),
        );
        for (error, times) in &run.errors {
            lines.push(format!("- {who}: {error}, {} times", count(*times)));
        }
        lines.extend(run.warnings.iter().map(|warning| format!("- {who}: {}", one_line(warning))));
    }
    if !lines.is_empty() {
        text.push_str(&lines.join("\n"));
        text.push_str("\n\n");
    }
}

/// As part of a list, and of a table: no line ends, no bars, no marks.
fn one_line(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace('|', "/").replace('`', "'").replace('<', "(").replace('>', ")")
}

fn failures(results: &Results) -> impl Iterator<Item = &Run> {
    results.runs.iter().filter(|run| !run.failures.is_empty())
}

fn row(text: &mut String, cells: impl IntoIterator<Item = impl AsRef<str>>) {
    for cell in cells {
        let _ = write!(text, "| {} ", cell.as_ref());
    }
    text.push_str("|\n");
}

fn rule(text: &mut String, cells: usize) {
    text.push_str(&"|---".repeat(cells));
    text.push_str("|\n");
}

#[cfg(test)]
mod tests;
