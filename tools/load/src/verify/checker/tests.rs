//! Histories made by hand, one for each anomaly; then random ones, judged by a model that keeps
//! every record in plain maps and knows nothing of runs.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::verify::runs::{Ranges, Runs};

/// Producer and sequence.
type Record = (u32, u64);

/// Everything about one partition, record by record.
#[derive(Clone, Debug, Default)]
struct History {
    given_out: Vec<u64>,
    acked: Vec<(Record, i64)>,
    acked_somewhere: BTreeSet<Record>,
    unknown: BTreeSet<Record>,
    refused: BTreeSet<Record>,
    resent: BTreeSet<Record>,
    log: Reading,
    live: Vec<Reading>,
}

#[derive(Clone, Debug, Default)]
struct Reading {
    from: i64,
    until: i64,
    complete: bool,
    records: BTreeMap<i64, Record>,
    corrupt: BTreeSet<i64>,
    trimmed: BTreeSet<i64>,
    backwards: Vec<(Record, i64)>,
}

impl Reading {
    fn view(&self) -> View {
        let mut view = View {
            from: self.from,
            until: self.until,
            complete: self.complete,
            corrupt: ranges(self.corrupt.iter().map(|&offset| offset as u64)),
            trimmed: ranges(self.trimmed.iter().map(|&offset| offset as u64)),
            ..View::default()
        };
        for (&offset, &record) in &self.records {
            view.records.push(run(record, offset));
        }
        view.backwards = self.backwards.iter().map(|&(record, at)| run(record, at)).collect();
        view
    }
}

fn run((producer, sequence): Record, offset: i64) -> Run {
    Run { producer, sequence, offset, count: 1 }
}

fn ranges(numbers: impl Iterator<Item = u64>) -> Ranges {
    let mut ranges = Ranges::default();
    numbers.for_each(|number| ranges.insert(number..number + 1));
    ranges
}

impl History {
    /// Two producers take turns, three records at a time; all is acknowledged, and two consumers
    /// saw all of it.
    fn clean() -> History {
        let records: Vec<Record> = (0..8)
            .flat_map(|turn| (0..3).map(move |n| (turn % 2, turn as u64 / 2 * 3 + n)))
            .collect();
        let mut history = History { given_out: vec![12, 12], ..History::default() };
        for (offset, &record) in (0..).zip(&records) {
            history.acked.push((record, offset));
            history.log.records.insert(offset, record);
        }
        history.log.until = 24;
        history.log.complete = true;
        history.live = vec![history.log.clone(); 2];
        history
    }

    fn told(&self) -> Vec<Told> {
        (0..)
            .zip(&self.given_out)
            .map(|(producer, &given_out)| {
                let mut acked = Runs::default();
                for &(record, offset) in self.acked.iter().filter(|(r, _)| r.0 == producer) {
                    acked.push(Run { producer: 0, ..run(record, offset) });
                }
                let of = |records: &BTreeSet<Record>| {
                    ranges(records.iter().filter(|r| r.0 == producer).map(|r| r.1))
                };
                Told {
                    given_out,
                    acked,
                    acked_somewhere: of(&self.acked_somewhere),
                    unknown: of(&self.unknown),
                    refused: of(&self.refused),
                    resent: of(&self.resent),
                    new_epochs: 0,
                }
            })
            .collect()
    }

    fn findings(&self, idempotent: bool) -> Findings {
        let views: Vec<View> = self.live.iter().map(Reading::view).collect();
        let told = self.told();
        let partition = Partition {
            number: 7,
            told: &told.iter().collect::<Vec<_>>(),
            at_rest: &self.log.view(),
            live: &views.iter().collect::<Vec<_>>(),
        };
        let mut findings = Findings::default();
        check(&partition, Rules { idempotent }, &mut findings);
        findings
    }

    /// Takes a record out of the log, and everybody who saw it.
    fn remove(&mut self, offset: i64) -> Record {
        for live in &mut self.live {
            live.records.remove(&offset);
        }
        self.log.records.remove(&offset).unwrap()
    }

    /// Puts a record into the log, where consumers see it.
    fn put(&mut self, offset: i64, record: Record) {
        for reading in self.live.iter_mut().chain([&mut self.log]) {
            reading.records.insert(offset, record);
            reading.until = reading.until.max(offset + 1);
        }
    }
}

#[track_caller]
fn expect(history: &History, expected: &[(Anomaly, u64)]) -> Findings {
    let findings = history.findings(true);
    assert_eq!(findings.counts(), expected, "{findings:?}");
    assert_eq!(model(history, true), BTreeMap::from_iter(expected.iter().copied()), "the model");
    findings
}

#[test]
fn nothing_is_wrong_with_a_clean_history() {
    let findings = expect(&History::clean(), &[]);
    assert!(findings.is_clean());
    assert_eq!(findings.there, 24);
}

#[test]
fn what_was_acknowledged_and_is_gone_is_lost() {
    let mut history = History::clean();
    history.remove(8);
    let findings = expect(&history, &[(Anomaly::Lost, 1)]);
    let example = &findings.of(Anomaly::Lost).examples[0];
    assert_eq!((example.producer, example.sequence, example.offset), (Some(0), Some(5), Some(8)));
}

#[test]
fn a_lost_end_is_lost_too() {
    let mut history = History::clean();
    for offset in 20..24 {
        history.remove(offset);
    }
    for reading in history.live.iter_mut().chain([&mut history.log]) {
        reading.until = 20;
    }
    let findings = expect(&history, &[(Anomaly::Lost, 4)]);
    assert_eq!(findings.of(Anomaly::Lost).examples[0].note, "the log ends at offset 20");
}

#[test]
fn what_was_acknowledged_without_an_offset_must_be_there_as_well() {
    let mut history = History::clean();
    let (record, _) = history.acked.remove(5);
    history.acked_somewhere.insert(record);
    expect(&history, &[]);
    history.remove(5);
    expect(&history, &[(Anomaly::Lost, 1)]);
}

#[test]
fn what_has_no_outcome_may_be_there_or_not() {
    let mut history = History::clean();
    let acked = history.acked.split_off(20);
    history.unknown.extend(acked.into_iter().map(|(record, _)| record));
    let findings = expect(&history, &[]);
    assert_eq!(findings.unknown_but_there, 4);
    history.remove(23);
    history.remove(22);
    assert_eq!(expect(&history, &[]).unknown_but_there, 2);
}

#[test]
fn a_record_that_is_there_twice_is_a_duplicate() {
    let mut history = History::clean();
    let record = history.log.records[&23];
    history.put(24, record);
    expect(&history, &[(Anomaly::Duplicated, 1)]);
}

#[test]
fn without_idempotence_retries_may_double_and_reorder_and_nothing_else_may() {
    let mut history = History::clean();
    let record = history.log.records[&23];
    history.put(24, record);
    let counts = |history: &History| {
        let findings = history.findings(false);
        (findings.counts(), findings.duplicated_by_retries, findings.reordered_by_retries)
    };
    assert_eq!(counts(&history), (vec![(Anomaly::Duplicated, 1)], 0, 0));
    history.resent.insert(record);
    assert_eq!(counts(&history), (vec![], 1, 0));
    let mut history = reordered();
    assert_eq!(counts(&history), (vec![(Anomaly::Reordered, 1)], 0, 0));
    history.resent.insert((0, 0));
    assert_eq!(counts(&history), (vec![], 0, 1));
}

/// Producer 0's record 0 stands behind its record 1, and the acknowledgements say so.
fn reordered() -> History {
    let mut history = History::clean();
    history.put(0, (0, 1));
    history.put(1, (0, 0));
    history.acked[0].1 = 1;
    history.acked[1].1 = 0;
    history
}

#[test]
fn a_record_behind_a_later_one_is_out_of_order() {
    expect(&reordered(), &[(Anomaly::Reordered, 1)]);
}

#[test]
fn a_damaged_record_is_corrupt_and_not_lost() {
    let mut history = History::clean();
    history.remove(9);
    history.log.corrupt.insert(9);
    for live in &mut history.live {
        live.corrupt.insert(9);
    }
    expect(&history, &[(Anomaly::Corrupt, 1)]);
    // One reader got it damaged, the others whole: the wire, or a bad replica.
    let mut history = History::clean();
    history.live[1].records.remove(&9);
    history.live[1].corrupt.insert(9);
    expect(&history, &[(Anomaly::Corrupt, 1)]);
}

#[test]
fn what_was_refused_must_not_be_there() {
    let mut history = History::clean();
    let (record, _) = history.acked.remove(3);
    history.refused.insert(record);
    expect(&history, &[(Anomaly::RefusedButThere, 1)]);
    history.remove(3);
    expect(&history, &[]);
}

#[test]
fn what_a_consumer_saw_must_not_vanish() {
    let mut history = History::clean();
    let (record, _) = history.acked.pop().unwrap();
    history.unknown.insert(record);
    history.log.records.remove(&23);
    history.log.until = 23;
    history.live[0].records.remove(&23);
    history.live[0].until = 23;
    let findings = expect(&history, &[(Anomaly::Vanished, 1)]);
    assert_eq!(findings.of(Anomaly::Vanished).examples[0].consumer, Some(1));
}

#[test]
fn two_readers_see_the_same_at_an_offset() {
    let mut history = History::clean();
    let (record, _) = history.acked.pop().unwrap();
    history.unknown.insert(record);
    history.given_out[0] += 1;
    history.unknown.insert((0, 12));
    history.live[1].records.insert(23, (0, 12));
    expect(&history, &[(Anomaly::Divergent, 1)]);
}

#[test]
fn a_consumer_is_given_everything_between_its_first_and_last_offset() {
    let mut history = History::clean();
    history.live[0].records.remove(&7);
    history.live[0].records.remove(&8);
    let findings = expect(&history, &[(Anomaly::Skipped, 2)]);
    assert_eq!(findings.of(Anomaly::Skipped).examples[0].note, "consumer 0 read past it");
    // One that began later and stopped earlier has skipped nothing.
    let mut history = History::clean();
    history.live[0].records.retain(|offset, _| (5..9).contains(offset));
    (history.live[0].from, history.live[0].until) = (5, 9);
    expect(&history, &[]);
}

#[test]
fn a_consumer_is_not_sent_back() {
    let mut history = History::clean();
    history.live[1].backwards.push(((1, 0), 3));
    expect(&history, &[(Anomaly::WentBack, 1)]);
}

#[test]
fn an_acknowledgement_has_the_offset_of_the_record() {
    let mut history = History::clean();
    history.acked[11].1 = 25;
    let findings = expect(&history, &[(Anomaly::WrongOffset, 1)]);
    assert_eq!(findings.of(Anomaly::WrongOffset).examples[0].offset, Some(25));
    // The same offset acknowledged for two records: one of them is wrong.
    let mut history = History::clean();
    history.acked[11].1 = 10;
    expect(&history, &[(Anomaly::WrongOffset, 1)]);
}

#[test]
fn a_record_that_nobody_sent_is_invented() {
    let mut history = History::clean();
    history.put(24, (1, 12));
    history.put(25, (9, 0));
    expect(&history, &[(Anomaly::Invented, 2)]);
}

#[test]
fn what_retention_took_is_no_proof_and_not_lost() {
    let mut history = History::clean();
    history.log.records.retain(|offset, _| *offset >= 4);
    history.log.from = 4;
    expect(&history, &[(Anomaly::Trimmed, 4)]);
    history.live[0].records.retain(|offset, _| !(2..4).contains(offset));
    history.live[0].trimmed.extend(2..4);
    expect(&history, &[(Anomaly::Trimmed, 4)]);
}

#[test]
fn what_the_last_read_did_not_reach_is_not_called_lost() {
    let mut history = History::clean();
    history.log.records.retain(|offset, _| *offset < 20);
    history.log.until = 20;
    history.log.complete = false;
    expect(&history, &[(Anomaly::Unchecked, 4)]);
}

/// The same rules over plain maps, one record at a time.
fn model(history: &History, idempotent: bool) -> BTreeMap<Anomaly, u64> {
    let mut counts = BTreeMap::new();
    let mut count = |anomaly| *counts.entry(anomaly).or_insert(0) += 1;
    let mut at: BTreeMap<Record, Vec<i64>> = BTreeMap::new();
    for (offset, record) in &history.log.records {
        at.entry(*record).or_default().push(*offset);
    }
    model_of_log(history, &at, idempotent, &mut count);
    model_of_acknowledged(history, &at, &mut count);
    history.live.iter().for_each(|live| model_of_consumer(history, live, &mut count));
    history.log.backwards.iter().for_each(|_| count(Anomaly::WentBack));
    let corrupt = history.live.iter().chain([&history.log]).flat_map(|reading| &reading.corrupt);
    BTreeSet::from_iter(corrupt).iter().for_each(|_| count(Anomaly::Corrupt));
    counts
}

fn model_of_log(
    history: &History,
    at: &BTreeMap<Record, Vec<i64>>,
    idempotent: bool,
    count: &mut impl FnMut(Anomaly),
) {
    let was_sent = |(producer, sequence): &Record| {
        history.given_out.get(*producer as usize).is_some_and(|given_out| sequence < given_out)
    };
    for (record, offsets) in at {
        if !was_sent(record) {
            offsets.iter().for_each(|_| count(Anomaly::Invented));
            continue;
        }
        let excused = !idempotent && history.resent.contains(record);
        if !excused {
            offsets[1..].iter().for_each(|_| count(Anomaly::Duplicated));
        }
        let later_before = at.iter().any(|(other, first)| {
            other.0 == record.0 && other.1 > record.1 && was_sent(other) && first[0] < offsets[0]
        });
        if later_before && !excused {
            count(Anomaly::Reordered);
        }
        if history.refused.contains(record) {
            count(Anomaly::RefusedButThere);
        }
    }
}

fn model_of_acknowledged(
    history: &History,
    at: &BTreeMap<Record, Vec<i64>>,
    count: &mut impl FnMut(Anomaly),
) {
    let log = &history.log;
    for (record, offset) in &history.acked {
        let excused = log.records.get(offset) == Some(record) || log.corrupt.contains(offset);
        if at.contains_key(record) && log.records.get(offset) != Some(record) {
            count(Anomaly::WrongOffset);
        } else if !excused && *offset < log.from {
            count(Anomaly::Trimmed);
        } else if !excused && *offset >= log.until && !log.complete {
            count(Anomaly::Unchecked);
        } else if !excused {
            count(Anomaly::Lost);
        }
    }
    for record in &history.acked_somewhere {
        if !at.contains_key(record) && log.corrupt.is_empty() {
            count(if log.complete { Anomaly::Lost } else { Anomaly::Unchecked });
        }
    }
}

fn model_of_consumer(history: &History, live: &Reading, count: &mut impl FnMut(Anomaly)) {
    let log = &history.log;
    live.backwards.iter().for_each(|_| count(Anomaly::WentBack));
    for (offset, record) in &live.records {
        let unread = *offset < log.from || (*offset >= log.until && !log.complete);
        match log.records.get(offset) {
            Some(there) if there == record => {}
            Some(_) => count(Anomaly::Divergent),
            None if unread || log.corrupt.contains(offset) => {}
            None => count(Anomaly::Vanished),
        }
    }
    for offset in log.records.keys() {
        let excused = live.trimmed.contains(offset) || live.corrupt.contains(offset);
        let between = (live.from..live.until).contains(offset);
        if between && !excused && !live.records.contains_key(offset) {
            count(Anomaly::Skipped);
        }
    }
}

/// Batches of several producers in turn, read by some consumers, each of a part.
fn random_history(random: &mut fastrand::Rng) -> History {
    let producers = random.u32(1..4);
    let mut history = History { given_out: vec![0; producers as usize], ..History::default() };
    let mut offset = random.i64(0..50);
    history.log.from = offset;
    for _ in 0..random.usize(0..30) {
        let producer = random.u32(0..producers);
        // What others wrote lies in between.
        offset += if random.u8(0..6) == 0 { random.i64(1..4) } else { 0 };
        let outcome = random.u8(0..12);
        for _ in 0..random.usize(1..8) {
            let record = (producer, history.given_out[producer as usize]);
            history.given_out[producer as usize] += 1;
            if random.u8(0..5) == 0 {
                history.resent.insert(record);
            }
            match outcome {
                0 => drop(history.unknown.insert(record)),
                1 => drop(history.refused.insert(record)),
                2 => drop(history.acked_somewhere.insert(record)),
                _ => history.acked.push((record, offset)),
            }
            let is_there = if outcome == 0 { random.bool() } else { outcome != 1 };
            if is_there {
                history.log.records.insert(offset, record);
                offset += 1;
            }
        }
    }
    (history.log.until, history.log.complete) = (offset, true);
    for _ in 0..random.usize(0..3) {
        let from = random.i64(history.log.from..=offset);
        let until = random.i64(from..=offset);
        let records = history.log.records.range(from..until).map(|(o, r)| (*o, *r)).collect();
        history.live.push(Reading { from, until, records, ..Reading::default() });
    }
    history
}

/// Does something to the history that a broker must not do. True if it may show.
fn plant(history: &mut History, random: &mut fastrand::Rng) {
    let offsets: Vec<i64> = history.log.records.keys().copied().collect();
    let Some(&offset) = random.choice(&offsets) else { return };
    let record = history.log.records[&offset];
    let other = *random.choice(&offsets).expect("there is one");
    let end = history.log.until;
    match random.u8(0..12) {
        0 => drop(history.remove(offset)),
        1 => drop(history.log.records.remove(&offset)),
        2 => history.put(end, record),
        3 => {
            let swapped = history.log.records[&other];
            history.put(offset, swapped);
            history.put(other, record);
        }
        4 => {
            history.log.records.remove(&offset);
            history.log.corrupt.insert(offset);
        }
        5 => drop(history.refused.insert(record)),
        6 => history.put(offset, (random.u32(0..5), random.u64(0..100))),
        7 => {
            history.log.records.retain(|at, _| *at >= offset);
            history.log.from = offset;
        }
        8 => {
            history.log.records.retain(|at, _| *at < offset);
            (history.log.until, history.log.complete) = (offset, random.bool());
        }
        9 => {
            if let Some(acked) = random.choice(&mut history.acked) {
                acked.1 = other;
            }
        }
        _ => plant_in_a_consumer(history, random, offset),
    }
}

fn plant_in_a_consumer(history: &mut History, random: &mut fastrand::Rng, offset: i64) {
    let record = history.log.records[&offset];
    let Some(live) = random.choice(&mut history.live) else { return };
    match random.u8(0..5) {
        0 => drop(live.records.remove(&offset)),
        1 => drop(live.records.insert(offset, (record.0, record.1 + 1))),
        2 => live.backwards.push((record, offset)),
        3 => {
            live.records.remove(&offset);
            live.corrupt.insert(offset);
        }
        _ => {
            live.records.remove(&offset);
            live.trimmed.insert(offset);
        }
    }
}

#[test]
fn random_histories_are_judged_as_the_model_judges_them() {
    let mut met = BTreeSet::new();
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut history = random_history(&mut random);
        for idempotent in [true, false] {
            let found = BTreeMap::from_iter(history.findings(idempotent).counts());
            assert_eq!(found, BTreeMap::new(), "seed {seed}: nothing is planted yet");
        }
        for planted in 0..random.usize(1..5) {
            plant(&mut history, &mut random);
            for idempotent in [true, false] {
                let found = BTreeMap::from_iter(history.findings(idempotent).counts());
                let expected = model(&history, idempotent);
                assert_eq!(found, expected, "seed {seed}, {planted} planted: {history:#?}");
                met.extend(found.into_keys());
            }
        }
    }
    assert_eq!(met, BTreeSet::from(Anomaly::ALL), "each anomaly was planted at least once");
}
