//! `nodes.json`: the nodes of the cluster as this one last knew them. A start needs to know whom to
//! talk to, and whose data directory to believe, before it has the catalog, which says so for good.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::model::ids::NodeId;
use crate::runtime::data_dir::{directory_text, replace_file};
use crate::shard::NodeAddress;

/// The file's name in the data directory.
const NAME: &str = "nodes.json";

#[derive(Serialize, Deserialize)]
struct KnownNode {
    node: u32,
    host: String,
    port: u16,
    /// All zeros if nobody has seen its data directory yet.
    #[serde(with = "directory_text")]
    directory: u128,
}

/// What was kept; `None` in a directory of nodes that have never changed.
///
/// # Errors
/// The file can't be read, or is damaged.
pub fn read(data_dir: &Path) -> Result<Option<Vec<NodeAddress>>> {
    let file = data_dir.join(NAME);
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("can't read {}", file.display()));
        }
    };
    let nodes: Vec<KnownNode> = serde_json::from_slice(&bytes).map_err(|error| {
        anyhow!(
            "{} is damaged ({error}): remove it, and name all nodes of the cluster with --peers",
            file.display()
        )
    })?;
    let address = |known: KnownNode| NodeAddress {
        node: NodeId(known.node),
        host: known.host,
        port: known.port,
        directory: known.directory,
    };
    Ok(Some(nodes.into_iter().map(address).collect()))
}

/// Keeps these.
///
/// # Errors
/// What the system said.
pub fn write(data_dir: &Path, nodes: &[NodeAddress]) -> std::io::Result<()> {
    let known = nodes.iter().map(|address| KnownNode {
        node: address.node.0,
        host: address.host.clone(),
        port: address.port,
        directory: address.directory,
    });
    let json = serde_json::to_vec_pretty(&known.collect::<Vec<_>>())?;
    replace_file(data_dir, NAME, &json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_back_as_they_were_and_damage_is_told() {
        let name = format!("hutong-known-{}-{}", std::process::id(), line!());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(read(&dir).unwrap(), None);
        let address = |node: u32, directory| NodeAddress {
            node: NodeId(node),
            host: "localhost".into(),
            port: 9092 + node as u16,
            directory,
        };
        let nodes = vec![address(1, 7 << 90), address(2, 0)];
        write(&dir, &nodes).unwrap();
        assert_eq!(read(&dir).unwrap(), Some(nodes));
        std::fs::write(dir.join(NAME), b"[{").unwrap();
        assert!(read(&dir).unwrap_err().to_string().contains("--peers"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
