//! `hutong-load verify`: sends records through whatever happens to the broker, and then tells what
//! became of each.
//!
//! Producers and consumers, a thread each, note what they were told and what they saw
//! (`evidence`); when all is over one more reader reads everything, and the `checker` compares.

pub(crate) mod args;
mod checker;
mod evidence;
mod leaders;
mod links;
mod outbox;
mod producer;
mod reader;
mod record;
mod report;
mod runs;
mod session;
mod settle;
mod state;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Parser;

use args::VerifyArgs;
pub use checker::{Anomaly, Example, Found};
use hutong_hist::units::count;
pub use report::Report;

/// Between two progress lines.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// How far a run has come; kept up to date while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    read: AtomicU64,
    phase: AtomicU64,
}

/// What a run is doing.
const PHASES: [&str; 4] = ["sending", "settling", "reading", "comparing"];

impl Progress {
    /// Records acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Records that consumers have read so far, all together.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn count(&self, acknowledged: u64, unknown: u64) {
        self.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        self.unknown.fetch_add(unknown, Ordering::Relaxed);
    }

    fn consumed(&self, records: u64) {
        self.read.fetch_add(records, Ordering::Relaxed);
    }

    fn next_phase(&self) {
        self.phase.fetch_add(1, Ordering::Relaxed);
    }
}

/// A run that is under way, for who wants to do something to the broker meanwhile.
#[derive(Debug)]
pub struct Running {
    pub progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Report>>,
}

#[derive(Debug, Parser)]
#[command(name = "verify", no_binary_name = true)]
struct Line {
    #[command(flatten)]
    args: VerifyArgs,
}

impl Running {
    /// Begins a run with the arguments of `hutong-load verify`.
    ///
    /// # Errors
    /// A sentence: they are wrong, or the run can't begin.
    pub fn start<'a>(line: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Running> {
        Running::begin(Line::try_parse_from(line)?.args, Arc::default())
    }

    fn begin(args: VerifyArgs, stop: Arc<AtomicBool>) -> anyhow::Result<Running> {
        args.validate()?;
        let progress = Arc::new(Progress::default());
        let (of_run, stop_run) = (progress.clone(), stop.clone());
        let thread = thread::Builder::new()
            .name("verify".into())
            .spawn(move || session::run(&args, &of_run, &stop_run))
            .context("can't start a thread")?;
        Ok(Running { progress, stop, thread })
    }

    /// Ends the sending early.
    pub fn stop_sending(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether there is a result.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// A sentence: the run could not begin or not be finished.
    pub fn finish(self) -> anyhow::Result<Report> {
        self.thread.join().map_err(|_| anyhow!("the run has panicked"))?
    }
}

/// Runs it to its end and prints what was found.
///
/// # Errors
/// A sentence: it could not begin or not be finished.
pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    crate::signals::stop_on_signal(stop.clone())?;
    let running = Running::begin(args.clone(), stop)?;
    show_progress(&running);
    let report = running.finish()?;
    if args.json {
        // Numbers, strings and maps with strings for keys.
        println!("{}", serde_json::to_string_pretty(&report).expect("can be written as JSON"));
    } else {
        print!("{report}");
    }
    for failure in &report.failures {
        eprintln!("hutong-load: {failure}");
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show_progress(running: &Running) {
    let is_terminal = std::io::stderr().is_terminal();
    let mut waited = Duration::ZERO;
    const LOOK: Duration = Duration::from_millis(20);
    while !running.is_finished() {
        thread::sleep(LOOK);
        waited += LOOK;
        if waited < PROGRESS_EVERY || !is_terminal {
            continue;
        }
        waited = Duration::ZERO;
        let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let progress = &running.progress;
        let phase = PHASES[(number(&progress.phase) as usize).min(PHASES.len() - 1)];
        eprint!(
            "\r{phase}: {} acknowledged, {} unknown, {} read by consumers\x1b[K",
            count(number(&progress.acknowledged)),
            count(number(&progress.unknown)),
            count(number(&progress.read))
        );
    }
    if is_terminal {
        eprint!("\r\x1b[K");
    }
}
