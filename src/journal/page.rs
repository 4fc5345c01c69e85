//! The aligned buffer that everything in a journal is written from and read into.

use crate::limits::ENTRY_ALIGN_BYTES;

/// An aligned run of bytes that is shared by handle and never copied.
///
/// `runtime` gives disk buffers, the simulator plain memory. It is the only type
/// parameter of the core.
pub trait Page: Clone + 'static {
    /// A page of `bytes` bytes, filled by `fill`. `bytes` is a multiple of [`ENTRY_ALIGN_BYTES`].
    ///
    /// The slice handed to `fill` may hold anything at first: `fill` must write all of it.
    fn build(bytes: usize, fill: impl FnOnce(&mut [u8])) -> Self;

    /// What is in the page.
    fn bytes(&self) -> &[u8];
}

/// `bytes`, rounded up to whole alignment units.
pub fn align_up(bytes: usize) -> usize {
    bytes.next_multiple_of(ENTRY_ALIGN_BYTES)
}

/// A page in plain memory, for tests and the simulator. Not aligned, so never given to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPage(std::rc::Rc<[u8]>);

impl Page for MemoryPage {
    fn build(bytes: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut memory: std::rc::Rc<[u8]> = std::iter::repeat_n(0, bytes).collect();
        fill(std::rc::Rc::get_mut(&mut memory).expect("nobody else has it"));
        MemoryPage(memory)
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for MemoryPage {
    fn from(bytes: Vec<u8>) -> Self {
        MemoryPage(bytes.into())
    }
}
