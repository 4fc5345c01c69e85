//! The result of a run, as people get it.

use std::fmt;

use hutong_hist::units::{count, duration};

use super::Summary;

/// Percentiles that a line has room for, by their places in the summary.
const SHOWN: [usize; 6] = [0, 2, 3, 4, 5, 6];

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.description;
        let plural = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        writeln!(
            f,
            "{}  topic {} of {}, {}, {}{}",
            what.workload,
            what.topic,
            plural(what.partitions, "partition"),
            plural(what.connections, "connection"),
            what.pace,
            what.says,
        )?;
        for (name, flow) in [("produced", &self.produced), ("consumed", &self.consumed)] {
            let Some(flow) = flow else { continue };
            writeln!(
                f,
                "{name} {:>14} requests {:>12}/s  {:>14} records {:>12}/s  {:>8.1} MB/s  \
                 in {:.1} s",
                count(flow.requests),
                count(flow.requests_per_second as u64),
                count(flow.records),
                count(flow.records_per_second as u64),
                flow.megabytes_per_second,
                self.seconds
            )?;
        }
        if let Some(backlog) = &self.backlog {
            let drained = match backlog.drained_seconds {
                Some(seconds) => format!("drained in {seconds:.2} s, while producing"),
                None => "not drained".into(),
            };
            writeln!(f, "backlog  {:>14} records  {drained}", count(backlog.records))?;
        }
        for (tag, latency) in &self.latency {
            let all = latency.percentiles();
            let shown = SHOWN.iter().map(|&at| format!("  {} {}", all[at].0, duration(all[at].1)));
            let shown: String = shown.collect();
            writeln!(f, "{tag:<8}{shown}  max {}", duration(latency.max_ns))?;
        }
        for (what, times) in &self.errors {
            writeln!(f, "error    {:>14}  {what}", count(*times))?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}
