//! `hutong topic create`.

use anyhow::{anyhow, bail};
use clap::Args;
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::protocol::StrBytes;

use super::super::cluster::{Cluster, topic};
use super::super::output::{plural, print};
use super::{Setting, server_error};

/// Kafka's code for a name that is taken.
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// Leaves a number to the cluster.
const CLUSTER_DECIDES: i32 = -1;

#[derive(Debug, Args)]
#[command(long_about = "Make a topic.\n\n\
                  Examples:\n\n  \
                  hutong topic create orders --partitions 8 --replication-factor 3\n  \
                  hutong topic create orders --config retention.ms=86400000 --config \
                  cleanup.policy=delete\n  \
                  hutong topic create orders --if-not-exists")]
pub struct CreateArgs {
    /// The topic's name
    name: String,
    /// How many partitions it has; the cluster's default if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// On how many nodes each partition lies; the cluster's default if not given
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting of the topic; may be given again for others
    #[arg(long, value_name = "KEY=VALUE")]
    config: Vec<Setting>,
    /// Succeed if there is a topic of that name, whatever it is like
    #[arg(long)]
    if_not_exists: bool,
    /// Only ask the cluster whether it would do it
    #[arg(long)]
    validate_only: bool,
}

/// Makes the topic and says what it came out as.
pub fn run(cluster: &mut Cluster, args: &CreateArgs) -> anyhow::Result<()> {
    let request = CreateTopicsRequest::default()
        .with_topics(vec![wanted(args)])
        .with_timeout_ms(cluster.timeout_ms())
        .with_validate_only(args.validate_only);
    let answer = cluster.ask_controller(&request, |answer| {
        answer.topics.iter().map(|topic| topic.error_code).collect()
    })?;
    let made = answer.topics.first().ok_or_else(|| anyhow!("the answer names no topic"))?;
    match made.error_code {
        0 => print(&format!("{}\n", done(args, made))),
        TOPIC_ALREADY_EXISTS if args.if_not_exists => {
            print(&format!("topic {} is there already\n", args.name))
        }
        code => {
            let why = server_error(code, made.error_message.as_ref());
            bail!("can't create topic {}: {why}", args.name)
        }
    }
}

fn wanted(args: &CreateArgs) -> CreatableTopic {
    let config = |setting: &Setting| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(setting.key.clone()))
            .with_value(Some(StrBytes::from_string(setting.value.clone())))
    };
    CreatableTopic::default()
        .with_name(topic(&args.name))
        .with_num_partitions(args.partitions.unwrap_or(CLUSTER_DECIDES))
        .with_replication_factor(args.replication_factor.unwrap_or(CLUSTER_DECIDES as i16))
        .with_configs(args.config.iter().map(config).collect())
}

/// Brokers before version 5 of the answer don't say what came out.
fn done(args: &CreateArgs, made: &CreatableTopicResult) -> String {
    let verb = if args.validate_only { "would be created" } else { "created" };
    let mut text = format!("topic {} {verb}", args.name);
    if made.num_partitions > 0 {
        let partitions = plural(made.num_partitions as usize, "partition");
        text.push_str(&format!(" with {partitions}"));
        if made.replication_factor > 0 {
            let replicas = plural(made.replication_factor as usize, "replica");
            text.push_str(&format!(" of {replicas}"));
        }
    }
    text
}
