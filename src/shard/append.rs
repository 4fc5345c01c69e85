//! From the queue into the journal: the writer's turn.
//!
//! All that waits, up to a bound, becomes one entry. Batches of one partition are laid side by
//! side in it, so that a consumer gets them as one piece. There is no timer: while writes are out
//! more requests come, and make the next entry.

use crate::journal::Blocked;
use crate::journal::format::{ENTRY_HEADER_BYTES, RUN_BYTES, Run, RunKind};
use crate::journal::page::{Page, align_up};
use crate::kafka::record_batch::{set_append_time, set_base_offset_and_epoch};
use crate::limits::ENTRY_BYTES_TARGET;
use crate::model::position::{LogIndex, Offset, Position, Term};
use crate::model::time::Now;
use crate::partition::index::RunPlace;
use crate::partition::producers::Verdict;
use crate::replica::Descriptor;
use crate::shard::group::{AppendedEntry, ControlItem, Group, Grown, PartitionSlot};
use crate::shard::produce::{Appended, PendingProduce, ProduceOutcome};
use crate::shard::request_queue::{ProduceAnswer, QueuedBatch};

/// Memory that is kept from turn to turn, so that a turn allocates nothing for each request.
#[derive(Debug, Default)]
pub struct Workspace {
    batches: Vec<Placed>,
    runs: Vec<RunInProgress>,
    lines: Vec<Run>,
    /// For each slot the run of this entry, if it has one.
    run_of_slot: Vec<u32>,
}

#[derive(Debug)]
struct Placed {
    batch: QueuedBatch,
    base_offset: Offset,
    /// The next batch of the same run.
    next: u32,
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
        bytes += RUN_BYTES + encode_control(item).len();
        if bytes > ENTRY_BYTES_TARGET {
            break;
        }
    }
    while let Some(next) = group.queue.next_bytes(count) {
        if count > 0 && bytes + next > ENTRY_BYTES_TARGET {
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
    let mut duplicates = Vec::new();
    workspace.run_of_slot.resize(group.partitions.slot_count(), NONE);
    for _ in 0..plan.count {
        let Some(batch) = group.queue.pop() else { break };
        place(group, workspace, batch, plan.now, &mut duplicates, answered);
    }
    let (control, commands) = take_control(group);
    workspace.lines.clear();
    workspace
        .lines
        .extend(control.iter().zip(&commands).map(|(item, data)| control_run(item, data)));
    workspace.lines.extend(workspace.runs.iter().map(|run| run.line));
    if workspace.lines.is_empty() {
        wait_for_original(group, duplicates);
        return;
    }
    let stamp = group.stamp(plan.term, plan.index, plan.now.wallclock);
    let appended = group.journal.append(stamp, &workspace.lines, |into| {
        let mut at = 0;
        for data in &commands {
            into[at..at + data.len()].copy_from_slice(data);
            at += data.len();
        }
        copy_batches(workspace, &mut into[at..], &plan);
    });
    let data_at = ENTRY_HEADER_BYTES
        + workspace.lines.len() * RUN_BYTES
        + commands.iter().map(Vec::len).sum::<usize>();
    let grown = grow_partitions(group, workspace, appended.position, data_at, plan.term);
    let entry = AppendedEntry {
        index: plan.index,
        term: plan.term,
        crc: appended.crc,
        end: appended.end,
        appended_at: plan.now.time,
        flushed_at: None,
        requests: workspace.batches.len() as u32,
        grown,
        control,
    };
    let bytes = (appended.end.0 - appended.position.0) as u32;
    let descriptor = Descriptor { position: appended.position, bytes, crc: appended.crc };
    group.appended(entry, descriptor);
    group.metrics.entry(workspace.batches.len() as u32, bytes);
    wait_for_original(group, duplicates);
    wait(group, workspace, appended.end, plan.now);
}

/// Gives a batch its offset and its run, or answers it.
fn place<P: Page>(
    group: &mut Group<P>,
    workspace: &mut Workspace,
    mut batch: QueuedBatch,
    now: Now,
    duplicates: &mut Vec<(QueuedBatch, Offset)>,
    answered: &mut impl FnMut(QueuedBatch, ProduceOutcome),
) {
    let Some(partition) = group.partitions.get_live(batch.partition, batch.key) else {
        return answered(batch, ProduceOutcome::UnknownPartition);
    };
    if let Some(sequence) = &batch.sequence {
        match partition.producers.judge(sequence) {
            Verdict::Append => {}
            Verdict::Duplicate(offset) => return duplicates.push((batch, offset)),
            Verdict::OutOfOrder => return answered(batch, ProduceOutcome::OutOfOrder),
            Verdict::Fenced => return answered(batch, ProduceOutcome::Fenced),
        }
    }
    if batch.append_time {
        batch.max_timestamp = now.wallclock.0;
    }
    let slot = batch.partition.0 as usize;
    let number = workspace.batches.len() as u32;
    let base_offset = match workspace.run_of_slot[slot] {
        NONE => partition.log_end(),
        run => Offset(workspace.runs[run as usize].line.last_offset.0 + 1),
    };
    let last_offset = Offset(base_offset.0 + i64::from(batch.record_count) - 1);
    if let Some(sequence) = &batch.sequence {
        partition.producers.appended(sequence, base_offset);
    }
    match workspace.run_of_slot[slot] {
        NONE => {
            workspace.run_of_slot[slot] = workspace.runs.len() as u32;
            workspace.runs.push(RunInProgress {
                partition: batch.partition,
                first: number,
                last: number,
                line: Run {
                    kind: RunKind::Records,
                    partition: partition.key,
                    bytes: batch.records.len() as u32,
                    batches: 1,
                    base_offset,
                    last_offset,
                    max_timestamp: batch.max_timestamp,
                },
            });
        }
        run => {
            let run = &mut workspace.runs[run as usize];
            workspace.batches[run.last as usize].next = number;
            run.last = number;
            run.line.bytes += batch.records.len() as u32;
            run.line.batches += 1;
            run.line.last_offset = last_offset;
            run.line.max_timestamp = run.line.max_timestamp.max(batch.max_timestamp);
        }
    }
    workspace.batches.push(Placed { batch, base_offset, next: NONE });
}

/// The one copy of a payload: from what the socket gave into the page that goes to the disk.
fn copy_batches(workspace: &Workspace, into: &mut [u8], plan: &EntryPlan) {
    let epoch = plan.term.0 as i32;
    let mut at = 0;
    for run in &workspace.runs {
        let mut next = run.first;
        while next != NONE {
            let placed = &workspace.batches[next as usize];
            let records = &placed.batch.frame[placed.batch.records.clone()];
            let batch = &mut into[at..at + records.len()];
            batch.copy_from_slice(records);
            set_base_offset_and_epoch(batch, placed.base_offset.0, epoch);
            if placed.batch.append_time {
                set_append_time(batch, plan.now.wallclock.0);
            }
            at += records.len();
            next = placed.next;
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
        grown.push(Grown {
            partition: run.partition,
            key: partition.key,
            end: partition.log_end(),
            bytes: run.line.bytes,
        });
    }
    grown
}

/// Has the answers to what was appended wait for their level.
fn wait<P: Page>(group: &mut Group<P>, workspace: &mut Workspace, end: Position, now: Now) {
    for placed in workspace.batches.drain(..) {
        let batch = placed.batch;
        group.metrics.queue_stage(now.time.since(batch.queued_at));
        let append_time = if batch.append_time { now.wallclock.0 } else { -1 };
        push_pending(group, batch, placed.base_offset, append_time, end);
    }
    group.metrics.end_of_entry();
}

/// A batch that is there already is answered when everything before now is where its level asks:
/// the original was appended before.
fn wait_for_original<P: Page>(group: &mut Group<P>, duplicates: Vec<(QueuedBatch, Offset)>) {
    let end = group.journal.append_position();
    for (batch, base_offset) in duplicates {
        push_pending(group, batch, base_offset, -1, end);
    }
}

fn push_pending<P: Page>(
    group: &mut Group<P>,
    batch: QueuedBatch,
    base_offset: Offset,
    append_time: i64,
    end: Position,
) {
    let log_start = group.partitions.get(batch.partition).map_or(-1, |p| p.log_start().0);
    if matches!(batch.answer, ProduceAnswer::None) {
        return;
    }
    let outcome = Appended { base_offset: base_offset.0, append_time, log_start };
    let pending = PendingProduce { answer: batch.answer, queued_at: batch.queued_at, outcome };
    group.pending.push(batch.qos, end, batch.deadline, pending);
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
    if let ControlItem::Command { command, .. } = item {
        command.encode(&mut data);
    }
    data
}

fn control_run(item: &ControlItem, data: &[u8]) -> Run {
    let (kind, partition, offset) = match item {
        ControlItem::Command { .. } => {
            (RunKind::Command, crate::model::ids::PartitionKey(0), Offset(0))
        }
        ControlItem::LogStart { partition, offset, .. } => (RunKind::LogStart, *partition, *offset),
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
