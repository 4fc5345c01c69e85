//! Where everything that happens to a shard waits for its next turn.
//!
//! Rule: whoever has put frames in waits for the turn that takes them, so that one connection
//! never has more than one read in here, and all of them together no more than
//! [`INBOX_FRAME_BYTES_MAX`] and one read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use crate::runtime::journal_page::JournalPage;
use crate::shard::input::Input;

/// Bytes of frames that wait for a turn; beyond it, connections wait before they read.
pub const INBOX_FRAME_BYTES_MAX: usize = 1 << 20;

/// The inputs of one shard, and those who wait for them to be taken.
#[derive(Default)]
pub struct Inbox {
    inputs: RefCell<VecDeque<Input<JournalPage>>>,
    frame_bytes: Cell<usize>,
    driver: RefCell<Option<Waker>>,
    /// An input is here that wants a turn.
    ready: Cell<bool>,
    /// Turns begun and turns done: how often the inputs were taken and worked off.
    begun: Cell<u64>,
    done: Cell<u64>,
    turn_waiters: RefCell<Vec<Waker>>,
    /// A connection filled its buffer: it has more to read at once.
    more_to_read: Cell<bool>,
}

impl Inbox {
    /// Puts an input in and wakes the driver.
    pub fn push(&self, input: Input<JournalPage>) {
        if let Input::Frames { frames, .. } = &input {
            self.frame_bytes.set(self.frame_bytes.get() + frames.len());
        }
        self.inputs.borrow_mut().push_back(input);
        self.wake_driver();
    }

    /// Puts an input in that can wait for the next turn, whenever that is.
    pub fn push_quietly(&self, input: Input<JournalPage>) {
        self.inputs.borrow_mut().push_back(input);
    }

    /// Asks for a turn though there may be no input.
    pub fn wake_driver(&self) {
        self.ready.set(true);
        let driver = self.driver.borrow_mut().take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Begins a turn: moves all inputs to `into`, which must be empty.
    pub fn begin_turn(&self, into: &mut VecDeque<Input<JournalPage>>) {
        self.ready.set(false);
        self.begun.set(self.begun.get() + 1);
        self.frame_bytes.set(0);
        std::mem::swap(&mut *self.inputs.borrow_mut(), into);
    }

    /// Ends the turn: lets those read on whose input was in it.
    pub fn end_turn(&self) {
        self.done.set(self.begun.get());
        let waiters = std::mem::take(&mut *self.turn_waiters.borrow_mut());
        for waiter in waiters {
            waiter.wake();
        }
    }

    /// Whether a connection has said [`Inbox::has_more_to_read`] since this was last asked.
    pub fn take_more_to_read(&self) -> bool {
        self.more_to_read.take()
    }

    /// Says that the reader in hand filled its buffer: its next read won't wait for the kernel.
    pub fn has_more_to_read(&self) {
        self.more_to_read.set(true);
    }

    /// Whether frames may be put in now.
    pub fn has_room(&self) -> bool {
        self.frame_bytes.get() < INBOX_FRAME_BYTES_MAX
    }

    /// Waits until all that is in the inbox now has been worked off.
    pub async fn turn_done(&self) {
        let target = self.begun.get() + 1;
        poll_fn(|context| {
            if self.done.get() >= target {
                return Poll::Ready(());
            }
            self.turn_waiters.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Ready when a turn is asked for.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.ready.get() {
            return Poll::Ready(());
        }
        *self.driver.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}
