//! `hutong top`: what a broker does right now, in the terminal or for scripts.
//!
//! Asks its metrics endpoint now and then, and shows what happened in between: [`page`] reads the
//! answer, [`rates`] makes differences, [`view`] draws them.

mod consumers;
mod page;
mod rates;
mod screen;
mod view;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;

use super::UsageError;
use super::client::Endpoint;
use super::output::{print, print_json};
use page::Page;
use rates::Rates;

/// The arguments of `hutong top`.
#[derive(Debug, Args)]
#[command(
    about = "Show what a broker does right now: rates, queues, and the time of each stage",
    long_about = "Show what a broker does right now: rates, queues, journals, and how long produce \
                  requests take in each stage, from the queue to the socket.\n\n\
                  The broker must have been started with --metrics 127.0.0.1:9644. Each report \
                  covers the interval before it. When standard output is not a terminal, reports \
                  follow one another as plain text.\n\n  \
                  hutong top\n  \
                  hutong top --once\n  \
                  hutong top --once --json --interval 5"
)]
pub struct TopArgs {
    /// The broker's metrics address
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:9644")]
    at: Endpoint,

    /// Seconds between two reports, 0.1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,

    /// Print one report and end
    #[arg(long)]
    once: bool,

    /// Print JSON, one object for each report
    #[arg(long)]
    json: bool,
}

/// Shows reports until interrupted, or one of them.
///
/// # Errors
/// A sentence: the broker can't be reached, went away, or is none.
pub fn run(args: &TopArgs) -> anyhow::Result<()> {
    if !(0.1..=3600.0).contains(&args.interval) {
        let why = format!("--interval is {}; it must be from 0.1 to 3600 seconds", args.interval);
        return Err(UsageError(why).into());
    }
    let interval = Duration::from_secs_f64(args.interval);
    let live = std::io::stdout().is_terminal() && !args.once && !args.json;
    let mut before = Page::ask(&args.at)?;
    loop {
        sleep_until(before.taken + interval);
        let now = Page::ask(&args.at)?;
        let rates = Rates::between(&before, &now);
        if args.json && args.once {
            print_json(&view::json(&rates))?;
        } else if args.json {
            print(&format!("{}\n", view::json(&rates)))?;
        } else {
            let text = view::text(&rates, &args.at.to_string());
            print(&if live { screen::frame(&text) } else { text })?;
        }
        if args.once {
            return Ok(());
        }
        before = now;
    }
}

fn sleep_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}
