//! The systems that are compared, and how each is started on a new directory.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::child::{Process, Scratch, go_on, output_of};
use crate::kafka::{self, Kafka};
use crate::tools::Tools;

/// A JVM and a KRaft quorum need a while.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Who is compared.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Every acknowledged record is on disk
    Hutong,
    /// Kafka as it comes: acknowledged records are in memory
    Kafka,
    /// Kafka with log.flush.interval.messages=1: it promises what Hutong does
    KafkaFlush,
}

impl System {
    pub const ALL: [System; 3] = [System::Hutong, System::Kafka, System::KafkaFlush];

    /// Its name on the command line and in files.
    pub fn key(self) -> &'static str {
        match self {
            System::Hutong => "hutong",
            System::Kafka => "kafka",
            System::KafkaFlush => "kafka-flush",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            System::Hutong => "Hutong",
            System::Kafka => "Kafka",
            System::KafkaFlush => "Kafka, flushing",
        }
    }
}

/// A system that runs. It ends, and its data goes, when this is dropped.
pub struct Broker {
    pub process: Process,
    /// Host and port.
    pub at: String,
    // Behind the process: what it writes to must outlive it.
    _data: Scratch,
}

impl Broker {
    /// Starts it on a directory of its own, and returns when topics can be made.
    ///
    /// # Errors
    /// A sentence with its last words.
    pub fn start(
        system: System,
        args: &Args,
        tools: &Tools,
        kafka: Option<&Kafka>,
        work: &Path,
    ) -> anyhow::Result<Broker> {
        let data = Scratch::new(work.join(system.key()))?;
        let (mut command, port) = match (system, kafka) {
            (System::Hutong, _) => (hutong(args, tools, &data.path().join("hutong")), None),
            (_, Some(kafka)) => {
                let flushed = system == System::KafkaFlush;
                let (java, port) = kafka.prepare(data.path(), flushed)?;
                (pinned(args.broker_cpu, &java), Some(port))
            }
            (_, None) => bail!("Kafka wasn't installed"),
        };
        let process = Process::start(&mut command, &data.path().join("log"))?;
        let mut broker = Broker { process, at: String::new(), _data: data };
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            broker.at = match port {
                Some(port) => format!("127.0.0.1:{port}"),
                None => told(&broker.process.said()).unwrap_or_default(),
            };
            if !broker.at.is_empty() && broker.makes_topics(tools) {
                return Ok(broker);
            }
            go_on()?;
            if let Some(ended) = broker.process.ended() {
                bail!("{} did not start: {ended}", system.title());
            }
            if Instant::now() > deadline {
                let said = broker.process.last_words();
                let seconds = READY_TIMEOUT.as_secs();
                bail!("{} did not get ready within {seconds} s: {said}", system.title());
            }
            std::thread::sleep(LOOK);
        }
    }

    fn makes_topics(&self, tools: &Tools) -> bool {
        let mut create = tools.command("hutong");
        create.args(["topic", "create", "ready", "--partitions", "1", "--if-not-exists"]);
        output_of(create.args(["--timeout", "5", "--bootstrap", &self.at])).is_ok()
    }
}

/// How a system is started, for the page. `DIR` and `PORT` stand for what differs each time.
pub fn command_line(system: System, args: &Args) -> String {
    let (cpu, dir) = (args.broker_cpu, Path::new("DIR"));
    match system {
        System::Hutong => {
            format!("hutong {}", serve(cpu, dir).join(" "))
        }
        System::Kafka | System::KafkaFlush => format!(
            "taskset -c {cpu} java {} -cp LIBS kafka.Kafka server.properties",
            kafka::jvm_options()
        ),
    }
}

fn serve(cpu: usize, data: &Path) -> Vec<String> {
    let (cpu, data) = (cpu.to_string(), data.display().to_string());
    ["serve", "--data-dir", &data, "--listen", "127.0.0.1:0", "--shards", "1", "--cpus", &cpu]
        .map(str::to_owned)
        .to_vec()
}

fn hutong(args: &Args, tools: &Tools, data: &Path) -> Command {
    let mut command = tools.command("hutong");
    command.args(serve(args.broker_cpu, data));
    command
}

/// The same command on one CPU: taskset becomes what it starts.
fn pinned(cpu: usize, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &cpu.to_string()]).arg(command.get_program()).args(command.get_args());
    pinned
}

/// Where Hutong says that it listens.
fn told(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.contains("hutong ready:"))?;
    let at = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:"))?;
    Some(at.trim_end_matches(',').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hutong_tells_where_it_listens() {
        let said = "INFO journal: O_DSYNC\nhutong ready: node 0, 1 shard at 127.0.0.1:4711, data";
        assert_eq!(told(said).as_deref(), Some("127.0.0.1:4711"));
        assert_eq!(told("INFO journal: 127.0.0.1:1"), None);
    }
}
