//! What the machine must grant before a node can start: io_uring, locked memory, open files, CPUs.

use std::io;

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crate::config::ByteSize;

/// With less locked memory there is hardly room for a ring.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// The ring of a shard: newer kernels count it as locked memory, too.
const RING_BYTES: u64 = 256 << 10;
/// The least disk buffers a shard has.
const IO_MEMORY_BYTES_MIN: u64 = 64 << 10;
/// The bit of CAP_IPC_LOCK in a capability set.
const CAP_IPC_LOCK: u32 = 14;
/// Freed memory that is kept rather than given back and paged in again.
const KEPT_MEMORY_BYTES: i32 = 256 << 20;
/// Memory blocks up to this size are taken from what is kept. glibc allows no more.
const KEPT_BLOCK_BYTES: i32 = 32 << 20;

/// Raises the limit of open files as far as it goes: every client and every segment is one.
pub fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!("could not raise the limit of open files from {soft} to {hard}: {error}");
    }
}

/// Has the calling thread run on this CPU alone.
///
/// # Errors
/// The system's: there is no such CPU, or this process may not use it.
pub fn pin_thread(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Tells the allocator to keep large blocks: journal pages and frames beyond the pools come from
/// it, and to page a fresh megabyte in costs as much as to write it.
pub fn keep_large_blocks() {
    // SAFETY: mallopt changes two numbers of the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_MEMORY_BYTES);
    }
}

/// Asks the kernel for a ring, to say in one sentence why there is none.
///
/// # Errors
/// A sentence with the cure.
pub fn check_io_uring() -> Result<()> {
    let mut parameters = [0u64; 15];
    // SAFETY: `io_uring_params` is 120 bytes, zeros ask for nothing, and the kernel fills it in.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 2, parameters.as_mut_ptr()) };
    if fd >= 0 {
        // SAFETY: the descriptor was just given to us and is used nowhere else.
        unsafe { libc::close(fd as i32) };
        return Ok(());
    }
    match Errno::last() {
        Errno::ENOSYS => bail!(
            "this kernel has no io_uring, or a seccomp filter hides it: use Linux 5.11 or later, \
             and in a container allow io_uring_setup (docker run --security-opt seccomp=...)"
        ),
        Errno::EPERM | Errno::EACCES => {
            let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            match disabled.as_deref().map(str::trim) {
                Ok("1" | "2") => bail!(
                    "io_uring is switched off on this machine: run 'sysctl \
                     kernel.io_uring_disabled=0' as root"
                ),
                _ => bail!(
                    "io_uring is not permitted here, as in containers with the usual seccomp \
                     filter: allow io_uring_setup, io_uring_enter and io_uring_register (docker \
                     run --security-opt seccomp=unconfined)"
                ),
            }
        }
        Errno::ENOMEM => bail!(
            "the kernel has no locked memory left for io_uring: raise the limit (ulimit -l, or \
             LimitMEMLOCK=infinity in a systemd unit)"
        ),
        error => bail!("io_uring can't be used: {error}; hutong needs Linux 5.11 or later with it"),
    }
}

/// The disk buffers that each shard can have, given what it wants.
///
/// # Errors
/// A sentence: the limit of locked memory is too low for any.
pub fn io_memory(wanted: usize, shards: u16) -> Result<usize> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    let (granted, line) = grant(wanted as u64, u64::from(shards), limit, may_lock_memory())?;
    if let Some(line) = line {
        tracing::warn!("{line}");
    }
    Ok(granted as usize)
}

fn grant(wanted: u64, shards: u64, limit: u64, unlimited: bool) -> Result<(u64, Option<String>)> {
    if !unlimited && limit < MEMLOCK_BYTES_MIN {
        bail!(
            "the limit of locked memory is {}, and io_uring needs at least {}: raise it (ulimit \
             -l, or LimitMEMLOCK=infinity in a systemd unit)",
            ByteSize(limit),
            ByteSize(MEMLOCK_BYTES_MIN)
        );
    }
    let needed = (wanted + RING_BYTES) * shards;
    if unlimited || needed <= limit {
        return Ok((wanted, None));
    }
    let granted = (limit / shards).saturating_sub(RING_BYTES) & !4095;
    let granted = granted.max(IO_MEMORY_BYTES_MIN);
    let line = format!(
        "locked memory is limited to {}, so each shard registers {} of disk buffers instead of \
         {}; other buffers cost the kernel some more work for each write. A limit of {} (ulimit \
         -l, or LimitMEMLOCK= in a systemd unit) would give all of it",
        ByteSize(limit),
        ByteSize(granted),
        ByteSize(wanted),
        ByteSize(needed)
    );
    Ok((granted, Some(line)))
}

/// Whether this process may lock as much memory as it likes.
fn may_lock_memory() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set >> CAP_IPC_LOCK & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_memory_is_shared_out_and_the_loss_is_told() {
        assert_eq!(grant(64 << 20, 2, 8 << 20, true).unwrap(), (64 << 20, None));
        assert_eq!(grant(1 << 20, 2, 8 << 20, false).unwrap(), (1 << 20, None));
        let (granted, line) = grant(64 << 20, 2, 8 << 20, false).unwrap();
        assert_eq!(granted, 3840 << 10, "half of 8 MiB, less 256 KiB");
        assert!(line.unwrap().contains("131584KiB"));
        assert!(grant(1, 1, 1 << 10, false).unwrap_err().to_string().contains("ulimit -l"));
    }

    #[test]
    fn this_machine_has_io_uring() {
        check_io_uring().unwrap();
    }
}
