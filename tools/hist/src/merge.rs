//! `hutong-hist merge`: several logs in one.
//!
//! All are read before anything is written, so a broken log leaves the output as it was. Intervals
//! are taken over as they are in the file; with `--by-tag`, histograms are added without losing
//! range or digits.

use std::fs;
use std::path::Path;

use crate::args::Merge;
use crate::error::Error;
use crate::log::{Interval, LogReader, LogWriter};
use crate::totals::{Total, torn_warning};
use crate::units;

/// One log, read.
struct Log {
    /// All of them, or none with `--by-tag`.
    intervals: Vec<Interval>,
    /// With `--by-tag` one for each.
    totals: Vec<Total>,
    /// The beginning of the earliest, in seconds since the run began.
    earliest: f64,
    run_start: Option<f64>,
    torn: Option<u64>,
}

impl Log {
    fn read(path: &Path, args: &Merge) -> Result<Log, Error> {
        let mut reader = LogReader::open(path)?;
        let (mut intervals, mut totals) = (Vec::new(), Vec::new());
        let mut earliest = f64::INFINITY;
        for interval in &mut reader {
            let (interval, histogram) = interval?;
            if args.tag.is_some() && args.tag != interval.tag {
                continue;
            }
            earliest = earliest.min(interval.offset);
            if args.by_tag {
                add(&mut totals, &Total::of(&interval, histogram));
            } else {
                intervals.push(interval);
            }
        }
        let (run_start, torn) = (reader.run_start(), reader.torn());
        Ok(Log { intervals, totals, earliest, run_start, torn })
    }

    fn is_empty(&self) -> bool {
        self.earliest.is_infinite()
    }
}

/// Adds to what there is of this tag.
fn add(totals: &mut Vec<Total>, one: &Total) {
    match totals.iter_mut().find(|total| total.tag == one.tag) {
        Some(total) => total.join(one),
        None => totals.push(one.clone()),
    }
}

/// What is to be printed, and what is to be told aside.
///
/// # Errors
/// A log can't be read, none has such a tag, or the output can't be written.
pub fn run(args: &Merge) -> Result<(String, Vec<String>), Error> {
    if let Some(path) = args.files.iter().find(|path| same_file(path, &args.output)) {
        return Err(Error::SameFile(path.clone()));
    }
    let mut logs = Vec::new();
    let mut warnings = Vec::new();
    for path in &args.files {
        let log = Log::read(path, args)?;
        warnings.extend(log.torn.map(|line| torn_warning(path, line)));
        if !log.is_empty() {
            logs.push(log);
        } else if args.files.len() > 1 {
            warnings.push(Error::Empty { path: path.clone(), tag: args.tag.clone() }.to_string());
        }
    }
    if logs.is_empty() {
        return Err(Error::Empty { path: args.files[0].clone(), tag: args.tag.clone() });
    }
    if logs.len() > 1 && !has_clocks(&logs) {
        warnings.push("not every log has a clock: all are taken to begin at once".to_string());
    }
    let start = align(&mut logs);
    let written = write(&args.output, start, logs)?;
    let out = format!(
        "{}: {} interval{} of {} log{}\n",
        args.output.display(),
        units::count(written),
        if written == 1 { "" } else { "s" },
        args.files.len(),
        if args.files.len() == 1 { "" } else { "s" },
    );
    Ok((out, warnings))
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

fn has_clocks(logs: &[Log]) -> bool {
    logs.iter().all(|log| log.run_start.is_some())
}

/// Sets all offsets to count from one start, and says which: in seconds since the epoch, 0 if a log
/// has no clock. Nothing begins before it.
fn align(logs: &mut [Log]) -> f64 {
    let clocks = has_clocks(logs);
    let run_start = |log: &Log| log.run_start.filter(|_| clocks).unwrap_or(0.0);
    let first = |log: &Log| run_start(log) + log.earliest.min(0.0);
    let start = logs.iter().map(first).min_by(f64::total_cmp).unwrap_or(0.0);
    for log in logs {
        let shift = run_start(log) - start;
        log.intervals.iter_mut().for_each(|interval| interval.offset += shift);
        for total in &mut log.totals {
            total.from += shift;
            total.until += shift;
        }
    }
    start.max(0.0)
}

/// Writes all of them and says how many intervals that were.
fn write(path: &Path, start: f64, logs: Vec<Log>) -> Result<u64, Error> {
    let mut writer = LogWriter::create_at(path, start)?;
    let mut intervals = Vec::new();
    let mut totals = Vec::new();
    for log in logs {
        intervals.extend(log.intervals);
        log.totals.iter().for_each(|total| add(&mut totals, total));
    }
    // Those that begin together stay in the order of the logs.
    intervals.sort_by(|a, b| a.offset.total_cmp(&b.offset));
    totals.sort_by(|a, b| a.tag.cmp(&b.tag));
    for interval in &intervals {
        writer.copy(interval)?;
    }
    for total in &totals {
        let times = (total.from, total.until - total.from);
        writer.write_at(total.tag(), times, &total.histogram)?;
    }
    Ok((intervals.len() + totals.len()) as u64)
}
