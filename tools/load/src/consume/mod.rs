//! `hutong-load consume`: reads records and measures how fast they come.

mod args;
mod client;
pub mod requests;

use std::sync::Arc;
use std::time::Duration;

use crate::offsets::{End, Positions, fetch_version, offsets};
use crate::produce::at_least_one_each;
use crate::report::{Description, Summary};
use crate::routes::{Routes, Share, prepare};
use crate::run::{Place, Setup, run};
use crate::worker::Job;
pub use args::{ConsumeArgs, FetchArgs};
pub use client::{Behind, Consumer, Reading};
pub use requests::Requests;

/// Runs the workload and says what came out.
///
/// # Errors
/// A sentence: it could not begin.
pub fn consume(args: &ConsumeArgs) -> anyhow::Result<Summary> {
    let mut place = Place::prepare(&args.target.place, &args.report.output)?;
    let wish = args.target.wish_to_read();
    let name = wish.name.clone();
    let routes = Arc::new(prepare(&wish)?);
    let clients = at_least_one_each(args.target.connections, &routes);
    let threads = args.target.place.threads.min(clients);
    let ends = args.until_end.then(|| offsets(&name, &routes, End::End)).transpose()?;
    let version = fetch_version(&routes.brokers())?;
    let reading = Arc::new(Reading {
        topic: 0,
        requests: Requests::new(&name, version, args.fetch.appetite())?,
        positions: Positions::new(&offsets(&name, &routes, args.from)?),
        until: ends,
        behind: None,
        check_crc: args.check_crc,
        journey: None,
    });
    let setup = Setup {
        wishes: vec![wish],
        threads,
        spin: args.target.place.spin,
        rate: None,
        warmup: if args.until_end { Duration::ZERO } else { args.report.warmup },
        duration: (!args.until_end).then_some(args.report.duration),
        keeps_log: true,
        interval: args.report.output.interval,
        description: describe(args, &routes, clients, threads),
    };
    run(&mut place, setup, |router| {
        let job = |client| Job {
            client: Box::new(Consumer::new(client % threads, reading.clone(), router.clone())),
            topic: 0,
            routes: routes.clone(),
            share: Share::Part { client, of: clients },
        };
        (0..clients).map(job).collect()
    })
}

fn describe(args: &ConsumeArgs, routes: &Routes, clients: usize, threads: usize) -> Description {
    let from = if args.from == End::Start { "start" } else { "end" };
    let until = if args.until_end { " until what is there is read" } else { "" };
    Description {
        workload: "consume",
        brokers: args.target.place.brokers.iter().map(ToString::to_string).collect(),
        topic: args.target.topic.clone(),
        partitions: routes.partitions(),
        connections: clients,
        threads,
        pace: format!("from the {from}{until}"),
        rate: None,
        settings: serde_json::json!({
            "from": from,
            "until_end": args.until_end,
            "max_wait_ms": args.fetch.max_wait.as_millis() as u64,
            "min_bytes": args.fetch.min_bytes,
            "max_bytes": args.fetch.max_bytes,
            "partition_max_bytes": args.fetch.partition_max_bytes,
            "check_crc": args.check_crc,
        }),
        says: String::new(),
        command: std::env::args().collect(),
    }
}
