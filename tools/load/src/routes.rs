//! Which broker leads which partition, and everything else that has to wait for an answer.
//!
//! Workers never block: a thread of its own makes connections and asks for leaders, and hands the
//! results over.

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use hutong::cli::client::{Endpoint, error_name};
use hutong::cli::cluster::{Cluster, topic};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateTopicsRequest, MetadataResponse};

use crate::offsets::{End, offsets};

/// The longest we wait for an answer about the cluster.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest we wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A topic just made has its leaders within this time.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries.
pub const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A broker that can't be reached for so long is given up.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

const TOPIC_ALREADY_EXISTS: i16 = 36;

/// What we want of a topic.
#[derive(Clone, Debug)]
pub struct TopicWish {
    /// Any of the cluster's brokers; the first that answers is asked.
    pub brokers: Vec<Endpoint>,
    pub name: String,
    /// How many it is created with, or must have. None: one, or what it has.
    pub partitions: Option<i32>,
    /// Whether it may be created.
    pub create: bool,
    /// Replicas of each partition if it has to be created; -1 is the broker's default.
    pub replication: i16,
}

/// Which partitions a client has to do with. Clients are spread evenly over the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All that its broker leads, as producers do.
    All { client: usize },
    /// A part of them that no other of so many clients has, as consumers do.
    Part { client: usize, of: usize },
}

/// The leaders of a topic's partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// By partition.
    leaders: Vec<Option<Endpoint>>,
    /// By partition: the leader's epoch, -1 if the broker tells none.
    epochs: Vec<i32>,
}

impl Routes {
    /// How many partitions the topic has.
    pub fn partitions(&self) -> usize {
        self.leaders.len()
    }

    /// Who leads this partition.
    pub fn leader(&self, partition: u32) -> Option<&Endpoint> {
        self.leaders.get(partition as usize)?.as_ref()
    }

    /// These, but for partitions of which `known` has a newer leader: a broker that is cut off from
    /// the others goes on telling what was.
    pub fn or_newer(mut self, known: &Routes) -> Routes {
        for partition in 0..self.partitions().min(known.partitions()) {
            if known.epochs[partition] > self.epochs[partition] {
                self.epochs[partition] = known.epochs[partition];
                self.leaders[partition].clone_from(&known.leaders[partition]);
            }
        }
        self
    }

    /// The partitions that a broker leads.
    pub fn led_by(&self, broker: &Endpoint) -> impl Iterator<Item = u32> {
        let leads = move |leader: &Option<Endpoint>| leader.as_ref() == Some(broker);
        let led = self.leaders.iter().enumerate().filter(move |(_, leader)| leads(leader));
        led.map(|(partition, _)| partition as u32)
    }

    /// Brokers that lead something, each once, in the order of their first partitions.
    pub fn brokers(&self) -> Vec<&Endpoint> {
        let mut brokers: Vec<&Endpoint> = Vec::new();
        for leader in self.leaders.iter().flatten() {
            if !brokers.contains(&leader) {
                brokers.push(leader);
            }
        }
        brokers
    }

    /// The broker of a client, and the partitions it has to do with there. None if nobody leads.
    pub fn pick(&self, share: Share) -> Option<(Endpoint, Vec<u32>)> {
        match share {
            Share::All { client } => self.share(client),
            Share::Part { client, of } => {
                let (broker, led) = self.share(client)?;
                let brokers = self.brokers().len();
                let here = of.saturating_sub(client % brokers).div_ceil(brokers).max(1);
                let mine = led.into_iter().skip(client / brokers).step_by(here).collect();
                Some((broker, mine))
            }
        }
    }

    /// The broker of client number `client`, and the partitions it sends to: clients are spread
    /// evenly over the brokers, and each sends to all that its broker leads. None if nobody leads.
    pub fn share(&self, client: usize) -> Option<(Endpoint, Vec<u32>)> {
        let brokers = self.brokers();
        let broker = (*brokers.get(client % brokers.len().max(1))?).clone();
        let partitions = self.led_by(&broker).collect();
        Some((broker, partitions))
    }
}

/// Finds the topic or makes it, and waits until each partition has a leader that knows it.
///
/// # Errors
/// A sentence: no broker there, the topic can't be made, or it has other partitions than wished.
pub fn prepare(wish: &TopicWish) -> anyhow::Result<Routes> {
    let mut cluster = reach(&wish.brokers)?;
    let mut created = false;
    let deadline = Instant::now() + LEADERS_TIMEOUT;
    loop {
        let metadata = cluster.metadata(Some(std::slice::from_ref(&wish.name)))?;
        match routes_of(&metadata, &wish.name) {
            Some(routes) if routes.leaders.iter().all(Option::is_some) => {
                let (have, want) = (routes.partitions(), wish.partitions);
                if want.is_some_and(|want| want as usize != have) {
                    bail!(
                        "topic {} has {have} partition{}, not {}; choose another --topic, or \
                         leave --partitions out",
                        wish.name,
                        if have == 1 { "" } else { "s" },
                        want.unwrap_or_default()
                    );
                }
                // Kafka names the leaders of a topic just made a while before they know of it.
                match created.then(|| offsets(&wish.name, &routes, End::End)) {
                    None | Some(Ok(_)) => return Ok(routes),
                    Some(Err(error)) if Instant::now() > deadline => return Err(error),
                    Some(Err(_)) => {}
                }
            }
            Some(_) => {}
            None if created => {}
            None if !wish.create => bail!("there is no topic {}", wish.name),
            None => {
                create(&mut cluster, wish)?;
                created = true;
            }
        }
        if Instant::now() > deadline {
            bail!("topic {} has no leader for some partitions yet; is the cluster up?", wish.name);
        }
        thread::sleep(RETRY_PAUSE);
    }
}

/// The leaders of a topic as this broker knows them; none if it doesn't know the topic.
///
/// # Errors
/// A sentence that names the broker.
pub fn look_up(broker: &Endpoint, name: &str, timeout: Duration) -> anyhow::Result<Option<Routes>> {
    let metadata = Cluster::connect(broker, timeout)?.metadata(Some(&[name.to_owned()]))?;
    Ok(routes_of(&metadata, name))
}

/// A cluster through the first of these brokers that answers.
///
/// # Errors
/// A sentence on why the last of them didn't.
pub fn reach(brokers: &[Endpoint]) -> anyhow::Result<Cluster> {
    let mut failure = anyhow!("no broker is named");
    for broker in brokers {
        match Cluster::connect(broker, ANSWER_TIMEOUT) {
            Ok(cluster) => return Ok(cluster),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn create(cluster: &mut Cluster, wish: &TopicWish) -> anyhow::Result<()> {
    let creatable = CreatableTopic::default()
        .with_name(topic(&wish.name))
        .with_num_partitions(wish.partitions.unwrap_or(1))
        .with_replication_factor(wish.replication);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![creatable])
        .with_timeout_ms(LEADERS_TIMEOUT.as_millis() as i32);
    let answer = cluster.ask_controller(&request, |answer| {
        answer.topics.iter().map(|topic| topic.error_code).collect()
    })?;
    for topic in answer.topics {
        if topic.error_code != 0 && topic.error_code != TOPIC_ALREADY_EXISTS {
            let why = topic.error_message.map(|text| format!(": {text}")).unwrap_or_default();
            bail!("can't create topic {}: {}{why}", wish.name, error_name(topic.error_code));
        }
    }
    Ok(())
}

fn routes_of(metadata: &MetadataResponse, name: &str) -> Option<Routes> {
    let brokers: BTreeMap<i32, Endpoint> = metadata
        .brokers
        .iter()
        .filter_map(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            Some((*broker.node_id, Endpoint { host: broker.host.to_string(), port }))
        })
        .collect();
    let wanted = |topic: &&_| {
        let topic: &kafka_protocol::messages::metadata_response::MetadataResponseTopic = topic;
        topic.name.as_ref().is_some_and(|found| found.as_str() == name)
    };
    let topic = metadata.topics.iter().find(wanted)?;
    if topic.partitions.is_empty() {
        return None;
    }
    let mut leaders = vec![None; topic.partitions.len()];
    let mut epochs = vec![-1; topic.partitions.len()];
    for partition in &topic.partitions {
        let number = usize::try_from(partition.partition_index).ok()?;
        *leaders.get_mut(number)? = brokers.get(&*partition.leader_id).cloned();
        epochs[number] = partition.leader_epoch;
    }
    Some(Routes { leaders, epochs })
}

/// Connects, trying each address of the name.
///
/// # Errors
/// A sentence that names the broker.
pub fn connect(at: &Endpoint) -> anyhow::Result<TcpStream> {
    let mut failure = None;
    let addresses = (at.host.as_str(), at.port)
        .to_socket_addrs()
        .with_context(|| format!("can't find {at}"))?;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Some(error),
        }
    }
    let error = failure.map_or(anyhow!("the name has no address"), Into::into);
    Err(error.context(format!("can't reach {at}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_consumer_and_all_producers_of_its_broker() {
        let broker = |port| Endpoint { host: "localhost".into(), port };
        for (brokers, partitions, clients) in [(1, 1, 1), (1, 7, 3), (3, 16, 7), (2, 5, 9)] {
            let leaders = (0..partitions).map(|p| Some(broker(p as u16 % brokers))).collect();
            let routes = Routes { leaders, epochs: vec![0; partitions] };
            let (mut parts, mut all) = (vec![0; partitions], vec![0; partitions]);
            for client in 0..clients {
                let (at, part) = routes.pick(Share::Part { client, of: clients }).unwrap();
                let whole = routes.pick(Share::All { client }).unwrap();
                assert_eq!(whole.0, at);
                part.iter().for_each(|&p| parts[p as usize] += 1);
                whole.1.iter().for_each(|&p| all[p as usize] += 1);
                assert!(part.iter().all(|p| whole.1.contains(p)));
            }
            assert!(parts.iter().all(|&n| n == 1), "{brokers} {partitions} {clients}: {parts:?}");
            assert!(all.iter().all(|&n| n >= 1));
        }
    }

    #[test]
    fn a_newer_leader_is_not_forgotten_for_an_older_one() {
        let at = |port| Some(Endpoint { host: "localhost".into(), port });
        let known = Routes { leaders: vec![at(1), at(1), None], epochs: vec![3, 3, 4] };
        let told = Routes { leaders: vec![at(2), at(2), at(2)], epochs: vec![2, 4, 3] };
        let expected = Routes { leaders: vec![at(1), at(2), None], epochs: vec![3, 4, 4] };
        assert_eq!(told.or_newer(&known), expected);
    }
}
