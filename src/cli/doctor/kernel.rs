//! The kernel, io_uring, and the limits of this process.

use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::utsname::uname;
use serde_json::json;

use super::super::output::{human_bytes, human_count};
use super::report::Check;
use crate::config::IO_MEMORY_BESIDE_CACHE;
use crate::limits::JOURNAL_CACHE_BYTES_DEFAULT;

/// io_uring has all that we use since this version.
const KERNEL_MIN: (u32, u32) = (5, 11);

/// A broker doesn't start with less.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;

/// The disk buffers of one shard, if nothing else is asked for.
const SHARD_IO_BYTES: u64 = JOURNAL_CACHE_BYTES_DEFAULT as u64 + IO_MEMORY_BESIDE_CACHE;

/// Sockets of clients, segment files and rings need descriptors.
const OPEN_FILES_GOOD: u64 = 65_536;
const OPEN_FILES_MIN: u64 = 1024;

/// CAP_IPC_LOCK: who has it may lock as much memory as there is.
const CAP_IPC_LOCK_BIT: u32 = 14;

/// The kernel's version, as numbers.
pub fn kernel_version() -> Option<(u32, u32)> {
    parse_version(&uname().ok()?.release().to_string_lossy())
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What kernel runs here.
pub fn version() -> Vec<Check> {
    let name = "kernel.version";
    let release = match uname() {
        Ok(names) => names.release().to_string_lossy().into_owned(),
        Err(error) => return vec![Check::unknown(name, error)],
    };
    let data = json!({ "release": release });
    let (major, minor) = KERNEL_MIN;
    let check = match parse_version(&release) {
        Some(version) if version < KERNEL_MIN => {
            Check::bad(name, release, format!("Hutong needs Linux {major}.{minor} or later"))
        }
        _ => Check::ok(name, release),
    };
    vec![check.with(data)]
}

/// Whether a ring can be set up, and who forbids it if not.
pub fn io_uring() -> Check {
    let name = "kernel.io_uring";
    match set_up_ring() {
        Ok(()) => Check::ok(name, "works").with(json!({ "works": true })),
        Err(error) => {
            let advice = ring_advice(error, sysctl("kernel/io_uring_disabled"), filtered());
            let value = format!("no ring can be set up: {}", error.desc());
            Check::bad(name, value, advice).with(json!({ "works": false, "errno": error as i32 }))
        }
    }
}

/// Sets a small ring up and lets go of it.
fn set_up_ring() -> Result<(), Errno> {
    // `struct io_uring_params` is 120 bytes; all zeros ask for the defaults.
    let mut params = [0u32; 30];
    // SAFETY: the kernel reads and writes the 120 bytes of `params`, which outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, params.as_mut_ptr()) };
    let fd = Errno::result(fd)? as i32;
    // SAFETY: the call gave us this descriptor, and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

fn ring_advice(error: Errno, disabled: Option<u64>, filtered: bool) -> String {
    let sysctl = "`sysctl -w kernel.io_uring_disabled=0`, and the same in /etc/sysctl.d to keep it";
    match (error, disabled) {
        (Errno::EPERM, Some(2)) => {
            format!("the sysctl kernel.io_uring_disabled is 2, which forbids it to all: {sysctl}")
        }
        (Errno::EPERM, Some(1)) => format!(
            "the sysctl kernel.io_uring_disabled is 1, which allows it only to root and to the \
             group in kernel.io_uring_group: {sysctl}, or run as a member of that group"
        ),
        (Errno::EPERM | Errno::ENOSYS, _) if filtered => {
            "a seccomp filter forbids it, as containers have by default: allow io_uring_setup, \
             io_uring_enter and io_uring_register in the profile, or start the container with \
             `--security-opt seccomp=unconfined` (in Kubernetes `seccompProfile: Unconfined`)"
                .to_owned()
        }
        (Errno::ENOSYS, _) => {
            "this kernel was built without io_uring (CONFIG_IO_URING): use another".to_owned()
        }
        (Errno::ENOMEM, _) => {
            "raise the limit of locked memory: `ulimit -l unlimited`, or LimitMEMLOCK=infinity \
             in the systemd unit"
                .to_owned()
        }
        (Errno::EMFILE | Errno::ENFILE, _) => {
            "raise the limit of open files: `ulimit -n 65536`".to_owned()
        }
        _ => "ask the administrator of this host what keeps a process from io_uring".to_owned(),
    }
}

fn sysctl(path: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/{path}")).ok()?.trim().parse().ok()
}

/// Whether this process runs under a seccomp filter.
fn filtered() -> bool {
    status_field("Seccomp").is_some_and(|mode| mode == "2")
}

fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn may_lock_all() -> bool {
    status_field("CapEff")
        .and_then(|bits| u64::from_str_radix(&bits, 16).ok())
        .is_some_and(|bits| bits & (1 << CAP_IPC_LOCK_BIT) != 0)
}

/// Whether the shards can register their memory for I/O.
pub fn memlock(shards: usize) -> Check {
    let name = "limit.memlock";
    let soft = match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((soft, _)) => soft,
        Err(error) => return Check::unknown(name, error),
    };
    judge_memlock(soft, may_lock_all(), shards as u64).with(json!({
        "soft_bytes": (soft != RLIM_INFINITY).then_some(soft),
        "cap_ipc_lock": may_lock_all(),
    }))
}

fn judge_memlock(soft: u64, may_lock_all: bool, shards: u64) -> Check {
    let name = "limit.memlock";
    let shown = if soft == RLIM_INFINITY { "unlimited".to_owned() } else { human_bytes(soft) };
    let wanted = SHARD_IO_BYTES * shards;
    let how = "`ulimit -l unlimited`, or LimitMEMLOCK=infinity in the systemd unit";
    if soft < MEMLOCK_BYTES_MIN {
        return Check::bad(name, shown, format!("the broker needs 512 KiB to start: {how}"));
    }
    if soft >= wanted {
        return Check::ok(name, shown);
    }
    if may_lock_all {
        return Check::ok(name, format!("{shown}, but CAP_IPC_LOCK lifts it"));
    }
    let advice = format!(
        "each shard registers its disk buffers, and {} shards with {} each need {}; what doesn't \
         fit still works, unregistered and slower: {how}",
        shards,
        human_bytes(SHARD_IO_BYTES),
        human_bytes(wanted),
    );
    Check::warn(name, shown, advice)
}

/// Whether there are descriptors enough for the clients.
pub fn open_files() -> Check {
    let name = "limit.open_files";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            judge_open_files(soft, hard).with(json!({ "soft": soft, "hard": hard }))
        }
        Err(error) => Check::unknown(name, error),
    }
}

fn judge_open_files(soft: u64, hard: u64) -> Check {
    let name = "limit.open_files";
    let value = format!("{}, may be raised to {}", human_count(soft), human_count(hard));
    let unit = "LimitNOFILE=1048576 in the systemd unit";
    let advice = if hard >= OPEN_FILES_GOOD {
        format!("each client connection takes one: `ulimit -n {OPEN_FILES_GOOD}`, or {unit}")
    } else {
        format!(
            "each client connection takes one, and only root can raise the limit further: {unit}, \
             or nofile in /etc/security/limits.conf"
        )
    };
    match soft {
        soft if soft >= OPEN_FILES_GOOD => Check::ok(name, value),
        soft if soft >= OPEN_FILES_MIN => Check::warn(name, value, advice),
        _ => Check::bad(name, value, advice),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(parse_version("5.15.0-91-generic"), Some((5, 15)));
        assert_eq!(parse_version("strange"), None);
    }

    #[test]
    fn the_sysctl_and_a_container_are_told_apart() {
        assert!(ring_advice(Errno::EPERM, Some(2), true).contains("is 2"));
        assert!(ring_advice(Errno::EPERM, Some(1), true).contains("is 1"));
        assert!(ring_advice(Errno::EPERM, Some(0), true).contains("seccomp"));
        assert!(ring_advice(Errno::ENOSYS, None, true).contains("seccomp"));
        assert!(ring_advice(Errno::ENOSYS, None, false).contains("CONFIG_IO_URING"));
        assert!(ring_advice(Errno::ENOMEM, None, false).contains("locked memory"));
    }

    #[test]
    fn locked_memory_is_judged_by_what_the_shards_need() {
        let level = |soft, lifted, shards| judge_memlock(soft, lifted, shards).level;
        assert_eq!(level(64 << 10, true, 1), Level::Bad);
        assert_eq!(level(8 << 20, false, 1), Level::Warn);
        assert_eq!(level(8 << 20, true, 1), Level::Ok);
        assert_eq!(level(128 << 20, false, 2), Level::Ok);
        assert_eq!(level(RLIM_INFINITY, false, 512), Level::Ok);
    }

    #[test]
    fn open_files_are_judged() {
        assert_eq!(judge_open_files(512, 512).level, Level::Bad);
        assert_eq!(judge_open_files(1024, 4096).level, Level::Warn);
        assert_eq!(judge_open_files(1 << 20, 1 << 20).level, Level::Ok);
    }
}
