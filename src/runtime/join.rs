//! A node with an empty data directory joins a cluster that is there: it asks the others what the
//! cluster was formed of, again and again until somebody has added it.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::config::Config;
use crate::runtime::visitor;
use crate::shard::peers::visit::{Formation, Joining, Visit};

/// How long one node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(500);

/// What the cluster that this node joins was formed of.
///
/// # Errors
/// A node answered that this one can't join as it is, not even later; or it `is_stopped`.
pub fn formation(config: &Config, is_stopped: impl Fn() -> bool) -> Result<Formation> {
    let cluster_id = config.cluster_id.clone().unwrap_or_default();
    let question = Visit::Join { cluster_id, node: config.node_id };
    let mut said = String::new();
    loop {
        let mut heard = Vec::new();
        for peer in config.peers.iter().filter(|peer| peer.node != config.node_id) {
            match visitor::ask((&peer.host, peer.port), &question, TIMEOUT) {
                Ok(Ok(answer)) => match Joining::decode(&answer) {
                    Ok(Joining::Formed(formation)) => return Ok(formation),
                    Ok(Joining::NotYet(why)) => heard.push(why),
                    Err(error) => heard.push(format!("{peer}: {error}")),
                },
                Ok(Err(why)) => bail!("can't join the cluster: {why}"),
                Err(error) => heard.push(format!("{error:#}")),
            }
        }
        let now = heard.first().cloned().unwrap_or_default();
        if now != said {
            tracing::info!("waits to join the cluster: {now}");
            said = now;
        }
        std::thread::sleep(PAUSE);
        if is_stopped() {
            bail!("stopped before it has joined the cluster");
        }
    }
}
