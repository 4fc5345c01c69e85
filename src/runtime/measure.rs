//! Measurements of the runtime alone:
//! `cargo test --release --lib measure -- --ignored --nocapture`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::journal::page::Page;
use crate::runtime::disk_memory::DiskBuffer;
use crate::runtime::executor::{let_io_in, start_executor};
use crate::runtime::host::pin_thread;
use crate::runtime::journal_files::Durability;
use crate::runtime::journal_page::JournalPage;
use crate::runtime::tests::{EchoShard, frame};

fn pin(cpu: usize) {
    let _ = pin_thread(cpu);
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Echoes for a while with so many frames out, and returns how many and the round trips.
fn client(address: SocketAddr, window: usize, run: Duration) -> (usize, Vec<Duration>) {
    let mut stream = connect(address);
    let one = frame(&[7; 166]);
    let burst = one.repeat(window);
    let mut got = vec![0; 1 << 20];
    let (mut count, mut trips) = (0, Vec::new());
    let began = Instant::now();
    stream.write_all(&burst).unwrap();
    let mut sent_at = Instant::now();
    // Round trips are sampled: a whole window out, all of it back.
    let mut back = 0;
    while began.elapsed() < run {
        let n = stream.read(&mut got).unwrap();
        let before = back / one.len();
        back += n;
        let frames = back / one.len() - before;
        count += frames;
        if back >= burst.len() {
            trips.push(sent_at.elapsed());
            back -= burst.len();
            sent_at = Instant::now();
        }
        stream.write_all(&burst[..frames * one.len()]).unwrap();
    }
    (count, trips)
}

#[test]
#[ignore = "a measurement"]
fn measure_echo() {
    for durability in [Durability::Dsync, Durability::Fdatasync] {
        let shard = EchoShard::start(&format!("measure-{durability:?}"), durability, 20_000);
        for (clients, window) in [(1, 1), (1, 64), (1, 1024), (1, 4096), (4, 4096), (64, 64)] {
            let run = Duration::from_secs(2);
            let threads: Vec<_> = (0..clients)
                .map(|_| {
                    let address = shard.address;
                    std::thread::spawn(move || {
                        pin(1);
                        client(address, window, run)
                    })
                })
                .collect();
            let mut count = 0;
            let mut trips = Vec::new();
            for thread in threads {
                let (n, t) = thread.join().unwrap();
                count += n;
                trips.extend(t);
            }
            trips.sort_unstable();
            let at = |q: f64| trips.get((trips.len() as f64 * q) as usize).copied();
            println!(
                "{durability:?} {clients} x {window}: {} frames/s, \
                 window p50 {:?} p99 {:?} max {:?}",
                count / 2,
                at(0.5).unwrap_or_default(),
                at(0.99).unwrap_or_default(),
                trips.last().copied().unwrap_or_default()
            );
        }
        shard.stop();
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_beside_a_flood() {
    let shard = EchoShard::start("measure-flood", Durability::Dsync, 100);
    let run = Duration::from_secs(3);
    let address = shard.address;
    let flood: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                pin(1);
                client(address, 16_384, run)
            })
        })
        .collect();
    pin(1);
    let (_, mut trips) = client(address, 1, run);
    let count: usize = flood.into_iter().map(|thread| thread.join().unwrap().0).sum();
    trips.sort_unstable();
    let at = |q: f64| trips[(trips.len() as f64 * q) as usize];
    println!(
        "beside {} frames/s: {} round trips, p50 {:?} p90 {:?} p99 {:?} max {:?}",
        count / 3,
        trips.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        trips[trips.len() - 1]
    );
    shard.stop();
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
#[ignore = "a measurement"]
fn measure_silent_connections() {
    let shard = EchoShard::start("measure-silent", Durability::Dsync, 20_000);
    let before = resident_bytes();
    let silent: Vec<_> = (0..9_000).map(|_| connect(shard.address)).collect();
    std::thread::sleep(Duration::from_secs(1));
    let each = (resident_bytes() - before) / silent.len();
    let (count, mut trips) = client(shard.address, 1, Duration::from_secs(2));
    trips.sort_unstable();
    println!(
        "{} silent connections: {each} bytes each; \
         a busy one beside them: {} round trips/s, p50 {:?} max {:?}",
        silent.len(),
        count / 2,
        trips[trips.len() / 2],
        trips[trips.len() - 1]
    );
    drop(silent);
    shard.stop();
}

#[test]
#[ignore = "a measurement"]
fn measure_comings_and_goings() {
    let shard = EchoShard::start("measure-churn", Durability::Dsync, 20_000);
    let one = frame(&[7; 166]);
    let churn = |n: usize| {
        for _ in 0..n {
            let mut stream = connect(shard.address);
            stream.write_all(&one).unwrap();
            stream.read_exact(&mut vec![0; one.len()]).unwrap();
        }
        resident_bytes()
    };
    let before = churn(2000);
    let began = Instant::now();
    let after = churn(10_000);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    println!(
        "10000 clients came, sent one frame and went: {:?} each, {} bytes more, {open} files open",
        began.elapsed() / 10_000,
        after as i64 - before as i64
    );
    shard.stop();
}

#[test]
#[ignore = "a measurement"]
fn measure_a_round_to_the_kernel() {
    start_executor("measure", Some(0), 1 << 20, || async {
        let began = Instant::now();
        for _ in 0..10_000 {
            let_io_in().await;
        }
        println!("let_io_in takes {:?}", began.elapsed() / 10_000);
        let mut at_once = 0;
        for _ in 0..10_000 {
            let wait = let_io_in();
            let mut wait = std::pin::pin!(wait);
            if futures_lite::future::poll_once(&mut wait).await.is_some() {
                at_once += 1;
            } else {
                wait.await;
            }
        }
        println!("and in {at_once} of 10000 cases it did not wait");
    })
    .unwrap()
    .join()
    .unwrap();
}

#[test]
#[ignore = "a measurement"]
fn measure_pages() {
    crate::runtime::host::keep_large_blocks();
    start_executor("measure", Some(0), 64 << 20, || async {
        for (name, held) in [("registered", 0), ("beyond it", 64)] {
            // The second time round the registered region is used up.
            let _held: Vec<_> = (0..held).map(|_| DiskBuffer::take(1 << 20)).collect();
            for bytes in [4096, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
                let build = |n: usize| {
                    let began = Instant::now();
                    let mut live = std::collections::VecDeque::new();
                    for _ in 0..n {
                        live.push_back(JournalPage::build(bytes, |b| {
                            // Touch each page, as a writer would.
                            b.iter_mut().step_by(4096).for_each(|b| *b = 1);
                        }));
                        if live.len() > 16 {
                            live.pop_front();
                        }
                    }
                    began.elapsed() / n as u32
                };
                build(200);
                println!("{name}: a page of {bytes} takes {:?}", build(2000));
            }
        }
        assert_eq!(JournalPage::build(4096, |b| b.fill(1)).bytes().len(), 4096);
    })
    .unwrap()
    .join()
    .unwrap();
}
