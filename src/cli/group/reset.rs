//! `hutong group reset-offsets`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, TopicName};
use serde_json::json;

use super::super::UsageError;
use super::super::client::error_name;
use super::super::cluster::Cluster;
use super::super::output::{Table, plural, print, print_json, printable};
use super::super::topic::offsets::{Offsets, at_time, offsets};
use super::coordinator::{Committed, ask, committed, group_id};
use super::members::group;
use super::target::{Moment, Partitions, from_file};

/// Kafka's code for a commit in nobody's name to a group with members.
const UNKNOWN_MEMBER_ID: i16 = 25;

#[derive(Debug, Args)]
#[command(
    about = "Set the offsets of a group without members, or show what would be set",
    long_about = "Set the offsets of a group without members. Without --execute nothing is \
                  changed: what would be is shown.\n\n\
                  Offsets before the first record or after the last are moved to there.\n\n\
                  Examples:\n\n  \
                  hutong group reset-offsets billing --all-topics --to-earliest\n  \
                  hutong group reset-offsets billing --all-topics --to-time 2026-11-22T08:30Z\n  \
                  hutong group reset-offsets billing --topic orders:0 --shift-by -9 --execute\n  \
                  hutong group reset-offsets billing --from-file offsets.csv --execute"
)]
pub struct ResetArgs {
    /// The group's id
    #[arg(value_name = "GROUP")]
    group: String,
    /// A topic, or some of its partitions
    #[arg(long, value_name = "TOPIC[:PARTITION,...]")]
    topic: Vec<Partitions>,
    /// All topics that the group has committed offsets of
    #[arg(long, conflicts_with = "topic")]
    all_topics: bool,
    #[command(flatten)]
    to: To,
    /// Change nothing, only show what would be set. This is what happens without --execute
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Set the offsets
    #[arg(long)]
    execute: bool,
    /// Print JSON: an array with an object for each partition
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct To {
    /// To the first record there is
    #[arg(long)]
    to_earliest: bool,
    /// To the end, to read only what comes
    #[arg(long)]
    to_latest: bool,
    /// To the first record of that time or later: milliseconds since 1970, or 2026-11-22T08:30:00Z
    #[arg(long, value_name = "TIME")]
    to_time: Option<Moment>,
    /// To this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// By so many records forward, or back if negative
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the offsets in a file with lines of TOPIC,PARTITION,OFFSET
    #[arg(long, value_name = "FILE", conflicts_with_all = ["topic", "all_topics"])]
    from_file: Option<PathBuf>,
}

type Key = (TopicName, i32);

/// Shows the new offsets, and sets them if told to.
pub fn run(cluster: &mut Cluster, args: &ResetArgs) -> anyhow::Result<()> {
    let committed = committed(cluster, &args.group)?;
    let file = args.to.from_file.as_deref().map(from_file).transpose()?;
    let chosen = chosen(cluster, args, &committed, file.as_deref())?;
    let names: BTreeSet<String> = chosen.iter().map(|(topic, _)| topic.0.to_string()).collect();
    let names: Vec<String> = names.into_iter().collect();
    let topics = cluster.metadata(Some(&names))?.topics;
    let ends = offsets(cluster, &topics);
    let at = match args.to.to_time {
        Some(Moment(ms)) => at_time(cluster, &topics, ms),
        None => BTreeMap::new(),
    };
    let mut new = BTreeMap::new();
    for key in &chosen {
        let wanted = wanted(args, key, &committed, file.as_deref(), &at)?;
        new.insert(key.clone(), within(key, wanted, &ends)?);
    }
    if args.execute {
        commit(cluster, &args.group, &new)?;
    }
    if args.json {
        return report_json(args, &committed, &new);
    }
    let has_members =
        !args.execute && group(cluster, &args.group).is_ok_and(|group| !group.members.is_empty());
    report(args, &committed, &new, has_members)
}

/// The partitions to set.
fn chosen(
    cluster: &mut Cluster,
    args: &ResetArgs,
    committed: &Committed,
    file: Option<&[(Key, i64)]>,
) -> anyhow::Result<BTreeSet<Key>> {
    if let Some(lines) = file {
        return Ok(lines.iter().map(|(key, _)| key.clone()).collect());
    }
    if args.all_topics {
        if committed.is_empty() {
            bail!(
                "group {} has committed no offsets: name topics with --topic",
                printable(&args.group)
            );
        }
        return Ok(committed.keys().cloned().collect());
    }
    if args.topic.is_empty() {
        let why = "say which offsets: --topic TOPIC, --all-topics or --from-file FILE";
        return Err(UsageError(why.to_owned()).into());
    }
    let names: Vec<String> = args.topic.iter().map(|topic| topic.topic.clone()).collect();
    let mut chosen = BTreeSet::new();
    for topic in cluster.metadata(Some(&names))?.topics {
        let name = topic.name.clone().context("a topic without a name")?;
        if topic.error_code != 0 {
            bail!("can't read topic {}: {}", printable(&name), error_name(topic.error_code));
        }
        for asked in args.topic.iter().filter(|asked| asked.topic == name.0.as_str()) {
            let all = topic.partitions.iter().map(|partition| partition.partition_index);
            let all: BTreeSet<i32> = all.collect();
            if let Some(missing) = asked.numbers.iter().find(|number| !all.contains(number)) {
                bail!("topic {} has no partition {missing}", printable(&name));
            }
            let some: BTreeSet<i32> = asked.numbers.iter().copied().collect();
            let numbers = if some.is_empty() { all } else { some };
            chosen.extend(numbers.into_iter().map(|number| (name.clone(), number)));
        }
    }
    Ok(chosen)
}

/// Where a partition's offset is to go, as far as it can.
fn wanted(
    args: &ResetArgs,
    key: &Key,
    committed: &Committed,
    file: Option<&[(Key, i64)]>,
    at: &BTreeMap<Key, Result<Option<i64>, String>>,
) -> anyhow::Result<i64> {
    let to = &args.to;
    if to.to_earliest {
        return Ok(0);
    }
    if to.to_latest {
        return Ok(i64::MAX);
    }
    if let Some(offset) = to.to_offset {
        return Ok(offset);
    }
    let place = || format!("partition {} of topic {}", key.1, printable(&key.0));
    if let Some(shift) = to.shift_by {
        let from = committed.get(key).with_context(|| {
            format!("{} has no committed offset that could be shifted", place())
        })?;
        return Ok(from.saturating_add(shift));
    }
    if to.to_time.is_some() {
        return match at.get(key) {
            // Nothing is that late.
            Some(Ok(offset)) => Ok(offset.unwrap_or(i64::MAX)),
            Some(Err(why)) => bail!("can't look for a time in {}: {why}", place()),
            None => bail!("there is no {}", place()),
        };
    }
    let lines = file.unwrap_or_default();
    let line = lines.iter().rev().find(|(named, _)| named == key);
    line.map(|(_, offset)| *offset).context("the file names it")
}

/// The nearest offset that can be read.
fn within(key: &Key, wanted: i64, ends: &Offsets) -> anyhow::Result<i64> {
    let place = || format!("partition {} of topic {}", key.1, printable(&key.0));
    match ends.get(key) {
        Some(Ok(ends)) => Ok(wanted.clamp(ends.earliest, ends.latest)),
        Some(Err(why)) => bail!("can't find the ends of {}: {why}", place()),
        None => bail!("there is no {}", place()),
    }
}

fn commit(cluster: &mut Cluster, group: &str, new: &BTreeMap<Key, i64>) -> anyhow::Result<()> {
    let mut topics: BTreeMap<&TopicName, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, partition), offset) in new {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(-1);
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        OffsetCommitRequestTopic::default().with_name(name.clone()).with_partitions(partitions)
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics.collect());
    let codes = |answer: &kafka_protocol::messages::OffsetCommitResponse| -> Vec<i16> {
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| partition.error_code).collect()
    };
    let answer = ask(cluster, group, &request, codes)?;
    match codes(&answer).into_iter().find(|code| *code != 0) {
        None => Ok(()),
        Some(UNKNOWN_MEMBER_ID) => {
            bail!("group {} has members: stop them before its offsets are set", printable(group))
        }
        Some(code) => {
            bail!("can't set the offsets of group {}: {}", printable(group), error_name(code))
        }
    }
}

fn report_json(args: &ResetArgs, old: &Committed, new: &BTreeMap<Key, i64>) -> anyhow::Result<()> {
    let objects = new.iter().map(|(key, offset)| {
        json!({
            "topic": key.0.0.to_string(), "partition": key.1,
            "old": old.get(key), "new": offset, "set": args.execute,
        })
    });
    print_json(&objects.collect())
}

fn report(
    args: &ResetArgs,
    old: &Committed,
    new: &BTreeMap<Key, i64>,
    has_members: bool,
) -> anyhow::Result<()> {
    let mut table = Table::new(2, &["TOPIC", "PARTITION", "OLD", "NEW"]);
    for (key, offset) in new {
        let old = old.get(key).map_or("-".to_owned(), |old| old.to_string());
        table.row([printable(&key.0), key.1.to_string(), old, offset.to_string()]);
    }
    let count = plural(new.len(), "offset");
    let group = printable(&args.group);
    let last = if args.execute {
        format!("{count} of group {group} set\n")
    } else if has_members {
        let when = format!("once the members of group {group} are stopped");
        format!("nothing was changed: --execute sets {count} {when}\n")
    } else {
        format!("nothing was changed: --execute sets {count} of group {group}\n")
    };
    print(&format!("{}{last}", table.render()))
}
