//! Running on one CPU, and telling which.

use std::io;

use hutong::runtime::host::pin_thread;
use nix::sched::sched_getcpu;

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
    cpu.map_or(Ok(()), pin_thread)
}

/// Where this thread runs, having been given to [`pin`].
pub fn place(pinned: Option<usize>) -> io::Result<Place> {
    Ok(Place { cpu: sched_getcpu()?, pinned: pinned.is_some() })
}
