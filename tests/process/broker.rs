//! A broker of our own: found ports, a directory, its last words if a test fails.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::network::Namespace;

/// A dev build beside five busy neighbours may take its time.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Other tests look for ports, too, and may be faster.
pub const PORT_TRIES: usize = 20;

/// A data directory, a run of ports and flags: what outlives a broker that is killed.
pub struct Broker {
    host: IpAddr,
    port: u16,
    /// Where its process runs, if not where the test does.
    namespace: Option<Namespace>,
    shards: u16,
    flags: Vec<String>,
    dir: Scratch,
    child: Option<Running>,
    lines: Arc<Mutex<Vec<String>>>,
}

struct Running {
    child: Child,
    reader: JoinHandle<()>,
}

impl Broker {
    /// A new directory, with shards that share the CPUs.
    pub fn start(shards: u16, flags: &[&str]) -> Broker {
        let mut flags = flags.to_vec();
        flags.push("--no-pin");
        Broker::start_placed(shards, &flags)
    }

    /// The same, and `flags` say on which CPUs.
    pub fn start_placed(shards: u16, flags: &[&str]) -> Broker {
        Broker::start_in(Scratch::new(), shards, flags)
    }

    /// The same, with its data below a directory that is there.
    pub fn start_in(dir: Scratch, shards: u16, flags: &[&str]) -> Broker {
        let flags = flags.iter().map(|flag| (*flag).to_string()).collect();
        let mut broker = Broker::new(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), dir, flags);
        broker.shards = shards;
        for _ in 0..PORT_TRIES {
            broker.port = free_ports(shards);
            match broker.try_start() {
                Ok(_) => return broker,
                Err(said) if said.contains("the port is in use") => {}
                Err(said) => panic!("the broker did not start: {said}"),
            }
        }
        panic!("found no free ports");
    }

    /// Starts it again, after it was killed or stopped. Returns how long it took to get ready.
    pub fn restart(&mut self) -> Duration {
        assert!(self.child.is_none(), "it runs");
        self.try_start().unwrap_or_else(|said| panic!("the broker did not restart: {said}"))
    }

    /// The same with another number of shards.
    pub fn restart_with(&mut self, shards: u16) -> Duration {
        self.shards = shards;
        self.restart()
    }

    /// The same with other flags.
    pub fn restart_with_flags(&mut self, flags: &[&str]) -> Duration {
        self.flags = flags.iter().map(|flag| (*flag).to_string()).collect();
        self.restart()
    }

    fn new(listen: SocketAddr, dir: Scratch, flags: Vec<String>) -> Broker {
        let (host, port) = (listen.ip(), listen.port());
        let (namespace, child, lines) = (None, None, Arc::default());
        Broker { host, port, namespace, shards: 1, flags, dir, child, lines }
    }

    /// A node of a cluster, not started yet: each node listens on its own of `ports`.
    pub fn member(number: usize, ports: &[u16]) -> Broker {
        let address = |port: &u16| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), *port);
        Broker::member_at(number, &ports.iter().map(address).collect::<Vec<_>>())
    }

    /// The same: each node listens on its own of `addresses`.
    pub fn member_at(number: usize, addresses: &[SocketAddr]) -> Broker {
        let peers: Vec<String> =
            (1..).zip(addresses).map(|(node, address)| format!("{node}@{address}")).collect();
        let node = (number + 1).to_string();
        let flags = ["--no-pin", "--segment-bytes", "32MiB", "--cluster-id", "test", "--node-id"];
        let mut flags: Vec<String> = flags.map(str::to_string).to_vec();
        flags.extend([node, "--peers".to_string(), peers.join(",")]);
        Broker::new(addresses[number], Scratch::new(), flags)
    }

    /// The same with a process that runs elsewhere.
    pub fn in_namespace(mut self, namespace: Namespace) -> Broker {
        self.namespace = Some(namespace);
        self
    }

    /// The same with more flags.
    pub fn with_flags(mut self, flags: &[&str]) -> Broker {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_string()));
        self
    }

    /// Starts it, and doesn't wait until it serves: it may need others for that.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs");
        self.begin();
    }

    /// A node that was killed gets another data directory.
    pub fn lose_disk(&mut self, dir: Scratch) {
        assert!(self.child.is_none(), "it runs");
        self.dir = dir;
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    fn try_start(&mut self) -> Result<Duration, String> {
        let began = Instant::now();
        let wait_ready = self.begin();
        let is_ready = wait_ready.recv_timeout(READY_TIMEOUT);
        let took = began.elapsed();
        if is_ready.is_err() {
            self.kill();
            return Err(self.last_words());
        }
        Ok(took)
    }

    /// Starts the process. Who receives is told when it is ready.
    fn begin(&mut self) -> mpsc::Receiver<()> {
        let listen = SocketAddr::new(self.host, self.port);
        let mut command = serve_at(&self.data_dir(), listen, self.shards);
        if let Some(namespace) = self.namespace.clone() {
            // SAFETY: between fork and exec only one system call is made.
            unsafe {
                command.pre_exec(move || namespace.enter());
            }
        }
        let mut child = command.args(&self.flags).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let lines = self.lines.clone();
        let (ready, wait_ready) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.starts_with("hutong ready:") {
                    let _ = ready.send(());
                }
                lines.lock().unwrap().push(line);
            }
        });
        self.child = Some(Running { child, reader });
        wait_ready
    }

    /// As kill -9 ends it.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.child.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
            let _ = running.reader.join();
        }
    }

    /// Sends it a signal, such as the two that pause it and let it go on.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    /// Asks it to stop. Returns how it ended and how long that took.
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        let mut running = self.child.take().expect("it runs");
        let began = Instant::now();
        kill(Pid::from_raw(running.child.id() as i32), Signal::SIGTERM).unwrap();
        let status = running.child.wait().unwrap();
        let took = began.elapsed();
        running.reader.join().unwrap();
        (status, took)
    }

    /// Where shard 0 is.
    pub fn address(&self) -> String {
        self.shard_address(0)
    }

    /// Where a shard is.
    pub fn shard_address(&self, shard: u16) -> String {
        SocketAddr::new(self.host, self.port + shard).to_string()
    }

    /// Shard 0's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path.join("data")
    }

    /// What it has said so far, all starts together.
    pub fn said(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    fn last_words(&self) -> String {
        let lines = self.lines.lock().unwrap();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Memory it has, in bytes.
    pub fn rss(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it runs");
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// Files it has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// CPU time it has used, of all threads.
    pub fn cpu_time(&self) -> Duration {
        let stat = self.proc("stat");
        // The name, in parentheses, may hold anything; user and system time are fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // The kernel shows them in hundredths of a second.
        Duration::from_millis(ticks * 10)
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").child.id()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the broker's last words:\n{}", self.last_words());
        }
        self.kill();
    }
}

/// `hutong serve`, ready to be spawned. It dies with the thread that spawns it, so that nothing
/// is left behind when the tests are interrupted.
pub fn serve(data_dir: &Path, port: u16, shards: u16) -> Command {
    serve_at(data_dir, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), shards)
}

fn serve_at(data_dir: &Path, listen: SocketAddr, shards: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hutong"));
    command
        .arg("serve")
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--listen", &listen.to_string(), "--shards", &shards.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    kill_with_test(&mut command);
    command
}

/// Has the kernel kill the process with the thread that starts it.
pub fn kill_with_test(command: &mut Command) {
    // SAFETY: between fork and exec only one system call is made.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
}

/// A directory that is removed in any case.
pub struct Scratch {
    pub path: PathBuf,
}

impl Scratch {
    /// A new one, on the disk that temporary files go to.
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hutong-process-{}-{number}", std::process::id());
        Scratch::at(std::env::temp_dir().join(name))
    }

    /// One in a directory that is there.
    pub fn below(dir: &Path) -> Scratch {
        Scratch::at(dir.join("broker"))
    }

    fn at(path: PathBuf) -> Scratch {
        fs::create_dir(&path).unwrap();
        Scratch { path }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Neighbouring ports, outside of the range from which the kernel gives ports to connections:
/// while a broker is down, a client that keeps connecting to a port of that range sooner or
/// later is connected to itself.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let lowest: u32 = range.split_whitespace().next().unwrap().parse().unwrap();
    let highest = if lowest > 12_000 { lowest } else { 32_768 };
    let span = highest - 10_000 - u32::from(count);
    // Processes begin far apart, and no run of ports is offered twice by one.
    let begin = std::process::id().wrapping_mul(2_654_435_761) % span;
    for _ in 0..1000 {
        let step = NEXT.fetch_add(u32::from(count), Ordering::Relaxed);
        let first = (10_000 + (begin + step) % span) as u16;
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("found no {count} free ports in a row");
}

/// Waits for something to become true.
pub fn wait_until(what: &str, timeout: Duration, mut is_true: impl FnMut() -> bool) {
    let by = Instant::now() + timeout;
    while !is_true() {
        assert!(Instant::now() < by, "{what}: not within {timeout:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
