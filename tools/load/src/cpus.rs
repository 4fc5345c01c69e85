//! Pinning threads to CPUs.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Pins the calling thread, if a CPU is named. Which may be named was checked when the arguments
/// were read.
pub fn pin(cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    let mut set = CpuSet::new();
    if set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).is_err() {
        eprintln!("hutong-load: can't run on CPU {cpu}; running where the system likes");
    }
}
