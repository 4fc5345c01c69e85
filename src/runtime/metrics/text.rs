//! A page in the text format of Prometheus, version 0.0.4.
//!
//! Written by hand: all of the format that we need is these few lines, and a library for it wants
//! metrics of its own kind, with atomics or locks, where ours are plain integers of a shard.

use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::runtime::metrics::collect::{Page, Sample, Value};
use crate::runtime::metrics::families::{FAMILIES, Kind};

/// What the HTTP header says it is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of buckets: nanoseconds, and how they are written, in seconds.
const DURATION_BOUNDS: [(u64, &str); 24] = [
    (1_000, "1e-06"),
    (2_000, "2e-06"),
    (5_000, "5e-06"),
    (10_000, "1e-05"),
    (20_000, "2e-05"),
    (50_000, "5e-05"),
    (100_000, "0.0001"),
    (200_000, "0.0002"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_000_000, "0.002"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (20_000_000, "0.02"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (200_000_000, "0.2"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_000_000_000, "2"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
    (20_000_000_000, "20"),
    (60_000_000_000, "60"),
];

/// Upper bounds in bytes: a journal write has 4 KiB at least and 20 MiB at most.
const SIZE_BOUNDS: [(u64, &str); 14] = [
    (4 << 10, "4096"),
    (8 << 10, "8192"),
    (16 << 10, "16384"),
    (32 << 10, "32768"),
    (64 << 10, "65536"),
    (128 << 10, "131072"),
    (256 << 10, "262144"),
    (512 << 10, "524288"),
    (1 << 20, "1048576"),
    (2 << 20, "2097152"),
    (4 << 20, "4194304"),
    (8 << 20, "8388608"),
    (16 << 20, "16777216"),
    (32 << 20, "33554432"),
];

/// The page as text. Each family has its help and type, also if it has no sample now.
pub fn render(page: &Page) -> String {
    let mut text = String::with_capacity(64 << 10);
    for family in FAMILIES {
        let (name, kind) = (family.name, family.kind.name());
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", escape_help(family.help));
        for sample in page.of(family) {
            match &sample.value {
                Value::Number(number) => line(&mut text, sample, "", None, &number.to_string()),
                Value::Histogram(values) => match family.kind {
                    Kind::Sizes => histogram(&mut text, sample, values, &SIZE_BOUNDS, 1.0),
                    _ => histogram(&mut text, sample, values, &DURATION_BOUNDS, 1e-9),
                },
            }
        }
    }
    text
}

/// Cumulative buckets. Values lie within 1 % of where they were counted, so a bucket may hold a
/// few that are that much above its bound.
fn histogram(
    text: &mut String,
    sample: &Sample,
    values: &Histogram<u64>,
    bounds: &[(u64, &str)],
    unit: f64,
) {
    let mut counts = vec![0; bounds.len()];
    let (mut total, mut sum) = (0, 0.0);
    for step in values.iter_recorded() {
        let (value, count) = (step.value_iterated_to(), step.count_at_value());
        let lowest = values.lowest_equivalent(value);
        let bucket = bounds.partition_point(|(bound, _)| *bound < lowest);
        if let Some(bucket) = counts.get_mut(bucket) {
            *bucket += count;
        }
        total += count;
        sum += values.median_equivalent(value) as f64 * count as f64;
    }
    let mut below = 0;
    for (count, (_, bound)) in counts.iter().zip(bounds) {
        below += count;
        line(text, sample, "_bucket", Some(bound), &below.to_string());
    }
    line(text, sample, "_bucket", Some("+Inf"), &total.to_string());
    line(text, sample, "_sum", None, &(sum * unit).to_string());
    line(text, sample, "_count", None, &total.to_string());
}

fn line(text: &mut String, sample: &Sample, suffix: &str, le: Option<&str>, value: &str) {
    text.push_str(sample.family.name);
    text.push_str(suffix);
    let names = sample.family.labels.iter().copied();
    let labels = names.zip(sample.labels.iter().map(String::as_str)).chain(le.map(|le| ("le", le)));
    let mut opened = false;
    for (name, value) in labels {
        text.push(if opened { ',' } else { '{' });
        opened = true;
        let _ = write!(text, "{name}=\"{}\"", escape_label(value));
    }
    if opened {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

fn escape_label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn escape_help(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::metrics::families::{BUILD_INFO, ERRORS, STAGE, WRITE_BYTES};
    use crate::shard::metrics::{durations, sizes};

    #[test]
    fn numbers_have_their_labels_and_labels_are_escaped() {
        let mut page = Page::default();
        page.number(ERRORS, ["0", "Produce", "a\"b\\c\nd"], 3u64);
        page.number(BUILD_INFO, ["1.2", "5"], 1u64);
        let text = render(&page);
        let expected = "\nhutong_errors_total{shard=\"0\",api=\"Produce\",\
                        error=\"a\\\"b\\\\c\\nd\"} 3\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("\n# TYPE hutong_errors_total counter\n"));
        assert!(text.contains("\nhutong_build_info{version=\"1.2\",node=\"5\"} 1\n"));
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn buckets_are_cumulative_and_their_bounds_are_what_they_say() {
        for (nanos, text) in DURATION_BOUNDS {
            assert!((text.parse::<f64>().unwrap() * 1e9 - nanos as f64).abs() < 0.5, "{text}");
        }
        for (bytes, text) in SIZE_BOUNDS {
            assert_eq!(text.parse::<u64>().unwrap(), bytes);
        }
        let mut histogram = durations();
        histogram.saturating_record(0);
        histogram.saturating_record_n(1_500, 3);
        histogram.saturating_record(70_000_000_000);
        let mut page = Page::default();
        page.histogram(STAGE, ["0", "queue"], &histogram);
        let mut written = sizes();
        written.saturating_record_n(4096, 2);
        written.saturating_record(20 << 20);
        page.histogram(WRITE_BYTES, ["0"], &written);
        let text = render(&page);
        let has = |line: &str| assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
        has("hutong_stage_seconds_bucket{shard=\"0\",stage=\"queue\",le=\"1e-06\"} 1");
        has("hutong_stage_seconds_bucket{shard=\"0\",stage=\"queue\",le=\"2e-06\"} 4");
        has("hutong_stage_seconds_bucket{shard=\"0\",stage=\"queue\",le=\"20\"} 4");
        has("hutong_stage_seconds_bucket{shard=\"0\",stage=\"queue\",le=\"+Inf\"} 5");
        has("hutong_stage_seconds_count{shard=\"0\",stage=\"queue\"} 5");
        has("hutong_journal_write_size_bytes_bucket{shard=\"0\",le=\"4096\"} 2");
        has("hutong_journal_write_size_bytes_bucket{shard=\"0\",le=\"16777216\"} 2");
        has("hutong_journal_write_size_bytes_bucket{shard=\"0\",le=\"33554432\"} 3");
    }
}
