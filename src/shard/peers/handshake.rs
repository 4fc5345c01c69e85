//! Who is there, and whether we have anything to say to each other.

use std::collections::BTreeSet;

use crate::model::ids::{ConnectionId, NodeId, shard_of_group};
use crate::model::time::Time;
use crate::shard::follow::ReplyTo;
use crate::shard::peers::link::{Asked, Peer, Place};
use crate::shard::peers::wire::{self, Hello, Request};
use crate::shard::peers::{PeerEvent, Peers};
use crate::shard::{NodeAddress, ShardConfig};

/// What a shard says of itself.
pub fn own_hello(config: &ShardConfig) -> Hello {
    Hello {
        version: wire::PROTOCOL_VERSION,
        cluster_id: config.cluster_id.clone(),
        node: config.node,
        shard: config.shard,
        incarnation: config.seed,
        directory: config.directory,
        shards: config.shards,
        groups: config.groups,
        segment_bytes: config.segment_bytes,
        host: config.advertised_host.clone(),
        port: config.base_port,
    }
}

/// Why a tool is turned away, as a sentence for whoever runs it.
pub fn refusal_of_visitor(own: &Hello, hello: &Hello) -> Option<String> {
    if hello.version != own.version {
        return Some(format!(
            "this tool speaks version {} of the peer protocol, and node {} version {}: take the \
             one of the node's release",
            hello.version, own.node, own.version
        ));
    }
    let other = !hello.cluster_id.is_empty() && hello.cluster_id != own.cluster_id;
    other.then(|| {
        format!(
            "node {} is of cluster '{}', and not of cluster '{}'",
            own.node, own.cluster_id, hello.cluster_id
        )
    })
}

impl<P> Peers<P> {
    /// Sees to it that a node is dialed wherever it runs groups of this shard, or would: who holds
    /// them changes, and who held one must be told so.
    pub(super) fn plan(&mut self, node: NodeId, now: Time) {
        if self.hello.node > node {
            return;
        }
        let known = self.shards.get(&node).copied();
        let shards = known.unwrap_or(self.hello.shards);
        let groups = self.groups.iter();
        let mut wanted: BTreeSet<Place> =
            groups.map(|group| Place { node, shard: shard_of_group(*group, shards) }).collect();
        let tried = wanted.iter().map(|place| self.dials.failures(*place)).max().unwrap_or(0);
        if tried > 0 {
            // It may have fewer shards than this node, or than it had before. Its first one is
            // always there, and says so.
            wanted.insert(Place { node, shard: crate::model::ids::ShardId(0) });
        }
        let wanted: Vec<Place> = wanted.into_iter().collect();
        self.dials.want(node, &wanted, now);
    }

    /// Another node has dialed and says who it is.
    pub(super) fn on_hello(&mut self, reply: ReplyTo, hello: Hello, now: Time) {
        let visits = hello.node == wire::VISITOR;
        let refusal = match visits {
            true => refusal_of_visitor(&self.hello, &hello),
            false => self.refusal(&hello, now),
        };
        let answer = match &refusal {
            Some(why) => Err(why.clone()),
            None => Ok(self.hello.clone()),
        };
        self.answer(reply, |out| wire::put_hello_answer(&answer, out));
        match refusal {
            Some(_) if visits => self.close(reply.connection, now),
            None if visits => {
                if let Some(link) = self.links.get_mut(&reply.connection) {
                    link.visits = true;
                }
            }
            Some(why) => {
                self.note(format!("refused node {}, shard {}: {why}", hello.node, hello.shard));
                self.close(reply.connection, now);
            }
            None => self.connected(reply.connection, &hello, now),
        }
    }

    /// A node that was dialed has answered.
    pub(super) fn on_hello_answer(
        &mut self,
        connection: ConnectionId,
        answer: Result<Hello, String>,
        now: Time,
    ) {
        let Some(place) = self.links.get(&connection).and_then(|link| link.dialed) else { return };
        let problem = match &answer {
            Err(why) => Some(format!("it says: {why}")),
            Ok(hello) => self.refusal(hello, now).or_else(|| {
                let other = hello.node != place.node || hello.shard != place.shard;
                other.then(|| format!("node {}, shard {} is there", hello.node, hello.shard))
            }),
        };
        match (problem, answer) {
            (None, Ok(hello)) => {
                self.dials.agreed(place);
                self.connected(connection, &hello, now);
            }
            (problem, answer) => {
                let problem = problem.unwrap_or_default();
                if self.dials.failures(place) == 0 {
                    let Place { node, shard } = place;
                    let line = format!("no connection to node {node}, shard {shard}: {problem}");
                    self.note(line);
                }
                if answer.is_ok() {
                    self.tell_refusal(connection, problem);
                }
                self.close(connection, now);
            }
        }
    }

    /// Tells a node that has answered, and doesn't know why it won't be talked to.
    fn tell_refusal(&mut self, connection: ConnectionId, why: String) {
        if let Some(link) = self.links.get_mut(&connection) {
            let request = Request::Refuse { why };
            link.ask(Asked::Nothing, |out| request.encode(out), Vec::new());
        }
    }

    fn connected(&mut self, connection: ConnectionId, hello: &Hello, now: Time) {
        let place = Place { node: hello.node, shard: hello.shard };
        let Some(link) = self.links.get_mut(&connection) else { return };
        let Hello { incarnation, directory, .. } = *hello;
        link.peer = Some(Peer { place, incarnation, directory });
        if let Some(old) = self.up.insert(place, connection)
            && old != connection
        {
            self.close(old, now);
            self.up.insert(place, connection);
        }
        self.shards.insert(hello.node, hello.shards);
        self.addresses.entry(hello.node).or_insert_with(|| NodeAddress {
            node: hello.node,
            host: hello.host.clone(),
            port: hello.port,
            directory,
        });
        self.plan(hello.node, now);
        self.events.push(PeerEvent::Up {
            node: hello.node,
            shards: hello.shards,
            host: hello.host.clone(),
            port: hello.port,
        });
    }

    /// Why there is nothing to be said to this node, as a sentence for people on both sides.
    fn refusal(&self, hello: &Hello, now: Time) -> Option<String> {
        let own = &self.hello;
        if hello.version != own.version {
            return Some(format!(
                "node {} speaks version {} of the peer protocol, and node {} version {}: run the \
                 same release on all nodes",
                hello.node, hello.version, own.node, own.version
            ));
        }
        if hello.cluster_id != own.cluster_id {
            return Some(format!(
                "node {} is of cluster '{}', and node {} of cluster '{}': check --cluster-id and \
                 --peers",
                hello.node, hello.cluster_id, own.node, own.cluster_id
            ));
        }
        if hello.node == own.node {
            return Some(format!("two nodes have the id {}: give each its own", own.node));
        }
        if !self.members.contains(&hello.node) {
            return Some(format!(
                "node {} is not of the cluster that node {} knows: 'hutong cluster add' adds one",
                hello.node, own.node
            ));
        }
        if self.directories.get(&hello.node).is_some_and(|known| *known != hello.directory) {
            return Some(format!(
                "node {0} comes with another data directory than the one the cluster knows, so \
                 what it held and whom it voted for is lost. Start it with its own directory; if \
                 that is gone, 'hutong cluster remove {0}' and add a node under a new id",
                hello.node
            ));
        }
        if hello.groups != own.groups || hello.segment_bytes != own.segment_bytes {
            return Some(format!(
                "node {} was made with {} groups and segments of {} bytes, node {} with {} groups \
                 and segments of {} bytes: start all nodes of a new cluster with the same --groups \
                 and --segment-bytes",
                hello.node,
                hello.groups,
                hello.segment_bytes,
                own.node,
                own.groups,
                own.segment_bytes
            ));
        }
        let other = self.links.values().filter_map(|link| Some((link.peer?, link.last_heard)));
        let twice = other.into_iter().any(|(peer, heard)| {
            peer.place == Place { node: hello.node, shard: hello.shard }
                && peer.incarnation != hello.incarnation
                && now.since(heard) < super::ALIVE
        });
        twice.then(|| {
            format!(
                "another process is connected as node {}: give each node its own --node-id and \
                 data directory",
                hello.node
            )
        })
    }
}
