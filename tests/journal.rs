//! `hutong journal` and damaged journals: a real broker writes, is stopped, and is looked into.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hutong::config::{Config, RawConfig};
use hutong::kafka::record_batch::{Producer, build_batch};
use hutong::runtime::data_dir::DataDir;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const SEGMENT_BYTES: u64 = 32 << 20;
const PRODUCE: i16 = 0;
const DELETE_RECORDS: i16 = 21;

/// A data directory that goes when the test ends.
struct TestDir(PathBuf);

impl TestDir {
    fn new(name: &str) -> TestDir {
        let path = std::env::temp_dir().join(format!("hutong-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        TestDir(path)
    }

    fn serve_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hutong"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--shards", "1", "--no-pin"]);
        command.args(["--segment-bytes", &SEGMENT_BYTES.to_string()]);
        command.arg("--data-dir").arg(&self.0);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn journal(&self, command: &str, more: &[&str]) -> Output {
        let mut journal = Command::new(env!("CARGO_BIN_EXE_hutong"));
        journal.args(["journal", command]).arg(&self.0).args(more).output().unwrap()
    }

    /// The command's JSON, and its exit code.
    fn journal_json(&self, command: &str, more: &[&str]) -> (Value, i32) {
        let output = self.journal(command, &[&["--json"], more].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}"));
        (value, output.status.code().unwrap())
    }

    /// Flips a bit of the byte at this position of group 0.
    fn flip(&self, position: u64) {
        let name = format!("group-0/segment-{:020}.journal", position / SEGMENT_BYTES);
        let file = File::options().read(true).write(true).open(self.0.join(name)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, position % SEGMENT_BYTES).unwrap();
        file.write_all_at(&[byte[0] ^ 1], position % SEGMENT_BYTES).unwrap();
    }

    /// Every file with its bytes, but for half-made ones, which any start removes.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for dir in [self.0.clone(), self.0.join("group-0")] {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() && path.extension().is_none_or(|kind| kind != "tmp") {
                    files.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        files
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A broker that is killed when the test ends.
struct Broker {
    process: Child,
    address: String,
    correlation_id: i32,
}

impl Broker {
    fn start(dir: &TestDir) -> Broker {
        let mut process = dir.serve_command().spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("never ready: {said:?}")).unwrap();
            if let Some((_, rest)) = line.split_once("1 shard at ") {
                break rest.split(',').next().unwrap().to_owned();
            }
            said.push(line);
        };
        // Whatever it says later must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Broker { process, address, correlation_id: 0 }
    }

    fn create_topic(&self, name: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hutong"));
        command.args(["topic", "create", name, "--bootstrap", &self.address]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Sends a request of a version without tagged fields; its answer without the header.
    fn ask(&mut self, api_key: i16, api_version: i16, body: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        self.correlation_id += 1;
        let mut request = Vec::new();
        request.extend(api_key.to_be_bytes());
        request.extend(api_version.to_be_bytes());
        request.extend(self.correlation_id.to_be_bytes());
        request.extend((-1i16).to_be_bytes());
        request.extend(body);
        stream.write_all(&(request.len() as u32).to_be_bytes()).unwrap();
        stream.write_all(&request).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..4], self.correlation_id.to_be_bytes());
        answer.split_off(4)
    }

    /// Produces one batch of two records to partition 0, durably.
    fn produce(&mut self, topic: &str) -> i64 {
        let records = [(Some(&b"key"[..]), &b"value"[..]), (None, b"another value")];
        let batch = build_batch(&records, 1_700_000_000_000, Producer::NONE);
        let mut body = Vec::new();
        body.extend((-1i16).to_be_bytes());
        body.extend((-1i16).to_be_bytes());
        body.extend(10_000i32.to_be_bytes());
        put_topic(&mut body, topic);
        body.extend((batch.len() as u32).to_be_bytes());
        body.extend(batch);
        let answer = self.ask(PRODUCE, 3, &body);
        let at = 4 + 2 + topic.len() + 4 + 4;
        assert_eq!(answer[at..at + 2], [0, 0], "no error");
        i64::from_be_bytes(answer[at + 2..at + 10].try_into().unwrap())
    }

    fn delete_records(&mut self, topic: &str, before: i64) {
        let mut body = Vec::new();
        put_topic(&mut body, topic);
        body.extend(before.to_be_bytes());
        body.extend(10_000i32.to_be_bytes());
        let answer = self.ask(DELETE_RECORDS, 0, &body);
        assert_eq!(answer[answer.len() - 2..], [0, 0], "no error");
    }

    fn stop(mut self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An array of one topic with an array of one partition, number 0.
fn put_topic(body: &mut Vec<u8>, topic: &str) {
    body.extend(1i32.to_be_bytes());
    body.extend((topic.len() as i16).to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(0i32.to_be_bytes());
}

/// The positions of the entries that hold records of a topic.
fn positions(inspected: &Value, topic: &str) -> Vec<u64> {
    let entries = inspected["groups"][0]["entries"].as_array().unwrap();
    let of_topic = entries.iter().filter(|entry| entry["runs"][0]["topic"] == topic);
    of_topic.map(|entry| entry["position"].as_u64().unwrap()).collect()
}

fn partition<'a>(inspected: &'a Value, topic: &str) -> &'a Value {
    let partitions = inspected["groups"][0]["partitions"].as_array().unwrap();
    partitions.iter().find(|partition| partition["topic"] == topic).unwrap()
}

fn assert_refused(output: &Output, parts: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    for part in parts {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_journal_is_inspected_verified_and_its_damage_named() {
    let dir = TestDir::new("journal");
    let mut broker = Broker::start(&dir);
    broker.create_topic("orders");
    broker.create_topic("audit");
    broker.produce("audit");
    for n in 0..10 {
        assert_eq!(broker.produce("orders"), n * 2);
    }
    broker.delete_records("orders", 16);
    for command in ["inspect", "verify"] {
        assert_refused(&dir.journal(command, &[]), &["in use", "stop that node first"]);
    }
    broker.stop(Signal::SIGTERM);
    let before = dir.files();

    let (inspected, code) = dir.journal_json("inspect", &["--entries"]);
    assert_eq!(code, 0, "{inspected:#}");
    let orders = positions(&inspected, "orders");
    assert_inspected(&inspected);
    let (few, _) = dir
        .journal_json("inspect", &["--entries", "--from", &orders[4].to_string(), "--limit", "2"]);
    assert_eq!(positions(&few, "orders"), orders[4..6]);

    let (verified, code) = dir.journal_json("verify", &[]);
    assert_eq!(code, 0, "{verified:#}");
    assert_eq!(verified["ok"], true);
    assert_eq!(verified["groups"][0]["batches"], 11);
    assert_eq!(verified["groups"][0]["records"], 22);
    assert_eq!(verified["groups"][0]["torn_tail"], Value::Null);
    assert!(dir.files() == before, "looking changes nothing");

    dir.flip(orders[3] + 200);
    let place = json!({ "group": 0, "segment": 0, "position": orders[3] });
    for command in ["verify", "inspect"] {
        let (found, code) = dir.journal_json(command, &[]);
        assert_eq!(code, 1);
        for field in ["group", "segment", "position"] {
            assert_eq!(found["groups"][0]["bad"][field], place[field], "{found:#}");
        }
    }
    let said = dir.journal("verify", &[]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("BAD: group 0"));
}

fn assert_inspected(inspected: &Value) {
    let group = &inspected["groups"][0];
    let orders = positions(inspected, "orders");
    assert_eq!(group["bad"], Value::Null);
    assert_eq!(group["checkpoint"]["position"], group["append_position"]);
    assert_eq!(group["vote"]["voted_for"], 0);
    assert_eq!(orders.len(), 11, "ten batches and the log start");
    let entries = group["entries"].as_array().unwrap();
    assert!(entries.iter().all(|entry| entry["crc_ok"] == true && entry["term"] == 1));
    let of_audit = positions(inspected, "audit");
    let run = &entries.iter().find(|entry| entry["position"] == of_audit[0]).unwrap()["runs"][0];
    assert_eq!((&run["base_offset"], &run["last_offset"]), (&json!(0), &json!(1)));
    let batch_bytes = run["bytes"].as_u64().unwrap();
    // Eight of the ten batches of orders are needed no more, and audit, which lies before them,
    // keeps them on disk.
    let (kept, trimmed) = (partition(inspected, "audit"), partition(inspected, "orders"));
    assert_eq!(kept["pins_bytes"], 8 * batch_bytes);
    assert_eq!(kept["needed_from"], of_audit[0]);
    assert_eq!((&trimmed["log_start"], &trimmed["log_end"]), (&json!(16), &json!(20)));
    assert_eq!((&trimmed["bytes"], &trimmed["pins_bytes"]), (&json!(2 * batch_bytes), &json!(0)));
    assert_eq!(group["kept_from"]["by"], "audit-0");
    let segment = &group["segments"][0];
    assert_eq!(segment["record_bytes"], 11 * batch_bytes);
    assert_eq!(segment["needed_bytes"], 3 * batch_bytes);
    assert_eq!(segment["topics"][0]["topic"], "orders");
    assert_eq!(segment["topics"][0]["needed_bytes"], 2 * batch_bytes);
}

#[test]
fn a_node_with_damage_in_the_middle_does_not_start_and_changes_nothing() {
    let dir = TestDir::new("damage");
    let mut broker = Broker::start(&dir);
    broker.create_topic("orders");
    for _ in 0..8 {
        broker.produce("orders");
    }
    // Killed, so that no checkpoint covers the entries.
    broker.stop(Signal::SIGKILL);
    let (inspected, code) = dir.journal_json("inspect", &["--entries"]);
    assert_eq!(code, 0, "{inspected:#}");
    assert_eq!(inspected["groups"][0]["checkpoint"], Value::Null);
    assert_eq!(partition(&inspected, "orders")["log_end"], 16);
    let orders = positions(&inspected, "orders");
    dir.flip(orders[2] + 150);
    let before = dir.files();
    let position = format!("position {}", orders[2]);
    let refused = dir.serve_command().output().unwrap();
    assert_refused(&refused, &["group 0", "segment 0", &position, "Nothing was changed"]);
    assert!(dir.files() == before, "nothing was changed");
    // Once it is as it was, so is the node.
    dir.flip(orders[2] + 150);
    let mut broker = Broker::start(&dir);
    assert_eq!(broker.produce("orders"), 16);
    broker.stop(Signal::SIGTERM);
}

#[test]
fn what_is_no_data_directory_is_refused_and_left_alone() {
    let dir = TestDir::new("nothing");
    assert_refused(&dir.journal("verify", &[]), &["can't open"]);
    fs::create_dir(&dir.0).unwrap();
    for command in ["inspect", "verify"] {
        assert_refused(&dir.journal(command, &[]), &["is no data directory", "hutong.json"]);
    }
    assert_eq!(names(&dir.0), Vec::<String>::new());
}

#[test]
fn of_a_cluster_there_are_the_groups_of_the_node() {
    let dir = TestDir::new("of-a-cluster");
    let settings = RawConfig {
        data_dir: Some(dir.0.clone()),
        cluster_id: Some("c1".into()),
        peers: Some("0@127.0.0.1:9092,1@b:9092,2@c:9092,3@d:9092".parse().unwrap()),
        groups: Some(5),
        shards: Some(1),
        ..RawConfig::default()
    };
    drop(
        DataDir::open(&Config::new(settings, &[0]).unwrap(), |_| unreachable!("it joins nobody"))
            .unwrap(),
    );
    let numbers = |report: &Value| -> Vec<Value> {
        report["groups"].as_array().unwrap().iter().map(|group| group["group"].clone()).collect()
    };
    let (verified, code) = dir.journal_json("verify", &[]);
    assert_eq!((code, numbers(&verified)), (0, vec![json!(0), json!(2), json!(3), json!(4)]));
    let (inspected, code) = dir.journal_json("inspect", &[]);
    assert_eq!((code, numbers(&inspected)), (0, numbers(&verified)));
    assert_eq!(inspected["nodes"], json!([0, 1, 2, 3]));
    let (one, code) = dir.journal_json("inspect", &["--group", "3"]);
    assert_eq!((code, numbers(&one)), (0, vec![json!(3)]));
    let elsewhere = dir.journal("inspect", &["--group", "1"]);
    assert_eq!(elsewhere.status.code(), Some(2));
    let said = String::from_utf8_lossy(&elsewhere.stderr);
    assert!(said.contains("group 1") && said.contains("0, 2, 3, 4"), "{said}");
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
