//! The data directory: what lies where, whose it is, and what is found in it at start.
//!
//! ```text
//! DIR/lock                       flock: one process at a time
//! DIR/hutong.json                what was decided when it was made, for good
//! DIR/nodes.json                 the nodes of the cluster, once there have been changes
//! DIR/group-N/                   of each group that this node has a replica of
//! DIR/group-N/segment-%020d.journal   one segment, full size from its first day
//! DIR/group-N/spare-%020d.journal     a segment that was removed: full size, written, for reuse
//! DIR/group-N/vote               term and vote: 8192 bytes
//! DIR/group-N/checkpoint         replaced as a whole
//! DIR/group-N/gone               other nodes hold this group now: only its vote is left
//! *.tmp                          half-made; removed at start
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};
use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, Config};
use crate::journal::source::GroupFiles;
use crate::limits::ENTRY_ALIGN_BYTES;
use crate::metadata::placement::replicas;
use crate::model::ids::{GroupId, NodeId, SegmentId};
use crate::runtime::aligned::{open_direct, sync_dir};
use crate::runtime::known_nodes;
use crate::shard::NodeAddress;
use crate::shard::peers::visit::Formation;

/// The layout above. Goes up when an older build could not read what a newer one wrote.
const FORMAT_VERSION: u32 = 2;
/// The vote file holds two slots of one block each.
const VOTE_FILE_BYTES: usize = 8192;
/// io_uring lets go of a killed process's files a moment after the process is gone.
const LOCK_TRIES: u32 = 12;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// What was decided when the directory was made.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct DirFacts {
    pub format_version: u32,
    pub cluster_id: String,
    pub node_id: u32,
    /// Drawn at random: tells this directory from any other with this node's id.
    #[serde(with = "directory_text")]
    pub directory: u128,
    /// The nodes that formed the cluster, ascending. One that has joined it isn't among them.
    pub nodes: Vec<u32>,
    /// Groups that the cluster was formed with.
    pub groups: u32,
    pub segment_bytes: u64,
}

/// A data directory's number as a UUID, which is how it is written.
pub mod directory_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes it.
    pub fn serialize<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&uuid::Uuid::from_u128(*number))
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<uuid::Uuid>().map(|uuid| uuid.as_u128()).map_err(de::Error::custom)
    }
}

impl DirFacts {
    /// The nodes that formed the cluster, ascending.
    pub fn formed(&self) -> Vec<NodeId> {
        self.nodes.iter().copied().map(NodeId).collect()
    }

    /// The groups that this node begins with, ascending. The catalog's is on every node.
    fn first_groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        let nodes = self.formed();
        let node = NodeId(self.node_id);
        let holds = move |group: &GroupId| group.0 == 0 || replicas(*group, &nodes).contains(&node);
        (0..self.groups).map(GroupId).filter(holds)
    }
}

/// An open data directory, locked against other processes until dropped.
pub struct DataDir {
    /// Absolute: the runtime below asks the file system by path.
    path: PathBuf,
    facts: DirFacts,
    /// What this node last knew of the nodes of its cluster.
    known: Option<Vec<NodeAddress>>,
    _lock: Flock<File>,
}

impl DataDir {
    /// Opens the directory, making it if it isn't there. `join` finds out what the cluster was
    /// formed of that a new one is to join.
    ///
    /// # Errors
    /// A sentence: it is used by another process, belongs to another node, is of another version,
    /// or what the system said.
    pub fn open(
        config: &Config,
        join: impl FnOnce(&Config) -> Result<Formation>,
    ) -> Result<DataDir> {
        let shown = config.data_dir.display();
        fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("can't make the data directory {shown}"))?;
        let path = fs::canonicalize(&config.data_dir)
            .with_context(|| format!("can't resolve the data directory {shown}"))?;
        let lock = lock(&path, "stop that one, or choose another directory with --data-dir")?;
        let facts = match read_facts(&path)? {
            Some(facts) => facts,
            None if config.join => make_facts(&path, config, Some(join(config)?))?,
            None => make_facts(&path, config, None)?,
        };
        let known = known_nodes::read(&path)?;
        check(&facts, known.as_deref(), config, &path)?;
        let dir = DataDir { path, facts, known, _lock: lock };
        for group in dir.groups_here()? {
            prepare_group(&dir.path, group)?;
        }
        Ok(dir)
    }

    /// Opens the directory of a stopped node to look at it. Makes and changes nothing in it.
    ///
    /// # Errors
    /// A sentence: it is no data directory, is used by a running node, is of another version, or
    /// what the system said.
    pub fn open_stopped(path: &Path) -> Result<DataDir> {
        let shown = path.display();
        let path = fs::canonicalize(path).with_context(|| format!("can't open {shown}"))?;
        let no_facts = || anyhow!("{shown} is no data directory: it has no hutong.json");
        // First without the lock, whose file must not be made where none belongs.
        read_facts(&path)?.ok_or_else(no_facts)?;
        let lock = lock(&path, "stop that node first")?;
        let facts = read_facts(&path)?.ok_or_else(no_facts)?;
        let known = known_nodes::read(&path)?;
        Ok(DataDir { path, facts, known, _lock: lock })
    }

    /// The groups that this node has a replica of, ascending.
    ///
    /// # Errors
    /// The directory can't be listed.
    pub fn groups_here(&self) -> Result<Vec<GroupId>> {
        let mut groups: BTreeSet<GroupId> = self.facts.first_groups().collect();
        for name in names_in(&self.path)? {
            let number = name.strip_prefix("group-").and_then(|digits| digits.parse().ok());
            groups.extend(number.map(GroupId));
        }
        groups.retain(|group| !group_dir(&self.path, *group).join(GONE).exists());
        Ok(groups.into_iter().collect())
    }

    /// The nodes of the cluster as this one last knew them; `None` if they have never changed.
    pub fn known_nodes(&self) -> Option<&[NodeAddress]> {
        self.known.as_deref()
    }

    /// What was decided when it was made.
    pub fn facts(&self) -> &DirFacts {
        &self.facts
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is on disk of one group.
    pub fn group_files(&self, group: GroupId) -> Result<GroupFiles> {
        group_files(&self.path, group)
    }
}

/// What is on disk of one group.
///
/// # Errors
/// What the system said.
pub fn group_files(data_dir: &Path, group: GroupId) -> Result<GroupFiles> {
    let dir = group_dir(data_dir, group);
    let mut segments = Vec::new();
    for name in names_in(&dir)? {
        if let Some(segment) = segment_of_name(&name, "segment-") {
            segments.push(segment);
        }
    }
    segments.sort_unstable();
    let vote_path = dir.join("vote");
    let mut vote =
        fs::read(&vote_path).with_context(|| format!("can't read {}", vote_path.display()))?;
    if vote.iter().all(|byte| *byte == 0) {
        vote.clear();
    }
    let checkpoint = match fs::read(dir.join("checkpoint")) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => bail!("can't read {}: {error}", dir.join("checkpoint").display()),
    };
    Ok(GroupFiles { segments, vote, checkpoint, ..GroupFiles::new(group) })
}

/// Makes what every group has, removes what a crash left half-made, and waits for what it left on
/// its way.
///
/// # Errors
/// What the system said.
pub fn prepare_group(data_dir: &Path, group: GroupId) -> Result<()> {
    let dir = group_dir(data_dir, group);
    let shown = dir.display();
    if !dir.exists() {
        fs::create_dir(&dir).with_context(|| format!("can't make {shown}"))?;
        sync_dir(data_dir).with_context(|| format!("can't sync {}", data_dir.display()))?;
    }
    for name in names_in(&dir)? {
        if name.ends_with(".tmp") {
            fs::remove_file(dir.join(&name))
                .with_context(|| format!("can't remove {shown}/{name}"))?;
        } else if name == "vote" || segment_of_name(&name, "segment-").is_some() {
            wait_for_writes(&dir.join(name));
        }
    }
    if !dir.join("vote").exists() {
        replace_file(&dir, "vote", &[0; VOTE_FILE_BYTES])
            .with_context(|| format!("can't make {shown}/vote"))?;
    }
    Ok(())
}

/// Waits until writes that a process has left behind when it was killed have reached the disk. They
/// outlive it by as long as the disk takes (`kernel-notes/009-*`), and would land on what is
/// written there next.
fn wait_for_writes(path: &Path) {
    let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
    // Allocates what is allocated: before that it waits for all direct I/O.
    let waited = open_direct(path, false, 0)
        .and_then(|file| Ok(fallocate(&file, keep, 0, ENTRY_ALIGN_BYTES as i64)?));
    if let Err(error) = waited {
        tracing::debug!("can't wait for writes to {}: {error}", path.display());
    }
}

/// In the directory of a group that other nodes hold now.
pub const GONE: &str = "gone";

/// The directory of a group.
pub fn group_dir(data_dir: &Path, group: GroupId) -> PathBuf {
    data_dir.join(format!("group-{group}"))
}

/// The file of a segment.
pub fn segment_path(data_dir: &Path, group: GroupId, segment: SegmentId) -> PathBuf {
    group_dir(data_dir, group).join(format!("segment-{:020}.journal", segment.0))
}

/// The segment that a file named with this prefix is, or was.
pub fn segment_of_name(name: &str, prefix: &str) -> Option<SegmentId> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(".journal")?;
    (digits.len() == 20).then(|| digits.parse().ok().map(SegmentId)).flatten()
}

/// The names of the files in a directory that are text.
pub fn names_in(dir: &Path) -> Result<Vec<String>> {
    let shown = dir.display();
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("can't list {shown}"))? {
        let entry = entry.with_context(|| format!("can't list {shown}"))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Puts `bytes` under `name`, so that after a crash there is all of it or all of what was before.
pub fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let half_made = dir.join(format!("{name}.tmp"));
    let mut file = File::create(&half_made)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&half_made, dir.join(name))?;
    sync_dir(dir)
}

fn lock(path: &Path, advice: &str) -> Result<Flock<File>> {
    let lock_path = path.join("lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .with_context(|| format!("can't open {}", lock_path.display()))?;
    for _ in 0..LOCK_TRIES {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, nix::errno::Errno::EWOULDBLOCK)) => file = back,
            Err((_, error)) => bail!("can't lock {}: {error}", lock_path.display()),
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    bail!("the data directory {} is in use by another hutong process: {advice}", path.display())
}

fn read_facts(path: &Path) -> Result<Option<DirFacts>> {
    let file = path.join("hutong.json");
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => bail!("can't read {}: {error}", file.display()),
    };
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let wrong = |error| anyhow!("{} is damaged ({error}): restore it", file.display());
    let version: Version = serde_json::from_slice(&bytes).map_err(wrong)?;
    if version.format_version != FORMAT_VERSION {
        bail!(
            "the data directory {} has format {}, and this build reads format {FORMAT_VERSION}: \
             start it with the build that made it",
            path.display(),
            version.format_version
        );
    }
    let facts: DirFacts = serde_json::from_slice(&bytes).map_err(wrong)?;
    if facts.nodes.is_empty() || facts.groups == 0 {
        bail!("{} is damaged (it names no nodes or no groups): restore it", file.display());
    }
    Ok(Some(facts))
}

fn make_facts(path: &Path, config: &Config, joins: Option<Formation>) -> Result<DirFacts> {
    // A directory with groups but without its facts isn't new: to make facts up for it would be
    // to read its journals with the wrong segment size.
    if names_in(path)?.iter().any(|name| name.starts_with("group-")) {
        bail!(
            "{} holds groups but no hutong.json: restore that file, or choose another directory \
             with --data-dir",
            path.display()
        );
    }
    let drawn = || random().map(|bytes| uuid::Builder::from_random_bytes(bytes).into_uuid());
    let cluster_id = match &config.cluster_id {
        Some(id) => id.clone(),
        None => drawn()?.to_string(),
    };
    let formation = joins.unwrap_or_else(|| Formation {
        nodes: named(config).into_iter().map(NodeId).collect(),
        groups: config.groups_of_new_dir(),
        segment_bytes: config.segment_bytes_of_new_dir(),
    });
    let facts = DirFacts {
        format_version: FORMAT_VERSION,
        cluster_id,
        node_id: config.node_id.0,
        directory: drawn()?.as_u128(),
        nodes: formation.nodes.iter().map(|node| node.0).collect(),
        groups: formation.groups,
        segment_bytes: formation.segment_bytes,
    };
    let json = serde_json::to_vec_pretty(&facts).context("can't write the facts as JSON")?;
    replace_file(path, "hutong.json", &json)
        .with_context(|| format!("can't write {}/hutong.json", path.display()))?;
    Ok(facts)
}

/// The nodes that --peers names, or this one alone.
fn named(config: &Config) -> Vec<u32> {
    match config.peers.as_slice() {
        [] => vec![config.node_id.0],
        peers => peers.iter().map(|peer| peer.node.0).collect(),
    }
}

/// Refuses what can't be; warns of what is not followed.
fn check(
    facts: &DirFacts,
    known: Option<&[NodeAddress]>,
    config: &Config,
    path: &Path,
) -> Result<()> {
    if facts.node_id != config.node_id.0 {
        bail!(
            "the data directory {} belongs to node {}, and this is node {}: give each node its \
             own with --data-dir, or start this one with --node-id {}",
            path.display(),
            facts.node_id,
            config.node_id,
            facts.node_id
        );
    }
    if let Some(id) = config.cluster_id.as_ref().filter(|id| **id != facts.cluster_id) {
        bail!(
            "the data directory {} belongs to the cluster {}, and --cluster-id says {id}: choose \
             another directory with --data-dir, or give the cluster's own id",
            path.display(),
            facts.cluster_id
        );
    }
    check_nodes(facts, known, config, path)?;
    if let Some(groups) = config.groups.filter(|groups| *groups != facts.groups) {
        tracing::warn!(
            "--groups {groups} is not followed: the data directory was made with {} groups",
            facts.groups
        );
    }
    if let Some(bytes) = config.segment_bytes.filter(|bytes| *bytes != facts.segment_bytes) {
        tracing::warn!(
            "--segment-bytes {} is not followed: the data directory was made with {}",
            ByteSize(bytes),
            ByteSize(facts.segment_bytes)
        );
    }
    Ok(())
}

/// Addresses of nodes may be said anew, but not which nodes there are. Where they have changed
/// since the cluster was formed, what this node last knew counts.
fn check_nodes(
    facts: &DirFacts,
    known: Option<&[NodeAddress]>,
    config: &Config,
    path: &Path,
) -> Result<()> {
    let formed = listed(&facts.nodes);
    if config.peers.is_empty() {
        let is_alone = facts.nodes == [facts.node_id];
        if !is_alone && known.is_none() {
            bail!(
                "the data directory {} belongs to a cluster of {formed}: say with \
                 --peers where they are",
                path.display()
            );
        }
        return Ok(());
    }
    let named = named(config);
    let is_known = |id: &u32| {
        let here = known.iter().flat_map(|known| known.iter()).any(|it| it.node.0 == *id);
        here || facts.nodes.contains(id) || *id == facts.node_id
    };
    let new: Vec<u32> = named.iter().copied().filter(|id| !is_known(id)).collect();
    if !new.is_empty() {
        bail!(
            "--peers names {}, and the data directory {} belongs to a cluster of {formed}: a \
             cluster that is there is given more nodes with 'hutong cluster add'",
            listed(&new),
            path.display()
        );
    }
    let missing: Vec<u32> = facts.nodes.iter().copied().filter(|id| !named.contains(id)).collect();
    let has_joined = !facts.nodes.contains(&facts.node_id);
    if !missing.is_empty() && known.is_none() && !has_joined {
        bail!(
            "--peers lacks {} of the cluster that the data directory {} belongs to: name all of \
             {formed}",
            listed(&missing),
            path.display()
        );
    }
    Ok(())
}

fn listed(nodes: &[u32]) -> String {
    let numbers: Vec<String> = nodes.iter().map(u32::to_string).collect();
    format!("{} {}", if nodes.len() == 1 { "node" } else { "nodes" }, numbers.join(", "))
}

/// Random bytes from the system.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("can't read random bytes from /dev/urandom")?;
    Ok(bytes)
}
