//! How other threads wake tasks of an executor.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use async_task::Runnable;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// What other threads know of an executor.
pub struct Remote {
    woken: flume::Sender<Runnable>,
    /// Whether its thread sleeps, or is about to.
    asleep: AtomicBool,
    bell: EventFd,
}

impl Remote {
    /// One to be known by, and where what others have woken arrives.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> nix::Result<(Remote, flume::Receiver<Runnable>)> {
        let (woken, arrivals) = flume::unbounded();
        let bell =
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok((Remote { woken, asleep: AtomicBool::new(false), bell }, arrivals))
    }

    /// Has the executor run a task. From another thread.
    pub fn wake(&self, task: Runnable) {
        // An executor that has ended runs nothing: its tasks are gone, and this one with them.
        if let Err(refused) = self.woken.send(task) {
            // It may not be dropped on this thread.
            std::mem::forget(refused);
            return;
        }
        // Either this sees that it sleeps, or it sees what was sent before it does.
        fence(Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            let _ = self.bell.write(1);
        }
    }

    /// Says that the thread goes to sleep. What has arrived must be looked at after this.
    pub fn falls_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Says that it is awake.
    pub fn is_awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Answers the bell, each time it rings: that it rings is all that it is for.
    pub async fn answer_bell(&self) {
        use std::os::fd::AsRawFd;
        loop {
            let (rung, ()) =
                super::ring::ready(self.bell.as_fd().as_raw_fd(), nix::libc::POLLIN).await;
            if rung.is_err() {
                return;
            }
            match self.bell.read() {
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => panic!("an eventfd can't be read: {error}"),
            }
        }
    }
}
