//! What a person types.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use hutong::cli::client::Endpoint;
use hutong::config::{allowed_cpus, cpu_list};

use crate::compress::Codec;
use crate::consume::ConsumeArgs;
use crate::e2e::E2eArgs;
use crate::groups::{CommitsArgs, HeartbeatsArgs};
use crate::mixed::MixedArgs;
use crate::pace::Spacing;
use crate::payload::Source;
use crate::report::LogFile;
use crate::routes::TopicWish;
use crate::verify::args::VerifyArgs;

#[derive(Debug, Parser)]
#[command(
    name = "hutong-load",
    version,
    about = "Load for brokers that speak Kafka, measured in nanoseconds",
    after_long_help = "Exit codes: 0 done, 1 failed or nothing was acknowledged, 2 asked wrongly."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

// What a command does is told where its arguments are: a comment on a variant would replace it.
#[derive(Debug, Subcommand)]
pub enum Command {
    Produce(Box<ProduceArgs>),
    Consume(Box<ConsumeArgs>),
    E2e(Box<E2eArgs>),
    Mixed(Box<MixedArgs>),
    Commits(CommitsArgs),
    Heartbeats(HeartbeatsArgs),
    Sink(SinkArgs),
    Verify(Box<VerifyArgs>),
}

/// Which cluster, and with which threads.
#[derive(Args, Clone, Debug)]
pub struct PlaceArgs {
    /// Brokers to begin with, separated by commas
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", value_delimiter = ',')]
    pub brokers: Vec<Endpoint>,

    /// Threads that the connections are spread over
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    pub threads: usize,

    /// CPUs to pin the threads to, in turn, such as 1 or 2-3
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<String>,

    /// Never sleep: finer timing at the price of a whole CPU for each thread
    #[arg(long)]
    pub spin: bool,
}

/// Where the load goes, and from where.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// The topic. One that is written to is made if it isn't there
    #[arg(long, value_name = "NAME", default_value = "load")]
    pub topic: String,

    /// TCP connections, each a client of its own, spread over the brokers that lead partitions
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    pub connections: usize,
}

/// How the topic is made if it isn't there.
#[derive(Args, Clone, Debug)]
pub struct NewTopicArgs {
    /// Partitions it is made with, or must have [default: 1, or what it has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    pub partitions: Option<i32>,

    /// Replicas of each partition when the topic is made; -1 is the broker's default
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub replication: i16,
}

/// What is measured, and where it goes.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// How long to measure, such as 30s or 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub duration: Duration,

    /// How long to run before that
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = any_time)]
    pub warmup: Duration,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// Where results go.
#[derive(Args, Clone, Debug)]
pub struct OutputArgs {
    /// Length of an interval in the log and of the progress line
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub interval: Duration,

    /// Write an interval log of latencies (HdrHistogram's format) to this file
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Clone, Debug)]
#[command(
    about = "Send records and measure their acknowledgements",
    long_about = "Send records and measure their acknowledgements.\n\n\
                  With --rate in an open loop, with --in-flight in a closed one, and with neither \
                  as fast as it goes, which is a closed loop of 4096."
)]
pub struct ProduceArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    #[command(flatten)]
    pub created: NewTopicArgs,

    #[command(flatten)]
    pub report: ReportArgs,

    #[command(flatten)]
    pub send: SendArgs,

    /// How batches are compressed, before the clock starts
    #[arg(long, value_enum, default_value_t = Codec::None)]
    pub compression: Codec,
}

/// What producers send, and when.
#[derive(Args, Clone, Debug)]
pub struct SendArgs {
    /// Open loop: so many requests a second of all connections together, whatever the broker does;
    /// latency counts from when each was meant to leave
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,

    /// How an open loop spreads its requests
    #[arg(long, value_enum, default_value_t = Spacing::Poisson)]
    pub spacing: Spacing,

    /// Closed loop: requests that each connection keeps unanswered
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with = "rate")]
    pub in_flight: Option<usize>,

    /// Bytes of each record's value
    #[arg(long, value_name = "BYTES", default_value = "100")]
    pub record_bytes: usize,

    /// Records of each request
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    pub batch_records: usize,

    /// all, or 0 to 5: see the broker's README for 2 to 5
    #[arg(long, default_value = "all", allow_negative_numbers = true)]
    pub acks: Acks,

    /// Give records one of so many keys, which choose the partition as Kafka's clients do; 0: none
    #[arg(long, value_name = "N", default_value = "0")]
    pub keys: usize,

    /// What values are made of: random, zero, or a file's bytes
    #[arg(long, value_name = "random|zero|FILE", default_value = "random")]
    pub payload: Source,

    /// The time-out that requests carry
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub request_timeout: Duration,

    /// Equal seeds give equal payloads and schedules
    #[arg(long, default_value = "1")]
    pub seed: u64,
}

#[derive(Args, Clone, Debug)]
#[command(
    about = "Be a broker that only answers: the ceiling everything is compared with",
    long_about = "Be a broker that only answers: it says that all is well and keeps nothing.\n\n\
                  It runs on the broker's own runtime, so it shows what sockets and frames alone \
                  cost, and whether the generator could keep up with a faster broker."
)]
pub struct SinkArgs {
    /// Where to listen; port 0 lets the system choose
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub listen: std::net::SocketAddr,

    /// The CPU to run on [default: any]
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<usize>,

    /// Partitions that topics are said to have, unless they are created with others
    #[arg(long, value_name = "N", default_value = "1")]
    pub partitions: u32,

    /// Records that each partition is said to hold: what consumers get is made up, and costs
    /// nothing to find [default: more than anybody reads]
    #[arg(long, value_name = "N", default_value = "1000000000000000")]
    pub records: u64,

    /// Bytes of the value of each of those records
    #[arg(long, value_name = "BYTES", default_value = "1024")]
    pub record_bytes: usize,
}

/// An argument that can only be seen to be wrong after it has been read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

impl PlaceArgs {
    /// The CPUs to pin to.
    ///
    /// # Errors
    /// A [`UsageError`]: it isn't a list, or names a CPU that we may not use.
    pub fn cpus(&self) -> anyhow::Result<Option<Vec<usize>>> {
        let Some(list) = &self.cpus else { return Ok(None) };
        let cpus = allowed_cpus().and_then(|allowed| cpu_list(list, &allowed));
        Ok(Some(cpus.map_err(|error| UsageError(error.to_string()))?))
    }
}

impl TargetArgs {
    /// The topic as one that is written to.
    pub fn wish(&self, created: &NewTopicArgs) -> TopicWish {
        let &NewTopicArgs { partitions, replication } = created;
        TopicWish { partitions, replication, create: true, ..self.wish_to_read() }
    }

    /// The topic as one that is read.
    pub fn wish_to_read(&self) -> TopicWish {
        TopicWish {
            brokers: self.place.brokers.clone(),
            name: self.topic.clone(),
            partitions: None,
            create: false,
            replication: -1,
        }
    }
}

impl SendArgs {
    /// For JSON.
    pub fn settings(&self) -> serde_json::Value {
        serde_json::json!({
            "acks": self.acks.to_string(),
            "record_bytes": self.record_bytes,
            "batch_records": self.batch_records,
            "keys": self.keys,
            "in_flight": self.in_flight,
            "seed": self.seed,
        })
    }

    /// For people.
    pub fn says(&self) -> String {
        let plural = if self.batch_records == 1 { "" } else { "s" };
        let (acks, records, bytes) = (self.acks, self.batch_records, self.record_bytes);
        format!(", acks {acks}, {records} record{plural} of {bytes} bytes a request")
    }
}

impl OutputArgs {
    /// Makes the interval log, if one was asked for.
    ///
    /// # Errors
    /// A sentence with the file's name.
    pub fn open_log(&self) -> anyhow::Result<Option<LogFile>> {
        let log = self.hlog.as_deref().map(LogFile::create).transpose();
        // Its sentence is whole; with its cause behind it, it would say everything twice.
        log.map_err(|error| anyhow::anyhow!("{error}"))
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        Ok(match text {
            "random" => Source::Random,
            "zero" => Source::Zero,
            file => Source::File(file.into()),
        })
    }
}

/// An acknowledgement as it goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acks(pub i16);

impl FromStr for Acks {
    type Err = String;

    fn from_str(text: &str) -> Result<Acks, String> {
        match text {
            "all" | "-1" => Ok(Acks(-1)),
            number => match number.parse() {
                Ok(level @ 0..=5) => Ok(Acks(level)),
                _ => Err(format!("'{text}' is not all or a number from 0 to 5")),
            },
        }
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            -1 => f.write_str("all"),
            level => write!(f, "{level}"),
        }
    }
}

/// A number that isn't 0.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("'{text}' is not a number")),
    }
}

/// A number above 0.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err(format!("'{text}' is not a number above 0")),
    }
}

/// A time above zero.
pub fn time(text: &str) -> Result<Duration, String> {
    match any_time(text)? {
        Duration::ZERO => Err("it must be more than nothing".into()),
        time => Ok(time),
    }
}

/// A time as people write it.
pub fn any_time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it as 30s, 500ms or 2m"))
}
