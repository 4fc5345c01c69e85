//! The report of `journal inspect` for people, made of the one for machines.

use serde_json::Value;

use super::super::output::{Table, human_bytes, plural};
use super::entries;

/// The whole report.
pub fn to_text(report: &Value) -> String {
    let groups = list(&report["groups"]);
    let mut text = format!(
        "{}  node {}  cluster {}  {}, segments of {}\n",
        words(&report["directory"]),
        report["node_id"],
        words(&report["cluster_id"]),
        plural(report["group_count"].as_u64().unwrap_or(0) as usize, "group"),
        bytes(&report["segment_bytes"])
    );
    for group in groups {
        text.push('\n');
        text.push_str(&group_to_text(group));
    }
    text
}

fn group_to_text(group: &Value) -> String {
    let mut text = format!("group {}\n", group["group"]);
    let mut line = |label: &str, said: String| {
        text.push_str(&format!("  {label:<12}{said}\n"));
    };
    if !group["bad"].is_null() {
        line("BAD", words(&group["bad"]["problem"]));
    }
    if !group["append_position"].is_null() {
        line(
            "journal",
            format!("ends {}", place(group, "append_position", "last_index", "last_term")),
        );
    }
    if !group["torn_tail_bytes"].is_null() {
        let torn = bytes(&group["torn_tail_bytes"]);
        line("torn tail", format!("{torn}, which the next start cuts"));
    }
    line("checkpoint", checkpoint_to_text(&group["checkpoint"]));
    let vote = &group["vote"];
    match vote["voted_for"].as_u64() {
        Some(node) => line("vote", format!("for node {node} in term {}", vote["term"])),
        None => line("vote", "none".to_owned()),
    }
    let kept = &group["kept_from"];
    if !kept.is_null() {
        let by = kept["by"].as_str().unwrap_or("the checkpoint");
        let (segment, position) = (&kept["segment"], &kept["position"]);
        line("kept from", format!("segment {segment}, position {position}, by {by}"));
    }
    text.push('\n');
    text.push_str(&segments_to_text(list(&group["segments"])));
    if !list(&group["partitions"]).is_empty() {
        text.push('\n');
        text.push_str(&partitions_to_text(list(&group["partitions"])));
    }
    if !group["entries"].is_null() {
        text.push('\n');
        text.push_str(&entries::to_text(list(&group["entries"])));
    }
    text
}

fn place(of: &Value, position: &str, index: &str, term: &str) -> String {
    format!("at position {}, index {}, term {}", of[position], of[index], of[term])
}

fn checkpoint_to_text(checkpoint: &Value) -> String {
    if checkpoint.is_null() {
        return "none".to_owned();
    }
    let written = match checkpoint["age_seconds"].as_u64() {
        Some(age) => format!(", written {} ago", age_to_text(age)),
        None => String::new(),
    };
    format!("{}{written}", place(checkpoint, "position", "index", "term"))
}

fn age_to_text(seconds: u64) -> String {
    match seconds {
        0..60 => plural(seconds as usize, "second"),
        60..7200 => plural((seconds / 60) as usize, "minute"),
        7200..172_800 => plural((seconds / 3600) as usize, "hour"),
        _ => plural((seconds / 86400) as usize, "day"),
    }
}

fn segments_to_text(segments: &[Value]) -> String {
    let headings = ["SEGMENT", "FIRST INDEX", "ENTRIES", "BYTES", "RECORDS", "NEEDED", "NEEDED BY"];
    let mut table = Table::new(2, &headings);
    for segment in segments {
        let needed_by = list(&segment["topics"])
            .iter()
            .filter(|topic| topic["needed_bytes"].as_u64().is_some_and(|bytes| bytes > 0))
            .map(|topic| format!("{} {}", words(&topic["topic"]), bytes(&topic["needed_bytes"])));
        table.row([
            segment["segment"].to_string(),
            number(&segment["first_index"]),
            segment["entries"].to_string(),
            bytes(&segment["bytes"]),
            bytes(&segment["record_bytes"]),
            bytes(&segment["needed_bytes"]),
            needed_by.collect::<Vec<_>>().join(", "),
        ]);
    }
    table.render()
}

fn partitions_to_text(partitions: &[Value]) -> String {
    let headings =
        ["TOPIC", "PARTITION", "START", "END", "BYTES", "NEEDED FROM", "SEGMENT", "PINS"];
    let mut table = Table::new(2, &headings);
    for partition in partitions {
        table.row([
            words(&partition["topic"]),
            number(&partition["partition"]),
            number(&partition["log_start"]),
            number(&partition["log_end"]),
            bytes(&partition["bytes"]),
            number(&partition["needed_from"]),
            number(&partition["needed_from_segment"]),
            bytes(&partition["pins_bytes"]),
        ]);
    }
    table.render()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn words(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

fn number(value: &Value) -> String {
    if value.is_null() { "-".to_owned() } else { value.to_string() }
}

fn bytes(value: &Value) -> String {
    value.as_u64().map_or("-".to_owned(), human_bytes)
}
