//! The interval log of a run: a line for each interval and kind of latency.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hutong_hist::log::{LogWriter, WriteError};

use super::{Interval, Kind};

/// A file that can be written, so that a wrong path ends the run before it begins.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Makes the file, or empties the one that is there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn create(path: &Path) -> Result<LogFile, WriteError> {
        let path = path.to_path_buf();
        match File::create(&path) {
            Ok(file) => Ok(LogFile { path, file }),
            Err(source) => Err(WriteError::Create { path, source }),
        }
    }

    /// Writes the head: when measuring begins, and how the run was started.
    ///
    /// # Errors
    /// The file takes nothing.
    pub fn begin(self, start: SystemTime) -> Result<IntervalLog, WriteError> {
        let mut writer = LogWriter::new(&self.path, self.file, start)?;
        let words: Vec<String> = std::env::args().collect();
        writer.comment(&words.join(" "))?;
        Ok(IntervalLog { writer })
    }
}

/// See the module.
pub struct IntervalLog {
    writer: LogWriter<File>,
}

impl IntervalLog {
    /// Writes what was measured in an interval that began so long after the start.
    ///
    /// # Errors
    /// The file takes no more.
    pub fn write(
        &mut self,
        (begin, length): (Duration, Duration),
        interval: &Interval,
    ) -> Result<(), WriteError> {
        for kind in Kind::ALL {
            if let Some(histogram) = interval.latency(kind)
                && !histogram.is_empty()
            {
                self.writer.write(Some(kind.tag()), begin, length, histogram)?;
            }
        }
        Ok(())
    }
}
