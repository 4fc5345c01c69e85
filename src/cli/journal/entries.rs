//! Single entries, as `inspect --entries` shows them.

use serde_json::{Value, json};

use super::super::output::{Table, human_bytes};
use super::inspect::topic_partition;
use crate::coordinator::Record;
use crate::journal::format::{Entry, Run, RunKind};
use crate::kafka::record_batch;
use crate::metadata::{Catalog, Command};
use crate::model::ids::NodeId;
use crate::model::position::Position;
use crate::replica::Members;

/// The entries that were asked for.
pub struct Entries<'a> {
    from: Position,
    limit: usize,
    segment_bytes: u64,
    catalog: &'a Catalog,
    shown: Vec<Value>,
}

impl<'a> Entries<'a> {
    pub fn new(from: Position, limit: usize, segment_bytes: u64, catalog: &'a Catalog) -> Self {
        Entries { from, limit, segment_bytes, catalog, shown: Vec::new() }
    }

    /// Takes in the next entry, if it was asked for. Its own checksum has been checked.
    pub fn add(&mut self, entry: &Entry<'_>) {
        let header = &entry.header;
        if header.position < self.from || self.shown.len() >= self.limit {
            return;
        }
        let runs: Vec<Value> = entry
            .runs()
            .map(|(run, data)| run_to_json(&run, entry.data(data), self.catalog))
            .collect();
        self.shown.push(json!({
            "position": header.position.0,
            "segment": header.position.0 / self.segment_bytes,
            "index": header.index.0,
            "term": header.term.0,
            "leader": header.leader.0,
            "appended_at_ms": header.appended_at.0,
            "bytes": entry.end().0 - header.position.0,
            "crc_ok": runs.iter().all(|run| run["crc_ok"] != json!(false)),
            "runs": runs,
        }));
    }

    pub fn into_json(self) -> Vec<Value> {
        self.shown
    }
}

fn run_to_json(run: &Run, data: &[u8], catalog: &Catalog) -> Value {
    let (topic, partition) = topic_partition(catalog, run.partition);
    match run.kind {
        RunKind::Records => {
            let mut batches = record_batch::batches(data);
            let crc_ok = batches.all(|(range, _)| record_batch::crc_matches(&data[range]));
            json!({
                "kind": "records", "topic": topic, "partition": partition, "key": run.partition.0,
                "bytes": run.bytes, "batches": run.batches, "base_offset": run.base_offset.0,
                "last_offset": run.last_offset.0, "max_timestamp": run.max_timestamp,
                "crc_ok": crc_ok,
            })
        }
        RunKind::LogStart => json!({
            "kind": "log start", "topic": topic, "partition": partition, "key": run.partition.0,
            "log_start": run.base_offset.0,
        }),
        RunKind::Coordinator => json!({
            "kind": "consumer groups", "bytes": run.bytes, "records": coordinator_records(data),
        }),
        RunKind::Members => members_to_json(data),
        RunKind::Command => json!({
            "kind": "command", "bytes": run.bytes,
            "command": Command::decode(data).map_or("unreadable", |command| name(&command)),
        }),
    }
}

fn members_to_json(mut data: &[u8]) -> Value {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<u32>>();
    match Members::decode(&mut data) {
        Ok(members) => json!({
            "kind": "members", "version": members.version, "voters": ids(&members.voters),
            "learners": ids(&members.learners),
        }),
        Err(error) => json!({ "kind": "members", "unreadable": error.to_string() }),
    }
}

fn coordinator_records(data: &[u8]) -> Vec<Value> {
    let told = Record::decode_all(data).map(|record| match record {
        Ok(record) => json!({ "group": record.group(), "record": record.name() }),
        Err(error) => json!({ "unreadable": error.to_string() }),
    });
    told.collect()
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::CreateTopic { .. } => "create topic",
        Command::DeleteTopic { .. } => "delete topic",
        Command::CreatePartitions { .. } => "create partitions",
        Command::AlterTopicConfig { .. } => "alter topic config",
        Command::AlterBrokerConfig { .. } => "alter broker config",
        Command::AllocateProducerIds { .. } => "allocate producer ids",
        Command::SetLayout { .. } => "set layout",
    }
}

/// A line for each entry, and for each further run in it.
pub fn to_text(entries: &[Value]) -> String {
    let headings = ["POSITION", "INDEX", "TERM", "APPENDED (MS)", "BYTES", "CRC", "HOLDS"];
    let mut table = Table::new(2, &headings);
    for entry in entries {
        let number = |field: &str| entry[field].to_string();
        let runs = entry["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let bytes = human_bytes(entry["bytes"].as_u64().unwrap_or(0));
        let crc = if entry["crc_ok"] == json!(true) { "ok" } else { "BAD" };
        let first = runs.first().map_or("nothing".to_owned(), run_to_text);
        let mut row: Vec<String> =
            ["position", "index", "term", "appended_at_ms"].map(number).into();
        row.extend([bytes, crc.to_owned(), first]);
        table.row(row);
        for run in runs.iter().skip(1) {
            table.row(std::iter::repeat_n(String::new(), 6).chain([run_to_text(run)]));
        }
    }
    table.render()
}

fn batches(run: &Value) -> String {
    match run["batches"].as_u64().unwrap_or(0) {
        1 => "1 batch".to_owned(),
        count => format!("{count} batches"),
    }
}

fn run_to_text(run: &Value) -> String {
    let place = || format!("{}-{}", run["topic"].as_str().unwrap_or("?"), run["partition"]);
    match run["kind"].as_str() {
        Some("records") => format!(
            "{}: offsets {} to {}, {}, {}",
            place(),
            run["base_offset"],
            run["last_offset"],
            batches(run),
            human_bytes(run["bytes"].as_u64().unwrap_or(0))
        ),
        Some("log start") => format!("{}: begins at offset {}", place(), run["log_start"]),
        Some("consumer groups") => {
            let records = run["records"].as_array().map(Vec::as_slice).unwrap_or_default();
            let told = records.iter().map(|record| {
                let field = |name: &str| record[name].as_str().unwrap_or("?").to_owned();
                format!("consumer group {}: {}", field("group"), field("record"))
            });
            told.collect::<Vec<_>>().join("; ")
        }
        _ => run["command"].as_str().unwrap_or_default().to_owned(),
    }
}
