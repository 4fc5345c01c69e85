//! The measurements behind `kernel-notes/`: what Hutong relies on of Linux, in as few lines as show
//! it. By hand, on a quiet machine, one at a time:
//! `cargo test --test kernel_notes NAME -- --ignored --nocapture`.
//!
//! Files go to the current directory, which must lie on the disk in question.

use std::cell::Cell;
use std::fs::{File, OpenOptions, remove_file};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hutong::runtime::direct_file::DirectFile;
use hutong::runtime::disk_memory::DiskBuffer;
use hutong::runtime::executor::{let_io_in, spawn_local, start_executor};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

const FILE_BYTES: u64 = 512 << 20;
const BLOCK: usize = 4096;
const RUN: Duration = Duration::from_secs(3);
const PATH: &str = "kernel-notes.tmp";

/// As the broker writes: io_uring, from one thread. Then as threads would.
#[test]
#[ignore = "a measurement"]
fn written_before() {
    for (bytes, in_flight) in [(BLOCK, 1), (BLOCK, 8), (64 << 10, 8), (256 << 10, 8), (1 << 20, 4)]
    {
        for written in [false, true] {
            let blocks = if written { "written before" } else { "only fallocated" };
            drop(Scratch::new(written, 0, true));
            let took = write_by_uring(bytes, in_flight);
            report(&format!("io_uring, {blocks}, {in_flight} x {bytes} bytes"), bytes, took);
            remove_file(PATH).unwrap();
            let file = Scratch::new(written, libc::O_DSYNC, false);
            let took = write_for(&file.0, bytes, in_flight, |_| ());
            report(&format!("threads,  {blocks}, {in_flight} x {bytes} bytes"), bytes, took);
        }
    }
}

fn write_by_uring(bytes: usize, in_flight: usize) -> (Vec<Duration>, Duration) {
    let run = move || async move {
        let file = DirectFile::open(Path::new(PATH), libc::O_DSYNC).await.unwrap();
        let next = Rc::new(Cell::new(0));
        let began = Instant::now();
        let writers: Vec<_> = (0..in_flight)
            .map(|_| {
                let (file, next) = (file.clone(), next.clone());
                spawn_local(async move {
                    let mut took = Vec::new();
                    while began.elapsed() < RUN && next.get() + bytes as u64 <= FILE_BYTES {
                        let at = next.replace(next.get() + bytes as u64);
                        let mut buffer = DiskBuffer::take(bytes);
                        buffer.bytes_mut().fill(1);
                        let sent = Instant::now();
                        file.write_at(Rc::new(buffer), at).await.unwrap();
                        took.push(sent.elapsed());
                    }
                    took
                })
            })
            .collect();
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.await);
        }
        all.sort_unstable();
        (all, began.elapsed())
    };
    start_executor("writer", None, 16 << 20, run).unwrap().join().unwrap()
}

#[test]
#[ignore = "a measurement"]
fn dsync_or_fdatasync() {
    for threads in [1, 2, 8] {
        for (name, flags) in [("O_DSYNC", libc::O_DSYNC), ("write and fdatasync", 0)] {
            let file = Scratch::new(true, flags, false);
            let took = write_for(&file.0, BLOCK, threads, |file| {
                if flags == 0 {
                    file.sync_data().unwrap();
                }
            });
            report(&format!("{name}, {threads} x {BLOCK} bytes"), BLOCK, took);
        }
    }
}

/// One durable write after the other: how many take how long, first as the machine is, then with
/// a thread of the lowest priority that keeps each CPU from going idle.
#[test]
#[ignore = "a measurement"]
fn two_modes() {
    for busy in [false, true, false, true] {
        let stop = Arc::new(AtomicBool::new(false));
        let cpus = std::thread::available_parallelism().unwrap().get();
        let spinners: Vec<_> = (0..if busy { cpus } else { 0 })
            .map(|cpu| spin(cpu, libc::SCHED_IDLE, stop.clone()))
            .collect();
        let file = Scratch::new(true, libc::O_DSYNC, false);
        let (took, _) = write_for(&file.0, BLOCK, 1, |_| ());
        stop.store(true, Ordering::Relaxed);
        spinners.into_iter().for_each(|spinner| spinner.join().unwrap());
        let edges = [100, 200, 500, 1000, 3900, 4100, 8100, u128::MAX];
        let mut below = 0;
        println!("CPUs {}: {} writes", if busy { "kept busy" } else { "as they are" }, took.len());
        for edge in edges {
            let until = took.iter().filter(|took| took.as_micros() < edge).count();
            let share = 100.0 * (until - below) as f64 / took.len() as f64;
            let edge = if edge == u128::MAX { "more".into() } else { format!("< {edge} us") };
            println!("  {edge:>10}  {share:5.1} %");
            below = until;
        }
    }
}

/// Whether writes outlive the process that began them, and whether `fallocate` waits for them.
#[test]
#[ignore = "a measurement"]
fn left_by_the_dead() {
    const DIES: &str = "KERNEL_NOTES_DIES";
    const WRITES: u64 = 16;
    const BYTES: usize = 2 << 20;
    if std::env::var_os(DIES).is_some() {
        let begin_and_die = || async {
            let file = DirectFile::open(Path::new(PATH), 0).await.unwrap();
            for nth in 0..WRITES {
                let file = file.clone();
                spawn_local(async move {
                    let mut buffer = DiskBuffer::take(BYTES);
                    buffer.bytes_mut().fill(1);
                    file.write_at(Rc::new(buffer), nth * BYTES as u64).await.unwrap();
                })
                .detach();
            }
            let_io_in().await;
            // SAFETY: nothing runs behind it.
            unsafe { libc::_exit(0) }
        };
        let _ = start_executor("dies", None, 0, begin_and_die).unwrap().join();
    }
    let file = Scratch::new(false, 0, true).0;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let child = child.args(["--exact", "left_by_the_dead", "--ignored"]).env(DIES, "1");
    assert!(child.status().unwrap().success());
    let began = Instant::now();
    let at_first = written(&file, WRITES, BYTES as u64);
    let looked = began.elapsed();
    fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, BLOCK as i64).unwrap();
    println!(
        "{at_first} of {WRITES} writes are there {looked:?} after the end, {} after {:?}, when \
         fallocate is done",
        written(&file, WRITES, BYTES as u64),
        began.elapsed()
    );
    remove_file(PATH).unwrap();
}

/// How many of so many writes of ones have arrived.
fn written(file: &File, writes: u64, bytes: u64) -> usize {
    let mut block = Block([0; BLOCK]);
    (1..=writes)
        .filter(|nth| {
            file.read_exact_at(&mut block.0, nth * bytes - BLOCK as u64).unwrap();
            block.0[0] == 1
        })
        .count()
}

#[repr(align(4096))]
struct Block([u8; BLOCK]);

/// A thread that computes until it is told to stop.
fn spin(cpu: usize, policy: i32, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        pin(cpu);
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: changes the policy of this thread alone; the kernel reads the parameters.
        let changed = unsafe { libc::sched_setscheduler(0, policy, &parameters) };
        assert_eq!(changed, 0);
        while !stop.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    })
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// A file to write into. It is gone when dropped unless it keeps its name.
struct Scratch(File);

impl Scratch {
    fn new(written: bool, flags: i32, named: bool) -> Scratch {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let plain = options.clone().create(true).truncate(true).open(PATH).unwrap();
        fallocate(&plain, FallocateFlags::empty(), 0, FILE_BYTES as i64).unwrap();
        if written {
            let zeros = vec![0; 1 << 20];
            (0..FILE_BYTES >> 20).for_each(|at| plain.write_all_at(&zeros, at << 20).unwrap());
        }
        plain.sync_all().unwrap();
        let file = options.custom_flags(libc::O_DIRECT | flags).open(PATH).unwrap();
        if !named {
            remove_file(PATH).unwrap();
        }
        Scratch(file)
    }
}

/// Writes block after block for three seconds, or to the end of the file. Returns how long each
/// took, shortest first, and how long all took.
fn write_for(
    file: &File,
    bytes: usize,
    threads: usize,
    then: impl Fn(&File) + Sync,
) -> (Vec<Duration>, Duration) {
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let one = || {
        let memory = vec![1; bytes + BLOCK];
        let aligned = memory.as_ptr().align_offset(BLOCK);
        let mut took = Vec::new();
        while began.elapsed() < RUN {
            let at = next.fetch_add(bytes as u64, Ordering::Relaxed);
            if at + bytes as u64 > FILE_BYTES {
                break;
            }
            let sent = Instant::now();
            file.write_all_at(&memory[aligned..aligned + bytes], at).unwrap();
            then(file);
            took.push(sent.elapsed());
        }
        took
    };
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    took.sort_unstable();
    (took, began.elapsed())
}

fn report(what: &str, bytes: usize, (took, all): (Vec<Duration>, Duration)) {
    let at = |share: f64| took[(took.len() as f64 * share) as usize];
    let each_second = took.len() as f64 / all.as_secs_f64();
    let megabytes = each_second * bytes as f64 / f64::from(1 << 20);
    println!(
        "{what}: {each_second:.0} writes/s, {megabytes:.0} MiB/s, p50 {:?}, p99 {:?}",
        at(0.5),
        at(0.99)
    );
}
