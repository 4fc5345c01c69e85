//! What a person types: one file or directory for each command.
//!
//! Commands are tools, so they may do blocking I/O of their own; only `serve` starts the broker.
//! A command returns an error, and only `main` here turns it into a line on standard error and an
//! exit code: 2 when we were asked wrongly, 1 when we were asked rightly and it failed.

pub mod client;
#[cfg(test)]
mod client_tests;
pub mod cluster;
mod cluster_cmd;
mod doctor;
mod group;
mod journal;
mod output;
mod serve;
mod top;
mod topic;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{ConfigError, ServeArgs};
use output::{StdoutClosed, print};

/// What we were asked can't be done as it was asked: a flag or a setting must change.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The command did its work and found something bad, and has printed it already.
#[derive(Debug, thiserror::Error)]
#[error("something bad was found")]
struct FoundBad;

#[derive(Debug, Parser)]
#[command(
    name = "hutong",
    version,
    about = "A message broker for Linux that speaks Kafka",
    long_about = "A message broker for Linux: one shard per core, durable on a majority, and it \
                  speaks Kafka, so every Kafka client and tool works with it.\n\n\
                  Find out what this host can do, start a broker, and make a topic:\n\n  \
                  hutong doctor ./hutong-data\n  \
                  hutong serve\n  \
                  hutong topic create orders --partitions 8",
    after_long_help = "Exit codes: 0 done, 1 failed, 2 asked wrongly."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// What a command does is told where its arguments are: a comment on a variant would replace it.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(ServeArgs),
    Topic(topic::TopicArgs),
    Group(group::GroupArgs),
    Cluster(cluster_cmd::ClusterArgs),
    Top(top::TopArgs),
    Journal(journal::JournalArgs),
    Doctor(doctor::DoctorArgs),
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
#[command(long_about = "Print a completion script for a shell.\n\n\
                  For bash, until you log out:\n\n  \
                  source <(hutong completions bash)\n\n\
                  For fish, from now on:\n\n  \
                  hutong completions fish > ~/.config/fish/completions/hutong.fish")]
struct CompletionsArgs {
    /// The shell that shall complete
    shell: Shell,
}

/// Runs the command that the arguments of this process name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return answer_parse_error(&error),
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The reader of our output went away, as `head` does: nobody is left to tell.
            let told = error.is::<StdoutClosed>() || error.is::<FoundBad>();
            if !told {
                complain(&format!("{error:#}"));
            }
            exit_code(&error)
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Topic(args) => topic::run(args),
        Command::Group(args) => group::run(args),
        Command::Cluster(args) => cluster_cmd::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Journal(args) => journal::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions(args.shell),
    }
}

fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hutong", &mut script);
    print(&String::from_utf8_lossy(&script))
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<StdoutClosed>() {
        ExitCode::SUCCESS
    } else if error.chain().any(|cause| cause.is::<UsageError>() || cause.is::<ConfigError>()) {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

/// One line, whatever the message holds: scripts read standard error by lines.
fn complain(message: &str) {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // Nothing is left to do when standard error is closed, too.
    let _ = writeln!(std::io::stderr(), "hutong: {line}");
}

/// clap reports `--help` and `--version` as errors, too. Real ones become a sentence.
fn answer_parse_error(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
    };
    match error.kind() {
        DisplayHelp | DisplayVersion => {
            let _ = print(&error.render().to_string());
            ExitCode::SUCCESS
        }
        DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(std::io::stderr(), "{}", error.render());
            ExitCode::from(2)
        }
        _ => {
            complain(&sentence(&error.render().to_string()));
            ExitCode::from(2)
        }
    }
}

/// What clap says, in one line: without its heading, its usage lines and its pointer to `--help`.
pub fn sentence(rendered: &str) -> String {
    let text = rendered.strip_prefix("error: ").unwrap_or(rendered);
    let end = ["\n\nUsage:", "\n\nFor more information"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min()
        .unwrap_or(text.len());
    let said = text[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{said} (--help tells more)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn claps_error_becomes_a_sentence() {
        let error = Cli::try_parse_from(["hutong", "topic", "create"]).unwrap_err();
        assert_eq!(
            sentence(&error.render().to_string()),
            "the following required arguments were not provided: <NAME> (--help tells more)"
        );
    }

    #[test]
    fn usage_errors_are_found_below_their_context() {
        let error = anyhow::Error::new(UsageError("no".into())).context("while reading");
        assert_eq!(format!("{:?}", exit_code(&error)), format!("{:?}", ExitCode::from(2)));
    }
}
