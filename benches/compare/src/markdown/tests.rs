//! Pages of made-up results, read line by line.

use std::collections::BTreeMap;

use clap::Parser;
use hutong_hist::summary::Summary as Percentiles;

use super::*;
use crate::args::Args;
use crate::host::Host;
use crate::results::{Described, Probe};

fn run(workload: &str, system: System, round: u32, rate: f64, tail_ns: f64) -> Run {
    let latency = Percentiles { count: 10, p50: 50_000.0, p99_99: tail_ns, ..Default::default() };
    let figures = Figures {
        requests_per_second: rate,
        produced_mb_per_second: rate / 1000.0,
        latency: BTreeMap::from([("produce".to_owned(), latency)]),
        ..Figures::default()
    };
    Run {
        workload: workload.into(),
        system: Some(system),
        round,
        command: "hutong-load produce --brokers 127.0.0.1:1234 --rate 1234567 --hlog a.hlog".into(),
        figures: Some(figures),
        other_cpus: 0.25,
        ..Run::default()
    }
}

fn results(only: &[&str], runs: Vec<Run>) -> Results {
    let only = only.iter().flat_map(|name| ["--only", name]);
    let args = Args::parse_from(["compare"].into_iter().chain(only));
    let described = |&system: &System| Described {
        system,
        version: "1".into(),
        command: "start".into(),
        settings: "a=b\n".into(),
    };
    Results {
        host: Host { date: "today".into(), lines: vec![("Kernel".into(), "6".into())] },
        systems: args.systems.iter().map(described).collect(),
        args,
        probes: vec![Probe {
            when: "before".into(),
            found: BTreeMap::from([("disk.write".to_owned(), "p50 1 us".to_owned())]),
        }],
        runs,
    }
}

fn three_rounds() -> Vec<Run> {
    let mut runs = Vec::new();
    for (system, rate, tail) in [
        (System::Hutong, 1_000_000.0, 1e6),
        (System::Kafka, 40_000.0, 20e6),
        (System::KafkaFlush, 8_000.0, 100e6),
    ] {
        for (round, factor) in [(1, 1.0), (2, 0.9), (3, 1.2)] {
            runs.push(run("single", system, round, rate * factor, tail * factor));
        }
    }
    runs
}

/// The line of a page that begins so, behind `after`.
fn line<'a>(page: &'a str, after: &str, begin: &str) -> &'a str {
    let (_, rest) = page.split_once(after).unwrap_or_else(|| panic!("no {after}: {page}"));
    rest.lines()
        .find(|line| line.starts_with(begin))
        .unwrap_or_else(|| panic!("no {begin}: {rest}"))
}

#[test]
fn tables_hold_medians_ranges_and_ratios() {
    let page = page(&results(&["single"], three_rounds()));
    let section = "### Single records, as fast as it goes";
    let hutong = line(&page, section, "| Hutong |");
    assert!(hutong.starts_with("| Hutong | 1,000,000 (900,000 to 1,200,000) | 1000.0 (900.0 to"));
    assert!(hutong.ends_with("| 1.00 ms (900 us to 1.20 ms) |"), "{hutong}");
    let ratio = line(&page, section, "| Hutong / Kafka |");
    assert!(ratio.starts_with("| Hutong / Kafka | 25.0x | 25.0x | 1.00x |"), "{ratio}");
    assert!(ratio.ends_with("| 0.050x |"), "{ratio}");
    let short = line(&page, "## In short", "| Single records");
    assert_eq!(
        short,
        "| Single records, as fast as it goes | 1,000,000 | 40,000 | 25.0x | 8,000 | 125x |"
    );
    assert!(page.contains("![latency](benchmarks/single.svg)"));
    assert!(page.contains("--brokers HOST:PORT --rate HALF --hlog FILE"));
    assert!(page.contains("took 0.25 CPUs"));
    assert!(page.contains("Hutong's rounds differ by 30 %"));
    assert!(page.contains("| `disk.write` | p50 1 us |"));
}

#[test]
fn what_failed_is_written_down_with_its_reason() {
    let mut runs = three_rounds();
    runs.retain(|run| run.system != Some(System::KafkaFlush));
    let failed = Run {
        workload: "single".into(),
        system: Some(System::KafkaFlush),
        round: 1,
        failures: vec!["the rate was\nnot held | `x`".into()],
        errors: BTreeMap::from([("REQUEST_TIMED_OUT".to_owned(), 1234)]),
        ..Run::default()
    };
    runs.push(failed);
    let page = page(&results(&["single"], runs));
    let section = "### Single records, as fast as it goes";
    let flushing = line(&page, section, "| Kafka, flushing |");
    assert!(flushing.starts_with("| Kafka, flushing | failed | failed |"), "{flushing}");
    let ratio = line(&page, section, "| Hutong / Kafka, flushing |");
    assert!(ratio.starts_with("| Hutong / Kafka, flushing | - | - |"), "{ratio}");
    let why = line(&page, section, "- Kafka, flushing, round 1, **failed**");
    assert!(why.ends_with(": the rate was not held / 'x'"), "{why}");
    assert!(page.contains("- Kafka, flushing, round 1: REQUEST_TIMED_OUT, 1,234 times"));
    assert!(line(&page, "## In short", "| Single").contains("| failed | - |"));
}

#[test]
fn raw_results_survive_being_written_down() {
    let before = results(&["single"], three_rounds());
    let after: Results = serde_json::from_str(&crate::to_json(&before)).unwrap();
    assert_eq!(page(&after), page(&before));
    assert_eq!(after.runs.len(), 9);
}
