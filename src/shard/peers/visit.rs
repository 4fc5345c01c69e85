//! What is asked by someone who is no node: `hutong cluster`, which changes the cluster, and a node
//! that wants to join it and has nothing yet. `docs/peer-protocol.md` draws it.
//!
//! A visitor connects, asks one thing after the other, and is answered, without a hello. Whoever
//! may connect may ask: the port is to be kept from strangers, as that of the peer protocol is.

use crate::limits::NODES_MAX;
use crate::metadata::Layout;
use crate::model::ids::{GroupId, NodeId};
use crate::shard::peers::wire::{NotUnderstood, PROTOCOL_VERSION, Reader, put_text};

/// What a visitor's first request begins with. As the head of a Kafka request it would be Produce
/// version 0, as a node's hello would.
pub const MAGIC: &[u8; 8] = b"HUTONG\x7f\xfe";

const JOIN: u8 = 1;
const ADD: u8 = 2;
const REMOVE: u8 = 3;
const FORGET: u8 = 4;
const DRAIN: u8 = 5;
const ADD_GROUPS: u8 = 6;
const TRANSFER: u8 = 7;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visit {
    /// A node with an empty data directory: what was the cluster formed of?
    Join { cluster_id: String, node: NodeId },
    /// Change which nodes and groups there are.
    Change(Change),
}

/// A change of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node comes, or is somewhere else.
    Add { node: NodeId, host: String, port: u16 },
    /// A node goes: its groups move to others.
    Remove { node: NodeId },
    /// A node that holds nothing any more is gone.
    Forget { node: NodeId },
    /// A node shall lead nothing, or may again.
    Drain { node: NodeId, drains: bool },
    /// Another of its nodes shall lead a group.
    Transfer { group: GroupId, to: NodeId },
    /// More groups. No copies: as many as topics have that don't say.
    AddGroups { count: u32, copies: u16 },
}

/// The answer to [`Visit::Join`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joining {
    /// The node belongs to the cluster, which was formed of this.
    Formed(Formation),
    /// It may do so later: why not now.
    NotYet(String),
}

/// What a cluster was formed of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formation {
    pub nodes: Vec<NodeId>,
    pub groups: u32,
    pub segment_bytes: u64,
}

impl Change {
    /// What a layout becomes by it.
    ///
    /// # Errors
    /// A sentence: why that can't be. Whether a majority would be left depends on who `is_up`.
    pub fn made_to(
        &self,
        layout: &Layout,
        is_up: impl Fn(NodeId) -> bool,
    ) -> Result<Layout, String> {
        match self {
            Change::Add { node, host, port } => layout.with_node(*node, host, *port),
            Change::Remove { node } => layout.without_node(*node, is_up),
            Change::Forget { node } => layout.forgetting(*node),
            Change::Drain { node, drains } => layout.draining(*node, *drains),
            Change::Transfer { group, to } => layout.preferring(*group, *to),
            Change::AddGroups { count, copies } => {
                let copies = match copies {
                    0 => layout.copies_usual(),
                    copies => usize::from(*copies),
                };
                layout.with_groups(*count, copies)
            }
        }
    }
}

impl Visit {
    /// The request's payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(PROTOCOL_VERSION.to_le_bytes());
        match self {
            Visit::Join { cluster_id, node } => {
                out.push(JOIN);
                out.extend(node.0.to_le_bytes());
                put_text(cluster_id, &mut out);
            }
            Visit::Change(Change::Add { node, host, port }) => {
                out.push(ADD);
                out.extend(node.0.to_le_bytes());
                put_text(host, &mut out);
                out.extend(port.to_le_bytes());
            }
            Visit::Change(Change::Remove { node }) => put_node(REMOVE, *node, &mut out),
            Visit::Change(Change::Forget { node }) => put_node(FORGET, *node, &mut out),
            Visit::Change(Change::Drain { node, drains }) => {
                put_node(DRAIN, *node, &mut out);
                out.push(u8::from(*drains));
            }
            Visit::Change(Change::AddGroups { count, copies }) => {
                out.push(ADD_GROUPS);
                out.extend(count.to_le_bytes());
                out.extend(copies.to_le_bytes());
            }
            Visit::Change(Change::Transfer { group, to }) => {
                out.push(TRANSFER);
                out.extend(group.0.to_le_bytes());
                out.extend(to.0.to_le_bytes());
            }
        }
        out
    }

    /// The request in a payload, if it is a visitor's. One of another version can't be read.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(payload: &[u8]) -> Result<Visit, NotUnderstood> {
        let rest = payload.strip_prefix(MAGIC).ok_or(NotUnderstood)?;
        let mut reader = Reader::new(rest);
        if reader.u16()? != PROTOCOL_VERSION {
            return Err(NotUnderstood);
        }
        let kind = reader.u8()?;
        let mut node = || reader.u32().map(NodeId);
        let visit = match kind {
            JOIN => Visit::Join { node: node()?, cluster_id: reader.text()? },
            ADD => Visit::Change(Change::Add {
                node: node()?,
                host: reader.text()?,
                port: reader.u16()?,
            }),
            REMOVE => Visit::Change(Change::Remove { node: node()? }),
            FORGET => Visit::Change(Change::Forget { node: node()? }),
            DRAIN => Visit::Change(Change::Drain { node: node()?, drains: reader.u8()? != 0 }),
            ADD_GROUPS => {
                Visit::Change(Change::AddGroups { count: reader.u32()?, copies: reader.u16()? })
            }
            TRANSFER => {
                let (group, to) = (GroupId(reader.u32()?), NodeId(reader.u32()?));
                Visit::Change(Change::Transfer { group, to })
            }
            _ => return Err(NotUnderstood),
        };
        reader.rest.is_empty().then_some(visit).ok_or(NotUnderstood)
    }
}

fn put_node(kind: u8, node: NodeId, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend(node.0.to_le_bytes());
}

/// Appends the answer to a visit: nothing more than that it was done, what was asked for, or a
/// sentence that says why not.
pub fn put_answer(answer: &Result<Vec<u8>, String>, out: &mut Vec<u8>) {
    match answer {
        Ok(bytes) => {
            out.push(0);
            out.extend(bytes);
        }
        Err(why) => {
            out.push(1);
            put_text(why, out);
        }
    }
}

/// Reads the answer to a visit.
///
/// # Errors
/// If it is none.
pub fn answer(payload: &[u8]) -> Result<Result<&[u8], String>, NotUnderstood> {
    match payload.split_first().ok_or(NotUnderstood)? {
        (0, rest) => Ok(Ok(rest)),
        (1, rest) => Ok(Err(Reader::new(rest).text()?)),
        _ => Err(NotUnderstood),
    }
}

impl Joining {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Joining::Formed(formation) => {
                out.push(0);
                formation.encode(&mut out);
            }
            Joining::NotYet(why) => {
                out.push(1);
                put_text(why, &mut out);
            }
        }
        out
    }

    /// What is in `bytes`.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn decode(bytes: &[u8]) -> Result<Joining, NotUnderstood> {
        match bytes.split_first().ok_or(NotUnderstood)? {
            (0, rest) => Ok(Joining::Formed(Formation::decode(rest)?)),
            (1, rest) => Ok(Joining::NotYet(Reader::new(rest).text()?)),
            _ => Err(NotUnderstood),
        }
    }
}

impl Formation {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.groups.to_le_bytes());
        out.extend(self.segment_bytes.to_le_bytes());
        out.extend((self.nodes.len() as u16).to_le_bytes());
        self.nodes.iter().for_each(|node| out.extend(node.0.to_le_bytes()));
    }

    fn decode(bytes: &[u8]) -> Result<Formation, NotUnderstood> {
        let mut reader = Reader::new(bytes);
        let (groups, segment_bytes) = (reader.u32()?, reader.u64()?);
        let count = usize::from(reader.u16()?);
        if count == 0 || count > NODES_MAX {
            return Err(NotUnderstood);
        }
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(NodeId(reader.u32()?));
        }
        reader.rest.is_empty().then_some(()).ok_or(NotUnderstood)?;
        Ok(Formation { nodes, groups, segment_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_come_back_as_they_were_and_cuts_are_errors() {
        let node = NodeId(4);
        for visit in [
            Visit::Join { cluster_id: "c".into(), node },
            Visit::Change(Change::Add { node, host: "h".into(), port: 9 }),
            Visit::Change(Change::Remove { node }),
            Visit::Change(Change::Forget { node }),
            Visit::Change(Change::Drain { node, drains: true }),
            Visit::Change(Change::AddGroups { count: 3, copies: 0 }),
            Visit::Change(Change::Transfer { group: GroupId(3), to: node }),
        ] {
            let bytes = visit.encode();
            assert_eq!(Visit::decode(&bytes), Ok(visit));
            for len in 0..bytes.len() {
                assert_eq!(Visit::decode(&bytes[..len]), Err(NotUnderstood), "{len}");
            }
        }
    }

    #[test]
    fn answers_come_back_as_they_were() {
        let nodes = vec![NodeId(1), NodeId(2)];
        let formed = Joining::Formed(Formation { nodes, groups: 6, segment_bytes: 1 << 27 });
        for given in [Ok(formed.encode()), Err("no".to_string())] {
            let mut bytes = Vec::new();
            put_answer(&given, &mut bytes);
            assert_eq!(answer(&bytes), Ok(given.as_deref().map_err(String::clone)));
        }
        for joining in [formed, Joining::NotYet("later".into())] {
            assert_eq!(Joining::decode(&joining.encode()), Ok(joining));
        }
        assert_eq!(Joining::decode(&[]), Err(NotUnderstood));
    }
}
