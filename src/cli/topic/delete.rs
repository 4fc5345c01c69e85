//! `hutong topic delete`.

use anyhow::bail;
use clap::Args;
use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;

use super::super::cluster::{Cluster, topic};
use super::super::output::{print, printable};
use super::{UNKNOWN_TOPIC_OR_PARTITION, server_error};

/// From here on the request names topics by name or id; before, it held names alone.
const VERSION_WITH_IDS: i16 = 6;

#[derive(Debug, Args)]
#[command(long_about = "Delete topics with all their records. There is no way back.\n\n\
                  Examples:\n\n  \
                  hutong topic delete orders\n  \
                  hutong topic delete orders payments --if-exists")]
pub struct DeleteArgs {
    /// The topics' names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Succeed also where there is no topic of that name
    #[arg(long)]
    if_exists: bool,
}

/// Deletes each topic that can be deleted, and fails if there was another.
pub fn run(cluster: &mut Cluster, args: &DeleteArgs) -> anyhow::Result<()> {
    let version = cluster.controller()?.version::<DeleteTopicsRequest>()?;
    let mut request = DeleteTopicsRequest::default().with_timeout_ms(cluster.timeout_ms());
    if version >= VERSION_WITH_IDS {
        let named = |name: &String| DeleteTopicState::default().with_name(Some(topic(name)));
        request.topics = args.names.iter().map(named).collect();
    } else {
        request.topic_names = args.names.iter().map(|name| topic(name)).collect();
    }
    let answer = cluster.ask_controller(&request, |answer| {
        answer.responses.iter().map(|topic| topic.error_code).collect()
    })?;
    report(&answer.responses, args.if_exists)
}

fn report(results: &[DeletableTopicResult], if_exists: bool) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for result in results {
        let name = result.name.as_ref().map(|name| printable(name)).unwrap_or_default();
        match result.error_code {
            0 => print(&format!("topic {name} deleted\n"))?,
            UNKNOWN_TOPIC_OR_PARTITION if if_exists => {
                print(&format!("there is no topic {name}\n"))?;
            }
            code => {
                let why = server_error(code, result.error_message.as_ref());
                failures.push(format!("can't delete topic {name}: {why}"));
            }
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}
