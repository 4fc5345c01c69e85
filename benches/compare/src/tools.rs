//! Our own programs, built before they are measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// Where they are.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Builds them as they are in the tree, so that nothing old is measured.
    ///
    /// # Errors
    /// A sentence: they can't be built, or this program itself isn't a release build.
    pub fn build() -> anyhow::Result<Tools> {
        let me = std::env::current_exe().context("can't tell where this program is")?;
        let folder = me.parent().context("a program lies in a folder")?.to_owned();
        if cfg!(debug_assertions) {
            bail!("a dev build would measure dev builds: cargo run --release -p hutong-compare");
        }
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--quiet"])
            .args(["-p", "hutong", "-p", "hutong-load", "-p", "hutong-hist"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .context("can't run cargo")?;
        if !status.success() {
            bail!("hutong, hutong-load and hutong-hist can't be built");
        }
        Ok(Tools { folder })
    }

    /// One of them, by name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// One of them, to be run.
    pub fn command(&self, name: &str) -> Command {
        Command::new(self.path(name))
    }

    /// Where data goes unless somebody says otherwise: beside the programs, on a real disk.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
