//! The machine it ran on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::child::{output_of, ticks_per_second};
use crate::results::Probe;
use crate::tools::Tools;

/// What the doctor measures and we show: names begin so.
const MEASURED: [&str; 3] = ["disk.write", "disk.read", "network.loopback"];
/// What it says about the machine and we show.
const DESCRIBED: [(&str, &str); 4] = [
    ("cpu.layout", "CPU"),
    ("disk.device", "Disk"),
    ("disk.filesystem", "File system"),
    ("cpu.clock_source", "Clock"),
];

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Host {
    /// When it began, UTC.
    pub date: String,
    /// Lines of a table: what, and what is there.
    pub lines: Vec<(String, String)>,
}

impl Host {
    /// Asks the system, and the doctor's findings.
    pub fn look(probe: &Findings) -> Host {
        let ask = |program: &str, args: &[&str]| {
            output_of(Command::new(program).args(args)).unwrap_or_else(|_| "unknown".into())
        };
        let mut lines = vec![("Kernel".to_owned(), ask("uname", &["-srm"]))];
        for (name, title) in DESCRIBED {
            if let Some(found) = probe.all.get(name) {
                lines.push((title.to_owned(), found.clone()));
            }
        }
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        if let Some(kib) = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok())
        {
            lines.push(("Memory".to_owned(), format!("{:.1} GiB", kib / (1 << 20) as f64)));
        }
        Host { date: ask("date", &["-u", "+%Y-%m-%d %H:%M UTC"]), lines }
    }
}

/// All that the doctor found, by name.
pub struct Findings {
    pub all: BTreeMap<String, String>,
}

impl Findings {
    /// Has the doctor look at the disk of `work`.
    ///
    /// # Errors
    /// A sentence: it can't be run, or prints something else.
    pub fn ask(tools: &Tools, work: &Path) -> anyhow::Result<Findings> {
        let output = tools.command("hutong").args(["doctor", "--json"]).arg(work).output();
        // It fails when something is bad; that is told as well.
        let output = output.context("can't run hutong doctor")?;
        let found: Value =
            serde_json::from_slice(&output.stdout).context("hutong doctor printed no JSON")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let checks = found["checks"].as_array().into_iter().flatten();
        Ok(Findings { all: checks.map(|c| (text(&c["name"]), text(&c["value"]))).collect() })
    }

    /// What it measured.
    pub fn probe(&self, when: &str) -> Probe {
        let measured = |name: &str| MEASURED.iter().any(|begin| name.starts_with(begin));
        let found = self.all.iter().filter(|(name, _)| measured(name));
        Probe {
            when: when.to_owned(),
            found: found.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }
}

/// CPU seconds that this machine has spent on anything, since it was started.
pub fn busy_cpu_seconds() -> f64 {
    busy(&fs::read_to_string("/proc/stat").unwrap_or_default()) / ticks_per_second()
}

/// User, nice, system, irq, softirq and steal of the first line; idle and iowait lie between.
fn busy(stat: &str) -> f64 {
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| ticks.get(at)).sum::<u64>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_busy() {
        assert_eq!(busy("cpu  1 2 4 1000 2000 8 16 32 0 0\ncpu0 1"), 63.0);
        assert_eq!(busy(""), 0.0);
        assert!(busy_cpu_seconds() > 0.0);
    }
}
