//! A small language for a shard's inputs, and its outputs as lines of text.
//!
//! One shard with one group, a topic `t` with one partition and a client `1` are there already.
//! Votes, checkpoints, reads and segments complete at once unless the script says otherwise;
//! journal writes wait to be completed. Each line is one turn:
//!
//! ```text
//! connect C                            produce C acks=A [records=N] [bytes=N] [timeout=MS]
//! fetch C from=O [wait=MS]                     [pid=P] [seq=S] [partition=N]
//! list C at=MS (the first offset of that time)         delete C before=O [partition=N]
//! reads held | reads done
//! written W...  | written all          failed W
//! wait MS                              rubbish C | disconnect C
//! disk full | disk free                restart
//! grow N [timeout=MS] (the topic has N partitions)       stop
//! fill N (as many records of 10,000 bytes to each partition in turn)
//! drain C [partitions=N] (fetches all of it from the start, until there is no more; the disk reads
//!                         one thing at a time)
//! ```

#[path = "../common/disk.rs"]
mod disk;
#[path = "../common/request_frame.rs"]
mod request_frame;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, Bytes};
use disk::Disk;
use hutong::journal::page::{MemoryPage, Page};
use hutong::kafka::error_code::ErrorCode;
use hutong::kafka::frame::next_frame;
use hutong::kafka::record_batch::{self, Producer, build_batch};
use hutong::limits::CHECKPOINT_JOURNAL_BYTES;
use hutong::model::ids::{ConnectionId, GroupId, NodeId, SegmentId, ShardId, WriteId};
use hutong::model::position::Term;
use hutong::model::time::{Now, Time, Wallclock};
use hutong::shard::cluster::Leader;
use hutong::shard::input::{Input, IoFailure};
use hutong::shard::message::ShardMessage;
use hutong::shard::output::{Output, Part};
use hutong::shard::{NodeAddress, Shard, ShardConfig};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteRecordsResponse, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
    ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use request_frame::request_frame;

const SEGMENT_BYTES: u64 = 32 << 20;

/// Runs a script on a node with one shard and compares its outputs.
pub fn check(script: &str, expected: &str) {
    check_with(1, script, expected);
}

/// The same on shard 0 of a node with so many shards, and as many groups and partitions.
pub fn check_with(shards: u16, script: &str, expected: &str) {
    let mut rig = Rig::new(shards);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        rig.lines.push(format!("> {line}"));
        rig.command(line);
    }
    let said: Vec<&str> = rig.lines.iter().map(String::as_str).collect();
    let wanted: Vec<&str> =
        expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let outputs: Vec<&str> = said.iter().copied().filter(|line| !line.starts_with('>')).collect();
    assert_eq!(outputs, wanted, "the whole run:\n{}", said.join("\n"));
}

#[derive(Clone, Copy)]
enum Awaited {
    Produce,
    Fetch { from: i64 },
    Grow,
    List,
    Delete,
    Drain,
    Other,
}

struct Out {
    segment: SegmentId,
    at: u64,
    page: MemoryPage,
}

struct Rig {
    shard: Shard<MemoryPage>,
    shards: u16,
    disk: Disk,
    now: u64,
    writes: BTreeMap<u64, Out>,
    full: bool,
    /// Reads of the journal that wait to be completed, while they are held.
    held: Option<Vec<Output<MemoryPage>>>,
    awaited: BTreeMap<u64, VecDeque<Awaited>>,
    /// Where a drain is, by partition.
    drained: Vec<i64>,
    /// Bytes read back from the journal.
    bytes_read: usize,
    lines: Vec<String>,
    /// Outputs aren't told while the rig sets things up.
    quiet: bool,
}

impl Rig {
    fn new(shards: u16) -> Rig {
        let mut disk = Disk::default();
        let shard = open(shards, &mut disk, Now::default());
        let (writes, awaited) = (BTreeMap::new(), BTreeMap::new());
        let lines = Vec::new();
        let full = false;
        let mut rig = Rig {
            shard,
            shards,
            disk,
            now: 0,
            writes,
            full,
            held: None,
            awaited,
            drained: Vec::new(),
            bytes_read: 0,
            lines,
            quiet: true,
        };
        rig.settle();
        rig.lead_elsewhere();
        rig.command("connect 1");
        rig.create_topic();
        rig.settle();
        rig.quiet = false;
        rig
    }

    /// The other shards lead their groups.
    fn lead_elsewhere(&mut self) {
        for other in 1..self.shards {
            let from = ShardId(other);
            let leader = Leader { node: NodeId(0), term: Term(1) };
            let message = ShardMessage::Leads { group: GroupId(other.into()), leader };
            self.handle(Input::FromShard { from, message });
        }
        self.turn();
    }

    fn create_topic(&mut self) {
        let large = CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str("max.message.bytes"))
            .with_value(Some(StrBytes::from_static_str("16777216")));
        let topic = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_num_partitions(self.shards.into())
            .with_replication_factor(1)
            .with_configs(vec![large]);
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        self.send(1, 19, 7, Awaited::Other, &request);
        self.settle();
        // The catalog's command has reached the other shards: they say so.
        for other in 1..self.shards {
            let message = ShardMessage::Acknowledged { version: 1 };
            self.handle(Input::FromShard { from: ShardId(other), message });
        }
    }

    fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let value = |name: &str| {
            let found = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.map(|value| value.parse::<i64>().expect("a number"))
        };
        let client = words.get(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let connection = ConnectionId(client);
        match words[0] {
            "connect" => {
                self.awaited.insert(client, VecDeque::new());
                self.handle(Input::ConnectionOpened { connection, host: String::new() });
            }
            "disconnect" => self.handle(Input::ConnectionClosed { connection }),
            "produce" => self.produce(client, value),
            "fetch" => self.fetch(client, value("from").unwrap_or(0), value("wait").unwrap_or(0)),
            "written" if words[1] == "all" => return self.settle(),
            "written" => {
                for write in &words[1..] {
                    self.complete(write.parse().expect("a write"), Ok(()));
                }
            }
            "failed" => {
                self.complete(client, Err(IoFailure::Failed("Input/output error".into())));
            }
            "fill" => return self.fill(client, value("partitions").unwrap_or(1)),
            "drain" => return self.drain(client, value("partitions").unwrap_or(1)),
            "wait" => self.now += client * 1_000_000,
            "list" => self.list(client, value("at").expect("a time")),
            "delete" => self.delete(client, value),
            "reads" if words[1] == "held" => self.held = Some(Vec::new()),
            "reads" => {
                for read in self.held.take().expect("they are held") {
                    self.answer(read);
                }
            }
            "disk" => self.full = words[1] == "full",
            "grow" => {
                let topic = CreatePartitionsTopic::default()
                    .with_name(TopicName(StrBytes::from_static_str("t")))
                    .with_count(client as i32);
                let request = CreatePartitionsRequest::default()
                    .with_topics(vec![topic])
                    .with_timeout_ms(value("timeout").unwrap_or(60_000) as i32);
                self.send(1, 37, 3, Awaited::Grow, &request);
            }
            "stop" => self.handle(Input::Shutdown),
            "rubbish" => {
                let frames = Bytes::from_static(b"\0\0\0\x06rubbish"[..10].as_ref());
                self.handle(Input::Frames { connection, frames });
            }
            "restart" => return self.restart(),
            other => panic!("unknown command {other}"),
        }
        self.turn();
    }

    fn produce(&mut self, client: u64, value: impl Fn(&str) -> Option<i64>) {
        let bytes = value("bytes").unwrap_or(10) as usize;
        let payload = vec![b'v'; bytes];
        let count = value("records").unwrap_or(1) as usize;
        let records: Vec<(Option<&[u8]>, &[u8])> = vec![(None, payload.as_slice()); count];
        let producer = Producer {
            id: value("pid").unwrap_or(-1),
            epoch: if value("pid").is_some() { 0 } else { -1 },
            base_sequence: value("seq").unwrap_or(-1) as i32,
        };
        let batch = build_batch(&records, 1_718_000_000_000, producer);
        let data = PartitionProduceData::default()
            .with_index(value("partition").unwrap_or(0) as i32)
            .with_records(Some(batch.into()));
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partition_data(vec![data]);
        let acks = value("acks").unwrap_or(-1) as i16;
        let request = ProduceRequest::default()
            .with_acks(acks)
            .with_timeout_ms(value("timeout").unwrap_or(60_000) as i32)
            .with_topic_data(vec![topic]);
        self.send(client, 0, 11, Awaited::Produce, &request);
        if acks == 0 {
            self.awaited.get_mut(&client).expect("connected").pop_back();
        }
    }

    fn fetch(&mut self, client: u64, from: i64, wait: i64) {
        let partition = FetchPartition::default()
            .with_current_leader_epoch(-1)
            .with_fetch_offset(from)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_wait_ms(wait as i32)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        self.send(client, 1, 12, Awaited::Fetch { from }, &request);
    }

    fn list(&mut self, client: u64, timestamp: i64) {
        let partition =
            ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_topics(vec![topic]);
        self.send(client, 2, 7, Awaited::List, &request);
    }

    fn delete(&mut self, client: u64, value: impl Fn(&str) -> Option<i64>) {
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(value("partition").unwrap_or(0) as i32)
            .with_offset(value("before").expect("an offset"));
        let topic = DeleteRecordsTopic::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(vec![partition]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        self.send(client, 21, 2, Awaited::Delete, &request);
    }

    fn fill(&mut self, records: u64, partitions: i64) {
        self.quiet = true;
        for partition in (0..records).flat_map(|_| 0..partitions) {
            self.command(&format!("produce 1 bytes=10000 partition={partition}"));
            self.settle();
        }
        self.quiet = false;
    }

    /// Fetches as clients do: who got something is asked for last the next time.
    fn drain(&mut self, client: u64, partitions: i64) {
        self.drained = vec![0; partitions as usize];
        self.bytes_read = 0;
        let mut order: Vec<usize> = (0..partitions as usize).collect();
        let (mut fetches, mut reads) = (0, 0);
        self.held = Some(Vec::new());
        loop {
            let before = self.drained.clone();
            let asked = order.iter().map(|&partition| {
                FetchPartition::default()
                    .with_partition(partition as i32)
                    .with_current_leader_epoch(-1)
                    .with_fetch_offset(before[partition])
                    .with_partition_max_bytes(1 << 20)
            });
            let topic = FetchTopic::default()
                .with_topic(TopicName(StrBytes::from_static_str("t")))
                .with_partitions(asked.collect());
            let request = FetchRequest::default()
                .with_max_bytes(8 << 20)
                .with_session_epoch(-1)
                .with_topics(vec![topic]);
            self.send(client, 1, 12, Awaited::Drain, &request);
            self.turn();
            while let Some(held) = self.held.as_mut().filter(|held| !held.is_empty()) {
                reads = reads.max(held.len());
                let read = held.remove(0);
                self.perform(read);
                self.turn();
            }
            if self.drained == before {
                break;
            }
            fetches += 1;
            order.sort_by_key(|&partition| self.drained[partition] > before[partition]);
        }
        self.held = None;
        let records: i64 = self.drained.iter().sum();
        let read = self.bytes_read >> 20;
        self.say(format!(
            "drained {records} records by {fetches} fetches, {read} MiB read, {reads} at once"
        ));
    }

    fn send<R: Encodable + HeaderVersion>(
        &mut self,
        client: u64,
        key: i16,
        version: i16,
        awaited: Awaited,
        request: &R,
    ) {
        self.awaited.get_mut(&client).expect("connected").push_back(awaited);
        let connection = ConnectionId(client);
        let header =
            RequestHeader::default().with_request_api_key(key).with_request_api_version(version);
        let frames = request_frame(&header, request).into();
        self.handle(Input::Frames { connection, frames });
    }

    fn complete(&mut self, write: u64, result: Result<(), IoFailure>) {
        let out = self.writes.remove(&write).expect("a write that is out");
        if result.is_ok() {
            self.disk.write(out.segment, out.at, out.page.bytes());
        }
        let (group, write) = (GroupId(0), WriteId(write));
        self.handle(Input::JournalWritten { group, write, result });
    }

    /// Completes all writes, and those that follow.
    fn settle(&mut self) {
        self.turn();
        while !self.writes.is_empty() {
            for write in self.writes.keys().copied().collect::<Vec<u64>>() {
                self.complete(write, Ok(()));
            }
            self.turn();
        }
    }

    /// Kills the process; what wasn't completed is lost.
    fn restart(&mut self) {
        self.writes.clear();
        self.quiet = true;
        let now = self.clocks();
        self.shard = open(self.shards, &mut self.disk, now);
        self.settle();
        self.lead_elsewhere();
        self.command("connect 1");
        self.quiet = false;
    }

    fn clocks(&self) -> Now {
        let wallclock = Wallclock(1_718_000_000_000 + (self.now / 1_000_000) as i64);
        Now { time: Time(self.now), wallclock }
    }

    fn handle(&mut self, input: Input<MemoryPage>) {
        self.shard.handle(self.clocks(), input);
    }

    /// Turns until nothing is due.
    fn turn(&mut self) {
        for _ in 0..1000 {
            self.shard.advance(self.clocks());
            let mut busy = false;
            while let Some(output) = self.shard.poll_output() {
                busy |= self.output(output);
            }
            if !busy && self.shard.next_deadline().is_none_or(|due| due.0 > self.now) {
                return;
            }
        }
        panic!("the shard never comes to rest");
    }

    fn say(&mut self, line: String) {
        if !self.quiet {
            self.lines.push(line);
        }
    }

    /// Returns whether an input has followed.
    fn output(&mut self, output: Output<MemoryPage>) -> bool {
        match output {
            Output::Respond { connection, parts } => self.respond(connection.0, &parts),
            Output::CloseConnection { connection } => self.say(format!("{connection}: closed")),
            Output::PauseReading { connection } => self.say(format!("{connection}: paused")),
            Output::ResumeReading { connection } => self.say(format!("{connection}: resumed")),
            Output::WriteJournal { write, segment, at, page, .. } => {
                self.writes.insert(write.0, Out { segment, at, page });
            }
            Output::Fatal { .. } => self.say("fatal".into()),
            Output::Stopped => self.say("stopped".into()),
            other => return self.answer(other),
        }
        false
    }

    /// Does at once what scripts don't care about.
    fn answer(&mut self, output: Output<MemoryPage>) -> bool {
        if let Output::ReadJournal { bytes, .. } = &output {
            self.bytes_read += bytes;
            if let Some(held) = &mut self.held {
                held.push(output);
                return false;
            }
        }
        self.perform(output)
    }

    fn perform(&mut self, output: Output<MemoryPage>) -> bool {
        let input = match output {
            Output::CreateSegment { group, segment, .. } if self.full => {
                Input::SegmentCreated { group, segment, result: Err(IoFailure::NoSpace) }
            }
            output => match self.disk.perform(output) {
                Some(input) => input,
                None => return false,
            },
        };
        self.handle(input);
        true
    }

    fn respond(&mut self, client: u64, parts: &[Part<MemoryPage>]) {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(part) => bytes.extend_from_slice(part),
                Part::Page { page, start, end } => {
                    bytes.extend_from_slice(&page.bytes()[*start..*end]);
                }
            }
        }
        let length = bytes.len();
        let mut rest = Bytes::from(bytes);
        while let Some(frame) = next_frame(&mut rest) {
            let awaited = self.awaited.get_mut(&client).and_then(VecDeque::pop_front);
            let line = match awaited.expect("somebody asked") {
                Awaited::Produce => produced(frame),
                Awaited::Fetch { from } => fetched(frame, from),
                Awaited::Grow => grown(frame),
                Awaited::List => listed(frame),
                Awaited::Delete => deleted(frame),
                Awaited::Drain => {
                    self.drained_more(frame);
                    continue;
                }
                Awaited::Other => continue,
            };
            self.say(format!("{client}: {line}"));
        }
        assert!(!rest.has_remaining(), "whole responses");
        self.handle(Input::Sent { connection: ConnectionId(client), bytes: length });
    }
}

impl Rig {
    fn drained_more(&mut self, frame: Bytes) {
        let response: FetchResponse = decode(frame, 12);
        for part in &response.responses[0].partitions {
            assert_eq!(part.error_code, 0, "{part:?}");
            let next = &mut self.drained[part.partition_index as usize];
            let records = part.records.clone().unwrap_or_default();
            for (_, batch) in record_batch::batches(&records) {
                assert_eq!(batch.base_offset, *next, "each record once and in order");
                *next = batch.last_offset() + 1;
            }
        }
    }
}

/// What a frame says behind its header.
fn decode<R: Decodable + HeaderVersion>(mut frame: Bytes, version: i16) -> R {
    ResponseHeader::decode(&mut frame, R::header_version(version)).expect("a header");
    R::decode(&mut frame, version).expect("a response")
}

fn produced(frame: Bytes) -> String {
    let response: ProduceResponse = decode(frame, 11);
    let part = &response.responses[0].partition_responses[0];
    let hint = response.node_endpoints.iter().map(|node| {
        let leader = part.current_leader.leader_id.0;
        format!(", {leader} leads, {} is {}:{}", node.node_id.0, node.host.as_str(), node.port)
    });
    match ErrorCode(part.error_code) {
        ErrorCode::NONE => format!("produced at {}", part.base_offset),
        code => format!("{}{}", code.name(), hint.collect::<String>()),
    }
}

fn grown(frame: Bytes) -> String {
    let response: CreatePartitionsResponse = decode(frame, 3);
    match ErrorCode(response.results[0].error_code) {
        ErrorCode::NONE => "grown".into(),
        code => code.name().into(),
    }
}

fn listed(frame: Bytes) -> String {
    let response: ListOffsetsResponse = decode(frame, 7);
    let part = &response.topics[0].partitions[0];
    match ErrorCode(part.error_code) {
        ErrorCode::NONE => format!("found at {}", part.offset),
        code => code.name().into(),
    }
}

fn deleted(frame: Bytes) -> String {
    let response: DeleteRecordsResponse = decode(frame, 2);
    let part = &response.topics[0].partitions[0];
    match ErrorCode(part.error_code) {
        ErrorCode::NONE => format!("begins at {}", part.low_watermark),
        code => code.name().into(),
    }
}

fn fetched(frame: Bytes, from: i64) -> String {
    let response: FetchResponse = decode(frame, 12);
    let part = &response.responses[0].partitions[0];
    let records = part.records.clone().unwrap_or_default();
    let end = record_batch::batches(&records).last().map(|(_, batch)| batch.last_offset() + 1);
    match (ErrorCode(part.error_code), end) {
        (ErrorCode::NONE, Some(end)) => format!("fetched {from}..{end}"),
        (ErrorCode::NONE, None) => format!("fetched nothing of {}", part.high_watermark),
        (code, _) => code.name().to_string(),
    }
}

fn open(shards: u16, disk: &mut Disk, now: Now) -> Shard<MemoryPage> {
    let config = ShardConfig {
        node: NodeId(0),
        shard: ShardId(0),
        shards,
        groups: u32::from(shards),
        cluster_id: "script".into(),
        formed: vec![NodeId(0)],
        directory: 1,
        nodes: vec![NodeAddress { node: NodeId(0), host: "host".into(), port: 9092, directory: 0 }],
        advertised_host: "host".into(),
        base_port: 9092,
        data_directory: "/data".into(),
        segment_bytes: SEGMENT_BYTES,
        journal_cache_bytes: 1 << 20,
        scrub_bytes_per_second: 0,
        checkpoint_bytes: CHECKPOINT_JOURNAL_BYTES,
        auto_create_topics: false,
        default_partitions: 1,
        seed: 1,
    };
    Shard::open(config, vec![disk.files()], disk, now).expect("it opens")
}
