//! Runs clients: spreads them over threads, gives those what they need, and waits for the result.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context;

use crate::args::{OutputArgs, PlaceArgs, SendArgs};
use crate::clock::Clock;
use crate::cpus;
use crate::pace::{Arrivals, Spacing};
use crate::report::{Description, LogFile, Run, Span, Summary, collect};
use crate::router::{Ask, start_router};
use crate::routes::TopicWish;
use crate::worker::{Job, Plan, Worker};

/// Connections are made before the clock of the run begins.
const SET_UP: Duration = Duration::from_millis(200);

/// What is known before any topic is looked at: wrong arguments end here.
pub struct Place {
    cpus: Option<Vec<usize>>,
    log: Option<LogFile>,
    pub stop: Arc<AtomicBool>,
}

impl Place {
    /// Checks the arguments, makes the log, and takes signals. Call it before any thread is
    /// started.
    ///
    /// # Errors
    /// A sentence.
    pub fn prepare(target: &PlaceArgs, output: &OutputArgs) -> anyhow::Result<Place> {
        let cpus = target.cpus()?;
        let log = output.open_log()?;
        let stop = Arc::new(AtomicBool::new(false));
        crate::signals::stop_on_signal(stop.clone())?;
        Ok(Place { cpus, log, stop })
    }
}

/// An open loop: so many requests a second of all paced clients together.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub per_second: f64,
    pub spacing: Spacing,
    pub seed: u64,
}

impl Rate {
    /// So many requests a second, spread as the arguments say.
    pub fn new(per_second: f64, args: &SendArgs) -> Rate {
        Rate { per_second, spacing: args.spacing, seed: args.seed }
    }

    /// What is due for a worker that has this part of the paced clients.
    fn arrivals(self, part: f64, begin: u64, worker: usize) -> Option<Arrivals> {
        let seed = self.seed.wrapping_add(worker as u64);
        let mine = self.per_second * part;
        (mine > 0.0).then(|| Arrivals::new(mine, self.spacing, begin, seed))
    }
}

/// All that a run needs.
pub struct Setup {
    pub wishes: Vec<TopicWish>,
    pub threads: usize,
    pub spin: bool,
    pub rate: Option<Rate>,
    pub warmup: Duration,
    /// None: until all clients are done.
    pub duration: Option<Duration>,
    pub interval: Duration,
    /// Whether the log is for this run. One run only can have it.
    pub keeps_log: bool,
    pub description: Description,
}

/// Longer than any run, and short enough to be counted in nanoseconds.
const NO_END: Duration = Duration::from_secs(86_400 * 365);

/// Runs the clients that `jobs` makes; it is given a way to ask the router, which some of them
/// need. Workers take them in turn: number n goes to worker n mod `threads`.
///
/// # Errors
/// A sentence: it could not begin.
pub fn run(
    place: &mut Place,
    setup: Setup,
    jobs: impl FnOnce(&Sender<Ask>) -> Vec<Job>,
) -> anyhow::Result<Summary> {
    let threads = setup.threads;
    let (reports, inbox) = channel();
    let (repliers, replies): (Vec<_>, Vec<_>) = (0..threads).map(|_| channel()).unzip();
    let router = start_router(setup.wishes, repliers)?;
    let mut shares: Vec<Vec<Job>> = (0..threads).map(|_| Vec::new()).collect();
    for (number, job) in jobs(&router).into_iter().enumerate() {
        shares[number % threads].push(job);
    }
    let paced = |jobs: &[Job]| jobs.iter().filter(|job| job.client.is_paced()).count();
    let paced_all = shares.iter().map(|jobs| paced(jobs)).sum::<usize>();
    let clock = Clock::start();
    let begin = clock.nanos() + SET_UP.as_nanos() as u64;
    let duration = setup.duration.unwrap_or(NO_END);
    let span = Span::new(begin, setup.warmup, duration, setup.interval);
    let sending = Arc::new(AtomicUsize::new(threads));
    let mut workers = Vec::new();
    for (worker, (jobs, replies)) in shares.into_iter().zip(replies).enumerate() {
        let part = paced(&jobs) as f64 / paced_all.max(1) as f64;
        workers.push(Worker::new(Plan {
            worker,
            jobs,
            arrivals: setup.rate.and_then(|rate| rate.arrivals(part, span.begin(), worker)),
            span,
            spin: setup.spin,
            clock,
            router: router.clone(),
            replies,
            reports: reports.clone(),
            stop: place.stop.clone(),
            sending: sending.clone(),
        })?);
    }
    drop((reports, router));
    let wait = Duration::from_nanos(span.measure_from().saturating_sub(clock.nanos()));
    let log = place
        .log
        .take_if(|_| setup.keeps_log)
        .map(|log| log.begin(SystemTime::now() + wait))
        .transpose();
    let log = log.map_err(|error| anyhow::anyhow!("{error}"))?;
    start(workers, place.cpus.as_deref())?;
    let (description, stop) = (setup.description, place.stop.clone());
    Ok(collect(Run { description, span, workers: threads, log, stop, inbox }))
}

fn start(workers: Vec<Worker>, cpus: Option<&[usize]>) -> anyhow::Result<()> {
    for (number, worker) in workers.into_iter().enumerate() {
        let cpu = cpus.map(|cpus| cpus[number % cpus.len()]);
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                cpus::pin(cpu);
                worker.run();
            })
            .context("can't start a thread")?;
    }
    Ok(())
}
