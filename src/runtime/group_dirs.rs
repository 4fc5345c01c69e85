//! Directories of groups that come to a node, or go from it, while it runs.
//!
//! A group counts as here unless its directory has a file named `gone`. That one is there first
//! when a group is made and when it is deleted, so that a crash in between leaves none that is half
//! of one. The vote stays for good, as a node that gets the group back must not vote twice in a
//! term; and so does a checkpoint that says that the journal is gone.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::journal::source::GroupFiles;
use crate::model::ids::GroupId;
use crate::runtime::aligned::sync_dir;
use crate::runtime::data_dir::{
    GONE, group_dir, group_files, names_in, prepare_group, replace_file,
};
use crate::runtime::segment_files::failure;
use crate::shard::input::IoFailure;

/// Makes the directory of a group that begins with this checkpoint, if it wasn't here before.
///
/// # Errors
/// What the system said.
pub fn create(data_dir: &Path, group: GroupId, checkpoint: &[u8]) -> Result<GroupFiles, IoFailure> {
    let dir = group_dir(data_dir, group);
    let made = || -> std::io::Result<()> {
        fs::create_dir_all(&dir)?;
        replace_file(&dir, GONE, b"")?;
        sync_dir(data_dir)?;
        prepare_group(data_dir, group).map_err(std::io::Error::other)?;
        // If it has one, that is what `remove` left; or all was there still when that was cut off,
        // and is as good as it was.
        if !dir.join("checkpoint").exists() {
            replace_file(&dir, "checkpoint", checkpoint)?;
        }
        fs::remove_file(dir.join(GONE))?;
        sync_dir(&dir)
    };
    made().map_err(|error| failure("make", &dir, &error))?;
    group_files(data_dir, group).map_err(|error| IoFailure::Failed(format!("{error:#}")))
}

/// Deletes all that there is of a group but its vote, and this in the place of its checkpoint.
///
/// # Errors
/// What the system said.
pub fn remove(data_dir: &Path, group: GroupId, checkpoint: &[u8]) -> Result<()> {
    let dir = group_dir(data_dir, group);
    replace_file(&dir, GONE, b"").with_context(|| format!("can't write to {}", dir.display()))?;
    replace_file(&dir, "checkpoint", checkpoint)
        .with_context(|| format!("can't write to {}", dir.display()))?;
    for name in names_in(&dir)? {
        if !["vote", "checkpoint", GONE].contains(&name.as_str()) {
            let path = dir.join(name);
            fs::remove_file(&path).with_context(|| format!("can't remove {}", path.display()))?;
        }
    }
    sync_dir(&dir).with_context(|| format!("can't sync {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_comes_and_goes_and_its_vote_stays() {
        let name = format!("hutong-group-dirs-{}", std::process::id());
        let data_dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&data_dir).unwrap();
        let group = GroupId(7);
        let files = create(&data_dir, group, b"checkpoint").unwrap();
        assert_eq!(files.checkpoint.as_deref(), Some(&b"checkpoint"[..]));
        assert!(files.vote.is_empty() && files.segments.is_empty());
        let dir = group_dir(&data_dir, group);
        fs::write(dir.join("vote"), [7; 8192]).unwrap();
        fs::write(dir.join(format!("segment-{:020}.journal", 0)), b"entries").unwrap();
        remove(&data_dir, group, b"gone").unwrap();
        let mut names = names_in(&dir).unwrap();
        names.sort();
        assert_eq!(names, ["checkpoint", "gone", "vote"]);
        let files = create(&data_dir, group, b"again").unwrap();
        assert_eq!((files.vote[0], files.segments.len()), (7, 0));
        assert_eq!(files.checkpoint.as_deref(), Some(&b"gone"[..]), "it isn't as if it was new");
        assert!(!dir.join(GONE).exists());
        fs::remove_dir_all(&data_dir).unwrap();
    }
}
