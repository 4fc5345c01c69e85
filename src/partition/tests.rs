//! The index against a plain list of runs, producers by Kafka's rules, and the checkpoint.

use proptest::prelude::*;

use super::index::{Place, Retention, RunPlace};
use super::producers::{Sequence, Verdict};
use super::*;

/// A partition beside the runs it was given.
struct Model {
    partition: Partition,
    runs: Vec<RunPlace>,
    evicted: usize,
}

impl Model {
    fn new() -> Model {
        Model { partition: Partition::new(PartitionKey(1)), runs: Vec::new(), evicted: 0 }
    }

    fn append(&mut self, records: i64, bytes: u32, gap: u64, timestamp: i64) {
        self.append_uncommitted(Term(1), records, bytes, gap, timestamp);
        self.partition.commit(self.partition.log_end());
    }

    fn append_uncommitted(
        &mut self,
        term: Term,
        records: i64,
        bytes: u32,
        gap: u64,
        timestamp: i64,
    ) {
        let entry = self.runs.last().map_or(4096, |run| run.entry.0 + 4096) + gap * 4096;
        let base = self.partition.log_end();
        let run = RunPlace {
            base_offset: base,
            last_offset: Offset(base.0 + records - 1),
            entry: Position(entry),
            at: 120,
            bytes,
            max_timestamp: timestamp,
        };
        self.partition.append(term, run);
        self.runs.push(run);
    }

    fn check_locate(&self, offset: Offset) {
        let run = self.runs.iter().position(|run| run.last_offset >= offset);
        let cached_from = self.runs.get(self.evicted).map_or(Position(u64::MAX), |run| run.entry);
        match (self.partition.index.locate(offset, cached_from), run) {
            (None, None) => {}
            (Some(Place::Recent(at)), Some(run)) => {
                assert!(run >= self.evicted);
                assert_eq!(self.partition.index.recent_from(at).next(), Some(&self.runs[run]));
            }
            (Some(Place::Journal(position)), Some(run)) => {
                assert!(run < self.evicted);
                assert!(position <= self.runs[run].entry, "reading forward finds the run");
            }
            other => panic!("{offset}: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn every_offset_is_found_from_where_the_index_points(
        runs in prop::collection::vec((1i64..50, 1u32..40_000, 0u64..20_000, 0i64..1000), 1..60),
        evict in 0usize..60,
        told in 0usize..60,
        asked in prop::collection::vec(0i64..3000, 20),
    ) {
        let mut model = Model::new();
        for (records, bytes, gap, timestamp) in runs {
            model.append(records, bytes, gap, timestamp);
        }
        model.evicted = evict.min(model.runs.len());
        // A partition may be told late.
        if let Some(last) = model.runs[..told.min(model.evicted)].last() {
            model.partition.index.evict_before(Position(last.entry.0 + 1));
        }
        let end = model.partition.log_end();
        for offset in asked {
            model.check_locate(Offset(offset % end.0));
        }
        let mut bytes = Vec::new();
        model.partition.encode(0, &mut bytes);
        let decoded = Partition::decode(&mut bytes.as_slice()).unwrap();
        let mut again = Vec::new();
        decoded.encode(0, &mut again);
        prop_assert_eq!(&bytes, &again);
        // What is recent is written as what it will be when it has left the cache.
        model.partition.index.evict_before(Position(u64::MAX));
        let mut evicted = Vec::new();
        model.partition.encode(0, &mut evicted);
        prop_assert_eq!(&bytes, &evicted);
    }

    #[test]
    fn what_is_not_committed_is_no_part_of_a_checkpoint(
        runs in prop::collection::vec((1i64..50, 1u32..40_000, 0i64..1000), 2..60),
        committed in 0usize..60,
        evict in 0usize..60,
    ) {
        let committed = committed.min(runs.len() - 1);
        let mut model = Model::new();
        let mut end = Offset(0);
        for (number, (records, bytes, timestamp)) in (0..).zip(&runs) {
            let base = model.partition.log_end();
            if number < committed {
                model.append(*records, *bytes, 0, *timestamp);
                end = model.partition.log_end();
            } else {
                model.append_uncommitted(Term(2), *records, *bytes, 0, *timestamp);
            }
            // A few producers, one of which came last.
            let producer_id = if number + 1 == runs.len() { 99 } else { number as i64 % 3 };
            let batch = Sequence { producer_id, epoch: 0, first: number as i32, count: 1 };
            model.partition.producers.appended(&batch, base);
        }
        // What a start finds has left the cache, committed or not.
        if let Some(last) = model.runs[..evict.min(runs.len())].last() {
            model.partition.index.evict_before(Position(last.entry.0 + 1));
        }
        let behind = &model.runs[committed..];
        let uncommitted = behind.iter().map(|run| u64::from(run.bytes)).sum();
        let mut bytes = Vec::new();
        model.partition.encode(uncommitted, &mut bytes);
        let log_end = model.partition.log_end();
        model.partition.truncate(behind[0].entry, end, uncommitted);
        let mut cut = Vec::new();
        model.partition.encode(0, &mut cut);
        prop_assert_eq!(&bytes, &cut);
        let decoded = Partition::decode(&mut bytes.as_slice()).unwrap();
        prop_assert_eq!((decoded.log_end(), decoded.high_watermark()), (end, end));
        // The runs come again.
        let mut again = decoded;
        for run in behind {
            again.append(Term(2), *run);
            again.index.evict_before(Position(u64::MAX));
        }
        prop_assert_eq!(again.log_end(), log_end);
    }

    #[test]
    fn no_earlier_record_has_the_timestamp_asked_for(
        runs in prop::collection::vec((1u32..40_000, 0i64..100), 1..60),
        evict in 0usize..60,
        timestamp in 0i64..110,
    ) {
        let mut model = Model::new();
        for (bytes, at) in runs {
            model.append(1, bytes, 0, at);
        }
        let evicted = evict.min(model.runs.len());
        if let Some(last) = model.runs[..evicted].last() {
            model.partition.index.evict_before(Position(last.entry.0 + 1));
        }
        let first = model.runs.iter().find(|run| run.max_timestamp >= timestamp);
        let found = model.partition.index.offset_for_timestamp(timestamp);
        prop_assert_eq!(found.is_some(), first.is_some());
        if let (Some(found), Some(first)) = (found, first) {
            prop_assert!(found <= first.base_offset);
        }
    }

    #[test]
    fn retention_keeps_what_it_must(
        runs in prop::collection::vec((1u32..40_000, 0i64..100), 1..60),
        evict in 0usize..60,
        keep in 0u64..400_000,
    ) {
        let mut model = Model::new();
        for (bytes, at) in runs {
            model.append(1, bytes, 0, at);
        }
        let evicted = evict.min(model.runs.len());
        if let Some(last) = model.runs[..evicted].last() {
            model.partition.index.evict_before(Position(last.entry.0 + 1));
        }
        let end = model.partition.high_watermark();
        let by_bytes = Retention { timestamp: None, bytes: Some(keep) };
        if let Some(start) = model.partition.index.retained_from(&by_bytes, end) {
            let kept: u64 = model.runs.iter().filter(|run| run.base_offset >= start)
                .map(|run| u64::from(run.bytes)).sum();
            prop_assert!(kept >= keep);
        }
        let by_time = Retention { timestamp: Some(50), bytes: None };
        if let Some(start) = model.partition.index.retained_from(&by_time, end) {
            let gone = model.runs.iter().filter(|run| run.base_offset < start);
            prop_assert!(gone.into_iter().all(|run| run.max_timestamp < 50));
        }
    }
}

fn sequence(epoch: i16, first: i32, count: i32) -> Sequence {
    Sequence { producer_id: 9, epoch, first, count }
}

#[test]
fn a_producer_is_held_to_its_sequence() {
    let mut producers = Producers::default();
    assert_eq!(producers.judge(&sequence(0, 5, 1)), Verdict::Append, "nothing is known of it");
    for first in 0..7 {
        let batch = sequence(0, first * 2, 2);
        assert_eq!(producers.judge(&batch), Verdict::Append);
        producers.appended(&batch, Offset(i64::from(first) * 100));
    }
    assert_eq!(producers.judge(&sequence(0, 4, 2)), Verdict::Duplicate(Offset(200)));
    assert_eq!(producers.judge(&sequence(0, 2, 2)), Verdict::OutOfOrder, "only five are kept");
    assert_eq!(producers.judge(&sequence(0, 15, 1)), Verdict::OutOfOrder);
    assert_eq!(producers.judge(&sequence(1, 1, 1)), Verdict::OutOfOrder);
    let restarted = sequence(1, 0, 1);
    assert_eq!(producers.judge(&restarted), Verdict::Append);
    producers.appended(&restarted, Offset(900));
    assert_eq!(producers.judge(&sequence(0, 14, 1)), Verdict::Fenced);
}

#[test]
fn sequences_wrap() {
    let mut producers = Producers::default();
    let batch = sequence(0, i32::MAX - 1, 3);
    assert_eq!(batch.last(), 0);
    producers.appended(&batch, Offset(0));
    assert_eq!(producers.judge(&sequence(0, 1, 1)), Verdict::Append);
    producers.appended(&sequence(0, i32::MAX, 1), Offset(3));
    assert_eq!(producers.judge(&sequence(0, 0, 1)), Verdict::Append);
}

#[test]
fn epochs_end_where_the_next_begins() {
    let mut partition = Partition::new(PartitionKey(1));
    for (term, base) in [(1, 0), (1, 10), (4, 20)] {
        let run = RunPlace {
            base_offset: Offset(base),
            last_offset: Offset(base + 9),
            entry: Position(4096 * (1 + base as u64)),
            at: 120,
            bytes: 100,
            max_timestamp: 0,
        };
        partition.append(Term(term), run);
    }
    partition.commit(Offset(30));
    assert_eq!(partition.end_of_epoch(Term(0)), None);
    assert_eq!(partition.end_of_epoch(Term(2)), Some((Term(1), Offset(20))));
    assert_eq!(partition.end_of_epoch(Term(9)), Some((Term(4), Offset(30))));
    assert!(partition.trim(Offset(25)));
    assert_eq!(partition.end_of_epoch(Term(3)), None);
    assert_eq!(partition.log_start(), Offset(25));
    assert!(!partition.trim(Offset(3)), "it never goes back");
}
