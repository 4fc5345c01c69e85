//! The executor by what its tasks see.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_lite::future::{or, poll_fn, yield_now};

use super::*;
use crate::runtime::direct_file::DirectFile;
use crate::runtime::disk_memory::DiskBuffer;
use crate::runtime::socket::Stream;

const MEMORY_BYTES: usize = 1 << 20;

/// What `main` ends with, on an executor of its own.
fn run<M, F>(main: M) -> F::Output
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    start_executor("test", None, MEMORY_BYTES, main).unwrap().join().unwrap()
}

#[test]
fn what_it_runs_comes_back() {
    assert_eq!(run(|| async { 7 }), 7);
}

#[test]
fn one_that_can_not_be_made_says_why() {
    let started = start_executor("never", Some(1 << 20), MEMORY_BYTES, || async {});
    assert!(started.is_err_and(|error| format!("{error:#}").contains("CPU 1048576")));
}

#[test]
fn a_task_runs_up_to_its_first_wait_before_spawning_returns() {
    run(|| async {
        let seen = Rc::new(Cell::new(0));
        let inner = seen.clone();
        let task = spawn_local(async move {
            inner.set(1);
            yield_now().await;
            inner.set(2);
            "done"
        });
        assert_eq!(seen.get(), 1);
        assert_eq!(task.await, "done");
        assert_eq!(seen.get(), 2);
    });
}

#[test]
fn timers_ring_in_order_and_never_early() {
    run(|| async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [30, 10, 20, 10]
            .into_iter()
            .map(|wait| {
                let order = order.clone();
                spawn_local(async move {
                    let began = Instant::now();
                    sleep(Duration::from_millis(wait)).await;
                    assert!(began.elapsed() >= Duration::from_millis(wait));
                    order.borrow_mut().push(wait);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [10, 10, 20, 30]);
        with_executor(|on| assert_eq!(on.timers.next(), None));
    });
}

#[test]
fn a_timer_that_is_dropped_keeps_nobody() {
    run(|| async {
        or(sleep(Duration::from_millis(1)), sleep(Duration::from_secs(3600))).await;
        with_executor(|on| assert_eq!(on.timers.next(), None));
    });
}

#[test]
fn other_threads_wake_it_however_fast_it_falls_asleep() {
    let (ask, asked) = flume::unbounded::<flume::Sender<u32>>();
    let handle = start_executor("test", None, MEMORY_BYTES, move || async move {
        let mut answered = 0;
        while let Ok(who) = asked.recv_async().await {
            answered += 1;
            who.send(answered).unwrap();
        }
        answered
    })
    .unwrap();
    const ROUNDS: u32 = 20_000;
    for round in 1..=ROUNDS {
        let (tell, told) = flume::bounded(1);
        ask.send(tell).unwrap();
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(round));
    }
    drop(ask);
    assert_eq!(handle.join().unwrap(), ROUNDS);
}

#[test]
fn a_waker_outlives_the_executor_on_another_thread() {
    let (tell, told) = flume::bounded(1);
    run(move || async move {
        let mut tell = Some(tell);
        spawn_local(poll_fn(move |context| {
            if let Some(tell) = tell.take() {
                tell.send(context.waker().clone()).unwrap();
            }
            Poll::<()>::Pending
        }))
        .detach();
    });
    let waker: Waker = told.recv().unwrap();
    waker.wake_by_ref();
    drop(waker);
}

#[test]
fn tasks_that_are_not_done_are_dropped_at_its_end() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Told;
    impl Drop for Told {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::SeqCst);
        }
    }
    run(|| async {
        for _ in 0..10 {
            let held = Told;
            spawn_local(async move {
                let _held = held;
                // Each of them in its turn, as those of a task that waits for another.
                spawn_local(sleep(Duration::from_secs(3600))).await;
            })
            .detach();
        }
        yield_now().await;
    });
    assert_eq!(DROPPED.load(Ordering::SeqCst), 10);
}

#[test]
fn who_is_always_ready_keeps_nobody_from_the_kernel() {
    run(|| async {
        let stop = Rc::new(Cell::new(false));
        let until = stop.clone();
        let busy = spawn_local(async move {
            while !until.get() {
                yield_now().await;
            }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"hello").unwrap();
        });
        let mut stream = Stream::connect(address, Duration::from_secs(10)).await.unwrap();
        let mut got = [0; 5];
        let read = poll_fn(|context| stream.poll_read(context, &mut got)).await.unwrap();
        assert_eq!(&got[..read], b"hello");
        sleep(Duration::from_millis(1)).await;
        stop.set(true);
        busy.await;
        peer.join().unwrap();
    });
}

#[test]
fn who_lets_io_in_finds_what_was_done_meanwhile() {
    run(|| async {
        let (reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let seen = Rc::new(Cell::new(false));
        let sees = seen.clone();
        let fd = reader.as_raw_fd();
        spawn_local(async move {
            ready(fd, nix::libc::POLLIN).await.0.unwrap();
            sees.set(true);
        })
        .detach();
        let_io_in().await;
        assert!(!seen.get());
        writer.write_all(&[1]).unwrap();
        let_io_in().await;
        assert!(seen.get(), "woken by the look, and so before who waited for it");
    });
}

#[test]
fn a_socket_that_nobody_waits_for_any_more_is_closed() {
    run(|| async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = Stream::connect(address, Duration::from_secs(10)).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let waits = spawn_local(async move {
            poll_fn(|context| stream.poll_read(context, &mut [0; 8])).await.unwrap();
        });
        let_io_in().await;
        waits.cancel().await;
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let read = spawn_blocking("peer", move || peer.read(&mut [0; 8])).await.unwrap();
        assert_eq!(read.unwrap(), 0);
    });
}

#[test]
fn a_socket_carries_more_than_it_takes_at_once() {
    const BYTES: usize = 32 << 20;
    run(|| async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let echo = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut all = vec![0; BYTES];
            peer.read_exact(&mut all).unwrap();
            peer.write_all(&all).unwrap();
        });
        let mut stream = Stream::connect(address, Duration::from_secs(10)).await.unwrap();
        let bytes: Vec<u8> = (0..BYTES).map(|at| (at / 7) as u8).collect();
        let mut sent = 0;
        while sent < BYTES {
            let pieces = [std::io::IoSlice::new(&bytes[sent..])];
            sent += poll_fn(|context| stream.poll_write(context, &pieces)).await.unwrap();
        }
        let mut back = vec![0; BYTES];
        let mut got = 0;
        while got < BYTES {
            got += poll_fn(|context| stream.poll_read(context, &mut back[got..])).await.unwrap();
        }
        assert!(back == bytes);
        echo.join().unwrap();
        assert_eq!(poll_fn(|context| stream.poll_read(context, &mut [0; 1])).await.unwrap(), 0);
    });
}

#[test]
fn to_connect_in_vain_ends_in_an_error() {
    run(|| async {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let refused = Stream::connect(free, Duration::from_secs(10)).await.err().unwrap();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        // One whose queue of clients is full answers nobody.
        let full = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let address = full.local_addr().unwrap();
        let _first = TcpStream::connect(address).unwrap();
        let late = Stream::connect(address, Duration::from_millis(50)).await.err().unwrap();
        assert_eq!(late.kind(), std::io::ErrorKind::TimedOut);
    });
}

/// A file of zeros that goes with what holds it.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str, bytes: usize) -> Scratch {
        let path = std::env::current_dir().unwrap().join(format!(".{name}-{}", std::process::id()));
        std::fs::write(&path, vec![0; bytes]).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn files_keep_what_is_written_whatever_memory_it_comes_from() {
    let scratch = Scratch::new("executor-file", 8 << 20);
    let path = scratch.0.clone();
    run(move || async move {
        let file = DirectFile::open(&path, nix::libc::O_DSYNC).await.unwrap();
        // The second one doesn't fit into what is registered.
        for (nth, bytes) in [4096, 2 << 20].into_iter().enumerate() {
            let mut buffer = DiskBuffer::take(bytes);
            assert_eq!(buffer.piece().is_some(), nth == 0);
            buffer.bytes_mut().fill(nth as u8 + 1);
            let written = file.write_at(Rc::new(buffer), (nth as u64) << 22).await.unwrap();
            assert_eq!(written, bytes);
            file.fdatasync().await.unwrap();
            let read = file.read_at((nth as u64) << 22, bytes).await.unwrap();
            assert!(read.bytes().iter().all(|byte| *byte == nth as u8 + 1));
        }
        let past_the_end = file.read_at((8 << 20) - 4096, 8192).await.unwrap();
        assert_eq!(past_the_end.bytes().len(), 4096);
        let missing = DirectFile::open(&path.join("none"), 0).await.err().unwrap();
        assert_eq!(missing.raw_os_error(), Some(nix::libc::ENOTDIR));
    });
}

#[test]
fn a_write_goes_on_though_nobody_waits_for_it() {
    let scratch = Scratch::new("executor-left", 1 << 20);
    let path = scratch.0.clone();
    run(move || async move {
        let file = DirectFile::open(&path, 0).await.unwrap();
        for nth in 0..64u64 {
            let mut buffer = DiskBuffer::take(4096);
            buffer.bytes_mut().fill(nth as u8 + 1);
            let (file, buffer) = (file.clone(), Rc::new(buffer));
            drop(spawn_local(async move { file.write_at(buffer, nth * 4096).await }));
        }
        // The last ones are still on their way when all ends.
    });
    let bytes = std::fs::read(&scratch.0).unwrap();
    for (nth, block) in bytes.chunks(4096).take(64).enumerate() {
        assert!(block.iter().all(|byte| *byte == nth as u8 + 1), "block {nth}");
    }
}

#[test]
fn more_may_be_asked_for_than_a_ring_holds() {
    run(|| async {
        let pairs: Vec<_> =
            (0..3000).map(|_| std::os::unix::net::UnixStream::pair().unwrap()).collect();
        let waits: Vec<_> = pairs
            .iter()
            .map(|(reader, _)| {
                let fd = reader.as_raw_fd();
                spawn_local(async move { ready(fd, nix::libc::POLLIN).await.0.unwrap() })
            })
            .collect();
        let_io_in().await;
        for (_, writer) in &pairs {
            (&*writer).write_all(&[1]).unwrap();
        }
        for wait in waits {
            assert_ne!(wait.await & nix::libc::POLLIN as u32, 0);
        }
    });
}

#[test]
fn what_was_done_while_more_was_asked_for_is_told_at_once() {
    run(|| async {
        let (ready_at_once, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        (&writer).write_all(&[1]).unwrap();
        let_io_in().await;
        // As many as the ring holds, and one more, which nothing ever ends.
        let waits: Vec<_> =
            (0..1024).map(|_| super::ready(ready_at_once.as_raw_fd(), nix::libc::POLLIN)).collect();
        let never = super::ready(writer.as_raw_fd(), nix::libc::POLLIN);
        let told = async {
            for wait in waits {
                wait.await.0.unwrap();
            }
            true
        };
        let too_late = async {
            sleep(Duration::from_secs(10)).await;
            false
        };
        let began = Instant::now();
        assert!(or(told, too_late).await);
        assert!(began.elapsed() < Duration::from_secs(10));
        drop(never);
    });
}

#[test]
fn what_takes_long_is_done_elsewhere() {
    let here = run(|| async {
        let there = spawn_blocking("elsewhere", || std::thread::current().id()).await.unwrap();
        assert_ne!(there, std::thread::current().id());
        let failed = spawn_blocking("elsewhere", || {
            std::panic::resume_unwind(Box::new("as a test"));
        });
        failed.await.is_err()
    });
    assert!(here);
}

#[test]
fn what_is_heard_of_now_and_then_is_heard_of_together_and_wakes_nobody() {
    run(|| async {
        let mut pairs: Vec<_> = (0..20).map(|_| UnixStream::pair().unwrap()).collect();
        let waiting: Vec<_> = pairs
            .iter()
            .map(|(_, reader)| ready_as(Hears::NowAndThen, reader.as_raw_fd(), nix::libc::POLLIN))
            .collect();
        // What was there before it was asked about is found, too.
        pairs[0].0.write_all(b"x").unwrap();
        let told = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = waiting
            .into_iter()
            .map(|waiting| {
                let told = told.clone();
                spawn_local(async move {
                    waiting.await.0.unwrap();
                    told.borrow_mut().push(with_executor(|on| on.late_at.get()));
                })
            })
            .collect();
        // They come one after the other, and others have the thread meanwhile.
        for (writer, _) in &mut pairs[1..] {
            writer.write_all(b"x").unwrap();
            let (mut writer, reader) = UnixStream::pair().unwrap();
            writer.write_all(b"x").unwrap();
            ready(reader.as_raw_fd(), nix::libc::POLLIN).await.0.unwrap();
        }
        for task in tasks {
            task.await;
        }
        let mut looks = told.take();
        assert_eq!(looks.len(), 20);
        assert!(looks.is_sorted());
        looks.dedup();
        assert!(looks.len() < 20, "each was looked for by itself");
        with_executor(|on| assert!(on.late.is_idle()));
        // Nobody waits any more: nor does the thread.
        yield_now().await;
        sleep(2 * LATE_PERIOD).await;
        with_executor(|on| assert_eq!(on.late_at.get(), None));
    });
}

#[test]
fn what_is_waited_for_now_and_then_can_be_called_off() {
    run(|| async {
        let (_writer, reader) = UnixStream::pair().unwrap();
        let waiting = ready_as(Hears::NowAndThen, reader.as_raw_fd(), nix::libc::POLLIN);
        sleep(2 * LATE_PERIOD).await;
        drop(waiting);
        while with_executor(|on| !on.late.is_idle()) {
            sleep(LATE_PERIOD).await;
        }
        // One that has not even been handed over yet.
        drop(ready_as(Hears::NowAndThen, reader.as_raw_fd(), nix::libc::POLLIN));
        while with_executor(|on| !on.late.is_idle()) {
            sleep(LATE_PERIOD).await;
        }
    });
}
