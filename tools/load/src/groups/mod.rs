//! Consumer groups: how many commits of offsets a broker makes durable in a second, and what
//! heartbeats of many groups cost it.
//!
//! One thread, which speaks to each group's coordinator. Both print a few lines when done.

mod commits;
mod heartbeats;
mod wire;

pub use commits::{CommitsArgs, commits};
pub use heartbeats::{HeartbeatsArgs, heartbeats};

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hutong::cli::client::{Connection, Endpoint, error_name};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::routes::ANSWER_TIMEOUT;

/// The topic that groups read, as far as they read anything.
const TOPIC: &str = "hutong-load-groups";
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// Groups named in one FindCoordinator.
const FOUND_AT_ONCE: usize = 1000;
const GROUP_ID_NOT_FOUND: i16 = 69;
/// A coordinator loads its groups, or isn't there yet, or has just moved.
const NOT_YET: [i16; 3] = [14, 15, 16];
/// How long it may take until it serves them, and between two looks.
const SERVED_TIMEOUT: Duration = Duration::from_secs(30);
const ASKED_AGAIN: Duration = Duration::from_millis(200);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Makes the topic, unless it is there, with a partition.
fn create_topic(broker: &Endpoint) -> anyhow::Result<()> {
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(TOPIC)))
        .with_num_partitions(1)
        .with_replication_factor(-1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let answer = Connection::open(broker, ANSWER_TIMEOUT)?.send(&request)?;
    match answer.topics.first().map_or(0, |topic| topic.error_code) {
        0 | TOPIC_ALREADY_EXISTS => Ok(()),
        code => bail!("can't create topic {TOPIC} at {broker}: {}", error_name(code)),
    }
}

/// So many groups, by the brokers that coordinate them. Waits until these serve them: a broker that
/// is asked for the first time may have to make a topic for it.
fn groups(
    broker: &Endpoint,
    name: &str,
    count: usize,
) -> anyhow::Result<Vec<(Endpoint, Vec<String>)>> {
    let all: Vec<String> = (0..count).map(|number| format!("{name}-{number}")).collect();
    let mut found: BTreeMap<(String, u16), Vec<String>> = BTreeMap::new();
    let mut connection = Connection::open(broker, ANSWER_TIMEOUT)?;
    let patience = Instant::now() + SERVED_TIMEOUT;
    for some in all.chunks(FOUND_AT_ONCE) {
        let keys: Vec<StrBytes> = some.iter().map(|id| text(id)).collect();
        let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
        let coordinators = try_until(patience, || {
            let answer = connection.send(&request)?;
            let codes = answer.coordinators.iter().map(|it| it.error_code);
            Ok((first_error(codes), answer.coordinators))
        });
        for coordinator in coordinators.context(format!("{broker} knows no coordinator"))? {
            let port = u16::try_from(coordinator.port).context("a port that is none")?;
            let at = (coordinator.host.to_string(), port);
            found.entry(at).or_default().push(coordinator.key.to_string());
        }
    }
    let found = found.into_iter().map(|((host, port), ids)| (Endpoint { host, port }, ids));
    let found: Vec<(Endpoint, Vec<String>)> = found.collect();
    for (coordinator, ids) in &found {
        let mut connection = Connection::open(coordinator, ANSWER_TIMEOUT)?;
        for some in ids.chunks(FOUND_AT_ONCE) {
            let ids = some.iter().map(|id| GroupId(text(id))).collect();
            let request = DescribeGroupsRequest::default().with_groups(ids);
            try_until(patience, || {
                let answer = connection.send(&request)?;
                let codes = answer.groups.iter().map(|it| it.error_code);
                Ok((first_error(codes.filter(|code| *code != GROUP_ID_NOT_FOUND)), ()))
            })
            .context(format!("{coordinator} doesn't serve its groups"))?;
        }
    }
    Ok(found)
}

fn first_error(mut codes: impl Iterator<Item = i16>) -> i16 {
    codes.find(|code| *code != 0).unwrap_or(0)
}

/// Asks again while the answer is that a coordinator isn't there yet.
fn try_until<T>(
    patience: Instant,
    mut ask: impl FnMut() -> anyhow::Result<(i16, T)>,
) -> anyhow::Result<T> {
    loop {
        match ask()? {
            (0, found) => return Ok(found),
            (code, _) if NOT_YET.contains(&code) && Instant::now() < patience => {
                std::thread::sleep(ASKED_AGAIN);
            }
            (code, _) => bail!(error_name(code)),
        }
    }
}

/// CPU time of a process of this machine so far, as the system counts it: in steps of 10 ms.
fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path)
        .with_context(|| format!("can't read {path}: is {pid} the broker's process id?"))?;
    // Behind the name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("the system tells of processes otherwise")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// What a broker used of a core meanwhile.
struct Cpu(Option<(u32, Duration)>);

impl Cpu {
    fn begin(pid: Option<u32>) -> anyhow::Result<Cpu> {
        Ok(Cpu(pid.map(|pid| Ok::<_, anyhow::Error>((pid, cpu_of(pid)?))).transpose()?))
    }

    /// As a line for people; nothing, if nobody asked.
    fn end(&self, took: Duration) -> anyhow::Result<String> {
        let Some((pid, before)) = self.0 else { return Ok(String::new()) };
        let used = cpu_of(pid)?.saturating_sub(before);
        let share = 100.0 * used.as_secs_f64() / took.as_secs_f64();
        Ok(format!("the broker used {share:.1} % of a core\n"))
    }
}
