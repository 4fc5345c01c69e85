//! All intervals of a log as one histogram for each tag.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;

use crate::error::Error;
use crate::log::{Interval, LogReader};

/// A log, summed up.
pub struct Totals {
    pub path: PathBuf,
    /// In the order of their names; what has no tag comes first.
    pub tags: Vec<Total>,
    /// The last line, if it was broken off.
    pub torn: Option<u64>,
}

/// All intervals of one tag.
#[derive(Clone)]
pub struct Total {
    pub tag: Option<String>,
    pub histogram: Histogram<u64>,
    pub intervals: u64,
    /// From the beginning of the first interval, in seconds since the run began.
    pub from: f64,
    /// To the end of the last.
    pub until: f64,
    /// The sum of their lengths, in seconds.
    pub length: f64,
}

impl Totals {
    /// Reads a log: all of it, or one tag.
    ///
    /// # Errors
    /// It can't be read, or has no such tag.
    pub fn read(path: &Path, tag: Option<&str>) -> Result<Totals, Error> {
        let mut log = LogReader::open(path)?;
        let mut tags = BTreeMap::<Option<String>, Total>::new();
        for interval in &mut log {
            let (interval, histogram) = interval?;
            match tags.get_mut(&interval.tag) {
                Some(total) => total.add(&interval, &histogram),
                None => {
                    let total = Total::of(&interval, histogram);
                    tags.insert(interval.tag, total);
                }
            }
        }
        let mut tags: Vec<Total> = tags.into_values().collect();
        let there = names(&tags);
        if let Some(tag) = tag {
            tags.retain(|total| total.tag.as_deref() == Some(tag));
            if tags.is_empty() {
                let (path, tag) = (path.to_path_buf(), tag.to_string());
                return Err(Error::NoSuchTag { path, tag, there });
            }
        }
        Ok(Totals { path: path.to_path_buf(), tags, torn: log.torn() })
    }

    /// What to tell the user of how the log was read.
    pub fn warning(&self) -> Option<String> {
        self.torn.map(|line| torn_warning(&self.path, line))
    }

    /// The tags in words.
    pub fn names(&self) -> String {
        names(&self.tags)
    }
}

/// What to tell of a log whose last line, this one, is broken off.
pub fn torn_warning(path: &Path, line: u64) -> String {
    format!(
        "{}, line {line}: the last line is broken off, as when its writer was killed; \
         used what comes before",
        path.display()
    )
}

fn names(tags: &[Total]) -> String {
    if tags.is_empty() {
        return "no intervals".to_string();
    }
    tags.iter().map(Total::name).collect::<Vec<_>>().join(", ")
}

impl Total {
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The tag in words.
    pub fn name(&self) -> &str {
        self.tag().unwrap_or("intervals without a tag")
    }

    pub fn of(interval: &Interval, histogram: Histogram<u64>) -> Total {
        Total {
            tag: interval.tag.clone(),
            histogram,
            intervals: 1,
            from: interval.offset,
            until: interval.offset + interval.length,
            length: interval.length,
        }
    }

    pub fn add(&mut self, interval: &Interval, histogram: &Histogram<u64>) {
        add(&mut self.histogram, histogram);
        self.intervals += 1;
        self.from = self.from.min(interval.offset);
        self.until = self.until.max(interval.offset + interval.length);
        self.length += interval.length;
    }

    /// Adds another total of the same tag. Both count their time from one start.
    pub fn join(&mut self, other: &Total) {
        add(&mut self.histogram, &other.histogram);
        self.intervals += other.intervals;
        self.from = self.from.min(other.from);
        self.until = self.until.max(other.until);
        self.length += other.length;
    }
}

/// Adds what `from` counted. `to` grows to its range and its resolution if they are greater, so
/// nothing is lost.
pub fn add(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    let finer = from.sigfig() > to.sigfig() || from.low() < to.low();
    // A coarse bucket may reach beyond the range it belongs to.
    let high = from.high().max(from.max()).max(to.high()).max(to.max());
    if finer || high > to.high() {
        let low = to.low().min(from.low());
        let digits = to.sigfig().max(from.sigfig());
        // The one with the most digits was possible, and a lower low only makes it easier.
        let mut wider = Histogram::new_with_bounds(low, high, digits).expect("it is possible");
        absorb(&mut wider, to);
        *to = wider;
    }
    absorb(to, from);
}

/// Adds what fits. Where the range ends with 64 bits, the crate takes some values to lie beyond it
/// that it can record, and refuses before it changes anything.
fn absorb(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    if to.add(from).is_err() {
        for value in from.iter_recorded() {
            to.saturating_record_n(value.value_iterated_to(), value.count_at_value());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bounds() -> impl Strategy<Value = (u64, u64, u8)> {
        let high = prop_oneof![Just(u64::MAX), 100_000u64..10_000_000_000];
        (prop_oneof![Just(1u64), 1u64..10_000], high, 0u8..=4)
    }

    proptest! {
        #[test]
        fn merged_is_what_one_histogram_would_have_counted(
            values in prop::collection::vec((0u64..10_000_000_000, 0usize..5), 1..200)
        ) {
            let new = || Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
            let mut parts = vec![new(); 5];
            let mut all = new();
            for (value, part) in values {
                parts[part].record(value).unwrap();
                all.record(value).unwrap();
            }
            let mut merged = parts[0].clone();
            parts[1..].iter().for_each(|part| add(&mut merged, part));
            prop_assert_eq!(merged, all);
        }

        /// Whatever the ranges and digits: nothing is lost, and each percentile is as near as the
        /// coarser of the two tells it.
        #[test]
        fn histograms_of_any_shape_can_be_added(
            shapes in prop::collection::vec(
                (bounds(), prop::collection::vec(1u64..u64::MAX, 1..20)),
                1..5,
            )
        ) {
            let mut merged: Option<Histogram<u64>> = None;
            let mut count = 0;
            for ((low, high, digits), values) in shapes {
                let mut one = Histogram::new_with_bounds(low, high, digits).unwrap();
                for value in values {
                    one.saturating_record(value % high);
                    count += 1;
                }
                match &mut merged {
                    Some(merged) => add(merged, &one),
                    None => merged = Some(one),
                }
            }
            prop_assert_eq!(merged.unwrap().len(), count);
        }
    }

    #[test]
    fn the_finer_resolution_is_kept() {
        let mut coarse = Histogram::new_with_bounds(1_000, 1_000_000, 1).unwrap();
        let mut fine = Histogram::new_with_bounds(1, 10_000_000, 4).unwrap();
        coarse.record(500_000).unwrap();
        fine.record(9_123_456).unwrap();
        add(&mut coarse, &fine);
        assert_eq!((coarse.low(), coarse.high(), coarse.sigfig()), (1, 10_000_000, 4));
        assert!(coarse.equivalent(coarse.max(), 9_123_456));
        assert_eq!(coarse.count_at(9_123_456), 1);
    }
}
