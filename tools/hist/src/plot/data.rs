//! What there is to draw: for each run its percentiles, and its latency over time.

use std::collections::BTreeMap;
use std::path::Path;

use hdrhistogram::Histogram;

use crate::args::Plot;
use crate::error::Error;
use crate::log::LogReader;
use crate::summary::{Summary, quantile};
use crate::totals::{self, Total, Totals};

/// Points of a run over time, at most. Intervals that fall on the same one are added.
const MOMENTS_MAX: f64 = 240.0;
/// Points of a percentile curve for each power of ten.
const POINTS_PER_DECADE: usize = 80;

/// One line of the picture: a tag of a log.
pub struct Run {
    pub name: String,
    pub summary: Summary,
    /// Points of the percentile curve: log10(1 / (1 - quantile)) and nanoseconds.
    pub curve: Vec<(f64, f64)>,
    /// In order of time.
    pub moments: Vec<Moment>,
}

/// What was measured at one time.
pub struct Moment {
    /// Seconds since the run began.
    pub at: f64,
    pub p50_ns: f64,
    pub p99_ns: f64,
    pub max_ns: f64,
}

/// Reads all runs, and what to tell the user of how they were read.
///
/// # Errors
/// A log can't be read or holds no values.
pub fn read(args: &Plot) -> Result<(Vec<Run>, Vec<String>), Error> {
    if !args.labels.is_empty() && args.labels.len() != args.files.len() {
        let (labels, files) = (args.labels.len(), args.files.len());
        return Err(Error::Labels { labels, files });
    }
    let mut runs = Vec::new();
    let mut warnings = Vec::new();
    for (at, path) in args.files.iter().enumerate() {
        let mut log = Totals::read(path, args.select.tag.as_deref())?;
        warnings.extend(log.warning());
        log.tags.retain(|total| !total.histogram.is_empty());
        if log.tags.is_empty() {
            return Err(Error::Empty { path: path.clone(), tag: args.select.tag.clone() });
        }
        let label = args.labels.get(at).cloned().unwrap_or_else(|| stem(path));
        let mut moments = moments(path, &log.tags, args)?;
        for total in &log.tags {
            let name = match total.tag() {
                // A name that was chosen says enough for the one tag that was chosen.
                Some(tag) if log.tags.len() > 1 || args.labels.is_empty() => {
                    format!("{label} {tag}")
                }
                _ => label.clone(),
            };
            runs.push(Run {
                name,
                summary: Summary::of_unit(&total.histogram, args.select.unit),
                curve: curve(&total.histogram, args.select.unit.ns()),
                moments: moments.remove(&total.tag).unwrap_or_default(),
            });
        }
    }
    Ok((runs, warnings))
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// From the smallest value to where less than one value lies beyond.
fn curve(histogram: &Histogram<u64>, ns: f64) -> Vec<(f64, f64)> {
    let end = (histogram.len() as f64).log10();
    let points = (end * POINTS_PER_DECADE as f64).ceil() as usize;
    let mut curve: Vec<(f64, f64)> = (0..points)
        .map(|point| point as f64 / POINTS_PER_DECADE as f64)
        .map(|x| (x, quantile(histogram, 1.0 - 10f64.powf(-x)) * ns))
        .collect();
    curve.push((end, histogram.max() as f64 * ns));
    curve
}

/// Reads the log once more, now that its length is known: so that only what is drawn is kept.
fn moments(
    path: &Path,
    tags: &[Total],
    args: &Plot,
) -> Result<BTreeMap<Option<String>, Vec<Moment>>, Error> {
    let steps: BTreeMap<&Option<String>, (f64, f64)> =
        tags.iter().map(|total| (&total.tag, (total.from, step(total)))).collect();
    let mut found = BTreeMap::<Option<String>, BTreeMap<u64, (f64, Histogram<u64>)>>::new();
    for interval in LogReader::open(path)? {
        let (interval, histogram) = interval?;
        let Some((from, step)) = steps.get(&interval.tag) else { continue };
        if histogram.is_empty() {
            continue;
        }
        let middle = interval.offset + interval.length / 2.0;
        let slot = ((middle - from) / step).max(0.0) as u64;
        let slots = found.entry(interval.tag).or_default();
        match slots.get_mut(&slot) {
            Some((_, there)) => totals::add(there, &histogram),
            None => _ = slots.insert(slot, (middle, histogram)),
        }
    }
    let ns = args.select.unit.ns();
    let moment = |(at, histogram): (f64, Histogram<u64>)| Moment {
        at,
        p50_ns: quantile(&histogram, 0.5) * ns,
        p99_ns: quantile(&histogram, 0.99) * ns,
        max_ns: histogram.max() as f64 * ns,
    };
    Ok(found
        .into_iter()
        .map(|(tag, slots)| (tag, slots.into_values().map(moment).collect()))
        .collect())
}

/// Seconds from one moment to the next: an interval's length, or more if there are too many.
fn step(total: &Total) -> f64 {
    let step =
        (total.length / total.intervals as f64).max((total.until - total.from) / MOMENTS_MAX);
    if step > 0.0 { step } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_from_the_first_value_to_the_maximum() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        (1..=1000).for_each(|value| histogram.record(value).unwrap());
        let curve = curve(&histogram, 1e3);
        assert_eq!(curve.first(), Some(&(0.0, 1e3)));
        assert_eq!(curve.last(), Some(&(3.0, 1e6)));
        assert!(curve.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        // p90 is where the scale has its 1.
        assert!(curve.contains(&(1.0, 900e3)));
    }

    #[test]
    fn one_value_is_one_point() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        histogram.record(7).unwrap();
        assert_eq!(curve(&histogram, 1.0), [(0.0, 7.0)]);
    }
}
