//! Where offsets are set to, as typed.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use kafka_protocol::messages::TopicName;

use super::super::UsageError;
use super::super::cluster::topic;

/// A topic with all its partitions, or some: `orders`, `orders:0,3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitions {
    pub topic: String,
    /// All if there is none.
    pub numbers: Vec<i32>,
}

impl std::str::FromStr for Partitions {
    type Err = String;

    fn from_str(text: &str) -> Result<Partitions, String> {
        let (topic, numbers) = text.split_once(':').unwrap_or((text, ""));
        let wrong = || format!("'{text}' is not of the form TOPIC or TOPIC:PARTITION,PARTITION");
        if topic.is_empty() || (text.contains(':') && numbers.is_empty()) {
            return Err(wrong());
        }
        let numbers = numbers.split(',').filter(|number| !number.is_empty());
        let numbers: Result<Vec<i32>, _> = numbers.map(str::parse).collect();
        let numbers = numbers.map_err(|_| wrong())?;
        if numbers.iter().any(|number| *number < 0) {
            return Err(wrong());
        }
        Ok(Partitions { topic: topic.to_owned(), numbers })
    }
}

/// A moment, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub i64);

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        if let Ok(ms) = text.parse::<i64>()
            && ms >= 0
        {
            return Ok(Moment(ms));
        }
        utc(text).map(Moment).ok_or_else(|| {
            format!(
                "'{text}' is neither milliseconds since 1970 nor a time like 2026-11-22T08:30:00Z"
            )
        })
    }
}

/// `2026-11-22T08:30:00Z`, with or without the seconds.
fn utc(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<Vec<i64>> {
        text.split(by).map(|part| part.parse().ok().filter(|n| *n >= 0)).collect()
    };
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let [year, month @ 1..=12, day @ 1..=31] = date[..] else { return None };
    let (hour, minute, second) = match time[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 || !(1970..=9999).contains(&year) {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(seconds * 1000)
}

/// Days of the Gregorian calendar; the year is counted from March, so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// A partition, and the offset it is set to.
pub type Line = ((TopicName, i32), i64);

/// Reads lines of `topic,partition,offset`; empty lines and those that begin with `#` are skipped.
pub fn from_file(path: &Path) -> anyhow::Result<Vec<Line>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("can't read the offsets in {}", path.display()))?;
    let lines = (1..).zip(text.lines().map(str::trim));
    let told = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    offsets_of(told).map_err(|why| UsageError(format!("{}{why}", path.display())).into())
}

/// The offsets in numbered lines, or what is wrong with them.
fn offsets_of<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<Line>, String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, line) in lines {
        let read = offset_line(line);
        let read =
            read.ok_or_else(|| format!(", line {number}: '{line}' is not TOPIC,PARTITION,OFFSET"))?;
        if !seen.insert(read.0.clone()) {
            return Err(format!(", line {number}: '{line}' names a partition for the second time"));
        }
        found.push(read);
    }
    if found.is_empty() {
        return Err(" names no offsets: it has lines of TOPIC,PARTITION,OFFSET".to_owned());
    }
    Ok(found)
}

fn offset_line(line: &str) -> Option<Line> {
    let parts: Vec<&str> = line.split(',').map(str::trim).collect();
    let [name, partition, offset] = parts[..] else { return None };
    let partition = partition.parse().ok().filter(|partition: &i32| *partition >= 0)?;
    let offset = offset.parse().ok().filter(|offset: &i64| *offset >= 0)?;
    (!name.is_empty()).then(|| ((topic(name), partition), offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read() {
        let read = |text: &str| text.parse::<Partitions>().map(|p| (p.topic, p.numbers));
        assert_eq!(read("orders"), Ok(("orders".to_owned(), vec![])));
        assert_eq!(read("orders:0,3"), Ok(("orders".to_owned(), vec![0, 3])));
        for wrong in ["", ":1", "a:", "a:x", "a:-1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_are_read() {
        let read = |text: &str| text.parse::<Moment>().map(|moment| moment.0);
        assert_eq!(read("0"), Ok(0));
        assert_eq!(read("1700000000123"), Ok(1_700_000_000_123));
        assert_eq!(read("1970-01-01T00:00Z"), Ok(0));
        assert_eq!(read("2000-02-29T12:00:01Z"), Ok(951_825_601_000));
        assert_eq!(read("2026-11-22T08:30:00Z"), Ok(1_795_336_200_000));
        for wrong in ["yesterday", "-5", "2026-13-01T00:00Z", "2026-01-01", "2026-01-01T24:00Z"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_of_a_file_are_read() {
        assert_eq!(offset_line("t, 3 ,17"), Some(((topic("t"), 3), 17)));
        for wrong in ["t,3", "t,x,1", ",0,1", "t,0,-1", "t,0,1,2"] {
            assert_eq!(offset_line(wrong), None, "{wrong}");
        }
        let read = |lines: &[&'static str]| offsets_of((1..).zip(lines.iter().copied()));
        assert_eq!(read(&["t,3,17", "t,4,17"]).map(|offsets| offsets.len()), Ok(2));
        assert!(read(&[]).is_err_and(|why| why.contains("names no offsets")));
        let twice = read(&["t,3,17", "t,4,17", "t,3,18"]);
        assert!(twice.is_err_and(|why| why.contains("line 3") && why.contains("second time")));
    }
}
