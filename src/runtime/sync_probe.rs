//! Which of the two durable ways to write is faster on this disk? Measured at start.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc;

use crate::config::JournalSync;
use crate::runtime::aligned::{AlignedMemory, open_direct};
use crate::runtime::journal_files::Durability;

/// The scratch file: written once before, as segments are.
const SCRATCH_BYTES: usize = 1 << 20;
/// A small entry.
const WRITE_BYTES: usize = 16 << 10;
/// How long each way is tried, and how often at most.
const TRY_FOR: Duration = Duration::from_millis(35);
const TRIES_MAX: usize = 200;

/// The way to write that was asked for, or else the faster one, with a line for the log.
pub fn choose(asked: JournalSync, data_dir: &Path) -> (Durability, String) {
    match asked {
        JournalSync::Dsync => (Durability::Dsync, "O_DSYNC writes, as asked".into()),
        JournalSync::Fdatasync => (Durability::Fdatasync, "writes and fdatasync, as asked".into()),
        JournalSync::Auto => {
            let path = data_dir.join("probe.tmp");
            let probed = probe(&path);
            let _ = fs::remove_file(&path);
            match probed {
                // An fdatasync takes a thread of the kernel on the shard's own CPU: it must be
                // worth it.
                Ok((dsync, fdatasync)) if fdatasync * 5 < dsync * 4 => (
                    Durability::Fdatasync,
                    format!("writes and fdatasync ({fdatasync:?}; O_DSYNC took {dsync:?})"),
                ),
                Ok((dsync, fdatasync)) => (
                    Durability::Dsync,
                    format!("O_DSYNC writes ({dsync:?}; with fdatasync {fdatasync:?})"),
                ),
                Err(error) => {
                    (Durability::Dsync, format!("O_DSYNC writes (could not measure: {error})"))
                }
            }
        }
    }
}

/// Median durations of a durable write: with O_DSYNC, and with an fdatasync behind it.
fn probe(path: &Path) -> io::Result<(Duration, Duration)> {
    let plain = open_direct(path, true, 0)?;
    plain.write_all_at(AlignedMemory::zeroed(SCRATCH_BYTES).bytes(), 0)?;
    plain.sync_all()?;
    let synced = open_direct(path, false, libc::O_DSYNC)?;
    let dsync = median(&synced, |_| Ok(()))?;
    let fdatasync = median(&plain, File::sync_data)?;
    Ok((dsync, fdatasync))
}

fn median(file: &File, then: impl Fn(&File) -> io::Result<()>) -> io::Result<Duration> {
    let memory = AlignedMemory::zeroed(WRITE_BYTES);
    let began = Instant::now();
    let mut took = Vec::with_capacity(TRIES_MAX);
    while took.len() < TRIES_MAX && (took.is_empty() || began.elapsed() < TRY_FOR) {
        let at = (took.len() * WRITE_BYTES) % SCRATCH_BYTES;
        let one = Instant::now();
        file.write_all_at(memory.bytes(), at as u64)?;
        then(file)?;
        took.push(one.elapsed());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}
