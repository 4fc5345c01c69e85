//! Starts an executor on a thread of its own, and sees to it that it begins.
//!
//! This release of the executor parks with tasks to run when its preempt timer has fired before it
//! gets to them (`kernel-notes/002-*`). What is served is woken again, by its sockets and by the
//! guard; but one that has not run its first task yet waits for nothing that could wake it. So its
//! thread is sent a signal now and then until it has begun: that ends the system call it sleeps in,
//! and it looks again.

use std::future::Future;
use std::os::unix::thread::JoinHandleExt;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use flume::RecvTimeoutError;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use nix::libc;
use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// A preempt timer below 10 ms makes this release of the executor sleep with work to do.
const PREEMPT_TIMER: Duration = Duration::from_millis(10);
/// Submissions of a ring; it holds twice as many completions. The kernel sizes by it the table in
/// which it looks for what is to be cancelled, as the executor has it do several times each time
/// round, and every connection at rest is in that table: less than this, and ten thousand of them
/// cost a third of what their heartbeats do.
const RING_DEPTH: usize = 4096;
/// Between two looks whether an executor has begun.
const BEGIN_PERIOD: Duration = Duration::from_millis(100);
/// So many looks.
const BEGIN_LOOKS: usize = 300;

/// Runs the future that `main` makes on an executor of its own, with so many bytes of buffers that
/// are registered with the kernel. Returns when it has begun.
///
/// # Errors
/// A sentence: there is no thread or no ring to be had, or it doesn't begin.
pub fn start_executor<M, F>(
    name: &str,
    placement: Placement,
    io_memory_bytes: usize,
    main: M,
) -> Result<JoinHandle<F::Output>>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let builder = LocalExecutorBuilder::new(placement)
        .io_memory(io_memory_bytes)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT_TIMER)
        // The kernel thread that does an fdatasync is bound to this CPU: spinning starves it.
        .spin_before_park(Duration::ZERO)
        // By default it is pinned to the executor's CPU.
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1));
    let (begun, beginning) = flume::bounded(1);
    let thread = std::thread::Builder::new()
        .name(name.to_string())
        .spawn(move || {
            let executor = builder.make().unwrap_or_else(|error| {
                let _ = begun.send(Err(error.to_string()));
                // The process is about to end, with what is wrong.
                loop {
                    std::thread::park();
                }
            });
            executor.run(async move {
                let _ = begun.send(Ok(()));
                main().await
            })
        })
        .context("the system refuses a thread")?;
    see_it_begin(&thread, &beginning)?;
    Ok(thread)
}

fn see_it_begin<T>(
    thread: &JoinHandle<T>,
    beginning: &flume::Receiver<Result<(), String>>,
) -> Result<()> {
    hear_signals()?;
    for _ in 0..BEGIN_LOOKS {
        match beginning.recv_timeout(BEGIN_PERIOD) {
            Ok(begun) => return begun.map_err(|error| anyhow!(error)),
            Err(RecvTimeoutError::Disconnected) => bail!("its thread ended before it began"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        pthread_kill(thread.as_pthread_t(), Signal::SIGURG).context("can't wake its thread")?;
    }
    bail!("its executor doesn't begin")
}

/// A signal that does nothing, but ends the system call in which it finds a thread.
fn hear_signals() -> Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, and nobody else handles this signal.
    unsafe { sigaction(Signal::SIGURG, &action) }.context("can't handle SIGURG")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_that_sleeps_before_it_has_begun_is_woken() {
        // As one that parks with its first task to run: in a system call that nothing else ends.
        let (begun, beginning) = flume::bounded(1);
        hear_signals().unwrap();
        let thread = std::thread::spawn(move || {
            // SAFETY: waits, and touches no memory.
            let ended = unsafe { libc::pause() };
            begun.send(Ok(())).unwrap();
            ended
        });
        see_it_begin(&thread, &beginning).unwrap();
        assert_eq!(thread.join().unwrap(), -1);
    }

    #[test]
    fn one_that_can_not_be_made_says_why() {
        let no_such_cpu = Placement::Fixed(1 << 20);
        let started = start_executor("never", no_such_cpu, 1 << 16, || async {});
        assert!(started.is_err_and(|error| !error.to_string().is_empty()));
    }

    #[test]
    fn what_it_runs_comes_back() {
        let thread = start_executor("one", Placement::Unbound, 1 << 16, || async { 7 }).unwrap();
        assert_eq!(thread.join().unwrap(), 7);
    }
}
