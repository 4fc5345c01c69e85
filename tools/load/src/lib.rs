//! A load generator for brokers that speak Kafka.
//!
//! A workload is some threads, each with an event loop of its own over its share of the
//! connections. They measure, one thread adds up and prints.

mod args;
mod clock;
mod compress;
mod cpus;
mod net;
mod output;
mod pace;
mod payload;
mod produce;
mod report;
mod routes;
mod signals;
mod sink;
pub mod verify;

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
            produce::run(args).map(|summary| show(&summary, args.report.json))
        }
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
    if json {
        // Numbers, strings and maps with strings for keys.
        println!("{}", serde_json::to_string_pretty(summary).expect("can be written as JSON"));
    } else {
        print!("{summary}");
    }
    for failure in &summary.failures {
        eprintln!("hutong-load: {failure}");
    }
    if summary.failures.is_empty() && summary.requests > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
