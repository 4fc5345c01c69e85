//! What goes wrong is told in a line, with an exit code, and what was measured is kept.

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use std::net::TcpListener;
use std::process::{Command, Stdio};

use common::{LOAD, Scratch, Server, complaints, json, load};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A port that nobody listens on.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_broker_that_cant_be_reached() {
    let address = nobody();
    for command in ["produce", "consume", "e2e"] {
        let output = load(&[command, "--brokers", &address]);
        assert_eq!(output.status.code(), Some(1));
        let wanted = format!("hutong-load: can't reach {address}: Connection refused");
        let said = complaints(&output);
        assert!(said.len() == 1 && said[0].starts_with(&wanted), "{said:?}");
    }
}

#[test]
fn a_log_that_cant_be_written() {
    // No broker is needed to see it.
    let address = nobody();
    for (path, why) in [("/no/such/folder/a", "there is no such folder"), ("/", "it is a folder")] {
        let output = load(&["produce", "--brokers", &address, "--hlog", path]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(complaints(&output), [format!("hutong-load: can't create {path}: {why}")]);
    }
}

#[test]
fn a_disk_that_fills_up_ends_the_run_and_keeps_what_was_measured() {
    let (sink, scratch) = (Server::sink(&[]), Scratch::new());
    // The shell's limit on the size of files stands for the disk.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh", LOAD, "produce", "--brokers", &sink.address])
        .args(["--warmup", "0s", "--interval", "50ms", "--duration", "1h", "--json"])
        .args(["--rate", "2000", "--hlog", &scratch.file("a.hlog")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = complaints(&output);
    assert!(said.len() == 1 && said[0].contains("what came before is kept"), "{said:?}");
    assert!(json(&output)["produced"]["requests"].as_u64().unwrap() > 0);
}

#[test]
fn a_broker_that_dies_is_waited_for_and_then_given_up() {
    let mut sink = Server::sink(&[]);
    let run = Command::new(LOAD)
        .args(["produce", "--brokers", &sink.address, "--warmup", "0s", "--duration", "1h"])
        .args(["--rate", "1000", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    sink.kill();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = complaints(&output);
    let wanted = format!("hutong-load: can't reach {}", sink.address);
    assert!(said.len() == 1 && said[0].starts_with(&wanted), "{said:?}");
    assert!(said[0].ends_with("for 10 seconds now"), "{said:?}");
    let result = json(&output);
    assert!(result["produced"]["requests"].as_u64().unwrap() > 0);
    assert_eq!(result["errors"]["connection broken"], 1);
}

#[test]
fn a_rate_that_cant_be_held() {
    let sink = Server::sink(&[]);
    let output = load(&[
        "produce",
        "--brokers",
        &sink.address,
        "--rate",
        "30000000",
        "--warmup",
        "0s",
        "--duration",
        "300ms",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let said = complaints(&output);
    assert!(said.len() == 1 && said[0].contains("the rate was not held: "), "{said:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("produced"));
}

#[test]
fn a_signal_ends_a_run_and_keeps_what_was_measured() {
    let sink = Server::sink(&[]);
    let run = Command::new(LOAD)
        .args(["produce", "--brokers", &sink.address, "--warmup", "0s", "--duration", "1h"])
        .args(["--in-flight", "1", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    kill(Pid::from_raw(run.id() as i32), Signal::SIGINT).unwrap();
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", complaints(&output));
    let result = json(&output);
    assert!(result["produced"]["requests"].as_u64().unwrap() > 0);
    assert!(result["seconds"].as_f64().unwrap() < 600.0);
}

#[test]
fn what_was_asked_wrongly_is_told_with_exit_code_2() {
    let scratch = Scratch::new();
    let file = scratch.file("w.toml");
    std::fs::write(&file, "topics = 1\npartitons = 3\n").unwrap();
    for (args, wanted) in [
        (vec!["mixed", &file], "line 2: unknown field `partitons`"),
        (vec!["e2e", "--record-bytes", "15"], "they need 16 bytes at least"),
        (vec!["produce", "--rate", "5", "--in-flight", "5"], "cannot be used with"),
        (vec!["produce", "--rate", "0"], "is not a number above 0"),
        (vec!["produce", "--cpus", "9999"], "9999"),
    ] {
        let output = load(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {:?}", complaints(&output));
        assert!(complaints(&output)[0].contains(wanted), "{:?}", complaints(&output));
    }
}
