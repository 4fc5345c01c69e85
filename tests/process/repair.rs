//! A node of a cluster whose files were damaged while it was down: it fetches what has rotted from
//! the others, and `hutong journal verify --against` sees the difference and its end.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hutong::journal::format::checksum;
use hutong::kafka::error_code::ErrorCode;
use hutong::kafka::record_batch::batches;

use crate::broker::{Broker, Scratch, wait_until};
use crate::nodes::Nodes;
use crate::raw::{RawClient, batch_of, create_topic, numbered};
use crate::scrape::Scrape;

/// Elections, restarts and catching up, in a dev build beside busy neighbours.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
const RECORDS: i64 = 40;
const GROUPS: u32 = 3;

fn value(number: i64) -> String {
    format!("record {number:03} {}", "filling ".repeat(100))
}

/// The node that leads the topic's one partition, and a client of it.
fn leader(nodes: &Nodes) -> (usize, RawClient) {
    let run: Vec<usize> = (0..nodes.all.len()).filter(|node| nodes.all[*node].runs()).collect();
    leader_of(nodes, &run)
}

/// The same, if it is one of some that can be asked.
fn leader_of(nodes: &Nodes, some: &[usize]) -> (usize, RawClient) {
    let mut found = None;
    wait_until("the topic has a leader", CHANGE_TIMEOUT, || {
        found = some.iter().find_map(|node| {
            let mut client = RawClient::connect(&nodes.all[*node].address());
            (client.fetch("t", 0, 0).0 == 0).then_some((*node, client))
        });
        found.is_some()
    });
    found.expect("it was just found")
}

/// Three nodes with `RECORDS` records, each in an entry of its own.
fn filled(flags: &[&str]) -> (Nodes, usize) {
    let nodes = Nodes::start(3, flags);
    wait_until("all lead what they should", CHANGE_TIMEOUT, || all_lead(&nodes));
    let mut request = create_topic("t", 1, &[]);
    // As many copies as there are nodes.
    request.topics[0].replication_factor = -1;
    RawClient::connect(&nodes.all[0].address()).create(&request);
    let mut numbers = 0..RECORDS;
    let mut client = leader(&nodes).1;
    let mut number = numbers.next();
    wait_until("all records are there", CHANGE_TIMEOUT, || {
        while let Some(now) = number {
            if client.produce("t", 0, numbered(value(now).as_bytes(), now)).0 != 0 {
                // Leaders are being spread over the nodes.
                client = leader(&nodes).1;
                return false;
            }
            number = numbers.next();
        }
        true
    });
    // On a busy machine there may have been an election since: the one that is meant is the one to
    // which leadership comes back.
    let mut found = None;
    wait_until("all lead what they should again", CHANGE_TIMEOUT, || {
        found = all_lead(&nodes).then(|| leader(&nodes));
        found.is_some() && all_lead(&nodes)
    });
    let (leads, mut client) = found.expect("it was just found");
    assert_eq!(client.fetch("t", 0, 0).1, RECORDS);
    (nodes, leads)
}

/// Whether each node leads the group that it should lead.
fn all_lead(nodes: &Nodes) -> bool {
    nodes.all.iter().zip(["0", "1", "2"]).all(|(node, group)| {
        Scrape::of(node).sum("hutong_group_leader", &[("group", group)]) == 1.0
    })
}

/// The file, and where in it record `number` lies.
fn find(data_dir: &Path, number: i64) -> (PathBuf, u64) {
    let wanted = value(number);
    for group in 0..GROUPS {
        let path = data_dir.join(format!("group-{group}/segment-{:020}.journal", 0));
        let held = fs::read(&path).unwrap();
        if let Some(at) = held.windows(wanted.len()).position(|held| held == wanted.as_bytes()) {
            return (path, at as u64);
        }
    }
    panic!("record {number} is in none of the first segments");
}

fn flip((path, at): &(PathBuf, u64)) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, *at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], *at).unwrap();
}

/// Changes a byte of an entry, and its checksum with it. Returns where the entry lies.
fn change((path, at): &(PathBuf, u64)) -> u64 {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let position = at / 4096 * 4096;
    let mut entry = vec![0; 4096];
    file.read_exact_at(&mut entry, position).unwrap();
    entry[(at - position) as usize] ^= 1;
    let body_bytes = u32::from_le_bytes(entry[8..12].try_into().unwrap()) as usize;
    let crc = checksum(&entry[8..80 + body_bytes]);
    entry[4..8].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&entry, position).unwrap();
    position
}

/// What the command says, and its exit code.
fn verify(args: &[&str]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hutong"));
    let output = command.args(["journal", "verify"]).args(args).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.code().unwrap())
}

fn dir(broker: &Broker) -> String {
    broker.data_dir().display().to_string()
}

fn restart(broker: &mut Broker) {
    broker.restart();
}

/// How often it has become ready.
fn ready(broker: &Broker) -> usize {
    broker.said().matches("hutong ready:").count()
}

/// Has the next start of a node that is down read all of its journals.
fn lose_checkpoints(broker: &Broker) {
    for group in 0..GROUPS {
        let _ = fs::remove_file(broker.data_dir().join(format!("group-{group}/checkpoint")));
    }
}

fn repaired(broker: &Broker) -> f64 {
    Scrape::of(broker).sum("hutong_repaired_entries_total", &[])
}

#[test]
fn the_scrub_of_a_node_that_comes_back_mends_what_has_rotted() {
    let flags = ["--metrics", "127.0.0.1:0", "--scrub-per-second", "1GiB"];
    let (mut nodes, leads) = filled(&flags);
    let away = (leads + 1) % 3;
    let other = nodes.all[leads].address();
    // A stop takes a checkpoint, so the start doesn't look at what is there now.
    assert!(nodes.all[away].stop().0.success(), "{}", nodes.all[away].said());
    let away_dir = dir(&nodes.all[away]);
    let (said, code) = verify(&[&away_dir, "--against", &other]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("are equal, positions 4096 to").count(), 3, "{said}");
    for number in [5, 20, 21] {
        flip(&find(&nodes.all[away].data_dir(), number));
    }
    let (said, code) = verify(&[&away_dir, "--against", &other]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(said.matches("BAD: ").count(), 1, "{said}");
    restart(&mut nodes.all[away]);
    wait_until("it is whole again", CHANGE_TIMEOUT, || repaired(&nodes.all[away]) == 3.0);
    assert_eq!(nodes.all[away].said().matches("the scrub has found it").count(), 3);
    let (said, code) = verify(&["--node", &nodes.all[away].address(), "--against", &other]);
    assert_eq!(code, 0, "{said}");
    assert!(nodes.all[away].stop().0.success(), "{}", nodes.all[away].said());
    let (said, code) = verify(&[&away_dir, "--against", &other]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("  ok\n").count(), 3, "{said}");
}

#[test]
fn a_leader_gives_its_consumers_what_has_rotted_on_its_disk() {
    let flags = ["--metrics", "127.0.0.1:0", "--scrub-per-second", "0"];
    let (mut nodes, leads) = filled(&flags);
    assert!(nodes.all[leads].stop().0.success(), "{}", nodes.all[leads].said());
    let next = leader(&nodes).0;
    let place = find(&nodes.all[leads].data_dir(), 20);
    flip(&place);
    restart(&mut nodes.all[leads]);
    // It is the one that should lead, and is given that when it has caught up.
    wait_until("it leads again", CHANGE_TIMEOUT, || leader(&nodes).0 == leads);
    let against = ["--node", &nodes.all[leads].address(), "--against", &nodes.all[next].address()];
    let (said, code) = verify(&against);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("BAD: no whole entry lies behind position"), "{said}");
    let mut client = leader(&nodes).1;
    let mut read = Vec::new();
    while (read.len() as i64) < RECORDS {
        let (error, _, _, records) = client.fetch("t", 0, read.len() as i64);
        if error == ErrorCode::NOT_LEADER_OR_FOLLOWER.0 {
            // An election on a busy machine: what is meant is to be read from this one.
            wait_until("it leads again", CHANGE_TIMEOUT, || leader(&nodes).0 == leads);
            (client, read) = (leader(&nodes).1, Vec::new());
            continue;
        }
        assert_eq!(error, 0, "{}", nodes.all[leads].said());
        for (range, batch) in batches(&records) {
            assert_eq!(batch.base_offset, read.len() as i64);
            let bytes = &records[range];
            let wanted = value(batch.base_offset);
            assert!(bytes.windows(wanted.len()).any(|it| it == wanted.as_bytes()));
            read.push(batch.base_offset);
        }
    }
    assert_eq!(repaired(&nodes.all[leads]), 1.0);
    let (said, code) = verify(&against);
    assert_eq!(code, 0, "{said}");
    // The file is as it was.
    let held = fs::read(&place.0).unwrap();
    assert!(held[place.1 as usize..].starts_with(value(20).as_bytes()));
}

#[test]
fn what_can_not_be_compared_is_told_in_a_sentence() {
    let mut broker = Broker::start(1, &[]);
    let address = broker.address();
    let (said, code) = verify(&["--node", &address, "--against", &address]);
    assert_eq!(code, 0, "a node is equal to itself: {said}");
    let stranger = Broker::start(1, &[]);
    let (said, code) = verify(&["--node", &address, "--against", &stranger.address()]);
    assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    assert!(said.contains("refuses: node 0 is of cluster"), "{said}");
    let (said, code) = verify(&[&dir(&broker), "--against", &stranger.address()]);
    assert_eq!((code, said.lines().count()), (1, 1), "a node runs on it: {said}");
    assert!(broker.stop().0.success());
    let (said, code) = verify(&[&dir(&broker), "--against", &address]);
    assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    assert!(said.contains(&format!("can't reach {address}: does a node run there?")), "{said}");
    let (said, code) = verify(&[&dir(&broker), "--against", "nowhere"]);
    assert_eq!((code, said.lines().count()), (2, 1), "{said}");
    assert!(said.contains("write it as HOST:PORT"), "{said}");
    let (said, code) = verify(&[&dir(&broker), "--node", &address]);
    assert_eq!((code, said.lines().count()), (2, 1), "{said}");
}

#[test]
fn a_copy_of_a_node_is_compared_as_well() {
    let mut broker = Broker::start(1, &[]);
    let mut client = RawClient::connect(&broker.address());
    client.create_topic("t", 1, &[]);
    for number in 0..RECORDS {
        let batch = batch_of(value(number).as_bytes());
        assert_eq!(client.produce("t", 0, batch), (0, number));
    }
    assert!(broker.stop().0.success());
    let copy = Scratch::new();
    let from = broker.data_dir();
    let told = Command::new("cp").arg("-r").arg(&from).arg(&copy.path).status().unwrap();
    assert!(told.success());
    let copied = copy.path.join(from.file_name().unwrap());
    let copied = copied.display().to_string();
    broker.restart();
    let address = broker.address();
    let (said, code) = verify(&[&copied, "--against", &address]);
    assert_eq!(code, 0, "{said}");
    // An entry that is whole and another one.
    let position = change(&find(Path::new(&copied), 20));
    let (said, code) = verify(&[&copied, "--against", &address]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(&format!("DIFFERS from position {position} on: here checksum")),
        "{said}"
    );
    let mut other = Broker::start(1, &["--cluster-id", "x"]);
    assert!(other.stop().0.success());
    let (said, code) = verify(&[&dir(&other), "--against", &address]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("refuses: "), "{said}");
}

#[test]
fn a_node_that_finds_damage_at_its_start_takes_part_when_another_has_mended_it() {
    let flags = ["--metrics", "127.0.0.1:0", "--scrub-per-second", "0"];
    let (mut nodes, leads) = filled(&flags);
    let (away, other) = ((leads + 1) % 3, (leads + 2) % 3);
    wait_until("it has all", CHANGE_TIMEOUT, || {
        let lag = |of| Scrape::of(&nodes.all[of]).sum("hutong_group_position_bytes", of_applied());
        lag(away) == lag(leads)
    });
    nodes.all[away].kill();
    lose_checkpoints(&nodes.all[away]);
    for number in [20, 21] {
        flip(&find(&nodes.all[away].data_dir(), number));
    }
    // One of the others is enough: a majority is there with this node only.
    nodes.all[other].kill();
    let before = ready(&nodes.all[away]);
    nodes.all[away].spawn();
    wait_until("it says what is damaged", CHANGE_TIMEOUT, || {
        nodes.all[away].said().contains("this node takes part in nothing before")
    });
    // It can be stopped all the same, and begins again.
    assert!(nodes.all[away].stop().0.success(), "{}", nodes.all[away].said());
    nodes.all[away].spawn();
    nodes.all[other].spawn();
    wait_until("it is ready", CHANGE_TIMEOUT, || ready(&nodes.all[away]) > before);
    let said = nodes.all[away].said();
    assert!(said.contains("2 damaged entries from position"), "{said}");
    let against = nodes.all[leads].address();
    let (said, code) = verify(&["--node", &nodes.all[away].address(), "--against", &against]);
    assert_eq!(code, 0, "{said}");
    let mut client = leader(&nodes).1;
    assert_eq!(client.fetch("t", 0, 0).1, RECORDS);
}

fn of_applied() -> &'static [(&'static str, &'static str)] {
    &[("position", "apply")]
}

#[test]
fn nodes_that_are_all_damaged_after_a_loss_of_power_mend_each_other() {
    let flags = ["--metrics", "127.0.0.1:0", "--scrub-per-second", "0"];
    let (mut nodes, leads) = filled(&flags);
    wait_until("all have all on disk", CHANGE_TIMEOUT, || {
        let flushed = |of: &Broker| {
            let told = Scrape::of(of);
            told.sum("hutong_group_position_bytes", &[("position", "flush")])
        };
        nodes.all.iter().all(|node| flushed(node) == flushed(&nodes.all[leads]))
    });
    nodes.all.iter_mut().for_each(Broker::kill);
    // The third stays down: none of those that start is whole.
    let (one, other) = ((leads + 1) % 3, (leads + 2) % 3);
    for (node, numbers) in [(one, [12, 20, 21]), (other, [13, 22, 30])] {
        lose_checkpoints(&nodes.all[node]);
        numbers.iter().for_each(|number| flip(&find(&nodes.all[node].data_dir(), *number)));
    }
    let before = ready(&nodes.all[one]) + ready(&nodes.all[other]);
    nodes.all[one].spawn();
    wait_until("it says what is damaged", CHANGE_TIMEOUT, || {
        nodes.all[one].said().contains("this node takes part in nothing before")
    });
    nodes.all[other].spawn();
    wait_until("both are ready", CHANGE_TIMEOUT, || {
        ready(&nodes.all[one]) + ready(&nodes.all[other]) == before + 2
    });
    for node in [one, other] {
        assert!(nodes.all[node].said().contains("are whole again"), "{}", nodes.all[node].said());
    }
    let against = nodes.all[other].address();
    let (said, code) = verify(&["--node", &nodes.all[one].address(), "--against", &against]);
    assert_eq!(code, 0, "{said}");
    let mut client = leader(&nodes).1;
    assert_eq!(client.fetch("t", 0, 0).1, RECORDS);
}

#[test]
fn a_node_that_waits_gives_what_it_has_to_one_that_runs() {
    let flags = ["--metrics", "127.0.0.1:0", "--scrub-per-second", "64MiB"];
    let (mut nodes, leads) = filled(&flags);
    let (waits, runs) = ((leads + 1) % 3, (leads + 2) % 3);
    wait_until("all have all on disk", CHANGE_TIMEOUT, || {
        let lag = |of| Scrape::of(&nodes.all[of]).sum("hutong_group_position_bytes", of_applied());
        lag(waits) == lag(leads) && lag(runs) == lag(leads)
    });
    // The one that waits needs 20, which nobody has who runs, and has 25.
    nodes.all.iter_mut().for_each(Broker::kill);
    lose_checkpoints(&nodes.all[waits]);
    flip(&find(&nodes.all[waits].data_dir(), 20));
    for node in [leads, runs] {
        nodes.all[node].spawn();
    }
    wait_until("both are ready", CHANGE_TIMEOUT, || {
        [leads, runs].iter().all(|node| ready(&nodes.all[*node]) == 2)
    });
    for node in [leads, runs] {
        let dir = nodes.all[node].data_dir();
        [20, 25].iter().for_each(|number| flip(&find(&dir, *number)));
    }
    let before = ready(&nodes.all[waits]);
    nodes.all[waits].spawn();
    // A consumer comes upon it, if the scrub hasn't.
    wait_until("one is whole again", CHANGE_TIMEOUT, || {
        let (now, mut client) = leader_of(&nodes, &[leads, runs]);
        let _ = client.fetch("t", 0, 25);
        repaired(&nodes.all[now]) == 1.0
    });
    let said = format!("is whole again: node {} had it", waits + 1);
    assert!([leads, runs].iter().any(|node| nodes.all[*node].said().contains(&said)));
    assert_eq!(ready(&nodes.all[waits]), before, "{}", nodes.all[waits].said());
}
