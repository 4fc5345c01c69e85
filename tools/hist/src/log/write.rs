//! Writes an interval log, a line at a time.
//!
//! Each line goes to the file in one write, nothing is held back: a program that is killed leaves
//! all intervals it had finished, and at worst a torn last line, which readers tell from an error.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::log::read::Interval;
use crate::log::{LEGEND, VERSION};

/// The column of the largest value is in milliseconds when values are nanoseconds, as in the logs
/// of HdrHistogram's own writer.
const MAX_COLUMN_DIVISOR: f64 = 1e6;

/// Why a log can't be written. Each is a whole sentence.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("can't create {path}: {}", reason(.source))]
    Create { path: PathBuf, source: io::Error },
    #[error("can't write to {path}: {}; what came before is kept", reason(.source))]
    Write { path: PathBuf, source: io::Error },
    #[error("the tag {tag:?} can't be written to {path}: a tag has no comma and no white space")]
    Tag { path: PathBuf, tag: String },
    #[error("a histogram can't be written to {path}: {why}")]
    Encode { path: PathBuf, why: String },
}

/// What the system said, in words that tell what to do where that is known.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such folder".to_string(),
        io::ErrorKind::StorageFull => "the disk is full".to_string(),
        io::ErrorKind::QuotaExceeded => "the quota of this user is used up".to_string(),
        io::ErrorKind::IsADirectory => "it is a folder".to_string(),
        io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        _ => error.to_string(),
    }
}

/// Writes an interval log. Histograms hold nanoseconds, if other tools are to understand them.
pub struct LogWriter<W: Write = File> {
    path: PathBuf,
    out: W,
    start: f64,
    serializer: V2DeflateSerializer,
    encoded: Vec<u8>,
    line: String,
}

impl LogWriter<File> {
    /// Makes the file, or empties the one that is there, and writes the header. `start` is when
    /// the run began: the zero of the intervals' times.
    ///
    /// # Errors
    /// The file can't be made or written.
    pub fn create(path: &Path, start: SystemTime) -> Result<LogWriter<File>, WriteError> {
        let out = File::create(path)
            .map_err(|source| WriteError::Create { path: path.to_path_buf(), source })?;
        LogWriter::new(path, out, start)
    }
}

impl<W: Write> LogWriter<W> {
    /// Writes the header to `out`, which errors call `path`.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn new(path: &Path, out: W, start: SystemTime) -> Result<LogWriter<W>, WriteError> {
        let start = start.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        LogWriter::with_start(path, out, start)
    }

    /// As [`LogWriter::new`], with the start in seconds since the epoch.
    pub(crate) fn with_start(path: &Path, out: W, start: f64) -> Result<LogWriter<W>, WriteError> {
        let mut writer = LogWriter {
            path: path.to_path_buf(),
            out,
            start,
            serializer: V2DeflateSerializer::new(),
            encoded: Vec::new(),
            line: String::new(),
        };
        let header = format!(
            "{VERSION}\n#[StartTime: {start:.3} (seconds since epoch)]\n\
             #[BaseTime: {start:.3} (seconds since epoch)]\n{LEGEND}\n"
        );
        writer.put(header.as_bytes())?;
        Ok(writer)
    }

    /// Writes a comment, for people: how the run was made. Line breaks begin another comment.
    ///
    /// # Errors
    /// The file takes no more.
    pub fn comment(&mut self, text: &str) -> Result<(), WriteError> {
        let mut lines = String::new();
        for line in text.lines() {
            // With a space, so that no comment is taken for a start time.
            lines.push_str("# ");
            lines.push_str(line);
            lines.push('\n');
        }
        self.put(lines.as_bytes())
    }

    /// Writes one interval: what `tag` measured from `since_start` (after the start of the run) on,
    /// for as long as `length`.
    ///
    /// # Errors
    /// The file takes no more, or the tag has a comma or white space.
    pub fn write(
        &mut self,
        tag: Option<&str>,
        since_start: Duration,
        length: Duration,
        histogram: &Histogram<u64>,
    ) -> Result<(), WriteError> {
        let times = (since_start.as_secs_f64(), length.as_secs_f64());
        let max = histogram.max() as f64 / MAX_COLUMN_DIVISOR;
        self.encoded.clear();
        self.serializer
            .serialize(histogram, &mut self.encoded)
            .map_err(|why| WriteError::Encode { path: self.path.clone(), why: why.to_string() })?;
        let encoded = STANDARD.encode(&self.encoded);
        self.put_interval(tag, times, max, &encoded)
    }

    /// Writes an interval of another log as it is, but for the time, which is `offset` seconds
    /// after the start of this one.
    ///
    /// # Errors
    /// The file takes no more.
    pub fn copy(&mut self, interval: &Interval, offset: f64) -> Result<(), WriteError> {
        let times = (offset, interval.length);
        self.put_interval(interval.tag.as_deref(), times, interval.max_column, &interval.encoded)
    }

    /// When the run began, in seconds since the epoch.
    pub fn start(&self) -> f64 {
        self.start
    }

    fn put_interval(
        &mut self,
        tag: Option<&str>,
        (offset, length): (f64, f64),
        max: f64,
        encoded: &str,
    ) -> Result<(), WriteError> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        if let Some(tag) = tag {
            if tag.is_empty() || tag.contains(|c: char| c == ',' || c.is_whitespace()) {
                return Err(WriteError::Tag { path: self.path.clone(), tag: tag.to_string() });
            }
            line.push_str("Tag=");
            line.push_str(tag);
            line.push(',');
        }
        line.push_str(&format!("{offset:.3},{length:.3},{max:.3},"));
        line.push_str(encoded);
        line.push('\n');
        let put = self.put(line.as_bytes());
        self.line = line;
        put
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out
            .write_all(bytes)
            .and_then(|()| self.out.flush())
            .map_err(|source| WriteError::Write { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(out: &mut Vec<u8>) -> LogWriter<&mut Vec<u8>> {
        let start = UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        LogWriter::new(Path::new("test.hlog"), out, start).unwrap()
    }

    #[test]
    fn lines_have_the_shape_that_others_read() {
        let mut out = Vec::new();
        let mut log = writer(&mut out);
        log.comment("hutong-load produce\n[StartTime: not one").unwrap();
        let mut histogram = Histogram::new(3).unwrap();
        histogram.record(1_500_000).unwrap();
        let (since, length) = (Duration::from_millis(1_500), Duration::from_secs(1));
        log.write(Some("produce"), since, length, &histogram).unwrap();
        log.write(None, since, length, &histogram).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "#[Histogram log format version 1.3]",
                "#[StartTime: 1700000000.250 (seconds since epoch)]",
                "#[BaseTime: 1700000000.250 (seconds since epoch)]",
                "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
                 \"Interval_Compressed_Histogram\"",
                "# hutong-load produce",
                "# [StartTime: not one",
            ]
        );
        assert!(lines[6].starts_with("Tag=produce,1.500,1.000,1.500,HISTF"), "{}", lines[6]);
        assert!(lines[7].starts_with("1.500,1.000,1.500,HISTF"), "{}", lines[7]);
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn tags_that_would_break_the_line_are_refused() {
        let mut out = Vec::new();
        let mut log = writer(&mut out);
        let histogram = Histogram::new(3).unwrap();
        for tag in ["", "a,b", "a b", "a\n"] {
            let error = log.write(Some(tag), Duration::ZERO, Duration::ZERO, &histogram);
            assert!(matches!(error, Err(WriteError::Tag { .. })), "{tag:?}");
        }
    }

    #[test]
    fn a_full_disk_and_a_missing_folder_are_told() {
        let error = LogWriter::create(Path::new("/dev/full"), SystemTime::now()).err().unwrap();
        assert_eq!(
            error.to_string(),
            "can't write to /dev/full: the disk is full; what came before is kept"
        );
        let missing = Path::new("/no/such/folder/a.hlog");
        let error = LogWriter::create(missing, SystemTime::now()).err().unwrap();
        assert_eq!(
            error.to_string(),
            "can't create /no/such/folder/a.hlog: there is no such folder"
        );
    }
}
