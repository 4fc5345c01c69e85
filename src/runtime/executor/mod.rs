//! An executor on a thread of its own, over io_uring.
//!
//! It goes in rounds: all tasks that are ready run once, then it looks what the kernel has done.
//! With nothing to run it sleeps, in the same system call that hands over what the tasks asked
//! for, until something is done, another thread wakes a task, or a timer rings. So a task that is
//! ready again at once holds nobody up, and what comes while a round lasts is done together in the
//! next.

mod remote;
mod ring;
mod timers;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use async_task::{Runnable, Task};
use slab::Slab;

use crate::runtime::disk_memory;
use crate::runtime::host::pin_thread;
use remote::Remote;
use ring::Ring;
use timers::Timers;

pub use ring::{Hears, Op, begin, ready, ready_as};
pub use timers::{Timer, sleep};

/// So long tasks may go on waking each other before the kernel is looked at.
const LOOK_PERIOD: Duration = Duration::from_micros(20);
/// So long what is heard of now and then may wait, so that more comes meanwhile.
const LATE_PERIOD: Duration = Duration::from_millis(5);
/// No sleep is longer.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

thread_local! {
    static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
}

/// The executor of one thread.
struct Executor {
    ready: RefCell<VecDeque<Runnable>>,
    /// A waker of each task that isn't done.
    tasks: RefCell<Slab<Waker>>,
    /// Those who wait until the kernel has been looked at.
    lookers: RefCell<Vec<Waker>>,
    looks: Cell<u64>,
    ring: Ring,
    /// What is heard of now and then.
    late: Ring,
    /// When that is next looked at, if anybody waits for it.
    late_at: Cell<Option<Instant>>,
    timers: Timers,
    remote: Arc<Remote>,
    arrivals: flume::Receiver<Runnable>,
}

fn with_executor<T>(act: impl FnOnce(&Executor) -> T) -> T {
    CURRENT.with_borrow(|current| {
        act(current.as_ref().expect("this is called in a task of an executor"))
    })
}

/// Runs the future that `main` makes on an executor of its own, on this CPU alone if one is given,
/// with so many bytes of disk buffers that are registered with the kernel. Returns when it has
/// begun. When the future ends, all tasks that it has spawned are dropped.
///
/// # Errors
/// A sentence: there is no thread, no such CPU, or no ring to be had.
pub fn start_executor<M, F>(
    name: &str,
    cpu: Option<usize>,
    io_memory_bytes: usize,
    main: M,
) -> Result<JoinHandle<F::Output>>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let (begun, beginning) = flume::bounded(1);
    let handle = std::thread::Builder::new()
        .name(name.to_string())
        .spawn(move || {
            let running = match begin_on_this_thread(cpu, io_memory_bytes) {
                Ok(running) => running,
                Err(error) => {
                    let _ = begun.send(Err(error));
                    // Whoever started it ends the process, or goes on without it.
                    loop {
                        std::thread::park();
                    }
                }
            };
            let _ = begun.send(Ok(()));
            running.run(main())
        })
        .context("the system refuses a thread")?;
    beginning.recv().map_err(|_| anyhow!("its thread ended before it began"))??;
    Ok(handle)
}

fn begin_on_this_thread(cpu: Option<usize>, io_memory_bytes: usize) -> Result<Running> {
    if let Some(cpu) = cpu {
        pin_thread(cpu).with_context(|| format!("can't run on CPU {cpu}"))?;
    }
    let ring = Ring::new(Hears::AtOnce).context("can't set up io_uring")?;
    let late = Ring::new(Hears::NowAndThen).context("can't set up io_uring")?;
    disk_memory::set_up(io_memory_bytes, |pieces| {
        // SAFETY: what lives as long as the thread outlives the ring.
        unsafe { ring.register(pieces) }
    })
    .context("there is no memory for disk buffers")?;
    let (remote, arrivals) = Remote::new().context("there is no descriptor to wake it by")?;
    let executor = Rc::new(Executor {
        ready: RefCell::default(),
        tasks: RefCell::default(),
        lookers: RefCell::default(),
        looks: Cell::new(0),
        ring,
        late,
        late_at: Cell::new(None),
        timers: Timers::default(),
        remote: Arc::new(remote),
        arrivals,
    });
    CURRENT.set(Some(executor.clone()));
    Ok(Running(executor))
}

/// The executor while it runs. When it is dropped, so are all its tasks.
struct Running(Rc<Executor>);

impl Running {
    fn run<F: Future + 'static>(&self, main: F) -> F::Output
    where
        F::Output: 'static,
    {
        let remote = self.0.remote.clone();
        spawn_local(async move { remote.answer_bell().await }).detach();
        let main = spawn_local(main);
        let mut looked = Instant::now();
        while !main.is_finished() {
            self.0.take_arrivals();
            let now = Instant::now();
            self.0.timers.wake_due(now);
            self.0.look_late(now);
            let sleeps = self.0.ready.borrow().is_empty();
            if sleeps || now.duration_since(looked) >= LOOK_PERIOD {
                self.0.look(sleeps, now);
                looked = Instant::now();
            }
            self.0.run_ready();
        }
        futures_lite::future::block_on(main)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Each task is woken, and what is woken is dropped instead of run.
        while !self.0.tasks.borrow().is_empty() {
            let wakers: Vec<Waker> =
                self.0.tasks.borrow().iter().map(|(_, waker)| waker.clone()).collect();
            wakers.into_iter().for_each(Waker::wake);
            self.0.take_arrivals();
            let woken = self.0.ready.take();
            drop(woken);
        }
        self.0.ring.finish();
        self.0.late.finish();
        CURRENT.take();
    }
}

impl Executor {
    fn ring(&self, hears: Hears) -> &Ring {
        match hears {
            Hears::AtOnce => &self.ring,
            Hears::NowAndThen => &self.late,
        }
    }

    /// Runs what is ready now; what becomes ready meanwhile has its turn in the next round.
    fn run_ready(&self) {
        let count = self.ready.borrow().len();
        for _ in 0..count {
            let Some(task) = self.ready.borrow_mut().pop_front() else { return };
            task.run();
        }
    }

    fn take_arrivals(&self) {
        while let Ok(task) = self.arrivals.try_recv() {
            self.ready.borrow_mut().push_back(task);
        }
    }

    /// Looks at the kernel, and sleeps until there is something to do if there is nothing now.
    fn look(&self, sleeps: bool, now: Instant) {
        if sleeps && self.lookers.borrow().is_empty() {
            self.remote.falls_asleep();
            self.take_arrivals();
            if self.ready.borrow().is_empty() {
                let next = self.timers.next().into_iter().chain(self.late_at.get()).min();
                let sleep = next.map(|at| at.saturating_duration_since(now));
                self.ring.enter(Some(sleep.unwrap_or(SLEEP_MAX).min(SLEEP_MAX)));
            }
            self.remote.is_awake();
        } else if self.ring.has_to_enter() {
            self.ring.enter(None);
        }
        self.ring.wake_done();
        self.looks.set(self.looks.get() + 1);
        let lookers = self.lookers.take();
        lookers.into_iter().for_each(Waker::wake);
    }

    /// Looks at what is heard of now and then, if it is time.
    fn look_late(&self, now: Instant) {
        let at = self.late_at.get();
        if at.is_some_and(|at| at <= now) {
            if self.late.has_to_enter() {
                self.late.enter(None);
            }
            self.late.wake_done();
        } else if at.is_some() {
            return;
        }
        self.late_at.set((!self.late.is_idle()).then(|| now + LATE_PERIOD));
    }
}

/// Runs a task on the executor of this thread, up to its first wait before this returns. A [`Task`]
/// that is dropped takes the task with it; `detach` lets it run.
pub fn spawn_local<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let (task, handle) = with_executor(|on| {
        let mut slots = on.tasks.borrow_mut();
        let slot = slots.vacant_entry();
        let listed = Listed(slot.key());
        let remote = on.remote.clone();
        let schedule = move |task: Runnable| {
            let mut task = Some(task);
            // The thread-local is gone where a thread ends.
            let _ = CURRENT.try_with(|current| {
                if let Ok(current) = current.try_borrow()
                    && let Some(on) = current.as_ref()
                    && Arc::ptr_eq(&on.remote, &remote)
                {
                    on.ready.borrow_mut().extend(task.take());
                }
            });
            if let Some(task) = task {
                remote.wake(task);
            }
        };
        let (task, handle) = async_task::spawn_local(
            async move {
                let _listed = listed;
                future.await
            },
            schedule,
        );
        slot.insert(task.waker());
        (task, handle)
    });
    task.run();
    handle
}

/// A task's place among those that aren't done.
struct Listed(usize);

impl Drop for Listed {
    fn drop(&mut self) {
        let waker = with_executor(|on| on.tasks.borrow_mut().remove(self.0));
        drop(waker);
    }
}

/// Waits until all that is ready has run and the kernel has been looked at.
pub async fn let_io_in() {
    let before = with_executor(|on| on.looks.get());
    poll_fn(|context| {
        with_executor(|on| {
            if on.looks.get() > before {
                return Poll::Ready(());
            }
            on.lookers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
    })
    .await;
}

/// Does on a thread of its own what may take long.
///
/// # Errors
/// The system refuses a thread.
pub async fn spawn_blocking<T: Send + 'static>(
    name: &str,
    act: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    let (tell, told) = flume::bounded(1);
    std::thread::Builder::new().name(name.to_string()).spawn(move || {
        let _ = tell.send(act());
    })?;
    told.recv_async().await.map_err(|_| std::io::Error::other("its thread has panicked"))
}
