//! The program as people and scripts meet it: what it prints, its sentences, its exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hutong_hist::log::{LogReader, LogWriter};
use serde_json::Value;
use tempfile::TempDir;

fn hist(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hutong-hist")).args(args).output().unwrap()
}

/// What it prints when it succeeds.
fn prints(args: &[&str]) -> String {
    let output = hist(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Fails with code 1, nothing on standard output, and one line that has all of this.
fn assert_sentence(args: &[&str], parts: &[&str]) {
    let output = hist(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {error}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(error.starts_with("hutong-hist: "), "{args:?}: {error}");
    assert_eq!(error.matches('\n').count(), 1, "{args:?}: {error}");
    for part in parts {
        assert!(error.contains(part), "{args:?}: {error}");
    }
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_string()
    }

    /// Writes a log with three intervals of each tag, `factor` times 1 us to 1 ms.
    fn log(&self, name: &str, start_s: u64, tags: &[Option<&str>], factor: u64) -> String {
        let start = UNIX_EPOCH + Duration::from_secs(1_700_000_000 + start_s);
        let mut log = LogWriter::create(&self.path(name), start).unwrap();
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        (1..=1000).for_each(|us| histogram.record(us * 1000 * factor).unwrap());
        for second in 0..3 {
            for tag in tags {
                let since = Duration::from_secs(second);
                log.write(*tag, since, Duration::from_secs(1), &histogram).unwrap();
            }
        }
        self.name(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), text).unwrap();
        self.name(name)
    }
}

/// Tags and counts of all intervals with their offsets.
fn intervals(path: &str) -> Vec<(Option<String>, f64, u64)> {
    let log = LogReader::open(Path::new(path)).unwrap();
    log.map(Result::unwrap).map(|(i, h)| (i.tag, i.offset, h.len())).collect()
}

#[test]
fn each_command_has_help_with_an_example() {
    for command in ["show", "merge", "diff", "plot"] {
        let help = prints(&[command, "--help"]);
        assert!(help.contains(&format!("\n  hutong-hist {command} ")), "{help}");
    }
}

#[test]
fn show_prints_each_tag() {
    let folder = Folder::new();
    let log = folder.log("a.hlog", 0, &[Some("e2e"), Some("produce")], 1);
    let text = prints(&["show", &log]);
    assert!(text.contains(", e2e: 3 intervals in 3.00 s\n"), "{text}");
    assert!(text.contains(", produce: 3 intervals in 3.00 s\n"), "{text}");
    assert!(text.contains("\n  count           3,000\n"), "{text}");
    assert!(text.contains("\n  p50            500 us\n"), "{text}");
    assert!(text.contains("\n  p99.99        1.00 ms  too few values: the maximum\n"), "{text}");
    assert!(text.contains('█'), "{text}");
    let one = prints(&["show", &log, "--tag", "e2e", "--unit", "us"]);
    assert!(!one.contains("produce") && one.contains("\n  p50            500 ms\n"), "{one}");
}

#[test]
fn show_writes_json_in_nanoseconds() {
    let folder = Folder::new();
    let log = folder.log("a.hlog", 0, &[None], 1);
    let json: Value = serde_json::from_str(&prints(&["show", "--json", &log])).unwrap();
    let run = &json[0]["tags"][0];
    assert_eq!((&json[0]["file"], &run["tag"]), (&Value::from(log), &Value::Null));
    assert_eq!((&run["count"], &run["intervals"]), (&3000.into(), &3.into()));
    let p90 = run["p90_ns"].as_f64().unwrap();
    assert!((p90 - 900_000.0).abs() < 900.0, "{p90}");
}

#[test]
fn a_torn_log_is_used_with_a_warning() {
    let folder = Folder::new();
    let log = folder.log("a.hlog", 0, &[Some("produce")], 1);
    let whole = fs::read(&log).unwrap();
    fs::write(&log, &whole[..whole.len() - 20]).unwrap();
    let merged = folder.name("m.hlog");
    let picture = folder.name("p.svg");
    let commands: [&[&str]; 4] = [
        &["show", &log],
        &["merge", &log, "-o", &merged],
        &["diff", &log, &merged],
        &["plot", &log, "-o", &picture],
    ];
    for command in commands {
        let output = hist(command);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}: {error}");
        assert_eq!(error.matches('\n').count(), 1, "{command:?}: {error}");
        assert!(error.starts_with("hutong-hist: warning: "), "{error}");
        assert!(error.contains("a.hlog, line 7: the last line is broken off"), "{error}");
    }
    assert_eq!(intervals(&merged).len(), 2);
}

#[test]
fn what_is_wrong_is_one_sentence() {
    let folder = Folder::new();
    let good = folder.log("good.hlog", 0, &[Some("produce"), Some("e2e")], 1);
    let other = folder.log("other.hlog", 0, &[Some("x"), Some("y")], 1);
    let text = fs::read_to_string(&good).unwrap();
    let broken = folder.write("broken.hlog", text.replacen("HISTF", "HOSTF", 1));
    let empty = folder.write("empty.hlog", "#[Histogram log format version 1.3]\n");
    let (missing, svg) = (folder.name("no/a.hlog"), folder.name("p.svg"));
    let away = folder.name("no/p.svg");
    assert_sentence(&["show", &missing], &["no/a.hlog", "there is no such file"]);
    assert_sentence(&["show", &folder.name("")], &["it is a folder"]);
    for command in [&["show", &broken][..], &["diff", &good, &broken]] {
        assert_sentence(command, &["broken.hlog, line 5: ", "V2 histogram"]);
    }
    assert_sentence(&["show", &good, "--tag", "z"], &["no tag \"z\"; it has e2e, produce"]);
    assert_sentence(&["diff", &good, &other], &["no tag in common", "--tag"]);
    assert_sentence(&["diff", &good, &empty], &["empty.hlog holds no values"]);
    assert_sentence(&["plot", &good, &empty, "-o", &svg], &["empty.hlog holds no values"]);
    assert_sentence(&["plot", &good, "-o", &away], &["no/p.svg", "there is no such folder"]);
    assert_sentence(&["plot", &good, "--label", "a", "--label", "b", "-o", &svg], &["2 labels"]);
    let many = [&["plot", "-o", &svg][..], &[&good[..]; 5]].concat();
    assert_sentence(&many, &["10 runs are too many", "--tag"]);
    assert!(!folder.path("p.svg").exists());
    assert_sentence(&["merge", &good, "-o", &good], &["good.hlog is to be read and to be written"]);
    assert_sentence(&["merge", &empty, "-o", &other], &["empty.hlog holds no values"]);
    assert_sentence(&["merge", &good, "-o", "/dev/full"], &["/dev/full", "the disk is full"]);
    assert_eq!(intervals(&other).len(), 6, "a failed merge leaves what was there");
    assert_eq!(prints(&["show", &empty]), format!("{empty}: no intervals\n"));
}

#[test]
fn a_wrong_command_line_is_code_2() {
    let wrong: [&[&str]; 5] = [
        &[],
        &["show"],
        &["show", "a", "--unit", "hours"],
        &["plot", "a", "-o", "p.gif"],
        &["merge", "a"],
    ];
    for args in wrong {
        assert_eq!(hist(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn merge_keeps_intervals_in_order_of_time() {
    let folder = Folder::new();
    let late = folder.log("late.hlog", 10, &[Some("a")], 1);
    let early = folder.log("early.hlog", 0, &[Some("a"), None], 5);
    let out = folder.name("out.hlog");
    let said = prints(&["merge", &late, &early, "-o", &out]);
    assert_eq!(said, format!("{out}: 9 intervals of 2 logs\n"));
    let offsets: Vec<f64> = intervals(&out).iter().map(|(_, offset, _)| *offset).collect();
    assert_eq!(offsets, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 10.0, 11.0, 12.0]);
}

#[test]
fn merge_by_tag_adds_all_of_a_tag() {
    let folder = Folder::new();
    let late = folder.log("late.hlog", 10, &[Some("a")], 1);
    let early = folder.log("early.hlog", 0, &[Some("a"), None], 5);
    let out = folder.name("out.hlog");
    prints(&["merge", "--by-tag", &late, &early, "-o", &out]);
    assert_eq!(intervals(&out), [(None, 0.0, 3000), (Some("a".to_string()), 0.0, 6000)]);
    let text = prints(&["show", "--tag", "a", &out]);
    assert!(text.contains("1 interval in 13.0 s"), "{text}");
    assert!(text.contains("\n  max           5.00 ms\n"), "{text}");
}

#[test]
fn diff_has_ratios_of_b_to_a() {
    let folder = Folder::new();
    let a = folder.log("a.hlog", 0, &[Some("produce"), Some("e2e")], 1);
    let b = folder.log("b.hlog", 0, &[Some("produce")], 4);
    let output = hist(&["diff", &a, &b]);
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap().split_whitespace().map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(row("count"), ["count", "3,000", "3,000", "1.00x"]);
    assert_eq!(row("p50"), ["p50", "500", "us", "2.00", "ms", "4.00x"]);
    assert_eq!(row("max"), ["max", "1.00", "ms", "4.00", "ms", "4.00x"]);
    let aside = String::from_utf8(output.stderr).unwrap();
    assert!(aside.contains("a.hlog has e2e") && aside.contains("left out"), "{aside}");
    let json: Value = serde_json::from_str(&prints(&["diff", "--json", &a, &b])).unwrap();
    let ratio = json[0]["ratio"]["p99"].as_f64().unwrap();
    assert!((ratio - 4.0).abs() < 0.01, "{ratio}");
}

#[test]
fn a_picture_is_xml_with_each_runs_name() {
    let folder = Folder::new();
    let a = folder.log("a.hlog", 0, &[Some("produce"), Some("e2e")], 1);
    let b = folder.log("b.hlog", 5, &[None], 4);
    let svg = folder.name("p.svg");
    let said = prints(&[
        "plot",
        &a,
        &b,
        "-o",
        &svg,
        "--label",
        "老张 <&>",
        "--label",
        "li",
        "--title",
        "A \"t\"",
    ]);
    assert_eq!(said, format!("{svg}: 3 runs\n"));
    let text = fs::read_to_string(&svg).unwrap();
    let picture = roxmltree::Document::parse(&text).unwrap();
    let words: Vec<&str> = picture
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .filter_map(|node| node.text())
        .collect();
    for word in ["A \"t\"", "老张 <&> produce", "老张 <&> e2e", "li", "99.9 %", "1.0 s", "3,000"]
    {
        assert!(words.contains(&word), "{word} is not among {words:?}");
    }
    assert!(text.contains("prefers-color-scheme: dark"));
    for theme in ["light", "dark"] {
        prints(&["plot", &a, "-o", &svg, "--theme", theme]);
        assert!(!fs::read_to_string(&svg).unwrap().contains("prefers-color-scheme"), "{theme}");
    }
}

#[test]
fn a_png_has_letters_and_its_theme() {
    let folder = Folder::new();
    let log = folder.log("a.hlog", 0, &[None], 1);
    let png = folder.name("p.png");
    let sized = |title: &str, theme: &str| {
        prints(&["plot", &log, "-o", &png, "--title", title, "--theme", theme]);
        let bytes = fs::read(&png).unwrap();
        assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
        bytes
    };
    let light = sized("A title", "light");
    assert_eq!(light, sized("A title", "auto"), "auto is light");
    assert_ne!(light, sized("A title", "dark"));
    assert_ne!(light, sized("Other words", "light"), "the title is drawn");
}

#[test]
fn one_value_can_be_shown_and_drawn() {
    let folder = Folder::new();
    let mut log = LogWriter::create(&folder.path("one.hlog"), UNIX_EPOCH).unwrap();
    let mut histogram = Histogram::<u64>::new_with_bounds(1, u64::MAX, 3).unwrap();
    histogram.record(0).unwrap();
    log.write(None, Duration::ZERO, Duration::ZERO, &histogram).unwrap();
    let log = folder.name("one.hlog");
    let text = prints(&["show", &log]);
    assert!(text.contains("\n  max              0 ns\n"), "{text}");
    for picture in ["p.svg", "p.png"] {
        prints(&["plot", &log, "-o", &folder.name(picture)]);
    }
}
