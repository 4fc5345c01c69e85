//! Nodes of one shard in one thread: messages and disk writes take a millisecond each, and time is
//! what the test says.

#[path = "clients.rs"]
pub mod clients;
#[path = "../common/disk.rs"]
mod disk;
#[path = "mending.rs"]
mod mending;
#[path = "../common/request_frame.rs"]
mod request_frame;
#[path = "upkeep.rs"]
mod upkeep;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use disk::Disk;
use hutong::duplex::{Kind, Serial, put};
use hutong::journal::format::{Entry, RunKind};
use hutong::journal::page::{MemoryPage, Page};
use hutong::journal::source::{GroupFiles, SegmentSource};
use hutong::limits::CHECKPOINT_JOURNAL_BYTES;
use hutong::model::ids::{ConnectionId, GroupId, NodeId, SegmentId, ShardId};
use hutong::model::position::Position;
use hutong::model::time::{Now, Time, Wallclock};
use hutong::shard::input::{Input, IoFailure};
use hutong::shard::output::{Output, Part};
use hutong::shard::peers::visit::{self, Change, Visit};
use hutong::shard::snapshot::ShardSnapshot;
use hutong::shard::{NodeAddress, Shard, ShardConfig};

const SEGMENT_BYTES: u64 = 32 << 20;
const BLOCK: usize = 4096;
const MILLISECOND: u64 = 1_000_000;

struct Node {
    shard: Option<Shard<MemoryPage>>,
    config: ShardConfig,
    /// Group 0's.
    disk: Disk,
    /// Those of groups that were added.
    more: BTreeMap<GroupId, Disk>,
    disk_stalls: bool,
    /// A group whose journal writes alone wait.
    stalled: Option<GroupId>,
    /// How long a read of the journal takes, and those that are out, with when they are done.
    read_ms: u64,
    reads: VecDeque<(u64, Input<MemoryPage>)>,
    /// What is left in the place of the checkpoint of a group that went.
    left: BTreeMap<GroupId, Bytes>,
    /// No room for another group.
    disk_is_full: bool,
    /// Writes that are out, oldest first.
    writes: VecDeque<Output<MemoryPage>>,
    inputs: VecDeque<Input<MemoryPage>>,
    cut_off: bool,
    log: Vec<String>,
    connections: u64,
}

pub struct Cluster {
    nodes: Vec<Node>,
    /// The two ends of each connection between nodes.
    links: Vec<[(usize, ConnectionId); 2]>,
    now: u64,
    /// Bytes that one node sent to another.
    sent: BTreeMap<(usize, usize), u64>,
    /// Answers to clients that came, and whose they are.
    answers: Vec<(usize, ConnectionId, Bytes)>,
    late: Vec<(usize, ConnectionId)>,
}

impl Node {
    fn with(config: ShardConfig) -> Node {
        Node {
            shard: None,
            config,
            disk: Disk::default(),
            more: BTreeMap::new(),
            disk_stalls: false,
            stalled: None,
            read_ms: 0,
            reads: VecDeque::new(),
            left: BTreeMap::new(),
            disk_is_full: false,
            writes: VecDeque::new(),
            inputs: VecDeque::new(),
            cut_off: false,
            log: Vec::new(),
            connections: 0,
        }
    }

    fn disk_of(&mut self, group: GroupId) -> &mut Disk {
        match group {
            GroupId(0) => &mut self.disk,
            group => self.more.entry(group).or_default(),
        }
    }

    /// What a start finds. Of a group that went nothing is started.
    fn files(&self) -> Vec<GroupFiles> {
        let more = self.more.iter().map(|(group, disk)| (*group, disk));
        let all = [(GroupId(0), &self.disk)].into_iter().chain(more);
        let there = all.filter(|(group, _)| !self.left.contains_key(group));
        there.map(|(group, disk)| GroupFiles { group, ..disk.files() }).collect()
    }
}

/// All of a node's disks, as a start reads them.
struct Disks<'a>(&'a mut Node);

impl SegmentSource for Disks<'_> {
    fn read(
        &mut self,
        group: GroupId,
        segment: SegmentId,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), String> {
        self.0.disk_of(group).read(group, segment, at, into)
    }
}

/// The group whose disk an output is about; the first if it is about none.
fn group_of(output: &Output<MemoryPage>) -> GroupId {
    match output {
        Output::ReadJournal { group, .. }
        | Output::WriteVote { group, .. }
        | Output::CreateSegment { group, .. }
        | Output::WriteCheckpoint { group, .. }
        | Output::RemoveSegment { group, .. } => *group,
        _ => GroupId(0),
    }
}

impl Cluster {
    pub fn start(count: usize) -> Cluster {
        Cluster::start_with(count, |_, _| {})
    }

    pub fn start_with(count: usize, change: impl Fn(usize, &mut ShardConfig)) -> Cluster {
        let addresses: Vec<NodeAddress> = (0..count)
            .map(|node| NodeAddress {
                node: NodeId(node as u32),
                host: node.to_string(),
                port: 9092,
                directory: 0,
            })
            .collect();
        let nodes = (0..count).map(|node| {
            let mut config = ShardConfig {
                node: NodeId(node as u32),
                shard: ShardId(0),
                shards: 1,
                groups: 1,
                cluster_id: "test".into(),
                formed: addresses.iter().map(|address| address.node).collect(),
                nodes: addresses.clone(),
                directory: 1 + node as u128,
                advertised_host: node.to_string(),
                base_port: 9092,
                data_directory: "/data".into(),
                segment_bytes: SEGMENT_BYTES,
                journal_cache_bytes: 16 << 20,
                scrub_bytes_per_second: 0,
                checkpoint_bytes: CHECKPOINT_JOURNAL_BYTES,
                auto_create_topics: false,
                default_partitions: 1,
                seed: 7 + 1000 * node as u64,
            };
            change(node, &mut config);
            Node::with(config)
        });
        let mut cluster = Cluster {
            nodes: nodes.collect(),
            links: Vec::new(),
            now: 1_000 * MILLISECOND,
            sent: BTreeMap::new(),
            answers: Vec::new(),
            late: Vec::new(),
        };
        (0..count).for_each(|node| cluster.restart(node));
        // Until each group is led by the node that should lead it.
        cluster.run_ms(5000);
        cluster
    }

    /// Starts another node, which has nothing and joins the others.
    pub fn join(&mut self, node: usize) {
        assert_eq!(node, self.nodes.len(), "nodes are numbered one by one");
        let mut config = self.nodes[0].config.clone();
        config.node = NodeId(node as u32);
        config.advertised_host = node.to_string();
        config.directory = 1 + node as u128;
        config.seed = 7 + 1000 * node as u64;
        let (host, port) = (node.to_string(), 9092);
        config.nodes.push(NodeAddress { node: config.node, host, port, directory: 0 });
        self.nodes.push(Node::with(config));
        self.restart(node);
    }

    /// Takes all from a stopped node's disk.
    pub fn wipe(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        assert!(this.shard.is_none(), "it was killed");
        (this.disk, this.more) = (Disk::default(), BTreeMap::new());
        this.config.directory += 1000;
        this.config.nodes.iter_mut().for_each(|address| address.directory = 0);
    }

    /// Asks a node for a change of the cluster.
    pub fn change(&mut self, node: usize, change: Change) -> Result<(), String> {
        let connection = self.new_connection(node);
        let mut frames = Vec::new();
        put(&mut frames, Kind::Request, Serial::default(), &Visit::Change(change).encode());
        self.nodes[node].inputs.push_back(Input::Frames { connection, frames: frames.into() });
        for _ in 0..2000 {
            self.run_ms(1);
            if let Some(answer) = self.take_answer(node, connection) {
                // Behind the serial.
                return visit::answer(&answer[4..]).expect("an answer").map(drop);
            }
        }
        Err("no answer".into())
    }

    /// Who votes in group 0 and who learns, as its leader knows.
    pub fn members(&self) -> (Vec<u32>, Vec<u32>) {
        let leader = (0..self.nodes.len()).find(|node| self.leads(*node)).expect("one leads");
        let shard = self.nodes[leader].shard.as_ref().expect("it runs");
        let members = shard.groups().iter().next().expect("group 0").replica.group_members();
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
        (ids(&members.voters), ids(&members.learners))
    }

    /// Starts a node from what is on its disk.
    pub fn restart(&mut self, node: usize) {
        self.start_from(node, false);
    }

    fn start_from(&mut self, node: usize, wants_snapshot: bool) {
        let now = self.clocks();
        let this = &mut self.nodes[node];
        assert!(this.shard.is_none(), "it was killed");
        let mut files = this.files();
        files.iter_mut().for_each(|files| files.wants_snapshot = wants_snapshot);
        this.config.seed += 1;
        let config = this.config.clone();
        let opened = Shard::open(config, files, &mut Disks(this), now);
        this.shard = Some(opened.expect("it opens"));
    }

    /// A node's entries, byte for byte.
    fn entries_of(&mut self, node: usize) -> Vec<Vec<u8>> {
        let mut position = Position(BLOCK as u64);
        let mut entries = Vec::new();
        let disk = &mut self.nodes[node].disk;
        loop {
            let mut bytes = vec![0; 1 << 20];
            disk.read(GroupId(0), SegmentId(0), position.0, &mut bytes).expect("it reads");
            let Some(entry) = Entry::read(&bytes, position) else { return entries };
            let end = entry.end();
            bytes.truncate((end.0 - position.0) as usize);
            entries.push(bytes);
            position = end;
        }
    }

    /// Ends a node's process. Writes that are out never were.
    pub fn kill(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        this.shard = None;
        this.writes.clear();
        this.reads.clear();
        this.inputs.clear();
        self.cut_links(node);
    }

    fn cut_links(&mut self, node: usize) {
        let (cut, kept): (Vec<_>, Vec<_>) =
            self.links.drain(..).partition(|ends| ends.iter().any(|(end, _)| *end == node));
        self.links = kept;
        for (end, connection) in cut.into_iter().flatten() {
            if self.nodes[end].shard.is_some() {
                self.nodes[end].inputs.push_back(Input::ConnectionClosed { connection });
            }
        }
    }

    /// Keeps a node from all others, or lets it talk to them again. Clients still reach it.
    pub fn cut_off(&mut self, node: usize, cut: bool) {
        self.nodes[node].cut_off = cut;
        if cut {
            self.cut_links(node);
        }
    }

    /// Has a node's journal writes wait, or lets them go on.
    pub fn stall_disk(&mut self, node: usize, stalls: bool) {
        self.nodes[node].disk_stalls = stalls;
    }

    /// Has a node's journal reads take so long.
    pub fn slow_reads(&mut self, node: usize, milliseconds: u64) {
        self.nodes[node].read_ms = milliseconds;
    }

    /// Takes a node's room for more groups, or gives it back.
    pub fn fill_disk(&mut self, node: usize, is_full: bool) {
        self.nodes[node].disk_is_full = is_full;
    }

    /// How many groups a node has.
    pub fn groups_of(&self, node: usize) -> usize {
        self.nodes[node].shard.as_ref().expect("it runs").groups().len()
    }

    /// What a node has read of its journal since it was made.
    pub fn read_bytes(&self, node: usize) -> u64 {
        self.nodes[node].disk.read_bytes
    }

    /// What one node has sent to another.
    pub fn sent_bytes(&self, from: usize, to: usize) -> u64 {
        self.sent.get(&(from, to)).copied().unwrap_or_default()
    }

    pub fn log_of(&self, node: usize) -> &[String] {
        &self.nodes[node].log
    }

    pub fn leads(&self, node: usize) -> bool {
        let shard = self.nodes[node].shard.as_ref();
        let leads = |shard: &Shard<MemoryPage>| {
            !shard.groups().is_empty() && shard.groups().iter().all(|group| group.is_serving())
        };
        shard.is_some_and(leads)
    }

    /// The one node that leads.
    pub fn leader(&self) -> usize {
        let leaders: Vec<usize> = (0..self.nodes.len()).filter(|node| self.leads(*node)).collect();
        assert_eq!(leaders.len(), 1, "one leader, not {leaders:?}");
        leaders[0]
    }

    /// Days pass in which nothing happens.
    pub fn pass_days(&mut self, days: u64) {
        self.now += days * 86_400_000 * MILLISECOND;
        self.run_ms(1000);
    }

    pub fn run_ms(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now += MILLISECOND;
            let now = self.clocks();
            for node in 0..self.nodes.len() {
                self.complete_writes(node);
                self.complete_reads(node);
                let this = &mut self.nodes[node];
                let Some(shard) = &mut this.shard else { continue };
                for input in this.inputs.drain(..) {
                    shard.handle(now, input);
                }
                shard.advance(now);
                let outputs: Vec<_> = std::iter::from_fn(|| shard.poll_output()).collect();
                outputs.into_iter().for_each(|output| self.perform(node, output));
            }
        }
    }

    fn complete_writes(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        if this.disk_stalls {
            return;
        }
        for write in std::mem::take(&mut this.writes) {
            if let Output::WriteJournal { group, write, segment, at, page } = write {
                if this.stalled == Some(group) {
                    this.writes.push_back(Output::WriteJournal { group, write, segment, at, page });
                    continue;
                }
                this.disk_of(group).write(segment, at, page.bytes());
                this.inputs.push_back(Input::JournalWritten { group, write, result: Ok(()) });
            }
        }
    }

    fn complete_reads(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        while this.reads.front().is_some_and(|(due, _)| *due <= self.now) {
            this.inputs.extend(this.reads.pop_front().map(|(_, input)| input));
        }
    }

    fn perform(&mut self, node: usize, output: Output<MemoryPage>) {
        let this = &mut self.nodes[node];
        match output {
            Output::WriteJournal { .. } => this.writes.push_back(output),
            Output::Dial { connection, host, .. } => {
                self.dial(node, connection, host.parse().expect("a node's host is its number"));
            }
            Output::Respond { connection, parts } => self.respond(node, connection, &parts),
            Output::CloseConnection { connection } => self.close(node, connection),
            Output::Log { line, .. } => this.log.push(line),
            Output::RememberNodes { nodes } => this.config.nodes = nodes,
            Output::RemoveGroup { group, checkpoint } => {
                *this.disk_of(group) = Disk::default();
                this.left.insert(group, checkpoint);
            }
            Output::CreateGroup { group, .. } if this.disk_is_full => {
                let result = Err(IoFailure::NoSpace);
                this.inputs.push_back(Input::GroupCreated { group, result });
            }
            Output::CreateGroup { group, checkpoint } => {
                let checkpoint = Some(this.left.remove(&group).unwrap_or(checkpoint).to_vec());
                this.disk_of(group).checkpoint = checkpoint.clone();
                let result = Ok(GroupFiles { checkpoint, ..GroupFiles::new(group) });
                this.inputs.push_back(Input::GroupCreated { group, result });
            }
            Output::Fatal { reason } => panic!("node {node}: {reason}"),
            output => {
                let is_slow = matches!(output, Output::ReadJournal { .. }) && this.read_ms > 0;
                let done = this.disk_of(group_of(&output)).perform(output);
                match is_slow {
                    true => {
                        let due = self.now + this.read_ms * MILLISECOND;
                        this.reads.extend(done.map(|input| (due, input)));
                    }
                    false => this.inputs.extend(done),
                }
            }
        }
    }

    fn dial(&mut self, from: usize, connection: ConnectionId, to: usize) {
        let reaches = |node: &Node| node.shard.is_some() && !node.cut_off;
        if !reaches(&self.nodes[from]) || !self.nodes.get(to).is_some_and(reaches) {
            let reason = "nobody is there".to_string();
            self.nodes[from].inputs.push_back(Input::DialFailed { connection, reason });
            return;
        }
        let there = self.new_connection(to);
        self.nodes[from]
            .inputs
            .push_back(Input::ConnectionOpened { connection, host: String::new() });
        self.links.push([(from, connection), (to, there)]);
    }

    fn new_connection(&mut self, node: usize) -> ConnectionId {
        let this = &mut self.nodes[node];
        this.connections += 1;
        let connection = ConnectionId(this.connections);
        this.inputs.push_back(Input::ConnectionOpened { connection, host: String::new() });
        connection
    }

    fn other_end(&self, node: usize, connection: ConnectionId) -> Option<(usize, ConnectionId)> {
        self.links.iter().find_map(|[one, other]| match (node, connection) {
            end if end == *one => Some(*other),
            end if end == *other => Some(*one),
            _ => None,
        })
    }

    fn respond(&mut self, node: usize, connection: ConnectionId, parts: &[Part<MemoryPage>]) {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(part) => bytes.extend_from_slice(part),
                Part::Page { page, start, end } => bytes.extend(&page.bytes()[*start..*end]),
            }
        }
        let sent = Input::Sent { connection, bytes: bytes.len() };
        self.nodes[node].inputs.push_back(sent);
        match self.other_end(node, connection) {
            Some((to, there)) => {
                *self.sent.entry((node, to)).or_default() += bytes.len() as u64;
                let frames = Input::Frames { connection: there, frames: bytes.into() };
                self.nodes[to].inputs.push_back(frames);
            }
            None => self.answers.push((node, connection, bytes.into())),
        }
    }

    fn close(&mut self, node: usize, connection: ConnectionId) {
        self.nodes[node].inputs.push_back(Input::ConnectionClosed { connection });
        if let Some((to, there)) = self.other_end(node, connection) {
            self.nodes[to].inputs.push_back(Input::ConnectionClosed { connection: there });
        }
        self.links.retain(|ends| !ends.contains(&(node, connection)));
    }

    fn clocks(&self) -> Now {
        let wallclock = Wallclock(1_718_000_000_000 + (self.now / MILLISECOND) as i64);
        Now { time: Time(self.now), wallclock }
    }

    /// Whether a node wants no turn before time has passed or something has happened.
    pub fn rests(&self, node: usize) -> bool {
        let shard = self.nodes[node].shard.as_ref().expect("it runs");
        shard.next_deadline().is_none_or(|at| at > self.clocks().time)
    }

    /// Lets so much time pass at once, as if all nodes had been paused.
    pub fn skip_ms(&mut self, milliseconds: u64) {
        self.now += milliseconds * MILLISECOND;
    }

    /// Where the entry lies that has the record of a partition at an offset.
    pub fn position_of(&mut self, node: usize, offset: i64) -> Position {
        let holds = |entry: &Entry<'_>| {
            let mut runs = entry.runs();
            runs.any(|(run, _)| {
                run.kind == RunKind::Records
                    && run.base_offset.0 <= offset
                    && offset <= run.last_offset.0
            })
        };
        let entries = self.entries_of(node);
        let found = entries.iter().find_map(|bytes| {
            let position = Position(position_in(bytes));
            holds(&Entry::of_page(bytes, position)).then_some(position)
        });
        found.expect("the record is on disk")
    }

    /// Bytes on a node's disk rot.
    pub fn rot(&mut self, node: usize, position: Position, bytes: u64) {
        self.nodes[node].disk.rot(SegmentId(0), position.0, bytes);
    }

    /// A node's disk can't read the block at a position any more.
    pub fn lose(&mut self, node: usize, position: Position) {
        self.nodes[node].disk.lose(SegmentId(0), position.0);
    }

    /// What a node tells of itself.
    pub fn snapshot(&self, node: usize) -> ShardSnapshot {
        self.nodes[node].shard.as_ref().expect("it runs").snapshot()
    }

    /// All journals that are on disk hold the same entries, byte for byte.
    pub fn assert_journals_agree(&mut self) {
        let journals: Vec<Vec<u32>> =
            (0..self.nodes.len()).map(|node| self.journal_of(node)).collect();
        assert!(journals[0].len() > 1);
        for (node, journal) in journals.iter().enumerate() {
            assert_eq!(*journal, journals[0], "node {node} differs from node 0");
        }
    }

    /// The checksums of a node's entries.
    fn journal_of(&mut self, node: usize) -> Vec<u32> {
        let entries = self.entries_of(node);
        let crc = |entry: &Vec<u8>| u32::from_le_bytes(entry[4..8].try_into().expect("four bytes"));
        entries.iter().map(crc).collect()
    }
}

/// Where an entry says that it lies.
fn position_in(entry: &[u8]) -> u64 {
    u64::from_le_bytes(entry[16..24].try_into().expect("eight bytes"))
}
