//! The whole comparison: rounds in which the systems take turns.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::args::Args;
use crate::child::{Interrupted, Scratch, output_of, stop_on_signal};
use crate::host::{Findings, Host};
use crate::kafka::{self, Kafka};
use crate::load::Place;
use crate::plots;
use crate::results::{Described, Results, Run};
use crate::system::{Broker, System, command_line};
use crate::tools::Tools;
use crate::workload::{self, Workload};

/// Measures everything, and draws it.
///
/// # Errors
/// [`Interrupted`], or a sentence: something that all need is missing. What goes wrong with one
/// workload is part of the results.
pub fn run(args: &Args) -> anyhow::Result<Results> {
    let tools = Tools::build()?;
    let needs_kafka = args.systems.iter().any(|system| *system != System::Hutong);
    let kafka = needs_kafka.then(|| Kafka::install(args.kafka_dir.as_deref())).transpose()?;
    // From here on there is something to be cleaned up.
    stop_on_signal()?;
    let work = args.work_dir.clone().unwrap_or_else(|| tools.folder().join("compare"));
    let work = Scratch::new(work.join(format!("run-{}", std::process::id())))?;
    let before = Findings::ask(&tools, work.path())?;
    let mut results = Results {
        host: Host::look(&before),
        args: args.clone(),
        systems: describe(args, kafka.as_ref())?,
        probes: vec![before.probe("before")],
        runs: Vec::new(),
    };
    let place = Place { args, tools: &tools, work: work.path() };
    let mut comparison = Comparison { place, kafka, runs: Vec::new() };
    for round in 1..=args.rounds {
        for system in turns(&results.compared(), round) {
            comparison.take_turn(system, round)?;
        }
    }
    results.runs = comparison.runs;
    results.probes.push(Findings::ask(&tools, work.path())?.probe("after"));
    plots::draw(&results, &tools, work.path(), &args.out.join("benchmarks"))?;
    Ok(results)
}

/// Who comes when: each round begins with another.
fn turns(systems: &[System], round: u32) -> Vec<System> {
    let mut turns = systems.to_vec();
    turns.rotate_left((round as usize - 1) % systems.len().max(1));
    turns
}

/// Where a run's latencies lie until they are drawn.
pub fn hlog(work: &Path, workload: &str, system: System, round: u32) -> PathBuf {
    work.join(format!("{workload}-{}-{round}.hlog", system.key()))
}

struct Comparison<'a> {
    place: Place<'a>,
    kafka: Option<Kafka>,
    runs: Vec<Run>,
}

impl Comparison<'_> {
    /// All workloads on one system, started anew.
    fn take_turn(&mut self, system: System, round: u32) -> anyhow::Result<()> {
        let mut broker = self.start(system, round)?;
        let mut highest = None;
        for workload in workload::chosen(&self.place.args.only) {
            let run = match &mut broker {
                Ok(broker) => self.measure(workload, broker, system, round, highest)?,
                Err(why) => failed(why),
            };
            if let (workload::HIGHEST, Some(figures)) = (workload.name, &run.figures) {
                highest = Some(figures.requests_per_second);
            }
            self.keep(workload, system, round, run);
            // A broker that died is started once more for the next.
            if let Ok(dead) = &mut broker
                && dead.process.ended().is_some()
            {
                broker = self.start(system, round)?;
            }
        }
        drop(broker);
        // The next system must not wait for what this one has left to be written.
        nix::unistd::sync();
        Ok(())
    }

    /// The broker, or why there is none.
    fn start(&self, system: System, round: u32) -> anyhow::Result<Result<Broker, String>> {
        let Place { args, tools, work } = self.place;
        eprintln!("round {round} of {}: {} starts and warms up", args.rounds, system.title());
        let started = Broker::start(system, args, tools, self.kafka.as_ref(), work);
        match started.and_then(|broker| self.place.warm_up(&broker).map(|()| broker)) {
            Ok(broker) => Ok(Ok(broker)),
            Err(error) if error.is::<Interrupted>() => Err(error),
            Err(error) => Ok(Err(format!("{error:#}"))),
        }
    }

    fn measure(
        &self,
        workload: &Workload,
        broker: &mut Broker,
        system: System,
        round: u32,
        highest: Option<f64>,
    ) -> anyhow::Result<Run> {
        let rate = match highest {
            _ if !workload.at_half => None,
            Some(highest) => Some((highest / 2.0).max(1.0)),
            None => return Ok(failed("its highest load is not known, as `single` has failed")),
        };
        let hlog = hlog(self.place.work, workload.name, system, round);
        let run = self.place.run(workload, broker, rate, &hlog)?;
        self.place.delete_topic(broker, workload.name);
        Ok(run)
    }

    fn keep(&mut self, workload: &Workload, system: System, round: u32, run: Run) {
        let said = match &run.figures {
            Some(figures) => {
                let tail = figures.percentile(workload.tag, "p99.99").unwrap_or_default();
                let tail = hutong_hist::units::duration(tail);
                format!("{:.0} requests/s, p99.99 {tail}", figures.requests_per_second)
            }
            None => "nothing".into(),
        };
        let failed = run.failures.join("; ");
        eprintln!("  {:<16} {:<16} {said} {failed}", system.title(), workload.name);
        self.runs.push(Run { workload: workload.name.into(), system: Some(system), round, ..run });
    }
}

fn failed(why: &str) -> Run {
    Run { failures: vec![why.to_owned()], ..Run::default() }
}

fn describe(args: &Args, kafka: Option<&Kafka>) -> anyhow::Result<Vec<Described>> {
    let commit = output_of(
        std::process::Command::new("git")
            .args(["rev-parse", "--short", "HEAD"])
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    );
    let commit = commit.map_or(String::new(), |commit| format!(", commit {commit}"));
    let java = kafka.map_or("", |kafka| &kafka.java);
    let describe = |&system: &System| {
        let (version, settings) = match system {
            System::Hutong => (
                format!("{}{commit}", env!("CARGO_PKG_VERSION")),
                "none: durable is the default".to_owned(),
            ),
            System::Kafka | System::KafkaFlush => (
                format!("{}, Java {java}", kafka::version()),
                kafka::properties_of(0, 0, Path::new("DIR"), system == System::KafkaFlush),
            ),
        };
        Ok(Described { system, version, command: command_line(system, args), settings })
    };
    let described: anyhow::Result<Vec<Described>> = args.systems.iter().map(describe).collect();
    described.context("can't describe the systems")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_begins_with_another_system() {
        let [a, b, c] = System::ALL;
        assert_eq!(turns(&System::ALL, 1), [a, b, c]);
        assert_eq!(turns(&System::ALL, 2), [b, c, a]);
        assert_eq!(turns(&System::ALL, 3), [c, a, b]);
        assert_eq!(turns(&System::ALL, 4), [a, b, c]);
    }
}
