//! Asking a cluster: one node who all the others are, then each of them which groups it leads.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use kafka_protocol::messages::describe_quorum_request::TopicData;
use kafka_protocol::messages::describe_quorum_response::{PartitionData, ReplicaState};
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeQuorumRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::found::{Found, Group, Led, Node, Replica};
use crate::cli::client::{ClientError, Connection, Endpoint, error_name};
use crate::cli::output::printable;
use crate::model::ids::BROKERS_PER_NODE;

/// The topic whose partitions stand for the groups.
const GROUPS_TOPIC: &str = "__cluster_metadata";

/// The first version of DescribeCluster that tells of brokers that can't be reached.
const FENCED_FROM: i16 = 2;

/// How often we look for the leaders of groups, and the pause in between: an election takes less
/// than a second, and that of a group whose leader has just died is worth the wait.
const ROUNDS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(300);

/// A member that its leader has not heard for so long is gone or stuck. Each is heard several times
/// a second.
const HEARD_MS: i64 = 2000;

/// Looks at a cluster of which these nodes are known.
///
/// # Errors
/// None of them answers, or what answers is no Hutong node.
pub fn look(bootstrap: &[Endpoint], timeout: Duration) -> anyhow::Result<Found> {
    let mut seed = first(bootstrap, timeout)?;
    let fenced_too = seed.version::<DescribeClusterRequest>()? >= FENCED_FROM;
    let request = DescribeClusterRequest::default().with_include_fenced_brokers(fenced_too);
    let described = seed.send(&request)?;
    if described.error_code != 0 {
        bail!("the cluster can't tell its nodes: {}", error_name(described.error_code));
    }
    let nodes = nodes(&described)?;
    let mut search = Search { timeout, ..Search::default() };
    for broker in &described.brokers {
        let port = u16::try_from(broker.port).unwrap_or(0);
        let at = Endpoint { host: printable(&broker.host), port };
        search.addresses.insert(*broker.broker_id, at);
    }
    search.run(&nodes)?;
    if search.known.is_empty() {
        bail!("its nodes tell of no groups: is it a cluster of Hutong?");
    }
    let nodes = nodes.into_iter().map(|(id, node)| Node {
        problem: search.problems.get(&first_broker(id)).cloned(),
        ..node
    });
    let nodes = nodes.collect();
    Ok(Found { cluster_id: printable(&described.cluster_id), nodes, groups: search.groups() })
}

/// A connection to the first of these that can be asked.
fn first(bootstrap: &[Endpoint], timeout: Duration) -> Result<Connection, ClientError> {
    let (last, others) = bootstrap.split_last().expect("clap wants one at least");
    let found = others.iter().find_map(|at| Connection::open(at, timeout).ok());
    found.map_or_else(|| Connection::open(last, timeout), Ok)
}

/// The nodes that the brokers are shards of, by id.
fn nodes(described: &DescribeClusterResponse) -> anyhow::Result<BTreeMap<i32, Node>> {
    let mut nodes = BTreeMap::<i32, Node>::new();
    for broker in &described.brokers {
        let id = node_of(*broker.broker_id);
        let port = u16::try_from(broker.port)
            .with_context(|| format!("broker {} has port {}", *broker.broker_id, broker.port))?;
        let address = Endpoint { host: printable(&broker.host), port };
        let node = nodes.entry(id).or_insert(Node { id, address, shards: None, problem: None });
        if !broker.is_fenced {
            *node.shards.get_or_insert(0) += 1;
        }
    }
    Ok(nodes)
}

fn node_of(broker: i32) -> i32 {
    broker / BROKERS_PER_NODE
}

/// The broker that is shard 0 of a node.
fn first_broker(node: i32) -> i32 {
    node * BROKERS_PER_NODE
}

/// The search for the leaders of all groups.
#[derive(Default)]
struct Search {
    timeout: Duration,
    addresses: BTreeMap<i32, Endpoint>,
    connections: BTreeMap<i32, Connection>,
    /// Why a broker could not be asked when that was last tried.
    problems: BTreeMap<i32, String>,
    /// What is known of each group: the answer of the latest epoch.
    known: BTreeMap<i32, PartitionData>,
}

impl Search {
    /// Asks shard 0 of each node, then those that are said to lead what these don't, until each
    /// group's leader was found or there is no hope.
    fn run(&mut self, nodes: &BTreeMap<i32, Node>) -> anyhow::Result<()> {
        for round in 0..ROUNDS {
            if round > 0 {
                std::thread::sleep(PAUSE);
            }
            for node in nodes.keys() {
                // One that isn't there is looked for once: it may take the whole time-out.
                if !self.problems.contains_key(&first_broker(*node)) {
                    self.ask(first_broker(*node));
                }
            }
            if self.known.is_empty() && self.problems.len() == nodes.len() {
                let (broker, why) = self.problems.iter().next().expect("a cluster has a node");
                bail!("no node can be asked about its groups; node {}: {why}", node_of(*broker));
            }
            for leader in self.leaders_to_ask() {
                self.ask(leader);
            }
            if self.known.values().all(|group| group.error_code == 0) {
                break;
            }
        }
        Ok(())
    }

    /// Who is said to lead groups whose leaders haven't answered.
    fn leaders_to_ask(&self) -> Vec<i32> {
        let silent = self.known.values().filter(|group| group.error_code != 0);
        let mut leaders: Vec<i32> = silent.map(|group| *group.leader_id).collect();
        leaders.sort_unstable();
        leaders.dedup();
        leaders.retain(|leader| *leader >= 0 && !self.problems.contains_key(leader));
        leaders
    }

    /// Asks a broker about all groups. What it leads it tells in full.
    fn ask(&mut self, broker: i32) {
        match self.try_ask(broker) {
            Ok(groups) => groups.into_iter().for_each(|group| self.learn(group)),
            Err(why) => {
                self.connections.remove(&broker);
                self.problems.insert(broker, why);
            }
        }
    }

    fn try_ask(&mut self, broker: i32) -> Result<Vec<PartitionData>, String> {
        let connection = match self.connections.remove(&broker) {
            Some(connection) => connection,
            None => {
                let at = self.addresses.get(&broker).ok_or("nobody knows its address")?;
                Connection::open(at, self.timeout).map_err(|why| reason(&why))?
            }
        };
        let connection = self.connections.entry(broker).or_insert(connection);
        let topic = TopicName(StrBytes::from_static_str(GROUPS_TOPIC));
        // No partition is named: that asks for all.
        let topics = vec![TopicData::default().with_topic_name(topic)];
        let request = DescribeQuorumRequest::default().with_topics(topics);
        let answer = connection.send(&request).map_err(|why| reason(&why))?;
        match answer.error_code {
            0 => Ok(answer.topics.into_iter().flat_map(|topic| topic.partitions).collect()),
            code => Err(format!("it can't tell its groups: {}", error_name(code))),
        }
    }

    /// A group was told of. The latest epoch counts, and in it the leader's own word.
    fn learn(&mut self, told: PartitionData) {
        let rank = |group: &PartitionData| (group.leader_epoch, group.error_code == 0);
        let known = self.known.get(&told.partition_index);
        if known.is_none_or(|known| rank(known) <= rank(&told)) {
            self.known.insert(told.partition_index, told);
        }
    }

    /// What came of it.
    fn groups(&self) -> Vec<Group> {
        let led = |told: &PartitionData| (told.error_code == 0).then(|| led(told));
        self.known
            .values()
            .map(|told| Group { group: told.partition_index, led: led(told) })
            .collect()
    }
}

/// Why a node can't be asked. Its address stands beside it.
fn reason(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable { cause, .. } => cause.to_string(),
        error => error.to_string(),
    }
}

fn led(told: &PartitionData) -> Led {
    let leader = *told.leader_id;
    let voters = told.current_voters.iter().map(|state| (state, true));
    let states = voters.chain(told.observers.iter().map(|state| (state, false)));
    let own = states.clone().find(|(state, _)| *state.replica_id == leader).map(|(own, _)| own);
    // The leader's own word for now.
    let now = own.map_or(0, |own| own.last_caught_up_timestamp);
    let heard = |state: &ReplicaState| {
        *state.replica_id == leader || state.last_fetch_timestamp >= (now - HEARD_MS).max(0)
    };
    let replica = |(state, votes): (&ReplicaState, bool)| Replica {
        node: node_of(*state.replica_id),
        broker: *state.replica_id,
        votes,
        end: (state.log_end_offset >= 0).then_some(state.log_end_offset),
        heard: heard(state),
    };
    let mut replicas: Vec<Replica> = states.map(replica).collect();
    replicas.sort_by_key(|replica| replica.broker);
    Led {
        leader,
        node: node_of(leader),
        epoch: told.leader_epoch,
        committed: told.high_watermark,
        last: own.map_or(told.high_watermark, |own| own.log_end_offset),
        replicas,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(epoch: i32, error: i16, leader: i32) -> PartitionData {
        PartitionData::default()
            .with_leader_epoch(epoch)
            .with_error_code(error)
            .with_leader_id(leader.into())
    }

    #[test]
    fn the_latest_epoch_counts_and_in_it_the_leader_itself() {
        let mut search = Search::default();
        let leader = |search: &Search| search.groups()[0].led.as_ref().map(|led| led.leader);
        search.learn(told(-1, 6, -1));
        assert_eq!((leader(&search), search.leaders_to_ask()), (None, vec![]));
        search.learn(told(4, 6, 1000));
        assert_eq!((leader(&search), search.leaders_to_ask()), (None, vec![1000]));
        search.learn(told(4, 0, 1000));
        search.learn(told(4, 6, 1000));
        assert_eq!((leader(&search), search.leaders_to_ask()), (Some(1000), vec![]));
        // One that was deposed and doesn't know it yet is no leader.
        search.learn(told(5, 6, 2000));
        search.learn(told(4, 0, 1000));
        assert_eq!((leader(&search), search.leaders_to_ask()), (None, vec![2000]));
        search.problems.insert(2000, "gone".into());
        assert_eq!(search.leaders_to_ask(), Vec::<i32>::new());
    }

    #[test]
    fn who_was_not_heard_lately_is_told_apart() {
        let state = |id: i32, end, fetched, caught_up| {
            ReplicaState::default()
                .with_replica_id(id.into())
                .with_log_end_offset(end)
                .with_last_fetch_timestamp(fetched)
                .with_last_caught_up_timestamp(caught_up)
        };
        let group = told(4, 0, 2001).with_high_watermark(7).with_current_voters(vec![
            state(3001, -1, -1, -1),
            state(2001, 9, -1, 10_000),
            state(1001, 8, 9_990, -1),
        ]);
        let led = led(&group.with_observers(vec![state(4001, 2, 7_000, -1)]));
        assert_eq!((led.node, led.epoch, led.committed, led.last), (2, 4, 7, 9));
        let seen: Vec<_> = led
            .replicas
            .iter()
            .map(|replica| (replica.node, led.lag(replica), replica.heard, replica.votes))
            .collect();
        assert_eq!(
            seen,
            [
                (1, Some(1), true, true),
                (2, Some(0), true, true),
                (3, None, false, true),
                (4, Some(7), false, false)
            ]
        );
        assert!(led.has_majority());
    }
}
