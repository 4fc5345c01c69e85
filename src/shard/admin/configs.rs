//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs: settings of topics and of brokers.

use std::collections::BTreeSet;

use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    incremental_alter_configs_response as incremental,
};
use kafka_protocol::protocol::StrBytes;

use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::metadata::{
    BrokerFacts, Command, ConfigChange, ConfigKind, ConfigSource, DescribedConfig,
};
use crate::model::time::Time;
use crate::shard::admin::{Admin, CONFIG_TIMEOUT, Response, text};
use crate::shard::connections::Ticket;

/// Kafka's numbers for kinds of resources.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

type Refusal = (ErrorCode, String);

impl<P: Page> Admin<'_, P> {
    /// Answers a DescribeConfigs request.
    pub fn describe_configs(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &DescribeConfigsRequest,
    ) {
        // Each is told once: a small request must not get a huge answer.
        let mut told = BTreeSet::new();
        let once = request
            .resources
            .iter()
            .filter(|resource| told.insert((resource.resource_type, &resource.resource_name)));
        let results = once.map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match self.describe_resource(resource.resource_type, &resource.resource_name) {
                Ok(configs) => {
                    let wanted = resource.configuration_keys.as_ref();
                    let configs = configs.into_iter().filter(|config| {
                        wanted.is_none_or(|names| names.iter().any(|name| **name == *config.name))
                    });
                    let topic = resource.resource_type == TOPIC;
                    let configs = configs.map(|config| describe_config(config, topic, request));
                    result.with_configs(configs.collect())
                }
                Err((code, message)) => {
                    result.with_error_code(code.code()).with_error_message(Some(text(&message)))
                }
            }
        });
        let response = DescribeConfigsResponse::default().with_results(results.collect());
        self.connections.respond(ticket, &header, &response);
    }

    fn describe_resource(&self, kind: i8, name: &str) -> Result<Vec<DescribedConfig>, Refusal> {
        match kind {
            TOPIC => {
                let topic = self.control.catalog.topic(name.as_bytes()).ok_or_else(|| {
                    let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                    (code, format!("there is no topic '{name}'"))
                })?;
                Ok(topic.config.describe())
            }
            BROKER => {
                self.check_broker(name)?;
                let (host, port) = self.cluster.own_endpoint();
                let facts = BrokerFacts {
                    broker_id: self.cluster.own_id(),
                    advertised_listener: format!("PLAINTEXT://{host}:{port}"),
                    data_directory: self.config.data_directory.clone(),
                    num_partitions: self.config.default_partitions,
                    auto_create_topics: self.config.auto_create_topics,
                };
                Ok(self.control.catalog.broker_config().describe(&facts))
            }
            kind => Err(unknown_kind(kind)),
        }
    }

    /// Settings of brokers are the cluster's: any broker's name will do, or none.
    fn check_broker(&self, name: &str) -> Result<(), Refusal> {
        let known = |id: i32| self.cluster.brokers().any(|broker| broker.id == id);
        if name.is_empty() || name.parse().is_ok_and(known) {
            return Ok(());
        }
        Err((ErrorCode::INVALID_REQUEST, format!("there is no broker '{name}'")))
    }

    /// Takes an AlterConfigs request: settings that aren't named go back to their defaults.
    pub fn alter_configs(
        &mut self,
        now: Time,
        ticket: Ticket,
        header: RequestHeader,
        request: &AlterConfigsRequest,
    ) {
        let mut results = Vec::new();
        let mut commands = Vec::new();
        for resource in &request.resources {
            let changes = resource.configs.iter().map(|config| {
                let change = match &config.value {
                    Some(value) => ConfigChange::Set(value.to_string()),
                    None => ConfigChange::Delete,
                };
                Ok((config.name.to_string(), change))
            });
            let name = &resource.resource_name;
            let command = self.alter_command(resource.resource_type, name, changes, true);
            let (command, code, message) = split(command);
            results.push(
                AlterConfigsResourceResponse::default()
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(name.clone())
                    .with_error_code(code.code())
                    .with_error_message(message),
            );
            commands.push(command);
        }
        let response = AlterConfigsResponse::default().with_responses(results);
        let response = Response::AlterConfigs(response);
        let deadline = now + CONFIG_TIMEOUT;
        self.run(ticket, header, deadline, response, commands, request.validate_only);
    }

    /// Takes an IncrementalAlterConfigs request.
    pub fn incremental_alter_configs(
        &mut self,
        now: Time,
        ticket: Ticket,
        header: RequestHeader,
        request: &IncrementalAlterConfigsRequest,
    ) {
        let mut results = Vec::new();
        let mut commands = Vec::new();
        for resource in &request.resources {
            let changes = resource.configs.iter().map(|config| {
                let value = config.value.as_ref().map(|value| value.to_string());
                let change = config_change(config.config_operation, value)?;
                Ok((config.name.to_string(), change))
            });
            let name = &resource.resource_name;
            let command = self.alter_command(resource.resource_type, name, changes, false);
            let (command, code, message) = split(command);
            results.push(
                incremental::AlterConfigsResourceResponse::default()
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(name.clone())
                    .with_error_code(code.code())
                    .with_error_message(message),
            );
            commands.push(command);
        }
        let response = IncrementalAlterConfigsResponse::default().with_responses(results);
        let response = Response::IncrementalAlterConfigs(response);
        let deadline = now + CONFIG_TIMEOUT;
        self.run(ticket, header, deadline, response, commands, request.validate_only);
    }

    fn alter_command(
        &self,
        kind: i8,
        name: &str,
        changes: impl Iterator<Item = Result<(String, ConfigChange), Refusal>>,
        replace_all: bool,
    ) -> Result<Command, Refusal> {
        let changes = changes.collect::<Result<Vec<_>, _>>()?;
        match kind {
            TOPIC => {
                let topic = self.control.catalog.topic(name.as_bytes()).ok_or_else(|| {
                    let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                    (code, format!("there is no topic '{name}'"))
                })?;
                Ok(Command::AlterTopicConfig { id: topic.id, changes, replace_all })
            }
            BROKER => {
                self.check_broker(name)?;
                Ok(Command::AlterBrokerConfig { changes, replace_all })
            }
            kind => Err(unknown_kind(kind)),
        }
    }
}

fn config_change(operation: i8, value: Option<String>) -> Result<ConfigChange, Refusal> {
    let missing = || (ErrorCode::INVALID_REQUEST, "a setting came without a value".to_string());
    match operation {
        0 => value.map(ConfigChange::Set).ok_or_else(missing),
        1 => Ok(ConfigChange::Delete),
        2 => value.map(ConfigChange::Append).ok_or_else(missing),
        3 => value.map(ConfigChange::Subtract).ok_or_else(missing),
        operation => {
            let why = format!("there is no config operation {operation}: 0 to 3 are known");
            Err((ErrorCode::INVALID_REQUEST, why))
        }
    }
}

fn unknown_kind(kind: i8) -> Refusal {
    let why = format!("resources of kind {kind} have no settings here: topics (2), brokers (4) do");
    (ErrorCode::INVALID_REQUEST, why)
}

fn split(command: Result<Command, Refusal>) -> (Option<Command>, ErrorCode, Option<StrBytes>) {
    match command {
        Ok(command) => (Some(command), ErrorCode::REQUEST_TIMED_OUT, None),
        Err((code, message)) => (None, code, Some(text(&message))),
    }
}

fn describe_config(
    config: DescribedConfig,
    topic: bool,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResourceResult {
    // Kafka's numbers: 1 set for the topic, 3 for all brokers, 4 at their start, 5 by default.
    let source = match config.source {
        ConfigSource::Default => 5,
        ConfigSource::Static => 4,
        ConfigSource::Dynamic if topic => 1,
        ConfigSource::Dynamic => 3,
    };
    let config_type = match config.kind {
        ConfigKind::Boolean => 1,
        ConfigKind::String => 2,
        ConfigKind::Int => 3,
        ConfigKind::Long => 5,
        ConfigKind::Double => 6,
        ConfigKind::List => 7,
    };
    let name = StrBytes::from_static_str(config.name);
    let value = Some(StrBytes::from_string(config.value));
    let mut result = DescribeConfigsResourceResult::default()
        .with_name(name.clone())
        .with_value(value.clone())
        .with_read_only(config.read_only)
        .with_config_source(source)
        .with_is_sensitive(config.sensitive)
        .with_config_type(config_type);
    if request.include_synonyms {
        let synonym =
            DescribeConfigsSynonym::default().with_name(name).with_value(value).with_source(source);
        result.synonyms = vec![synonym];
    }
    if request.include_documentation {
        result.documentation = Some(StrBytes::from_static_str(config.documentation));
    }
    result
}
