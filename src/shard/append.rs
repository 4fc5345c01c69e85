//! From the queue into the journal: the writer's turn.
//!
//! All that waits, up to a bound, becomes one entry. Batches of one partition are laid side by
//! side in it, so that a consumer gets them as one piece. There is no timer: while writes are out
//! more requests come, and make the next entry.

use crate::journal::Blocked;
use crate::journal::format::{ENTRY_HEADER_BYTES, RUN_BYTES, Run, RunKind};
use crate::journal::page::{Page, align_up};
use crate::kafka::record_batch::{BatchHeader, set_append_time, set_base_offset_and_epoch};
use crate::limits::ENTRY_BYTES_TARGET;
use crate::model::position::{LogIndex, Offset, Position, Term};
use crate::model::time::Now;
use crate::partition::Partition;
use crate::partition::index::RunPlace;
use crate::partition::producers::{Sequence, Verdict};
use crate::replica::Descriptor;
use crate::shard::group::{AppendedEntry, ControlItem, Group, Grown};
use crate::shard::partitions::PartitionSlot;
use crate::shard::produce::{Appended, PendingProduce, ProduceOutcome};
use crate::shard::request_queue::{ProduceAnswer, QueuedBatch, RequestQueue};

/// Memory that is kept from turn to turn, so that a turn allocates nothing for each request.
#[derive(Debug, Default)]
pub struct Workspace {
    /// What becomes of the batches at the front of the queue, which stay there until the entry is
    /// made: they are read in place.
    fates: Vec<Fate>,
    runs: Vec<RunInProgress>,
    lines: Vec<Run>,
    /// For each slot the run of this entry, if it has one.
    run_of_slot: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It goes into the entry, at this offset; then comes this batch of the same run.
    Append {
        base_offset: Offset,
        next: u32,
    },
    /// It is in the journal already.
    Duplicate {
        base_offset: Offset,
    },
    Refused(ProduceOutcome),
}

#[derive(Debug)]
struct RunInProgress {
    partition: PartitionSlot,
    first: u32,
    last: u32,
    line: Run,
}

const NONE: u32 = u32::MAX;

/// Appends entries until the queue is empty or there is no room. Hands to `answered` what is
/// answered at once: batches that are refused.
pub fn append<P: Page>(
    group: &mut Group<P>,
    workspace: &mut Workspace,
    now: Now,
    mut answered: impl FnMut(QueuedBatch, ProduceOutcome),
) {
    while !(group.queue.is_empty() && group.control.is_empty()) {
        let Some((term, index)) = group.replica.next_entry() else { return };
        let (count, bytes) = next_entry_size(group);
        match group.room(bytes) {
            Ok(()) => {}
            Err(Blocked::NoSegment) if group.refuses_records(bytes) => {}
            Err(_) => return,
        }
        if group.refuses_records(bytes) {
            while let Some(batch) = group.queue.pop() {
                answered(batch, ProduceOutcome::NoSpace);
            }
            if group.control.is_empty() || group.room(next_entry_size(group).1).is_err() {
                return;
            }
        }
        append_entry(group, workspace, EntryPlan { term, index, count, now }, &mut answered);
    }
}

/// How many batches the next entry takes, and at most how many bytes it has.
fn next_entry_size<P: Page>(group: &Group<P>) -> (usize, usize) {
    let mut count = 0;
    let mut bytes = ENTRY_HEADER_BYTES;
    for item in &group.control {
        bytes += RUN_BYTES + control_bytes(item);
        if bytes > ENTRY_BYTES_TARGET {
            break;
        }
    }
    // What is as large as the state of a consumer group may be goes alone: with the largest batch
    // beside it, an entry would be larger than any may be.
    let alone = bytes > ENTRY_BYTES_TARGET;
    while let Some(next) = group.queue.next_bytes(count) {
        if alone || (count > 0 && bytes + next > ENTRY_BYTES_TARGET) {
            break;
        }
        count += 1;
        bytes += RUN_BYTES + next;
    }
    (count, align_up(bytes))
}

struct EntryPlan {
    term: Term,
    index: LogIndex,
    /// Batches to take from the queue.
    count: usize,
    now: Now,
}

fn append_entry<P: Page>(
    group: &mut Group<P>,
    workspace: &mut Workspace,
    plan: EntryPlan,
    answered: &mut impl FnMut(QueuedBatch, ProduceOutcome),
) {
    let count = plan.count.min(group.queue.len());
    decide(group, workspace, count, plan.now);
    let (control, commands) = take_control(group);
    workspace.lines.clear();
    let control_runs = control.iter().zip(&commands).map(|(item, data)| control_run(item, data));
    workspace.lines.extend(control_runs);
    workspace.lines.extend(workspace.runs.iter().map(|run| run.line));
    if !workspace.lines.is_empty() {
        write_entry(group, workspace, &plan, control, &commands);
    }
    settle(group, workspace, plan.now, answered);
}

/// Decides on the first `count` batches of the queue, and gives those that are appended their
/// offsets and runs.
fn decide<P: Page>(group: &mut Group<P>, workspace: &mut Workspace, count: usize, now: Now) {
    workspace.fates.clear();
    workspace.run_of_slot.resize(group.partitions.slot_count(), NONE);
    for number in 0..count {
        let batch = group.queue.get(number);
        let fate = match group.partitions.get_live(batch.partition, batch.key) {
            Some(partition) => {
                let header = BatchHeader::read(group.queue.bytes_of(batch));
                let header = header.expect("only batches that were checked are queued");
                place(partition, workspace, batch, &header, number as u32, now)
            }
            None => Fate::Refused(ProduceOutcome::UnknownPartition),
        };
        workspace.fates.push(fate);
    }
}

/// What an idempotent producer says of its batch.
fn sequence_of(header: &BatchHeader) -> Option<Sequence> {
    (header.producer_id >= 0).then_some(Sequence {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        first: header.base_sequence,
        count: header.record_count,
    })
}

fn place(
    partition: &mut Partition,
    workspace: &mut Workspace,
    batch: &QueuedBatch,
    header: &BatchHeader,
    number: u32,
    now: Now,
) -> Fate {
    let sequence = sequence_of(header);
    let verdict = sequence.as_ref().map_or(Verdict::Append, |it| partition.producers.judge(it));
    match verdict {
        Verdict::Append => {}
        Verdict::Duplicate(base_offset) => return Fate::Duplicate { base_offset },
        Verdict::OutOfOrder => return Fate::Refused(ProduceOutcome::OutOfOrder),
        Verdict::Fenced => return Fate::Refused(ProduceOutcome::Fenced),
    }
    let max_timestamp = if batch.append_time { now.wallclock.0 } else { header.max_timestamp };
    let slot = &mut workspace.run_of_slot[batch.partition.0 as usize];
    let base_offset = match *slot {
        NONE => partition.log_end(),
        run => Offset(workspace.runs[run as usize].line.last_offset.0 + 1),
    };
    let last_offset = Offset(base_offset.0 + i64::from(header.record_count) - 1);
    if let Some(sequence) = &sequence {
        partition.producers.appended(sequence, base_offset);
    }
    if *slot == NONE {
        *slot = workspace.runs.len() as u32;
        let line = Run {
            kind: RunKind::Records,
            partition: batch.key,
            bytes: batch.place.bytes,
            batches: 1,
            base_offset,
            last_offset,
            max_timestamp,
        };
        let run = RunInProgress { partition: batch.partition, first: number, last: number, line };
        workspace.runs.push(run);
    } else {
        let run = &mut workspace.runs[*slot as usize];
        if let Fate::Append { next, .. } = &mut workspace.fates[run.last as usize] {
            *next = number;
        }
        run.last = number;
        run.line.bytes += batch.place.bytes;
        run.line.batches += 1;
        run.line.last_offset = last_offset;
        run.line.max_timestamp = run.line.max_timestamp.max(max_timestamp);
    }
    Fate::Append { base_offset, next: NONE }
}

/// Makes the entry, and hands it to the journal, to Raft and to its partitions.
fn write_entry<P: Page>(
    group: &mut Group<P>,
    workspace: &mut Workspace,
    plan: &EntryPlan,
    control: Vec<ControlItem>,
    commands: &[Vec<u8>],
) {
    let stamp = group.stamp(plan.term, plan.index, plan.now.wallclock);
    let queue = &group.queue;
    let appended = group.journal.append(stamp, &workspace.lines, |into| {
        let mut at = 0;
        for data in commands {
            into[at..at + data.len()].copy_from_slice(data);
            at += data.len();
        }
        copy_batches(queue, workspace, &mut into[at..], plan);
    });
    let directory_bytes = workspace.lines.len() * RUN_BYTES;
    let command_bytes: usize = commands.iter().map(Vec::len).sum();
    let data_at = ENTRY_HEADER_BYTES + directory_bytes + command_bytes;
    let requests = workspace.fates.len() as u32;
    let bytes = (appended.end.0 - appended.position.0) as u32;
    let descriptor = Descriptor { position: appended.position, bytes, crc: appended.crc };
    let entry = AppendedEntry {
        index: plan.index,
        term: plan.term,
        crc: appended.crc,
        end: appended.end,
        appended_at: plan.now.time,
        flushed_at: None,
        requests,
        grown: grow_partitions(group, workspace, appended.position, data_at, plan.term),
        control,
    };
    group.appended(entry, descriptor);
    group.metrics.entry(requests, bytes);
}

/// The one copy of a payload: from what the socket gave into the page that goes to the disk.
fn copy_batches(queue: &RequestQueue, workspace: &Workspace, into: &mut [u8], plan: &EntryPlan) {
    let epoch = plan.term.0 as i32;
    let mut at = 0;
    for run in &workspace.runs {
        let mut number = run.first;
        while let Some(Fate::Append { base_offset, next }) = workspace.fates.get(number as usize) {
            let queued = queue.get(number as usize);
            let records = queue.bytes_of(queued);
            let batch = &mut into[at..at + records.len()];
            batch.copy_from_slice(records);
            set_base_offset_and_epoch(batch, base_offset.0, epoch);
            if queued.append_time {
                set_append_time(batch, plan.now.wallclock.0);
            }
            at += records.len();
            number = *next;
        }
    }
}

fn grow_partitions<P: Page>(
    group: &mut Group<P>,
    workspace: &mut Workspace,
    entry: Position,
    mut at: usize,
    term: Term,
) -> Vec<Grown> {
    let mut grown = Vec::with_capacity(workspace.runs.len());
    for run in workspace.runs.drain(..) {
        workspace.run_of_slot[run.partition.0 as usize] = NONE;
        let partition = group.partitions.get_mut(run.partition).expect("it was just seen");
        partition.append(
            term,
            RunPlace {
                base_offset: run.line.base_offset,
                last_offset: run.line.last_offset,
                entry,
                at: at as u32,
                bytes: run.line.bytes,
                max_timestamp: run.line.max_timestamp,
            },
        );
        at += run.line.bytes as usize;
        let records = run.line.last_offset.0 - run.line.base_offset.0 + 1;
        group.metrics.run(records, run.line.bytes);
        grown.push(Grown {
            partition: run.partition,
            key: partition.key,
            end: partition.log_end(),
            bytes: run.line.bytes,
        });
    }
    grown
}

/// Takes the batches that were decided on out of the queue: their answers wait for their level, or
/// are given now. A duplicate waits like the rest: its original was appended before.
fn settle<P: Page>(
    group: &mut Group<P>,
    workspace: &mut Workspace,
    now: Now,
    answered: &mut impl FnMut(QueuedBatch, ProduceOutcome),
) {
    let end = group.journal.append_position();
    for fate in workspace.fates.drain(..) {
        let batch = group.queue.pop().expect("it was decided on");
        group.metrics.queue_stage(now.time.since(batch.queued_at));
        let (base_offset, append_time) = match fate {
            Fate::Append { base_offset, .. } if batch.append_time => (base_offset, now.wallclock.0),
            Fate::Append { base_offset, .. } | Fate::Duplicate { base_offset } => (base_offset, -1),
            Fate::Refused(outcome) => {
                answered(batch, outcome);
                continue;
            }
        };
        if matches!(batch.answer, ProduceAnswer::None) {
            continue;
        }
        let log_start = group.partitions.get(batch.partition).map_or(-1, |p| p.log_start().0);
        let outcome = Appended { base_offset: base_offset.0, append_time, log_start };
        let pending = PendingProduce { answer: batch.answer, queued_at: batch.queued_at, outcome };
        group.pending.push(batch.qos, end, batch.deadline, pending);
    }
    group.metrics.end_of_entry();
}

/// Takes what waits beside the queue, as much as an entry has room for.
fn take_control<P: Page>(group: &mut Group<P>) -> (Vec<ControlItem>, Vec<Vec<u8>>) {
    let mut bytes = 0;
    let mut data = Vec::new();
    for item in &group.control {
        data.push(encode_control(item));
        bytes += RUN_BYTES + data[data.len() - 1].len();
        if bytes > ENTRY_BYTES_TARGET {
            break;
        }
    }
    let rest = group.control.split_off(data.len());
    (std::mem::replace(&mut group.control, rest), data)
}

fn encode_control(item: &ControlItem) -> Vec<u8> {
    let mut data = Vec::new();
    match item {
        ControlItem::Command { command, .. } => command.encode(&mut data),
        ControlItem::LogStart { .. } => {}
        ControlItem::Coordinator { data: records, .. } => data.extend_from_slice(records),
        ControlItem::Members(members) => members.encode(&mut data),
    }
    data
}

fn control_bytes(item: &ControlItem) -> usize {
    match item {
        // Large, and encoded already.
        ControlItem::Coordinator { data, .. } => data.len(),
        item => encode_control(item).len(),
    }
}

fn control_run(item: &ControlItem, data: &[u8]) -> Run {
    let (kind, partition, offset) = match item {
        ControlItem::Command { .. } => {
            (RunKind::Command, crate::model::ids::PartitionKey(0), Offset(0))
        }
        ControlItem::LogStart { partition, offset, .. } => (RunKind::LogStart, *partition, *offset),
        ControlItem::Coordinator { .. } => {
            (RunKind::Coordinator, crate::model::ids::PartitionKey(0), Offset(0))
        }
        ControlItem::Members(_) => {
            (RunKind::Members, crate::model::ids::PartitionKey(0), Offset(0))
        }
    };
    Run {
        kind,
        partition,
        bytes: data.len() as u32,
        batches: 0,
        base_offset: offset,
        last_offset: offset,
        max_timestamp: -1,
    }
}
