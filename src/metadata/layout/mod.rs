//! Which nodes there are, and which of them hold each group.
//!
//! This says how it shall be. A group's own journal says how it is ([`Members`]), and its leader
//! takes one step after the other from there to here. `plan` computes what a layout becomes when
//! nodes come and go; here is what it consists of.
//!
//! [`Members`]: crate::replica::Members

use std::collections::BTreeMap;

use super::codec::{DecodeError, Reader, put_count, put_text};
use super::placement;
use crate::limits::{GROUPS_MAX, HOST_BYTES_MAX, NODES_MAX};
use crate::model::ids::{GroupId, NodeId};

mod plan;

/// The nodes of a cluster and what each of them holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Goes up by one with each change, so that of two changes made from the same layout only one
    /// is accepted.
    pub epoch: u64,
    /// Groups the cluster was formed with. Consumer groups are spread over these for ever.
    pub formed_groups: u32,
    pub nodes: BTreeMap<NodeId, LayoutNode>,
    /// Group g is at g.
    pub groups: Vec<GroupPlace>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayoutNode {
    /// Where its shard 0 is reached. `None` for a node that formed the cluster: the others were
    /// told with `--peers`.
    pub address: Option<(String, u16)>,
    /// What its data directory drew when it was made; 0 as long as nobody has seen it.
    pub directory: u128,
    pub state: NodeState,
}

/// What a node is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// It holds groups and leads some of them.
    #[default]
    Member,
    /// It holds groups and shall lead none, as far as others can.
    Draining,
    /// It shall hold nothing any more.
    Leaving,
}

/// Who holds a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlace {
    /// The voters it was made with: what its journal's changes of members go out from.
    pub born: Vec<NodeId>,
    /// Who shall hold it. The first that isn't draining shall lead it.
    pub nodes: Vec<NodeId>,
    /// How many copies there shall be when there are as many nodes; 0 for one on each node.
    pub copies: u16,
}

impl Layout {
    /// The layout of a new cluster. `nodes` is ascending.
    pub fn formed(groups: u32, nodes: &[NodeId]) -> Layout {
        let place = |group| {
            let born = placement::replicas(group, nodes);
            let copies = if group == GroupId(0) { 0 } else { born.len() as u16 };
            GroupPlace { nodes: born.clone(), born, copies }
        };
        Layout {
            epoch: 0,
            formed_groups: groups.max(1),
            nodes: nodes.iter().map(|node| (*node, LayoutNode::default())).collect(),
            groups: (0..groups.max(1)).map(GroupId).map(place).collect(),
        }
    }

    /// The nodes that shall hold a group; none if there is no such group.
    pub fn holders(&self, group: GroupId) -> &[NodeId] {
        self.groups.get(group.0 as usize).map_or(&[], |place| &place.nodes)
    }

    /// The groups that some node holds by this layout, and not by the next.
    pub fn taken_by(&self, next: &Layout) -> impl Iterator<Item = GroupId> {
        let groups = (0..self.groups.len() as u32).map(GroupId);
        groups.filter(|group| {
            let after = next.holders(*group);
            self.holders(*group).iter().any(|node| !after.contains(node))
        })
    }

    /// Who shall lead a group.
    pub fn first(&self, group: GroupId) -> Option<NodeId> {
        let holders = self.holders(group).iter().copied();
        holders.clone().find(|node| self.is_member(*node)).or(holders.clone().next())
    }

    /// How many copies of a topic's partitions there are when it doesn't say: the usual number or,
    /// as long as no group has as many, those of the catalog's.
    pub fn copies_default(&self) -> usize {
        let usual = self.copies_usual();
        match self.groups_of(usual).is_empty() {
            true => self.holders(GroupId(0)).len(),
            false => usual,
        }
    }

    /// How many copies of a group are usual: any one may be lost.
    pub fn copies_usual(&self) -> usize {
        self.count_members().min(placement::REPLICAS_DEFAULT)
    }

    /// Nodes that may hold groups.
    pub fn count_members(&self) -> usize {
        self.nodes.values().filter(|node| node.state != NodeState::Leaving).count()
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.state == NodeState::Member)
    }

    /// What no layout may be, as the end of a sentence.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.nodes.is_empty() || self.nodes.len() > NODES_MAX {
            return Err(format!("{} nodes, of 1 to {NODES_MAX}", self.nodes.len()));
        }
        let groups = self.groups.len();
        if groups > GROUPS_MAX as usize
            || groups < self.formed_groups as usize
            || self.formed_groups == 0
        {
            return Err(format!("{groups} groups, of 1 to {GROUPS_MAX}"));
        }
        for (number, place) in self.groups.iter().enumerate() {
            let unknown = place.nodes.iter().find(|node| !self.nodes.contains_key(node));
            let twice =
                (1..place.nodes.len()).any(|at| place.nodes[..at].contains(&place.nodes[at]));
            if place.nodes.is_empty() || place.born.is_empty() || unknown.is_some() || twice {
                return Err(format!("group {number} lies on nodes that can't be"));
            }
        }
        Ok(())
    }

    /// The layout in `bytes`, which hold nothing else.
    ///
    /// # Errors
    /// If there is none, or one that can't be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Layout, DecodeError> {
        let mut reader = Reader::new(bytes);
        let layout = Layout::decode(&mut reader)?;
        reader.end()?;
        Ok(layout)
    }

    /// Appends the layout's bytes.
    ///
    /// ```text
    /// epoch u64 | formed groups u32
    /// nodes u32, ascending, each: id u32 | state u8 | directory 16 bytes | host string | port u16
    /// groups u32, each: copies u16 | born u32, u32 each | nodes u32, u32 each
    /// ```
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.epoch.to_le_bytes());
        out.extend(self.formed_groups.to_le_bytes());
        put_count(out, self.nodes.len());
        for (id, node) in &self.nodes {
            out.extend(id.0.to_le_bytes());
            out.push(node.state as u8);
            out.extend(node.directory.to_le_bytes());
            // No host: it has no address.
            let (host, port) = node.address.as_ref().map_or(("", 0), |(host, port)| (host, *port));
            put_text(out, host);
            out.extend(port.to_le_bytes());
        }
        put_count(out, self.groups.len());
        for place in &self.groups {
            out.extend(place.copies.to_le_bytes());
            for nodes in [&place.born, &place.nodes] {
                put_count(out, nodes.len());
                nodes.iter().for_each(|node| out.extend(node.0.to_le_bytes()));
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Layout, DecodeError> {
        let (epoch, formed_groups) = (reader.u64()?, reader.u32()?);
        let mut nodes = BTreeMap::new();
        for _ in 0..reader.count("nodes", NODES_MAX)? {
            let id = NodeId(reader.u32()?);
            let state = match reader.u8()? {
                0 => NodeState::Member,
                1 => NodeState::Draining,
                2 => NodeState::Leaving,
                tag => return Err(DecodeError::UnknownTag { what: "state of a node", tag }),
            };
            let directory = u128::from_le_bytes(reader.array()?);
            let host = reader.text(HOST_BYTES_MAX)?.to_owned();
            let address = Some((host, reader.u16()?)).filter(|(host, _)| !host.is_empty());
            if nodes.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(DecodeError::Inconsistent(format!("node {id} is out of order")));
            }
            nodes.insert(id, LayoutNode { address, directory, state });
        }
        let mut groups = Vec::new();
        for _ in 0..reader.count("groups", GROUPS_MAX as usize)? {
            let copies = reader.u16()?;
            let (born, nodes) = (read_nodes(reader)?, read_nodes(reader)?);
            groups.push(GroupPlace { born, nodes, copies });
        }
        let layout = Layout { epoch, formed_groups, nodes, groups };
        layout.check().map_err(DecodeError::Inconsistent)?;
        Ok(layout)
    }
}

fn read_nodes(reader: &mut Reader<'_>) -> Result<Vec<NodeId>, DecodeError> {
    let count = reader.count("nodes of a group", NODES_MAX)?;
    (0..count).map(|_| Ok(NodeId(reader.u32()?))).collect()
}
