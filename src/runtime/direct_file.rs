//! A file that is read and written past the page cache, by io_uring.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use io_uring::opcode;
use io_uring::types::{Fd, FsyncFlags};
use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Whence, lseek};

use crate::runtime::disk_memory::DiskBuffer;
use crate::runtime::executor::begin;

/// An open file.
pub struct DirectFile(File);

impl DirectFile {
    /// Opens a file that is there, with more flags (`O_DSYNC`) if given. Where the file system has
    /// no direct I/O (tmpfs before Linux 6.6) it is opened without.
    ///
    /// # Errors
    /// The system's.
    pub async fn open(path: &Path, flags: i32) -> io::Result<Rc<DirectFile>> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let flags = libc::O_RDWR | libc::O_CLOEXEC | flags;
        let file = match open(name.clone(), flags | libc::O_DIRECT).await {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(name, flags).await?,
            opened => opened?,
        };
        Ok(Rc::new(DirectFile(file)))
    }

    /// Writes a buffer, whose length and place must be multiples of the block size. Gives back how
    /// many bytes the disk took.
    ///
    /// # Errors
    /// The system's. What was written then is unknown.
    pub async fn write_at(self: &Rc<Self>, buffer: Rc<DiskBuffer>, at: u64) -> io::Result<usize> {
        let (fd, len) = (self.fd(), buffer.bytes().len() as u32);
        let memory = buffer.bytes().as_ptr();
        let entry = match buffer.piece() {
            Some(piece) => opcode::WriteFixed::new(fd, memory, len, piece).offset(at).build(),
            None => opcode::Write::new(fd, memory, len).offset(at).build(),
        };
        // SAFETY: the buffer's memory stays where it is while the buffer is held, and so is the
        // descriptor open.
        let (written, _) = unsafe { begin(entry, (buffer, self.clone())) }.await;
        written.map(|written| written as usize)
    }

    /// Reads so many bytes, or fewer where the file ends.
    ///
    /// # Errors
    /// The system's.
    pub async fn read_at(self: &Rc<Self>, at: u64, bytes: usize) -> io::Result<DiskBuffer> {
        let mut buffer = DiskBuffer::take(bytes);
        let (fd, memory) = (self.fd(), buffer.bytes_mut().as_mut_ptr());
        let entry = match buffer.piece() {
            Some(piece) => {
                opcode::ReadFixed::new(fd, memory, bytes as u32, piece).offset(at).build()
            }
            None => opcode::Read::new(fd, memory, bytes as u32).offset(at).build(),
        };
        // SAFETY: as in `write_at`; nobody else has this buffer yet.
        let (read, (mut buffer, _)) = unsafe { begin(entry, (buffer, self.clone())) }.await;
        buffer.truncate(read? as usize);
        Ok(buffer)
    }

    /// Has all that was written to it reach the disk.
    ///
    /// # Errors
    /// The system's. What was not on disk before may never be.
    pub async fn fdatasync(self: &Rc<Self>) -> io::Result<()> {
        let entry = opcode::Fsync::new(self.fd()).flags(FsyncFlags::DATASYNC).build();
        // SAFETY: it points to nothing; the descriptor stays open.
        let (synced, _) = unsafe { begin(entry, self.clone()) }.await;
        synced.map(|_| ())
    }

    /// The first run of blocks at `at` or behind it that were never written, `bytes_max` bytes at
    /// most. It is empty and lies at the end of the file if there is none, or if the file system
    /// doesn't tell.
    ///
    /// # Errors
    /// The system's.
    pub fn hole(&self, at: u64, bytes_max: u64) -> io::Result<Range<u64>> {
        let start = lseek(&self.0, at as i64, Whence::SeekHole)? as u64;
        let end = match lseek(&self.0, start as i64, Whence::SeekData) {
            Ok(data) => data as u64,
            // There is none behind it.
            Err(Errno::ENXIO) => lseek(&self.0, 0, Whence::SeekEnd)? as u64,
            Err(error) => return Err(error.into()),
        };
        Ok(start..end.min(start.saturating_add(bytes_max)))
    }

    fn fd(&self) -> Fd {
        Fd(self.0.as_raw_fd())
    }
}

async fn open(name: CString, flags: i32) -> io::Result<File> {
    let entry = opcode::OpenAt::new(Fd(libc::AT_FDCWD), name.as_ptr()).flags(flags).build();
    // SAFETY: the name's memory stays where it is while it is held.
    let (opened, _) = unsafe { begin(entry, name) }.await;
    // SAFETY: the kernel has just given us this descriptor.
    opened.map(|fd| unsafe { File::from_raw_fd(fd as i32) })
}
