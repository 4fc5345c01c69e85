//! Which CPUs there are for us, and running on one of them.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// The CPUs this process may run on.
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Where a side runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The CPU; without pinning the one it was on at the end.
    pub cpu: usize,
    /// Whether it could be on no other.
    pub pinned: bool,
}

/// Pins this thread to `cpu`, if given.
pub fn pin(cpu: Option<usize>) -> io::Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Where this thread runs, having been given to [`pin`].
pub fn place(pinned: Option<usize>) -> io::Result<Place> {
    Ok(Place { cpu: sched_getcpu()?, pinned: pinned.is_some() })
}
