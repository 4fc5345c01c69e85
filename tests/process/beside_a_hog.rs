//! A shard that shares its CPU with a process that never lets go of it.
//!
//! The executor sleeps with work to do if its preempt timer fires while the CPU is lent to
//! somebody else. With one request in flight at a time nothing else would wake it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::broker::Broker;
use crate::raw::{RawClient, one_record};

const ANSWER_MAX: Duration = Duration::from_secs(1);

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
    let stop = AtomicBool::new(false);
    let mut answers = Histogram::<u64>::new(3).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(shared);
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        // The hog must end when the client panics, or the scope waits for ever.
        let asked = scope.spawn(|| {
            pin(free);
            let end = Instant::now() + Duration::from_secs(60);
            while Instant::now() < end {
                let began = Instant::now();
                assert_eq!(client.produce("hog", 0, one_record(100)).0, 0);
                answers.record(began.elapsed().as_micros() as u64).unwrap();
            }
        });
        let asked = asked.join();
        stop.store(true, Ordering::Relaxed);
        asked.unwrap();
    });
    let worst = Duration::from_micros(answers.max());
    println!(
        "beside a hog: {} answers, half within {} us, 99% within {} us, the worst took {worst:?}",
        answers.len(),
        answers.value_at_quantile(0.5),
        answers.value_at_quantile(0.99),
    );
    assert!(worst < ANSWER_MAX, "{worst:?}");
}
