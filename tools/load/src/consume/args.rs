//! What a person types for `consume`.

use std::time::Duration;

use clap::Args;

use super::requests::Appetite;
use crate::args::{ReportArgs, TargetArgs, any_time};
use crate::offsets::End;

#[derive(Args, Clone, Debug)]
#[command(about = "Read records and measure how fast they come", long_about = None)]
pub struct ConsumeArgs {
    #[command(flatten)]
    pub target: TargetArgs,

    #[command(flatten)]
    pub report: ReportArgs,

    /// Where to begin
    #[arg(long, value_enum, default_value_t = End::Start)]
    pub from: End,

    /// Read what is there when it begins, and end; without warm-up, and however long it takes
    #[arg(long, conflicts_with_all = ["duration", "warmup"])]
    pub until_end: bool,

    #[command(flatten)]
    pub fetch: FetchArgs,

    /// Check the crc of every batch
    #[arg(long)]
    pub check_crc: bool,
}

/// How much consumers ask for. Each connection has one request in flight.
#[derive(Args, Clone, Debug)]
pub struct FetchArgs {
    /// How long the broker may wait for records
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = any_time)]
    pub max_wait: Duration,

    /// Bytes that it waits for
    #[arg(long, value_name = "BYTES", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub min_bytes: i32,

    /// Bytes of an answer, at most
    #[arg(long, value_name = "BYTES", default_value = "8388608")]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub max_bytes: i32,

    /// Bytes of each partition in an answer, at most
    #[arg(long, value_name = "BYTES", default_value = "1048576")]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub partition_max_bytes: i32,
}

impl FetchArgs {
    /// As requests say it.
    pub fn appetite(&self) -> Appetite {
        Appetite {
            max_wait_ms: i32::try_from(self.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: self.min_bytes,
            max_bytes: self.max_bytes,
            partition_max_bytes: self.partition_max_bytes,
            committed_only: false,
        }
    }
}
