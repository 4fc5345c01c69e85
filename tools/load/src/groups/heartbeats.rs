//! `hutong-load heartbeats`: many groups of one member each, which do nothing but stay.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Args, ValueEnum};
use humantime::parse_duration;
use hutong::cli::client::{Endpoint, error_name};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, GroupId, HeartbeatRequest, JoinGroupRequest, SyncGroupRequest,
    TopicName,
};

use super::wire::{Links, answer, frame};
use super::{Cpu, TOPIC, create_topic, groups, text};
use crate::report::histogram;

/// Before members are given an id first, so that one request joins.
const JOIN_VERSION: i16 = 3;
const SYNC_VERSION: i16 = 2;
const BEAT_VERSION: i16 = 2;
/// Members make their ids.
const CONSUMER_VERSION: i16 = 1;
/// Groups wait for more members at first; whoever has not joined by then never will.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Classic,
    Consumer,
}

#[derive(Args, Debug)]
#[command(
    about = "Keep many consumer groups of one member alive, each over a connection of its own",
    long_about = "Keep many consumer groups of one member alive, each over a connection of its \
                  own, and tell how soon heartbeats are answered and what the broker uses for \
                  them.\n\n  \
                  hutong-load heartbeats --groups 10000 --protocol consumer --pid $(pidof hutong)"
)]
pub struct HeartbeatsArgs {
    /// A broker to begin with
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    broker: Endpoint,
    /// Consumer groups, with a member and a connection each
    #[arg(long, value_name = "N", default_value = "10000")]
    groups: usize,
    /// What members speak
    #[arg(long, value_enum, default_value = "consumer")]
    protocol: Protocol,
    /// Between two heartbeats of a member
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_duration)]
    interval: Duration,
    /// How long, once all have joined
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    duration: Duration,
    /// The broker's process id, to tell what it uses of a core
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

/// A member, at the place of its connection.
struct Member {
    group: String,
    id: String,
    step: Step,
    /// Its heartbeat, once it has joined.
    beat: Vec<u8>,
    sent: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Joining,
    Syncing,
    Joined,
}

/// Joins all groups, keeps them for a while, and prints what came of it.
pub fn heartbeats(args: &HeartbeatsArgs) -> anyhow::Result<()> {
    if args.groups == 0 || args.interval.is_zero() {
        bail!("--groups and --interval must be more than nothing");
    }
    create_topic(&args.broker)?;
    let mut links = Links::new()?;
    let mut members = Vec::new();
    let name = format!("load-heartbeats-{}", std::process::id());
    for (coordinator, ids) in groups(&args.broker, &name, args.groups)? {
        for group in ids {
            let link = links.connect(&coordinator)?;
            let id =
                if args.protocol == Protocol::Consumer { group.clone() } else { String::new() };
            let member = Member { group, id, step: Step::Joining, beat: Vec::new(), sent: None };
            links.send(link, &join(args.protocol, &member)?);
            links.flush(link)?;
            members.push(member);
        }
    }
    join_all(&mut links, &mut members, args)?;
    let report = stay(&mut links, &mut members, args)?;
    print!("{report}");
    Ok(())
}

fn join_all(
    links: &mut Links,
    members: &mut [Member],
    args: &HeartbeatsArgs,
) -> anyhow::Result<()> {
    let until = Instant::now() + JOIN_TIMEOUT;
    let mut missing = members.len();
    let mut next = Vec::new();
    while missing > 0 {
        if Instant::now() > until {
            bail!("{missing} members have not joined in {} s", JOIN_TIMEOUT.as_secs());
        }
        links.hear(Duration::from_millis(100), |link, frame| {
            let member = &mut members[link];
            if let Some(request) = step(args.protocol, member, frame)? {
                next.push((link, request));
            }
            missing -= usize::from(member.step == Step::Joined);
            Ok(())
        })?;
        for (link, request) in next.drain(..) {
            links.send(link, &request);
            links.flush(link)?;
        }
    }
    Ok(())
}

/// Heartbeats, spread evenly over the interval.
fn stay(
    links: &mut Links,
    members: &mut [Member],
    args: &HeartbeatsArgs,
) -> anyhow::Result<String> {
    let mut times = histogram();
    let (mut sent, mut late) = (0u64, 0u64);
    let cpu = Cpu::begin(args.pid)?;
    let began = Instant::now();
    let count = members.len() as f64;
    while began.elapsed() < args.duration {
        let turns = began.elapsed().as_secs_f64() / args.interval.as_secs_f64();
        let due = (turns * count) as u64;
        while sent < due {
            let link = sent as usize % members.len();
            sent += 1;
            let member = &mut members[link];
            if member.sent.is_some() {
                late += 1;
                continue;
            }
            member.sent = Some(Instant::now());
            links.send(link, &member.beat);
            links.flush(link)?;
        }
        links.hear(Duration::from_millis(1), |link, frame| {
            check_beat(args.protocol, frame)?;
            if let Some(sent) = members[link].sent.take() {
                times.saturating_record(sent.elapsed().as_nanos() as u64);
            }
            Ok(())
        })?;
    }
    let took = began.elapsed();
    let rate = times.len() as f64 / took.as_secs_f64();
    let quantile = |quantile| times.value_at_quantile(quantile) / 1000;
    Ok(format!(
        "{} groups of one member, a heartbeat each {}: {rate:.0} a second were answered\n\
         after {} us (p50), {} us (p99), {} us (max); {late} were due before the last was \
         answered\n{}",
        members.len(),
        humantime::format_duration(args.interval),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0),
        cpu.end(took)?
    ))
}

fn join(protocol: Protocol, member: &Member) -> anyhow::Result<Vec<u8>> {
    let group = GroupId(text(&member.group));
    if protocol == Protocol::Consumer {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group)
            .with_member_id(text(&member.id))
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(Some(vec![TopicName(text(TOPIC))]))
            .with_topic_partitions(Some(Vec::new()));
        return frame(CONSUMER_VERSION, 1, &request);
    }
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(group)
        .with_session_timeout_ms(45_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text("load"))
        .with_protocols(vec![protocol]);
    frame(JOIN_VERSION, 1, &request)
}

/// What a member that joins does next.
fn step(
    protocol: Protocol,
    member: &mut Member,
    answered: &[u8],
) -> anyhow::Result<Option<Vec<u8>>> {
    let group = GroupId(text(&member.group));
    let (code, next) = match (protocol, member.step) {
        (Protocol::Consumer, _) => {
            let answer = answer::<ConsumerGroupHeartbeatRequest>(CONSUMER_VERSION, answered)?;
            let beat = ConsumerGroupHeartbeatRequest::default()
                .with_group_id(group)
                .with_member_id(text(&member.id))
                .with_member_epoch(answer.member_epoch)
                .with_rebalance_timeout_ms(-1);
            member.step = Step::Joined;
            member.beat = frame(CONSUMER_VERSION, 2, &beat)?;
            (answer.error_code, None)
        }
        (Protocol::Classic, Step::Joining) => {
            let answer = answer::<JoinGroupRequest>(JOIN_VERSION, answered)?;
            member.id = answer.member_id.to_string();
            let beat = HeartbeatRequest::default()
                .with_group_id(group.clone())
                .with_generation_id(answer.generation_id)
                .with_member_id(answer.member_id.clone());
            member.beat = frame(BEAT_VERSION, 2, &beat)?;
            member.step = Step::Syncing;
            let sync = SyncGroupRequest::default()
                .with_group_id(group)
                .with_generation_id(answer.generation_id)
                .with_member_id(answer.member_id);
            (answer.error_code, Some(frame(SYNC_VERSION, 1, &sync)?))
        }
        (Protocol::Classic, _) => {
            member.step = Step::Joined;
            (answer::<SyncGroupRequest>(SYNC_VERSION, answered)?.error_code, None)
        }
    };
    match code {
        0 => Ok(next),
        code => bail!("group {} can't be joined: {}", member.group, error_name(code)),
    }
}

fn check_beat(protocol: Protocol, answered: &[u8]) -> anyhow::Result<()> {
    let code = match protocol {
        Protocol::Consumer => {
            answer::<ConsumerGroupHeartbeatRequest>(CONSUMER_VERSION, answered)?.error_code
        }
        Protocol::Classic => answer::<HeartbeatRequest>(BEAT_VERSION, answered)?.error_code,
    };
    match code {
        0 => Ok(()),
        code => bail!("a heartbeat was refused: {}", error_name(code)),
    }
}
