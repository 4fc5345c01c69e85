//! What a person types after `hutong-load verify`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hutong::cli::client::Endpoint;

use super::record::RECORD_BYTES_MIN;
use crate::args::{Acks, UsageError, at_least_one, rate, time};

/// The batches of an idempotent producer that a broker can tell apart.
const IN_FLIGHT_MAX_IDEMPOTENT: usize = 5;

#[derive(Args, Clone, Debug)]
#[command(
    about = "Send numbered records through kills and fail-overs, and tell what became of each",
    long_about = "Send numbered records through kills and fail-overs, and tell what became of \
                  each: lost, duplicated, reordered, corrupt and more, see docs/verify.md.\n\n\
                  Kill, pause and restart brokers while it runs. It keeps trying; when --duration \
                  is over it waits until the cluster has settled, reads the topic from its \
                  beginning to its end, and compares.",
    after_long_help = "Exit codes: 0 nothing is wrong, 1 something is, 2 asked wrongly."
)]
pub struct VerifyArgs {
    /// Brokers to begin with, separated by commas
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", value_delimiter = ',')]
    pub brokers: Vec<Endpoint>,

    /// The topic; made if it isn't there. What others wrote to it is ignored
    #[arg(long, value_name = "NAME", default_value = "verify")]
    pub topic: String,

    /// Partitions it is made with, or must have [default: 1, or what it has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    pub partitions: Option<i32>,

    /// Replicas of each partition when the topic is made; -1 is the broker's default
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub replication: i16,

    /// Producers, each with connections of its own
    #[arg(long, value_name = "N", default_value = "2", value_parser = at_least_one)]
    pub producers: usize,

    /// Consumers that read all partitions meanwhile
    #[arg(long, value_name = "N", default_value = "1")]
    pub consumers: usize,

    /// Each producer has an id and numbers its batches, so the broker drops what it has already
    #[arg(long)]
    pub idempotent: bool,

    /// all, or 0 to 5: see the broker's README for 2 to 5
    #[arg(long, default_value = "all", allow_negative_numbers = true)]
    pub acks: Acks,

    /// Records a second of all producers together [default: as fast as it goes]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,

    /// Batches that each producer keeps unanswered for each partition
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one)]
    pub in_flight: usize,

    /// Bytes of each record's value
    #[arg(long, value_name = "BYTES", default_value = "100")]
    pub record_bytes: usize,

    /// Records of each batch
    #[arg(long, value_name = "N", default_value = "10", value_parser = at_least_one)]
    pub batch_records: usize,

    /// How long to send, such as 30s or 5m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub duration: Duration,

    /// A connection that leaves a request unanswered for so long is given up
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub request_timeout: Duration,

    /// A batch is sent again for so long; after that its outcome is unknown
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = time)]
    pub delivery_timeout: Duration,

    /// How long to wait, when all is sent, for the cluster to settle; and then for the last read
    /// whenever it gets no further
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub settle: Duration,

    /// Keep what was acknowledged in this file, so that --check can do the last read later
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    pub state: Option<PathBuf>,

    /// Send nothing: read the topic, and compare it with what another run kept in this file
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

impl VerifyArgs {
    /// Refuses what can only be seen to be wrong when all is known.
    ///
    /// # Errors
    /// A [`UsageError`].
    pub fn validate(&self) -> Result<(), UsageError> {
        let wrong = |what: String| Err(UsageError(what));
        if self.record_bytes < RECORD_BYTES_MIN {
            return wrong(format!("--record-bytes must be at least {RECORD_BYTES_MIN}"));
        }
        if self.record_bytes.saturating_mul(self.batch_records) > i32::MAX as usize / 2 {
            return wrong("a batch is too large; lower --batch-records or --record-bytes".into());
        }
        if self.idempotent && self.acks.0 == 0 {
            return wrong("--idempotent needs answers, and --acks 0 asks for none".into());
        }
        if self.idempotent && self.in_flight > IN_FLIGHT_MAX_IDEMPOTENT {
            return wrong(format!(
                "with --idempotent, --in-flight can be {IN_FLIGHT_MAX_IDEMPOTENT} at most: \
                 brokers remember no more batches"
            ));
        }
        Ok(())
    }
}
