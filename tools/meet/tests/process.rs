//! The program as people and scripts meet it: one process, two, and its complaints.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn meet(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hutong-meet"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Fails with this code, nothing on standard output, and one line on standard error.
#[track_caller]
fn assert_sentence(output: &Output, code: i32, parts: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(output.stdout.is_empty());
    assert!(error.starts_with("hutong-meet: ") && error.matches('\n').count() == 1, "{error}");
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

/// Li in a process of his own, and the address he waits at.
fn li(args: &[&str]) -> (Child, String) {
    let mut child = command(&[&["--wait"], args].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // Unbuffered beyond the line: what comes later is read by others.
    let mut stderr = BufReader::with_capacity(1, child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    child.stderr = Some(stderr.into_inner());
    let address = line.trim().strip_prefix("Li waits at ").unwrap_or_else(|| panic!("{line}"));
    (child, address.to_owned())
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn one_process_tells_it_in_a_line() {
    let output = meet(&["--meets", "1000"]);
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(line.starts_with("1000 meets in ") && line.matches('\n').count() == 1, "{line}");
    for part in ["meets/s", "messages/s", "B/s", "Zhang on CPU", "Li on CPU"] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn the_dialogue_is_printed() {
    let output = meet(&["--meets", "1", "--print"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let begin = "Zhang asks    #1  吃了没，您吶?\nLi    answers #1  刚吃。\n";
    assert!(text.starts_with(begin), "{text}");
    assert_eq!(text.lines().count(), 7);
    assert!(text.contains("\n1 meets in "), "{text}");
    assert_sentence(&meet(&["--print"]), 2, &["--print", "1000", "--meets"]);
}

#[test]
fn json_is_for_programs() {
    let json = json(&meet(&["--meets", "777", "--in-flight", "5", "--json"]));
    assert_eq!((&json["meets"], &json["in_flight"]), (&777.into(), &5.into()));
    assert_eq!((&json["messages"], &json["bytes"]), (&4662.into(), &138_306.into()));
    assert!(json["elapsed_ns"].as_u64().unwrap() > 0);
    assert!(json["messages_per_second"].as_f64().unwrap() > 0.0);
    let sides = json["sides"].as_array().unwrap();
    assert_eq!((&sides[0]["who"], &sides[1]["who"]), (&"Zhang".into(), &"Li".into()));
}

#[test]
fn two_processes_meet() {
    let (li, address) = li(&["--json"]);
    let zhang = meet(&["--visit", &address, "--meets", "5000", "--json"]);
    let (zhang, li) = (json(&zhang), json(&li.wait_with_output().unwrap()));
    for (account, who) in [(zhang, "Zhang"), (li, "Li")] {
        assert_eq!(account["meets"], 5000);
        assert_eq!(account["sides"][0]["who"], who);
        assert_eq!(account["sides"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn both_hear_why_they_do_not_meet() {
    let (waiting, address) = li(&["--meets", "7"]);
    let zhang = meet(&["--visit", &address, "--meets", "8"]);
    assert_sentence(&zhang, 1, &["refused", "wants 8 meetings", "waits for 7"]);
    let waiting = waiting.wait_with_output().unwrap();
    assert_sentence(&waiting, 1, &["turned the visitor away", "wants 8 meetings", "waits for 7"]);

    let (waiting, address) = li(&["--print"]);
    let zhang = meet(&["--visit", &address, "--meets", "1001"]);
    assert_sentence(&zhang, 1, &["1001", "1000"]);
    assert_sentence(&waiting.wait_with_output().unwrap(), 1, &["1001", "1000"]);
}

#[test]
fn who_loses_the_other_says_so() {
    let (waiting, address) = li(&[]);
    let mut zhang = command(&["--visit", &address, "--meets", "1000000000000"]).spawn().unwrap();
    // It would go on for days. Once it has used its CPU for a tenth of a second they are talking.
    let stat = format!("/proc/{}/stat", zhang.id());
    let ticks = || -> u32 {
        let stat = std::fs::read_to_string(&stat).unwrap();
        stat.split(' ').nth(13).unwrap().parse().unwrap()
    };
    while ticks() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    zhang.kill().unwrap();
    zhang.wait().unwrap();
    let waiting = waiting.wait_with_output().unwrap();
    assert_sentence(&waiting, 1, &["Zhang went away", "of 1000000000000 meetings"]);
}

#[test]
fn addresses_that_do_not_work_are_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_sentence(&meet(&["--wait", &address]), 1, &["can't wait", &address, "in use"]);
    // Nobody waits there, and nobody else gets that port as long as this has it.
    let visitor = TcpStream::connect(taken.local_addr().unwrap()).unwrap();
    let address = visitor.local_addr().unwrap().to_string();
    assert_sentence(&meet(&["--visit", &address]), 1, &["can't reach", &address, "--wait"]);
    assert_sentence(&meet(&["--visit", "here"]), 2, &["--visit here", "127.0.0.1:7001"]);
    assert_sentence(&meet(&["--wait", "127.0.0.1:99999"]), 2, &["--wait 127.0.0.1:99999"]);
}

#[test]
fn bad_usage_is_a_sentence_and_code_2() {
    assert_sentence(&meet(&["--meets", "0"]), 2, &["--meets", "0"]);
    assert_sentence(&meet(&["--in-flight", "0"]), 2, &["--in-flight"]);
    assert_sentence(&meet(&["--in-flight", "65537"]), 2, &["65536"]);
    assert_sentence(&meet(&["--in-flight", "2", "--wait"]), 2, &["--in-flight", "--wait"]);
    assert_sentence(&meet(&["--wait", "--visit", "x:1"]), 2, &["--wait", "--visit"]);
    assert_sentence(&meet(&["--print", "--json"]), 2, &["--print", "--json"]);
    assert_sentence(&meet(&["--pin", "0"]), 2, &["two CPUs"]);
    assert_sentence(&meet(&["--pin", "0,1", "--wait"]), 2, &["one CPU"]);
    assert_sentence(&meet(&["--pin", "0,x"]), 2, &["--pin"]);
    let allowed = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = allowed.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
    let first = allowed.split(['\t', ',', '-']).nth(1).unwrap();
    let pin = format!("{first},1023");
    assert_sentence(&meet(&["--pin", &pin]), 2, &["CPU 1023", "allowed are", first]);
}

#[test]
fn help_has_examples_and_output_may_be_cut_off() {
    let help = String::from_utf8(meet(&["--help"]).stdout).unwrap();
    assert!(help.contains("hutong-meet --visit 127.0.0.1:7001"), "{help}");
    let mut child = command(&["--help"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert!(child.wait().unwrap().success());
}
