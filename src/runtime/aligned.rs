//! Aligned memory and O_DIRECT files for the ordinary threads that make and probe files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

use crate::limits::ENTRY_ALIGN_BYTES;

/// Zeroed memory whose start is aligned for O_DIRECT.
pub struct AlignedMemory {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl AlignedMemory {
    /// So many zero bytes, a multiple of the alignment.
    pub fn zeroed(bytes: usize) -> AlignedMemory {
        assert!(bytes.is_multiple_of(ENTRY_ALIGN_BYTES), "O_DIRECT moves whole blocks");
        let memory = vec![0; bytes + ENTRY_ALIGN_BYTES];
        let start = memory.as_ptr().align_offset(ENTRY_ALIGN_BYTES);
        AlignedMemory { memory, start, bytes }
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.bytes]
    }

    /// The same, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.bytes]
    }
}

/// Opens a file for direct reads and writes, with more flags if given. Where the file system has
/// no direct I/O (tmpfs before 6.6) it is opened without.
pub fn open_direct(path: &Path, create: bool, flags: i32) -> io::Result<File> {
    let open = |flags| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .custom_flags(flags)
            .open(path)
    };
    match open(flags | libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(flags),
        opened => opened,
    }
}

/// Makes a rename or a new name in this directory survive a crash.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
