//! `hutong doctor`: what this host gives a broker, measured where it can be measured.
//!
//! Looks, and changes nothing: the file it measures with has no name from the moment it exists, so
//! even a doctor that is killed leaves nothing behind.

mod cpu;
mod device;
mod disk;
mod kernel;
mod loopback;
mod measure;
mod report;
mod scratch;
mod storage;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::output::{print, print_json};
use super::{FoundBad, UsageError};
use report::{Check, Level};

/// Where `hutong serve` keeps its data unless told otherwise.
const DIRECTORY_DEFAULT: &str = "hutong-data";

#[derive(Debug, Args)]
#[command(
    about = "Tell what this host gives a broker, and what to do where that is too little",
    long_about = "Tell what this host gives a broker, and what to do where that is too little.\n\n\
                  Looks at the kernel, its limits, the CPUs and the file system, and measures for \
                  about six seconds how fast the disk takes durable writes and how fast the \
                  loopback answers. The disk is measured as the broker uses it: io_uring, \
                  O_DIRECT, over blocks that were written before. Changes nothing and leaves \
                  nothing behind. Exits with 1 if anything is bad.\n\n\
                  Examples:\n\n  \
                  hutong doctor\n  \
                  hutong doctor /var/lib/hutong\n  \
                  hutong doctor --json | jq '.checks[] | select(.level != \"ok\")'"
)]
pub struct DoctorArgs {
    /// The data directory; ./hutong-data if that exists, else the current directory
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print JSON: one object, with an array of checks
    #[arg(long)]
    json: bool,
}

/// Looks at everything and tells it; fails if anything is bad.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let directory = directory(args.directory.as_deref())?;
    let checks = examine(&directory);
    if args.json {
        print_json(&report::to_json(&directory, &checks))?;
    } else {
        print(&report::to_text(&directory, &checks))?;
    }
    match report::worst(&checks) {
        Level::Bad => Err(FoundBad.into()),
        Level::Ok | Level::Warn => Ok(()),
    }
}

fn directory(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let default = Path::new(DIRECTORY_DEFAULT);
    let wanted = match named {
        Some(path) => path,
        None if default.is_dir() => default,
        None => Path::new("."),
    };
    if !wanted.is_dir() {
        let shown = wanted.display();
        return Err(UsageError(format!("there is no directory {shown}: make it first")).into());
    }
    wanted.canonicalize().with_context(|| format!("can't find {}", wanted.display()))
}

fn examine(directory: &Path) -> Vec<Check> {
    let cpus = cpu::allowed();
    let mut checks = kernel::version();
    checks.push(kernel::io_uring());
    checks.push(kernel::memlock(cpus.len()));
    checks.push(kernel::open_files());
    checks.extend(cpu::checks(&cpus));
    checks.extend(storage::checks(directory, cpus.len()));
    // What these need, the measurement needs: it would only fail for the same reason.
    let needed = ["kernel.io_uring", "limit.memlock", "disk.direct_io"];
    let missing = |check: &Check| check.level == Level::Bad && needed.contains(&&*check.name);
    if !checks.iter().any(missing) {
        checks.extend(disk::checks(directory, cpus.first().copied()));
    }
    checks.push(loopback::check());
    checks.push(loopback::check_stream());
    checks
}
