//! `hutong cluster`: the nodes of a cluster and its groups, seen from outside.
//!
//! What it looks at, any Kafka client may ask, of the nodes themselves. What it changes, it asks in
//! the nodes' own protocol.

mod change;
mod found;
mod look;
mod view;

use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use change::{AddArgs, AddGroupsArgs, Cluster, DrainArgs, RemoveArgs, TransferArgs};

use super::client::Endpoint;
use super::output::{print, print_json};

#[derive(Debug, Args)]
#[command(
    about = "Look at the nodes of a cluster, and change which there are",
    long_about = "Look at the nodes of a cluster, and change which there are.\n\n\
                  Examples:\n\n  \
                  hutong cluster status\n  \
                  hutong cluster status --bootstrap 10.0.0.7:9092,10.0.0.8:9092"
)]
pub struct ClusterArgs {
    /// Nodes of the cluster, any of them; the first that answers is asked about the others
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT,...",
        default_value = "127.0.0.1:9092",
        value_delimiter = ','
    )]
    bootstrap: Vec<Endpoint>,
    /// How long to wait for each answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    #[command(subcommand)]
    command: ClusterCommand,
}

// What a command does is told where its arguments are: a comment on a variant would replace it.
#[derive(Debug, Subcommand)]
enum ClusterCommand {
    Status(StatusArgs),
    Add(AddArgs),
    Remove(RemoveArgs),
    Drain(DrainArgs),
    Transfer(TransferArgs),
    AddGroups(AddGroupsArgs),
}

#[derive(Debug, Args)]
#[command(
    about = "Show which nodes are there, who leads each group, and which replicas lag",
    long_about = "Show which nodes are there, who leads each group, and which replicas lag.\n\n\
                  A group is a journal that many partitions share, with replicas on several nodes. \
                  COMMITTED is the last entry that a majority of them has on disk. What a replica \
                  lacks are entries that aren't on its disk, as far as the leader knows.\n\n\
                  Exit code 0: each group has a leader and a majority, so it takes records and \
                  loses none. 1: some group has not, or no node answers.\n\n\
                  Examples:\n\n  \
                  hutong cluster status\n  \
                  hutong cluster status --json | jq '.groups[] | {group, leader, epoch}'"
)]
struct StatusArgs {
    /// Print JSON: one object with nodes and groups
    #[arg(long)]
    json: bool,
}

/// Runs one of the cluster commands.
///
/// # Errors
/// One sentence: nobody answers, or the cluster isn't as it should be.
pub fn run(args: &ClusterArgs) -> anyhow::Result<()> {
    let timeout = Duration::from_secs(args.timeout);
    let cluster = Cluster { bootstrap: &args.bootstrap, timeout };
    match &args.command {
        ClusterCommand::Add(args) => cluster.add(args),
        ClusterCommand::Remove(args) => cluster.remove(args),
        ClusterCommand::Drain(args) => cluster.drain(args),
        ClusterCommand::Transfer(args) => cluster.transfer(args),
        ClusterCommand::AddGroups(args) => cluster.add_groups(args),
        ClusterCommand::Status(status) => {
            let found = look::look(&args.bootstrap, timeout)?;
            let verdict = found.verdict();
            if status.json {
                print_json(&view::json(&found))?;
            } else {
                print(&view::text(&found))?;
            }
            verdict.map(drop).map_err(|sentence| anyhow!(sentence))
        }
    }
}
