//! What keeps a cluster's disks from filling up, and what must outlive that: deleted records, clean
//! stops, trimmed journals, committed offsets.

use hutong::journal::format::Entry;
use hutong::journal::source::SegmentSource;
use hutong::kafka::error_code::ErrorCode;
use hutong::model::ids::{GroupId, SegmentId};
use hutong::model::position::Position;
use hutong::shard::input::Input;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, GroupId as ConsumerGroupId, MetadataRequest,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, HeaderVersion, StrBytes};

use super::{BLOCK, Cluster};

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.into()))
}

fn consumer_group() -> ConsumerGroupId {
    ConsumerGroupId(StrBytes::from_static_str("readers"))
}

impl Cluster {
    /// Stops a node as SIGTERM does: with a checkpoint, if it can.
    pub fn stop(&mut self, node: usize) {
        self.nodes[node].inputs.push_back(Input::Shutdown);
        self.run_ms(4000);
        self.kill(node);
    }

    /// Deletes the records before an offset.
    pub fn delete_records(&mut self, node: usize, topic: &str, before: i64) {
        assert_eq!(self.try_delete_records(node, topic, before), Some(before));
    }

    /// The same; returns the new log start if it has worked.
    pub fn try_delete_records(&mut self, node: usize, topic: &str, before: i64) -> Option<i64> {
        let partition =
            DeleteRecordsPartition::default().with_partition_index(0).with_offset(before);
        let topic = DeleteRecordsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
        let (_, answer) = self.ask(node, 21, 2, &request);
        let mut answer = answer?;
        ResponseHeader::decode(&mut answer, DeleteRecordsResponse::header_version(2)).unwrap();
        let response = DeleteRecordsResponse::decode(&mut answer, 2).expect("a response");
        let partition = &response.topics[0].partitions[0];
        (ErrorCode(partition.error_code) == ErrorCode::NONE).then_some(partition.low_watermark)
    }

    /// Commits an offset for a consumer group.
    pub fn commit_offset(&mut self, node: usize, topic: &str, offset: i64) {
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(consumer_group())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let (_, answer) = self.ask(node, 8, 8, &request);
        let mut answer = answer.expect("an answer");
        ResponseHeader::decode(&mut answer, OffsetCommitResponse::header_version(8)).unwrap();
        let response = OffsetCommitResponse::decode(&mut answer, 8).expect("a response");
        let code = ErrorCode(response.topics[0].partitions[0].error_code);
        assert_eq!(code, ErrorCode::NONE);
    }

    /// What the consumer group has committed.
    pub fn committed_offset(&mut self, node: usize, topic: &str) -> i64 {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(consumer_group())
            .with_topics(Some(vec![topic]));
        let request =
            OffsetFetchRequest::default().with_topics(Some(vec![])).with_groups(vec![group]);
        let (_, answer) = self.ask(node, 9, 8, &request);
        let mut answer = answer.expect("an answer");
        ResponseHeader::decode(&mut answer, OffsetFetchResponse::header_version(8)).unwrap();
        let response = OffsetFetchResponse::decode(&mut answer, 8).expect("a response");
        response.groups[0].topics[0].partitions[0].committed_offset
    }

    /// The first segment on a node's disk.
    pub fn first_segment(&self, node: usize) -> u64 {
        self.nodes[node].disk.segments.iter().min().map_or(0, |segment| segment.0)
    }

    /// A byte of the records of an entry of a segment rots on a node's disk.
    pub fn rot_in(&mut self, node: usize, segment: u64, entry: u64) {
        self.rot_byte(node, segment, entry, 150);
    }

    /// A byte of an entry of a segment, all of whose entries are of the smallest size, rots.
    pub fn rot_byte(&mut self, node: usize, segment: u64, entry: u64, byte: u64) {
        let at = BLOCK as u64 * (1 + entry) + byte;
        self.nodes[node].disk.rot(SegmentId(segment), at, 1);
    }

    /// Whether a node's disk says that its group is being filled.
    pub fn is_marked(&self, node: usize) -> bool {
        self.nodes[node].disk.checkpoint.as_ref().is_some_and(|file| file.starts_with(b"HTFM"))
    }

    /// What a marker says of before it said what was given up: that the group is being filled.
    pub fn forget_what_was_given_up(&mut self, node: usize) {
        let marker = self.nodes[node].disk.checkpoint.as_mut().expect("it is marked");
        marker.truncate(12);
    }

    /// Whether a node runs.
    pub fn runs(&self, node: usize) -> bool {
        self.nodes[node].shard.is_some()
    }

    /// Whether a node was elected by the others and has heard of no later leader, though it may not
    /// serve.
    pub fn is_elected(&self, node: usize) -> bool {
        let shard = self.nodes[node].shard.as_ref();
        shard.is_some_and(|shard| shard.groups().iter().all(|group| group.replica.is_leader()))
    }

    /// The one node that leads, if there is one.
    pub fn leader_if_any(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|node| self.leads(*node))
    }

    /// How many partitions have a leader, by what a node tells clients.
    pub fn led_partitions(&mut self, node: usize) -> usize {
        let request = MetadataRequest::default().with_topics(None);
        let connection = self.send(node, 12, &request);
        let answer = self.answer::<MetadataRequest>(node, connection, 12, 100).expect("an answer");
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.filter(|partition| partition.leader_id.0 >= 0).count()
    }

    /// Has the journal writes of one group wait on a node, or of none.
    pub fn stall_group(&mut self, node: usize, group: Option<GroupId>) {
        self.nodes[node].stalled = group;
    }

    /// The first of these of which that is so, once there is one.
    pub fn first_that(&mut self, nodes: [usize; 2], is_so: fn(&Cluster, usize) -> bool) -> usize {
        loop {
            self.run_ms(1);
            if let Some(node) = nodes.into_iter().find(|node| is_so(self, *node)) {
                return node;
            }
        }
    }

    /// How often a node has logged a line with this in it.
    pub fn said(&self, node: usize, what: &str) -> usize {
        self.log_of(node).iter().filter(|line| line.contains(what)).count()
    }

    /// From the first segment that all have on, all journals on disk are equal. Returns how many
    /// entries that is.
    pub fn assert_tails_agree(&mut self) -> usize {
        let first = (0..self.nodes.len()).map(|node| self.first_segment(node)).max();
        let first = first.expect("there are nodes");
        let tails: Vec<Vec<u32>> =
            (0..self.nodes.len()).map(|node| self.tail_of(node, first)).collect();
        for (node, tail) in tails.iter().enumerate() {
            let differs = tail.iter().zip(&tails[0]).position(|(one, other)| one != other);
            let (entries, others) = (tail.len(), tails[0].len());
            assert!(
                *tail == tails[0],
                "node {node} ({entries} entries) differs from node 0 ({others}) at {differs:?}"
            );
        }
        tails[0].len()
    }

    /// The checksums of a node's entries from a segment on.
    fn tail_of(&mut self, node: usize, first: u64) -> Vec<u32> {
        let segment_bytes = self.nodes[node].config.segment_bytes;
        let disk = &mut self.nodes[node].disk;
        let mut checksums = Vec::new();
        for segment in first.. {
            let base = segment * segment_bytes;
            let mut bytes = vec![0; segment_bytes as usize];
            disk.read(GroupId(0), SegmentId(segment), 0, &mut bytes).expect("it reads");
            let before = checksums.len();
            let mut at = BLOCK;
            while at < bytes.len()
                && let Some(entry) = Entry::read(&bytes[at..], Position(base + at as u64))
                && checksums.last().is_none_or(|last| *last == entry.header.previous_crc)
            {
                checksums.push(entry.crc);
                at = (entry.end().0 - base) as usize;
            }
            if checksums.len() == before {
                break;
            }
        }
        checksums
    }
}
