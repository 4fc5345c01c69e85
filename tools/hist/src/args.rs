//! The command line.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::units::Unit;

/// Shows, merges, compares and plots latency histograms.
///
/// Reads HdrHistogram interval logs (.hlog) of any program that writes them.
#[derive(Debug, Parser)]
#[command(name = "hutong-hist", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Percentiles, mean, extremes and distribution of each tag
    #[command(after_help = "Example:\n  hutong-hist show run.hlog")]
    Show(Show),
    /// Several logs in one: all intervals in order of time, or one for each tag
    #[command(after_help = "Example:\n  hutong-hist merge a.hlog b.hlog -o both.hlog")]
    Merge(Merge),
    /// Two logs side by side, with ratios
    #[command(after_help = "Example:\n  hutong-hist diff before.hlog after.hlog")]
    Diff(Diff),
    /// A picture of one or more logs: latency by percentile, and over time
    #[command(after_help = "Example:\n  hutong-hist plot kafka.hlog hutong.hlog -o both.svg")]
    Plot(Plot),
}

/// What to read of a log.
#[derive(Clone, Debug, Default, Args)]
pub struct Select {
    /// Only this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// What a value is; Hutong's own logs have nanoseconds
    #[arg(long, value_enum, default_value_t)]
    pub unit: Unit,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The logs
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub select: Select,
    /// Write JSON; times in it are nanoseconds
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Merge {
    /// The logs
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The log to write; one that is there is replaced
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Only this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// One interval for each tag, over the whole time, instead of all intervals
    #[arg(long)]
    pub by_tag: bool,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// What to compare with
    pub a: PathBuf,
    /// What is compared
    pub b: PathBuf,
    #[command(flatten)]
    pub select: Select,
    /// Write JSON; times in it are nanoseconds
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Plot {
    /// The logs; each tag of each is a run
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The picture to write, .svg or .png
    #[arg(short, long, value_name = "FILE", value_parser = picture)]
    pub output: PathBuf,
    #[command(flatten)]
    pub select: Select,
    /// The name of a log in the picture, once for each in their order; else its file's name
    #[arg(long = "label", value_name = "NAME")]
    pub labels: Vec<String>,
    /// What stands above
    #[arg(long, default_value = "Latency")]
    pub title: String,
    /// Light or dark; auto leaves it to who looks at the .svg, and is light in a .png
    #[arg(long, value_enum, default_value_t)]
    pub theme: Theme,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Theme {
    Light,
    Dark,
    #[default]
    Auto,
}

impl ValueEnum for Unit {
    fn value_variants<'a>() -> &'a [Unit] {
        &Unit::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.sign()))
    }
}

/// Whether a path is that of a `.png`; of nothing else than a picture's if it came from here.
pub fn is_png(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"))
}

fn picture(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let svg = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("svg"));
    if svg || is_png(&path) {
        return Ok(path);
    }
    Err("a picture's name ends with .svg or .png".to_string())
}
