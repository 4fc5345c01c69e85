//! Logs as others write them, and broken in each way.

use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::{Serializer, V2DeflateSerializer, V2Serializer};
use proptest::prelude::*;

use super::*;
use crate::log::{LEGEND, LogWriter};

fn histogram(values: &[u64]) -> Histogram<u64> {
    let mut histogram = Histogram::new(3).unwrap();
    values.iter().for_each(|value| histogram.record(*value).unwrap());
    histogram
}

fn compressed(values: &[u64]) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(&histogram(values), &mut bytes).unwrap();
    STANDARD.encode(bytes)
}

fn uncompressed(values: &[u64]) -> String {
    STANDARD.encode(uncompressed_bytes(values))
}

fn uncompressed_bytes(values: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(&histogram(values), &mut bytes).unwrap();
    bytes
}

fn reader(text: &str) -> LogReader<&[u8]> {
    LogReader::new(Path::new("test.hlog"), text.as_bytes())
}

fn read(text: &str) -> Vec<Interval> {
    reader(text).map(Result::unwrap).collect()
}

/// The error that ends this log.
fn error(text: &str) -> String {
    reader(text).find_map(Result::err).expect("it is broken").to_string()
}

#[test]
fn a_log_of_the_java_writer() {
    let text = format!(
        "#[Logged with jHiccup 2.0.6]\n#[Histogram log format version 1.2]\n\
         #[StartTime: 1441812279.474 (seconds since epoch), Wed Sep 09 08:24:39 PDT 2015]\n\
         {LEGEND}\n0.127,1.007,2.769,{}\nTag=A,1.134,0.999,0.442,{}\n",
        compressed(&[1_000, 2_769_000]),
        uncompressed(&[442_000]),
    );
    let intervals = read(&text);
    assert_eq!(intervals.len(), 2);
    let first = &intervals[0];
    assert_eq!((first.line, first.tag.as_deref()), (5, None));
    assert!((first.start - 1_441_812_279.601).abs() < 1e-5);
    assert!((first.offset - 0.127).abs() < 1e-5);
    assert_eq!((first.length, first.max_column), (1.007, 2.769));
    assert_eq!(first.histogram, histogram(&[1_000, 2_769_000]));
    assert_eq!(intervals[1].tag.as_deref(), Some("A"));
    assert_eq!(intervals[1].histogram, histogram(&[442_000]));
}

#[test]
fn starts_are_since_base_start_or_epoch() {
    let h = compressed(&[1]);
    let cases = [
        // Since the epoch, no header at all.
        (String::new(), "1500000000.5", 1_500_000_000.5, 0.0),
        // The start time is so near that it is no base.
        ("#[StartTime: 1500000000.000 (s)]\n".into(), "1500000002.0", 1_500_000_002.0, 2.0),
        ("#[StartTime: 1500000000.000 (s)]\n".into(), "2.0", 1_500_000_002.0, 2.0),
        ("#[BaseTime: 1500000000.000 (s)]\n".into(), "2.0", 1_500_000_002.0, 0.0),
        (
            "#[StartTime: 1500000000.0 (s)]\n#[BaseTime: 1500003600 (s)]\n".into(),
            "2.0",
            1_500_003_602.0,
            3_602.0,
        ),
        // Nothing tells the time.
        (String::new(), "2", 2.0, 0.0),
    ];
    for (header, start, expected, offset) in cases {
        let text = format!("{header}{start},1,1,{h}\n");
        let mut log = reader(&text);
        let interval = log.next().unwrap().unwrap();
        assert_eq!((interval.start, interval.offset), (expected, offset), "{header}{start}");
        assert_eq!(log.run_start().is_some(), expected > 1e9);
    }
}

#[test]
fn what_says_nothing_is_skipped() {
    let h = compressed(&[1]);
    let text = format!("\u{feff}# hi\r\n\r\n{LEGEND}\r\n   \n0.000,1.000,1.0,{h}\r\n#the end");
    assert_eq!(read(&text).len(), 1);
    assert_eq!(read("").len(), 0);
    assert_eq!(read("#[Histogram log format version 1.3]\n").len(), 0);
}

#[test]
fn a_torn_last_line_is_told_and_the_rest_kept() {
    let line = format!("Tag=a,0.000,1.000,1.0,{}\n", compressed(&[1, 2, 3]));
    for cut in 1..line.len() - 1 {
        let text = format!("{line}{}", &line[..cut]);
        let mut log = reader(&text);
        assert!(log.next().unwrap().is_ok());
        assert!(log.next().is_none(), "{cut} bytes of a line passed for one");
        assert_eq!(log.torn(), Some(2), "{cut}");
        assert!(log.next().is_none());
    }
    // All but its line end is there.
    let mut log = reader(line.trim_end());
    assert!(log.next().unwrap().is_ok());
    assert!(log.next().is_none());
    assert_eq!(log.torn(), None);
}

#[test]
fn broken_lines_are_named() {
    let h = compressed(&[1, 2, 3]);
    let good = format!("0,1,1,{h}\n");
    let cases = [
        ("hello\n".to_string(), "it is no interval"),
        ("Tag=a\n".into(), "it is no interval"),
        (format!("0,1,{h}\n"), "it is no interval"),
        (format!("x,1,1,{h}\n"), "its start \"x\" is no number"),
        (format!("0,inf,1,{h}\n"), "its length \"inf\" is no number"),
        (format!("0,-1,1,{h}\n"), "below 0"),
        (format!("0,1,max,{h}\n"), "its largest value \"max\" is no number"),
        ("0,1,1,!!!!\n".into(), "its base64"),
        (format!("0,1,1,{}\n", &h[..h.len() - 8]), "cut off"),
        ("0,1,1,\n".into(), "cut off"),
        (format!("0,1,1,{}\n", STANDARD.encode([0x1c, 0x84, 0x93, 0x01])), "V0 or V1"),
        (format!("0,1,1,{}\n", STANDARD.encode([0x0c, 0x72, 0x12, 0x4f])), "doubles"),
        (format!("0,1,1,{}\n", STANDARD.encode([0; 40])), "something else than a V2 histogram"),
        ("#[StartTime: soon]\n".into(), "its StartTime header's time \"soon\""),
    ];
    for (line, why) in cases {
        let text = format!("{good}{line}{good}");
        let error = error(&text);
        assert!(error.starts_with("test.hlog, line 2: "), "{error}");
        assert!(error.contains(why), "{line}: {error}");
    }
    let mut log = LogReader::new(Path::new("a.png"), &b"\x89PNG\xff\n"[..]);
    let error = log.next().unwrap().unwrap_err().to_string();
    assert_eq!(error, "a.png, line 1: it is not text; is this an .hlog?");
}

#[test]
fn a_header_that_lies_is_found_out() {
    let honest = uncompressed_bytes(&[1, 2, 3]);
    let lie = |at: usize, bytes: &[u8]| {
        let mut lying = honest.clone();
        lying[at..at + bytes.len()].copy_from_slice(bytes);
        error(&format!("0,1,1,{}\n", STANDARD.encode(lying)))
    };
    assert!(lie(4, &[0xff; 4]).contains("length is not that of its header"));
    assert!(lie(8, &[0, 0, 0, 1]).contains("shifted"));
    assert!(lie(12, &[0, 0, 0, 99]).contains("number of digits"));
    assert!(lie(16, &[0xff; 8]).contains("range"));
    assert!(lie(32, &[0; 8]).contains("doubles"));
    let mut long = honest.clone();
    long[7] += 9;
    long.extend([0xff; 9]);
    let text = format!("0,1,1,{}\n", STANDARD.encode(long));
    assert!(error(&text).contains("a count that can't be"));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        runs in prop::collection::vec(
            (prop::option::of("[a-z0-9_.-]{1,12}"), 0u32..100_000, 0u32..10_000,
             prop::collection::vec(1u64..10_000_000_000, 0..50)),
            0..8,
        )
    ) {
        let mut out = Vec::new();
        let start = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut log = LogWriter::new(Path::new("test.hlog"), &mut out, start).unwrap();
        for (tag, since, length, values) in &runs {
            let (since, length) = (*since, *length);
            let times = [since, length].map(|ms| Duration::from_millis(ms.into()));
            log.write(tag.as_deref(), times[0], times[1], &histogram(values)).unwrap();
        }
        let back = read(std::str::from_utf8(&out).unwrap());
        prop_assert_eq!(back.len(), runs.len());
        for (interval, (tag, since, length, values)) in back.iter().zip(&runs) {
            prop_assert_eq!(&interval.tag, tag);
            prop_assert!((interval.offset - f64::from(*since) / 1e3).abs() < 1e-6);
            prop_assert!((interval.length - f64::from(*length) / 1e3).abs() < 1e-6);
            prop_assert_eq!(&interval.histogram, &histogram(values));
        }
    }

    /// Whatever bytes stand where a histogram should: an answer or an error, and no panic.
    #[test]
    fn no_bytes_break_the_reader(
        mut bytes in prop::collection::vec(any::<u8>(), 0..80),
        at in 0usize..200,
        keep in any::<bool>(),
    ) {
        if keep {
            let mut honest = uncompressed_bytes(&[1, 1_000, 1_000_000]);
            let at = at % honest.len();
            let until = honest.len().min(at + bytes.len());
            honest[at..until].copy_from_slice(&bytes[..until - at]);
            let counts = (honest.len() - 40) as u32;
            honest[4..8].copy_from_slice(&counts.to_be_bytes());
            bytes = honest;
        }
        let text = format!("0,1,1,{}\n", STANDARD.encode(&bytes));
        let _ = reader(&text).count();
    }
}
