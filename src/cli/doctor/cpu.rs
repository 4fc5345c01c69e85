//! The CPUs we may run on, and what stands between them and us.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::output::{plural, printable};
use super::report::Check;
use crate::config::allowed_cpus;

/// Clock sources that are read without a system call.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource"];

/// The CPUs that this process may use, by number.
pub fn allowed() -> Vec<usize> {
    allowed_cpus().unwrap_or_default()
}

/// All that is worth knowing about them.
pub fn checks(cpus: &[usize]) -> Vec<Check> {
    let mut checks = vec![layout(cpus), quota(cpus.len())];
    checks.extend(governor(cpus));
    checks.push(clock());
    checks
}

fn layout(cpus: &[usize]) -> Check {
    let name = "cpu.layout";
    let model = model().unwrap_or_else(|| "unknown model".to_owned());
    let nodes = numa_nodes().max(1);
    let cores = cores(cpus);
    let value = format!(
        "{} ({}) on {}, {}, {model}",
        plural(cpus.len(), "CPU"),
        ranges(cpus),
        plural(cores, "core"),
        plural(nodes, "NUMA node"),
    );
    let data =
        json!({ "allowed": cpus, "cores": cores, "numa_nodes": nodes, "model": model.clone() });
    let check = if cpus.is_empty() {
        Check::unknown(name, "the kernel doesn't tell which CPUs we may use")
    } else {
        Check::ok(name, value)
    };
    check.with(data)
}

fn model() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(printable(line.split_once(':')?.1.trim()))
}

fn numa_nodes() -> usize {
    let Ok(entries) = fs::read_dir("/sys/devices/system/node") else { return 0 };
    let is_node = |name: &str| {
        let number = name.strip_prefix("node");
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    entries.flatten().filter(|entry| is_node(&entry.file_name().to_string_lossy())).count()
}

/// Physical cores behind the CPUs: CPUs that share one have the same list of siblings.
fn cores(cpus: &[usize]) -> usize {
    let siblings = |cpu: &usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        fs::read_to_string(path).map_or_else(|_| cpu.to_string(), |list| list.trim().to_owned())
    };
    cpus.iter().map(siblings).collect::<BTreeSet<_>>().len()
}

/// Numbers such as `0-3,8`.
fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let shown =
        runs.iter().map(
            |&(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        );
    shown.collect::<Vec<_>>().join(",")
}

/// How much time of CPUs the control groups above us allow.
fn quota(cpus: usize) -> Check {
    let name = "cpu.quota";
    let Some(quota) = cgroup_quota() else {
        return Check::ok(name, "none").with(json!({ "cpus": null }));
    };
    let value = format!("{quota:.2} CPUs");
    let check = if quota + 0.01 < cpus as f64 {
        let advice = format!(
            "the control group stops all shards when they have used {quota:.2} CPUs' time, which \
             shows as pauses of tens of milliseconds: run no more than {} and pin the container \
             to them (cpuset), or lift the limit",
            plural((quota.floor() as usize).max(1), "shard")
        );
        Check::warn(name, value, advice)
    } else {
        Check::ok(name, value)
    };
    check.with(json!({ "cpus": quota }))
}

fn cgroup_quota() -> Option<f64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = Path::new("/sys/fs/cgroup");
    let group: PathBuf = root.join(own.trim_start_matches('/'));
    // Each group above us can have a limit of its own; the smallest counts.
    let limits = group
        .ancestors()
        .take_while(|path| path.starts_with(root))
        .filter_map(|path| parse_quota(&fs::read_to_string(path.join("cpu.max")).ok()?));
    limits.min_by(f64::total_cmp)
}

/// `cpu.max` holds a quota or `max`, and a period, in microseconds.
fn parse_quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then(|| quota / period)
}

/// Virtual machines mostly have no governor to show.
fn governor(cpus: &[usize]) -> Option<Check> {
    let cpu = cpus.first()?;
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
    let governor = fs::read_to_string(path).ok()?.trim().to_owned();
    let data = json!({ "governor": governor });
    let name = "cpu.governor";
    let check = if governor == "powersave" {
        let advice = "the CPUs may be slow to wake up: `cpupower frequency-set -g performance`";
        Check::warn(name, governor, advice)
    } else {
        Check::ok(name, governor)
    };
    Some(check.with(data))
}

fn clock() -> Check {
    let name = "cpu.clock_source";
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = match fs::read_to_string(path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) => return Check::unknown(name, error),
    };
    let data = json!({ "source": source });
    let check = if FAST_CLOCKS.contains(&source.as_str()) {
        Check::ok(name, source)
    } else {
        let advice = "reading this clock takes a system call, and a shard reads it each turn: boot \
                      with `clocksource=tsc` if the CPU has a stable one";
        Check::warn(name, source, advice)
    };
    check.with(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read() {
        assert_eq!(parse_quota("150000 100000\n"), Some(1.5));
        assert_eq!(parse_quota("max 100000\n"), None);
        assert_eq!(parse_quota("1 0"), None);
        assert_eq!(parse_quota(""), None);
    }

    #[test]
    fn cpu_lists_are_short() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
    }

    #[test]
    fn we_may_run_somewhere() {
        assert!(!allowed().is_empty());
    }
}
