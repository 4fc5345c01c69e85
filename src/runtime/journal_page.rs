//! The page of the real journal: aligned memory that the disk reads from and writes into.

use std::ops::Deref;
use std::rc::Rc;

use glommio::io::{DmaBuffer, ReadResult};

use crate::journal::page::Page;

/// A page built by the core, or one read from disk. Cloning it copies a handle.
#[derive(Clone, Debug)]
pub enum JournalPage {
    /// Built to be written.
    Built(Rc<DmaBuffer>),
    /// As the disk gave it.
    Read(ReadResult),
}

impl JournalPage {
    /// The buffer to write, made anew if this page came from a read (which the core never does).
    pub fn into_dma(self) -> Rc<DmaBuffer> {
        match self {
            JournalPage::Built(buffer) => buffer,
            JournalPage::Read(read) => {
                let bytes = read.deref();
                let mut buffer = glommio::allocate_dma_buffer(bytes.len());
                buffer.as_bytes_mut().copy_from_slice(bytes);
                Rc::new(buffer)
            }
        }
    }
}

impl Page for JournalPage {
    fn build(bytes: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        // From the executor's registered region, which is resident already; beyond it from the
        // allocator, which `node` has told to keep what it has paged in.
        let mut buffer = glommio::allocate_dma_buffer(bytes);
        fill(buffer.as_bytes_mut());
        JournalPage::Built(Rc::new(buffer))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            JournalPage::Built(buffer) => buffer.as_bytes(),
            JournalPage::Read(read) => read.deref(),
        }
    }
}
