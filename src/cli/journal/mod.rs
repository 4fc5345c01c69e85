//! `hutong journal`: what lies in the journals of a stopped node, and whether it is whole.
//!
//! Both commands hold the directory's lock while they look, and change nothing. `verify` also holds
//! journals against those of a node that runs, which it asks over the peer protocol.

mod against;
mod contents;
mod entries;
mod inspect;
mod inspect_report;
mod running;
mod stopped;
mod verify;
mod walk;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(
    about = "Look into the journals of a stopped node, and check them",
    long_about = "Look into the journals of a stopped node, and check them. Nothing is changed.\n\n\
                  Examples:\n\n  \
                  hutong journal inspect /var/lib/hutong\n  \
                  hutong journal verify /var/lib/hutong"
)]
pub struct JournalArgs {
    #[command(subcommand)]
    command: JournalCommand,
}

// What a command does is told where its arguments are: a comment on a variant would replace it.
#[derive(Debug, Subcommand)]
enum JournalCommand {
    Inspect(inspect::InspectArgs),
    Verify(verify::VerifyArgs),
}

/// Runs one of the journal commands.
pub fn run(args: &JournalArgs) -> anyhow::Result<()> {
    match &args.command {
        JournalCommand::Inspect(args) => inspect::run(args),
        JournalCommand::Verify(args) => verify::run(args),
    }
}
