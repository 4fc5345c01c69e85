//! A strict reader of Prometheus' text format, and a client for the port that serves it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::broker::Broker;

/// One page of metrics, found to be well-formed.
#[derive(Debug, Default)]
pub struct Scrape {
    /// Name to type and help.
    pub families: BTreeMap<String, (String, String)>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Where a broker says that its metrics are.
pub fn metrics_address(broker: &Broker) -> String {
    let said = broker.said();
    let (_, rest) = said.rsplit_once("metrics at http://").expect("it was started with --metrics");
    rest.split("/metrics").next().unwrap().to_string()
}

/// Sends bytes and reads all that comes back until the other side closes.
pub fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // Who isn't liked may be cut off before all is said.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// The body of a GET that must succeed.
pub fn get(address: &str, path: &str) -> String {
    let answer = exchange(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), body.len());
    body.to_string()
}

impl Scrape {
    /// What a broker tells now.
    pub fn of(broker: &Broker) -> Scrape {
        Scrape::parse(&get(&metrics_address(broker), "/metrics"))
    }

    /// Reads a page, and panics at whatever Prometheus would not like.
    pub fn parse(text: &str) -> Scrape {
        let mut scrape = Scrape::default();
        let mut family = String::new();
        let mut seen = BTreeSet::new();
        assert!(text.ends_with('\n'), "the last line ends");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                family = name.to_string();
                let before = scrape.families.insert(family.clone(), (String::new(), help.into()));
                assert!(before.is_none(), "{name} is told of once");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, family, "the type stands behind the help");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                scrape.families.get_mut(name).unwrap().0 = kind.to_string();
            } else {
                let sample = sample(line);
                let kind = &scrape.families[&family].0;
                let suffix = sample.name.strip_prefix(&family).unwrap_or_else(|| panic!("{line}"));
                match kind.as_str() {
                    "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix)),
                    _ => assert_eq!(suffix, "", "{line}"),
                }
                assert!(kind == "gauge" || sample.value >= 0.0, "{line}");
                let series = (sample.name.clone(), sample.labels.clone());
                assert!(seen.insert(series), "twice: {line}");
                scrape.samples.push(sample);
            }
        }
        scrape.check_histograms();
        scrape
    }

    fn check_histograms(&self) {
        for count in self.samples.iter().filter(|sample| sample.name.ends_with("_count")) {
            let family = count.name.strip_suffix("_count").unwrap();
            let bucket = format!("{family}_bucket");
            let (mut last, mut bound) = (0.0, f64::NEG_INFINITY);
            for sample in self.samples.iter().filter(|sample| sample.name == bucket) {
                let mut labels = sample.labels.clone();
                let le = labels.remove("le").expect("a bucket has a bound");
                if labels != count.labels {
                    continue;
                }
                let le: f64 = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
                assert!(le > bound && sample.value >= last, "{sample:?}");
                (last, bound) = (sample.value, le);
            }
            assert_eq!((last, bound), (count.value, f64::INFINITY), "{count:?}");
        }
    }

    /// The sum of all samples of this name with these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| {
                    sample.labels.get(*label).is_some_and(|found| found == value)
                })
        };
        self.samples.iter().filter(fits).map(|sample| sample.value).sum()
    }

    /// The names of the labels of a family, but for a bucket's bound.
    pub fn labels(&self, family: &str) -> BTreeSet<String> {
        let of_family = |sample: &&Sample| sample.name.starts_with(family);
        let exact = |sample: &&Sample| {
            ["", "_count"].contains(&sample.name.strip_prefix(family).unwrap_or("no"))
        };
        let samples = self.samples.iter().filter(of_family).filter(exact);
        samples.flat_map(|sample| sample.labels.keys().cloned()).collect()
    }
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, behind) = rest.split_once("=\"").unwrap();
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            let (value, behind) = quoted(behind);
            assert!(labels.insert(label.to_string(), value).is_none(), "{line}");
            match behind.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = behind.strip_prefix('}').unwrap_or_else(|| panic!("{line}"));
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}")).parse().unwrap();
    Sample { name: name.to_string(), labels, value }
}

/// A label's value up to its closing quote, and what stands behind it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().expect("something is escaped").1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    panic!("{text}: no end");
}
