//! Ctrl-C and SIGTERM end a run early; what was measured is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};

/// Sets `stop` on the first signal; a second one ends the process. Call it before any thread is
/// started: they must not get the signals.
///
/// # Errors
/// The system refused.
pub fn stop_on_signal(stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("can't hold signals back")?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let _ = signals.wait();
            stop.store(true, Ordering::Relaxed);
            let _ = signals.wait();
            std::process::exit(130);
        })
        .context("can't start a thread")?;
    Ok(())
}
