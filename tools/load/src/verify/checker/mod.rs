//! Judges what was seen. Plain code: evidence in, findings out.
//!
//! The rules are those of Jepsen's workload for Kafka, cut to what this program does: it sends
//! without transactions, and its consumers keep their partitions. `docs/verify.md` tells them.
//!
//! Everything is compared with one read of the whole log, made when nothing moved any more: what
//! is in there, at which offset, is the truth. What producers were told and what consumers saw
//! earlier must agree with it.

mod cursor;
mod findings;
#[cfg(test)]
mod tests;

pub use findings::{Anomaly, Example, Findings, Found};

use super::evidence::{Partition, Told, View};
use super::runs::Run;
use cursor::Cursor;

/// What producers promised about sending again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Each record is there once and in order, however often it was sent.
    pub idempotent: bool,
}

/// Adds what is wrong with one partition.
pub fn check(partition: &Partition<'_>, rules: Rules, findings: &mut Findings) {
    let mut check = Check {
        partition,
        rules,
        seen: partition.told.iter().map(|told| Seen::new(told.given_out)).collect(),
        findings,
    };
    check.corrupt();
    check.log();
    check.acknowledged();
    for (consumer, live) in partition.live.iter().enumerate() {
        check.went_back(Some(consumer), live);
        check.agreed(consumer, live);
        check.skipped(consumer, live);
    }
    check.went_back(None, partition.at_rest);
}

struct Check<'a> {
    partition: &'a Partition<'a>,
    rules: Rules,
    /// By producer: which of its records are in the log.
    seen: Vec<Seen>,
    findings: &'a mut Findings,
}

/// One producer's records that have been met in the log.
struct Seen {
    bits: Vec<u64>,
    given_out: u64,
    /// The sequence after the highest.
    next: u64,
}

impl Seen {
    fn new(given_out: u64) -> Seen {
        Seen { bits: vec![0; given_out.div_ceil(64) as usize], given_out, next: 0 }
    }

    fn contains(&self, sequence: u64) -> bool {
        sequence < self.given_out && self.bits[sequence as usize / 64] >> (sequence % 64) & 1 == 1
    }

    fn insert(&mut self, sequence: u64) {
        self.bits[sequence as usize / 64] |= 1 << (sequence % 64);
        self.next = self.next.max(sequence + 1);
    }
}

impl Check<'_> {
    fn example(&self, run: Run, note: &str) -> Example {
        Example {
            partition: self.partition.number,
            producer: Some(run.producer),
            sequence: Some(run.sequence),
            offset: Some(run.offset),
            consumer: None,
            note: note.into(),
        }
    }

    /// An offset that anybody found damaged counts once.
    fn corrupt(&mut self) {
        let mut offsets = self.partition.at_rest.corrupt.clone();
        for range in self.partition.live.iter().flat_map(|live| live.corrupt.iter()) {
            offsets.insert(range);
        }
        for range in offsets.iter() {
            let partition = self.partition.number;
            let offset = Some(range.start as i64);
            self.findings.add(Anomaly::Corrupt, range.end - range.start, || Example {
                partition,
                offset,
                note: "its bytes are not those that were sent".into(),
                ..Example::default()
            });
        }
    }

    /// The log by itself: each record that was sent once, in order, and none that was refused.
    fn log(&mut self) {
        for run in self.partition.at_rest.records.iter() {
            for skip in 0..run.count {
                self.record(run.part(skip, 1));
            }
        }
    }

    fn record(&mut self, record: Run) {
        let Run { producer, sequence, .. } = record;
        let Some(told) = self.partition.told.get(producer as usize) else {
            let example = self.example(record, "there is no such producer");
            return self.findings.add(Anomaly::Invented, 1, || example);
        };
        if sequence >= told.given_out {
            let example = self.example(record, "it had not been sent");
            return self.findings.add(Anomaly::Invented, 1, || example);
        }
        let seen = &mut self.seen[producer as usize];
        let next = seen.next;
        if seen.contains(sequence) {
            if self.may_be_repeated(told, sequence) {
                self.findings.duplicated_by_retries += 1;
            } else {
                let example = self.example(record, "it was there before");
                self.findings.add(Anomaly::Duplicated, 1, || example);
            }
            return;
        }
        seen.insert(sequence);
        self.findings.there += 1;
        if told.unknown.contains(sequence) {
            self.findings.unknown_but_there += 1;
        }
        if sequence < next {
            if self.may_be_repeated(told, sequence) {
                self.findings.reordered_by_retries += 1;
            } else {
                let note = format!("it stands behind record {}", next - 1);
                let example = self.example(record, &note);
                self.findings.add(Anomaly::Reordered, 1, || example);
            }
        }
        if told.refused.contains(sequence) {
            let example = self.example(record, "the broker had refused it");
            self.findings.add(Anomaly::RefusedButThere, 1, || example);
        }
    }

    /// Without idempotence, what is sent again may be there twice, and behind what was sent later.
    fn may_be_repeated(&self, told: &Told, sequence: u64) -> bool {
        !self.rules.idempotent && told.resent.contains(sequence)
    }

    /// What was acknowledged is there, and where the acknowledgement said.
    fn acknowledged(&mut self) {
        let log = &self.partition.at_rest.records;
        for (producer, told) in (0..).zip(self.partition.told) {
            let mut cursor = Cursor::new(log);
            let mut acked = |run: Run| {
                let run = Run { producer, ..run };
                cursor.compare(run, |acked, there| {
                    if !there.is_some_and(|there| same(&there, &acked)) {
                        for skip in 0..acked.count {
                            let there = there.map(|there| there.part(skip, 1));
                            self.not_where_acknowledged(acked.part(skip, 1), there);
                        }
                    }
                });
            };
            if told.acked.is_ordered() {
                told.acked.iter().for_each(&mut acked);
            } else {
                let mut runs: Vec<Run> = told.acked.iter().collect();
                runs.sort_by_key(|run| run.offset);
                runs.into_iter().for_each(&mut acked);
            }
            for sequence in told.acked_somewhere.iter().flatten() {
                let run = Run { producer, sequence, offset: -1, count: 1 };
                if self.seen[producer as usize].contains(sequence) {
                    continue;
                }
                // It may be one of those that can't be read any more, which are counted as such.
                if self.partition.at_rest.corrupt.is_empty() {
                    let complete = self.partition.at_rest.complete;
                    let kind = if complete { Anomaly::Lost } else { Anomaly::Unchecked };
                    let note = "it was acknowledged without an offset";
                    let example = Example { offset: None, ..self.example(run, note) };
                    self.findings.add(kind, 1, || example);
                }
            }
        }
    }

    fn not_where_acknowledged(&mut self, acked: Run, there: Option<Run>) {
        let log = self.partition.at_rest;
        if self.seen[acked.producer as usize].contains(acked.sequence) {
            let example = self.example(acked, "it is at another offset than its acknowledgement");
            return self.findings.add(Anomaly::WrongOffset, 1, || example);
        }
        if log.corrupt.contains(acked.offset as u64) {
            return;
        }
        let (kind, note) = if acked.offset < log.from {
            (Anomaly::Trimmed, format!("the log begins at offset {} now", log.from))
        } else if acked.offset >= log.until && !log.complete {
            (Anomaly::Unchecked, format!("the last read ended at offset {}", log.until))
        } else {
            (Anomaly::Lost, instead(there, log.until, acked.offset))
        };
        let example = self.example(acked, &note);
        self.findings.add(kind, 1, || example);
    }

    /// What a consumer saw is still what is there.
    fn agreed(&mut self, consumer: usize, live: &View) {
        let log = self.partition.at_rest;
        let mut cursor = Cursor::new(&log.records);
        for run in live.records.iter() {
            cursor.compare(run, |saw, there| match there {
                Some(there) if same(&there, &saw) => {}
                Some(there) => {
                    let note = instead(Some(there), log.until, saw.offset);
                    let example = Example { consumer: Some(consumer), ..self.example(saw, &note) };
                    self.findings.add(Anomaly::Divergent, saw.count, || example);
                }
                None => {
                    for skip in 0..saw.count {
                        self.not_there_any_more(consumer, saw.part(skip, 1));
                    }
                }
            });
        }
    }

    fn not_there_any_more(&mut self, consumer: usize, saw: Run) {
        let log = self.partition.at_rest;
        let unread = saw.offset < log.from || (saw.offset >= log.until && !log.complete);
        if unread || log.corrupt.contains(saw.offset as u64) {
            return;
        }
        let note = instead(None, log.until, saw.offset);
        let example = Example { consumer: Some(consumer), ..self.example(saw, &note) };
        self.findings.add(Anomaly::Vanished, 1, || example);
    }

    /// What lies between the first and the last offset of a consumer was given to it.
    fn skipped(&mut self, consumer: usize, live: &View) {
        let mut cursor = Cursor::new(&live.records);
        for run in self.partition.at_rest.records.iter() {
            cursor.compare(run, |there, saw| {
                for skip in 0..if saw.is_none() { there.count } else { 0 } {
                    let record = there.part(skip, 1);
                    let offset = record.offset as u64;
                    let had_to = (live.from..live.until).contains(&record.offset)
                        && !live.trimmed.contains(offset)
                        && !live.corrupt.contains(offset);
                    if had_to {
                        let note = format!("consumer {consumer} read past it");
                        let example = self.example(record, &note);
                        self.findings.add(Anomaly::Skipped, 1, || example);
                    }
                }
            });
        }
    }

    fn went_back(&mut self, consumer: Option<usize>, view: &View) {
        for run in &view.backwards {
            let note = "it lies before the offset that was asked for";
            let example = Example { consumer, ..self.example(*run, note) };
            self.findings.add(Anomaly::WentBack, run.count, || example);
        }
    }
}

fn same(a: &Run, b: &Run) -> bool {
    (a.producer, a.sequence) == (b.producer, b.sequence)
}

fn instead(there: Option<Run>, until: i64, offset: i64) -> String {
    match there {
        Some(there) => {
            format!("producer {}'s record {} is there", there.producer, there.sequence)
        }
        None if offset >= until => format!("the log ends at offset {until}"),
        None => "nothing of this run is there".into(),
    }
}
