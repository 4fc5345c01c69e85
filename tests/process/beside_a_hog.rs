//! A shard that shares its CPU with a process that never lets go of it.
//!
//! An executor that falls asleep just when its CPU is lent to somebody else must miss nothing. With
//! one request in flight at a time nothing else would wake it (`kernel-notes/002-*`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::broker::Broker;
use crate::raw::{PRODUCE, RawClient, one_record, produce};

const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Between two looks at what the machine does to others.
const PROBE_PAUSE: Duration = Duration::from_millis(10);

/// The CPUs that tests may run on.
fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap()).collect()
}

/// Pins the calling thread.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

#[test]
fn for_one_minute_no_answer_takes_a_second_beside_a_busy_loop() {
    let cpus = cpus();
    let (shared, free) = (cpus[0], *cpus.last().unwrap());
    let flags = ["--cpus", &shared.to_string(), "--segment-bytes", "32MiB"];
    let broker = Broker::start_placed(1, &flags);
    let mut client = RawClient::connect(&broker.address());
    client.create_topic("hog", 1, &[]);
    let disk = File::create(broker.data_dir().join("probe")).unwrap();
    let stop = AtomicBool::new(false);
    let (durable, received, wakeups, writes) = std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(shared);
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let wakeups = scope.spawn(|| {
            pin(shared);
            measure_until(&stop, || std::thread::sleep(PROBE_PAUSE))
        });
        let writes = scope.spawn(|| {
            pin(free);
            measure_until(&stop, || {
                disk.write_all_at(&[1; 4096], 0).unwrap();
                disk.sync_data().unwrap();
            })
        });
        // The hog must end when the client panics, or the scope waits for ever.
        let asked = scope.spawn(|| {
            pin(free);
            ask_for_a_minute(&mut client)
        });
        let asked = asked.join();
        stop.store(true, Ordering::Relaxed);
        let (durable, received) = asked.unwrap();
        (durable, received, wakeups.join().unwrap(), writes.join().unwrap())
    });
    println!("beside a hog: durable answers {}", shown(&durable));
    println!("  answers that wait for no disk {}", shown(&received));
    println!("  a thread that sleeps for {PROBE_PAUSE:?} {}", shown(&wakeups));
    println!("  a file that is written and synced {}", shown(&writes));
    // What the machine took from anybody isn't the broker's fault, on either side of it.
    let machine = worst(&wakeups) - PROBE_PAUSE;
    assert!(worst(&received) < ANSWER_MAX + machine, "{:?}", worst(&received));
    let machine = machine + worst(&writes);
    assert!(worst(&durable) < ANSWER_MAX + machine, "{:?}", worst(&durable));
}

/// One request at a time. Every other one is answered before the disk has it.
fn ask_for_a_minute(client: &mut RawClient) -> (Histogram<u64>, Histogram<u64>) {
    const RECEIVED: i16 = 2;
    let mut answers = [histogram(), histogram()];
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        for (acks, answers) in [-1, RECEIVED].into_iter().zip(&mut answers) {
            let asked = Instant::now();
            let response = client.call(PRODUCE, &produce("hog", 0, acks, one_record(100)));
            assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
            let took = asked.elapsed();
            if took > ANSWER_MAX / 2 {
                println!("{:?}: acks {acks} took {took:?}", began.elapsed());
            }
            answers.record(took.as_micros() as u64).unwrap();
        }
    }
    answers.into()
}

/// Measures something again and again. Slow ones are told, to be held against slow answers.
fn measure_until(stop: &AtomicBool, mut something: impl FnMut()) -> Histogram<u64> {
    let mut took = histogram();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        something();
        took.record(began.elapsed().as_micros() as u64).unwrap();
        std::thread::sleep(PROBE_PAUSE);
    }
    took
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).unwrap()
}

fn worst(took: &Histogram<u64>) -> Duration {
    Duration::from_micros(took.max())
}

fn shown(took: &Histogram<u64>) -> String {
    format!(
        "({}): half within {} us, 99% within {} us, the slowest in {:?}",
        took.len(),
        took.value_at_quantile(0.5),
        took.value_at_quantile(0.99),
        worst(took),
    )
}
