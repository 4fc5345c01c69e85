//! How a broker ends, and when it doesn't even begin.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::libc;

use crate::broker::{Broker, Scratch, free_ports, serve, wait_until};
use crate::raw::{RawClient, batch_of};
use crate::records::read_partition;

/// More than the broker gives itself: this machine is shared.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Refusals come at once, but for a port or a lock that may be about to be free.
const REFUSAL_MAX: Duration = Duration::from_secs(20);

#[test]
fn sigterm_in_the_middle_of_a_load_ends_well_and_keeps_what_was_acknowledged() {
    let mut broker = Broker::start(2, &["--segment-bytes", "32MiB", "--groups", "2"]);
    let bootstrap = broker.address();
    RawClient::connect(&bootstrap).create_topic("load", 2, &[]);
    let acknowledged = Mutex::new(vec![Vec::new(); 2]);
    let (status, took) = std::thread::scope(|scope| {
        for shard in 0..2 {
            let (address, acknowledged) = (broker.shard_address(shard), &acknowledged);
            scope.spawn(move || load(&address, acknowledged));
        }
        wait_until("a load on both shards", Duration::from_secs(30), || {
            acknowledged.lock().unwrap().iter().all(|values| values.len() > 200)
        });
        broker.stop()
    });
    println!("SIGTERM under load: {status}, after {took:?}");
    assert_eq!(status.code(), Some(0), "{}", broker.said());
    assert!(took < STOP_MAX, "{took:?}");
    broker.restart();
    for (partition, values) in (0..).zip(acknowledged.into_inner().unwrap()) {
        let read = read_partition(&bootstrap, "load", partition);
        for (offset, value) in values {
            assert_eq!(read[offset as usize], (offset, value));
        }
    }
}

/// Produces to the partition of the shard at `address` until the broker goes away.
fn load(address: &str, acknowledged: &Mutex<Vec<Vec<(i64, String)>>>) {
    let mut client = RawClient::connect(address);
    let mine =
        (0..2).find(|partition| client.produce("load", *partition, batch_of(b"first")).0 == 0);
    let mine = mine.expect("each shard has a partition");
    for number in 0.. {
        let value = format!("{mine}/{number}");
        let request = crate::raw::produce("load", mine, -1, batch_of(value.as_bytes()));
        let Ok(answer) = client.try_call(crate::raw::PRODUCE, &request) else { return };
        let part = &answer.responses[0].partition_responses[0];
        // One that has to be sent again elsewhere, or later, is not acknowledged.
        if part.error_code == 0 {
            acknowledged.lock().unwrap()[mine as usize].push((part.base_offset, value));
        }
    }
}

#[test]
fn an_idle_broker_stops_at_once() {
    let mut broker = Broker::start(1, &["--segment-bytes", "32MiB"]);
    let (status, took) = broker.stop();
    assert_eq!(status.code(), Some(0), "{}", broker.said());
    assert!(took < STOP_MAX, "{took:?}");
}

#[test]
fn a_second_process_on_the_same_directory_is_refused_by_name() {
    let broker = Broker::start(1, &["--segment-bytes", "32MiB"]);
    let mut second = serve(&broker.data_dir(), free_ports(1), 1);
    let said = refusal(second.arg("--no-pin"), 1);
    let dir = broker.data_dir().canonicalize().unwrap();
    assert!(said.contains(dir.to_str().unwrap()) && said.contains("in use"), "{said}");
    // The first one didn't notice.
    RawClient::connect(&broker.address()).create_topic("still-there", 1, &[]);
}

#[test]
fn a_port_in_use_is_named_with_the_shard_that_wanted_it() {
    let scratch = Scratch::new();
    let port = free_ports(2);
    let _taken = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let mut command = serve(&scratch.path.join("data"), port, 2);
    let said = refusal(command.args(["--no-pin", "--segment-bytes", "32MiB"]), 1);
    let address = format!("127.0.0.1:{}", port + 1);
    assert!(said.contains(&address) && said.contains("shard 1"), "{said}");
}

#[test]
fn settings_that_cannot_be_meant_are_one_sentence_and_code_2() {
    let scratch = Scratch::new();
    let file = scratch.path.join("hutong.toml");
    let file_name = file.to_str().unwrap();
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("", &["--nonsense"], &["--nonsense"]),
        ("", &["--shards", "0"], &["--shards"]),
        ("", &["--shards", "many"], &["many"]),
        ("", &["--cpus", "0-"], &["--cpus"]),
        ("", &["--cpus", "99999"], &["99999"]),
        ("", &["--segment-bytes", "5MiB"], &["--segment-bytes", "32MiB"]),
        ("", &["--segment-bytes", "a lot"], &["a lot"]),
        ("", &["--listen", "nowhere"], &["nowhere"]),
        ("", &["--listen", "0.0.0.0:9092"], &["--advertise"]),
        ("", &["--groups", "0"], &["--groups"]),
        ("", &["--journal-sync", "maybe"], &["maybe"]),
        ("", &["--peers", "1@a"], &["1@a", "1@host:9092"]),
        ("", &["--peers", "1@127.0.0.1:9092,2@127.0.0.1:9099"], &["1, 2", "--node-id"]),
        ("", &["--peers", "0@127.0.0.1:1024,2@127.0.0.1:9099"], &["--cluster-id"]),
        ("peers = [\"x@a:1\"]", &["--config", file_name], &["x@a:1", file_name]),
        ("shrads = 1", &["--config", file_name], &["shrads", file_name]),
        ("shards = \"all\"", &["--config", file_name], &["shards", file_name]),
        ("shards =", &["--config", file_name], &["TOML", file_name]),
        ("", &["--config", "/does/not/exist"], &["/does/not/exist"]),
    ];
    for (settings, flags, parts) in cases {
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hutong"));
        command.arg("serve").args(*flags);
        // Where a mistake of ours would let it start, it must not be in the source tree.
        command.current_dir(&scratch.path).stderr(Stdio::piped()).stdout(Stdio::null());
        let said = refusal(&mut command, 2);
        for part in *parts {
            assert!(said.contains(part), "{flags:?}: {said}");
        }
    }
    assert!(!scratch.path.join("hutong-data").exists());
}

#[test]
fn a_directory_of_another_node_is_refused_and_its_sizes_stay_what_they_were() {
    let mut broker = Broker::start(1, &["--segment-bytes", "32MiB"]);
    assert!(broker.stop().0.success());
    let mut command = serve(&broker.data_dir(), broker.port(), 1);
    let said = refusal(command.args(["--no-pin", "--node-id", "7"]), 1);
    assert!(said.contains("node"), "{said}");
    broker.restart_with_flags(&["--no-pin", "--segment-bytes", "64MiB", "--groups", "5"]);
    for flag in ["--segment-bytes 64MiB is not followed", "--groups 5 is not followed"] {
        assert!(broker.said().contains(flag), "{}", broker.said());
    }
}

#[test]
fn without_io_uring_it_says_what_to_allow() {
    let scratch = Scratch::new();
    let mut command = serve(&scratch.path.join("data"), free_ports(1), 1);
    command.arg("--no-pin");
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(forbid_io_uring);
    }
    let said = refusal(&mut command, 1);
    assert!(said.contains("io_uring") && said.contains("seccomp"), "{said}");
}

/// What a container's seccomp filter does.
fn forbid_io_uring() -> std::io::Result<()> {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, k| libc::sock_filter { code, jt, jf: 0, k };
    let mut filter = [
        step(LOAD_NUMBER, 0, 0),
        step(JUMP_IF_EQUAL, 1, libc::SYS_io_uring_setup as u32),
        step(RETURN, 0, libc::SECCOMP_RET_ALLOW),
        step(RETURN, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    nix::sys::prctl::set_no_new_privs()?;
    // SAFETY: the program and its filter outlive the call, which copies them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Runs a broker that refuses to start: its sentence.
fn refusal(command: &mut Command, code: i32) -> String {
    let output = run(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    let sentences: Vec<&str> = said.lines().filter(|line| line.starts_with("hutong: ")).collect();
    assert_eq!(sentences.len(), 1, "{said}");
    sentences[0].to_string()
}

/// Runs to the end, which must come.
fn run(command: &mut Command) -> Output {
    let mut child = command.spawn().unwrap();
    let by = Instant::now() + REFUSAL_MAX;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > by {
            let _ = child.kill();
            panic!("it started: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}
