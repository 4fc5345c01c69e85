//! Puts together what the workers tell, and shows it while it happens.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stderr};
use std::sync::mpsc::Receiver;

use super::summary::{Description, Summary};
use super::{Interval, Report, Span};
use crate::output::IntervalLog;

/// Intervals of one end, of the workers that have told theirs.
#[derive(Default)]
struct Gathering {
    told: usize,
    sum: Interval,
}

/// Listens to `workers` workers until all are done.
///
/// # Errors
/// A sentence: the interval log can't be written. The run is over then.
pub fn collect(
    description: Description,
    span: Span,
    workers: usize,
    log: Option<IntervalLog>,
    inbox: &Receiver<Report>,
) -> anyhow::Result<Summary> {
    let mut collector = Collector {
        span,
        workers,
        log,
        gathering: BTreeMap::new(),
        total: Interval::default(),
        after_end: Interval::default(),
        show: stderr().is_terminal(),
    };
    let (mut done, mut sent_until, mut failures) = (0, 0, Vec::new());
    while done < workers {
        // Workers hold the senders: an error means that they are gone without a word.
        match inbox.recv() {
            Ok(Report::Interval { end, interval }) => collector.take(end, &interval)?,
            Ok(Report::Done { sent_until: until }) => {
                done += 1;
                sent_until = sent_until.max(until);
            }
            Ok(Report::Failed { reason, sent_until: until }) => {
                done += 1;
                sent_until = sent_until.max(until);
                if !failures.contains(&reason) {
                    failures.push(reason);
                }
            }
            Err(_) => {
                failures.push("a thread of the generator ended without a word".into());
                break;
            }
        }
    }
    let total = collector.finish()?;
    let measured_nanos = sent_until.min(span.end()).saturating_sub(span.measure_from());
    Ok(Summary::new(description, total, measured_nanos, workers, failures))
}

struct Collector {
    span: Span,
    workers: usize,
    log: Option<IntervalLog>,
    gathering: BTreeMap<u64, Gathering>,
    /// All that was measured, and of that what came after the end.
    total: Interval,
    after_end: Interval,
    show: bool,
}

impl Collector {
    fn take(&mut self, end: u64, interval: &Interval) -> anyhow::Result<()> {
        let gathering = self.gathering.entry(end).or_default();
        gathering.told += 1;
        gathering.sum.add(interval);
        if gathering.told == self.workers {
            self.close(end)?;
        }
        Ok(())
    }

    /// Those of which some worker told nothing as well: it ended early.
    fn finish(mut self) -> anyhow::Result<super::summary::Total> {
        while let Some((&end, _)) = self.gathering.first_key_value() {
            self.close(end)?;
        }
        if self.show {
            eprint!("\r\x1b[K");
        }
        Ok(super::summary::Total { all: self.total, after_end: self.after_end })
    }

    fn close(&mut self, end: u64) -> anyhow::Result<()> {
        let Some(Gathering { sum, .. }) = self.gathering.remove(&end) else { return Ok(()) };
        if end <= self.span.measure_from() {
            self.progress("warming up", &sum, end);
            return Ok(());
        }
        self.total.add(&sum);
        if end > self.span.end() {
            self.after_end.add(&sum);
        }
        if let Some(log) = &mut self.log
            && !sum.latency.is_empty()
        {
            let begin = end.min(self.span.end() + self.span.interval) - self.span.interval;
            log.write(begin, self.span.interval, &sum.latency)?;
        }
        self.progress("", &sum, end);
        Ok(())
    }

    fn progress(&self, what: &str, sum: &Interval, end: u64) {
        if !self.show || end > self.span.end() {
            return;
        }
        let seconds = end.saturating_sub(self.span.measure_from()) / 1_000_000_000;
        let rate = sum.requests as f64 * 1e9 / self.span.interval as f64;
        let troubles: u64 = sum.troubles.values().sum();
        eprint!(
            "\r\x1b[K{seconds:>5} s  {what}{rate:.0} requests/s  p50 {}  p99 {}  errors {troubles}",
            crate::output::duration(sum.latency.value_at_quantile(0.5)),
            crate::output::duration(sum.latency.value_at_quantile(0.99)),
        );
    }
}
