//! `hutong-load produce`: sends records and measures how long their acknowledgements take.

mod client;
pub mod requests;

use std::sync::Arc;

use crate::args::{ProduceArgs, SendArgs};
use crate::compress::Codec;
use crate::payload::{Pool, Shape};
use crate::report::{Description, Summary};
use crate::routes::{Routes, Share, prepare};
use crate::run::{Place, Rate, Setup, run};
use crate::worker::Job;
pub use client::{Producer, STALE_ROUTES, Sending};
use requests::Requests;

/// As fast as it goes.
const IN_FLIGHT: usize = 4096;

/// When a producer sends.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// When something is due, whatever the answers do.
    Open,
    /// When fewer requests than this are unanswered.
    Closed { in_flight: usize },
}

/// Runs the workload and says what came out.
///
/// # Errors
/// A sentence: it could not begin.
pub fn produce(args: &ProduceArgs) -> anyhow::Result<Summary> {
    let mut place = Place::prepare(&args.target.place, &args.report.output)?;
    let wish = args.target.wish(&args.created);
    let routes = Arc::new(prepare(&wish)?);
    let clients = at_least_one_each(args.target.connections, &routes);
    let pace = match args.send.rate {
        Some(_) => Pace::Open,
        None => Pace::Closed { in_flight: args.send.in_flight.unwrap_or(IN_FLIGHT) },
    };
    let sending = Arc::new(sending(&args.send, &wish.name, pace, args.compression, &routes)?);
    let jobs = (0..clients).map(|client| Job {
        client: Box::new(Producer::new(client, sending.clone())),
        topic: 0,
        routes: routes.clone(),
        share: Share::All { client },
    });
    let threads = args.target.place.threads.min(clients);
    let setup = Setup {
        wishes: vec![wish],
        threads,
        spin: args.target.place.spin,
        rate: args.send.rate.map(|rate| Rate::new(rate, &args.send)),
        warmup: args.report.warmup,
        duration: Some(args.report.duration),
        keeps_log: true,
        interval: args.report.output.interval,
        description: describe(args, &routes, clients, threads),
    };
    run(&mut place, setup, |_| jobs.collect())
}

/// What producers of a topic send.
///
/// # Errors
/// A sentence: the batches can't be made.
pub fn sending(
    args: &SendArgs,
    topic: &str,
    pace: Pace,
    codec: Codec,
    routes: &Routes,
) -> anyhow::Result<Sending> {
    let shape = Shape {
        record_bytes: args.record_bytes,
        batch_records: args.batch_records,
        keys: args.keys,
        source: args.payload.clone(),
        codec,
    };
    let timeout_ms = args.request_timeout.as_millis() as i32;
    Ok(Sending {
        requests: Requests::new(topic, args.acks.0, timeout_ms),
        pace,
        acks: args.acks.0,
        batch_records: args.batch_records as u64,
        pool: Pool::new(&shape, routes.partitions(), args.seed)?,
        quota: None,
        journey: None,
    })
}

/// At least one for each broker that leads something, or some partitions would get nothing.
pub fn at_least_one_each(wanted: usize, routes: &Routes) -> usize {
    let brokers = routes.brokers().len();
    if wanted < brokers {
        eprintln!("hutong-load: {brokers} connections, one for each broker that leads a partition");
    }
    wanted.max(brokers)
}

fn describe(args: &ProduceArgs, routes: &Routes, clients: usize, threads: usize) -> Description {
    let pace = match (args.send.rate, args.send.in_flight) {
        (Some(rate), _) => format!("open loop, {rate} requests/s"),
        (None, in_flight) => {
            format!("closed loop, {} in flight", in_flight.unwrap_or(IN_FLIGHT))
        }
    };
    let mut settings = args.send.settings();
    settings["compression"] = format!("{:?}", args.compression).to_lowercase().into();
    Description {
        workload: "produce",
        brokers: args.target.place.brokers.iter().map(ToString::to_string).collect(),
        topic: args.target.topic.clone(),
        partitions: routes.partitions(),
        connections: clients,
        threads,
        pace,
        rate: args.send.rate,
        settings,
        says: args.send.says(),
        command: std::env::args().collect(),
    }
}
