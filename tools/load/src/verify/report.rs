//! The result, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::checker::{Anomaly, Findings, Found};
use super::evidence::{Told, View};
use crate::output::count;

/// What a run has found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub topic: String,
    /// The random number in this run's records.
    pub run: String,
    pub partitions: usize,
    pub producers: usize,
    pub consumers: usize,
    pub idempotent: bool,
    /// Records that were made.
    pub sent: u64,
    pub acknowledged: u64,
    /// Without an outcome: given up, or not asked for.
    pub unknown: u64,
    /// Of those, how many are there.
    pub unknown_but_there: u64,
    /// For good.
    pub refused: u64,
    /// Records that were sent more than once.
    pub resent: u64,
    /// How often an idempotent producer was no longer known and began anew.
    pub new_epochs: u64,
    /// Records of this run that the last read found, duplicates not counted.
    pub read: u64,
    /// Records that consumers read meanwhile, of all consumers together.
    pub read_live: u64,
    /// Records in the topic that this run did not send.
    pub foreign: u64,
    /// Allowed without idempotence.
    pub duplicated_by_retries: u64,
    /// Allowed without idempotence.
    pub reordered_by_retries: u64,
    /// By name, everything that can be wrong.
    pub anomalies: BTreeMap<Anomaly, Found>,
    /// Why the run proves nothing, whatever was found.
    pub failures: Vec<String>,
}

/// What a report begins with.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    pub topic: String,
    pub run: u64,
    pub idempotent: bool,
    pub answers_asked_for: bool,
}

impl Report {
    /// A report without findings; `told` is by producer and partition.
    pub fn new(setting: &Setting, told: &[Vec<Told>]) -> Report {
        let sum = |of: fn(&Told) -> u64| told.iter().flatten().map(of).sum::<u64>();
        let mut report = Report {
            topic: setting.topic.clone(),
            run: format!("{:016x}", setting.run),
            partitions: told.first().map_or(0, Vec::len),
            producers: told.len(),
            consumers: 0,
            idempotent: setting.idempotent,
            sent: sum(|told| told.given_out),
            acknowledged: sum(|told| told.acked.records() + told.acked_somewhere.len()),
            unknown: sum(|told| told.unknown.len()),
            unknown_but_there: 0,
            refused: sum(|told| told.refused.len()),
            resent: sum(|told| told.resent.len()),
            new_epochs: sum(|told| told.new_epochs),
            read: 0,
            read_live: 0,
            foreign: 0,
            duplicated_by_retries: 0,
            reordered_by_retries: 0,
            anomalies: Anomaly::ALL.map(|anomaly| (anomaly, Found::default())).into(),
            failures: Vec::new(),
        };
        if report.acknowledged == 0 && setting.answers_asked_for {
            report.failures.push("nothing was acknowledged, so nothing is proven".into());
        }
        report
    }

    /// Adds what consumers saw; by consumer and partition.
    pub fn consumed(&mut self, live: &[Vec<View>]) {
        self.consumers = live.len();
        self.read_live = live.iter().flatten().map(|view| view.records.records()).sum();
    }

    /// Adds what the checker found in the last read.
    pub fn found(&mut self, findings: &Findings, at_rest: &[View]) {
        self.read = findings.there;
        self.unknown_but_there = findings.unknown_but_there;
        self.duplicated_by_retries = findings.duplicated_by_retries;
        self.reordered_by_retries = findings.reordered_by_retries;
        self.foreign = at_rest.iter().map(|view| view.foreign).sum();
        self.anomalies = Anomaly::ALL.map(|anomaly| (anomaly, findings.of(anomaly))).into();
        let behind = at_rest.iter().filter(|view| !view.complete).count();
        if behind > 0 {
            self.failures
                .push(format!("the last read did not reach the end of {behind} partitions"));
        }
    }

    /// How many records one thing is wrong with.
    pub fn records(&self, anomaly: Anomaly) -> u64 {
        self.anomalies.get(&anomaly).map_or(0, |found| found.records)
    }

    /// Whether all was read and nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.anomalies.values().all(|found| found.records == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "verify {}, {} partitions, {} {}producers, {} consumers, run {}",
            self.topic,
            self.partitions,
            self.producers,
            if self.idempotent { "idempotent " } else { "" },
            self.consumers,
            self.run
        )?;
        let mut line = |name: &str, number: u64, note: String| {
            let note = if note.is_empty() { note } else { format!("  {note}") };
            writeln!(f, "  {name:<16}{:>15}{note}", count(number))
        };
        let of_sent = format!("of {} sent", count(self.sent));
        line("acknowledged", self.acknowledged, of_sent)?;
        let are_there = match self.unknown {
            0 => String::new(),
            _ => format!("of which {} are there", count(self.unknown_but_there)),
        };
        line("unknown", self.unknown, are_there)?;
        line("refused", self.refused, String::new())?;
        let anew = match self.new_epochs {
            0 => String::new(),
            times => format!("and {} times the broker no longer knew the producer", count(times)),
        };
        line("sent again", self.resent, anew)?;
        let live = format!("and {} meanwhile, by consumers", count(self.read_live));
        line("read", self.read, live)?;
        if self.foreign > 0 {
            line("of others", self.foreign, "not looked at".into())?;
        }
        for anomaly in Anomaly::ALL {
            let found = self.anomalies.get(&anomaly).cloned().unwrap_or_default();
            let by_retries = match anomaly {
                Anomaly::Duplicated => self.duplicated_by_retries,
                Anomaly::Reordered => self.reordered_by_retries,
                _ => 0,
            };
            let note = match by_retries {
                0 => String::new(),
                records => format!("and {} by retries, as may happen", count(records)),
            };
            let always = matches!(
                anomaly,
                Anomaly::Lost | Anomaly::Duplicated | Anomaly::Reordered | Anomaly::Corrupt
            );
            if found.records > 0 || always || by_retries > 0 {
                let name = anomaly.name();
                let name = if found.records > 0 { name.to_uppercase() } else { name.to_owned() };
                writeln!(f, "{}", result_line(&name, found.records, &note))?;
            }
            for example in &found.examples {
                writeln!(f, "      {example}")?;
            }
        }
        let is_wrong = self.anomalies.values().any(|found| found.records > 0);
        f.write_str(match is_wrong {
            true => "SOMETHING IS WRONG\n",
            false if self.failures.is_empty() => "nothing is wrong\n",
            false => "NOTHING IS PROVEN\n",
        })
    }
}

fn result_line(name: &str, records: u64, note: &str) -> String {
    format!("  {name:<16}{:>15}  {note}", count(records)).trim_end().to_owned()
}
