//! This program once more, under valgrind's callgrind, to count the instructions of one function.

use std::path::Path;
use std::process::Command;

/// Keeps glibc from copying and filling by `rep movsb` and `rep stosb`, which valgrind counts as an
/// instruction for each byte: an entry's padding alone would seem to cost thousands.
const NO_REP: &str = "glibc.cpu.x86_rep_movsb_threshold=1073741824:\
                      glibc.cpu.x86_rep_stosb_threshold=1073741824";

/// Runs this program with `arguments` and returns how many instructions it took within the
/// function whose name contains `function`, callees included. The profile goes to `profile`.
///
/// # Errors
/// What went wrong, and what to do about it.
pub fn count(arguments: &[String], function: &str, profile: &Path) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args(arguments)
        .env("GLIBC_TUNABLES", NO_REP)
        .output()
        .map_err(|error| {
            format!(
                "valgrind can't be run ({error}): install it (Debian and Ubuntu: apt-get install \
                 valgrind; Fedora: dnf install valgrind), then try again"
            )
        })?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("valgrind ended with {}:\n{report}", output.status));
    }
    match collected(&report) {
        Some(count) if count > 0 => Ok(count),
        _ => Err(format!("callgrind has counted nothing in {function}:\n{report}")),
    }
}

/// Callgrind's last words: `==1234== Collected : 567890`.
fn collected(report: &str) -> Option<u64> {
    let line = report.lines().find(|line| line.contains("Collected :"))?;
    line.split_whitespace().last()?.parse().ok()
}
