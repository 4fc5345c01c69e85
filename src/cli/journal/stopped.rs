//! A stopped node as its next start would find it: the catalog, and of each group its vote, its
//! checkpoint and its partitions.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use crate::journal::recovery::Recovered;
use crate::journal::source::GroupFiles;
use crate::metadata::Catalog;
use crate::model::ids::{GroupId, NodeId, PartitionKey};
use crate::partition::Partition;
use crate::replica::vote::{Vote, VoteFile};
use crate::runtime::data_dir::{DataDir, DirFacts, group_dir};
use crate::runtime::segment_source::DirSource;
use crate::shard::checkpoint;
use crate::shard::control::CATALOG_GROUP;
use crate::shard::group::{AppendedEntry, Chain, ControlItem};
use crate::shard::open::{Replayed, replay_group};
use crate::shard::partitions::Partitions;

/// A data directory that no process uses, and none can while this lives.
pub struct Stopped {
    dir: DataDir,
}

/// One group, as far as its files can be read.
pub struct GroupState {
    pub files: GroupFiles,
    /// What it promised, or what is wrong with the file.
    pub vote: Result<Vote, String>,
    /// `None` if there is no checkpoint yet.
    pub checkpoint: Option<Result<CheckpointFacts, String>>,
    pub partitions: Partitions,
    /// Where the journal ends; or why a start would refuse it.
    pub recovered: Result<Recovered, String>,
    entries: VecDeque<AppendedEntry>,
    catalog: Option<Catalog>,
}

/// What a group's checkpoint says of itself.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointFacts {
    pub applied: Chain,
    pub age: Option<Duration>,
}

impl Stopped {
    /// Opens the directory.
    ///
    /// # Errors
    /// A sentence, also if a node runs on it.
    pub fn open(path: &Path) -> anyhow::Result<Stopped> {
        Ok(Stopped { dir: DataDir::open_stopped(path)? })
    }

    pub fn facts(&self) -> &DirFacts {
        self.dir.facts()
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn node(&self) -> NodeId {
        NodeId(self.facts().node_id)
    }

    /// The groups that this node has a replica of.
    ///
    /// # Errors
    /// The directory can't be listed.
    pub fn groups(&self) -> anyhow::Result<Vec<GroupId>> {
        self.dir.groups_here()
    }

    pub fn source(&self) -> DirSource {
        DirSource::new(self.dir.path())
    }

    /// The files there are of a group.
    pub fn files(&self, group: GroupId) -> anyhow::Result<GroupFiles> {
        self.dir.group_files(group)
    }

    /// All groups and the catalog as the journals' ends have them.
    pub fn state(&self) -> anyhow::Result<(Vec<GroupState>, Catalog)> {
        let mut groups = self
            .groups()?
            .into_iter()
            .map(|group| self.group(group))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut catalog = Catalog::new(self.facts().groups, &self.facts().formed());
        if let Some(group) = groups.get_mut(CATALOG_GROUP.0 as usize) {
            catalog = group.catalog.take().unwrap_or(catalog);
            apply_commands(&mut catalog, &group.entries);
        }
        for group in &mut groups {
            group.settle(&catalog);
        }
        Ok((groups, catalog))
    }

    fn group(&self, group: GroupId) -> anyhow::Result<GroupState> {
        let files = self.files(group)?;
        let replayed =
            replay_group(self.node(), self.facts().segment_bytes, &files, &mut self.source());
        let mut state = GroupState {
            vote: VoteFile::decode(&files.vote).map(|file| file.vote),
            checkpoint: self.checkpoint(&files),
            partitions: Partitions::default(),
            recovered: Err(String::new()),
            entries: VecDeque::new(),
            catalog: None,
            files,
        };
        match replayed {
            Ok(Replayed { catalog, partitions, entries, recovered, .. }) => {
                state = GroupState { catalog, partitions, entries, ..state };
                state.recovered = Ok(recovered);
            }
            Err(problem) => state.recovered = Err(problem),
        }
        Ok(state)
    }

    fn checkpoint(&self, files: &GroupFiles) -> Option<Result<CheckpointFacts, String>> {
        let path = group_dir(self.dir.path(), files.group).join("checkpoint");
        let written = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let age = written.and_then(|written| written.elapsed().ok());
        let decoded = checkpoint::decode(files.checkpoint.as_ref()?);
        Some(decoded.map(|checkpoint| CheckpointFacts { applied: checkpoint.applied, age }))
    }
}

impl GroupState {
    /// Moves log starts as the entries behind the checkpoint say, and forgets deleted partitions.
    fn settle(&mut self, catalog: &Catalog) {
        for entry in std::mem::take(&mut self.entries) {
            for item in entry.control {
                if let ControlItem::LogStart { partition, offset, .. } = item
                    && let Some(partition) = self.partitions.by_key_mut(partition)
                {
                    partition.commit(partition.log_end());
                    partition.trim(offset);
                }
            }
        }
        let gone: Vec<PartitionKey> =
            self.keys().filter(|key| catalog.partition(*key).is_none()).collect();
        for key in gone {
            self.partitions.remove(key);
        }
    }

    fn keys(&self) -> impl Iterator<Item = PartitionKey> {
        self.partitions.iter().map(|partition| partition.key)
    }

    /// The group's partitions in the order of their keys.
    pub fn sorted_partitions(&self) -> Vec<&Partition> {
        let mut partitions: Vec<_> = self.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.key);
        partitions
    }
}

fn apply_commands(catalog: &mut Catalog, entries: &VecDeque<AppendedEntry>) {
    for item in entries.iter().flat_map(|entry| &entry.control) {
        if let ControlItem::Command { command, .. } = item {
            // One that is refused was refused when it was first applied, too.
            let _ = catalog.apply(command);
        }
    }
}
