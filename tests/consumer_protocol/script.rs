//! A small language for what members of one group say to a cluster, and what they are told: a line
//! that begins with `>` is said, those below it are the answer.
//!
//! Members go by names, and do at once what they are told. After each line no partition may have
//! two owners. `M...` is one member or several.
//!
//! ```text
//! topic T PARTITIONS | delete-topic T
//! join M T[,T] | join M ~REGEX, each with [static=I] [assignor=A] [timeout=MS]
//! beat M... (says what it has)   stale M (in its last epoch)   leave M   away M (for a while)
//! die M (it is gone, and nobody is told)
//! settle M... (heartbeats until nobody is told anything new)
//! old-join M... T (classic members join together, and their leader assigns)
//! old-ask M T (a classic member joins, and doesn't wait)   old-hear M (what it was answered)
//! old-sync M   old-beat M   old-leave M...
//! commit M OFFSET [version=V] | commit nobody OFFSET     fetch M | fetch nobody
//! describe   describe-classic   list [TYPE]   delete   delete-offsets T
//! days N (pass at once)   set NAME=VALUE (of the brokers)   wait SECONDS (nobody says anything)
//! kill (the coordinator's node)   restart (it)   reboot (kill and restart it at once)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use hutong::kafka::error_code::ErrorCode;
use hutong::model::ids::ConnectionId;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as Given;
use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition as Kept;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use uuid::Uuid;

use super::rig::Cluster;

const GROUP: &str = "g";

/// Runs a script on one node and compares what is answered.
pub fn check(script: &str) {
    check_on(1, script);
}

/// The same on so many nodes.
pub fn check_on(nodes: usize, script: &str) {
    let mut run = Run::new(nodes);
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    for command in lines.iter().filter_map(|line| line.strip_prefix("> ")) {
        run.said.push(format!("> {command}"));
        run.command(command);
        run.check_owners();
    }
    assert!(
        run.said == lines,
        "expected\n{}\nbut it was\n{}",
        lines.join("\n"),
        run.said.join("\n")
    );
}

#[derive(Clone, Default)]
pub struct Member {
    id: String,
    epoch: i32,
    /// The epoch before.
    last: i32,
    instance: Option<String>,
    topics: Vec<String>,
    /// What it has: topic and partition.
    pub has: BTreeSet<(String, i32)>,
}

/// A cluster, and the members of one group as they know themselves.
pub struct Run {
    cluster: Cluster,
    pub members: BTreeMap<String, Member>,
    ids: BTreeMap<Uuid, String>,
    killed: Option<usize>,
    /// Classic members that wait to have joined.
    waiting: BTreeMap<String, (usize, ConnectionId)>,
    /// What was said and answered so far.
    pub said: Vec<String>,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group() -> GroupId {
    GroupId(text(GROUP))
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

fn name_of(code: i16) -> String {
    if code == 0 { "ok".to_owned() } else { ErrorCode(code).name().to_owned() }
}

/// `a:0-2,5 b:1`.
fn told(has: &BTreeSet<(String, i32)>) -> String {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in has {
        topics.entry(topic).or_default().push(*partition);
    }
    let runs = |numbers: &[i32]| {
        let runs = numbers.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
            [one] => one.to_string(),
            run => format!("{}-{}", run[0], run[run.len() - 1]),
        });
        runs.collect::<Vec<_>>().join(",")
    };
    let topics = topics.iter().map(|(topic, numbers)| format!("{topic}:{}", runs(numbers)));
    let topics: Vec<String> = topics.collect();
    if topics.is_empty() { "nothing".to_owned() } else { topics.join(" ") }
}

fn by_topic(has: &BTreeSet<(String, i32)>) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    has.iter().for_each(|(topic, number)| topics.entry(topic).or_default().push(*number));
    topics
}

impl Run {
    pub fn new(nodes: usize) -> Run {
        Run {
            cluster: Cluster::start(nodes),
            members: BTreeMap::new(),
            ids: BTreeMap::new(),
            killed: None,
            waiting: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    fn say(&mut self, line: impl Into<String>) {
        self.said.push(line.into());
    }

    /// The answer of the coordinator's node.
    fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let node = self.cluster.leader();
        let connection = self.cluster.send(node, version, request);
        let answer = self.cluster.answer::<R>(node, connection, version, 5000);
        answer.unwrap_or_else(|| panic!("no answer to {}: {}", R::KEY, self.said.join("\n")))
    }

    /// Has a line carried out.
    pub fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (command, args) = (words[0], &words[1..]);
        match command {
            "topic" => self.topic(args),
            "delete-topic" => self.delete_topic(args[0]),
            "join" => self.join(args),
            "beat" => args.iter().for_each(|name| self.beat(name, None)),
            "stale" => {
                let last = self.members[args[0]].last;
                self.beat(args[0], Some(last));
            }
            "die" => self.members.get_mut(args[0]).expect("it has joined").has.clear(),
            "leave" => self.leave(args[0], -1),
            "away" => self.leave(args[0], -2),
            "settle" => self.settle(args),
            "old-join" => self.old_join(args),
            "old-ask" => self.old_ask(args[0], args[1]),
            "old-hear" => {
                self.old_hear(args[0]);
            }
            "old-sync" => args.iter().for_each(|name| self.old_sync(name)),
            "old-beat" => args.iter().for_each(|name| self.old_beat(name)),
            "old-leave" => self.old_leave(args),
            "commit" => self.commit(args),
            "fetch" => self.fetch(args[0]),
            "describe" => self.describe(),
            "describe-classic" => self.describe_classic(),
            "list" => self.list(args),
            "delete" => {
                let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
                let code = self.ask(2, &request).results[0].error_code;
                self.say(format!("delete: {}", name_of(code)));
            }
            "delete-offsets" => self.delete_offsets(args[0]),
            "set" => self.set(args[0]),
            "days" => self.cluster.pass_days(args[0].parse().expect("days")),
            "wait" => self.cluster.run_ms(1000 * args[0].parse::<u64>().expect("seconds")),
            "kill" => {
                let leader = self.cluster.leader();
                self.killed = Some(leader);
                self.cluster.kill(leader);
                self.cluster.run_ms(1500);
            }
            "reboot" => {
                let leader = self.cluster.leader();
                self.cluster.kill(leader);
                self.cluster.restart(leader);
                self.cluster.run_ms(5000);
            }
            "restart" => {
                let killed = self.killed.take().expect("one was killed");
                self.cluster.restart(killed);
                self.cluster.run_ms(1500);
            }
            _ => panic!("no such command: {line}"),
        }
    }

    /// Whatever happens, a partition has one owner.
    pub fn check_owners(&self) {
        let mut owners: BTreeMap<&(String, i32), &str> = BTreeMap::new();
        for (name, member) in &self.members {
            for partition in &member.has {
                if let Some(other) = owners.insert(partition, name) {
                    panic!("{other} and {name} own {partition:?}: {}", self.said.join("\n"));
                }
            }
        }
    }

    fn topic(&mut self, args: &[&str]) {
        self.cluster.create_topic(args[0], args[1].parse().expect("partitions"));
        let wanted = MetadataRequestTopic::default().with_name(Some(topic(args[0])));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
        let id = self.ask(10, &request).topics[0].topic_id;
        self.ids.insert(id, args[0].to_owned());
    }

    fn delete_topic(&mut self, name: &str) {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![topic(name)])
            .with_timeout_ms(1000);
        assert_eq!(self.ask(5, &request).responses[0].error_code, 0);
    }

    fn id_of(&self, name: &str) -> Uuid {
        let found = self.ids.iter().find(|(_, known)| *known == name);
        *found.expect("it was created here").0
    }

    fn join(&mut self, args: &[&str]) {
        let value = |name: &str| {
            args.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(text)
        };
        let known = self.members.get(args[0]).map(|member| member.id.clone());
        let id = known.unwrap_or_else(|| format!("{}-id", args[0]));
        let timeout = value("timeout").map_or(60_000, |ms| ms.parse().expect("milliseconds"));
        let mut request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text(&id))
            .with_rebalance_timeout_ms(timeout)
            .with_instance_id(value("static"))
            .with_server_assignor(value("assignor"))
            .with_topic_partitions(Some(Vec::new()));
        let mut topics = Vec::new();
        match args[1].strip_prefix('~') {
            Some(regex) => request.subscribed_topic_regex = Some(text(regex)),
            None => {
                topics = args[1].split(',').map(str::to_owned).collect();
                let names = topics.iter().map(|name| topic(name));
                request.subscribed_topic_names = Some(names.collect());
            }
        }
        let instance = value("static").map(|instance| instance.to_string());
        self.members
            .insert(args[0].to_owned(), Member { id, instance, topics, ..Member::default() });
        let line = self.heartbeat(args[0], &request);
        self.say(line);
    }

    fn beat(&mut self, name: &str, epoch: Option<i32>) {
        let line = self.stay(name, epoch);
        self.say(line);
    }

    fn stay(&mut self, name: &str, epoch: Option<i32>) -> String {
        let member = self.members[name].clone();
        let owned = by_topic(&member.has).into_iter().map(|(name, partitions)| {
            TopicPartitions::default().with_topic_id(self.id_of(name)).with_partitions(partitions)
        });
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text(&member.id))
            .with_member_epoch(epoch.unwrap_or(member.epoch))
            .with_instance_id(member.instance.as_deref().map(text))
            .with_rebalance_timeout_ms(-1)
            .with_topic_partitions(Some(owned.collect()));
        self.heartbeat(name, &request)
    }

    /// Has a member do what it is told.
    fn heartbeat(&mut self, name: &str, request: &ConsumerGroupHeartbeatRequest) -> String {
        let answer = self.ask(1, request);
        let member = self.members.get_mut(name).expect("it has joined");
        if answer.error_code != 0 {
            // Whoever isn't a member any more gives up what it has.
            member.has.clear();
            return format!("{name}: {}", name_of(answer.error_code));
        }
        if answer.member_epoch != member.epoch {
            member.last = member.epoch;
        }
        member.epoch = answer.member_epoch;
        let mut line = format!("{name}: epoch {}", answer.member_epoch);
        if let Some(assignment) = answer.assignment {
            let topics = assignment.topic_partitions.into_iter();
            let has = topics.flat_map(|topic| {
                let name = self.ids[&topic.topic_id].clone();
                topic.partitions.into_iter().map(move |number| (name.clone(), number))
            });
            member.has = has.collect();
            line += &format!(", {}", told(&member.has));
        }
        line
    }

    fn leave(&mut self, name: &str, epoch: i32) {
        let member = self.members[name].clone();
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text(&member.id))
            .with_instance_id(member.instance.as_deref().map(text))
            .with_rebalance_timeout_ms(-1)
            .with_member_epoch(epoch);
        let answer = self.ask(1, &request);
        self.members.get_mut(name).expect("it has joined").has.clear();
        let outcome = match answer.error_code {
            0 => format!("epoch {}", answer.member_epoch),
            code => name_of(code),
        };
        self.say(format!("{name}: {outcome}"));
    }

    fn settle(&mut self, names: &[&str]) {
        for _ in 0..10 {
            let before = self.settled(names);
            let told: Vec<String> = names.iter().map(|name| self.stay(name, None)).collect();
            self.check_owners();
            let quiet = told.iter().all(|line| !line.contains(','));
            if quiet && before == self.settled(names) {
                let all = self.settled(names);
                return all.into_iter().for_each(|line| self.say(line));
            }
        }
        panic!("the group does not come to rest: {}", self.said.join("\n"));
    }

    fn settled(&self, names: &[&str]) -> Vec<String> {
        let line = |name: &&str| {
            let member = &self.members[*name];
            format!("{name}: epoch {}, {}", member.epoch, told(&member.has))
        };
        names.iter().map(line).collect()
    }

    /// What a classic member says of itself, cooperatively.
    fn metadata(&self, member: &Member) -> bytes::Bytes {
        let kept = by_topic(&member.has).into_iter().map(|(name, partitions)| {
            Kept::default().with_topic(topic(name)).with_partitions(partitions)
        });
        let said = ConsumerProtocolSubscription::default()
            .with_topics(member.topics.iter().map(|name| text(name)).collect())
            .with_owned_partitions(kept.collect());
        let mut out = vec![0, 1];
        said.encode(&mut out, 1).expect("version 1");
        out.into()
    }

    fn old_join(&mut self, args: &[&str]) {
        let (topic, names) = args.split_last().expect("members and a topic");
        names.iter().for_each(|name| self.old_ask(name, topic));
        let (mut leader, mut joined) = (None, Vec::new());
        for name in names {
            let Some(answer) = self.old_hear(name) else { continue };
            joined.push(*name);
            if answer.leader == answer.member_id {
                leader = Some((*name, answer.members));
            }
        }
        if let Some((leader, members)) = &leader {
            let ids: Vec<StrBytes> =
                members.iter().map(|member| member.member_id.clone()).collect();
            self.assign(leader, &ids, topic);
        }
        // Where the coordinator assigns, nobody leads.
        let leader = leader.map(|(leader, _)| leader);
        for name in joined.into_iter().filter(|name| Some(*name) != leader) {
            self.old_sync(name);
        }
    }

    fn old_ask(&mut self, name: &str, topic: &str) {
        let mut member = self.members.get(name).cloned().unwrap_or_default();
        member.topics = vec![topic.to_owned()];
        let mut request = self.join_request(&member);
        if member.id.is_empty() {
            let id = self.ask(9, &request).member_id;
            member.id = id.to_string();
            request.member_id = id;
        }
        self.members.insert(name.to_owned(), member);
        let node = self.cluster.leader();
        let connection = self.cluster.send(node, 9, &request);
        self.waiting.insert(name.to_owned(), (node, connection));
    }

    /// The answer, if the member has joined.
    fn old_hear(&mut self, name: &str) -> Option<JoinGroupResponse> {
        let (node, connection) = self.waiting.remove(name).expect("it has asked");
        let answer = self.cluster.answer::<JoinGroupRequest>(node, connection, 9, 10_000);
        let answer = answer.expect("it is answered after a while");
        if answer.error_code != 0 {
            self.say(format!("{name}: {}", name_of(answer.error_code)));
            return None;
        }
        self.members.get_mut(name).expect("it has asked").epoch = answer.generation_id;
        self.say(format!("{name}: generation {}", answer.generation_id));
        Some(answer)
    }

    fn join_request(&self, member: &Member) -> JoinGroupRequest {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("cooperative-sticky"))
            .with_metadata(self.metadata(member));
        JoinGroupRequest::default()
            .with_group_id(group())
            .with_member_id(text(&member.id))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(20_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    }

    /// The leader gives each the partitions in turn.
    fn assign(&mut self, leader: &str, ids: &[StrBytes], name: &str) {
        let wanted = MetadataRequestTopic::default().with_name(Some(topic(name)));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
        let partitions = self.ask(10, &request).topics[0].partitions.len();
        let given = ids.iter().enumerate().map(|(index, id)| {
            let own = (index..partitions).step_by(ids.len()).map(|number| number as i32);
            let topics =
                vec![Given::default().with_topic(topic(name)).with_partitions(own.collect())];
            let mut bytes = vec![0, 1];
            let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(topics);
            assignment.encode(&mut bytes, 1).expect("version 1");
            SyncGroupRequestAssignment::default()
                .with_member_id(id.clone())
                .with_assignment(bytes.into())
        });
        let request = self.sync_request(leader).with_assignments(given.collect());
        self.synced(leader, &request);
    }

    fn sync_request(&self, name: &str) -> SyncGroupRequest {
        let member = &self.members[name];
        SyncGroupRequest::default()
            .with_group_id(group())
            .with_member_id(text(&member.id))
            .with_generation_id(member.epoch)
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("cooperative-sticky")))
    }

    fn old_sync(&mut self, name: &str) {
        let request = self.sync_request(name);
        self.synced(name, &request);
    }

    fn synced(&mut self, name: &str, request: &SyncGroupRequest) {
        let answer = self.ask(5, request);
        if answer.error_code != 0 {
            return self.say(format!("{name}: sync {}", name_of(answer.error_code)));
        }
        let mut bytes = answer.assignment;
        if bytes.is_empty() {
            // Its leader gave it none.
            bytes = bytes::Bytes::from_static(&[0, 1, 0, 0, 0, 0, 255, 255, 255, 255]);
        }
        let version = bytes::Buf::get_i16(&mut bytes);
        let assignment = ConsumerProtocolAssignment::decode(&mut bytes, version).expect("one");
        let topics = assignment.assigned_partitions.into_iter();
        let has = topics.flat_map(|topic| {
            let name = topic.topic.to_string();
            topic.partitions.into_iter().map(move |number| (name.clone(), number))
        });
        let has: BTreeSet<(String, i32)> = has.collect();
        self.said.push(format!("{name}: {}", told(&has)));
        self.members.get_mut(name).expect("it has joined").has = has;
    }

    fn old_beat(&mut self, name: &str) {
        let member = &self.members[name];
        let request = HeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text(&member.id))
            .with_generation_id(member.epoch);
        let code = self.ask(4, &request).error_code;
        self.say(format!("{name}: {}", name_of(code)));
    }

    fn old_leave(&mut self, names: &[&str]) {
        let members = names
            .iter()
            .map(|name| MemberIdentity::default().with_member_id(text(&self.members[*name].id)));
        let request =
            LeaveGroupRequest::default().with_group_id(group()).with_members(members.collect());
        let answer = self.ask(5, &request);
        assert_eq!(answer.error_code, 0);
        for (name, left) in names.iter().zip(answer.members) {
            self.members.get_mut(*name).expect("it has joined").has.clear();
            self.say(format!("{name}: left {}", name_of(left.error_code)));
        }
    }

    fn commit(&mut self, args: &[&str]) {
        let (name, offset) = (args[0], args[1].parse().expect("an offset"));
        let version = args.get(2).and_then(|word| word.strip_prefix("version="));
        let member = self.members.get(name);
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topics = OffsetCommitRequestTopic::default()
            .with_name(topic("a"))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_member_id(text(member.map_or("", |member| &member.id)))
            .with_generation_id_or_member_epoch(member.map_or(-1, |member| member.epoch))
            .with_topics(vec![topics]);
        let answer = self.ask(version.map_or(9, |v| v.parse().expect("a version")), &request);
        let code = answer.topics[0].partitions[0].error_code;
        self.say(format!("{name}: commit {}", name_of(code)));
    }

    fn fetch(&mut self, name: &str) {
        let wanted = OffsetFetchRequestTopics::default()
            .with_name(topic("a"))
            .with_partition_indexes(vec![0]);
        let member = self.members.get(name);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group())
            .with_member_id(member.map(|member| text(&member.id)))
            .with_member_epoch(member.map_or(-1, |member| member.epoch))
            .with_topics(Some(vec![wanted]));
        let request =
            OffsetFetchRequest::default().with_topics(Some(Vec::new())).with_groups(vec![group]);
        let answer = self.ask(9, &request);
        let outcome = match answer.groups[0].error_code {
            0 => answer.groups[0].topics[0].partitions[0].committed_offset.to_string(),
            code => name_of(code),
        };
        self.say(format!("{name}: fetch {outcome}"));
    }

    fn describe(&mut self) {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group()]);
        let groups = self.ask(1, &request).groups;
        let told_group = &groups[0];
        if told_group.error_code != 0 {
            return self.say(format!("describe: {}", name_of(told_group.error_code)));
        }
        self.said.push(format!(
            "describe: {} epoch {} assignment {} {}",
            told_group.group_state,
            told_group.group_epoch,
            told_group.assignment_epoch,
            told_group.assignor_name
        ));
        for member in &told_group.members {
            let set = |topics: &[consumer_group_describe_response::TopicPartitions]| {
                let each = topics.iter().flat_map(|topic| {
                    topic.partitions.iter().map(|number| (topic.topic_name.to_string(), *number))
                });
                told(&each.collect())
            };
            let kind = if member.member_type == 0 { "classic" } else { "consumer" };
            let names = self.members.iter();
            let name = names.clone().find(|(_, known)| known.id == member.member_id.as_str());
            let name = name.map_or(member.member_id.to_string(), |(name, _)| name.clone());
            self.said.push(format!(
                "- {name} {kind} epoch {}: {}, to have {}",
                member.member_epoch,
                set(&member.assignment.topic_partitions),
                set(&member.target_assignment.topic_partitions)
            ));
        }
    }

    fn describe_classic(&mut self) {
        let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
        let new = &self.ask(6, &request).groups[0];
        let old = &self.ask(5, &request).groups[0];
        let line = format!(
            "describe-classic: {} {}, {} {}, {} members",
            name_of(new.error_code),
            new.error_message.as_deref().unwrap_or("-"),
            name_of(old.error_code),
            old.group_state,
            old.members.len()
        );
        self.say(line);
    }

    fn list(&mut self, types: &[&str]) {
        let types = types.iter().map(|kind| text(kind)).collect();
        let request = ListGroupsRequest::default().with_types_filter(types);
        let groups = self.ask(5, &request).groups;
        let lines = groups.iter().map(|group| {
            let (id, state) = (&group.group_id.0, &group.group_state);
            format!("list: {id} {state} {} {}", group.group_type, group.protocol_type)
        });
        let lines: Vec<String> = lines.collect();
        if lines.is_empty() {
            self.say("list: nothing");
        }
        self.said.extend(lines);
    }

    fn delete_offsets(&mut self, name: &str) {
        let wanted = OffsetDeleteRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![OffsetDeleteRequestPartition::default()]);
        let request =
            OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![wanted]);
        let answer = self.ask(0, &request);
        let code = match answer.error_code {
            0 => answer.topics[0].partitions[0].error_code,
            code => code,
        };
        self.say(format!("delete-offsets: {}", name_of(code)));
    }

    fn set(&mut self, setting: &str) {
        let (name, value) = setting.split_once('=').expect("NAME=VALUE");
        let config = AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(4)
            .with_resource_name(text(""))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        assert_eq!(self.ask(1, &request).responses[0].error_code, 0);
    }
}
