//! The nodes of a cluster: as typed, `1@host:port,2@host:port,3@host:port`, and as meant.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

use super::{ConfigError, NODE_ID_MAX};
use crate::model::ids::NodeId;

/// The longest cluster id.
const CLUSTER_ID_BYTES_MAX: usize = 64;
const AS_WRITTEN: &str = "write each node as 1@host:9092, with commas in between";

/// A node of the cluster, and where the others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub node: NodeId,
    /// A name, or an address without brackets.
    pub host: String,
    /// Shard 0's; shard s is at `port + s`.
    pub port: u16,
}

/// Nodes as they were typed: each can be read, and nothing else is known of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerList(pub Vec<Peer>);

/// The nodes in ascending order, none if a node stands alone.
///
/// # Errors
/// One sentence: what of them can't be, seen from `node` with so many shards.
pub fn checked(
    list: Option<PeerList>,
    node: NodeId,
    shards: u16,
) -> Result<Vec<Peer>, ConfigError> {
    let Some(PeerList(mut peers)) = list else { return Ok(Vec::new()) };
    peers.sort_by_key(|peer| peer.node);
    for peer in &peers {
        check_alone(peer)?;
    }
    for pair in peers.windows(2) {
        if pair[0].node == pair[1].node {
            return Err(ConfigError(format!(
                "--peers names node {} twice: give each node a number of its own.",
                pair[0].node
            )));
        }
    }
    let Some(own) = peers.iter().find(|peer| peer.node == node) else {
        let nodes: Vec<String> = peers.iter().map(|peer| peer.node.to_string()).collect();
        return Err(ConfigError(format!(
            "--peers has the nodes {}, and this is node {node}: say with --node-id which of them \
             it is, or add it.",
            nodes.join(", ")
        )));
    };
    let own_ports = u32::from(own.port)..u32::from(own.port) + u32::from(shards);
    let taken = |peer: &&Peer| {
        peer.node != node && peer.host == own.host && own_ports.contains(&u32::from(peer.port))
    };
    if let Some(peer) = peers.iter().find(taken) {
        return Err(ConfigError(format!(
            "{peer} in --peers is one of the ports {} to {} that node {node} has itself, one for \
             each shard: leave as many between the nodes of a host as they have shards.",
            own_ports.start,
            own_ports.end - 1
        )));
    }
    Ok(peers)
}

fn check_alone(peer: &Peer) -> Result<(), ConfigError> {
    let why = if peer.node.0 > NODE_ID_MAX {
        format!("numbers of nodes are from 0 to {NODE_ID_MAX}")
    } else if peer.port == 0 {
        "the other nodes must know the port, so the system can't choose it".to_string()
    } else if peer.host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified()) {
        "the other nodes can't connect to that address; name the one they reach it by".to_string()
    } else {
        return Ok(());
    };
    Err(ConfigError(format!("{peer} in --peers can't be used: {why}.")))
}

/// The cluster's id, if one was given; all nodes must be given the same.
///
/// # Errors
/// One sentence: it can't be one, or there must be one.
pub fn cluster_id(id: Option<String>, peers: &[Peer]) -> Result<Option<String>, ConfigError> {
    let Some(id) = id else {
        if peers.len() > 1 {
            return Err(ConfigError(
                "--peers needs a --cluster-id, the same for all of its nodes: by it they know \
                 that they belong together."
                    .into(),
            ));
        }
        return Ok(None);
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if id.is_empty() || id.len() > CLUSTER_ID_BYTES_MAX || !id.chars().all(plain) {
        return Err(ConfigError(format!(
            "--cluster-id {id:?} can't be used: take 1 to {CLUSTER_ID_BYTES_MAX} letters, digits, \
             dots, dashes and underscores."
        )));
    }
    Ok(Some(id))
}

impl FromStr for PeerList {
    type Err = String;

    fn from_str(text: &str) -> Result<PeerList, String> {
        text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>().map(PeerList)
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Peer, String> {
        let wrong = |why: &str| format!("{text:?} is not a node: {why}; {AS_WRITTEN}");
        let (node, address) = text.split_once('@').ok_or_else(|| wrong("it has no @"))?;
        let node = node.parse().map_err(|_| wrong("before the @ comes its number"))?;
        let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong("it has no port"))?;
        let port = port.parse().map_err(|_| wrong("ports are from 1 to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(wrong("an IPv6 address is written in brackets"));
        }
        let host = bare.unwrap_or(host);
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "@/[]".contains(c)) {
            return Err(wrong("it has no host"));
        }
        Ok(Peer { node: NodeId(node), host: host.to_string(), port })
    }
}

impl Peer {
    /// Its host and port as they are typed.
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.node, self.address())
    }
}

impl<'de> Deserialize<'de> for PeerList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<PeerList, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected nodes, such as [\"1@host:9092\", \"2@host:9092\"]")]
        enum Written {
            Text(String),
            List(Vec<String>),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::List(nodes) => nodes.join(","),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, RawConfig};
    use super::*;

    fn raw(node: u32, peers: &str) -> RawConfig {
        RawConfig {
            node_id: Some(node),
            cluster_id: Some("c1".into()),
            peers: Some(peers.parse().unwrap()),
            shards: Some(2),
            ..RawConfig::default()
        }
    }

    fn config(raw: RawConfig) -> Result<Config, String> {
        Config::new(raw, &[0, 1]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_node_listens_where_the_others_look_for_it() {
        let three = "3@[::1]:9100,1@127.0.0.1:9092, 2@127.0.0.1:9094";
        let config = config(raw(2, three)).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:9094");
        assert_eq!(config.advertise_host, "127.0.0.1");
        assert_eq!(config.cluster_id.as_deref(), Some("c1"));
        assert_eq!(config.groups_of_new_dir(), 6);
        let nodes: Vec<String> = config.peers.iter().map(Peer::to_string).collect();
        assert_eq!(nodes, ["1@127.0.0.1:9092", "2@127.0.0.1:9094", "3@[::1]:9100"]);
    }

    #[test]
    fn what_is_listened_on_and_what_clients_are_told_may_differ_from_what_peers_use() {
        let mut settings = raw(1, "1@inside:9092");
        settings.listen = Some("0.0.0.0:9092".into());
        assert_eq!(config(settings.clone()).unwrap().advertise_host, "inside");
        settings.advertise = Some("outside".into());
        assert_eq!(config(settings.clone()).unwrap().advertise_host, "outside");
        for other in ["127.0.0.1:9093", "127.0.0.1:0"] {
            settings.listen = Some(other.into());
            let said = config(settings.clone()).unwrap_err();
            assert!(said.contains(other) && said.contains("1@inside:9092"), "{said}");
        }
    }

    #[test]
    fn nodes_that_cannot_be_are_refused_with_the_reason() {
        for (node, peers, parts) in [
            (1, "2@b:9092,3@c:9092", ["2, 3", "--node-id"]),
            (1, "1@a:9092,2@b:9092,2@c:9092", ["node 2 twice", "of its own"]),
            (1, "1@a:0,2@b:9092", ["1@a:0", "must know the port"]),
            (1, "1@a:9092,2@0.0.0.0:9092", ["2@0.0.0.0:9092", "can't connect"]),
            (1, "1@a:9092,2000001@b:9092", ["2000001@b:9092", "2000000"]),
            (1, "1@127.0.0.1:9092,2@127.0.0.1:9093", ["2@127.0.0.1:9093", "9092 to 9093"]),
            (1, "1@127.0.0.1:65535,2@b:9092", ["65535 to 65536", "lower"]),
        ] {
            let said = config(raw(node, peers)).expect_err(peers);
            assert!(parts.iter().all(|part| said.contains(part)), "{peers}: {said}");
        }
    }

    #[test]
    fn several_nodes_need_a_cluster_id_and_one_does_not() {
        let without = |peers| RawConfig { cluster_id: None, ..raw(1, peers) };
        let said = config(without("1@127.0.0.1:9092,2@127.0.0.1:9094")).unwrap_err();
        assert!(said.contains("--cluster-id"), "{said}");
        assert_eq!(config(without("1@127.0.0.1:9092")).unwrap().cluster_id, None);
        for bad in ["", "a b", "é", &"x".repeat(65)] {
            let alone = RawConfig { cluster_id: Some(bad.into()), ..RawConfig::default() };
            assert!(config(alone).unwrap_err().contains("--cluster-id"), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_read_as_a_node_is_quoted() {
        for bad in ["", "1", "1@", "1@a", "@a:1", "x@a:1", "1@a:x", "1@a:70000", "1@:1", "1@::1:1"]
        {
            let said = bad.parse::<PeerList>().expect_err(bad);
            assert!(said.contains(&format!("{bad:?}")) && said.contains(AS_WRITTEN), "{said}");
        }
    }

    #[test]
    fn the_file_takes_a_line_or_a_list() {
        let line: RawConfig = toml::from_str("peers = \"1@a:1,2@b:2\"").unwrap();
        let list: RawConfig = toml::from_str("peers = [\"1@a:1\", \"2@b:2\"]").unwrap();
        assert_eq!(line.peers, list.peers);
        assert_eq!(line.peers.unwrap().0.len(), 2);
        let said = toml::from_str::<RawConfig>("peers = [1, 2]").unwrap_err().to_string();
        assert!(said.contains("1@host:9092"), "{said}");
    }
}
