//! Buffers that client bytes are read into: recycled, so that none is zeroed or paged in twice.
//!
//! A read lands in a buffer of this pool and leaves it as [`Bytes`] without a copy; when the core
//! lets go of the last of them, the buffer comes back to the pool of the thread it is dropped on.

use std::cell::RefCell;

use bytes::Bytes;

/// The smallest class; smaller requests get one of these.
const CLASS_BYTES_MIN: usize = 64 << 10;
/// Classes double from the smallest: 64 KiB to 4 MiB. Larger ones are not kept.
const CLASSES: usize = 7;
/// What a thread keeps for reuse.
const KEPT_BYTES_MAX: usize = 32 << 20;

#[derive(Default)]
struct Pool {
    kept: [Vec<Box<[u8]>>; CLASSES],
    kept_bytes: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Initialized memory of at least the asked size, given back to the pool when dropped.
#[derive(Debug)]
pub struct ReadBuffer {
    memory: Box<[u8]>,
}

/// The class of a size, if buffers of that size are kept.
fn class_of(bytes: usize) -> Option<usize> {
    let class = bytes.max(CLASS_BYTES_MIN).next_power_of_two() / CLASS_BYTES_MIN;
    let class = class.trailing_zeros() as usize;
    (class < CLASSES).then_some(class)
}

impl ReadBuffer {
    /// A buffer of at least `bytes` bytes. It may hold bytes of an earlier use.
    pub fn take(bytes: usize) -> ReadBuffer {
        let Some(class) = class_of(bytes) else {
            return ReadBuffer { memory: vec![0; bytes].into() };
        };
        let kept = POOL.with_borrow_mut(|pool| {
            let memory = pool.kept[class].pop()?;
            pool.kept_bytes -= memory.len();
            Some(memory)
        });
        let memory = kept.unwrap_or_else(|| vec![0; CLASS_BYTES_MIN << class].into());
        ReadBuffer { memory }
    }

    /// What [`ReadBuffer::take`] of this many bytes really takes.
    pub fn cost(bytes: usize) -> usize {
        class_of(bytes).map_or(bytes, |class| CLASS_BYTES_MIN << class)
    }

    /// Its first `len` bytes, to hand on without a copy.
    pub fn into_bytes(self, len: usize) -> Bytes {
        Bytes::from_owner(self).slice(..len)
    }

    /// All of it.
    pub fn memory(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let Some(class) = class_of(memory.len()) else { return };
        // A thread that is ending has no pool any more; then the memory is freed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.kept_bytes + memory.len() <= KEPT_BYTES_MAX {
                pool.kept_bytes += memory.len();
                pool.kept[class].push(memory);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_the_last_bytes_go() {
        let buffer = ReadBuffer::take(200 << 10);
        let at = buffer.as_ref().as_ptr();
        assert_eq!(buffer.as_ref().len(), 256 << 10);
        let bytes = buffer.into_bytes(10);
        let part = bytes.slice(2..4);
        drop(bytes);
        assert_ne!(ReadBuffer::take(200 << 10).as_ref().as_ptr(), at, "still in use");
        drop(part);
        assert_eq!(ReadBuffer::take(200 << 10).as_ref().as_ptr(), at);
    }

    #[test]
    fn large_buffers_are_exact_and_not_kept() {
        assert_eq!(ReadBuffer::take(20 << 20).as_ref().len(), 20 << 20);
        assert_eq!(ReadBuffer::cost(20 << 20), 20 << 20);
        assert_eq!(ReadBuffer::cost(65 << 10), 128 << 10);
    }
}
