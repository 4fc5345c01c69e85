//! Who leads what, and where it is reached: each shard of each node is a Kafka broker.

use crate::kafka::leader_hint::NodeEndpoint;
use crate::model::ids::{GroupId, NodeId, ShardId, broker_id, shard_of_group};
use crate::model::position::Term;
use crate::shard::ShardConfig;

/// The cluster as this shard knows it.
#[derive(Clone, Debug)]
pub struct Cluster {
    node: NodeId,
    shard: ShardId,
    shards: u16,
    host: String,
    base_port: u16,
    cluster_id: String,
    /// The term of each group's leader, once it has one.
    terms: Vec<Option<Term>>,
}

/// A broker, as Metadata shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broker<'a> {
    pub id: i32,
    pub host: &'a str,
    pub port: i32,
}

impl Cluster {
    /// The cluster of a node that was just started: no group has a leader yet.
    pub fn new(config: &ShardConfig) -> Cluster {
        Cluster {
            node: config.node,
            shard: config.shard,
            shards: config.shards,
            host: config.advertised_host.clone(),
            base_port: config.base_port,
            cluster_id: config.cluster_id.clone(),
            terms: vec![None; config.groups as usize],
        }
    }

    /// A group has a leader.
    pub fn learn(&mut self, group: GroupId, term: Term) {
        if let Some(known) = self.terms.get_mut(group.0 as usize) {
            *known = Some(term.max(known.unwrap_or_default()));
        }
    }

    /// Whether every group has a leader.
    pub fn is_complete(&self) -> bool {
        self.terms.iter().all(Option::is_some)
    }

    /// The broker that leads a group, and its leader epoch.
    pub fn leader(&self, group: GroupId) -> Option<(i32, i32)> {
        let term = (*self.terms.get(group.0 as usize)?)?;
        Some((broker_id(self.node, shard_of_group(group, self.shards)), term.0 as i32))
    }

    /// Where the leader named in a response is reached.
    pub fn hint(&self, leader: Option<(i32, i32)>) -> Option<NodeEndpoint<'_>> {
        let (id, _) = leader?;
        self.brokers().find(|broker| broker.id == id).map(|broker| NodeEndpoint {
            node_id: broker.id,
            host: broker.host,
            port: broker.port,
            rack: None,
        })
    }

    /// All brokers there are.
    pub fn brokers(&self) -> impl Iterator<Item = Broker<'_>> {
        (0..self.shards).map(|shard| Broker {
            id: broker_id(self.node, ShardId(shard)),
            host: &self.host,
            port: i32::from(self.base_port) + i32::from(shard),
        })
    }

    /// The broker id of this shard.
    pub fn own_id(&self) -> i32 {
        broker_id(self.node, self.shard)
    }

    /// The broker that takes changes of the catalog. Any shard passes them on, so a client that
    /// asks this one is right as well.
    pub fn controller_id(&self) -> i32 {
        broker_id(self.node, ShardId(0))
    }

    /// The host and port of this shard.
    pub fn own_endpoint(&self) -> (&str, i32) {
        (&self.host, i32::from(self.base_port) + i32::from(self.shard.0))
    }

    /// The cluster's id.
    pub fn id(&self) -> &str {
        &self.cluster_id
    }

    /// The shards of this node but this one.
    pub fn other_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.shard;
        (0..self.shards).map(ShardId).filter(move |shard| *shard != own)
    }

    /// This shard.
    pub fn shard(&self) -> ShardId {
        self.shard
    }
}
