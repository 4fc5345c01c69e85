//! Memory that the disk reads from and writes into: aligned, recycled, and as much of it as asked
//! for registered with the kernel.
//!
//! Each thread has its own. A block is a power of two times 4 KiB, cut from a larger one and joined
//! with its neighbour again when both are free (a buddy allocator). When all is in use, another
//! region is added, which the kernel doesn't know: only a little slower.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::num::NonZero;
use std::ptr::NonNull;
use std::rc::Rc;

use nix::libc::iovec;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::limits::ENTRY_ALIGN_BYTES;

/// The smallest block.
const UNIT_BYTES: usize = ENTRY_ALIGN_BYTES;
/// The largest block is so many times doubled: 32 MiB. What is larger gets memory of its own.
const ORDER_MAX: usize = 13;
const BLOCK_BYTES_MAX: usize = UNIT_BYTES << ORDER_MAX;
/// The kernel registers no larger piece.
const PIECE_BYTES_MAX: usize = 1 << 30;

thread_local! {
    /// The regions of this thread, the registered one first if there is one.
    static REGIONS: RefCell<Vec<Rc<Region>>> = const { RefCell::new(Vec::new()) };
}

/// Which blocks of a region are free, by their size; each by the unit it begins with.
struct Blocks {
    free: [BTreeSet<u32>; ORDER_MAX + 1],
    in_use: usize,
}

impl Blocks {
    fn new(units: usize) -> Blocks {
        let mut blocks = Blocks { free: Default::default(), in_use: 0 };
        let mut at = 0;
        for order in (0..=ORDER_MAX).rev() {
            while at + (1 << order) <= units {
                blocks.free[order].insert(at as u32);
                at += 1 << order;
            }
        }
        blocks
    }

    fn take(&mut self, order: usize) -> Option<u32> {
        let from = (order..=ORDER_MAX).find(|order| !self.free[*order].is_empty())?;
        let at = self.free[from].pop_first()?;
        // Of what is cut in halves the second ones stay.
        for half in order..from {
            self.free[half].insert(at + (1 << half));
        }
        self.in_use += 1;
        Some(at)
    }

    fn give_back(&mut self, mut at: u32, mut order: usize) {
        self.in_use -= 1;
        while order < ORDER_MAX && self.free[order].remove(&(at ^ (1 << order))) {
            at &= !(1 << order);
            order += 1;
        }
        self.free[order].insert(at);
    }
}

/// A run of memory from which blocks are cut.
struct Region {
    start: NonNull<u8>,
    bytes: NonZero<usize>,
    blocks: RefCell<Blocks>,
    registered: Cell<bool>,
}

impl Region {
    fn new(bytes: usize) -> io::Result<Rc<Region>> {
        let bytes =
            NonZero::new(bytes.next_multiple_of(UNIT_BYTES)).unwrap_or(NonZero::<usize>::MIN);
        let (access, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
        let start = unsafe { mmap_anonymous(None, bytes, access, flags) }?.cast();
        let blocks = RefCell::new(Blocks::new(bytes.get() / UNIT_BYTES));
        Ok(Rc::new(Region { start, bytes, blocks, registered: Cell::new(false) }))
    }

    fn take(self: &Rc<Self>, order: usize, len: usize) -> Option<DiskBuffer> {
        let at = self.blocks.borrow_mut().take(order)?;
        Some(DiskBuffer { region: self.clone(), at, order, len })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no buffer is left that is part of it.
        let _ = unsafe { munmap(self.start.cast(), self.bytes.get()) };
    }
}

/// Gives this thread so much memory, and has `register` tell the kernel of it, piece by piece.
/// Where it may not, for want of locked memory, the buffers serve unregistered.
///
/// # Errors
/// The system has no such memory.
pub fn set_up(bytes: usize, register: impl FnOnce(&[iovec]) -> io::Result<()>) -> io::Result<()> {
    let region = Region::new(bytes)?;
    let bytes = region.bytes.get();
    let pieces: Vec<iovec> = (0..bytes)
        .step_by(PIECE_BYTES_MAX)
        .map(|at| iovec {
            // SAFETY: it is within the region.
            iov_base: unsafe { region.start.add(at) }.as_ptr().cast(),
            iov_len: (bytes - at).min(PIECE_BYTES_MAX),
        })
        .collect();
    match register(&pieces) {
        Ok(()) => region.registered.set(true),
        Err(error) => tracing::warn!(
            "the kernel registers no disk buffers, which costs it some more work for each write: \
             {error}"
        ),
    }
    REGIONS.with_borrow_mut(|regions| regions.insert(0, region));
    Ok(())
}

/// A run of aligned memory, of the thread that took it.
pub struct DiskBuffer {
    region: Rc<Region>,
    at: u32,
    order: usize,
    len: usize,
}

impl std::fmt::Debug for DiskBuffer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "DiskBuffer of {} bytes", self.len)
    }
}

impl DiskBuffer {
    /// So many bytes. What is in them may be left over from an earlier use.
    ///
    /// # Panics
    /// The system has no memory.
    pub fn take(bytes: usize) -> DiskBuffer {
        let order = bytes.div_ceil(UNIT_BYTES).next_power_of_two().trailing_zeros() as usize;
        if order > ORDER_MAX {
            return DiskBuffer::of_its_own(bytes);
        }
        REGIONS.with_borrow_mut(|regions| {
            if let Some(buffer) = regions.iter().find_map(|region| region.take(order, bytes)) {
                return buffer;
            }
            let region = Region::new(BLOCK_BYTES_MAX).expect("the system has no memory");
            regions.push(region.clone());
            region.take(order, bytes).expect("a new region holds one block of any size")
        })
    }

    /// So many bytes, all of them zero.
    ///
    /// # Panics
    /// The system has no memory.
    pub fn zeroed(bytes: usize) -> DiskBuffer {
        let mut buffer = DiskBuffer::take(bytes);
        buffer.bytes_mut().fill(0);
        buffer
    }

    /// More than any block has.
    fn of_its_own(bytes: usize) -> DiskBuffer {
        let region = Region::new(bytes).expect("the system has no memory");
        // Nothing else is ever cut from it, and it goes with this buffer.
        region.blocks.borrow_mut().in_use = 1;
        DiskBuffer { region, at: 0, order: ORDER_MAX + 1, len: bytes }
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: the block is within the region.
        unsafe { self.region.start.add(self.at as usize * UNIT_BYTES) }.as_ptr()
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block is this buffer's alone, and anonymous memory begins as zeros.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }

    /// The same, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and it is borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Which registered piece it is part of, if it is.
    pub fn piece(&self) -> Option<u16> {
        let at = self.at as usize * UNIT_BYTES;
        self.region.registered.get().then_some((at / PIECE_BYTES_MAX) as u16)
    }
}

impl Drop for DiskBuffer {
    fn drop(&mut self) {
        if self.order > ORDER_MAX {
            return;
        }
        let mut blocks = self.region.blocks.borrow_mut();
        blocks.give_back(self.at, self.order);
        if blocks.in_use > 0 || self.region.registered.get() {
            return;
        }
        drop(blocks);
        // An added region that nobody uses goes, unless it is the only one.
        let _ = REGIONS.try_with(|regions| {
            let Ok(mut regions) = regions.try_borrow_mut() else { return };
            let unused = |region: &Rc<Region>| {
                !region.registered.get() && region.blocks.borrow().in_use == 0
            };
            if regions.iter().filter(|region| unused(region)).count() > 1 {
                regions.retain(|region| !Rc::ptr_eq(region, &self.region));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own_thread<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(test).join().unwrap()
    }

    proptest! {
        #[test]
        fn no_block_is_given_out_twice_and_all_come_back(
            units in 1..20_000usize,
            steps in prop::collection::vec(
                (0..9usize, any::<prop::sample::Index>(), any::<bool>()), 1..200),
        ) {
            let mut blocks = Blocks::new(units);
            let whole = blocks.free.clone();
            let mut taken: Vec<(u32, usize)> = Vec::new();
            for (order, which, gives_back) in steps {
                if gives_back && !taken.is_empty() {
                    let (at, order) = taken.swap_remove(which.index(taken.len()));
                    blocks.give_back(at, order);
                } else if let Some(at) = blocks.take(order) {
                    prop_assert!(at.is_multiple_of(1 << order));
                    prop_assert!(at as usize + (1 << order) <= units);
                    for (other, of) in &taken {
                        prop_assert!(at + (1 << order) <= *other || other + (1 << of) <= at);
                    }
                    taken.push((at, order));
                }
            }
            for (at, order) in taken {
                blocks.give_back(at, order);
            }
            prop_assert_eq!(blocks.in_use, 0);
            prop_assert_eq!(blocks.free, whole);
        }
    }

    #[test]
    fn what_is_registered_serves_first_and_then_more_is_added_and_let_go_of() {
        own_thread(|| {
            set_up(8 << 20, |pieces| {
                assert_eq!(pieces.len(), 1);
                Ok(())
            })
            .unwrap();
            let first = DiskBuffer::take(8 << 20);
            assert_eq!(first.piece(), Some(0));
            let more: Vec<DiskBuffer> = (0..9).map(|_| DiskBuffer::take(8 << 20)).collect();
            assert!(more.iter().all(|buffer| buffer.piece().is_none()));
            assert_eq!(REGIONS.with_borrow(Vec::len), 4);
            drop(more);
            assert_eq!(REGIONS.with_borrow(Vec::len), 2, "one is kept");
            drop(first);
            assert_eq!(DiskBuffer::take(4096).piece(), Some(0));
        });
    }

    #[test]
    fn buffers_are_aligned_and_keep_what_is_written() {
        own_thread(|| {
            let mut buffers: Vec<DiskBuffer> =
                [1, 4096, 5000, 1 << 20, 40 << 20].into_iter().map(DiskBuffer::take).collect();
            for (nth, buffer) in buffers.iter_mut().enumerate() {
                assert!(buffer.bytes().as_ptr().addr().is_multiple_of(UNIT_BYTES));
                buffer.bytes_mut().fill(nth as u8 + 1);
            }
            for (nth, buffer) in buffers.iter().enumerate() {
                assert!(buffer.bytes().iter().all(|byte| *byte == nth as u8 + 1));
            }
            buffers[1].truncate(10);
            assert_eq!(buffers[1].bytes().len(), 10);
        });
    }

    #[test]
    fn buffers_serve_though_the_kernel_registers_none() {
        own_thread(|| {
            set_up(1 << 20, |_| Err(io::ErrorKind::OutOfMemory.into())).unwrap();
            assert_eq!(DiskBuffer::take(4096).piece(), None);
        });
    }
}
