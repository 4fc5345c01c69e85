//! `hutong-load e2e`: produces and consumes at once, and measures from when a record was due to
//! when a consumer had it.

mod journey;
mod stamp;

use std::sync::Arc;

use clap::Args;

use crate::args::{NewTopicArgs, ReportArgs, SendArgs, TargetArgs, UsageError, at_least_one};
use crate::compress::Codec;
use crate::consume::{Consumer, FetchArgs, Reading, Requests};
use crate::offsets::{End, Positions, fetch_version, offsets};
use crate::produce::{Pace, Producer, Sending, at_least_one_each, sending};
use crate::report::{Description, Summary};
use crate::routes::{Routes, Share, prepare};
use crate::run::{Place, Rate, Setup, run};
use crate::worker::Job;
pub use journey::{Drain, Journey};
pub use stamp::{STAMP_BYTES, read_stamp, stamp};

/// Requests a second, unless something else is asked for.
const RATE: f64 = 1000.0;

#[derive(Args, Clone, Debug)]
#[command(
    about = "Send and read at once, and measure from when a record was due to its receipt",
    long_about = "Send and read at once, and measure from when a record was due to its receipt.\n\n\
                  With --rate in an open loop (1000 requests/s if nothing else is asked for), with \
                  --in-flight in a closed one. Consumers begin at the end of the topic, before the \
                  first record is sent."
)]
pub struct E2eArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    #[command(flatten)]
    pub created: NewTopicArgs,

    #[command(flatten)]
    pub report: ReportArgs,

    #[command(flatten)]
    pub send: SendArgs,

    /// Connections that read, beside those that send; the partitions are shared out to them
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    pub consumers: usize,

    #[command(flatten)]
    pub fetch: FetchArgs,
}

/// Runs the workload and says what came out.
///
/// # Errors
/// A sentence: it could not begin.
pub fn e2e(args: &E2eArgs) -> anyhow::Result<Summary> {
    check_record_bytes(args.send.record_bytes)?;
    let mut place = Place::prepare(&args.target.place, &args.report.output)?;
    let wish = args.target.wish(&args.created);
    let routes = Arc::new(prepare(&wish)?);
    let producers = at_least_one_each(args.target.connections, &routes);
    let consumers = at_least_one_each(args.consumers, &routes);
    let threads = args.target.place.threads.min(producers + consumers);
    let rate = args.send.rate.or_else(|| args.send.in_flight.is_none().then_some(RATE));
    let pace = match args.send.in_flight {
        Some(in_flight) => Pace::Closed { in_flight },
        None => Pace::Open,
    };
    let journey = Journey::new(fastrand::u64(..), 1, None);
    let sending = sending(&args.send, &wish.name, pace, Codec::None, &routes)?;
    let sending = Arc::new(Sending { journey: Some(journey.clone()), ..sending });
    let version = fetch_version(&routes.brokers())?;
    let reading = Arc::new(Reading {
        topic: 0,
        requests: Requests::new(&wish.name, version, args.fetch.appetite())?,
        positions: Positions::new(&offsets(&wish.name, &routes, End::End)?),
        until: None,
        behind: None,
        check_crc: false,
        journey: Some(journey.clone()),
    });
    let setup = Setup {
        wishes: vec![wish],
        threads,
        spin: args.target.place.spin,
        rate: rate.map(|rate| Rate::new(rate, &args.send)),
        warmup: args.report.warmup,
        duration: Some(args.report.duration),
        keeps_log: true,
        interval: args.report.output.interval,
        description: describe(args, rate, &routes, (producers, consumers), threads),
    };
    let mut summary = run(&mut place, setup, |router| {
        let job = |client, share| Job { client, topic: 0, routes: routes.clone(), share };
        let reads = (0..consumers).map(|client| {
            let consumer = Consumer::new(client % threads, reading.clone(), router.clone());
            job(Box::new(consumer), Share::Part { client, of: consumers })
        });
        let writes = (0..producers).map(|client| {
            job(Box::new(Producer::new(client, sending.clone())), Share::All { client })
        });
        reads.chain(writes).collect()
    })?;
    summary.missing(journey.under_way());
    Ok(summary)
}

/// Records must have room for a stamp.
///
/// # Errors
/// A [`UsageError`].
pub fn check_record_bytes(record_bytes: usize) -> Result<(), UsageError> {
    if record_bytes < STAMP_BYTES {
        return Err(UsageError(format!(
            "records of {record_bytes} bytes have no room for the time they were due: they need \
             {STAMP_BYTES} bytes at least"
        )));
    }
    Ok(())
}

fn describe(
    args: &E2eArgs,
    rate: Option<f64>,
    routes: &Routes,
    (producers, consumers): (usize, usize),
    threads: usize,
) -> Description {
    let pace = match (rate, args.send.in_flight) {
        (Some(rate), _) => format!("open loop, {rate} requests/s"),
        (None, in_flight) => format!("closed loop, {} in flight", in_flight.unwrap_or_default()),
    };
    let mut settings = args.send.settings();
    settings["producers"] = producers.into();
    settings["consumers"] = consumers.into();
    settings["max_wait_ms"] = (args.fetch.max_wait.as_millis() as u64).into();
    settings["min_bytes"] = args.fetch.min_bytes.into();
    Description {
        workload: "e2e",
        brokers: args.target.place.brokers.iter().map(ToString::to_string).collect(),
        topic: args.target.topic.clone(),
        partitions: routes.partitions(),
        connections: producers + consumers,
        threads,
        pace,
        rate,
        settings,
        says: args.send.says(),
        command: std::env::args().collect(),
    }
}
