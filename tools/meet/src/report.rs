//! What is told in the end: a line for people, an object for programs.

use std::time::Duration;

use hutong::duplex::HEAD_BYTES;
use serde_json::{Value, json};

use crate::dialogue::MEETING;
use crate::lane::Account;

/// Sentences of a meeting.
pub const MEETING_MESSAGES: u64 = MEETING.len() as u64;

/// Bytes of a meeting on the wire, with the heads of its frames and without TCP's own.
pub const MEETING_BYTES: u64 = {
    let (mut bytes, mut at) = (0, 0);
    while at < MEETING.len() {
        bytes += HEAD_BYTES + MEETING[at].len();
        at += 1;
    }
    bytes as u64
};

/// Numbers of a talk, all by the clock of the first account's teller.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figures {
    meets: u64,
    messages: u64,
    bytes: u64,
    elapsed: Duration,
}

impl Figures {
    fn of(accounts: &[Account]) -> Figures {
        let meets = accounts[0].plan.meets;
        Figures {
            meets,
            messages: meets.saturating_mul(MEETING_MESSAGES),
            bytes: meets.saturating_mul(MEETING_BYTES),
            elapsed: accounts[0].elapsed,
        }
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// One line.
///
/// # Panics
/// If there is no account.
pub fn line(accounts: &[Account]) -> String {
    let figures = Figures::of(accounts);
    let places: Vec<String> = accounts
        .iter()
        .map(|Account { who, place, .. }| {
            let pinned = if place.pinned { "" } else { ", not pinned" };
            format!("{who} on CPU {}{pinned}", place.cpu)
        })
        .collect();
    format!(
        "{} meets in {}: {}, {}, {}; {} at a time; {}\n",
        figures.meets,
        time(figures.elapsed),
        rate(figures.per_second(figures.meets), " meets"),
        rate(figures.per_second(figures.messages), " messages"),
        rate(figures.per_second(figures.bytes), "B"),
        accounts[0].plan.in_flight,
        places.join("; ")
    )
}

/// The same and some more, as JSON.
///
/// # Panics
/// If there is no account.
pub fn json(accounts: &[Account]) -> Value {
    let figures = Figures::of(accounts);
    let sides = accounts.iter().map(|account| {
        json!({
            "who": account.who.to_string(),
            "elapsed_ns": account.elapsed.as_nanos() as u64,
            "cpu": account.place.cpu,
            "pinned": account.place.pinned,
            "writes": account.effort.writes,
            "reads": account.effort.reads,
            "waits": account.effort.waits,
            "unsent_bytes_max": account.effort.unsent_bytes_max,
        })
    });
    json!({
        "meets": figures.meets,
        "in_flight": accounts[0].plan.in_flight,
        "messages": figures.messages,
        "bytes": figures.bytes,
        "elapsed_ns": figures.elapsed.as_nanos() as u64,
        "meets_per_second": figures.per_second(figures.meets),
        "messages_per_second": figures.per_second(figures.messages),
        "bytes_per_second": figures.per_second(figures.bytes),
        "sides": sides.collect::<Vec<_>>(),
    })
}

fn time(elapsed: Duration) -> String {
    match elapsed.as_secs_f64() {
        seconds if seconds < 1e-3 => format!("{:.1} us", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.2} ms", seconds * 1e3),
        seconds => format!("{seconds:.3} s"),
    }
}

/// Three or four digits, a power of 1000, and what is counted.
fn rate(number: f64, what: &str) -> String {
    let (number, unit) = match number {
        number if number < 1e4 => (number, ""),
        number if number < 1e6 => (number / 1e3, "k"),
        number if number < 1e9 => (number / 1e6, "M"),
        number => (number / 1e9, "G"),
    };
    let digits = if number < 100.0 { 2 } else { 0 };
    format!("{number:.digits$} {}/s", format!("{unit}{what}").trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meeting_is_counted_with_its_heads() {
        let words: usize = MEETING.iter().map(|sentence| sentence.len()).sum();
        assert_eq!((MEETING_MESSAGES, MEETING_BYTES), (6, words as u64 + 48));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(rate(42_300_000.0, " messages"), "42.30 M messages/s");
        assert_eq!(rate(950.4, " meets"), "950 meets/s");
        assert_eq!(rate(123_456.0, "B"), "123 kB/s");
        assert_eq!(time(Duration::from_micros(14_237)), "14.24 ms");
        assert_eq!(time(Duration::from_millis(1423)), "1.423 s");
        assert_eq!(time(Duration::from_nanos(42_100)), "42.1 us");
    }
}
