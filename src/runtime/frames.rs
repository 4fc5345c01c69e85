//! Cuts the bytes of one client into whole Kafka frames, and holds what is not whole yet.
//!
//! Three ways, by size: small leftovers are carried to the front of the next read; whole frames
//! of a small read are copied out so that they don't pin the read buffer; a large frame gets a
//! buffer of its own into which the rest of it is read directly. What is held of frames begun is
//! paid for from budgets of the shard before it is read. Small frames have one of their own, and a
//! large one pays as a small one until some of it has come: to announce large frames and then
//! fall silent must not keep others waiting. Who waits for the large budget may hold some of the
//! small one, never the other way round, so that no two wait for each other.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;

use crate::kafka::frame::{FrameError, whole_frames};
use crate::limits::FRAME_BYTES_MAX;
use crate::runtime::buffers::ReadBuffer;

/// The most that is read at once.
pub const READ_BYTES: usize = 256 << 10;
/// The most that is read at once while frames wait for memory.
const READ_BYTES_CONTENDED: usize = 16 << 10;
/// Whole frames of at least this size leave in the buffer they were read into. Less is copied:
/// a frame may live as long as a long poll, and would pin all of the buffer.
const HAND_OVER_BYTES_MIN: usize = 32 << 10;
/// A frame up to this size is carried over in full; a larger one gets a buffer of its own.
const CARRIED_FRAME_BYTES_MAX: usize = 64 << 10;
/// A frame begun costs nothing of the budget up to this size.
const FREE_FRAME_BYTES_MAX: usize = 4 << 10;
/// A frame too large to be carried is paid for in full when so much of it has come.
const LARGE_FRAME_BEGUN_BYTES: usize = CARRIED_FRAME_BYTES_MAX / 2;
/// Bytes of frames begun but not whole, of all connections of a shard: of those that are carried,
const CARRIED_BUDGET_BYTES: usize = 64 << 20;
/// and of those that have buffers of their own.
const LARGE_BUDGET_BYTES: usize = 192 << 20;

/// Memory for frames begun, shared by the connections of a shard. First come, first served.
#[derive(Debug)]
pub struct Budget {
    left: Cell<usize>,
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    tickets: Cell<u64>,
}

/// The two budgets of a shard.
#[derive(Debug)]
pub struct Budgets {
    carried: Rc<Budget>,
    large: Rc<Budget>,
}

impl Default for Budgets {
    fn default() -> Budgets {
        Budgets {
            carried: Budget::new(CARRIED_BUDGET_BYTES),
            large: Budget::new(LARGE_BUDGET_BYTES),
        }
    }
}

impl Budgets {
    /// Whether somebody waits for memory.
    pub fn is_contended(&self) -> bool {
        self.carried.is_contended() || self.large.is_contended()
    }

    /// Takes the memory that [`Cut::reserve`] asked for, waiting for it.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let budget = if bytes > CARRIED_FRAME_BYTES_MAX { &self.large } else { &self.carried };
        budget.reserve(ReadBuffer::cost(bytes)).await
    }
}

/// Part of the budget; goes back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of so many bytes, at least as many as the largest frame.
    pub fn new(bytes: usize) -> Rc<Budget> {
        assert!(bytes >= FRAME_BYTES_MAX + 4, "one frame must fit");
        Rc::new(Budget {
            left: Cell::new(bytes),
            waiting: RefCell::default(),
            tickets: Cell::default(),
        })
    }

    /// Whether somebody waits for memory.
    pub fn is_contended(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Takes so much, waiting for it behind all who came before.
    pub async fn reserve(self: &Rc<Self>, bytes: usize) -> Reservation {
        let ticket = self.tickets.get();
        self.tickets.set(ticket + 1);
        let mut place = Place { budget: self, ticket, queued: false };
        poll_fn(|context| {
            let mut waiting = self.waiting.borrow_mut();
            let mine = waiting.iter().position(|(other, _)| *other == ticket);
            let first = mine.unwrap_or(waiting.len()) == 0;
            if first && self.left.get() >= bytes {
                return Poll::Ready(());
            }
            match mine {
                Some(mine) => waiting[mine].1 = context.waker().clone(),
                None => waiting.push_back((ticket, context.waker().clone())),
            }
            place.queued = true;
            Poll::Pending
        })
        .await;
        self.left.set(self.left.get() - bytes);
        drop(place);
        Reservation { budget: self.clone(), bytes }
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiting.borrow().front() {
            waker.wake_by_ref();
        }
    }
}

/// A place in the queue of a budget, left in whatever way the wait ends.
struct Place<'a> {
    budget: &'a Budget,
    ticket: u64,
    queued: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.queued {
            self.budget.waiting.borrow_mut().retain(|(ticket, _)| *ticket != self.ticket);
            self.budget.wake_first();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.left.set(self.budget.left.get() + self.bytes);
        self.budget.wake_first();
    }
}

/// What is held of the frame that one connection has begun.
#[derive(Debug, Default)]
pub struct Partial {
    /// Its first bytes, when they are to go to the front of the next read.
    carried: Vec<u8>,
    /// A large frame, with how much of it there is and how much there will be.
    large: Option<(ReadBuffer, usize, usize)>,
    reservation: Option<Reservation>,
    /// The bytes that were asked for with it.
    reserved: usize,
}

/// What a read has led to.
#[derive(Debug)]
pub struct Cut {
    /// Whole frames, if there are any.
    pub frames: Option<Bytes>,
    /// Bytes of the frame begun for which memory must be reserved before the next read.
    pub reserve: Option<usize>,
}

impl Partial {
    /// Whether the client is in the middle of a frame.
    pub fn is_begun(&self) -> bool {
        self.large.is_some() || !self.carried.is_empty()
    }

    /// Where the next read goes: into the large frame, or behind what is carried in `scratch`.
    pub fn space<'a>(&'a mut self, scratch: &'a mut ReadBuffer, contended: bool) -> &'a mut [u8] {
        if let Some((buffer, have, total)) = &mut self.large {
            return &mut buffer.memory()[*have..*total];
        }
        let at_most = if contended { READ_BYTES_CONTENDED } else { READ_BYTES };
        let end = (self.carried.len() + at_most).min(scratch.memory().len());
        &mut scratch.memory()[self.carried.len()..end]
    }

    /// Takes in `read` bytes that were put where [`Partial::space`] said.
    pub fn take(&mut self, scratch: &mut ReadBuffer, read: usize) -> Result<Cut, FrameError> {
        if let Some((buffer, have, total)) = self.large.take() {
            let have = have + read;
            if have < total {
                self.large = Some((buffer, have, total));
                return Ok(Cut { frames: None, reserve: None });
            }
            self.give_back();
            return Ok(Cut { frames: Some(buffer.into_bytes(total)), reserve: None });
        }
        let filled = self.carried.len() + read;
        scratch.memory()[..self.carried.len()].copy_from_slice(&self.carried);
        let (whole, next) = whole_frames(&scratch.as_ref()[..filled], FRAME_BYTES_MAX)?;
        self.carried.clear();
        self.carried.extend_from_slice(&scratch.as_ref()[whole..filled]);
        if whole > 0 {
            self.give_back();
        }
        let frames = match whole {
            0 => None,
            HAND_OVER_BYTES_MIN.. => {
                Some(std::mem::replace(scratch, ReadBuffer::take(READ_BYTES)).into_bytes(whole))
            }
            _ => Some(Bytes::copy_from_slice(&scratch.as_ref()[..whole])),
        };
        let paid = self.reserved.max(FREE_FRAME_BYTES_MAX);
        let wanted = next.map(|next| self.wanted(next)).filter(|wanted| *wanted > paid);
        Ok(Cut { frames, reserve: wanted })
    }

    /// What is to be paid for a frame of `total` bytes, given how much of it there is.
    fn wanted(&self, total: usize) -> usize {
        if total > CARRIED_FRAME_BYTES_MAX && self.carried.len() < LARGE_FRAME_BEGUN_BYTES {
            CARRIED_FRAME_BYTES_MAX
        } else {
            total
        }
    }

    fn give_back(&mut self) {
        self.reservation = None;
        self.reserved = 0;
    }

    /// Takes the memory that [`Cut::reserve`] asked for: of the whole frame, or for its beginning.
    pub fn grant(&mut self, total: usize, reservation: Reservation) {
        self.reservation = Some(reservation);
        self.reserved = total;
        if total > CARRIED_FRAME_BYTES_MAX {
            let mut buffer = ReadBuffer::take(total);
            let have = self.carried.len();
            buffer.memory()[..have].copy_from_slice(&self.carried);
            self.carried = Vec::new();
            self.large = Some((buffer, have, total));
        } else {
            self.carried.reserve_exact(total.saturating_sub(self.carried.len()));
        }
    }

    /// Gives back what the last frame needed: an idle connection holds next to nothing.
    pub fn rest(&mut self) {
        if self.carried.is_empty() && self.carried.capacity() > 512 {
            self.carried = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(len: usize, byte: u8) -> Vec<u8> {
        let mut frame = (len as u32).to_be_bytes().to_vec();
        frame.resize(4 + len, byte);
        frame
    }

    /// Feeds `bytes` in reads of the given sizes and returns what came out.
    fn feed(bytes: &[u8], mut sizes: impl Iterator<Item = usize>) -> Vec<u8> {
        let budget = Budget::new(LARGE_BUDGET_BYTES);
        let mut scratch = ReadBuffer::take(READ_BYTES + CARRIED_FRAME_BYTES_MAX);
        let (mut partial, mut out, mut at) = (Partial::default(), Vec::new(), 0);
        while at < bytes.len() {
            let space = partial.space(&mut scratch, false);
            let n = sizes.next().unwrap_or(1 << 20).max(1).min(space.len()).min(bytes.len() - at);
            space[..n].copy_from_slice(&bytes[at..at + n]);
            at += n;
            let cut = partial.take(&mut scratch, n).unwrap();
            if let Some(frames) = cut.frames {
                assert_eq!(whole_frames(&frames, FRAME_BYTES_MAX), Ok((frames.len(), None)));
                out.extend_from_slice(&frames);
            }
            if let Some(total) = cut.reserve {
                let reservation = futures_lite::future::block_on(budget.reserve(total));
                partial.grant(total, reservation);
            }
        }
        assert!(!partial.is_begun());
        assert_eq!(budget.left.get(), LARGE_BUDGET_BYTES, "all memory came back");
        out
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            lens in prop::collection::vec(
                prop_oneof![1..300usize, 3_000..9_000usize, 30_000..400_000usize], 1..8),
            sizes in prop::collection::vec(1..300_000usize, 0..40),
        ) {
            let bytes: Vec<u8> =
                lens.iter().enumerate().flat_map(|(i, len)| frame(*len, i as u8 + 1)).collect();
            prop_assert!(feed(&bytes, sizes.into_iter()) == bytes);
        }
    }

    #[test]
    fn a_large_frame_that_was_only_announced_is_paid_for_as_a_small_one() {
        let budget = Budget::new(LARGE_BUDGET_BYTES);
        let mut scratch = ReadBuffer::take(READ_BYTES + CARRIED_FRAME_BYTES_MAX);
        let (mut partial, large) = (Partial::default(), frame(1 << 20, 1));
        let mut read = |partial: &mut Partial, from: usize, to: usize| {
            let space = partial.space(&mut scratch, false);
            space[..to - from].copy_from_slice(&large[from..to]);
            partial.take(&mut scratch, to - from).unwrap().reserve
        };
        assert_eq!(read(&mut partial, 0, 4), Some(CARRIED_FRAME_BYTES_MAX));
        let reserved = futures_lite::future::block_on(budget.reserve(CARRIED_FRAME_BYTES_MAX));
        partial.grant(CARRIED_FRAME_BYTES_MAX, reserved);
        assert_eq!(read(&mut partial, 4, 10_000), None);
        assert_eq!(read(&mut partial, 10_000, LARGE_FRAME_BEGUN_BYTES), Some(large.len()));
    }

    #[test]
    fn the_budget_serves_in_order_and_survives_who_gives_up() {
        let budget = Budget::new(FRAME_BYTES_MAX + 4);
        let all = futures_lite::future::block_on(budget.reserve(FRAME_BYTES_MAX + 4));
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        let mut first = Box::pin(budget.reserve(1000));
        let mut second = Box::pin(budget.reserve(10));
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(budget.is_contended());
        drop(all);
        assert!(second.as_mut().poll(&mut context).is_pending(), "the first goes first");
        drop(first);
        assert!(second.as_mut().poll(&mut context).is_ready());
        assert!(!budget.is_contended());
    }
}
