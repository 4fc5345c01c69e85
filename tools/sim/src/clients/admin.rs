//! The one who makes and deletes topics, deletes records, and tells the others who leads what.

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, IncrementalAlterConfigsRequest,
    MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::connection::What;
use crate::plan::MS;
use crate::world::World;

/// The settings of all nodes.
const BROKER: i8 = 4;

/// The administrator.
#[derive(Debug, Default)]
pub struct Admin {
    waiting: bool,
    made: u32,
}

impl Admin {
    /// Its connection is gone.
    pub fn disconnected(&mut self) {
        self.waiting = false;
    }

    /// An answer has come.
    pub fn told(&mut self) {
        self.waiting = false;
    }

    /// Does what is next. Returns when to come back. Goes on after faults have stopped, as audits
    /// need to know who leads what.
    pub fn step(
        &mut self,
        world: &mut World,
        connection: &mut Option<u64>,
        number: usize,
    ) -> Option<u64> {
        let again = Some(world.random.around(if world.is_loaded() { 60 * MS } else { 500 * MS }));
        if self.waiting {
            return again;
        }
        if world.random.chance(5)
            && let Some(id) = connection.take()
        {
            world.disconnect(id);
        }
        if connection.is_none() {
            let place = world.random_place();
            *connection = world.connect(number, place);
        }
        let Some(id) = *connection else { return again };
        let live = world.topics.live().count() as u32;
        let is_modern = world.plan.modern_groups + world.plan.mixed_groups > 0;
        if is_modern && !world.configured {
            self.configure(world, id);
        } else if world.topics.stale || !world.is_loaded() {
            self.metadata(world, id);
        } else if live < world.plan.topics {
            self.create(world, id);
        } else {
            match world.random.below(100) {
                0..2 => self.delete(world, id),
                2..6 => self.delete_records(world, id),
                6..12 => self.metadata(world, id),
                12..13 => self.create(world, id),
                _ => {}
            }
        }
        again
    }

    fn metadata(&mut self, world: &mut World, id: u64) {
        self.waiting = true;
        world.topics.stale = false;
        let request = MetadataRequest::default().with_topics(None);
        world.ask(id, (3, 12), What::Metadata, Some(0), &request);
    }

    /// Sets how long members of consumer groups may be silent.
    fn configure(&mut self, world: &mut World, id: u64) {
        self.waiting = true;
        let session = world.plan.modern_session / MS;
        let set = |name: &'static str, value: u64| {
            AlterableConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_string(value.to_string())))
        };
        let broker = AlterConfigsResource::default().with_resource_type(BROKER).with_configs(vec![
            set("group.consumer.session.timeout.ms", session),
            set("group.consumer.heartbeat.interval.ms", session / 3),
        ]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![broker]);
        world.ask(id, (44, 1), What::Configure, None, &request);
    }

    fn create(&mut self, world: &mut World, id: u64) {
        self.waiting = true;
        self.made += 1;
        let name = format!("topic-{}", self.made);
        let partitions = world.random.between(1, 4) as i32;
        let mut configs = Vec::new();
        let mut set = |name: &'static str, value: String| {
            let name = StrBytes::from_static_str(name);
            let value = Some(StrBytes::from_string(value));
            configs.push(CreatableTopicConfig::default().with_name(name).with_value(value));
        };
        let retained = world.random.chance(world.plan.retained_percent);
        if retained && world.random.chance(50) {
            set("retention.ms", world.random.between(1000, 20_000).to_string());
        } else if retained {
            set(
                "retention.bytes",
                world.random.between(1000, 2 * world.plan.segment_bytes).to_string(),
            );
        } else {
            set("retention.ms", "-1".into());
        }
        if world.random.chance(20) {
            set("message.timestamp.type", "LogAppendTime".into());
        }
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.clone())))
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
            .with_configs(configs);
        let timeout_ms = world.random.pick(&[1, 50, 5000]);
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms);
        world.topics.create(name.clone(), partitions, retained);
        let what = What::CreateTopic { name };
        world.ask(id, (19, 7), what, Some(timeout_ms as u64 * MS), &request);
    }

    fn delete(&mut self, world: &mut World, id: u64) {
        let names: Vec<String> = world.topics.live().map(|topic| topic.name.clone()).collect();
        if names.is_empty() {
            return;
        }
        self.waiting = true;
        let name = names[world.random.below(names.len() as u64) as usize].clone();
        if let Some(topic) = world.topics.by_name.get_mut(&name) {
            topic.doomed = true;
            world.checks.forget(&topic.id.unwrap_or_default());
        }
        let state = DeleteTopicState::default()
            .with_name(Some(TopicName(StrBytes::from_string(name.clone()))));
        let timeout_ms = world.random.pick(&[1, 5000]);
        let request =
            DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(timeout_ms);
        let what = What::DeleteTopic { name };
        world.ask(id, (20, 6), what, Some(timeout_ms as u64 * MS), &request);
    }

    fn delete_records(&mut self, world: &mut World, id: u64) {
        let place = world.connections.get(&id).map(|connection| connection.place);
        let all: Vec<_> = world
            .topics
            .partitions()
            .filter(|(_, _, leader)| *leader == place)
            .map(|(topic, id, _)| (topic.to_string(), id))
            .collect();
        if all.is_empty() {
            return;
        }
        self.waiting = true;
        let (topic, partition) = all[world.random.below(all.len() as u64) as usize].clone();
        let end = world.checks.visibility.end(&partition);
        let offset =
            if world.random.chance(30) { end } else { world.random.below(end as u64 + 1) as i64 };
        world.checks.visibility.deletes(partition, offset);
        let wanted =
            DeleteRecordsPartition::default().with_partition_index(partition.1).with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(TopicName(StrBytes::from_string(topic)))
            .with_partitions(vec![wanted]);
        let timeout_ms = world.random.pick(&[1, 50, 5000]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms);
        let what = What::DeleteRecords { partition, offset };
        world.ask(id, (21, 2), what, Some(timeout_ms as u64 * MS), &request);
    }
}
