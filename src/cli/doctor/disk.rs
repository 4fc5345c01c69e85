//! How fast the disk takes durable writes, measured as the broker writes: io_uring, O_DIRECT,
//! over blocks that were written before.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::bail;
use serde_json::json;

use super::super::output::{human_bytes, human_count, human_duration};
use super::measure::{Run, Runs, measure};
use super::report::Check;
use super::scratch::ScratchFile;
use crate::runtime::executor::start_executor;

/// The measurement takes about five seconds; a disk that hangs must not hang the doctor.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Disk buffers, more than are ever in use.
const IO_MEMORY_BYTES: usize = 10 << 20;

/// A durable write of one block that takes longer makes every producer wait.
const WRITE_GOOD: Duration = Duration::from_millis(2);

/// Measures on a scratch file of the directory.
pub fn checks(directory: &Path, cpu: Option<usize>) -> Vec<Check> {
    let runs = ScratchFile::create(directory)
        .map_err(anyhow::Error::from)
        .and_then(|scratch| in_executor(&scratch, cpu));
    match runs {
        Ok(runs) => to_checks(&runs),
        Err(error) => {
            let advice = "the broker does the same, so it would fail, too: see the checks above";
            vec![Check::bad("disk.measured", format!("can't be measured: {error:#}"), advice)]
        }
    }
}

/// Runs the measurement on a thread of its own, and waits for it only so long.
fn in_executor(scratch: &ScratchFile, cpu: Option<usize>) -> anyhow::Result<Runs> {
    let path = scratch.path();
    let (tell, told) = sync_channel(1);
    start_executor("doctor", cpu, IO_MEMORY_BYTES, move || async move {
        // Nobody listens any more if it took too long.
        let _ = tell.send(measure(&path).await);
    })?;
    match told.recv_timeout(TIME_MAX) {
        Ok(runs) => Ok(runs?),
        Err(RecvTimeoutError::Timeout) => {
            bail!("it was not done after {} seconds", TIME_MAX.as_secs())
        }
        Err(RecvTimeoutError::Disconnected) => bail!("its thread ended early"),
    }
}

fn to_checks(runs: &Runs) -> Vec<Check> {
    let mut checks = Vec::new();
    for run in &runs.dsync {
        let name = format!("disk.write_4k_dsync_x{}", run.in_flight);
        let value = format!("{}, {}", latency(run), rate(run));
        let slow = run.in_flight == 1 && run.quantile(0.5) > WRITE_GOOD;
        let check = if slow {
            let advice = "every acknowledged record waits for such a write: use an SSD, best one \
                          with power-loss protection";
            Check::warn(name, value, advice)
        } else {
            Check::ok(name, value)
        };
        checks.push(check.with(numbers(run)));
    }
    let synced = &runs.fdatasync;
    let value = format!("{}, {}", latency(synced), rate(synced));
    checks.push(Check::ok("disk.write_4k_fdatasync_x1", value).with(numbers(synced)));
    for (name, run) in
        [("disk.write_64k_dsync_x8", &runs.large), ("disk.read_128k_x4", &runs.reads)]
    {
        let value = format!("{}, {}", throughput(run), latency(run));
        checks.push(Check::ok(name, value).with(numbers(run)));
    }
    checks
}

fn latency(run: &Run) -> String {
    let at = |quantile| human_duration(run.quantile(quantile));
    format!("p50 {}, p99 {}", at(0.5), at(0.99))
}

fn rate(run: &Run) -> String {
    format!("{}/s", human_count(run.per_second() as u64))
}

fn throughput(run: &Run) -> String {
    format!("{}/s", human_bytes((run.per_second() * run.block_bytes as f64) as u64))
}

fn numbers(run: &Run) -> serde_json::Value {
    let per_second = run.per_second();
    json!({
        "in_flight": run.in_flight,
        "block_bytes": run.block_bytes,
        "operations": run.operations(),
        "per_second": per_second.round(),
        "bytes_per_second": (per_second * run.block_bytes as f64).round(),
        "p50_us": run.quantile(0.5).as_secs_f64() * 1e6,
        "p99_us": run.quantile(0.99).as_secs_f64() * 1e6,
    })
}
