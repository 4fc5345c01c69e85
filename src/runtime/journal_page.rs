//! The page of the real journal: aligned memory that the disk reads from and writes into.

use std::rc::Rc;

use crate::journal::page::Page;
use crate::runtime::disk_memory::DiskBuffer;

/// A page built by the core, or one read from disk. Cloning it copies a handle.
#[derive(Clone, Debug)]
pub struct JournalPage(pub Rc<DiskBuffer>);

impl Page for JournalPage {
    fn build(bytes: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut buffer = DiskBuffer::take(bytes);
        fill(buffer.bytes_mut());
        JournalPage(Rc::new(buffer))
    }

    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}
