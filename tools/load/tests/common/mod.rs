//! Processes that tests start, and end.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub const LOAD: &str = env!("CARGO_BIN_EXE_hutong-load");

/// A directory that goes away with this.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hutong-load-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Something that listens, ended with this.
pub struct Server {
    pub child: Child,
    pub address: String,
}

impl Server {
    /// A sink.
    pub fn sink(flags: &[&str]) -> Server {
        let mut command = Command::new(LOAD);
        command.args(["sink", "--listen", "127.0.0.1:0"]).args(flags);
        Server::start(command, |line| {
            line.strip_prefix("hutong-load sink ready: ").map(str::to_owned)
        })
    }

    /// A broker, if one was built: cargo does so for tests of the whole workspace.
    pub fn broker(data: &Path) -> Option<Server> {
        let binary = Path::new(LOAD).with_file_name("hutong");
        if !binary.exists() {
            eprintln!("{} is not built: not tested", binary.display());
            return None;
        }
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--shards", "1", "--no-pin"]);
        command.args(["--segment-bytes", "32MiB", "--data-dir"]).arg(data);
        Some(Server::start(command, |line| {
            let at = line.strip_prefix("hutong ready:")?.split(" at ").nth(1)?;
            Some(at.split(',').next()?.to_owned())
        }))
    }

    fn start(mut command: Command, address: impl Fn(&str) -> Option<String>) -> Server {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it can be run");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let found = lines.by_ref().map_while(Result::ok).find_map(|line| address(&line));
        let Some(address) = found else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it did not start");
        };
        // A full pipe would stop it.
        std::thread::spawn(move || lines.count());
        Server { child, address }
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs the generator to its end.
pub fn load(args: &[&str]) -> Output {
    Command::new(LOAD).args(args).output().unwrap()
}

/// What it printed as JSON.
pub fn json(output: &Output) -> serde_json::Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// The lines on standard error.
pub fn complaints(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}
