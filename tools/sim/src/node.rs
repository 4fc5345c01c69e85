//! A process under test: its shards, what lies in front of each, and the mesh between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hutong::journal::page::MemoryPage;
use hutong::journal::source::GroupFiles;
use hutong::metadata::placement::replicas;
use hutong::model::ids::{GroupId, NodeId, ShardId, shard_of_group};
use hutong::model::time::Now;
use hutong::shard::control::CATALOG_GROUP;
use hutong::shard::input::Input;
use hutong::shard::message::ShardMessage;
use hutong::shard::{NodeAddress, Shard, ShardConfig};

use crate::disk::Disk;
use crate::plan::Plan;

/// One life of the process, from start to crash or stop.
pub struct Node {
    pub shards: Vec<Running>,
    pub mesh: BTreeMap<(u16, u16), Lane>,
    /// It was told to stop.
    pub stopping: bool,
}

/// Messages from one shard to another, in order.
#[derive(Debug, Default)]
pub struct Lane {
    pub messages: VecDeque<ShardMessage>,
    pub last_at: u64,
}

/// A shard with its driver's state.
pub struct Running {
    pub shard: Shard<MemoryPage>,
    pub inbox: VecDeque<Input<MemoryPage>>,
    pub turn_scheduled: bool,
    pub wake_at: u64,
    pub ready: bool,
    pub ready_at: u64,
    pub stopped: bool,
    /// Journal reads under way, and when the last one ended: fetches may wait for these.
    pub reads: usize,
    pub last_read_at: u64,
}

/// The port of each node's shard 0.
pub const BASE_PORT: u16 = 9092;

/// Whether a node begins with a group. One that joins begins with the catalog's.
pub fn holds(plan: &Plan, node: usize, group: GroupId) -> bool {
    match node < plan.nodes {
        true => replicas(group, &node_ids(plan)).contains(&NodeId(node as u32)),
        false => group == CATALOG_GROUP,
    }
}

/// The nodes that form the cluster.
pub fn node_ids(plan: &Plan) -> Vec<NodeId> {
    (0..plan.nodes as u32).map(NodeId).collect()
}

/// What a shard of a node is started with.
pub fn config(plan: &Plan, node: usize, shards: u16, shard: ShardId, seed: u64) -> ShardConfig {
    let address = |node: NodeId| NodeAddress {
        node,
        host: format!("node-{node}"),
        port: BASE_PORT,
        directory: 0,
    };
    let own = NodeId(node as u32);
    let mut nodes = node_ids(plan);
    nodes.extend((node >= plan.nodes).then_some(own));
    ShardConfig {
        node: own,
        shard,
        shards,
        groups: plan.groups,
        cluster_id: "simulated".into(),
        formed: node_ids(plan),
        nodes: nodes.into_iter().map(address).collect(),
        directory: 1 + node as u128,
        advertised_host: format!("node-{node}"),
        base_port: BASE_PORT,
        data_directory: "/sim".into(),
        segment_bytes: plan.segment_bytes,
        journal_cache_bytes: plan.journal_cache_bytes,
        scrub_bytes_per_second: plan.scrub_bytes_per_second,
        checkpoint_bytes: plan.checkpoint_bytes,
        auto_create_topics: false,
        default_partitions: 1,
        seed: seed.wrapping_add(u64::from(shard.0)),
    }
}

impl Node {
    /// Starts `shards` shards from what the disk holds; some groups without their journals.
    ///
    /// # Errors
    /// What recovery refuses.
    pub fn start(
        plan: &Plan,
        node: usize,
        shards: u16,
        disk: &mut Disk,
        given_up: &BTreeSet<GroupId>,
        now: Now,
        seed: u64,
    ) -> Result<Node, String> {
        let mut running = Vec::new();
        for shard in (0..shards).map(ShardId) {
            let files = disk
                .groups_here()
                .filter(|group| shard_of_group(*group, shards) == shard)
                .map(|group| {
                    let wants_snapshot = given_up.contains(&group);
                    GroupFiles { wants_snapshot, ..disk.group_files(group) }
                })
                .collect();
            let mut config = config(plan, node, shards, shard, seed);
            if !disk.known_nodes().is_empty() {
                config.nodes = disk.known_nodes().to_vec();
            }
            let shard = Shard::open(config, files, disk, now)
                .map_err(|why| format!("node {node} refuses to start: {why}"))?;
            running.push(Running {
                shard,
                inbox: VecDeque::new(),
                turn_scheduled: false,
                wake_at: u64::MAX,
                ready: false,
                ready_at: 0,
                stopped: false,
                reads: 0,
                last_read_at: 0,
            });
        }
        Ok(Node { shards: running, mesh: BTreeMap::new(), stopping: false })
    }

    /// The shard that runs a group.
    pub fn shard_of(&self, group: GroupId) -> u16 {
        shard_of_group(group, self.shards.len() as u16).0
    }
}
