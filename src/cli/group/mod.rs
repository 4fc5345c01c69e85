//! `hutong group`: consumer groups listed, described, set back and deleted over the Kafka protocol.
//!
//! Nothing here is special to Hutong, so the same commands work against any Kafka.

mod coordinator;
mod delete;
mod describe;
mod list;
mod members;
mod reset;
mod target;

use clap::{Args, Subcommand};

use super::cluster::{Cluster, ConnectArgs};

#[derive(Debug, Args)]
#[command(long_about = "Show consumer groups, set their offsets, and delete them, here or in any \
                  Kafka cluster.\n\n\
                  Examples:\n\n  \
                  hutong group list\n  \
                  hutong group describe billing\n  \
                  hutong group reset-offsets billing --all-topics --to-earliest\n  \
                  hutong group reset-offsets billing --topic orders:0,3 --shift-by -100\n  \
                  hutong group delete billing --bootstrap 10.0.0.7:9092")]
pub struct GroupArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: GroupCommand,
}

// What a command does is told where its arguments are: a comment on a variant would replace it.
#[derive(Debug, Subcommand)]
enum GroupCommand {
    List(list::ListArgs),
    Describe(describe::DescribeArgs),
    ResetOffsets(reset::ResetArgs),
    Delete(delete::DeleteArgs),
}

/// Runs one of the group commands.
pub fn run(args: GroupArgs) -> anyhow::Result<()> {
    let mut cluster: Cluster = args.connect.connect()?;
    match args.command {
        GroupCommand::List(args) => list::run(&mut cluster, &args),
        GroupCommand::Describe(args) => describe::run(&mut cluster, &args),
        GroupCommand::ResetOffsets(args) => reset::run(&mut cluster, &args),
        GroupCommand::Delete(args) => delete::run(&mut cluster, &args),
    }
}
