//! The broker's numbers at one moment, as its metrics endpoint tells them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use hdrhistogram::Histogram;
use serde::Deserialize;

use crate::cli::client::Endpoint;
use crate::runtime::metrics::families::Family;
use crate::runtime::metrics::json;

/// From the connection to the whole answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer we take.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// All that was told at one moment.
pub struct Page {
    /// When it was asked for.
    pub taken: Instant,
    metrics: BTreeMap<String, Metric>,
}

#[derive(Deserialize)]
struct Answer {
    metrics: BTreeMap<String, Metric>,
}

#[derive(Deserialize)]
struct Metric {
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    value: f64,
    #[serde(default)]
    hdr: Option<String>,
}

impl Page {
    /// Asks a broker.
    ///
    /// # Errors
    /// A sentence with the address: nobody is there, or it is no metrics endpoint of a broker.
    pub fn ask(at: &Endpoint) -> Result<Page> {
        let taken = Instant::now();
        let body = get(at, "/snapshot.json")?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|error| anyhow!("{at} did not answer as a broker does: {error}"))?;
        Ok(Page { taken, metrics: answer.metrics })
    }

    /// A page from the body of an answer.
    #[cfg(test)]
    pub fn from_json(body: &str) -> Page {
        let answer: Answer = serde_json::from_str(body).unwrap();
        Page { taken: Instant::now(), metrics: answer.metrics }
    }

    fn samples<'a>(
        &'a self,
        family: &Family,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let samples = self.metrics.get(family.name).map_or(&[][..], |metric| &metric.samples);
        samples.iter().filter(move |sample| {
            labels
                .iter()
                .all(|(name, value)| sample.labels.get(*name).is_some_and(|found| found == value))
        })
    }

    /// The sum of all samples with these labels; 0 if there is none.
    pub fn number(&self, family: &Family, labels: &[(&str, &str)]) -> f64 {
        self.samples(family, labels).map(|sample| sample.value).sum()
    }

    /// All samples: the values of these labels, and the number.
    pub fn labelled<'a, const N: usize>(
        &'a self,
        family: &Family,
        labels: [&'static str; N],
    ) -> impl Iterator<Item = ([&'a str; N], f64)> {
        let samples = self.samples(family, &[]);
        samples.map(move |sample| {
            let value = |label| sample.labels.get(label).map_or("", String::as_str);
            (labels.map(value), sample.value)
        })
    }

    /// The histogram with these labels, if there is one.
    pub fn histogram(&self, family: &Family, labels: &[(&str, &str)]) -> Option<Histogram<u64>> {
        json::decode(self.samples(family, labels).next()?.hdr.as_ref()?)
    }

    /// The different values of a label, among samples with these labels, in the order they came.
    pub fn values(&self, family: &Family, label: &str, labels: &[(&str, &str)]) -> Vec<String> {
        let mut values: Vec<String> = Vec::new();
        for sample in self.samples(family, labels) {
            if let Some(value) = sample.labels.get(label)
                && !values.contains(value)
            {
                values.push(value.clone());
            }
        }
        values
    }
}

fn get(at: &Endpoint, path: &str) -> Result<Vec<u8>> {
    let deadline = Instant::now() + TIMEOUT;
    let unreachable = || {
        format!("can't reach {at}: was the broker started with --metrics, and is this its address")
    };
    let mut stream = connect(at).with_context(unreachable)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    let broke = || format!("{at} broke off");
    stream.write_all(request.as_bytes()).with_context(broke)?;
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("{at} did not answer within {} seconds", TIMEOUT.as_secs());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut
                ) => {}
            Err(error) => return Err(anyhow::Error::new(error).context(broke())),
        }
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            bail!("{at} sent more than {ANSWER_BYTES_MAX} bytes: it is no metrics endpoint");
        }
    }
    body_of(&answer).ok_or_else(|| anyhow!("{at} is no metrics endpoint of a broker"))
}

fn connect(at: &Endpoint) -> std::io::Result<TcpStream> {
    let mut failure = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (at.host.as_str(), at.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The body of a whole answer that says 200.
fn body_of(answer: &[u8]) -> Option<Vec<u8>> {
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.lines();
    if !lines.next()?.strip_prefix("HTTP/1.1 200 ")?.contains("OK") {
        return None;
    }
    let length: usize =
        lines.find_map(|line| line.strip_prefix("Content-Length: "))?.parse().ok()?;
    let body = &answer[end + 4..];
    (body.len() == length).then(|| body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_answers_count() {
        let answer = |length: usize| {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nbody").into_bytes()
        };
        assert_eq!(body_of(&answer(4)), Some(b"body".to_vec()));
        assert_eq!(body_of(&answer(5)), None);
        assert_eq!(body_of(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), None);
        assert_eq!(body_of(b"SSH-2.0-OpenSSH"), None);
    }
}
