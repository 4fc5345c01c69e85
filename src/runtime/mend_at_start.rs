//! A shard whose journals are damaged where it must read them at its start: it fetches what is
//! damaged from other nodes, before it is opened and so before it takes part in anything.

use std::convert::Infallible;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use flume::RecvTimeoutError;

use crate::journal::source::GroupFiles;
use crate::runtime::data_dir::segment_path;
use crate::runtime::journal_client::JournalClient;
use crate::runtime::segment_source::DirSource;
use crate::shard::open::damage_at_start;
use crate::shard::repair::at_start::DamageAtStart;
use crate::shard::{NodeAddress, ShardConfig};

/// From one round through the other nodes to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// What has come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// There was no damage, or nobody to mend it.
    AsItWas,
    /// The groups are to be opened again.
    Mended,
    /// The node is to stop.
    Stopping,
}

/// Has what keeps groups from being opened mended by other nodes, and waits until one of them has
/// it, or until nobody holds the other end of `running` any more.
pub fn mend_at_start(
    config: &ShardConfig,
    groups: &[GroupFiles],
    dir: &Path,
    running: &flume::Receiver<Infallible>,
) -> AtStart {
    let others: Vec<&NodeAddress> =
        config.nodes.iter().filter(|address| address.node != config.node).collect();
    if others.is_empty() {
        return AtStart::AsItWas;
    }
    let mut source = DirSource::new(dir);
    let mut outcome = AtStart::AsItWas;
    for files in groups {
        let mut told = None;
        while let Some(mut damage) = damage_at_start(config, files, &mut source) {
            let (group, position) = (damage.group, damage.position());
            if told != Some(position) {
                tracing::error!(
                    "group {group}: damaged entry at position {position}, behind the last \
                     checkpoint: this node takes part in nothing before another one has given it \
                     what is damaged"
                );
            }
            let is_first = told.replace(position) != Some(position);
            if mend(config, &others, dir, &mut damage, &mut source, is_first) {
                outcome = AtStart::Mended;
            } else if running.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
                return AtStart::Stopping;
            }
        }
    }
    outcome
}

/// Asks one node after the other. Returns whether something was mended.
fn mend(
    config: &ShardConfig,
    others: &[&NodeAddress],
    dir: &Path,
    damage: &mut DamageAtStart,
    source: &mut DirSource,
    tells: bool,
) -> bool {
    let (group, position) = (damage.group, damage.position());
    for address in others {
        let node = address.node;
        let client = JournalClient::connect(&address.host, address.port, &config.cluster_id);
        let mended = client.map_err(|error| format!("{error:#}")).and_then(|mut client| {
            damage.mend(
                source,
                &mut |place| client.entry(place).map_err(|error| format!("{error:#}")),
                &mut |segment, at, bytes| {
                    let path = segment_path(dir, group, segment);
                    let file = File::options().write(true).open(&path);
                    let written = file.and_then(|file| {
                        file.write_all_at(bytes, at)?;
                        file.sync_data()
                    });
                    written.map_err(|error| format!("can't write {}: {error}", path.display()))
                },
            )
        });
        match mended {
            Ok(0) if tells => tracing::warn!("group {group}: node {node} doesn't have it yet"),
            Ok(0) => {}
            Ok(entries) => {
                tracing::warn!(
                    "group {group}: {entries} damaged entries from position {position} on are \
                     whole again: node {node} had them"
                );
                return true;
            }
            Err(why) if tells => tracing::warn!("group {group}: from node {node}: {why}"),
            Err(_) => {}
        }
    }
    false
}
