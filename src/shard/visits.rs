//! What `hutong cluster` and nodes that want to join ask of a shard.

use crate::journal::page::Page;
use crate::metadata::Layout;
use crate::model::ids::NodeId;
use crate::shard::Shard;
use crate::shard::control::{CommandDone, CommandWaiter};
use crate::shard::follow::ReplyTo;
use crate::shard::peers::visit::{self, Formation, Joining, Visit};

impl<P: Page> Shard<P> {
    pub(super) fn on_visit(&mut self, visit: Visit, reply: ReplyTo) {
        let answer = match visit {
            Visit::Join { cluster_id, node } => Some(self.joining(&cluster_id, node)),
            Visit::Change(_) if !self.control.has_catalog() => Some(Err(self.starting())),
            Visit::Change(change) => {
                let is_up = |node| self.cluster.is_up(node);
                let layout = self.control.catalog.layout();
                let made = change.made_to(layout, is_up);
                match made.and_then(|next| self.all_led(layout, next)) {
                    Ok(layout) => {
                        self.propose_layout(layout, CommandWaiter::Visitor(reply));
                        None
                    }
                    Err(why) => Some(Err(why)),
                }
            }
        };
        if let Some(answer) = answer {
            self.peers.answer(reply, |out| visit::put_answer(&answer, out));
        }
    }

    /// The next layout, if each group from which it takes a node has a leader, who brings the
    /// others to it. A new group has none before a majority of those with which it was made are
    /// there; if some of these let go of it before they have made it, it would never have one.
    fn all_led(&self, layout: &Layout, next: Layout) -> Result<Layout, String> {
        let leaderless =
            layout.taken_by(&next).find(|group| self.cluster.leading(*group).is_none());
        match leaderless {
            None => Ok(next),
            Some(group) => Err(format!(
                "group {group} would move, and has no leader yet: wait until 'hutong cluster \
                 status' tells one, and try again"
            )),
        }
    }

    /// A change that a visitor asked for was made, or refused.
    pub(super) fn answer_visitor(&mut self, reply: ReplyTo, done: &CommandDone) {
        let answer = done.result.as_ref().map(|_| Vec::new()).map_err(|error| error.to_string());
        self.peers.answer(reply, |out| visit::put_answer(&answer, out));
    }

    /// What the cluster was formed of, for a node that belongs to it and has nothing yet.
    fn joining(&self, cluster_id: &str, node: NodeId) -> Result<Vec<u8>, String> {
        let own = &self.config;
        if cluster_id != own.cluster_id {
            return Err(format!("this is the cluster '{}', not '{cluster_id}'", own.cluster_id));
        }
        if !self.control.has_catalog() {
            return Ok(Joining::NotYet(self.starting()).encode());
        }
        let layout = self.control.catalog.layout();
        let joining = match layout.nodes.get(&node) {
            None => Joining::NotYet(format!(
                "node {node} is not of this cluster yet: 'hutong cluster add {node}@HOST:PORT' \
                 makes it one"
            )),
            Some(known) if known.directory != 0 => {
                return Err(format!(
                    "node {node} has been in this cluster with another data directory. Start it \
                     with that one; if it is gone, 'hutong cluster remove {node}' and add a node \
                     under a new id"
                ));
            }
            Some(_) => Joining::Formed(Formation {
                nodes: own.formed.clone(),
                groups: own.groups,
                segment_bytes: own.segment_bytes,
            }),
        };
        Ok(joining.encode())
    }

    fn starting(&self) -> String {
        format!(
            "node {} was just started and doesn't know its cluster yet: ask another, or try again",
            self.config.node
        )
    }
}
