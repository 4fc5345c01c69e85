//! The data directory: what lies where, whose it is, and what is found in it at start.
//!
//! ```text
//! DIR/lock                       flock: one process at a time
//! DIR/hutong.json                what was decided when it was made, for good
//! DIR/group-N/                   of each group that this node has a replica of
//! DIR/group-N/segment-%020d.journal   one segment, full size from its first day
//! DIR/group-N/spare-%020d.journal     a segment that was removed: full size, written, for reuse
//! DIR/group-N/vote               term and vote: 8192 bytes
//! DIR/group-N/checkpoint         replaced as a whole
//! *.tmp                          half-made; removed at start
//! ```

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, Config};
use crate::journal::source::GroupFiles;
use crate::metadata::placement::replicas;
use crate::model::ids::{GroupId, NodeId, SegmentId};
use crate::runtime::aligned::sync_dir;

/// The layout above. Goes up when an older build could not read what a newer one wrote.
const FORMAT_VERSION: u32 = 1;
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
    /// The nodes that formed the cluster, ascending. In a directory older than clusters there are
    /// none written, and are read as the node alone.
    #[serde(default)]
    pub nodes: Vec<u32>,
    /// Groups of the cluster.
    pub groups: u32,
    pub segment_bytes: u64,
}

impl DirFacts {
    /// The groups that this node has a replica of, ascending.
    pub fn groups_here(&self) -> impl Iterator<Item = GroupId> + use<> {
        let nodes: Vec<NodeId> = self.nodes.iter().copied().map(NodeId).collect();
        let node = NodeId(self.node_id);
        (0..self.groups).map(GroupId).filter(move |group| replicas(*group, &nodes).contains(&node))
    }
}

/// An open data directory, locked against other processes until dropped.
pub struct DataDir {
    /// Absolute: the runtime below asks the file system by path.
    path: PathBuf,
    facts: DirFacts,
    _lock: Flock<File>,
}

impl DataDir {
    /// Opens the directory, making it if it isn't there.
    ///
    /// # Errors
    /// A sentence: it is used by another process, belongs to another node, is of another version,
    /// or what the system said.
    pub fn open(config: &Config) -> Result<DataDir> {
        let shown = config.data_dir.display();
        fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("can't make the data directory {shown}"))?;
        let path = fs::canonicalize(&config.data_dir)
            .with_context(|| format!("can't resolve the data directory {shown}"))?;
        let lock = lock(&path, "stop that one, or choose another directory with --data-dir")?;
        let facts = match read_facts(&path)? {
            Some(facts) => facts,
            None => make_facts(&path, config)?,
        };
        check(&facts, config, &path)?;
        let dir = DataDir { path, facts, _lock: lock };
        for group in dir.facts.groups_here() {
            dir.prepare_group(group)?;
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
        Ok(DataDir { path, facts, _lock: lock })
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
        let dir = group_dir(&self.path, group);
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
        Ok(GroupFiles { group, segments, vote, checkpoint })
    }

    /// Makes what every group has, and removes what a crash left half-made.
    fn prepare_group(&self, group: GroupId) -> Result<()> {
        let dir = group_dir(&self.path, group);
        let shown = dir.display();
        if !dir.exists() {
            fs::create_dir(&dir).with_context(|| format!("can't make {shown}"))?;
            sync_dir(&self.path).with_context(|| format!("can't sync {}", self.path.display()))?;
        }
        for name in names_in(&dir)? {
            if name.ends_with(".tmp") {
                fs::remove_file(dir.join(&name))
                    .with_context(|| format!("can't remove {shown}/{name}"))?;
            }
        }
        if !dir.join("vote").exists() {
            replace_file(&dir, "vote", &[0; VOTE_FILE_BYTES])
                .with_context(|| format!("can't make {shown}/vote"))?;
        }
        Ok(())
    }
}

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
    let mut facts: DirFacts = serde_json::from_slice(&bytes).map_err(wrong)?;
    if facts.nodes.is_empty() {
        facts.nodes.push(facts.node_id);
    }
    if !facts.nodes.contains(&facts.node_id) {
        bail!(
            "{} is damaged (node {} is none of its {}): restore it",
            file.display(),
            facts.node_id,
            listed(&facts.nodes)
        );
    }
    Ok(Some(facts))
}

fn make_facts(path: &Path, config: &Config) -> Result<DirFacts> {
    // A directory with groups but without its facts isn't new: to make facts up for it would be
    // to read its journals with the wrong segment size.
    if names_in(path)?.iter().any(|name| name.starts_with("group-")) {
        bail!(
            "{} holds groups but no hutong.json: restore that file, or choose another directory \
             with --data-dir",
            path.display()
        );
    }
    let cluster_id = match &config.cluster_id {
        Some(id) => id.clone(),
        None => uuid::Builder::from_random_bytes(random()?).into_uuid().to_string(),
    };
    let facts = DirFacts {
        format_version: FORMAT_VERSION,
        cluster_id,
        node_id: config.node_id.0,
        nodes: formed_by(config),
        groups: config.groups_of_new_dir(),
        segment_bytes: config.segment_bytes_of_new_dir(),
    };
    let json = serde_json::to_vec_pretty(&facts).context("can't write the facts as JSON")?;
    replace_file(path, "hutong.json", &json)
        .with_context(|| format!("can't write {}/hutong.json", path.display()))?;
    Ok(facts)
}

/// The nodes of a new cluster.
fn formed_by(config: &Config) -> Vec<u32> {
    match config.peers.as_slice() {
        [] => vec![config.node_id.0],
        peers => peers.iter().map(|peer| peer.node.0).collect(),
    }
}

/// Refuses what can't be; warns of what is not followed.
fn check(facts: &DirFacts, config: &Config, path: &Path) -> Result<()> {
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
    check_nodes(facts, config, path)?;
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

/// Addresses of nodes may change, but not which nodes there are.
fn check_nodes(facts: &DirFacts, config: &Config, path: &Path) -> Result<()> {
    let formed = listed(&facts.nodes);
    if config.peers.is_empty() {
        if facts.nodes.len() > 1 {
            bail!(
                "the data directory {} belongs to a cluster of {formed}: say with \
                 --peers where they are",
                path.display()
            );
        }
        return Ok(());
    }
    let named = formed_by(config);
    let new: Vec<u32> = named.iter().copied().filter(|id| !facts.nodes.contains(id)).collect();
    if !new.is_empty() {
        bail!(
            "--peers names {}, and the data directory {} belongs to a cluster of {formed}: a \
             cluster that is there can't be given more nodes with --peers, and 'hutong cluster \
             add', which will do that, is yet to come",
            listed(&new),
            path.display()
        );
    }
    let missing: Vec<u32> = facts.nodes.iter().copied().filter(|id| !named.contains(id)).collect();
    if !missing.is_empty() {
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
