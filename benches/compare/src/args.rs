//! What a person types.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};

use crate::system::System;
use crate::workload;

#[derive(Clone, Debug, Parser, Serialize, Deserialize)]
#[command(
    name = "hutong-compare",
    about = "Hutong and Apache Kafka under the same load, on the same cores and the same disk",
    after_long_help = "Needs mvn (to get Kafka), java 17 or later, taskset, and about 20 GiB on \
                       the disk of --work-dir. A full run takes about 20 minutes.\n\
                       Exit codes: 0 done (a workload that failed for a system is a result), 1 \
                       failed, 2 asked wrongly, 130 interrupted."
)]
pub struct Args {
    /// Seconds that each workload is measured
    #[arg(long, value_name = "S", default_value = "6", value_parser = seconds)]
    pub seconds: f64,

    /// How often everything is done; systems take turns in each round
    #[arg(long, value_name = "N", default_value = "3")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,

    /// Seconds of load that each system gets when it is started, so that a JVM has compiled what it
    /// runs; a second more goes before each measurement
    #[arg(long, value_name = "S", default_value = "12", value_parser = seconds)]
    pub warmup: f64,

    /// Only these workloads; may be given again
    #[arg(long, value_name = "WORKLOAD")]
    #[arg(value_parser = PossibleValuesParser::new(workload::names()))]
    pub only: Vec<String>,

    /// Which systems
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_enum)]
    #[arg(default_value = "hutong,kafka,kafka-flush")]
    pub systems: Vec<System>,

    /// Where benchmarks.md goes, and a folder benchmarks beside it
    #[arg(long, value_name = "DIR", default_value = "docs")]
    #[serde(skip)]
    pub out: PathBuf,

    /// Where brokers keep their data while it runs, all on this disk [default: compare, beside this
    /// program]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub work_dir: Option<PathBuf>,

    /// Where Kafka is kept between runs [default: ~/.cache/hutong-compare]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub kafka_dir: Option<PathBuf>,

    /// The CPU of the broker
    #[arg(long, value_name = "CPU", default_value = "0")]
    pub broker_cpu: usize,

    /// The CPU of the load generator
    #[arg(long, value_name = "CPU", default_value = "1")]
    pub load_cpu: usize,

    /// Measure nothing: write the page anew from the results that are there
    #[arg(long)]
    #[serde(skip)]
    pub render: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        Ok(_) => Err("it must lie between 0.1 and 3600".into()),
        Err(_) => Err(format!("'{text}' is not a number of seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_sound_and_wrong_ones_are_refused() {
        use clap::CommandFactory;
        Args::command().debug_assert();
        let parse = |args: &[&str]| Args::try_parse_from([&["compare"], args].concat());
        let args = parse(&["--only", "single", "--only", "half", "--systems", "kafka"]).unwrap();
        assert_eq!((args.only.len(), args.systems.as_slice()), (2, &[System::Kafka][..]));
        assert_eq!(parse(&[]).unwrap().systems, System::ALL);
        for wrong in [["--only", "nothing"], ["--seconds", "0"], ["--systems", "pulsar"]] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }
}
