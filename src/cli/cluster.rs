//! A Kafka cluster seen from outside: who its brokers are, and which of them to ask.
//!
//! Admin requests go to the controller, offsets are asked of leaders. Both can move while we look,
//! so what the cluster says about itself is asked again when a broker says it is the wrong one.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};

use super::client::{Connection, Endpoint, error_name};

/// Kafka's code for "ask the controller, not me".
pub const NOT_CONTROLLER: i16 = 41;

/// How often we look for the controller before we give up: it may be in the middle of moving.
const CONTROLLER_TRIES: u32 = 6;

/// The pause before we look again. Grows with each try.
const CONTROLLER_PAUSE: Duration = Duration::from_millis(150);

/// How to reach a cluster, as typed.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// Any broker of the cluster
    #[arg(long, global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    bootstrap: Endpoint,
    /// How long to wait for each answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl ConnectArgs {
    /// Connects.
    pub fn connect(&self) -> anyhow::Result<Cluster> {
        Cluster::connect(&self.bootstrap, Duration::from_secs(self.timeout))
    }
}

/// Connections to a cluster, made when first needed.
pub struct Cluster {
    timeout: Duration,
    seed: Connection,
    connections: BTreeMap<i32, Connection>,
    brokers: BTreeMap<i32, Endpoint>,
    controller: Option<i32>,
}

impl Cluster {
    /// Connects to the broker that the user named.
    pub fn connect(bootstrap: &Endpoint, timeout: Duration) -> anyhow::Result<Cluster> {
        let seed = Connection::open(bootstrap, timeout)?;
        let (connections, brokers) = (BTreeMap::new(), BTreeMap::new());
        Ok(Cluster { timeout, seed, connections, brokers, controller: None })
    }

    /// Asks for these topics, or for all, and remembers the brokers that the answer names.
    pub fn metadata(&mut self, topics: Option<&[String]>) -> anyhow::Result<MetadataResponse> {
        let named = |name: &String| MetadataRequestTopic::default().with_name(Some(topic(name)));
        let request = MetadataRequest::default()
            .with_topics(topics.map(|names| names.iter().map(named).collect()))
            // To look at a topic must not make it.
            .with_allow_auto_topic_creation(false);
        let answer = self.seed.send(&request)?;
        if answer.error_code != 0 {
            bail!("the cluster can't tell its topics: {}", error_name(answer.error_code));
        }
        for broker in &answer.brokers {
            let port = u16::try_from(broker.port)
                .with_context(|| format!("broker {} has port {}", *broker.node_id, broker.port))?;
            let endpoint = Endpoint { host: broker.host.to_string(), port };
            let known = self.brokers.insert(*broker.node_id, endpoint.clone());
            if known.is_some_and(|known| known != endpoint) {
                self.connections.remove(&*broker.node_id);
            }
        }
        self.controller = Some(*answer.controller_id).filter(|&id| id >= 0);
        Ok(answer)
    }

    /// The connection to a broker that metadata named.
    pub fn broker(&mut self, id: i32) -> anyhow::Result<&mut Connection> {
        if !self.connections.contains_key(&id) {
            let at = self
                .brokers
                .get(&id)
                .ok_or_else(|| anyhow!("the cluster names broker {id} but not its address"))?;
            let connection = Connection::open(at, self.timeout)
                .with_context(|| format!("the cluster says that broker {id} is at {at}"))?;
            self.connections.insert(id, connection);
        }
        self.connections.get_mut(&id).ok_or_else(|| anyhow!("broker {id} is gone"))
    }

    /// The connection to the controller, as far as the cluster has told us who it is. While there
    /// is none, as in an election, it is waited for.
    pub fn controller(&mut self) -> anyhow::Result<&mut Connection> {
        for tried in 1..=CONTROLLER_TRIES {
            if self.controller.is_none() {
                self.metadata(Some(&[]))?;
            }
            if self.controller.is_some() {
                break;
            }
            std::thread::sleep(CONTROLLER_PAUSE * tried);
        }
        let id = self.controller.ok_or_else(|| anyhow!("the cluster has no controller now"))?;
        self.broker(id)
    }

    /// Sends an admin request to the controller, and again to the next one while the answer is
    /// that it isn't one (any more). `codes` takes the error codes out of the answer.
    pub fn ask_controller<R: Request>(
        &mut self,
        request: &R,
        codes: impl Fn(&R::Response) -> Vec<i16>,
    ) -> anyhow::Result<R::Response> {
        for tried in 1.. {
            let answer = self.controller()?.send(request)?;
            let codes = codes(&answer);
            let wrong_broker = !codes.is_empty() && codes.iter().all(|&c| c == NOT_CONTROLLER);
            if !wrong_broker || tried == CONTROLLER_TRIES {
                return Ok(answer);
            }
            std::thread::sleep(CONTROLLER_PAUSE * tried);
            self.controller = None;
        }
        Err(anyhow!("the controller moved too often"))
    }

    /// The time that a request may take, as admin requests carry it.
    pub fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// A connection to any broker.
    pub fn any(&mut self) -> &mut Connection {
        &mut self.seed
    }
}

/// A topic's name as the protocol's types want it.
pub fn topic(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
