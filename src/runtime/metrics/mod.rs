//! The node's own numbers, for whoever asks over HTTP: Prometheus, `hutong top`, a load balancer.
//!
//! One thread does it all. It asks each shard through its mailbox, the shard answers between two
//! turns, and a shard that doesn't answer in time is told of as not up. [`families`] is the list of
//! what there is, [`collect`] fills it in, [`text`] and [`json`] are its two forms, and [`http`]
//! carries them.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::runtime::counters::Counters;
use crate::runtime::mesh::ShardMail;
use crate::runtime::metrics::http::Response;
use crate::shard::snapshot::ShardSnapshot;

pub mod collect;
pub mod families;
pub mod http;
pub mod json;
pub mod process;
pub mod text;

/// How long a shard may take to answer before it counts as stuck.
const SHARD_TIMEOUT: Duration = Duration::from_secs(1);
/// A shard with so many unread messages isn't asked: it is stuck, and more would only pile up.
const SHARD_MAIL_MAX: usize = 256;
/// The least time between two rounds of questions, so that whoever asks without a pause costs the
/// shards next to nothing.
const COLLECT_PAUSE: Duration = Duration::from_millis(10);

/// What a shard's thread tells of itself.
#[derive(Debug)]
pub struct ShardReport {
    pub core: ShardSnapshot,
    pub counters: Counters,
    /// The CPU time that the thread has used.
    pub cpu: Duration,
}

/// What there is to know of the node besides its shards.
#[derive(Debug)]
pub struct NodeFacts {
    pub node: u32,
    pub data_dir: PathBuf,
    pub shards: Vec<flume::Sender<ShardMail>>,
}

/// Binds the address that `--metrics` names. Returns the socket and where it is.
///
/// # Errors
/// A sentence with the address: it is in use, or not of this machine.
pub fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).map_err(|error| {
        anyhow!("can't serve metrics at {address}: {error}. Choose another address with --metrics")
    })?;
    let bound = listener.local_addr().context("the metrics socket has no address")?;
    Ok((listener, bound))
}

/// Starts the thread that answers.
///
/// # Errors
/// The system refused a thread.
pub fn start(listener: TcpListener, facts: NodeFacts) -> Result<()> {
    let mut last = None;
    let mut reports = move |facts: &NodeFacts| {
        if let Some(left) = last.map(|at: Instant| COLLECT_PAUSE.saturating_sub(at.elapsed())) {
            std::thread::sleep(left);
        }
        let reports = ask_shards(&facts.shards);
        last = Some(Instant::now());
        reports
    };
    std::thread::Builder::new()
        .name("metrics".to_string())
        .spawn(move || http::serve(&listener, |path| answer(path, &facts, &mut reports)))
        .context("can't start the metrics thread")?;
    Ok(())
}

type Reports = Vec<Option<Box<ShardReport>>>;

fn answer(
    path: &str,
    facts: &NodeFacts,
    reports: &mut impl FnMut(&NodeFacts) -> Reports,
) -> Response {
    match path {
        "/metrics" => {
            let page = collect::page(facts, &reports(facts));
            Response::ok(text::CONTENT_TYPE, text::render(&page))
        }
        "/snapshot.json" => {
            let page = collect::page(facts, &reports(facts));
            Response::ok("application/json", json::render(&page))
        }
        "/healthz" => Response::ok("text/plain", "ok\n".to_string()),
        "/ready" => {
            let reports = reports(facts);
            let serving = |report: &&Option<Box<ShardReport>>| {
                report.as_ref().is_some_and(|report| report.core.serving)
            };
            let count = reports.iter().filter(serving).count();
            let line = format!("{count} of {} shards serve\n", reports.len());
            if count == reports.len() {
                Response::ok("text/plain", line)
            } else {
                Response::error(503, "Service Unavailable", line)
            }
        }
        "/" => Response::ok(
            "text/plain",
            "hutong: /metrics for Prometheus, /snapshot.json for `hutong top`, /healthz, /ready\n"
                .to_string(),
        ),
        _ => Response::error(404, "Not Found", "there is /metrics\n".to_string()),
    }
}

/// Asks all shards at once, and waits for their answers for as long as one may take.
fn ask_shards(shards: &[flume::Sender<ShardMail>]) -> Reports {
    let by = Instant::now() + SHARD_TIMEOUT;
    let ask = |shard: &flume::Sender<ShardMail>| {
        if shard.len() >= SHARD_MAIL_MAX {
            return None;
        }
        let (reply, answer) = flume::bounded(1);
        shard.send(ShardMail::Report { reply }).ok().map(|()| answer)
    };
    let asked: Vec<_> = shards.iter().map(ask).collect();
    asked.into_iter().map(|answer| answer?.recv_deadline(by).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_does_not_answer_is_told_of_and_not_buried() {
        let (stuck, inbox) = flume::unbounded();
        let (gone, _) = flume::unbounded();
        let facts =
            NodeFacts { node: 7, data_dir: std::env::temp_dir(), shards: vec![stuck, gone] };
        assert!(ask_shards(&facts.shards).iter().all(Option::is_none));
        let page = collect::page(&facts, &ask_shards(&facts.shards));
        let text = text::render(&page);
        assert!(text.contains("\nhutong_shard_up{shard=\"0\"} 0\n"), "{text}");
        assert!(text.contains("\nhutong_shard_up{shard=\"1\"} 0\n"), "{text}");
        let before = inbox.len();
        for _ in before..SHARD_MAIL_MAX {
            facts.shards[0].send(ShardMail::Shutdown).unwrap();
        }
        ask_shards(&facts.shards);
        assert_eq!(inbox.len(), SHARD_MAIL_MAX, "no more is asked of one who doesn't listen");
        let ready = answer("/ready", &facts, &mut |facts| ask_shards(&facts.shards));
        assert!(ready.head().starts_with("HTTP/1.1 503 "), "{}", ready.head());
    }
}
