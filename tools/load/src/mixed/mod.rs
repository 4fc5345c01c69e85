//! `hutong-load mixed`: a workload from a file.

mod cast;
mod workload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::args::{Acks, OutputArgs, PlaceArgs, SendArgs};
use crate::compress::Codec;
use crate::consume::FetchArgs;
use crate::offsets::{End, offsets};
use crate::pace::Spacing;
use crate::payload::Source;
use crate::produce::{Pace, Producer, Sending, at_least_one_each, sending};
use crate::report::{Backlog, Description, Summary};
use crate::routes::{Routes, Share, TopicWish, prepare};
use crate::run::{Place, Rate, Setup, run};
use crate::worker::Job;
use cast::Cast;
use workload::{KeyDistributor, Workload};

/// Requests that each producer keeps unanswered while a backlog is built.
const BUILD_IN_FLIGHT: usize = 64;

#[derive(Args, Clone, Debug)]
#[command(
    about = "Run a workload from a file: producers, consumers, rates, a backlog to drain",
    long_about = "Run a workload from a file: topics, producers, consumers, rates, a backlog to \
                  drain, in the words of the OpenMessaging Benchmark."
)]
pub struct MixedArgs {
    /// The workload, a TOML file
    #[arg(value_name = "FILE")]
    pub workload: PathBuf,

    #[command(flatten)]
    pub place: PlaceArgs,

    #[command(flatten)]
    pub output: OutputArgs,

    /// What the names of the topics begin with; a number follows
    #[arg(long, value_name = "NAME", default_value = "mixed")]
    pub topic: String,

    /// Replicas of each partition when topics are made; -1 is the broker's default
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub replication: i16,

    /// all, or 0 to 5
    #[arg(long, default_value = "all", allow_negative_numbers = true)]
    pub acks: Acks,

    /// Equal seeds give equal payloads and schedules
    #[arg(long, default_value = "1")]
    pub seed: u64,

    #[command(flatten)]
    pub fetch: FetchArgs,
}

/// A topic of the workload.
struct Topic {
    wish: TopicWish,
    routes: Arc<Routes>,
    producers: usize,
    /// Of each subscription.
    consumers: usize,
    /// Where consumers begin.
    begin: Vec<i64>,
}

/// Runs the workload and says what came out.
///
/// # Errors
/// A sentence: it could not begin.
pub fn mixed(args: &MixedArgs) -> anyhow::Result<Summary> {
    let workload = Workload::read(&args.workload)?;
    let mut place = Place::prepare(&args.place, &args.output)?;
    let topics = (0..workload.topics).map(|number| Topic::prepare(args, &workload, number));
    let topics = topics.collect::<anyhow::Result<Vec<Topic>>>()?;
    if workload.backlog_bytes() > 0 {
        let built = build(args, &workload, &topics, &mut place)?;
        if !built.failures.is_empty() {
            return Ok(built);
        }
    }
    measure(args, &workload, &topics, &mut place)
}

impl Topic {
    fn prepare(args: &MixedArgs, workload: &Workload, number: usize) -> anyhow::Result<Topic> {
        let wish = TopicWish {
            brokers: args.place.brokers.clone(),
            name: format!("{}-{number}", args.topic),
            partitions: Some(workload.partitions_per_topic),
            create: true,
            replication: args.replication,
        };
        let routes = Arc::new(prepare(&wish)?);
        let producers = at_least_one_each(workload.producers_per_topic, &routes);
        let consumers = at_least_one_each(workload.consumers_per_subscription, &routes);
        let begin = offsets(&wish.name, &routes, End::End)?;
        Ok(Topic { wish, routes, producers, consumers, begin })
    }

    fn sending(
        &self,
        args: &MixedArgs,
        workload: &Workload,
        pace: Pace,
    ) -> anyhow::Result<Sending> {
        sending(&send_args(args, workload), &self.wish.name, pace, Codec::None, &self.routes)
    }

    fn producers(&self, topic: usize, sending: &Arc<Sending>) -> Vec<Job> {
        let job = |client| Job {
            client: Box::new(Producer::new(client, sending.clone())),
            topic,
            routes: self.routes.clone(),
            share: Share::All { client },
        };
        (0..self.producers).map(job).collect()
    }
}

fn send_args(args: &MixedArgs, workload: &Workload) -> SendArgs {
    let keyed = workload.key_distributor != KeyDistributor::NoKey;
    SendArgs {
        rate: workload.request_rate(),
        spacing: Spacing::Poisson,
        in_flight: None,
        record_bytes: workload.message_size,
        batch_records: workload.batch_records,
        acks: args.acks,
        keys: if keyed { workload.keys } else { 0 },
        payload: workload.payload_file.clone().map_or(Source::Random, Source::File),
        request_timeout: Duration::from_secs(30),
        seed: args.seed,
    }
}

/// Writes what consumers will find.
fn build(
    args: &MixedArgs,
    workload: &Workload,
    topics: &[Topic],
    place: &mut Place,
) -> anyhow::Result<Summary> {
    let pace = Pace::Closed { in_flight: BUILD_IN_FLIGHT };
    let bytes = workload.backlog_bytes() / topics.len() as i64;
    let mut jobs = Vec::new();
    for (number, topic) in topics.iter().enumerate() {
        let sending = topic.sending(args, workload, pace)?;
        let sending = Arc::new(Sending { quota: Some(bytes.into()), ..sending });
        jobs.extend(topic.producers(number, &sending));
    }
    let description = describe(args, workload, topics, jobs.len());
    let setup = setup(args, topics, description, None);
    run(place, Setup { duration: None, keeps_log: false, ..setup }, |_| jobs)
}

fn measure(
    args: &MixedArgs,
    workload: &Workload,
    topics: &[Topic],
    place: &mut Place,
) -> anyhow::Result<Summary> {
    let cast = Cast::new(args, workload, topics)?;
    let rate = workload.request_rate();
    let rate = rate.map(|rate| Rate::new(rate, &send_args(args, workload)));
    let description = describe(args, workload, topics, cast.clients(topics));
    // Building the backlog has warmed up what there is to be warmed up.
    let warmup = if cast.drain.is_some() { Duration::ZERO } else { workload.warmup() };
    let setup = Setup {
        warmup,
        duration: Some(workload.duration()),
        ..setup(args, topics, description, rate)
    };
    let threads = setup.threads;
    let mut summary = run(place, setup, |router| cast.jobs(topics, threads, router))?;
    if workload.subscriptions() > 0 {
        summary.missing(cast.journeys.iter().map(|journey| journey.under_way()).sum());
    }
    if let Some(drain) = &cast.drain {
        let drained_seconds = drain.over_at().map(|at| summary.seconds_since_begin(at));
        summary.drained(Backlog { records: cast.backlog, drained_seconds });
    }
    Ok(summary)
}

fn setup(
    args: &MixedArgs,
    topics: &[Topic],
    description: Description,
    rate: Option<Rate>,
) -> Setup {
    Setup {
        wishes: topics.iter().map(|topic| topic.wish.clone()).collect(),
        threads: description.threads,
        spin: args.place.spin,
        rate,
        warmup: Duration::ZERO,
        duration: None,
        keeps_log: true,
        interval: args.output.interval,
        description,
    }
}

fn describe(
    args: &MixedArgs,
    workload: &Workload,
    topics: &[Topic],
    clients: usize,
) -> Description {
    let pace = match workload.request_rate() {
        Some(rate) => format!("open loop, {rate} requests/s"),
        None => format!("closed loop, {} in flight", workload.in_flight),
    };
    Description {
        workload: "mixed",
        brokers: args.place.brokers.iter().map(ToString::to_string).collect(),
        topic: match topics {
            [topic] => topic.wish.name.clone(),
            topics => format!("{}-0 to {}", args.topic, topics.len() - 1),
        },
        partitions: topics.iter().map(|topic| topic.routes.partitions()).sum(),
        connections: clients,
        threads: args.place.threads.min(clients),
        pace,
        rate: workload.request_rate(),
        settings: serde_json::to_value(workload).unwrap_or_default(),
        says: send_args(args, workload).says(),
        command: std::env::args().collect(),
    }
}
