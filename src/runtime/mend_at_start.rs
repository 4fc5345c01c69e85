//! A shard whose journals are damaged where it must read them at its start: it fetches what is
//! damaged from other nodes, before it is opened and so before it takes part in anything. Meanwhile
//! it gives others what they fetch (`answer_at_start`), and those that run what they lack.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use flume::RecvTimeoutError;

use crate::journal::source::GroupFiles;
use crate::model::ids::{GroupId, NodeId};
use crate::model::position::Term;
use crate::runtime::answer_at_start::Answers;
use crate::runtime::data_dir::segment_path;
use crate::runtime::journal_client::JournalClient;
use crate::runtime::segment_source::DirSource;
use crate::shard::open::damage_at_start;
use crate::shard::peers::repair_wire::{JournalPlace, NotHeld};
use crate::shard::repair::at_start::{DamageAtStart, Mended, OtherNode, RunningNode, give_held};
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
/// it, or can give a snapshot instead, or until nobody holds the other end of `running` any more.
/// `socket` is where the shard listens.
pub fn mend_at_start(
    config: &ShardConfig,
    groups: &mut [GroupFiles],
    dir: &Path,
    socket: &OwnedFd,
    running: &flume::Receiver<Infallible>,
) -> AtStart {
    let others: Vec<&NodeAddress> =
        config.nodes.iter().filter(|address| address.node != config.node).collect();
    if others.is_empty() {
        return AtStart::AsItWas;
    }
    let mut source = DirSource::new(dir);
    let mut outcome = AtStart::AsItWas;
    let ids: Vec<GroupId> = groups.iter().map(|files| files.group).collect();
    // Until this returns.
    let mut answers = None;
    for files in groups.iter_mut() {
        let (mut told, mut mended) = (None, None);
        while !files.wants_snapshot
            && let Some(mut damage) = damage_at_start(config, files, &mut source)
        {
            let (group, position) = (damage.group, damage.position());
            let is_first = told.replace(position) != Some(position);
            if is_first {
                tracing::error!(
                    "group {group}: damaged entry at position {position}, behind the last \
                     checkpoint: this node takes part in nothing before another one has given it \
                     what is damaged"
                );
            }
            answers.get_or_insert_with(|| Answers::begin(config, dir, socket));
            match mend(config, &others, dir, &mut damage, &mut source, is_first) {
                Mended::Entries(_) if mended.replace(position) != Some(position) => {
                    outcome = AtStart::Mended;
                }
                Mended::Trimmed => {
                    files.wants_snapshot = true;
                    outcome = AtStart::Mended;
                }
                // What was just mended there was no help: no reason to try without a rest.
                Mended::Entries(_) | Mended::Nothing => {
                    give(config, &others, &ids, &mut source);
                    if running.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
                        return AtStart::Stopping;
                    }
                }
            }
        }
    }
    outcome
}

/// Asks one node after the other, until one has it.
fn mend(
    config: &ShardConfig,
    others: &[&NodeAddress],
    dir: &Path,
    damage: &mut DamageAtStart,
    source: &mut DirSource,
    tells: bool,
) -> Mended {
    let (group, position) = (damage.group, damage.position());
    let mut outcome = Mended::Nothing;
    for address in others {
        let node = address.node;
        let client = JournalClient::connect(&address.host, address.port, &config.cluster_id);
        let mended = client.map_err(|error| format!("{error:#}")).and_then(|mut client| {
            damage.mend(source, &mut client, &mut |segment, at, bytes| {
                let path = segment_path(dir, group, segment);
                let file = File::options().write(true).open(&path);
                let written = file.and_then(|file| {
                    file.write_all_at(bytes, at)?;
                    file.sync_data()
                });
                written.map_err(|error| format!("can't write {}: {error}", path.display()))
            })
        });
        match mended {
            Ok(Mended::Nothing) if tells => {
                tracing::warn!("group {group}: node {node} doesn't have it yet");
            }
            Ok(Mended::Nothing) => {}
            Ok(Mended::Trimmed) => {
                tracing::warn!(
                    "group {group}: node {node}, which leads it, has let go of what is damaged"
                );
                outcome = Mended::Trimmed;
            }
            Ok(Mended::Entries(entries)) => {
                tracing::warn!(
                    "group {group}: {entries} damaged entries from position {position} on are \
                     whole again: node {node} had them"
                );
                return Mended::Entries(entries);
            }
            Err(why) if tells => tracing::warn!("group {group}: from node {node}: {why}"),
            Err(_) => {}
        }
    }
    outcome
}

/// Gives all that run what of these groups they lack. Who can't be reached now may be later.
fn give(config: &ShardConfig, others: &[&NodeAddress], groups: &[GroupId], source: &mut DirSource) {
    for address in others {
        let client = JournalClient::connect(&address.host, address.port, &config.cluster_id);
        let Ok(client) = client else { continue };
        let mut other = GivenTo { client, by: config.node };
        for group in groups {
            if give_held(source, config.segment_bytes, *group, &mut other).is_err() {
                break;
            }
        }
    }
}

impl OtherNode for JournalClient {
    fn led(&mut self, place: JournalPlace, term: Term) -> Result<Option<Vec<u8>>, String> {
        JournalClient::led(self, place, term).map_err(|error| format!("{error:#}"))
    }

    fn held(&mut self, place: JournalPlace) -> Result<Result<Vec<u8>, NotHeld>, String> {
        JournalClient::held(self, place).map_err(|error| format!("{error:#}"))
    }
}

/// A node that is given something by this one.
struct GivenTo {
    client: JournalClient,
    by: NodeId,
}

impl RunningNode for GivenTo {
    fn damaged(&mut self, group: GroupId) -> Result<Vec<JournalPlace>, String> {
        self.client.damaged(group).map_err(|error| format!("{error:#}"))
    }

    fn give(&mut self, place: JournalPlace, entry: &[u8]) -> Result<(), String> {
        self.client.give(self.by, place, entry).map_err(|error| format!("{error:#}"))
    }
}
