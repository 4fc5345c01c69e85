//! Pinning threads to CPUs.

use hutong::runtime::host::pin_thread;

/// Pins the calling thread, if a CPU is named. Which may be named was checked when the arguments
/// were read.
pub fn pin(cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    if pin_thread(cpu).is_err() {
        eprintln!("hutong-load: can't run on CPU {cpu}; running where the system likes");
    }
}
