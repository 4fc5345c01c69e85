//! A file to measure with that nobody has to clean up.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// An open file without a name: the kernel frees it when the last descriptor is closed, however
/// this process ends.
pub struct ScratchFile {
    file: File,
}

impl ScratchFile {
    /// Makes one on the file system of a directory.
    pub fn create(directory: &Path) -> io::Result<ScratchFile> {
        let path = directory.join(format!(".hutong-doctor-{}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(ScratchFile { file })
    }

    /// A path by which this process can open the file again with other flags. With our number
    /// instead of `self`, because old kernels open for io_uring in a thread of their own.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_scratch_file_has_no_name_but_can_be_opened_again() {
        let directory = std::env::temp_dir().join(format!("hutong-scratch-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let mut scratch = ScratchFile::create(&directory).unwrap();
        scratch.file.write_all(b"hello").unwrap();
        let mut text = String::new();
        File::open(scratch.path()).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        // Only an empty directory can be removed like this.
        fs::remove_dir(&directory).unwrap();
    }
}
