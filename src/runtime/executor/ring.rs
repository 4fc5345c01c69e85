//! An io_uring: what was asked of the kernel, and who waits for it.
//!
//! An executor has two. What the first one hears of wakes the thread. What the second one hears of
//! doesn't: it is looked at now and then, and what has come meanwhile is found together.
//!
//! Rules: an operation that has begun holds what it works on until the kernel is done with it,
//! whoever still waits. All that a round of the executor asks for goes to the kernel in one system
//! call, the same in which the thread sleeps if it has nothing to do.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use nix::errno::Errno;
use nix::libc::iovec;
use slab::Slab;

use super::with_executor;

/// Operations that one system call can hand over. More take another call.
const SUBMISSIONS: u32 = 1024;
/// Completions that fit; the kernel keeps what doesn't, and that costs another call.
const COMPLETIONS: u32 = 4096;
/// Whose completion says nothing to anybody.
const UNHEARD: u64 = u64::MAX;

/// Which ring of an executor an operation is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hears {
    /// Whoever waits is told at once.
    #[default]
    AtOnce,
    /// Whoever waits is told when the ring is looked at.
    NowAndThen,
}

/// What an operation that isn't done waits for.
enum Pending {
    /// To be told.
    Awaited(Option<Waker>),
    /// It is done, and the kernel said this.
    Done(i32),
    /// Nobody: this is let go of when it is done.
    Left(Box<dyn Any>),
}

/// A ring of one executor.
pub struct Ring {
    hears: Hears,
    uring: RefCell<IoUring>,
    pending: RefCell<Slab<Pending>>,
    /// What was taken from the kernel, and nobody told yet.
    completed: RefCell<Vec<(u64, i32)>>,
}

impl Ring {
    /// A ring that belongs to the thread that calls.
    ///
    /// # Errors
    /// The system's: see `host::check_io_uring`.
    pub fn new(hears: Hears) -> io::Result<Ring> {
        Ok(Ring {
            hears,
            uring: RefCell::new(build()?),
            pending: RefCell::new(Slab::new()),
            completed: RefCell::default(),
        })
    }

    /// Has the kernel pin these pieces of memory, so that it need not look them up for each read
    /// and write.
    ///
    /// # Errors
    /// The system's: the limit of locked memory.
    ///
    /// # Safety
    /// The memory must outlive the ring.
    pub unsafe fn register(&self, pieces: &[iovec]) -> io::Result<()> {
        // SAFETY: the memory is there, and stays, as the caller promises.
        unsafe { self.uring.borrow().submitter().register_buffers(pieces) }
    }

    /// Asks for an operation that works on `held`.
    ///
    /// # Safety
    /// All that `entry` points to must be valid for as long as `held` lives, wherever that is
    /// moved to.
    unsafe fn begin<T: 'static>(&self, entry: Entry, held: T, cancels: bool) -> Op<T> {
        let key = self.pending.borrow_mut().insert(Pending::Awaited(None));
        self.push(&entry.user_data(key as u64));
        Op { ring: self.hears, key, held: Some(held), cancels }
    }

    fn push(&self, entry: &Entry) {
        let mut uring = self.uring.borrow_mut();
        // SAFETY: what the entry points to is valid until its completion: `begin`.
        while unsafe { uring.submission().push(entry) }.is_err() {
            // Full. The kernel takes some, if need be after what it has done was taken from it.
            let _ = uring.submit();
            self.collect(&mut uring);
        }
    }

    /// Whether nothing was asked for that isn't done and told.
    pub fn is_idle(&self) -> bool {
        self.pending.borrow().is_empty()
    }

    /// Whether the kernel would do something if it were asked now.
    pub fn has_to_enter(&self) -> bool {
        let mut uring = self.uring.borrow_mut();
        let submission = uring.submission();
        !submission.is_empty() || submission.taskrun() || submission.cq_overflow()
    }

    /// Hands over what was asked for, and sees what is done. Without a `patience` it doesn't wait;
    /// otherwise until something is done, or for so long.
    pub fn enter(&self, patience: Option<Duration>) {
        // Whose completion was taken already need not wait for another one.
        let patience = patience.filter(|_| self.completed.borrow().is_empty());
        let uring = self.uring.borrow();
        let entered = match patience {
            None => uring.submitter().submit(),
            Some(patience) => {
                let timeout = Timespec::from(patience);
                uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
        };
        match entered.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))) {
            // It is asked again in the next round: its time is up, a signal came, the kernel is
            // short of memory for now, or has completions that must be taken first.
            Ok(_) | Err(Errno::ETIME | Errno::EINTR | Errno::EAGAIN | Errno::EBUSY) => {}
            Err(error) => panic!("io_uring_enter: {error}"),
        }
    }

    fn collect(&self, uring: &mut IoUring) {
        let done = uring.completion().map(|done| (done.user_data(), done.result()));
        self.completed.borrow_mut().extend(done);
    }

    /// Wakes those whose operations are done.
    pub fn wake_done(&self) {
        self.collect(&mut self.uring.borrow_mut());
        let mut completed = self.completed.take();
        for (key, result) in completed.drain(..) {
            if key == UNHEARD {
                continue;
            }
            let mut pending = self.pending.borrow_mut();
            let Some(operation) = pending.get_mut(key as usize) else { continue };
            match std::mem::replace(operation, Pending::Done(result)) {
                Pending::Awaited(waker) => {
                    drop(pending);
                    waker.into_iter().for_each(Waker::wake);
                }
                Pending::Left(held) => {
                    pending.remove(key as usize);
                    drop(pending);
                    drop(held);
                }
                Pending::Done(_) => {}
            }
        }
        // For its memory.
        self.completed.replace(completed);
    }

    /// Waits for all that was begun and that nobody waits for any more.
    pub fn finish(&self) {
        while !self.is_idle() {
            self.enter(Some(Duration::from_millis(100)));
            self.wake_done();
        }
    }

    fn poll(&self, key: usize, context: &Context<'_>) -> Poll<i32> {
        let mut pending = self.pending.borrow_mut();
        match &mut pending[key] {
            Pending::Done(result) => {
                let result = *result;
                pending.remove(key);
                Poll::Ready(result)
            }
            Pending::Awaited(waker) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    *waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
            Pending::Left(_) => Poll::Pending,
        }
    }

    fn leave(&self, key: usize, held: Box<dyn Any>, cancels: bool) {
        let left = {
            let mut pending = self.pending.borrow_mut();
            match &mut pending[key] {
                Pending::Done(_) => {
                    pending.remove(key);
                    return;
                }
                operation => std::mem::replace(operation, Pending::Left(held)),
            }
        };
        drop(left);
        if cancels {
            self.push(&opcode::AsyncCancel::new(key as u64).build().user_data(UNHEARD));
        }
    }
}

/// With what makes a thread's ring cheap, as far as this kernel has it.
fn build() -> io::Result<IoUring> {
    let mut from_6_1 = IoUring::builder();
    from_6_1.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    let mut from_5_19 = IoUring::builder();
    from_5_19.setup_coop_taskrun().setup_taskrun_flag();
    for mut builder in [from_6_1, from_5_19, IoUring::builder()] {
        match builder.setup_cqsize(COMPLETIONS).build(SUBMISSIONS) {
            Ok(uring) if !uring.params().is_feature_ext_arg() => {
                return Err(io::Error::other("it can't wait with a time-out: use Linux 5.11"));
            }
            // An older kernel, which doesn't know the flags.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {}
            built => return built,
        }
    }
    Err(Errno::EINVAL.into())
}

/// An operation that has begun. Ends with what the kernel said, and with what it worked on. One
/// that is dropped goes on, unless it can be called off.
pub struct Op<T: 'static> {
    ring: Hears,
    key: usize,
    held: Option<T>,
    cancels: bool,
}

impl<T: Unpin> Future for Op<T> {
    type Output = (io::Result<u32>, T);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result =
            std::task::ready!(with_executor(|on| on.ring(self.ring).poll(self.key, context)));
        let said =
            u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(result.wrapping_neg()));
        Poll::Ready((said, self.held.take().expect("an operation is done once")))
    }
}

impl<T> Drop for Op<T> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            with_executor(|on| {
                on.ring(self.ring).leave(self.key, Box::new(held), self.cancels);
            });
        }
    }
}

/// Begins an operation that goes on whatever becomes of who waits for it.
///
/// # Safety
/// All that `entry` points to must be valid for as long as `held` lives, wherever that is moved to.
pub unsafe fn begin<T: 'static>(entry: Entry, held: T) -> Op<T> {
    // SAFETY: as the caller promises.
    with_executor(|on| unsafe { on.ring(Hears::AtOnce).begin(entry, held, false) })
}

/// Begins to wait until a descriptor is ready for one of `events` (`POLLIN`, ...). It is called
/// off when the answer is dropped.
pub fn ready(fd: RawFd, events: i16) -> Op<()> {
    ready_as(Hears::AtOnce, fd, events)
}

/// The same, told at once or now and then.
pub fn ready_as(hears: Hears, fd: RawFd, events: i16) -> Op<()> {
    let entry = opcode::PollAdd::new(io_uring::types::Fd(fd), events as u32).build();
    // SAFETY: it points to nothing.
    with_executor(|on| unsafe { on.ring(hears).begin(entry, (), true) })
}
