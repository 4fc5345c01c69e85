//! Requests that only read: Metadata, DescribeCluster, DescribeTopicPartitions, ApiVersions.

use std::collections::BTreeSet;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, DescribeClusterRequest, DescribeClusterResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::journal::page::Page;
use crate::kafka::api::{api_versions_response, is_valid_software_name};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::RequestHeader;
use crate::metadata::{CatalogError, PartitionPlacement, Topic};
use crate::model::ids::TopicId;
use crate::shard::admin::{Admin, error_code, text};
use crate::shard::connections::Ticket;
use crate::shard::control::CommandWaiter;

/// Partitions in one DescribeTopicPartitions response, as Kafka bounds it.
const DESCRIBED_PARTITIONS_MAX: usize = 2000;

/// The first ApiVersions version that names the client's software (KIP-511).
const SOFTWARE_NAME_FROM: i16 = 3;

impl<P: Page> Admin<'_, P> {
    /// Answers an ApiVersions request.
    pub fn api_versions(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &ApiVersionsRequest,
    ) {
        let named = header.api_version < SOFTWARE_NAME_FROM
            || (is_valid_software_name(&request.client_software_name)
                && is_valid_software_name(&request.client_software_version));
        let error = if named { ErrorCode::NONE } else { ErrorCode::INVALID_REQUEST };
        let response = api_versions_response(header.api_version, error.code());
        self.connections.respond(ticket, &header, &response);
    }

    /// Answers a Metadata request. Topics that may be created on the side are on their way then.
    pub fn metadata(&mut self, ticket: Ticket, header: RequestHeader, request: MetadataRequest) {
        let version = header.api_version;
        let named = match &request.topics {
            // In version 0 an empty list means all, later none does.
            None => None,
            Some(topics) if topics.is_empty() && version == 0 => None,
            Some(topics) => Some(topics),
        };
        let topics = match named {
            None => {
                let topics: Vec<&Topic> = self.control.catalog.topics().collect();
                topics.into_iter().map(|topic| self.describe_topic(topic)).collect()
            }
            Some(topics) => {
                let create = version < 4 || request.allow_auto_topic_creation;
                // Each is told once, as by Kafka: a small request must not get a huge answer.
                let mut told = BTreeSet::new();
                let once = topics.iter().filter(|topic| told.insert((&topic.name, topic.topic_id)));
                let described = once.map(|topic| match &topic.name {
                    Some(name) => self.metadata_by_name(name, create),
                    None => self.metadata_by_id(TopicId(*topic.topic_id.as_bytes())),
                });
                described.collect()
            }
        };
        let brokers = self.cluster.brokers().map(|broker| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(broker.id))
                .with_host(StrBytes::from_string(broker.host.to_string()))
                .with_port(broker.port)
        });
        let response = MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(StrBytes::from_string(self.cluster.id().to_string())))
            .with_controller_id(BrokerId(self.cluster.controller_id()))
            .with_topics(topics);
        self.connections.respond(ticket, &header, &response);
    }

    fn metadata_by_name(&mut self, name: &TopicName, create: bool) -> MetadataResponseTopic {
        if let Some(topic) = self.control.catalog.topic(name.as_bytes()) {
            return self.describe_topic(topic);
        }
        let missing = MetadataResponseTopic::default().with_name(Some(name.clone()));
        let allowed = self.control.catalog.broker_config().auto_create_topics;
        let command = self.auto_create(name);
        let error = match self.control.catalog.check(&command) {
            Err(error @ CatalogError::InvalidName(_)) => error_code(&error),
            Ok(()) if create && allowed.unwrap_or(self.config.auto_create_topics) => {
                let waiter = CommandWaiter::Nobody;
                self.control.propose(command, waiter, self.cluster, self.groups, self.outputs);
                ErrorCode::LEADER_NOT_AVAILABLE
            }
            _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        };
        missing.with_error_code(error.code())
    }

    fn metadata_by_id(&self, id: TopicId) -> MetadataResponseTopic {
        match self.control.catalog.topic_by_id(&id) {
            Some(topic) => self.describe_topic(topic),
            None => MetadataResponseTopic::default()
                .with_topic_id(Uuid::from_bytes(id.0))
                .with_error_code(ErrorCode::UNKNOWN_TOPIC_ID.code()),
        }
    }

    fn describe_topic(&self, topic: &Topic) -> MetadataResponseTopic {
        let partitions = (0..).zip(&topic.partitions).map(|(number, placement)| {
            let (error, leader, epoch) = self.leader_of(placement);
            let (replicas, in_sync, offline) = self.replicas_of(placement);
            MetadataResponsePartition::default()
                .with_error_code(error.code())
                .with_partition_index(number)
                .with_leader_id(leader)
                .with_leader_epoch(epoch)
                .with_replica_nodes(replicas)
                .with_isr_nodes(in_sync)
                .with_offline_replicas(offline)
        });
        MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_string(topic.name.to_string()))))
            .with_topic_id(Uuid::from_bytes(topic.id.0))
            .with_partitions(partitions.collect())
    }

    /// All replicas of a partition, those that can be reached, and those that can't. Kafka's words
    /// for the second are "in sync"; here a record is acknowledged by a majority, whoever it is.
    fn replicas_of(
        &self,
        placement: &PartitionPlacement,
    ) -> (Vec<BrokerId>, Vec<BrokerId>, Vec<BrokerId>) {
        let (up, down) = self.cluster.replicas(placement.group);
        let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
        let all = [brokers(&up), brokers(&down)].concat();
        (all, brokers(&up), brokers(&down))
    }

    fn leader_of(&self, placement: &PartitionPlacement) -> (ErrorCode, BrokerId, i32) {
        match self.cluster.leader(placement.group) {
            Some((leader, epoch)) => (ErrorCode::NONE, BrokerId(leader), epoch),
            None => (ErrorCode::LEADER_NOT_AVAILABLE, BrokerId(-1), -1),
        }
    }

    /// Answers a DescribeCluster request.
    pub fn describe_cluster(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &DescribeClusterRequest,
    ) {
        /// Kafka's number for brokers; 2 would be controllers of its own kind.
        const BROKERS: i8 = 1;
        let mut response = DescribeClusterResponse::default()
            .with_cluster_id(StrBytes::from_string(self.cluster.id().to_string()))
            .with_controller_id(BrokerId(self.cluster.controller_id()));
        if header.api_version >= 1 && request.endpoint_type != BROKERS {
            response.error_code = ErrorCode::UNSUPPORTED_ENDPOINT_TYPE.code();
            response.error_message = Some(text(&"only brokers can be described"));
            response.endpoint_type = request.endpoint_type;
        } else {
            // Kafka's word for a broker that is known and can't be reached is "fenced".
            let fenced_too = request.include_fenced_brokers;
            let brokers = self.cluster.all_brokers();
            let brokers =
                brokers.filter(|(_, is_up)| *is_up || fenced_too).map(|(broker, is_up)| {
                    DescribeClusterBroker::default()
                        .with_broker_id(BrokerId(broker.id))
                        .with_host(StrBytes::from_string(broker.host.to_string()))
                        .with_port(broker.port)
                        .with_is_fenced(!is_up)
                });
            response.brokers = brokers.collect();
        }
        self.connections.respond(ticket, &header, &response);
    }

    /// Answers a DescribeTopicPartitions request, as much as fits.
    pub fn describe_topic_partitions(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &DescribeTopicPartitionsRequest,
    ) {
        let mut names: Vec<String> = match request.topics.as_slice() {
            [] => self.control.catalog.topics().map(|topic| topic.name.to_string()).collect(),
            topics => topics.iter().map(|topic| topic.name.to_string()).collect(),
        };
        names.sort_unstable();
        names.dedup();
        let mut from = 0;
        if let Some(cursor) = &request.cursor {
            names.retain(|name| name.as_str() >= &**cursor.topic_name);
            let resumes = names.first().is_some_and(|name| name.as_str() == &**cursor.topic_name);
            from = if resumes { usize::try_from(cursor.partition_index).unwrap_or(0) } else { 0 };
        }
        let asked = usize::try_from(request.response_partition_limit).unwrap_or(0).max(1);
        let mut room = asked.min(DESCRIBED_PARTITIONS_MAX);
        let mut response = DescribeTopicPartitionsResponse::default();
        for name in names {
            if room == 0 {
                response.next_cursor = Some(cursor(&name, 0));
                break;
            }
            let (topic, left) = self.topic_partitions(&name, std::mem::take(&mut from), room);
            room -= topic.partitions.len();
            response.topics.push(topic);
            if let Some(next) = left {
                response.next_cursor = Some(cursor(&name, next));
                break;
            }
        }
        self.connections.respond(ticket, &header, &response);
    }

    fn topic_partitions(
        &self,
        name: &str,
        from: usize,
        room: usize,
    ) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
        let described = DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_string(name.to_string()))));
        let Some(topic) = self.control.catalog.topic(name.as_bytes()) else {
            let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.code();
            return (described.with_error_code(code), None);
        };
        let partitions = topic.partitions.iter().enumerate().skip(from).take(room);
        let partitions = partitions.map(|(number, placement)| {
            let (error, leader, epoch) = self.leader_of(placement);
            let (replicas, in_sync, offline) = self.replicas_of(placement);
            DescribeTopicPartitionsResponsePartition::default()
                .with_error_code(error.code())
                .with_partition_index(number as i32)
                .with_leader_id(leader)
                .with_leader_epoch(epoch)
                .with_replica_nodes(replicas)
                .with_isr_nodes(in_sync)
                .with_offline_replicas(offline)
                // Null here breaks the Java admin client.
                .with_eligible_leader_replicas(Some(Vec::new()))
                .with_last_known_elr(Some(Vec::new()))
        });
        let end = from + room;
        let left = (end < topic.partitions.len()).then_some(end as i32);
        let described = described.with_topic_id(Uuid::from_bytes(topic.id.0));
        (described.with_partitions(partitions.collect()), left)
    }

    /// Answers a DescribeLogDirs request: the partitions of this shard and their sizes.
    pub fn describe_log_dirs(
        &mut self,
        ticket: Ticket,
        header: RequestHeader,
        request: &DescribeLogDirsRequest,
    ) {
        let mut topics = Vec::new();
        for topic in self.control.catalog.topics() {
            let asked = match &request.topics {
                None => None,
                Some(asked) => match asked.iter().find(|other| **other.topic == *topic.name) {
                    Some(asked) => Some(&asked.partitions),
                    None => continue,
                },
            };
            let mine = (0..)
                .zip(&topic.partitions)
                .filter(|(number, _)| asked.is_none_or(|numbers| numbers.contains(number)));
            let partitions = mine.filter_map(|(number, placement)| {
                let partition =
                    self.groups.get(placement.group)?.partitions.by_key(placement.key)?;
                let bytes = partition.index.bytes_from(partition.log_start());
                Some(
                    DescribeLogDirsPartition::default()
                        .with_partition_index(number)
                        .with_partition_size(bytes as i64),
                )
            });
            let partitions: Vec<_> = partitions.collect();
            if !partitions.is_empty() {
                let name = TopicName(StrBytes::from_string(topic.name.to_string()));
                let described = DescribeLogDirsTopic::default().with_name(name);
                topics.push(described.with_partitions(partitions));
            }
        }
        let directory = StrBytes::from_string(self.config.data_directory.clone());
        let result = DescribeLogDirsResult::default().with_log_dir(directory).with_topics(topics);
        let response = DescribeLogDirsResponse::default().with_results(vec![result]);
        self.connections.respond(ticket, &header, &response);
    }
}

fn cursor(topic: &str, partition: i32) -> Cursor {
    Cursor::default()
        .with_topic_name(TopicName(StrBytes::from_string(topic.to_string())))
        .with_partition_index(partition)
}
