//! Starts an executor on a thread of its own, and sees to it that it begins.
//!
//! This release of the executor parks with tasks to run when its preempt timer has fired before it
//! gets to them (`kernel-notes/002-*`). Whatever comes then wakes it, but nothing may come: one
//! that has not run its first task yet waits for nothing, and one whose tasks are all to run
//! neither. A signal to its thread ends the system call it sleeps in, and it looks again. So it is
//! sent one now and then until it has begun, and later by the guard (`mesh.rs`) when it doesn't
//! take its mail.

use std::future::Future;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use flume::RecvTimeoutError;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, getpid, gettid};

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

/// An executor's thread.
pub struct ExecutorThread<T> {
    /// Ends with what the executor's future returned.
    pub handle: JoinHandle<T>,
    /// Ends the system call that it sleeps in.
    pub signal: WakeSignal,
}

/// Wakes a thread from whatever system call it sleeps in.
#[derive(Debug, Clone, Copy)]
pub struct WakeSignal(Pid);

impl WakeSignal {
    /// One for the thread that calls. From now on the signal does nothing else.
    ///
    /// # Errors
    /// The system doesn't let the signal be handled.
    pub fn of_this_thread() -> nix::Result<WakeSignal> {
        extern "C" fn nothing(_: libc::c_int) {}
        // What can be done over is, but a wait for completions ends.
        let flags = SaFlags::SA_RESTART;
        let action = SigAction::new(SigHandler::Handler(nothing), flags, SigSet::empty());
        // SAFETY: the handler does nothing, and nobody else handles this signal.
        unsafe { sigaction(Signal::SIGURG, &action) }?;
        Ok(WakeSignal(gettid()))
    }

    /// Does nothing to a thread that doesn't sleep, or that has ended.
    pub fn send(self) {
        // SAFETY: sends a signal to a thread of this process, by an id that is no pointer. Were the
        // thread gone and its id another one's, that one's handler does nothing, too.
        let _ = unsafe { libc::tgkill(getpid().as_raw(), self.0.as_raw(), libc::SIGURG) };
    }
}

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
) -> Result<ExecutorThread<F::Output>>
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
    let (tell_signal, signal) = flume::bounded(1);
    let (begun, beginning) = flume::bounded(1);
    let handle = std::thread::Builder::new()
        .name(name.to_string())
        .spawn(move || {
            let _ = tell_signal.send(WakeSignal::of_this_thread());
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
    let signal =
        signal.recv().context("its thread ended at once")?.context("can't handle SIGURG")?;
    see_it_begin(signal, &beginning)?;
    Ok(ExecutorThread { handle, signal })
}

fn see_it_begin(signal: WakeSignal, beginning: &flume::Receiver<Result<(), String>>) -> Result<()> {
    for _ in 0..BEGIN_LOOKS {
        match beginning.recv_timeout(BEGIN_PERIOD) {
            Ok(begun) => return begun.map_err(|error| anyhow!(error)),
            Err(RecvTimeoutError::Disconnected) => bail!("its thread ended before it began"),
            Err(RecvTimeoutError::Timeout) => signal.send(),
        }
    }
    bail!("its executor doesn't begin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_that_sleeps_before_it_has_begun_is_woken() {
        // As one that parks with its first task to run: in a system call that nothing else ends.
        let (begun, beginning) = flume::bounded(1);
        let (tell_signal, signal) = flume::bounded(1);
        let thread = std::thread::spawn(move || {
            tell_signal.send(WakeSignal::of_this_thread().unwrap()).unwrap();
            // SAFETY: waits, and touches no memory.
            let ended = unsafe { libc::pause() };
            begun.send(Ok(())).unwrap();
            ended
        });
        see_it_begin(signal.recv().unwrap(), &beginning).unwrap();
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
        assert_eq!(thread.handle.join().unwrap(), 7);
    }
}
