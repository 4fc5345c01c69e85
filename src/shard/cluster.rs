//! Who leads what, and where it is reached: each shard of each node is a Kafka broker.

use std::collections::BTreeMap;

use crate::kafka::leader_hint::NodeEndpoint;
use crate::limits::GROUPS_MAX;
use crate::metadata::Layout;
use crate::model::ids::{GroupId, NodeId, ShardId, broker_id, shard_of_group};
use crate::model::position::Term;
use crate::shard::control::CATALOG_GROUP;
use crate::shard::{NodeAddress, ShardConfig};

/// The cluster as this shard knows it.
#[derive(Clone, Debug)]
pub struct Cluster {
    node: NodeId,
    shard: ShardId,
    cluster_id: String,
    /// All nodes of the cluster, ascending.
    members: Vec<NodeId>,
    /// Who shall hold each group.
    holders: Vec<Vec<NodeId>>,
    /// Where they are, as this one was told.
    addresses: Vec<NodeAddress>,
    /// Those that have been heard of, this one included. Also before the layout that says that they
    /// are members comes here, and after they are none any more.
    nodes: BTreeMap<NodeId, Node>,
    /// Each group's leader, once it has one.
    leaders: Vec<Option<Leader>>,
}

/// A node, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub host: String,
    /// Shard 0's port.
    pub port: u16,
    pub shards: u16,
    /// Whether anybody here is connected to it.
    pub is_up: bool,
}

/// Who leads a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    pub node: NodeId,
    pub term: Term,
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
        let own = Node {
            host: config.advertised_host.clone(),
            port: config.base_port,
            shards: config.shards,
            is_up: true,
        };
        let formed = Layout::formed(config.groups, &config.formed);
        Cluster {
            node: config.node,
            shard: config.shard,
            cluster_id: config.cluster_id.clone(),
            members: config.nodes.iter().map(|address| address.node).collect(),
            addresses: config.nodes.clone(),
            nodes: BTreeMap::from([(config.node, own)]),
            leaders: vec![None; config.groups as usize],
            holders: formed.groups.into_iter().map(|place| place.nodes).collect(),
        }
    }

    /// Nodes or groups have come or gone.
    pub fn follow(&mut self, layout: &Layout) {
        self.members = layout.nodes.keys().copied().collect();
        for (id, node) in &layout.nodes {
            let known = self.addresses.iter_mut().find(|known| known.node == *id);
            match (known, node.address.clone()) {
                (Some(known), address) => {
                    known.directory = node.directory;
                    if let Some((host, port)) = address {
                        (known.host, known.port) = (host, port);
                    }
                }
                (None, Some((host, port))) => self.addresses.push(NodeAddress {
                    node: *id,
                    host,
                    port,
                    directory: node.directory,
                }),
                (None, None) => {}
            }
        }
        let members = &self.members;
        self.addresses.retain(|address| members.contains(&address.node));
        let groups = self.leaders.len().max(layout.groups.len());
        self.leaders.resize(groups, None);
        self.holders = layout.groups.iter().map(|place| place.nodes.clone()).collect();
    }

    /// A node of the cluster, if it has been heard of.
    fn heard_of(&self, id: NodeId) -> Option<&Node> {
        let is_member = id == self.node || self.members.contains(&id);
        self.nodes.get(&id).filter(|_| is_member)
    }

    /// Whether a node can be reached, as far as anybody here knows.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.heard_of(node).is_some_and(|node| node.is_up)
    }

    /// Where the nodes of the cluster are, as this one was told.
    pub fn addresses(&self) -> &[NodeAddress] {
        &self.addresses
    }

    /// Who shall hold a group.
    pub fn holders(&self, group: GroupId) -> &[NodeId] {
        self.holders.get(group.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// A group has a leader, unless a later one is known. Returns whether that is news.
    pub fn learn(&mut self, group: GroupId, leader: Leader) -> bool {
        let at = group.0 as usize;
        if at >= self.leaders.len() && group.0 < GROUPS_MAX {
            // It was added, and the layout that says so hasn't come here yet.
            self.leaders.resize(at + 1, None);
        }
        let Some(known) = self.leaders.get_mut(at) else { return false };
        if known.is_some_and(|known| known.term >= leader.term) {
            return false;
        }
        *known = Some(leader);
        true
    }

    /// A node was heard of. Returns whether that is news.
    pub fn learn_node(&mut self, id: NodeId, node: Node) -> bool {
        self.nodes.insert(id, node.clone()) != Some(node)
    }

    /// Nobody here is connected to a node any more. Returns what is known of it.
    pub fn lost_node(&mut self, id: NodeId) -> Option<Node> {
        let node = self.nodes.get_mut(&id)?;
        node.is_up = false;
        Some(node.clone())
    }

    /// Whether every group has a leader.
    pub fn is_complete(&self) -> bool {
        self.leaders.iter().all(Option::is_some)
    }

    /// The node that leads a group, and its term.
    pub fn leading(&self, group: GroupId) -> Option<Leader> {
        *self.leaders.get(group.0 as usize)?
    }

    /// The broker that leads a group, and its leader epoch.
    pub fn leader(&self, group: GroupId) -> Option<(i32, i32)> {
        let leader = self.leading(group)?;
        let node = self.heard_of(leader.node)?;
        let shard = shard_of_group(group, node.shards);
        Some((broker_id(leader.node, shard), leader.term.0 as i32))
    }

    /// The brokers that hold a group, the one that should lead first: those that can be reached
    /// and those that can't.
    pub fn replicas(&self, group: GroupId) -> (Vec<i32>, Vec<i32>) {
        let mut replicas = (Vec::new(), Vec::new());
        for id in self.holders(group) {
            match self.heard_of(*id) {
                Some(node) => {
                    let broker = broker_id(*id, shard_of_group(group, node.shards));
                    let list = if node.is_up { &mut replicas.0 } else { &mut replicas.1 };
                    list.push(broker);
                }
                // How many shards it has isn't known before it has said so.
                None => replicas.1.push(broker_id(*id, ShardId(0))),
            }
        }
        replicas
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

    /// All brokers that can be reached.
    pub fn brokers(&self) -> impl Iterator<Item = Broker<'_>> {
        let nodes = self.nodes.keys().filter_map(|id| Some((*id, self.heard_of(*id)?)));
        nodes.filter(|(_, node)| node.is_up).flat_map(|(id, node)| {
            (0..node.shards).map(move |shard| Broker {
                id: broker_id(id, ShardId(shard)),
                host: &node.host,
                port: i32::from(node.port) + i32::from(shard),
            })
        })
    }

    /// All brokers there are, and whether each can be reached. Of a node that hasn't been heard of
    /// since this one was started only shard 0 is known, by the address that this one was given.
    pub fn all_brokers(&self) -> impl Iterator<Item = (Broker<'_>, bool)> {
        self.addresses.iter().flat_map(|address| {
            let known = self.heard_of(address.node);
            let (host, port, shards, is_up) = match known {
                Some(node) => (&node.host, node.port, node.shards, node.is_up),
                None => (&address.host, address.port, 1, false),
            };
            (0..shards).map(move |shard| {
                let id = broker_id(address.node, ShardId(shard));
                (Broker { id, host, port: i32::from(port) + i32::from(shard) }, is_up)
            })
        })
    }

    /// The broker that is a node's replica of a group: shard 0 as long as it isn't known how many
    /// shards the node has.
    pub fn replica_of(&self, group: GroupId, node: NodeId) -> i32 {
        let shards = self.heard_of(node).map_or(1, |node| node.shards);
        broker_id(node, shard_of_group(group, shards))
    }

    /// The broker id of this shard.
    pub fn own_id(&self) -> i32 {
        broker_id(self.node, self.shard)
    }

    /// The broker that takes changes of the catalog: the leader of group 0. Any shard passes them
    /// on, so a client that asks this one is right as well.
    pub fn controller_id(&self) -> i32 {
        let leader = self.leading(CATALOG_GROUP).map_or(self.node, |leader| leader.node);
        broker_id(leader, ShardId(0))
    }

    /// The host and port of this shard.
    pub fn own_endpoint(&self) -> (&str, i32) {
        let own = self.own();
        (&own.host, i32::from(own.port) + i32::from(self.shard.0))
    }

    /// The cluster's id.
    pub fn id(&self) -> &str {
        &self.cluster_id
    }

    /// The shards of this node but this one.
    pub fn other_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.shard;
        (0..self.own().shards).map(ShardId).filter(move |shard| *shard != own)
    }

    fn own(&self) -> &Node {
        self.nodes.get(&self.node).expect("a node knows of itself")
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether there are other nodes.
    pub fn has_others(&self) -> bool {
        self.members.len() > 1
    }

    /// All nodes but this one.
    pub fn others(&self) -> impl Iterator<Item = NodeId> {
        self.members.iter().copied().filter(|node| *node != self.node)
    }

    /// All nodes, ascending.
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// This shard.
    pub fn shard(&self) -> ShardId {
        self.shard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shard 1 of node 0, which was formed alone.
    fn alone() -> Cluster {
        let own = NodeAddress { node: NodeId(0), host: "0".into(), port: 9092, directory: 0 };
        let (shard, nodes) = (ShardId(1), vec![own]);
        Cluster::new(&ShardConfig { shard, shards: 2, nodes, ..crate::shard::tests::config() })
    }

    /// Shard 0 may know a newer layout, is connected to who is new in it, and tells the others,
    /// who get the layouts one after the other.
    #[test]
    fn a_node_that_is_heard_of_before_its_layout_is_known_with_it() {
        let mut cluster = alone();
        let formed = Layout::formed(1, &[NodeId(0)]);
        let first = formed.with_node(NodeId(1), "1", 9092).expect("it may come");
        let second = first.with_node(NodeId(2), "2", 9092).expect("it may come");
        let node = Node { host: "2".into(), port: 9092, shards: 1, is_up: true };
        cluster.learn_node(NodeId(2), node);
        let leader = Leader { node: NodeId(2), term: Term(3) };
        assert!(cluster.learn(GroupId(0), leader));
        cluster.follow(&first);
        assert_eq!(cluster.leader(GroupId(0)), None, "it is none of the cluster yet");
        cluster.follow(&second);
        let leader = cluster.leader(GroupId(0));
        assert_eq!(leader, Some((broker_id(NodeId(2), ShardId(0)), 3)));
        assert_eq!(cluster.hint(leader).expect("it is up").host, "2");
        cluster.follow(&first);
        assert!(cluster.hint(leader).is_none() && !cluster.is_up(NodeId(2)));
        assert_eq!(cluster.brokers().count(), 2);
    }
}
