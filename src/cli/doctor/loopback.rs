//! How long a message takes to a thread of this host and back, over TCP, and how much one
//! connection carries.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;

use super::super::output::{human_bytes, human_duration};
use super::report::Check;

const MESSAGE_BYTES: usize = 100;
const ROUNDS_MAX: u32 = 20_000;
const TIME_MAX: Duration = Duration::from_secs(1);

const PIECE_BYTES: usize = 1 << 20;
const STREAM_TIME: Duration = Duration::from_millis(300);

/// A read that takes this long means that the other thread died.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// More than this is not the network but the scheduler.
const ROUND_TRIP_GOOD: Duration = Duration::from_micros(250);

/// Plays ping-pong between two threads for a second at most.
pub fn check() -> Check {
    let name = "network.loopback";
    let rounds = match ping_pong() {
        Ok(rounds) => rounds,
        Err(error) => {
            return no_tcp(name, &error);
        }
    };
    let at = |quantile| Duration::from_nanos(rounds.value_at_quantile(quantile));
    let (p50, p99) = (at(0.5), at(0.99));
    let (p50_text, p99_text) = (human_duration(p50), human_duration(p99));
    let value = format!("round trip p50 {p50_text}, p99 {p99_text}");
    let check = if p50 > ROUND_TRIP_GOOD {
        let advice = "other work competes for the CPUs, or they are slow to wake up from idle \
                      states";
        Check::warn(name, value, advice)
    } else {
        Check::ok(name, value)
    };
    check.with(json!({
        "rounds": rounds.len(),
        "p50_us": p50.as_secs_f64() * 1e6,
        "p99_us": p99.as_secs_f64() * 1e6,
    }))
}

/// Sends in one direction as fast as it goes: what consumers of one connection can get at most.
pub fn check_stream() -> Check {
    let name = "network.loopback_stream";
    match stream() {
        Ok(per_second) => Check::ok(name, format!("{}/s", human_bytes(per_second as u64)))
            .with(json!({ "bytes_per_second": per_second })),
        Err(error) => no_tcp(name, &error),
    }
}

fn no_tcp(name: &'static str, error: &io::Error) -> Check {
    let advice = "a broker needs TCP: is the loopback interface up (`ip link set lo up`)?";
    Check::bad(name, format!("doesn't work: {error}"), advice)
}

fn stream() -> io::Result<f64> {
    let (mut here, mut there) = connected()?;
    let sender = thread::spawn(move || {
        let piece = vec![7; PIECE_BYTES];
        // Ends when the other side has closed its end.
        while here.write_all(&piece).is_ok() {}
    });
    let mut piece = vec![0; PIECE_BYTES];
    let (mut bytes, begin) = (0, Instant::now());
    let read = loop {
        match there.read(&mut piece) {
            Ok(read) => bytes += read,
            Err(error) => break Err(error),
        }
        if begin.elapsed() >= STREAM_TIME {
            break Ok(bytes as f64 / begin.elapsed().as_secs_f64());
        }
    };
    drop(there);
    let _ = sender.join();
    read
}

/// Both ends of a connection of this host with itself.
fn connected() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (there, _) = listener.accept()?;
    for stream in [&here, &there] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
    }
    Ok((here, there))
}

fn ping_pong() -> io::Result<Histogram<u64>> {
    let (mut here, mut there) = connected()?;
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut message = [0; MESSAGE_BYTES];
        // Ends when the other side has closed its end.
        while there.read_exact(&mut message).is_ok() {
            there.write_all(&message)?;
        }
        Ok(())
    });
    let rounds = play(&mut here);
    drop(here);
    let _ = echo.join();
    rounds
}

fn play(stream: &mut TcpStream) -> io::Result<Histogram<u64>> {
    let longest = READ_TIMEOUT.as_nanos() as u64;
    let mut rounds = Histogram::new_with_max(longest, 3).map_err(io::Error::other)?;
    let mut message = [7; MESSAGE_BYTES];
    let begin = Instant::now();
    let mut before = begin;
    for _ in 0..ROUNDS_MAX {
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        let now = Instant::now();
        rounds.saturating_record(now.duration_since(before).as_nanos() as u64);
        before = now;
        if begin.elapsed() > TIME_MAX {
            break;
        }
    }
    Ok(rounds)
}
