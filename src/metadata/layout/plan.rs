//! What a layout becomes when nodes come and go. Pure: whoever asks proposes the result.

use std::collections::BTreeMap;

use super::{GroupPlace, Layout, LayoutNode, NodeState};
use crate::limits::{GROUPS_MAX, HOST_BYTES_MAX, NODES_MAX};
use crate::model::ids::{GroupId, NodeId};

impl Layout {
    /// With another node, which gets its share of the groups, and a copy of each that has fewer
    /// than it should. Of a node that is there already, the address changes.
    ///
    /// # Errors
    /// A sentence: why that can't be.
    pub fn with_node(&self, id: NodeId, host: &str, port: u16) -> Result<Layout, String> {
        if host.is_empty() || host.len() > HOST_BYTES_MAX {
            return Err(format!("a host has 1 to {HOST_BYTES_MAX} bytes"));
        }
        let address = Some((host.to_owned(), port));
        let mut next = self.next();
        if let Some(node) = next.nodes.get_mut(&id) {
            if node.state == NodeState::Leaving {
                return Err(format!(
                    "node {id} is being removed: let that finish, and give the new node an id that \
                     was never used"
                ));
            }
            if node.address == address {
                return Err(format!("node {id} is in the cluster already"));
            }
            node.address = address;
            return Ok(next);
        }
        if next.nodes.len() == NODES_MAX {
            return Err(format!("a cluster has up to {NODES_MAX} nodes"));
        }
        next.nodes.insert(id, LayoutNode { address, ..LayoutNode::default() });
        for place in &mut next.groups {
            if place.copies == 0 || place.nodes.len() < usize::from(place.copies) {
                place.nodes.push(id);
            }
        }
        next.rebalance();
        Ok(next)
    }

    /// Without a node: others take its groups, as far as there are others.
    ///
    /// # Errors
    /// A sentence: why that can't be. A group would be left without a majority that `is_up`.
    pub fn without_node(
        &self,
        id: NodeId,
        is_up: impl Fn(NodeId) -> bool,
    ) -> Result<Layout, String> {
        let mut next = self.next();
        let node = next.nodes.get_mut(&id).ok_or_else(|| no_such(id))?;
        if node.state == NodeState::Leaving {
            return Err(format!("node {id} is being removed already"));
        }
        node.state = NodeState::Leaving;
        if next.count_members() == 0 {
            return Err(format!("node {id} is the last one: there is nothing to remove it from"));
        }
        for group in 0..next.groups.len() {
            let Some(at) = next.groups[group].nodes.iter().position(|node| *node == id) else {
                continue;
            };
            let loads = next.loads();
            let place = &mut next.groups[group];
            let free = loads.iter().filter(|(node, _)| !place.nodes.contains(node));
            match free.min_by_key(|(node, load)| (**load, **node)) {
                Some((other, _)) if place.copies > 0 => place.nodes[at] = *other,
                _ => {
                    place.nodes.remove(at);
                }
            }
            let up = place.nodes.iter().filter(|node| is_up(**node)).count();
            if up <= place.nodes.len() / 2 {
                let listed: Vec<String> =
                    place.nodes.iter().map(|node| node.0.to_string()).collect();
                return Err(format!(
                    "without node {id}, group {group} would lie on node {}, of which {up} can be \
                     reached: that is no majority, and nothing could be written any more. Start \
                     the others, or add a node first",
                    listed.join(", ")
                ));
            }
        }
        Ok(next)
    }

    /// Without any trace of a node that holds nothing any more.
    ///
    /// # Errors
    /// A sentence: it was not removed before.
    pub fn forgetting(&self, id: NodeId) -> Result<Layout, String> {
        let mut next = self.next();
        match next.nodes.remove(&id) {
            None => Err(no_such(id)),
            Some(node) if node.state != NodeState::Leaving => {
                Err(format!("node {id} holds groups: remove it first"))
            }
            Some(_) => Ok(next),
        }
    }

    /// With a node that shall lead nothing, or may again.
    ///
    /// # Errors
    /// A sentence: why that can't be.
    pub fn draining(&self, id: NodeId, drains: bool) -> Result<Layout, String> {
        let mut next = self.next();
        let node = next.nodes.get_mut(&id).ok_or_else(|| no_such(id))?;
        let wanted = if drains { NodeState::Draining } else { NodeState::Member };
        if node.state == NodeState::Leaving {
            return Err(format!("node {id} is being removed"));
        }
        if node.state == wanted {
            let is = if drains { "drained already" } else { "not drained" };
            return Err(format!("node {id} is {is}"));
        }
        node.state = wanted;
        Ok(next)
    }

    /// With a group that another of its nodes shall lead.
    ///
    /// # Errors
    /// A sentence: why that can't be.
    pub fn preferring(&self, group: GroupId, to: NodeId) -> Result<Layout, String> {
        let mut next = self.next();
        let place = next.groups.get_mut(group.0 as usize);
        let place = place.ok_or_else(|| format!("there is no group {group}"))?;
        let Some(at) = place.nodes.iter().position(|node| *node == to) else {
            return Err(format!("node {to} doesn't hold group {group}"));
        };
        place.nodes[..=at].rotate_right(1);
        if next.first(group) != Some(to) {
            return Err(format!("node {to} is drained: it leads nothing as long as others can"));
        }
        Ok(next)
    }

    /// With so many more groups of so many copies.
    ///
    /// # Errors
    /// A sentence: there would be too many, or there aren't as many nodes.
    pub fn with_groups(&self, count: u32, copies: usize) -> Result<Layout, String> {
        let members = self.count_members();
        if copies == 0 || copies > members {
            return Err(format!(
                "groups of {copies} replicas can't be: there are {members} nodes to hold them"
            ));
        }
        let total = self.groups.len() as u32 + count;
        if count == 0 || total > GROUPS_MAX {
            return Err(format!(
                "a cluster has up to {GROUPS_MAX} groups: there are {}, so 1 to {} can be added",
                self.groups.len(),
                GROUPS_MAX - self.groups.len() as u32
            ));
        }
        let mut next = self.next();
        for _ in 0..count {
            next.push_group(copies);
        }
        Ok(next)
    }

    /// With what a node's data directory drew.
    pub fn with_directory(&self, id: NodeId, directory: u128) -> Option<Layout> {
        let mut next = self.next();
        let node = next.nodes.get_mut(&id).filter(|node| node.directory == 0)?;
        node.directory = directory;
        Some(next)
    }

    fn next(&self) -> Layout {
        Layout { epoch: self.epoch + 1, ..self.clone() }
    }

    /// How many groups each node that may hold some has. Group 0 is everywhere and doesn't count.
    fn loads(&self) -> BTreeMap<NodeId, usize> {
        let members = self.nodes.iter().filter(|(_, node)| node.state != NodeState::Leaving);
        let mut loads: BTreeMap<NodeId, usize> = members.map(|(id, _)| (*id, 0)).collect();
        for node in self.groups.iter().skip(1).flat_map(|place| &place.nodes) {
            if let Some(load) = loads.get_mut(node) {
                *load += 1;
            }
        }
        loads
    }

    fn push_group(&mut self, copies: usize) {
        let loads = self.loads();
        let firsts = |node: NodeId| {
            let first = |place: &&GroupPlace| place.nodes.first() == Some(&node);
            self.groups.iter().skip(1).filter(first).count()
        };
        let mut nodes: Vec<NodeId> = loads.keys().copied().collect();
        nodes.sort_by_key(|node| (loads[node], *node));
        nodes.truncate(copies);
        nodes.sort_by_key(|node| (firsts(*node), *node));
        self.groups.push(GroupPlace { born: nodes.clone(), nodes, copies: copies as u16 });
    }

    /// Moves copies until no node has two more than another.
    fn rebalance(&mut self) {
        loop {
            let loads = self.loads();
            let most = loads.iter().max_by_key(|(node, load)| (**load, std::cmp::Reverse(**node)));
            let least = loads.iter().min_by_key(|(node, load)| (**load, **node));
            let (Some((from, most)), Some((to, least))) = (most, least) else { return };
            if most - least < 2 {
                return;
            }
            let movable = |place: &GroupPlace| {
                place.copies > 0 && place.nodes.contains(from) && !place.nodes.contains(to)
            };
            let Some(group) = self.groups.iter().position(movable) else { return };
            let nodes = &mut self.groups[group].nodes;
            let at = nodes.iter().position(|node| node == from).expect("it holds it");
            nodes[at] = *to;
        }
    }
}

/// Groups made for topics that ask for a number of copies that no group has: as many as the cluster
/// was formed with.
impl Layout {
    /// The groups that have so many copies.
    pub fn groups_of(&self, copies: usize) -> Vec<GroupId> {
        let all = (0..).map(GroupId).zip(&self.groups);
        all.filter(|(_, place)| place.nodes.len() == copies).map(|(group, _)| group).collect()
    }

    /// With groups of so many copies, if there were none.
    ///
    /// # Errors
    /// A sentence: there are too many groups already, or too few nodes.
    pub fn with_groups_of(&self, copies: usize) -> Result<Option<Layout>, String> {
        if !self.groups_of(copies).is_empty() {
            return Ok(None);
        }
        let room = GROUPS_MAX - self.groups.len() as u32;
        self.with_groups(self.formed_groups.min(room), copies).map(Some)
    }
}

fn no_such(id: NodeId) -> String {
    format!("there is no node {id} in this cluster")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn three() -> Layout {
        Layout::formed(3, &nodes(&[1, 2, 3]))
    }

    fn add(layout: &Layout, id: u32) -> Layout {
        let layout = layout.with_node(NodeId(id), "localhost", 9092).unwrap();
        layout.check().unwrap();
        layout
    }

    fn sorted(layout: &Layout, group: usize) -> Vec<NodeId> {
        let mut nodes = layout.groups[group].nodes.clone();
        nodes.sort_unstable();
        nodes
    }

    #[test]
    fn a_new_node_gets_the_catalog_and_its_share() {
        let layout = add(&three(), 4);
        assert_eq!(layout.epoch, 1);
        assert_eq!(sorted(&layout, 0), nodes(&[1, 2, 3, 4]));
        let loads: Vec<usize> = layout.loads().into_values().collect();
        assert_eq!(loads.iter().sum::<usize>(), 6, "as many copies as before");
        assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
        assert!(layout.with_node(NodeId(4), "localhost", 9092).is_err());
        let moved = layout.with_node(NodeId(4), "otherhost", 9092).unwrap();
        assert_eq!(moved.groups, layout.groups);
    }

    #[test]
    fn one_node_grows_to_three_copies_only_where_they_are_wanted() {
        let one = Layout::formed(2, &nodes(&[7]));
        let layout = add(&add(&one, 8), 9);
        assert_eq!(sorted(&layout, 0), nodes(&[7, 8, 9]));
        assert_eq!(layout.groups[1].nodes.len(), 1);
        assert_eq!(layout.copies_default(), 3);
        // With one group for all, nobody who doesn't ask for another number gets more groups.
        let five = Layout::formed(1, &nodes(&[1, 2, 3, 4, 5]));
        assert_eq!((five.copies_default(), five.copies_usual()), (5, 3));
        let grown = layout.with_groups(2, 3).unwrap();
        assert_eq!(grown.groups_of(3), [0, 2, 3].map(GroupId));
    }

    #[test]
    fn a_removed_node_is_replaced_and_its_copies_come_back_with_the_next() {
        let layout = add(&three(), 4).without_node(NodeId(3), |_| true).unwrap();
        layout.check().unwrap();
        assert!(layout.groups.iter().all(|place| !place.nodes.contains(&NodeId(3))));
        assert_eq!(sorted(&layout, 0), nodes(&[1, 2, 4]));
        assert!(layout.groups.iter().all(|place| place.nodes.len() == 3));
        assert!(layout.without_node(NodeId(3), |_| true).is_err(), "twice");
        assert!(layout.with_node(NodeId(3), "localhost", 1).is_err(), "its id is used");
        let four = add(&three(), 4);
        let groups = (0..3).map(GroupId);
        let on_three = groups.filter(|group| four.holders(*group).contains(&NodeId(3)));
        assert!(four.taken_by(&layout).eq(on_three));
        assert_eq!(three().taken_by(&three().with_groups(1, 3).unwrap()).count(), 0);
        let forgotten = layout.forgetting(NodeId(3)).unwrap();
        assert!(!forgotten.nodes.contains_key(&NodeId(3)));
        assert!(layout.forgetting(NodeId(1)).is_err());

        let fewer = three().without_node(NodeId(3), |_| true).unwrap();
        assert!(fewer.groups.iter().all(|place| place.nodes.len() == 2));
        let back = add(&fewer, 5);
        assert!(back.groups.iter().all(|place| place.nodes.len() == 3));
    }

    #[test]
    fn a_majority_is_not_given_up() {
        let refused = three().without_node(NodeId(3), |node| node != NodeId(2)).unwrap_err();
        assert!(refused.contains("group 0 would lie on node 1, 2"), "{refused}");
        // The dead one may go.
        three().without_node(NodeId(3), |node| node != NodeId(3)).unwrap();
        let one = Layout::formed(1, &nodes(&[1]));
        assert!(one.without_node(NodeId(1), |_| true).unwrap_err().contains("last"));
    }

    #[test]
    fn who_drains_is_not_the_first() {
        let layout = three();
        let first = layout.first(GroupId(1)).unwrap();
        let drained = layout.draining(first, true).unwrap();
        assert_ne!(drained.first(GroupId(1)), Some(first));
        assert!(drained.draining(first, true).is_err());
        assert_eq!(drained.draining(first, false).unwrap().first(GroupId(1)), Some(first));
        assert!(drained.preferring(GroupId(1), first).unwrap_err().contains("drained"));
        let to = NodeId(1);
        assert_eq!(layout.preferring(GroupId(1), to).unwrap().first(GroupId(1)), Some(to));
        assert!(layout.preferring(GroupId(1), NodeId(9)).is_err());
    }

    #[test]
    fn groups_are_made_where_none_has_as_many_copies() {
        let layout = three();
        assert_eq!(layout.with_groups_of(3), Ok(None));
        let single = layout.with_groups_of(1).unwrap().unwrap();
        assert_eq!(single.groups_of(1).len(), 3);
        let mut held: Vec<NodeId> = single.groups[3..].iter().map(|place| place.nodes[0]).collect();
        held.sort_unstable();
        assert_eq!(held, nodes(&[1, 2, 3]), "each node has one");
        assert!(layout.with_groups_of(4).is_err());
        assert!(layout.with_groups(5000, 3).unwrap_err().contains("1 to 1021"));
    }

    #[test]
    fn a_directory_is_noted_once() {
        let layout = three().with_directory(NodeId(2), 9).unwrap();
        assert_eq!(layout.nodes[&NodeId(2)].directory, 9);
        assert_eq!(layout.with_directory(NodeId(2), 10), None);
    }

    #[test]
    fn a_layout_comes_back_as_it_was() {
        use crate::metadata::codec::Reader;
        let layout = add(&three(), 4).with_directory(NodeId(4), 77).unwrap();
        let mut bytes = Vec::new();
        layout.encode(&mut bytes);
        assert_eq!(Layout::decode(&mut Reader::new(&bytes)), Ok(layout));
        for cut in 0..bytes.len() {
            assert!(Layout::decode(&mut Reader::new(&bytes[..cut])).is_err());
        }
    }
}
