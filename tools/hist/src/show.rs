//! `hutong-hist show`: what a log says, as text with bars or as JSON.

use std::fmt::Write;
use std::path::PathBuf;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::args::Show;
use crate::error::Error;
use crate::summary::{PERCENTILES, Summary};
use crate::totals::{Total, Totals};
use crate::units::{self, Unit};

/// Columns of the longest bar.
const BAR_COLUMNS: f64 = 40.0;
/// Rows of a distribution. A wider one has a row for each power of ten only.
const ROWS_MAX: usize = 24;

/// What `--json` writes for each file.
#[derive(Serialize)]
struct File<'a> {
    file: &'a PathBuf,
    /// The last line, if it is broken off.
    torn_line: Option<u64>,
    tags: Vec<Tag<'a>>,
}

#[derive(Serialize)]
struct Tag<'a> {
    tag: Option<&'a str>,
    intervals: u64,
    /// From the beginning of the first to the end of the last.
    seconds: f64,
    #[serde(flatten)]
    summary: Summary,
}

/// What is to be printed, and what is to be told aside.
///
/// # Errors
/// A log can't be read, or has no such tag.
pub fn run(args: &Show) -> Result<(String, Vec<String>), Error> {
    let tag = args.select.tag.as_deref();
    let logs: Result<Vec<Totals>, Error> =
        args.files.iter().map(|path| Totals::read(path, tag)).collect();
    let logs = logs?;
    let warnings = logs.iter().filter_map(Totals::warning).collect();
    let unit = args.select.unit;
    let out = if args.json {
        let files: Vec<File> = logs.iter().map(|log| file(log, unit)).collect();
        serde_json::to_string_pretty(&files).expect("plain data") + "\n"
    } else {
        let texts: Vec<String> = logs.iter().map(|log| text(log, unit)).collect();
        texts.join("\n")
    };
    Ok((out, warnings))
}

fn file(log: &Totals, unit: Unit) -> File<'_> {
    let tag = |total| Tag {
        tag: Total::tag(total),
        intervals: total.intervals,
        seconds: total.until - total.from,
        summary: Summary::of_unit(&total.histogram, unit),
    };
    File { file: &log.path, torn_line: log.torn, tags: log.tags.iter().map(tag).collect() }
}

fn text(log: &Totals, unit: Unit) -> String {
    if log.tags.is_empty() {
        return format!("{}: no intervals\n", log.path.display());
    }
    let texts: Vec<String> = log
        .tags
        .iter()
        .map(|total| {
            format!(
                "{}\n\n{}",
                headline(&log.path, total),
                table(total, unit) + &distribution(&total.histogram, unit)
            )
        })
        .collect();
    texts.join("\n")
}

/// Which log and tag, and how much of it.
pub(crate) fn headline(path: &std::path::Path, total: &Total) -> String {
    let tag = total.tag().map(|tag| format!(", {tag}")).unwrap_or_default();
    let s = if total.intervals == 1 { "" } else { "s" };
    format!(
        "{}{tag}: {} interval{s} in {}",
        path.display(),
        units::count(total.intervals),
        units::duration((total.until - total.from) * 1e9)
    )
}

fn table(total: &Total, unit: Unit) -> String {
    let summary = Summary::of_unit(&total.histogram, unit);
    let mut text = format!("  {:<9}{:>12}\n", "count", units::count(summary.count));
    if summary.count == 0 {
        return text;
    }
    let mut row = |name: &str, ns: f64, note: &str| {
        writeln!(text, "  {name:<9}{:>12}{note}", units::duration(ns)).expect("a string");
    };
    row("mean", summary.mean_ns, "");
    row("min", summary.min_ns, "");
    for ((name, ns), (_, quantile)) in summary.percentiles().into_iter().zip(PERCENTILES) {
        // Less than one value lies beyond it.
        let few = summary.count as f64 * (1.0 - quantile) < 1.0 - 1e-9;
        row(name, ns, if few { "  too few values: the maximum" } else { "" });
    }
    row("max", summary.max_ns, "");
    text
}

/// How many values lie where, with a bar for each step of 1, 2, 5, 10 and so on.
fn distribution(histogram: &Histogram<u64>, unit: Unit) -> String {
    if histogram.is_empty() {
        return String::new();
    }
    let mut rows = rows(histogram, unit, &[1.0, 2.0, 5.0]);
    if rows.len() > ROWS_MAX {
        rows = self::rows(histogram, unit, &[1.0]);
    }
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(1) as f64;
    let mut text = format!("\n  {:<9}{:>12}{:>10}\n", "up to", "values", "share");
    for (bound, count) in rows {
        let share = count as f64 / histogram.len() as f64;
        let bar = bar(count as f64 / most);
        let line = format!(
            "  {:<9}{:>12}{:>10}  {bar}",
            units::tick(bound),
            units::count(count),
            percent(share)
        );
        writeln!(text, "{}", line.trim_end()).expect("a string");
    }
    text
}

/// The upper bounds, from the first that has values to the last, in ns, and how many are below each
/// and not below the one before.
fn rows(histogram: &Histogram<u64>, unit: Unit, steps: &[f64]) -> Vec<(f64, u64)> {
    let mut bounds = (0..).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
    let mut bound = bounds.next().expect("there is no last");
    let mut rows: Vec<(f64, u64)> = Vec::new();
    let mut count = 0;
    for value in histogram.iter_recorded() {
        let ns = value.value_iterated_to() as f64 * unit.ns();
        // What a bucket of the histogram adds to a value that lies on the bound isn't beyond it.
        let lowest = histogram.lowest_equivalent(value.value_iterated_to()) as f64 * unit.ns();
        while lowest.min(ns) > bound {
            if count > 0 || !rows.is_empty() {
                rows.push((bound, count));
            }
            count = 0;
            bound = bounds.next().expect("there is no last");
        }
        count += value.count_since_last_iteration();
    }
    rows.push((bound, count));
    rows
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => String::new(),
        percent @ ..0.01 => format!("{percent:.4} %"),
        percent => format!("{percent:.2} %"),
    }
}

/// A bar as long as this part of the longest, in eighths of a column; never quite nothing.
fn bar(part: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let mut eighths = (part * BAR_COLUMNS * 8.0).round() as usize;
    if part > 0.0 {
        eighths = eighths.max(1);
    }
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_part() {
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(1e-9), "▏");
        assert_eq!(bar(1.0), "█".repeat(40));
        assert_eq!(bar(0.5125), "█".repeat(20) + "▌");
    }

    #[test]
    fn rows_hold_every_value_once() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for value in [0, 1, 2, 3, 5, 6, 1_000, 1_001, 70_000] {
            histogram.record(value).unwrap();
        }
        let rows = rows(&histogram, Unit::Nanoseconds, &[1.0, 2.0, 5.0]);
        assert_eq!(rows[..4], [(1.0, 2), (2.0, 1), (5.0, 2), (10.0, 1)]);
        assert_eq!(rows.last(), Some(&(100_000.0, 1)));
        assert!(rows.contains(&(1_000.0, 1)), "{rows:?}");
        assert_eq!(rows.iter().map(|(_, count)| count).sum::<u64>(), 9);
    }

    #[test]
    fn the_widest_histogram_has_a_row_for_each_power_of_ten() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, u64::MAX, 3).unwrap();
        histogram.record(1).unwrap();
        histogram.record(u64::MAX).unwrap();
        let text = distribution(&histogram, Unit::Nanoseconds);
        assert!(text.lines().count() <= ROWS_MAX + 2, "{text}");
    }
}
