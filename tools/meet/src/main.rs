//! `hutong-meet`: runs the talk; what goes wrong becomes one line and an exit code.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
use hutong::cli::sentence;
use hutong::config::allowed_cpus;
use hutong_meet::hello::{IN_FLIGHT_MAX, Plan};
use hutong_meet::lane::{self, Account, Manner};
use hutong_meet::li::TRANSCRIPT_MEETS_MAX;
use hutong_meet::report;

const MEETS_DEFAULT: u64 = 100_000;
const IN_FLIGHT_DEFAULT: u32 = 8192;

#[derive(Debug, Parser)]
#[command(
    name = "hutong-meet",
    version,
    about = "Two old men meet in a lane: how fast can two sides speak on one connection?",
    long_about = "Two old men, Zhang and Li, meet in a lane, many times over, on one TCP \
                  connection. A meeting is six sentences, three asked and three answered, each a \
                  message with its length and serial. Both speak without waiting; each checks \
                  every word he hears. The time goes from before the first sentence until Zhang \
                  knows that Li has checked the last.\n\n  \
                  hutong-meet --pin 0,1\n  \
                  hutong-meet --meets 2 --in-flight 1 --print\n  \
                  hutong-meet --wait 127.0.0.1:7001\n  \
                  hutong-meet --visit 127.0.0.1:7001",
    after_long_help = "Exit codes: 0 done, 1 failed, 2 asked wrongly."
)]
struct Cli {
    /// Meetings to hold [default: 100000; with --wait as many as the visitor likes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    meets: Option<u64>,
    /// Meetings under way at a time; with 1 each begins when the one before is complete
    #[arg(
        long, value_name = "N", default_value_t = IN_FLIGHT_DEFAULT, conflicts_with = "wait",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(IN_FLIGHT_MAX))
    )]
    in_flight: u32,
    /// The CPUs to run on: Zhang's and Li's; with --wait or --visit just the one
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pin: Vec<usize>,
    /// Print what is said, in the order in which Zhang (with --wait: Li) says and hears it
    #[arg(long, conflicts_with = "json")]
    print: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Be Li alone, and wait for one visitor at this address
    #[arg(
        long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:0",
        conflicts_with = "visit"
    )]
    wait: Option<String>,
    /// Be Zhang alone, and visit Li at this address
    #[arg(long, value_name = "ADDR")]
    visit: Option<String>,
}

/// What we were asked can't be done as it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Whoever read our output has gone; he wants no more of it.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
struct StdoutClosed;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), DisplayHelp | DisplayVersion) => {
            let _ = print(&error.render().to_string());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain(&sentence(&error.render().to_string()));
            return ExitCode::from(2);
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<StdoutClosed>() => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            if error.is::<UsageError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let plan = Plan { meets: cli.meets.unwrap_or(MEETS_DEFAULT), in_flight: cli.in_flight };
    if cli.print && plan.meets > TRANSCRIPT_MEETS_MAX && (cli.wait.is_none() || cli.meets.is_some())
    {
        return Err(usage(format!(
            "--print is for up to {TRANSCRIPT_MEETS_MAX} meetings, and there would be {}: give \
             --meets",
            plan.meets
        )));
    }
    let alone = cli.wait.is_some() || cli.visit.is_some();
    let cpus = cpus(&cli.pin, if alone { 1 } else { 2 })?;
    let manner = |at: usize, transcript| Manner {
        cpu: cpus.get(at).copied(),
        transcript,
        ..Manner::default()
    };
    let accounts = if let Some(address) = &cli.wait {
        let (listener, address) = lane::listen(resolve("--wait", address)?)?;
        // On standard error: whoever reads the result wants nothing else on standard output.
        let _ = writeln!(io::stderr(), "Li waits at {address}");
        vec![lane::wait(&listener, cli.meets, manner(0, cli.print))?]
    } else if let Some(address) = &cli.visit {
        vec![lane::visit(resolve("--visit", address)?, plan, manner(0, cli.print))?]
    } else {
        lane::both(plan, manner(0, cli.print), manner(1, false))?.into()
    };
    print(&told(cli, &accounts))
}

fn told(cli: &Cli, accounts: &[Account]) -> String {
    if cli.json {
        return format!("{:#}\n", report::json(accounts));
    }
    let mut text = String::new();
    for spoken in &accounts[0].transcript {
        text += &format!("{spoken}\n");
    }
    text + &report::line(accounts)
}

/// The CPUs to pin to: none, or as many as there are sides here, all of them allowed.
fn cpus(pin: &[usize], sides: usize) -> anyhow::Result<Vec<usize>> {
    if pin.is_empty() {
        return Ok(Vec::new());
    }
    if pin.len() != sides {
        return Err(usage(match sides {
            1 => "--pin takes one CPU with --wait or --visit: only one of them runs here".into(),
            _ => "--pin takes two CPUs, Zhang's and Li's: --pin 0,1".into(),
        }));
    }
    let allowed = allowed_cpus()?;
    match pin.iter().find(|cpu| !allowed.contains(cpu)) {
        None => Ok(pin.to_vec()),
        Some(cpu) => {
            let allowed: Vec<String> = allowed.iter().map(usize::to_string).collect();
            Err(usage(format!(
                "--pin names CPU {cpu}, on which this process may not run; allowed are {}",
                allowed.join(",")
            )))
        }
    }
}

fn resolve(flag: &str, address: &str) -> anyhow::Result<SocketAddr> {
    let wrong = |why: &str| {
        usage(format!("{flag} {address} is no address: {why}. Write it as 127.0.0.1:7001"))
    };
    let mut found = address.to_socket_addrs().map_err(|error| wrong(&error.to_string()))?;
    found.next().ok_or_else(|| wrong("the name has none"))
}

fn usage(why: String) -> anyhow::Error {
    UsageError(why).into()
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        Err(error) => Err(anyhow::Error::new(error).context("can't write to standard output")),
        Ok(()) => Ok(()),
    }
}

/// One line, whatever the message holds: scripts read standard error by lines.
fn complain(message: &str) {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(io::stderr(), "hutong-meet: {line}");
}
