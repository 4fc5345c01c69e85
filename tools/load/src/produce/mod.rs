//! `hutong-load produce`: sends records and measures how long their acknowledgements take.

mod client;
pub mod requests;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::Context;

use crate::args::ProduceArgs;
use crate::clock::Clock;
use crate::cpus;
use crate::payload::{Pool, Shape};
use crate::report::{Description, Summary, collect};
use crate::routes::{Routes, TopicWish, prepare, start_router};
use client::Sending;
use requests::Requests;
use worker::{Plan, Worker};

/// Connections are made before the clock of the run begins.
const SET_UP: Duration = Duration::from_millis(200);

/// When a client sends.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many requests a second of all clients together, whatever the answers do.
    Open { rate: f64, spacing: crate::pace::Spacing },
    /// Each client keeps so many requests unanswered.
    Closed { in_flight: usize },
}

/// Runs the workload and says what came out.
///
/// # Errors
/// A sentence: it could not begin.
pub fn run(args: &ProduceArgs) -> anyhow::Result<Summary> {
    let wish = TopicWish {
        brokers: args.target.brokers.clone(),
        name: args.target.topic.clone(),
        partitions: args.target.partitions,
        replication: args.target.replication,
    };
    let routes = Arc::new(prepare(&wish)?);
    let clients = clients(args.target.connections, &routes);
    let threads = args.target.threads.min(clients);
    let shape = Shape {
        record_bytes: args.record_bytes,
        batch_records: args.batch_records,
        keys: args.keys,
        source: args.payload.clone(),
        codec: args.compression,
    };
    let pool = Arc::new(Pool::new(&shape, routes.partitions(), args.seed)?);

    let sending = Sending {
        requests: Requests::new(&wish.name, args.acks.0, args.request_timeout.as_millis() as i32),
        pace: pace_of(args, threads),
        acks: args.acks.0,
        batch_records: args.batch_records as u64,
    };
    let cpus = args.target.cpus()?;
    let log = args.report.open_log()?;

    let stop = Arc::new(AtomicBool::new(false));
    crate::signals::stop_on_signal(stop.clone())?;
    let (reports, inbox) = channel();
    let (repliers, replies): (Vec<_>, Vec<_>) = (0..threads).map(|_| channel()).unzip();
    let router = start_router(wish, repliers)?;
    let clock = Clock::start();
    let span = args.report.span(clock.nanos() + SET_UP.as_nanos() as u64);
    for (worker, replies) in replies.into_iter().enumerate() {
        let plan = Plan {
            worker,
            clients: (worker..clients).step_by(threads).collect(),
            sending: sending.clone(),
            pool: pool.clone(),
            span,
            spin: args.target.spin,
            seed: args.seed.wrapping_add(worker as u64),
            clock,
            router: router.clone(),
            replies,
            reports: reports.clone(),
            stop: stop.clone(),
        };
        let worker_of = Worker::new(plan, &routes)?;
        let cpu = cpus.as_ref().map(|cpus| cpus[worker % cpus.len()]);
        thread::Builder::new()
            .name(format!("worker-{worker}"))
            .spawn(move || {
                cpus::pin(cpu);
                worker_of.run();
            })
            .context("can't start a thread")?;
    }
    drop(reports);
    collect(describe(args, &routes, clients, threads), span, threads, log, &inbox)
}

/// At least one for each broker that leads something, or some partitions would get nothing.
fn clients(wanted: usize, routes: &Routes) -> usize {
    let brokers = routes.brokers().len();
    if wanted < brokers {
        eprintln!("hutong-load: {brokers} connections, one for each broker that leads a partition");
    }
    wanted.max(brokers)
}

fn pace_of(args: &ProduceArgs, threads: usize) -> Pace {
    match args.rate {
        Some(rate) => Pace::Open { rate: rate / threads as f64, spacing: args.spacing },
        None => Pace::Closed { in_flight: args.in_flight },
    }
}

fn describe(args: &ProduceArgs, routes: &Routes, clients: usize, threads: usize) -> Description {
    let pace = match args.rate {
        Some(rate) => format!("open loop, {rate} requests/s"),
        None => format!("closed loop, {} in flight", args.in_flight),
    };
    Description {
        workload: "produce".into(),
        brokers: args.target.brokers.iter().map(ToString::to_string).collect(),
        topic: args.target.topic.clone(),
        partitions: routes.partitions(),
        connections: clients,
        threads,
        pace,
        open_loop: args.rate.is_some(),
        acks: args.acks.to_string(),
        record_bytes: args.record_bytes,
        batch_records: args.batch_records,
        command: std::env::args().collect(),
    }
}
