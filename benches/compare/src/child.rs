//! Processes that end with us, and a directory that goes with us.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{SysconfVar, sysconf};

/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(10);
/// Lines of a log that are worth showing.
const LAST_WORDS: usize = 12;

static STOP: AtomicBool = AtomicBool::new(false);

/// Somebody wants us to end.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted; nothing is written")
    }
}

impl std::error::Error for Interrupted {}

/// Has Ctrl-C and SIGTERM end the run by way of errors, so that everything is cleaned up. Call it
/// before any thread is started.
///
/// # Errors
/// The system refused.
pub fn stop_on_signal() -> anyhow::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGHUP);
    signals.thread_block().context("can't hold signals back")?;
    let wait = move || {
        let _ = signals.wait();
        STOP.store(true, Ordering::Relaxed);
    };
    thread::Builder::new().name("signals".into()).spawn(wait).context("can't start a thread")?;
    Ok(())
}

/// An error if somebody wants us to end.
///
/// # Errors
/// [`Interrupted`].
pub fn go_on() -> anyhow::Result<()> {
    if STOP.load(Ordering::Relaxed) { Err(Interrupted.into()) } else { Ok(()) }
}

/// A process of ours. It is killed when this is dropped: what we start keeps nothing that anybody
/// wants.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says goes to the file `log`.
    ///
    /// # Errors
    /// A sentence: it isn't there, or can't be run.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Process> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::create(log).with_context(|| format!("can't write {}", log.display()))?;
        let also = file.try_clone().context("can't share a file")?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(also).spawn();
        let child = child.with_context(|| format!("can't run {name}"))?;
        Ok(Process { name, child, log: log.to_owned() })
    }

    /// All it has said.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it did: a sentence with its last words.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("{} ended with {status}; its last words: {}", self.name, self.last_words()))
    }

    /// The end of what it has said.
    pub fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join(" | ")
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// [`Interrupted`], or a sentence: it took longer than `at_most` and was killed.
    pub fn wait(&mut self, at_most: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + at_most;
        loop {
            if let Some(status) = self.child.try_wait().context("can't wait for a process")? {
                return Ok(status);
            }
            go_on()?;
            if Instant::now() > deadline {
                bail!("{} did not end within {} s", self.name, at_most.as_secs());
            }
            thread::sleep(LOOK);
        }
    }

    /// CPU seconds that all its threads have used.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let ticks = stat.ok().and_then(|stat| {
            // The name stands in brackets and may have spaces in it.
            let rest = stat.rsplit_once(") ")?.1;
            let fields: Vec<u64> = rest.split(' ').filter_map(|field| field.parse().ok()).collect();
            // The state isn't a number; behind it user and system time are fields 10 and 11.
            Some(fields.get(10)? + fields.get(11)?)
        });
        ticks.unwrap_or(0) as f64 / ticks_per_second()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for what has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The kernel's unit of CPU time.
pub fn ticks_per_second() -> f64 {
    sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64
}

/// Runs a command to its end and gives back what it printed.
///
/// # Errors
/// A sentence with what it said, if it failed.
pub fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output: Output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("can't run {name}; is it installed?"))?;
    go_on()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        let said = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
        bail!("{name} failed: {}", said.trim());
    }
    Ok(text(&output.stdout))
}

/// A directory that is removed with all that is in it.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it, with those above it.
    ///
    /// # Errors
    /// A sentence with its name.
    pub fn new(path: PathBuf) -> anyhow::Result<Scratch> {
        fs::create_dir_all(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(Scratch(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("hutong-compare: can't remove {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_ends_with_us_and_so_does_its_directory() {
        let path = std::env::temp_dir().join(format!("hutong-compare-{}", std::process::id()));
        let scratch = Scratch::new(path.clone()).unwrap();
        let mut sleeper =
            Process::start(Command::new("sleep").arg("600"), &scratch.path().join("log")).unwrap();
        let pid = sleeper.child.id();
        assert!(sleeper.ended().is_none());
        assert!(sleeper.wait(Duration::from_millis(1)).is_err());
        drop(sleeper);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn who_fails_is_quoted() {
        let error = output_of(Command::new("sh").args(["-c", "echo why; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh failed: why");
        let error = output_of(&mut Command::new("hutong-no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "can't run hutong-no-such-program; is it installed?");
    }
}
