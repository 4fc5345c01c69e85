//! A load generator for brokers that speak Kafka.
//!
//! A workload is some threads, each with an event loop of its own over its share of the
//! connections. They measure, one thread adds up and prints.

mod args;
mod clock;
mod compress;
mod consume;
mod cpus;
mod e2e;
mod groups;
mod mixed;
mod net;
mod offsets;
mod pace;
mod payload;
mod produce;
mod report;
mod router;
mod routes;
mod run;
mod signals;
mod sink;
pub mod verify;
mod worker;

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use report::Summary;

/// Asked wrongly, as clap has it.
const EXIT_USAGE: u8 = 2;

/// Runs what the arguments of this process say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Produce(args) => {
            produce::produce(args).map(|summary| show(&summary, args.report.output.json))
        }
        Command::Consume(args) => {
            consume::consume(args).map(|summary| show(&summary, args.report.output.json))
        }
        Command::E2e(args) => e2e::e2e(args).map(|summary| show(&summary, args.report.output.json)),
        Command::Mixed(args) => mixed::mixed(args).map(|summary| show(&summary, args.output.json)),
        Command::Commits(args) => groups::commits(args).map(|()| ExitCode::SUCCESS),
        Command::Heartbeats(args) => groups::heartbeats(args).map(|()| ExitCode::SUCCESS),
        Command::Sink(args) => sink::run(args).map(|()| ExitCode::SUCCESS),
        Command::Verify(args) => verify::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("hutong-load: {error:#}");
        let usage = error.is::<args::UsageError>();
        if usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
    })
}

/// Prints the result. What went wrong for good is a failure, whatever was measured before.
fn show(summary: &Summary, json: bool) -> ExitCode {
    let text = if json {
        // Numbers, strings and maps with strings for keys.
        serde_json::to_string_pretty(summary).expect("can be written as JSON") + "\n"
    } else {
        summary.to_string()
    };
    let mut failures = summary.failures.clone();
    if let Err(error) = stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        failures.push(format!("can't write the result: {error}"));
    }
    for failure in &failures {
        eprintln!("hutong-load: {failure}");
    }
    if failures.is_empty() && !summary.succeeded() {
        eprintln!("hutong-load: nothing came back: no request was answered, no record was read");
    }
    if failures.is_empty() && summary.succeeded() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
