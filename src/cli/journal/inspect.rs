//! `hutong journal inspect`: what lies where, and what keeps it there.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::super::output::{print, print_json, printable};
use super::super::{FoundBad, UsageError};
use super::contents::{Contents, Share, kept_from};
use super::entries::Entries;
use super::inspect_report;
use super::stopped::{CheckpointFacts, GroupState, Stopped};
use super::walk::{BadPlace, walk};
use crate::metadata::Catalog;
use crate::model::ids::{GroupId, PartitionKey};
use crate::model::position::Position;

#[derive(Debug, Args)]
#[command(
    about = "Show what lies in the journals of a stopped node",
    long_about = "Show what lies in the journals of a stopped node: of each group its segments, \
                  positions, checkpoint, vote and partitions, and why its segments are still \
                  there. Changes nothing. Exits with 1 if a journal can't be read to its end.\n\n\
                  A segment is freed when nobody needs anything in it or before it. NEEDED tells \
                  how much of a segment may still be consumed, and of which topics; PINS tells how \
                  many bytes that nobody needs stay on disk because of one partition.\n\n\
                  Examples:\n\n  \
                  hutong journal inspect /var/lib/hutong\n  \
                  hutong journal inspect /var/lib/hutong --entries --group 0 --limit 20\n  \
                  hutong journal inspect /var/lib/hutong --json | jq '.groups[].kept_from'"
)]
pub struct InspectArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only this group
    #[arg(long, value_name = "N")]
    group: Option<u32>,
    /// Show single entries, too
    #[arg(long)]
    entries: bool,
    /// The position to show entries from
    #[arg(long, value_name = "POSITION", default_value_t = 0, requires = "entries")]
    from: u64,
    /// How many entries to show of each group
    #[arg(long, value_name = "N", default_value_t = 100, requires = "entries")]
    limit: usize,
    /// Print JSON: one object, with an array of groups
    #[arg(long)]
    json: bool,
}

/// Shows each group.
pub fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let stopped = Stopped::open(&args.directory)?;
    let facts = stopped.facts();
    if let Some(group) = args.group.filter(|group| *group >= facts.groups) {
        let last = facts.groups - 1;
        let message = format!("there is no group {group}: the groups are 0 to {last}");
        return Err(UsageError(message).into());
    }
    let groups = stopped.groups()?;
    if let Some(group) = args.group.filter(|group| !groups.contains(&GroupId(*group))) {
        let here: Vec<String> = groups.iter().map(|group| group.to_string()).collect();
        let message = format!(
            "group {group} has its replicas on other nodes: the groups of this one are {}",
            here.join(", ")
        );
        return Err(UsageError(message).into());
    }
    let (states, catalog) = stopped.state()?;
    let asked = |state: &&GroupState| args.group.is_none_or(|group| state.files.group.0 == group);
    let groups: Vec<Value> = states
        .iter()
        .filter(asked)
        .map(|state| inspect_group(&stopped, state, &catalog, args))
        .collect();
    let bad = groups.iter().any(|group| !group["bad"].is_null());
    let report = json!({
        "directory": stopped.path().display().to_string(),
        "cluster_id": facts.cluster_id,
        "node_id": facts.node_id,
        "nodes": facts.nodes,
        "segment_bytes": facts.segment_bytes,
        "group_count": facts.groups,
        "groups": groups,
    });
    if args.json {
        print_json(&report)?;
    } else {
        print(&inspect_report::to_text(&report))?;
    }
    if bad { Err(FoundBad.into()) } else { Ok(()) }
}

fn inspect_group(
    stopped: &Stopped,
    state: &GroupState,
    catalog: &Catalog,
    args: &InspectArgs,
) -> Value {
    let segment_bytes = stopped.facts().segment_bytes;
    let mut contents = Contents::new(segment_bytes);
    let limit = if args.entries { args.limit } else { 0 };
    let mut entries = Entries::new(Position(args.from), limit, segment_bytes, catalog);
    let walked =
        walk(stopped.node(), segment_bytes, &state.files, &mut stopped.source(), |entry| {
            contents.add(entry, state);
            entries.add(entry);
        });
    let group = state.files.group;
    let bad = walked.as_ref().err().cloned().or_else(|| problem(group, state));
    let end = walked.ok();
    json!({
        "group": group.0,
        "bad": bad.as_ref().map(BadPlace::to_json),
        "append_position": end.as_ref().map(|end| end.tail.append.0),
        "last_index": end.as_ref().map(|end| end.last.index.0),
        "last_term": end.as_ref().map(|end| end.last.term.0),
        "torn_tail_bytes": end.as_ref().and_then(|end| end.cut).map(|cut| cut.bytes),
        "checkpoint": state.checkpoint.as_ref().and_then(|c| c.as_ref().ok()).map(checkpoint),
        "vote": state.vote.as_ref().ok().map(|vote| json!({
            "term": vote.term.0,
            "voted_for": vote.voted_for.map(|node| node.0),
        })),
        "kept_from": kept_from(state).map(|kept| json!({
            "position": kept.position.0,
            "segment": kept.position.0 / segment_bytes,
            "by": kept.partition.map(|key| full_name(catalog, key)),
        })),
        "segments": segments(state, &contents, catalog),
        "partitions": partitions(state, &contents, catalog),
        "entries": args.entries.then(|| entries.into_json()),
    })
}

/// What would keep the group from starting, beside its journal.
fn problem(group: GroupId, state: &GroupState) -> Option<BadPlace> {
    let checkpoint = state.checkpoint.iter().find_map(|facts| facts.as_ref().err());
    let why = match (&state.recovered, &state.vote, checkpoint) {
        (Err(why), ..) => why.clone(),
        (_, Err(why), _) => format!("group {group}: {why}"),
        (.., Some(why)) => format!("group {group}: the checkpoint is damaged: {why}"),
        _ => return None,
    };
    Some(BadPlace::of_group(group, why))
}

fn checkpoint(facts: &CheckpointFacts) -> Value {
    json!({
        "position": facts.applied.end.0,
        "index": facts.applied.index.0,
        "term": facts.applied.term.0,
        "age_seconds": facts.age.map(|age| age.as_secs()),
    })
}

fn segments(state: &GroupState, contents: &Contents, catalog: &Catalog) -> Vec<Value> {
    let empty = Default::default();
    let described = state.files.segments.iter().map(|segment| {
        let held = contents.segments.get(&segment.0).unwrap_or(&empty);
        let mut topics = std::collections::BTreeMap::<String, Share>::new();
        for (key, share) in &held.shares {
            let topic = topics.entry(topic_partition(catalog, *key).0).or_default();
            topic.bytes += share.bytes;
            topic.needed += share.needed;
        }
        let records: u64 = topics.values().map(|share| share.bytes).sum();
        let needed: u64 = topics.values().map(|share| share.needed).sum();
        let mut topics: Vec<_> = topics.into_iter().collect();
        topics.sort_by_key(|(_, share)| std::cmp::Reverse(share.needed));
        json!({
            "segment": segment.0,
            "start": segment.0 * contents.segment_bytes,
            "entries": held.entries,
            "bytes": held.bytes,
            "first_index": held.first_index.map(|index| index.0),
            "last_index": held.last_index.map(|index| index.0),
            "record_bytes": records,
            "needed_bytes": needed,
            "topics": topics.iter().map(|(topic, share)| json!({
                "topic": topic, "bytes": share.bytes, "needed_bytes": share.needed,
            })).collect::<Vec<_>>(),
        })
    });
    described.collect()
}

fn partitions(state: &GroupState, contents: &Contents, catalog: &Catalog) -> Vec<Value> {
    let mut partitions = state.sorted_partitions();
    partitions.sort_by_key(|partition| topic_partition(catalog, partition.key));
    let described = partitions.into_iter().map(|partition| {
        let (topic, number) = topic_partition(catalog, partition.key);
        let share = contents.share(partition.key);
        let oldest = partition.oldest_position();
        json!({
            "topic": topic,
            "partition": number,
            "key": partition.key.0,
            "log_start": partition.log_start().0,
            "log_end": partition.log_end().0,
            "bytes": share.needed,
            "needed_from": oldest.map(|position| position.0),
            "needed_from_segment": oldest.map(|position| position.0 / contents.segment_bytes),
            "pins_bytes": contents.pinned_by(partition),
        })
    });
    described.collect()
}

/// A partition's topic and its number there, for people and machines.
pub fn topic_partition(catalog: &Catalog, key: PartitionKey) -> (String, Option<i32>) {
    match catalog.partition(key) {
        Some((topic, number)) => (printable(&topic.name), Some(number)),
        None => ("(deleted)".to_owned(), None),
    }
}

fn full_name(catalog: &Catalog, key: PartitionKey) -> String {
    match topic_partition(catalog, key) {
        (topic, Some(number)) => format!("{topic}-{number}"),
        (topic, None) => topic,
    }
}
