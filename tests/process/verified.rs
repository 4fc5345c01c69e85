//! `hutong-load verify` beside a real broker: it finds nothing wrong where nothing is, and finds
//! what a broker does that it must not do.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hutong_load::verify::{Anomaly, Progress, Running};
use nix::sys::signal::Signal;

use crate::broker::{Broker, wait_until};

/// Between two things that happen to the broker so many records are acknowledged and read: the load
/// is really under way.
const RECORDS: u64 = 5_000;
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
/// A pause must be longer than this for requests to be sent again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// A run on four partitions that goes on until it is told to stop.
fn start(broker: &Broker, flags: &[&str]) -> Running {
    let address = broker.address();
    let line = [
        "--brokers",
        &address,
        "--partitions",
        "4",
        "--producers",
        "3",
        "--consumers",
        "2",
        "--rate",
        "20000",
        "--duration",
        "1h",
        "--request-timeout",
        "1s",
        // Nothing may be given up because this machine is slow.
        "--delivery-timeout",
        "10m",
    ];
    Running::start(line.into_iter().chain(flags.iter().copied())).unwrap()
}

fn wait_for_records(progress: &Progress) {
    let (acknowledged, read) = (progress.acknowledged(), progress.read());
    wait_until("records are acknowledged and read", PROGRESS_TIMEOUT, || {
        progress.acknowledged() >= acknowledged + RECORDS && progress.read() >= read + RECORDS
    });
}

#[test]
fn through_three_kills_and_a_pause_each_record_is_there_once_and_in_order() {
    let mut broker = Broker::start(2, &["--segment-bytes", "32MiB"]);
    let running = start(&broker, &["--idempotent"]);
    for _ in 0..3 {
        wait_for_records(&running.progress);
        broker.kill();
        broker.restart();
    }
    wait_for_records(&running.progress);
    // Requests that were given up are in the broker's sockets, and it finds them there later.
    broker.signal(Signal::SIGSTOP);
    std::thread::sleep(3 * REQUEST_TIMEOUT);
    broker.signal(Signal::SIGCONT);
    wait_for_records(&running.progress);
    running.stop_sending();
    let report = running.finish().unwrap();
    println!("{report}");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.acknowledged, report.sent, "no record is left without an outcome");
    assert_eq!(report.read, report.sent);
    assert!(report.resent > 0, "what was in flight when it was killed is sent again");
}

#[test]
fn a_broker_that_comes_back_with_an_older_journal_has_lost_what_came_since() {
    let mut broker = Broker::start(2, &["--segment-bytes", "32MiB"]);
    let copy = broker.data_dir().with_extension("older");
    let running = start(&broker, &["--idempotent", "--settle", "3s"]);
    wait_for_records(&running.progress);
    broker.kill();
    copy_all(&broker.data_dir(), &copy);
    broker.restart();
    wait_for_records(&running.progress);
    broker.kill();
    fs::remove_dir_all(broker.data_dir()).unwrap();
    fs::rename(&copy, broker.data_dir()).unwrap();
    broker.restart();
    let acknowledged = running.progress.acknowledged();
    wait_until("records are acknowledged again", PROGRESS_TIMEOUT, || {
        running.progress.acknowledged() >= acknowledged + RECORDS
    });
    running.stop_sending();
    let report = running.finish().unwrap();
    println!("{report}");
    assert!(!report.is_clean());
    let lost = report.records(Anomaly::Lost);
    assert!(lost > 0 && lost < report.acknowledged, "{report}");
    assert_eq!(report.read, report.sent - lost, "all else is there");
    assert!(report.new_epochs > 0, "it has forgotten the producers' last numbers");
    let seen = report.records(Anomaly::Divergent) + report.records(Anomaly::Vanished);
    assert!(seen > 0, "consumers had read what is lost: {report}");
    for anomaly in [Anomaly::Duplicated, Anomaly::Reordered, Anomaly::Corrupt] {
        assert_eq!(report.records(anomaly), 0, "{report}");
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
