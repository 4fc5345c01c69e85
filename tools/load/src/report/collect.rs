//! Puts together what the workers tell, and shows it while it happens.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use hutong_hist::summary::Summary as Percentiles;
use hutong_hist::units::{count, duration};

use super::log::IntervalLog;
use super::summary::{Description, Summary, Total};
use super::{Interval, Kind, Report, Span};

/// Intervals of one end, of the workers that have told theirs.
#[derive(Default)]
struct Gathering {
    told: usize,
    sum: Interval,
}

/// A run that is under way.
pub struct Run {
    pub description: Description,
    pub span: Span,
    pub workers: usize,
    pub log: Option<IntervalLog>,
    /// Ends the workers.
    pub stop: Arc<AtomicBool>,
    pub inbox: Receiver<Report>,
}

/// Listens to the workers until all are done.
pub fn collect(run: Run) -> Summary {
    let Run { description, span, workers, log, stop, inbox } = run;
    let mut collector = Collector {
        span,
        workers,
        log,
        stop,
        gathering: BTreeMap::new(),
        last_end: 0,
        total: Interval::default(),
        after_end: Interval::default(),
        failures: Vec::new(),
        show: stderr().is_terminal(),
    };
    let (mut done, mut sent_until) = (0, 0);
    while done < workers {
        // Workers hold the senders: an error means that they are gone without a word.
        let until = match inbox.recv() {
            Ok(Report::Interval { end, interval }) => {
                collector.take(end, &interval);
                continue;
            }
            Ok(Report::Done { sent_until }) => sent_until,
            Ok(Report::Failed { reason, sent_until }) => {
                collector.fail(reason);
                sent_until
            }
            Err(_) => {
                collector.fail("a thread of the generator ended without a word".into());
                break;
            }
        };
        done += 1;
        sent_until = sent_until.max(until);
    }
    let (total, failures) = collector.finish();
    let measured_nanos = sent_until.min(span.end()).saturating_sub(span.measure_from());
    Summary::new(description, total, span.begin(), measured_nanos, workers, failures)
}

struct Collector {
    span: Span,
    workers: usize,
    log: Option<IntervalLog>,
    stop: Arc<AtomicBool>,
    gathering: BTreeMap<u64, Gathering>,
    /// Of the interval that was closed last.
    last_end: u64,
    /// All that was measured, and of that what came after the end.
    total: Interval,
    after_end: Interval,
    failures: Vec<String>,
    show: bool,
}

impl Collector {
    fn take(&mut self, end: u64, interval: &Interval) {
        let gathering = self.gathering.entry(end).or_default();
        gathering.told += 1;
        gathering.sum.add(interval);
        if gathering.told == self.workers {
            self.close(end);
        }
    }

    /// Nothing that follows would be worth having: the others are told to end as well.
    fn fail(&mut self, reason: String) {
        self.stop.store(true, Ordering::Relaxed);
        if !self.failures.contains(&reason) {
            self.failures.push(reason);
        }
    }

    /// Intervals of which some worker told nothing count as well: it ended early.
    fn finish(mut self) -> (Total, Vec<String>) {
        while let Some((&end, _)) = self.gathering.first_key_value() {
            self.close(end);
        }
        if self.show {
            eprint!("\r\x1b[K");
        }
        (Total { all: self.total, after_end: self.after_end }, self.failures)
    }

    fn close(&mut self, end: u64) {
        let Some(Gathering { sum, .. }) = self.gathering.remove(&end) else { return };
        if end > self.span.measure_from() {
            self.total.add(&sum);
            if end > self.span.end() {
                self.after_end.add(&sum);
            }
            let times = self.span.measured(end, self.last_end);
            if let Some(log) = &mut self.log
                && let Err(error) = log.write(times, &sum)
            {
                self.log = None;
                self.fail(error.to_string());
            }
        }
        if self.show && end <= self.span.end() {
            eprint!("\r\x1b[K{}", self.progress(end, &sum));
        }
        self.last_end = end;
    }

    fn progress(&self, end: u64, sum: &Interval) -> String {
        let span = &self.span;
        let (what, seconds) = if end <= span.measure_from() {
            ("warmed up", (span.measure_from() - span.begin()) as f64 / 1e9)
        } else {
            ("", span.measured(end, self.last_end).1.as_secs_f64())
        };
        let after = end.saturating_sub(span.measure_from()) / 1_000_000_000;
        let mut line = format!("{after:>5} s  {what}");
        for (name, flow) in [("produced", sum.produced), ("consumed", sum.consumed)] {
            if flow.records > 0 {
                let rate = count((flow.records as f64 / seconds) as u64);
                line.push_str(&format!("  {name} {rate} records/s"));
            }
        }
        for kind in Kind::ALL {
            if let Some(histogram) = sum.latency(kind) {
                let shown = Percentiles::of(histogram);
                let (p50, p99) = (duration(shown.p50), duration(shown.p99));
                line.push_str(&format!("  {} p50 {p50} p99 {p99}", kind.tag()));
            }
        }
        let troubles: u64 = sum.troubles.values().sum();
        line + &format!("  errors {}", count(troubles))
    }
}
