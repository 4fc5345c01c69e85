//! Runs `hutong-load` against a broker, and reads what it found.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use hutong_hist::summary::Summary as Percentiles;
use serde::Deserialize;

use crate::args::Args;
use crate::child::{Interrupted, Process};
use crate::host::busy_cpu_seconds;
use crate::results::{Figures, Run};
use crate::system::Broker;
use crate::tools::Tools;
use crate::workload::Workload;

/// What a run may take beyond its time: to make a topic, to build a backlog, to wait for answers.
const GRACE: Duration = Duration::from_secs(90);

/// What `hutong-load --json` prints, as far as we want it.
#[derive(Debug, Deserialize)]
struct Printed {
    produced: Option<Throughput>,
    consumed: Option<Throughput>,
    backlog: Option<Backlog>,
    latency: BTreeMap<String, Percentiles>,
    errors: BTreeMap<String, u64>,
    warnings: Vec<String>,
    failures: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Throughput {
    requests_per_second: f64,
    megabytes_per_second: f64,
}

#[derive(Debug, Deserialize)]
struct Backlog {
    drained_seconds: Option<f64>,
}

/// Where a run finds what it needs.
pub struct Place<'a> {
    pub args: &'a Args,
    pub tools: &'a Tools,
    pub work: &'a Path,
}

impl Place<'_> {
    /// Warms a broker up with single records and consumers that wait for them, then with batches.
    ///
    /// # Errors
    /// [`Interrupted`], or a sentence: nothing was acknowledged.
    pub fn warm_up(&self, broker: &Broker) -> anyhow::Result<()> {
        let e2e = ["e2e", "--connections", "4", "--consumers", "2", "--partitions", "4"];
        let batches = ["--batch-records", "16", "--record-bytes", "1024"];
        let steps: [(f64, Vec<&str>); 3] = [
            (0.5, vec!["produce", "--connections", "8", "--in-flight", "512"]),
            (0.25, [&e2e[..], &["--in-flight", "4"]].concat()),
            (0.25, [&e2e[..], &["--in-flight", "4"], &batches].concat()),
        ];
        for (step, (part, load)) in steps.into_iter().enumerate() {
            let mut words = self.words(&load, &broker.at, &format!("warm-up-{step}"));
            let seconds = self.args.warmup * part;
            words.extend(["--warmup".into(), "0s".into()]);
            words.extend(["--duration".into(), format!("{seconds}s")]);
            let mut load = self.start(&words)?;
            load.wait(Duration::from_secs_f64(seconds) + GRACE)?;
            self.delete_topic(broker, &format!("warm-up-{step}"));
        }
        Ok(())
    }

    /// Runs a workload. What goes wrong with it is part of the result.
    ///
    /// # Errors
    /// [`Interrupted`], or a sentence: this machine can't run the generator.
    pub fn run(
        &self,
        workload: &Workload,
        broker: &mut Broker,
        rate: Option<f64>,
        hlog: &Path,
    ) -> anyhow::Result<Run> {
        let words = self.command(workload, &broker.at, rate, hlog)?;
        let command = shown(&words);
        let before = (Instant::now(), broker.process.cpu_seconds(), busy_cpu_seconds());
        let mut load = self.start(&words)?;
        let at_most = Duration::from_secs_f64(workload.warmup_seconds + self.args.seconds) + GRACE;
        // While it runs, for its own CPU time is gone with it.
        let mut used = 0.0;
        let ended = loop {
            used = load.cpu_seconds().max(used);
            match load.wait(Duration::from_millis(50)) {
                Ok(status) => break Ok(status),
                Err(error) if error.is::<Interrupted>() => return Err(error),
                Err(error) if before.0.elapsed() > at_most => break Err(error),
                Err(_) => {}
            }
        };
        let seconds = before.0.elapsed().as_secs_f64();
        let broker_used = broker.process.cpu_seconds() - before.1;
        let others = busy_cpu_seconds() - before.2 - broker_used - used;
        let mut run = match ended {
            Ok(_) => read(&load.said()),
            Err(_) => Run {
                failures: vec![format!("it was not over after {} s", at_most.as_secs())],
                ..Run::default()
            },
        };
        run.command = command;
        run.broker_cpus = broker_used / seconds;
        run.other_cpus = (others / seconds).max(0.0);
        if let Some(ended) = broker.process.ended() {
            run.failures.push(format!("the broker died: {ended}"));
        }
        Ok(run)
    }

    /// What belongs to a topic of the run is of no use any more.
    pub fn delete_topic(&self, broker: &Broker, topic: &str) {
        for name in [topic.to_owned(), format!("{topic}-0")] {
            let mut delete = self.tools.command("hutong");
            delete.args(["topic", "delete", &name, "--bootstrap", &broker.at]);
            // It isn't there when the run failed early; what is left goes with the directory.
            let _ = delete.output();
        }
    }

    /// The words that all commands begin with.
    fn words(&self, load: &[&str], at: &str, topic: &str) -> Vec<String> {
        let mut words: Vec<String> = load.iter().map(|word| (*word).to_owned()).collect();
        for (option, value) in [("--topic", topic), ("--brokers", at)] {
            words.extend([option.to_owned(), value.to_owned()]);
        }
        words.extend(["--cpus".into(), self.args.load_cpu.to_string()]);
        words
    }

    fn command(
        &self,
        workload: &Workload,
        at: &str,
        rate: Option<f64>,
        hlog: &Path,
    ) -> anyhow::Result<Vec<String>> {
        let mut words = self.words(workload.load, at, workload.name);
        let seconds = self.args.seconds;
        if let Some(text) = workload.file {
            let file = self.work.join(format!("{}.toml", workload.name));
            let minutes = seconds / 60.0;
            fs::write(&file, format!("{text}test_duration_minutes = {minutes:.4}\n"))
                .with_context(|| format!("can't write {}", file.display()))?;
            for word in words.iter_mut().filter(|word| *word == "FILE") {
                *word = file.display().to_string();
            }
        } else {
            words.extend(["--warmup".into(), format!("{}s", workload.warmup_seconds)]);
            words.extend(["--duration".into(), format!("{seconds}s")]);
        }
        if let Some(rate) = rate {
            words.extend(["--rate".into(), format!("{rate:.0}")]);
        }
        words.extend(["--json".into(), "--hlog".into(), hlog.display().to_string()]);
        Ok(words)
    }

    fn start(&self, words: &[String]) -> anyhow::Result<Process> {
        let mut command = self.tools.command("hutong-load");
        Process::start(command.args(words), &self.work.join("load.log"))
    }
}

/// The command as a person would type it.
fn shown(words: &[String]) -> String {
    let name = |word: &String| match word.rsplit_once('/') {
        Some((_, name)) => name.to_owned(),
        None => word.clone(),
    };
    let words: Vec<String> = words.iter().map(name).collect();
    format!("hutong-load {}", words.join(" "))
}

/// Reads what it said: JSON, and lines about what went wrong before or behind it.
fn read(said: &str) -> Run {
    let complaints = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("hutong-load: "));
        lines.map(str::to_owned).collect()
    };
    let json = said.find("{\n").and_then(|from| Some((from, said.rfind("\n}")? + 2)));
    let printed = json
        .filter(|(from, to)| from < to)
        .map(|(from, to)| serde_json::from_str::<Printed>(&said[from..to]));
    let printed = match printed {
        Some(Ok(printed)) => printed,
        Some(Err(error)) => {
            let failures = vec![format!("what hutong-load printed can't be read: {error}")];
            return Run { failures, ..Run::default() };
        }
        None => {
            let mut failures = complaints(said);
            if failures.is_empty() {
                failures.push("hutong-load printed nothing".into());
            }
            return Run { failures, ..Run::default() };
        }
    };
    let Printed { produced, consumed, backlog, latency, errors, warnings, mut failures } = printed;
    if produced.is_none() && failures.is_empty() {
        failures.push("nothing was acknowledged".into());
    }
    let figures = produced.map(|produced| Figures {
        requests_per_second: produced.requests_per_second,
        produced_mb_per_second: produced.megabytes_per_second,
        consumed_mb_per_second: consumed.map(|consumed| consumed.megabytes_per_second),
        drained_seconds: backlog.and_then(|backlog| backlog.drained_seconds),
        latency,
    });
    Run { figures, failures, warnings, errors, ..Run::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_with_what_went_wrong() {
        let said = r#"hutong-load: 2 connections
{
  "workload": "produce", "seconds": 2.0,
  "produced": {"requests": 10, "requests_per_second": 5.0, "megabytes_per_second": 0.5},
  "consumed": null, "backlog": null,
  "latency": {"produce": {"count": 10, "min_ns": 1, "mean_ns": 2, "p50_ns": 2, "p75_ns": 3,
    "p90_ns": 4, "p99_ns": 5, "p99.9_ns": 6, "p99.99_ns": 7, "p99.999_ns": 8,
    "p99.9999_ns": 9, "max_ns": 9}},
  "errors": {"NOT_LEADER_OR_FOLLOWER": 3}, "warnings": ["late"],
  "failures": ["the rate was not held"]
}
hutong-load: the rate was not held
"#;
        let run = read(said);
        let figures = run.figures.unwrap();
        assert_eq!(figures.requests_per_second, 5.0);
        assert_eq!(figures.percentile("produce", "p99.99"), Some(7.0));
        assert_eq!(figures.percentile("e2e", "p99.99"), None);
        assert_eq!(run.errors["NOT_LEADER_OR_FOLLOWER"], 3);
        assert_eq!(
            (run.failures, run.warnings),
            (vec!["the rate was not held".into()], vec!["late".into()])
        );
    }

    #[test]
    fn a_run_without_figures_tells_why() {
        let run = read("hutong-load: can't reach 127.0.0.1:9: refused\n");
        assert!(run.figures.is_none());
        assert_eq!(run.failures, ["can't reach 127.0.0.1:9: refused"]);
        assert_eq!(read("").failures, ["hutong-load printed nothing"]);
        assert!(read("{\n}").failures[0].contains("can't be read"));
    }

    #[test]
    fn commands_are_shown_without_this_machine() {
        let words = ["produce", "--hlog", "/some/where/a.hlog"].map(str::to_owned);
        assert_eq!(shown(&words), "hutong-load produce --hlog a.hlog");
    }
}
