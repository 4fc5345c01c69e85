//! A client that behaves, while others don't: it produces, fetches, and must notice nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::broker::{Broker, wait_until};
use crate::raw::{RawClient, one_record};

/// The longest that one of its requests may take.
const LATENCY_MAX: Duration = Duration::from_secs(2);
/// The most memory a broker may have, whatever is done to it.
const RSS_MAX: u64 = 400 << 20;

/// A broker of one shard with a bystander. `finish` holds the two against what must be.
pub struct Arena {
    pub broker: Broker,
    open_files: usize,
    stop: Arc<AtomicBool>,
    /// Pairs of requests that were answered.
    rounds: Arc<AtomicU64>,
    bystander: Option<JoinHandle<Duration>>,
}

impl Arena {
    pub fn new(flags: &[&str]) -> Arena {
        let flags = [&["--segment-bytes", "32MiB"], flags].concat();
        let broker = Broker::start(1, &flags);
        let mut client = RawClient::connect(&broker.address());
        client.create_topic("bystander", 1, &[]);
        // The first write and the first read may open files that stay open.
        assert_eq!(client.produce("bystander", 0, one_record(100)).0, 0);
        let open_files = broker.open_files();
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (stop.clone(), rounds.clone());
        let bystander = std::thread::spawn(move || behave(client, &stopped, &counted));
        Arena { broker, open_files, stop, rounds, bystander: Some(bystander) }
    }

    /// A connection of its own.
    pub fn client(&self) -> RawClient {
        RawClient::connect(&self.broker.address())
    }

    /// The others are gone: the bystander has noticed nothing, memory is bounded, files are shut.
    pub fn finish(mut self, what: &str) {
        let rss = self.check_memory();
        // Segments are opened as they come into use: a few more are no leak.
        let open_files_max = self.open_files + 8;
        wait_until("the clients' descriptors are closed", Duration::from_secs(20), || {
            self.broker.open_files() <= open_files_max
        });
        let before = self.rounds.load(Ordering::Relaxed);
        wait_until("the bystander goes on", Duration::from_secs(20), || {
            self.rounds.load(Ordering::Relaxed) > before + 10
        });
        self.stop.store(true, Ordering::Relaxed);
        let worst = self.bystander.take().unwrap().join().expect("the bystander got an error");
        println!(
            "{what}: the bystander made {} requests, the slowest took {:?}; {} MB resident, {} \
             files open",
            2 * self.rounds.load(Ordering::Relaxed),
            worst,
            rss >> 20,
            self.broker.open_files()
        );
        assert!(worst < LATENCY_MAX, "{worst:?}");
    }

    /// Memory is bounded now. Returns how much it is.
    pub fn check_memory(&self) -> u64 {
        let rss = self.broker.rss();
        assert!(rss < RSS_MAX, "{} MB resident", rss >> 20);
        rss
    }
}

/// Returns how long the slowest request took.
fn behave(mut client: RawClient, stopped: &AtomicBool, rounds: &AtomicU64) -> Duration {
    let mut worst = Duration::ZERO;
    let mut next = 1;
    while !stopped.load(Ordering::Relaxed) {
        let began = Instant::now();
        assert_eq!(client.produce("bystander", 0, one_record(100)), (0, next));
        let produced = began.elapsed();
        let (error, high_watermark, _, records) = client.fetch("bystander", 0, next);
        assert_eq!((error, high_watermark), (0, next + 1));
        assert!(!records.is_empty());
        worst = worst.max(produced).max(began.elapsed() - produced);
        rounds.fetch_add(1, Ordering::Relaxed);
        next += 1;
        // It needn't load the broker, only be there all the time.
        std::thread::sleep(Duration::from_millis(2));
    }
    worst
}
