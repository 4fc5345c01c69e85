//! The measurement itself: writes and reads of one kind after another, so many in flight.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::libc;

use crate::runtime::direct_file::DirectFile;
use crate::runtime::disk_memory::DiskBuffer;
use crate::runtime::executor::spawn_local;

/// The file measured on. Large enough that a disk's own cache does not hide everything.
const AREA_BYTES: u64 = 64 << 20;

/// A slow disk gets a smaller file: it is filled for no longer than this.
const FILL_TIME: Duration = Duration::from_millis(1200);
const FILL_BLOCK: usize = 1 << 20;

const WRITE_DEPTHS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const WRITE_BYTES: usize = 4 << 10;
const WRITE_TIME: Duration = Duration::from_millis(350);

const LARGE_DEPTH: usize = 8;
const LARGE_BYTES: usize = 64 << 10;
const LARGE_TIME: Duration = Duration::from_millis(450);

const READ_DEPTH: usize = 4;
const READ_BYTES: usize = 128 << 10;
const READ_TIME: Duration = Duration::from_millis(450);

/// Not zeros, which some devices and virtual disks write in no time.
const FILLING: u8 = 0x5a;

/// All that was measured.
pub struct Runs {
    /// 4 KiB O_DSYNC writes, one run for each depth.
    pub dsync: Vec<Run>,
    /// 4 KiB writes, each with an fdatasync after it.
    pub fdatasync: Run,
    /// 64 KiB O_DSYNC writes.
    pub large: Run,
    /// 128 KiB reads, one behind the other.
    pub reads: Run,
}

/// Operations of one kind, over some time.
pub struct Run {
    /// How many were out at the same time.
    pub in_flight: usize,
    /// Bytes of each.
    pub block_bytes: usize,
    elapsed: Duration,
    nanos: Histogram<u64>,
}

impl Run {
    /// How many were done.
    pub fn operations(&self) -> u64 {
        self.nanos.len()
    }

    /// How many were done in a second.
    pub fn per_second(&self) -> f64 {
        self.operations() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The time that this share of them did not exceed.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.nanos.value_at_quantile(quantile))
    }
}

#[derive(Clone, Copy)]
enum Operation {
    Write,
    WriteAndSync,
    Read,
}

/// One kind of measurement.
#[derive(Clone, Copy)]
struct Plan {
    operation: Operation,
    in_flight: usize,
    block_bytes: usize,
    time: Duration,
}

/// Measures on the file at this path, which must exist and is overwritten.
pub async fn measure(path: &Path) -> io::Result<Runs> {
    let plain = DirectFile::open(path, 0).await?;
    let durable = DirectFile::open(path, libc::O_DSYNC).await?;
    let area = fill(&plain).await?;
    let write = |in_flight| Plan {
        operation: Operation::Write,
        in_flight,
        block_bytes: WRITE_BYTES,
        time: WRITE_TIME,
    };
    let mut dsync = Vec::new();
    for in_flight in WRITE_DEPTHS {
        dsync.push(run(&durable, area, write(in_flight)).await?);
    }
    let synced = Plan { operation: Operation::WriteAndSync, ..write(1) };
    let fdatasync = run(&plain, area, synced).await?;
    let large = Plan { block_bytes: LARGE_BYTES, time: LARGE_TIME, ..write(LARGE_DEPTH) };
    let large = run(&durable, area, large).await?;
    let reads = Plan {
        operation: Operation::Read,
        in_flight: READ_DEPTH,
        block_bytes: READ_BYTES,
        time: READ_TIME,
    };
    let reads = run(&plain, area, reads).await?;
    Ok(Runs { dsync, fdatasync, large, reads })
}

/// Writes the file once, so that what is measured is writing over. Gives back its size.
async fn fill(file: &Rc<DirectFile>) -> io::Result<u64> {
    let buffer = filled(FILL_BLOCK);
    let begin = Instant::now();
    let mut position = 0;
    while position < AREA_BYTES && (position == 0 || begin.elapsed() < FILL_TIME) {
        let written = file.write_at(buffer.clone(), position).await?;
        complete(written, FILL_BLOCK)?;
        position += FILL_BLOCK as u64;
    }
    file.fdatasync().await?;
    Ok(position)
}

async fn run(file: &Rc<DirectFile>, area: u64, plan: Plan) -> io::Result<Run> {
    let next = Rc::new(Cell::new(0));
    let begin = Instant::now();
    let workers: Vec<_> = (0..plan.in_flight)
        .map(|_| spawn_local(work(file.clone(), next.clone(), area, plan, begin)))
        .collect();
    let mut nanos = new_histogram()?;
    let mut failure = None;
    // Each is waited for, also after a failure: a task must not be dropped while it runs.
    for worker in workers {
        match worker.await {
            Ok(done) => nanos.add(done).map_err(io::Error::other)?,
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) => Err(error),
        None => {
            let (in_flight, block_bytes) = (plan.in_flight, plan.block_bytes);
            Ok(Run { in_flight, block_bytes, elapsed: begin.elapsed(), nanos })
        }
    }
}

/// One operation after another until the time is over, each on the next block of all workers.
async fn work(
    file: Rc<DirectFile>,
    next: Rc<Cell<u64>>,
    area: u64,
    plan: Plan,
    begin: Instant,
) -> io::Result<Histogram<u64>> {
    let buffer = filled(plan.block_bytes);
    let mut nanos = new_histogram()?;
    while begin.elapsed() < plan.time {
        let position = next.get();
        next.set((position + plan.block_bytes as u64) % area);
        let before = Instant::now();
        let done = match plan.operation {
            Operation::Read => file.read_at(position, plan.block_bytes).await?.bytes().len(),
            Operation::Write => file.write_at(buffer.clone(), position).await?,
            Operation::WriteAndSync => {
                let written = file.write_at(buffer.clone(), position).await?;
                file.fdatasync().await?;
                written
            }
        };
        complete(done, plan.block_bytes)?;
        nanos.saturating_record(before.elapsed().as_nanos() as u64);
    }
    Ok(nanos)
}

fn filled(bytes: usize) -> Rc<DiskBuffer> {
    let mut buffer = DiskBuffer::take(bytes);
    buffer.bytes_mut().fill(FILLING);
    Rc::new(buffer)
}

fn complete(done: usize, asked: usize) -> io::Result<()> {
    if done == asked {
        return Ok(());
    }
    Err(io::Error::other(format!("{done} of {asked} bytes were done: is the disk full?")))
}

/// For times up to a minute; longer ones count as a minute.
fn new_histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_max(60_000_000_000, 3).map_err(io::Error::other)
}
