//! Runs one command; what goes wrong becomes one line on standard error and an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use hutong_hist::args::{Cli, Command};
use hutong_hist::{diff, merge, plot, show};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Show(args) => show::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Plot(args) => plot::run(&args),
    };
    match result {
        Ok((out, warnings)) => {
            for warning in warnings {
                eprintln!("hutong-hist: warning: {warning}");
            }
            match io::stdout().write_all(out.as_bytes()).and_then(|()| io::stdout().flush()) {
                // Whoever reads has read enough, as `head` does.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    eprintln!("hutong-hist: can't write to standard output: {error}");
                    ExitCode::FAILURE
                }
                _ => ExitCode::SUCCESS,
            }
        }
        Err(error) => {
            eprintln!("hutong-hist: {error}");
            ExitCode::FAILURE
        }
    }
}
