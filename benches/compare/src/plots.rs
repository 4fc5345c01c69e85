//! The pictures, drawn by `hutong-hist plot`: one for each workload, with all systems.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::child::output_of;
use crate::results::{Results, Run};
use crate::rounds::hlog;
use crate::system::System;
use crate::tools::Tools;
use crate::workload::{self, Workload};

/// Draws into `folder`.
///
/// # Errors
/// A sentence: a log can't be read, or a picture can't be written.
pub fn draw(results: &Results, tools: &Tools, work: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    for workload in workload::chosen(&results.args.only) {
        let mut plot = tools.command("hutong-hist");
        plot.arg("plot");
        let mut logs = 0;
        for system in results.compared() {
            let Some(run) = middle(results, workload, system) else { continue };
            plot.arg(hlog(work, workload.name, system, run.round));
            plot.args(["--label", system.title()]);
            logs += 1;
        }
        if logs > 0 {
            plot.args(["--tag", workload.tag, "--title", workload.title, "-o"]);
            output_of(plot.arg(folder.join(format!("{}.svg", workload.name))))?;
        }
    }
    Ok(())
}

/// The round that is drawn: the one in the middle by its p99.99.
pub fn middle<'a>(results: &'a Results, workload: &Workload, system: System) -> Option<&'a Run> {
    let tail = |run: &Run| run.figures.as_ref()?.percentile(workload.tag, "p99.99");
    let runs = results.of(workload.name, system);
    let mut runs: Vec<(f64, &Run)> = runs.filter_map(|run| Some((tail(run)?, run))).collect();
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Of two the worse one.
    runs.get(runs.len() / 2).map(|(_, run)| *run)
}
