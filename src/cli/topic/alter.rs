//! `hutong topic alter`.

use anyhow::{anyhow, bail};
use clap::Args;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{CreatePartitionsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::StrBytes;

use super::super::cluster::{Cluster, topic};
use super::super::output::{plural, print};
use super::{RESOURCE_TOPIC, Setting, server_error};

/// What `IncrementalAlterConfigs` may do to a setting.
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("change").required(true).multiple(true),
    about = "Change a topic's settings, or give it more partitions",
    long_about = "Change a topic's settings, or give it more partitions.\n\n\
                  Settings that are not named stay as they are. Partitions can only become more, \
                  and records with a key may then go to another partition than before.\n\n\
                  Examples:\n\n  \
                  hutong topic alter orders --config retention.ms=3600000\n  \
                  hutong topic alter orders --delete-config retention.ms\n  \
                  hutong topic alter orders --partitions 16"
)]
pub struct AlterArgs {
    /// The topic's name
    name: String,
    /// A setting to set; may be given again for others
    #[arg(long, value_name = "KEY=VALUE", group = "change")]
    config: Vec<Setting>,
    /// A setting to put back to its default; may be given again for others
    #[arg(long, value_name = "KEY", group = "change")]
    delete_config: Vec<String>,
    /// How many partitions the topic shall have
    #[arg(long, value_name = "N", group = "change",
          value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
}

/// Does what was asked, settings first; a failure leaves the rest undone.
pub fn run(cluster: &mut Cluster, args: &AlterArgs) -> anyhow::Result<()> {
    let settings = args.config.len() + args.delete_config.len();
    if settings > 0 {
        alter_settings(cluster, args)?;
        print(&format!("topic {}: {} changed\n", args.name, plural(settings, "setting")))?;
    }
    if let Some(count) = args.partitions {
        add_partitions(cluster, &args.name, count)?;
        print(&format!("topic {} has {} now\n", args.name, plural(count as usize, "partition")))?;
    }
    Ok(())
}

fn alter_settings(cluster: &mut Cluster, args: &AlterArgs) -> anyhow::Result<()> {
    let text = |text: &String| StrBytes::from_string(text.clone());
    let set = args.config.iter().map(|setting| {
        AlterableConfig::default()
            .with_name(text(&setting.key))
            .with_config_operation(OPERATION_SET)
            .with_value(Some(text(&setting.value)))
    });
    let delete = args.delete_config.iter().map(|key| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(OPERATION_DELETE)
            .with_value(None)
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(RESOURCE_TOPIC)
        .with_resource_name(text(&args.name))
        .with_configs(set.chain(delete).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = cluster.ask_controller(&request, |answer| {
        answer.responses.iter().map(|resource| resource.error_code).collect()
    })?;
    let result = answer.responses.first().ok_or_else(|| anyhow!("the answer names no topic"))?;
    if result.error_code != 0 {
        let why = server_error(result.error_code, result.error_message.as_ref());
        bail!("can't change the settings of topic {}: {why}", args.name);
    }
    Ok(())
}

fn add_partitions(cluster: &mut Cluster, name: &str, count: i32) -> anyhow::Result<()> {
    // No assignments: the cluster places the new partitions.
    let wanted = CreatePartitionsTopic::default()
        .with_name(topic(name))
        .with_count(count)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![wanted])
        .with_timeout_ms(cluster.timeout_ms());
    let answer = cluster.ask_controller(&request, |answer| {
        answer.results.iter().map(|topic| topic.error_code).collect()
    })?;
    let result = answer.results.first().ok_or_else(|| anyhow!("the answer names no topic"))?;
    if result.error_code != 0 {
        let why = server_error(result.error_code, result.error_message.as_ref());
        bail!("can't give topic {name} {}: {why}", plural(count as usize, "partition"));
    }
    Ok(())
}
