//! Reads an interval log, an interval at a time, and says in which line it is broken.
//!
//! A log may be any size: only one interval is in memory. A last line without its line end that
//! makes no sense is what a killed program leaves; it is skipped and told by
//! [`LogReader::torn`]. Anything else that makes no sense is an error.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;

use crate::log::decode;

/// The longest line. The largest histogram there is has 54 MiB before compression and base64.
const LINE_BYTES_MAX: u64 = 80 << 20;

/// Starts below this, two years after the epoch, are taken for time since some start.
const CLOCK_MIN: f64 = 2.0 * YEAR;
const YEAR: f64 = 365.0 * 24.0 * 3600.0;

/// Why a log can't be read. Each is a whole sentence.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("can't read {path}: {}", reason(.source))]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}, line {line}: {why}")]
    Line { path: PathBuf, line: u64, why: String },
}

/// What the system said, in plain words where there are some.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_string(),
        io::ErrorKind::IsADirectory => "it is a folder, not a file".to_string(),
        io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        _ => error.to_string(),
    }
}

/// One interval of a log.
#[derive(Clone, Debug)]
pub struct Interval {
    /// The line it came from, from 1 on.
    pub line: u64,
    /// What was measured, if the log tells.
    pub tag: Option<String>,
    /// When it began, in seconds since the epoch; since an unknown start if the log has no clock.
    pub start: f64,
    /// When it began, in seconds since the run began; below 0 if it was before that.
    pub offset: f64,
    /// How long it was, in seconds.
    pub length: f64,
    /// The largest value as the line tells it, in whatever unit its writer liked.
    pub max_column: f64,
    /// The histogram as it is in the file, in base64.
    pub encoded: String,
    pub histogram: Histogram<u64>,
}

/// Yields the intervals of a log in the order of the file.
pub struct LogReader<R: BufRead = BufReader<File>> {
    path: PathBuf,
    input: R,
    line: u64,
    buffer: Vec<u8>,
    /// Of the last `#[StartTime: ]`.
    start_time: Option<f64>,
    /// Added to each start: of the last `#[BaseTime: ]`, or found with the first interval.
    base: Option<f64>,
    /// When the run began.
    origin: Option<f64>,
    torn: Option<u64>,
    ended: bool,
}

impl LogReader<BufReader<File>> {
    /// Opens a log.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn open(path: &Path) -> Result<LogReader<BufReader<File>>, ReadError> {
        let file = File::open(path)
            .map_err(|source| ReadError::Io { path: path.to_path_buf(), source })?;
        Ok(LogReader::new(path, BufReader::with_capacity(1 << 16, file)))
    }
}

impl<R: BufRead> LogReader<R> {
    /// Reads from `input`, which errors call `path`.
    pub fn new(path: &Path, input: R) -> LogReader<R> {
        LogReader {
            path: path.to_path_buf(),
            input,
            line: 0,
            buffer: Vec::new(),
            start_time: None,
            base: None,
            origin: None,
            torn: None,
            ended: false,
        }
    }

    /// The last line, if it was broken off in the middle. Known at the end of the log.
    pub fn torn(&self) -> Option<u64> {
        self.torn
    }

    /// When the run began, in seconds since the epoch, if the log has a clock. Known with the first
    /// interval.
    pub fn run_start(&self) -> Option<f64> {
        self.origin.filter(|origin| *origin >= CLOCK_MIN)
    }

    fn next_interval(&mut self) -> Result<Option<Interval>, ReadError> {
        loop {
            self.buffer.clear();
            let read = (&mut self.input)
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut self.buffer)
                .map_err(|source| ReadError::Io { path: self.path.clone(), source })?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            let whole = self.buffer.last() == Some(&b'\n');
            if !whole && read as u64 == LINE_BYTES_MAX {
                return Err(self.broken("it is longer than any histogram; is this an .hlog?"));
            }
            let buffer = std::mem::take(&mut self.buffer);
            let result = self.take_line(&buffer);
            self.buffer = buffer;
            match result {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(_) if !whole => {
                    self.torn = Some(self.line);
                    return Ok(None);
                }
                Err(why) => return Err(self.broken(why)),
            }
        }
    }

    fn broken(&self, why: impl Into<String>) -> ReadError {
        ReadError::Line { path: self.path.clone(), line: self.line, why: why.into() }
    }

    /// What a line says: an interval, or something about the ones to come, or nothing.
    fn take_line(&mut self, bytes: &[u8]) -> Result<Option<Interval>, String> {
        let line = std::str::from_utf8(bytes)
            .map_err(|_| "it is not text; is this an .hlog?".to_string())?
            .trim_end_matches(['\n', '\r']);
        // A byte order mark, as some editors leave.
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if let Some(rest) = line.strip_prefix("#[StartTime:") {
            self.start_time = Some(header_seconds(rest, "StartTime")?);
            self.base = None;
            return Ok(None);
        }
        if let Some(rest) = line.strip_prefix("#[BaseTime:") {
            self.base = Some(header_seconds(rest, "BaseTime")?);
            return Ok(None);
        }
        if line.trim().is_empty() || line.starts_with('#') || is_legend(line) {
            return Ok(None);
        }
        let fields = Fields::of(line)?;
        let histogram = decode::histogram(
            &STANDARD.decode(fields.encoded).map_err(|why| format!("its base64: {why}"))?,
        )?;
        let start = fields.start + self.base_for(fields.start);
        let origin = *self.origin.get_or_insert(match self.start_time {
            // What came before the start is warm-up, what came long before is another clock.
            Some(run) if (run - start).abs() < YEAR => run,
            _ => start,
        });
        Ok(Some(Interval {
            line: self.line,
            tag: fields.tag.map(str::to_string),
            start,
            offset: start - origin,
            length: fields.length,
            max_column: fields.max,
            encoded: fields.encoded.to_string(),
            histogram,
        }))
    }

    /// What to add to starts, decided with the first of them.
    fn base_for(&mut self, first: f64) -> f64 {
        *self.base.get_or_insert(match self.start_time {
            Some(run) if first < run - YEAR => run,
            _ => 0.0,
        })
    }
}

impl<R: BufRead> Iterator for LogReader<R> {
    type Item = Result<Interval, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_interval().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The columns of an interval's line.
struct Fields<'a> {
    tag: Option<&'a str>,
    start: f64,
    length: f64,
    max: f64,
    encoded: &'a str,
}

impl Fields<'_> {
    fn of(line: &str) -> Result<Fields<'_>, String> {
        let shape = "it is no interval: [Tag=NAME,]start,length,max,histogram";
        let (tag, rest) = match line.strip_prefix("Tag=") {
            Some(rest) => {
                let (tag, rest) = rest.split_once(',').ok_or(shape)?;
                ((!tag.is_empty()).then_some(tag), rest)
            }
            None => (None, line),
        };
        let mut columns = rest.splitn(4, ',').map(str::trim);
        let mut column = || columns.next().ok_or(shape);
        let (start, length, max, encoded) = (column()?, column()?, column()?, column()?);
        Ok(Fields {
            tag,
            start: number(start, "start")?,
            length: number(length, "length").and_then(|length| match length {
                0.0.. => Ok(length),
                _ => Err(format!("its length is {length}, below 0")),
            })?,
            max: number(max, "largest value")?,
            encoded,
        })
    }
}

fn number(text: &str, what: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("its {what} {text:?} is no number"))?;
    number.is_finite().then_some(number).ok_or_else(|| format!("its {what} {text:?} is no number"))
}

/// The seconds of `#[StartTime: 1441812279.474 (seconds since epoch), ...]`.
fn header_seconds(rest: &str, name: &str) -> Result<f64, String> {
    let text = rest.trim_start().split([' ', ']']).next().unwrap_or_default();
    number(text, &format!("{name} header's time"))
}

/// The quoted names of the columns.
fn is_legend(line: &str) -> bool {
    line.trim_start().starts_with("\"StartTimestamp\"")
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
