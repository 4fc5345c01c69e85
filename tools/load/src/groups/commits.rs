//! `hutong-load commits`: each request commits one offset of one group, and is answered when that
//! is durable.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use humantime::parse_duration;
use hutong::cli::client::{Endpoint, error_name};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetCommitResponse, TopicName};

use super::wire::{CORRELATION_AT, Links, answer, frame};
use super::{Cpu, TOPIC, create_topic, groups, text};

/// The version that this speaks, which old brokers know as well.
const VERSION: i16 = 8;
/// Stands where the offset is to be put.
const MARK: i64 = 0x0123_4567_89ab_cdef;

#[derive(Args, Debug)]
#[command(
    about = "Commit offsets of consumer groups as fast as they are answered",
    long_about = "Commit offsets of consumer groups as fast as they are answered: one offset in \
                  each request, so many requests under way on each connection.\n\n  \
                  hutong-load commits --connections 16 --window 256 --duration 10s"
)]
pub struct CommitsArgs {
    /// A broker to begin with
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    broker: Endpoint,
    /// Consumer groups that commit in turn
    #[arg(long, value_name = "N", default_value = "64")]
    groups: usize,
    /// Connections to each coordinator
    #[arg(long, value_name = "N", default_value = "16")]
    connections: usize,
    /// Requests under way on each connection
    #[arg(long, value_name = "N", default_value = "64")]
    window: usize,
    /// How long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
    /// The broker's process id, to tell what it uses of a core
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// A request of a group, with the place where its offset stands.
struct Template {
    frame: Vec<u8>,
    offset_at: usize,
}

/// Commits until the time is over, and prints how many a second.
pub fn commits(args: &CommitsArgs) -> anyhow::Result<()> {
    if args.groups == 0 || args.connections == 0 || args.window == 0 {
        bail!("--groups, --connections and --window must be 1 at least");
    }
    create_topic(&args.broker)?;
    let mut links = Links::new()?;
    // What each connection commits: the groups of its coordinator, in turn.
    let mut turns: Vec<(Vec<Template>, usize)> = Vec::new();
    for (coordinator, ids) in groups(&args.broker, "load-commits", args.groups)? {
        for _ in 0..args.connections {
            links.connect(&coordinator)?;
            turns.push((ids.iter().map(|id| template(id)).collect::<anyhow::Result<_>>()?, 0));
        }
    }
    let (mut offset, mut answered, mut expected) = (0i64, 0u64, Vec::new());
    let mut due = vec![args.window; turns.len()];
    let cpu = Cpu::begin(args.pid)?;
    let began = Instant::now();
    let mut under_way = 0;
    loop {
        let over = began.elapsed() >= args.duration;
        for (link, due) in due.iter_mut().enumerate().filter(|(_, due)| **due > 0 && !over) {
            let (templates, turn) = &mut turns[link];
            for _ in 0..std::mem::take(due) {
                offset += 1;
                *turn = (*turn + 1) % templates.len();
                let template = &mut templates[*turn];
                let at = template.offset_at;
                template.frame[at..at + 8].copy_from_slice(&offset.to_be_bytes());
                links.send(link, &template.frame);
                under_way += 1;
            }
            links.flush(link)?;
        }
        if under_way == 0 {
            break;
        }
        links.hear(Duration::from_secs(10), |link, frame| {
            // All answers are the same but for their numbers.
            let said = &frame[CORRELATION_AT - 4..];
            if expected != said {
                check(frame)?;
                expected = said.to_vec();
            }
            answered += 1;
            under_way -= 1;
            due[link] += 1;
            Ok(())
        })?;
    }
    let took = began.elapsed();
    let rate = answered as f64 / took.as_secs_f64();
    print!(
        "{answered} commits in {:.1} s: {rate:.0} a second, each durable when it was answered\n{}",
        took.as_secs_f64(),
        cpu.end(took)?
    );
    Ok(())
}

fn check(frame: &[u8]) -> anyhow::Result<()> {
    let response: OffsetCommitResponse = answer::<OffsetCommitRequest>(VERSION, frame)?;
    let mut codes = response.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
    match codes.next().context("an answer without a partition")? {
        0 => Ok(()),
        code => bail!("a commit was refused: {}", error_name(code)),
    }
}

fn template(group: &str) -> anyhow::Result<Template> {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(MARK)
        .with_committed_leader_epoch(-1);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(TOPIC)))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let frame = frame(VERSION, 1, &request)?;
    let mark = MARK.to_be_bytes();
    let offset_at =
        frame.windows(8).position(|bytes| bytes == mark).context("the mark is there")?;
    Ok(Template { frame, offset_at })
}
