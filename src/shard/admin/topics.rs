//! CreateTopics, DeleteTopics, CreatePartitions.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::journal::page::Page;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::metadata::{Applied, CatalogError, Command, TopicConfig};
use crate::model::ids::TopicId;
use crate::model::time::Time;
use crate::shard::admin::{Admin, Response, deadline_after, outcome, text};
use crate::shard::connections::Ticket;

/// The first DeleteTopics version that may name topics by id.
const DELETE_BY_ID_FROM: i16 = 6;

impl<P: Page> Admin<'_, P> {
    /// Takes a CreateTopics request.
    pub fn create_topics(
        &mut self,
        now: Time,
        ticket: Ticket,
        header: RequestHeader,
        request: CreateTopicsRequest,
    ) {
        let mut results = Vec::new();
        let mut commands = Vec::new();
        for topic in &request.topics {
            let twice = request.topics.iter().filter(|other| other.name == topic.name).count() > 1;
            let command = if twice {
                Err((ErrorCode::INVALID_REQUEST, "the request names this topic twice"))
            } else {
                self.create_command(topic)
            };
            let mut result = CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(ErrorCode::REQUEST_TIMED_OUT.code());
            match command {
                Ok(command) => {
                    let copies = self.control.catalog.layout().copies_default();
                    describe_created(&mut result, &command, copies as i16);
                    commands.push(Some(command));
                }
                Err((code, message)) => {
                    result.error_code = code.code();
                    result.error_message = Some(text(&message));
                    commands.push(None);
                }
            }
            results.push(result);
        }
        let response = CreateTopicsResponse::default().with_topics(results);
        let response = Response::CreateTopics(response);
        let deadline = deadline_after(now, request.timeout_ms);
        self.run(ticket, header, deadline, response, commands, request.validate_only);
    }

    fn create_command(
        &mut self,
        topic: &CreatableTopic,
    ) -> Result<Command, (ErrorCode, &'static str)> {
        let config = topic.configs.iter().filter_map(|config| {
            Some((config.name.to_string(), config.value.as_ref()?.to_string()))
        });
        let config: BTreeMap<String, String> = config.collect();
        let mut partitions = topic.num_partitions;
        if !topic.assignments.is_empty() {
            // Where partitions go is the catalog's to say; only their number is taken.
            if topic.num_partitions != -1 || topic.replication_factor != -1 {
                let why = "with an assignment, partitions and replication factor must be -1";
                return Err((ErrorCode::INVALID_REQUEST, why));
            }
            let mut numbers: Vec<i32> =
                topic.assignments.iter().map(|assignment| assignment.partition_index).collect();
            numbers.sort_unstable();
            if !numbers.iter().copied().eq(0..numbers.len() as i32) {
                let why = "an assignment must name partitions 0, 1, 2 and so on, each once";
                return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
            }
            partitions = numbers.len() as i32;
        } else if partitions == -1 {
            partitions = self.default_partitions();
        }
        Ok(Command::CreateTopic {
            name: topic.name.to_string(),
            id: TopicId(self.random.uuid()),
            partitions,
            replication_factor: if topic.assignments.is_empty() {
                topic.replication_factor
            } else {
                -1
            },
            config,
        })
    }

    /// The command that creates a topic which a client asked about and which isn't there.
    pub fn auto_create(&mut self, name: &str) -> Command {
        Command::CreateTopic {
            name: name.to_string(),
            id: TopicId(self.random.uuid()),
            partitions: self.default_partitions(),
            replication_factor: -1,
            config: BTreeMap::new(),
        }
    }

    fn default_partitions(&self) -> i32 {
        let altered = self.control.catalog.broker_config().num_partitions;
        altered.unwrap_or(self.config.default_partitions)
    }

    /// Takes a DeleteTopics request.
    pub fn delete_topics(
        &mut self,
        now: Time,
        ticket: Ticket,
        header: RequestHeader,
        request: DeleteTopicsRequest,
    ) {
        let by_name = |name: &TopicName| (Some(name.clone()), TopicId(*Uuid::nil().as_bytes()));
        let wanted: Vec<(Option<TopicName>, TopicId)> = if header.api_version >= DELETE_BY_ID_FROM {
            let states = request.topics.iter();
            states.map(|t| (t.name.clone(), TopicId(*t.topic_id.as_bytes()))).collect()
        } else {
            request.topic_names.iter().map(by_name).collect()
        };
        let mut results = Vec::new();
        let mut commands = Vec::new();
        for (name, id) in wanted {
            let topic = match &name {
                Some(name) => self.control.catalog.topic(name.as_bytes()),
                None => self.control.catalog.topic_by_id(&id),
            };
            let missing = match &name {
                Some(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                None => ErrorCode::UNKNOWN_TOPIC_ID,
            };
            let code = if topic.is_some() { ErrorCode::REQUEST_TIMED_OUT } else { missing };
            let id = topic.map_or(id, |topic| topic.id);
            let name = topic
                .map(|topic| TopicName(StrBytes::from_string(topic.name.to_string())))
                .or(name);
            results.push(
                DeletableTopicResult::default()
                    .with_name(name)
                    .with_topic_id(Uuid::from_bytes(id.0))
                    .with_error_code(code.code()),
            );
            commands.push(topic.map(|topic| Command::DeleteTopic { id: topic.id }));
        }
        let response = DeleteTopicsResponse::default().with_responses(results);
        let response = Response::DeleteTopics(response);
        let deadline = deadline_after(now, request.timeout_ms);
        self.run(ticket, header, deadline, response, commands, false);
    }

    /// Takes a CreatePartitions request.
    pub fn create_partitions(
        &mut self,
        now: Time,
        ticket: Ticket,
        header: RequestHeader,
        request: CreatePartitionsRequest,
    ) {
        let mut results = Vec::new();
        let mut commands = Vec::new();
        for wanted in &request.topics {
            let topic = self.control.catalog.topic(wanted.name.as_bytes());
            let code = match topic {
                Some(_) => ErrorCode::REQUEST_TIMED_OUT,
                None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            results.push(
                CreatePartitionsTopicResult::default()
                    .with_name(wanted.name.clone())
                    .with_error_code(code.code()),
            );
            commands
                .push(topic.map(|t| Command::CreatePartitions { id: t.id, total: wanted.count }));
        }
        let response = CreatePartitionsResponse::default().with_results(results);
        let response = Response::CreatePartitions(response);
        let deadline = deadline_after(now, request.timeout_ms);
        self.run(ticket, header, deadline, response, commands, request.validate_only);
    }
}

/// What the answer says of the topic that a command makes. On success it stands as it is.
fn describe_created(result: &mut CreatableTopicResult, command: &Command, copies: i16) {
    let Command::CreateTopic { id, partitions, replication_factor, config, .. } = command else {
        return;
    };
    result.topic_id = Uuid::from_bytes(id.0);
    result.num_partitions = *partitions;
    result.replication_factor = if *replication_factor < 0 { copies } else { *replication_factor };
    let described = TopicConfig::from_map(config).unwrap_or_default().describe();
    let configs = described.into_iter().map(|config| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(config.name))
            .with_value(Some(StrBytes::from_string(config.value)))
            .with_read_only(config.read_only)
            .with_config_source(if config.default { 5 } else { 1 })
            .with_is_sensitive(config.sensitive)
    });
    result.configs = Some(configs.collect());
}

/// Puts a command's result in its place.
pub fn fill_created(
    response: &mut CreateTopicsResponse,
    part: usize,
    result: &Result<Applied, CatalogError>,
) {
    let topic = &mut response.topics[part];
    (topic.error_code, topic.error_message) = outcome(result);
    if let Ok(Applied::TopicCreated { keys, .. }) = result {
        topic.num_partitions = keys.len() as i32;
    }
    if result.is_err() {
        topic.topic_id = Uuid::nil();
        topic.num_partitions = -1;
        topic.replication_factor = -1;
        topic.configs = Some(Vec::new());
    }
}
