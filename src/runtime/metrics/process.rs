//! What the system knows of this process and of the disk under its data.

use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::statvfs::statvfs;
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

/// Ticks in which `/proc` tells times, in a second: the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the process uses. What can't be read is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Seconds since 1970.
    pub started: Option<f64>,
    pub cpu: Option<Duration>,
    pub resident_bytes: Option<u64>,
    pub open_files: Option<u64>,
}

/// Asks the system.
pub fn usage() -> Usage {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096) as u64;
    let files = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64);
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
    let cpu = usage.map(|usage| {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Duration::from_micros(micros.max(0) as u64)
    });
    Usage {
        started: started(),
        cpu,
        resident_bytes: pages.map(|pages| pages * page_bytes),
        // One of them is the list itself.
        open_files: files.map(|count| count.saturating_sub(1)),
    }
}

fn started() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold anything; the start is field 22, in ticks since boot.
    let ticks: f64 = stat.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()?;
    let of_system = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = of_system.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + ticks / TICKS_PER_SECOND)
}

/// Bytes free for us, and in all, on the file system of a directory.
pub fn disk(dir: &Path) -> Option<(u64, u64)> {
    let stat = statvfs(dir).ok()?;
    let unit = stat.fragment_size();
    Some((stat.blocks_available() * unit, stat.blocks() * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let usage = usage();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let started = usage.started.unwrap();
        assert!(started > 1.7e9 && started < now.as_secs_f64() + 2.0, "{started}");
        assert!(usage.resident_bytes.unwrap() > 1 << 20);
        assert!(usage.open_files.unwrap() >= 3);
        assert!(usage.cpu.is_some());
        let (free, size) = disk(&std::env::temp_dir()).unwrap();
        assert!(free <= size && size > 0);
    }
}
