//! The program as people and scripts meet it: help, sentences, exit codes.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Output};

fn hutong(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hutong")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Fails with this code, nothing on standard output, and one line on standard error.
fn assert_sentence(args: &[&str], code: i32, parts: &[&str]) {
    let output = hutong(args);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert_eq!(stdout(&output), "", "{args:?}");
    assert!(error.starts_with("hutong: "), "{args:?}: {error}");
    assert_eq!(error.matches('\n').count(), 1, "{args:?}: {error}");
    for part in parts {
        assert!(error.contains(part), "{args:?}: {error}");
    }
}

#[test]
fn each_command_has_help_with_examples() {
    let commands: [&[&str]; 15] = [
        &[],
        &["cluster"],
        &["cluster", "status"],
        &["completions"],
        &["doctor"],
        &["journal"],
        &["journal", "inspect"],
        &["journal", "verify"],
        &["top"],
        &["topic"],
        &["topic", "create"],
        &["topic", "list"],
        &["topic", "describe"],
        &["topic", "alter"],
        &["topic", "delete"],
    ];
    for command in commands {
        let output = hutong(&[command, &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        let help = stdout(&output);
        assert!(help.contains("Usage: hutong"), "{command:?}: {help}");
        let example = format!("\n  {}", [&["hutong"], command].concat().join(" "));
        let example = if command == ["completions"] { "hutong completions bash" } else { &example };
        assert!(help.contains(example), "{command:?} has no example: {help}");
    }
    assert_eq!(hutong(&["serve", "--help"]).status.code(), Some(0));
}

#[test]
fn the_version_is_told() {
    let output = hutong(&["--version"]);
    assert_eq!(stdout(&output), format!("hutong {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn bad_usage_is_a_sentence_and_code_2() {
    assert_sentence(&["nonsense"], 2, &["nonsense"]);
    assert_sentence(&["topic", "list", "--nonsense"], 2, &["--nonsense"]);
    assert_sentence(&["topic", "create"], 2, &["<NAME>"]);
    assert_sentence(&["topic", "create", "a", "--partitions", "0"], 2, &["--partitions"]);
    assert_sentence(&["topic", "create", "a", "--config", "b"], 2, &["KEY=VALUE"]);
    assert_sentence(&["topic", "list", "--bootstrap", "nowhere"], 2, &["HOST:PORT"]);
    assert_sentence(&["topic", "alter", "a"], 2, &["--config", "--partitions"]);
    assert_sentence(&["topic", "delete"], 2, &["<NAME>"]);
    assert_sentence(&["cluster", "status", "--bootstrap", "a:1,nowhere"], 2, &["HOST:PORT"]);
    assert_sentence(&["completions", "cmd"], 2, &["bash", "fish"]);
    assert_sentence(&["journal", "inspect"], 2, &["<DIR>"]);
    assert_sentence(&["journal", "inspect", "x", "--limit", "1"], 2, &["--entries"]);
    assert_sentence(&["journal", "verify", "/does/not/exist"], 1, &["/does/not/exist"]);
    assert_sentence(&["top", "nowhere"], 2, &["HOST:PORT"]);
    assert_sentence(&["top", "--interval", "0"], 2, &["--interval", "0.1"]);
    assert_sentence(&["doctor", "/does/not/exist"], 2, &["/does/not/exist"]);
}

#[test]
fn no_command_shows_help_on_standard_error() {
    let output = hutong(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage: hutong"));
}

#[test]
fn an_unreachable_broker_is_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Nobody listens there, and nobody else gets that port as long as this has it.
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let address = client.local_addr().unwrap().to_string();
    for args in [
        ["topic", "list", "--bootstrap", &address].as_slice(),
        &["topic", "describe", "a", "--bootstrap", &address],
        &["topic", "create", "a", "--bootstrap", &address],
        &["topic", "alter", "a", "--partitions", "2", "--bootstrap", &address],
        &["topic", "--bootstrap", &address, "delete", "a"],
        &["cluster", "status", "--bootstrap", &address],
        &["top", &address],
    ] {
        assert_sentence(args, 1, &[&format!("can't reach {address}: "), "refused"]);
    }
}

#[test]
fn completions_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = hutong(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("doctor"), "{shell}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_hutong"))
        .args(["completions", "bash"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(stderr(&output), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_doctor_speaks_json_and_leaves_nothing_behind() {
    let directory = std::env::temp_dir().join(format!("hutong-doctor-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let directory = directory.canonicalize().unwrap();
    let output = hutong(&["doctor", "--json", directory.to_str().unwrap()]);
    // Removes only an empty directory.
    std::fs::remove_dir(&directory).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let level = report["level"].as_str().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(level == "bad")));
    assert_eq!(report["directory"], directory.to_str().unwrap());
    let checks = report["checks"].as_array().unwrap();
    let find = |name: &str| checks.iter().find(|check| check["name"] == name);
    for name in [
        "kernel.version",
        "kernel.io_uring",
        "limit.memlock",
        "limit.open_files",
        "cpu.layout",
        "cpu.quota",
        "cpu.clock_source",
        "disk.filesystem",
        "disk.space",
        "disk.device",
        "disk.direct_io",
        "network.loopback",
        "network.loopback_stream",
    ] {
        let check = find(name).unwrap_or_else(|| panic!("there is no {name}"));
        assert!(["ok", "warn", "bad"].contains(&check["level"].as_str().unwrap()));
        assert!(!check["value"].as_str().unwrap().is_empty());
        assert_eq!(check["advice"].is_null(), check["level"] == "ok", "{check}");
    }
    // Where there are no rings, as in most containers, there is nothing to measure with.
    if find("kernel.io_uring").unwrap()["level"] == "ok" && level != "bad" {
        for depth in [1, 2, 4, 8, 16, 32] {
            let check = find(&format!("disk.write_4k_dsync_x{depth}")).unwrap();
            assert!(check["data"]["operations"].as_u64().unwrap() > 0);
            assert!(check["data"]["p50_us"].as_f64().unwrap() > 0.0);
        }
    }
}
