//! `hutong group delete`.

use anyhow::bail;
use clap::Args;
use kafka_protocol::messages::DeleteGroupsRequest;

use super::super::client::error_name;
use super::super::cluster::Cluster;
use super::super::output::{print, printable};
use super::coordinator::{ask, group_id};

/// Kafka's code for a group that isn't there.
const GROUP_ID_NOT_FOUND: i16 = 69;
/// Kafka's code for a group with members.
const NON_EMPTY_GROUP: i16 = 68;

#[derive(Debug, Args)]
#[command(
    about = "Delete consumer groups with their offsets",
    long_about = "Delete consumer groups with their offsets. They must have no members.\n\n\
                  Examples:\n\n  \
                  hutong group delete billing\n  \
                  hutong group delete billing audit --if-exists"
)]
pub struct DeleteArgs {
    /// The groups' ids
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    /// Succeed also where there is no group of that id
    #[arg(long)]
    if_exists: bool,
}

/// Deletes each group that can be deleted, and fails if there was another.
pub fn run(cluster: &mut Cluster, args: &DeleteArgs) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for id in &args.groups {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(id)]);
        let answer = ask(cluster, id, &request, |answer| {
            answer.results.iter().map(|result| result.error_code).collect()
        })?;
        let code = answer.results.first().map_or(0, |result| result.error_code);
        let name = printable(id);
        match code {
            0 => print(&format!("group {name} deleted\n"))?,
            GROUP_ID_NOT_FOUND if args.if_exists => print(&format!("there is no group {name}\n"))?,
            NON_EMPTY_GROUP => {
                failures.push(format!("can't delete group {name}: it has members, stop them first"))
            }
            GROUP_ID_NOT_FOUND => {
                failures.push(format!("can't delete group {name}: there is no such group"));
            }
            code => failures.push(format!("can't delete group {name}: {}", error_name(code))),
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}
