//! The hot parts one by one, timed by criterion: what a request passes on its way, in that order,
//! and last all of it together, against a disk that is done at once.
//!
//! `cargo bench --bench parts` measures and compares with the run before; a word behind `--` picks
//! benches by name. Under `cargo test --benches` each runs once, so that none can rot.
//!
//! Times depend on the machine and on what else it does. What a change costs for sure is told by
//! `benches/instructions/`.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hutong::journal::format::{Run, RunKind};
use hutong::journal::page::Page;
use hutong::journal::segments::Segments;
use hutong::journal::{EntryStamp, Journal, JournalOutput, JournalTail};
use hutong::kafka::crc::crc32c;
use hutong::kafka::frame::{LENGTH_BYTES, next_frame, whole_frames};
use hutong::kafka::header::RequestHeader;
use hutong::kafka::produce::ProduceRequest;
use hutong::kafka::record_batch::{self, BatchHeader};
use hutong::limits::{
    FRAME_BYTES_MAX, JOURNAL_CACHE_BYTES_DEFAULT, RECORD_BATCH_BYTES_MAX, SEGMENT_BYTES_DEFAULT,
};
use hutong::model::ids::{GroupId, NodeId, PartitionKey, SegmentId};
use hutong::model::position::{LogIndex, Offset, Position, Term};
use hutong::model::qos::Qos;
use hutong::model::time::{Time, Wallclock};
use hutong::partition::index::{Index, Place, RunPlace};
use hutong::shard::pending_responses::{PendingResponses, Progress};

use support::frames;
use support::page::BenchPage;
use support::rig::{Load, Rig};

mod support {
    pub mod frames;
    pub mod page;
    pub mod rig;
}

/// Requests of one read of a socket, or of one entry.
const REQUESTS: usize = 512;

fn frame_cut(c: &mut Criterion) {
    let batch = frames::batch(100);
    let read: Vec<u8> =
        (0..REQUESTS as i32).flat_map(|number| frames::produce(number, 0, &batch)).collect();
    let read = Bytes::from(read);
    let mut group = c.benchmark_group("frame_cut");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    group.bench_function("find_whole", |b| {
        b.iter(|| {
            let (whole, next) = whole_frames(black_box(&read), FRAME_BYTES_MAX).expect("frames");
            assert_eq!((whole, next), (read.len(), None));
        });
    });
    group.bench_function("cut", |b| {
        b.iter(|| {
            let mut rest = read.clone();
            let mut count = 0;
            while let Some(frame) = next_frame(&mut rest) {
                black_box(&frame);
                count += 1;
            }
            assert_eq!(count, REQUESTS);
        });
    });
    group.finish();
}

/// Header, request and batch of one frame, crc included.
fn checked(frame: &[u8]) -> BatchHeader {
    let header = RequestHeader::decode(frame).expect("a header");
    let request = ProduceRequest::decode(&header, frame).expect("a request");
    let only = request.partitions().next().expect("a partition").expect("that can be read");
    let records = &frame[only.records.expect("with records")];
    record_batch::check(records, RECORD_BATCH_BYTES_MAX, true).expect("that are good")
}

fn produce_check(c: &mut Criterion) {
    let mut group = c.benchmark_group("produce_check");
    for value_bytes in [100, 1 << 10, 64 << 10] {
        let frame = frames::produce(1, 0, &frames::batch(value_bytes));
        let frame = &frame[LENGTH_BYTES..];
        group.throughput(Throughput::Elements(1));
        group.bench_with_input(BenchmarkId::from_parameter(value_bytes), frame, |b, frame| {
            b.iter(|| checked(black_box(frame)));
        });
    }
    group.finish();
}

fn crc(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc");
    // The first is what is checked of a batch with one record of 100 bytes.
    for bytes in [149, 1 << 10, 16 << 10, 64 << 10] {
        let data = vec![7; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &data, |b, data| {
            b.iter(|| crc32c(black_box(data)));
        });
    }
    group.finish();
}

/// A journal whose writes and segments are done at once.
struct Writer {
    journal: Journal<BenchPage>,
    index: u64,
    evicted: usize,
}

impl Writer {
    fn new() -> Writer {
        let segments = Segments::new(SEGMENT_BYTES_DEFAULT, SegmentId(0), SegmentId(0));
        let tail = JournalTail { append: Position(0), last_crc: 0 };
        let mut journal = Journal::new(GroupId(0), NodeId(0), segments, tail, 8 << 20);
        journal.prepare_segments();
        let mut writer = Writer { journal, index: 0, evicted: 0 };
        writer.carry_out();
        writer
    }

    /// Appends an entry, has it written, and lets the oldest leave the cache.
    fn append(&mut self, runs: &[Run], data: &[u8]) {
        self.index += 1;
        let stamp = EntryStamp {
            term: Term(1),
            index: LogIndex(self.index),
            leader: NodeId(0),
            appended_at: Wallclock(0),
        };
        self.journal.append(stamp, runs, |into| into.copy_from_slice(data));
        self.carry_out();
        let evicted = &mut self.evicted;
        self.journal.evict(Position(u64::MAX), |_| *evicted += 1);
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.journal.poll_output() {
            match output {
                JournalOutput::Write { write, page, .. } => {
                    black_box(page.bytes());
                    self.journal.on_written(write);
                }
                JournalOutput::CreateSegment { segment, .. } => {
                    self.journal.on_segment_created(segment);
                }
                JournalOutput::RemoveSegment { .. } => {}
            }
        }
    }
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    // One request alone, many requests to one partition, and to as many partitions.
    for (runs, batches) in [(1, 1), (1, REQUESTS), (REQUESTS, 1)] {
        let batch = frames::batch(100);
        let data = batch.repeat(runs * batches);
        let run = |number: usize| Run {
            kind: RunKind::Records,
            partition: PartitionKey(number as u32),
            bytes: (batch.len() * batches) as u32,
            batches: batches as u32,
            base_offset: Offset(0),
            last_offset: Offset(batches as i64 - 1),
            max_timestamp: 1_700_000_000_000,
        };
        let lines: Vec<Run> = (0..runs).map(run).collect();
        let mut writer = Writer::new();
        group.throughput(Throughput::Elements((runs * batches) as u64));
        group.bench_function(format!("{runs}_runs_of_{batches}_batches"), |b| {
            b.iter(|| writer.append(black_box(&lines), &data));
        });
    }
    group.finish();
}

fn pending_responses(c: &mut Criterion) {
    let mut group = c.benchmark_group("pending_responses");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    // The requests of an entry come and those of an earlier one go, with so many entries between.
    for waiting in [0, 200] {
        let mut pending = PendingResponses::default();
        let mut push_entry = {
            let mut end = 0;
            move |pending: &mut PendingResponses<u64>| {
                end += 1;
                for number in 0..REQUESTS as u64 {
                    pending.push(Qos::Durable, Position(end), Time(1 << 60), number);
                }
            }
        };
        for _ in 0..waiting {
            push_entry(&mut pending);
        }
        let mut commit = 0;
        group.bench_function(format!("push_release_{waiting}_entries_waiting"), |b| {
            b.iter(|| {
                push_entry(&mut pending);
                commit += 1;
                let progress = Progress { commit: Position(commit), ..Progress::default() };
                let mut released = 0;
                pending.release(&progress, |response| {
                    black_box(response);
                    released += 1;
                });
                assert_eq!(released, REQUESTS);
                pending.expire(Time(1), |_| panic!("nothing is late"));
                black_box(pending.next_deadline());
            });
        });
    }
    group.finish();
}

/// Run number so much of a partition that gets one batch of 170 bytes in each entry of 4 KiB.
fn run(number: u64) -> RunPlace {
    RunPlace {
        base_offset: Offset(number as i64),
        last_offset: Offset(number as i64),
        entry: Position((number + 1) * 4096),
        at: 120,
        bytes: 170,
        max_timestamp: number as i64,
    }
}

fn partition_index(c: &mut Criterion) {
    const RECENT: u64 = 10_000;
    let mut group = c.benchmark_group("partition_index");
    group.throughput(Throughput::Elements(1));
    let mut index = Index::default();
    let mut end = 0;
    while end < 100 * RECENT {
        index.append(run(end));
        end += 1;
        index.evict_before(Position(end.saturating_sub(RECENT) * 4096 + 1));
    }
    let filled = index.clone();
    group.bench_function("append_evict", |b| {
        b.iter(|| {
            index.append(black_box(run(end)));
            end += 1;
            index.evict_before(Position((end - RECENT) * 4096 + 1));
        });
    });
    for (name, offset) in [("recent", 99 * RECENT + 7), ("on_disk", 50 * RECENT)] {
        let place = filled.locate(Offset(offset as i64), Position(0)).expect("it is there");
        assert_eq!(matches!(place, Place::Recent(_)), name == "recent");
        group.bench_function(format!("locate_{name}"), |b| {
            b.iter(|| filled.locate(Offset(black_box(offset as i64)), Position(0)));
        });
    }
    group.finish();
}

fn shard_loop(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard_loop");
    for (connections, partitions, per_read) in
        [(1, 1, 1), (1, 1, REQUESTS), (8, 10_000, REQUESTS), (1000, 10, 4)]
    {
        let load = Load { connections, partitions, per_read };
        let mut rig = Rig::new(load, JOURNAL_CACHE_BYTES_DEFAULT);
        group.throughput(Throughput::Elements(load.per_round() as u64));
        let name = format!("{connections}_connections_{partitions}_partitions_{per_read}_a_read");
        group.bench_function(name, |b| b.iter(|| rig.rounds(1)));
        rig.finish();
    }
    group.finish();
}

criterion_group! {
    name = parts;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = frame_cut, produce_check, crc, append, pending_responses, partition_index, shard_loop
}
criterion_main!(parts);
