//! `hutong journal verify`: every entry, every batch, every checksum.

use std::path::PathBuf;

use clap::Args;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::super::FoundBad;
use super::super::output::{human_bytes, human_count, print, print_json};
use super::against::{Against, Compared, check_kept, connect};
use super::running;
use super::stopped::Stopped;
use super::walk::{BadPlace, walk};
use crate::coordinator::Record;
use crate::journal::format::{Entry, Run, RunKind};
use crate::journal::recovery::Cut;
use crate::journal::source::GroupFiles;
use crate::kafka::record_batch;
use crate::metadata::Command;
use crate::model::ids::{GroupId, PartitionKey, SegmentId};
use crate::model::position::{LogIndex, Position, Term};
use crate::replica::Members;
use crate::replica::vote::VoteFile;
use crate::runtime::journal_client::JournalClient;
use crate::shard::checkpoint::{self, Checkpoint};
use crate::shard::control::CATALOG_GROUP;
use crate::shard::peers::repair_wire::EntrySum;

#[derive(Debug, Args)]
#[command(
    about = "Check everything in the journals of a stopped node, and compare nodes",
    long_about = "Check everything in the journals of a stopped node: from the oldest segment on, \
                  that each entry has the right checksum and follows the one before; of each \
                  record batch its crc and that its offsets follow; and votes and checkpoints. \
                  Changes nothing. Exits with 1 if anything is bad, and names the first bad place \
                  of each group.\n\n\
                  A torn tail, as a crash leaves it, is told and is not bad: the next start cuts \
                  it, and nothing in it was acknowledged as flushed.\n\n\
                  With --against, each entry's checksum is also compared with that of another \
                  node, which runs, as far as both have it and it is committed there. Two running \
                  nodes are compared with --node and --against. Exits with 1 if they differ, and \
                  names the first entry that does.\n\n\
                  Examples:\n\n  \
                  hutong journal verify /var/lib/hutong\n  \
                  hutong journal verify /var/lib/hutong --against node2:9092\n  \
                  hutong journal verify --node node1:9092 --against node2:9092\n  \
                  hutong journal verify /var/lib/hutong --json | jq '.groups[].bad'"
)]
pub struct VerifyArgs {
    /// The data directory
    #[arg(value_name = "DIR", required_unless_present = "node")]
    directory: Option<PathBuf>,
    /// Compare with this node, which runs: the address of any of its shards
    #[arg(long, value_name = "HOST:PORT")]
    against: Option<String>,
    /// Instead of a data directory: compare this node, which runs
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "directory", requires = "against")]
    node: Option<String>,
    /// Print JSON: one object, with an array of groups
    #[arg(long)]
    json: bool,
}

/// Checks all groups, tells what was found, and fails if anything is bad.
pub fn run(args: &VerifyArgs) -> anyhow::Result<()> {
    let Some(directory) = &args.directory else {
        let (node, against) = args.node.as_deref().zip(args.against.as_deref()).expect("clap");
        return running::compare(node, against, args.json);
    };
    let stopped = Stopped::open(directory)?;
    let facts = stopped.facts();
    let mut remote = match &args.against {
        Some(address) => Some(connect(address, &facts.cluster_id)?),
        None => None,
    };
    if let Some(remote) = &remote {
        remote.check_shape(facts.segment_bytes)?;
    }
    let mut checked = Vec::new();
    for group in stopped.groups()? {
        checked.push(check_group(&stopped, &stopped.files(group)?, remote.as_mut())?);
    }
    if let Some(remote) = &remote {
        check_kept(remote, checked.iter().filter_map(|group| group.compared.as_ref()))?;
    }
    if args.json {
        let groups: Vec<Value> = checked.iter().map(Checked::to_json).collect();
        print_json(&json!({
            "directory": stopped.path().display().to_string(),
            "ok": checked.iter().all(Checked::is_ok),
            "groups": groups,
        }))?;
    } else {
        print(&checked.iter().map(Checked::to_text).collect::<String>())?;
    }
    match checked.iter().all(Checked::is_ok) {
        true => Ok(()),
        false => Err(FoundBad.into()),
    }
}

/// What was checked of a group, and the first thing found bad.
struct Checked {
    group: GroupId,
    segment_bytes: u64,
    entries: u64,
    bytes: u64,
    batches: u64,
    records: u64,
    last: (LogIndex, Term),
    cut: Option<Cut>,
    bad: Option<BadPlace>,
    /// What came of comparing it with another node.
    compared: Option<Compared>,
    /// The offset that each partition's next record must have, as far as it is known.
    next_offsets: FxHashMap<PartitionKey, i64>,
}

fn check_group(
    stopped: &Stopped,
    files: &GroupFiles,
    remote: Option<&mut JournalClient>,
) -> anyhow::Result<Checked> {
    let segment_bytes = stopped.facts().segment_bytes;
    let mut checked = Checked::new(files.group, segment_bytes);
    if let Err(why) = VoteFile::decode(&files.vote) {
        checked.found_bad(BadPlace::of_group(files.group, format!("group {}: {why}", files.group)));
    }
    let checkpoint = checked.checkpoint(files);
    let mut reached = false;
    let committed = checkpoint.as_ref().map_or(Position(0), |checkpoint| checkpoint.applied.end);
    let mut against = remote.map(|remote| Against::new(remote, files.group, committed));
    let mut asked = Ok(());
    let walked = walk(stopped.node(), segment_bytes, files, &mut stopped.source(), |entry| {
        checked.entry(entry);
        if let (Some(against), Ok(())) = (&mut against, &asked) {
            let (position, term) = (entry.header.position, entry.header.term);
            asked = against.entry(EntrySum { position, term, crc: entry.crc }, entry.end());
        }
        if let Some(checkpoint) = &checkpoint
            && entry.end() == checkpoint.applied.end
        {
            reached = true;
            checked.meets(entry, checkpoint);
        }
    });
    match walked {
        Ok(recovered) => checked.cut = recovered.cut,
        // What lies before the end of the walk comes first.
        Err(bad) => checked.found_bad(bad),
    }
    let covered = checkpoint.map(|checkpoint| checkpoint.applied);
    if let Some(applied) = covered.filter(|applied| applied.index.0 > 0 && !reached) {
        let what = format!("no entry ends at position {}, up to which it goes", applied.end);
        checked.found_bad(bad_checkpoint(files.group, &what));
    }
    asked?;
    checked.compared = against.map(Against::finish);
    Ok(checked)
}

fn bad_checkpoint(group: GroupId, what: &str) -> BadPlace {
    BadPlace::of_group(group, format!("group {group}: the checkpoint is not the journal's: {what}"))
}

impl Checked {
    fn new(group: GroupId, segment_bytes: u64) -> Checked {
        Checked {
            group,
            segment_bytes,
            entries: 0,
            bytes: 0,
            batches: 0,
            records: 0,
            last: Default::default(),
            cut: None,
            bad: None,
            compared: None,
            next_offsets: FxHashMap::default(),
        }
    }

    fn is_ok(&self) -> bool {
        self.bad.is_none() && self.compared.as_ref().is_none_or(Compared::is_equal)
    }

    fn found_bad(&mut self, bad: BadPlace) {
        self.bad.get_or_insert(bad);
    }

    fn checkpoint(&mut self, files: &GroupFiles) -> Option<Checkpoint> {
        let decoded = checkpoint::decode(files.checkpoint.as_ref()?);
        decoded.map_err(|why| self.found_bad(bad_checkpoint(files.group, &why))).ok()
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        self.entries += 1;
        self.bytes += entry.end().0 - entry.header.position.0;
        self.last = (entry.header.index, entry.header.term);
        let mut runs = 0;
        for (run, data) in entry.runs() {
            runs += 1;
            let checked = match run.kind {
                RunKind::Records => self.records(&run, entry.data(data)),
                RunKind::Command if self.group != CATALOG_GROUP => {
                    Err("a command, which only group 0 has".to_owned())
                }
                RunKind::Command => Command::decode(entry.data(data))
                    .map(drop)
                    .map_err(|error| format!("a command that can't be read: {error}")),
                RunKind::LogStart => Ok(()),
                RunKind::Members => Members::decode(&mut entry.data(data))
                    .map(drop)
                    .map_err(|error| error.to_string()),
                RunKind::Coordinator => Record::decode_all(entry.data(data))
                    .try_for_each(|record| record.map(drop))
                    .map_err(|error| format!("a record that can't be read: {error}")),
            };
            if let Err(what) = checked {
                self.bad_entry(
                    entry.header.position,
                    &format!("partition {}: {what}", run.partition),
                );
            }
        }
        if runs != entry.header.run_count {
            self.bad_entry(entry.header.position, "its directory makes no sense");
        }
    }

    fn bad_entry(&mut self, position: Position, what: &str) {
        let segment = SegmentId(position.0 / self.segment_bytes);
        self.found_bad(BadPlace::at(self.group, segment, position, what));
    }

    /// Checks the batches of one run, and that they fill it.
    fn records(&mut self, run: &Run, records: &[u8]) -> Result<(), String> {
        let next = *self.next_offsets.get(&run.partition).unwrap_or(&run.base_offset.0);
        self.next_offsets.insert(run.partition, run.last_offset.0.saturating_add(1));
        if run.base_offset.0 != next {
            return Err(format!("offset {next} should follow, and {} does", run.base_offset));
        }
        let (mut end, mut next, mut batches) = (0, next, 0);
        for (range, batch) in record_batch::batches(records) {
            if !record_batch::crc_matches(&records[range.clone()]) {
                return Err(format!("the crc of the record batch at offset {next} is wrong"));
            }
            if batch.base_offset != next {
                let found = batch.base_offset;
                return Err(format!("a record batch says offset {found} and lies at {next}"));
            }
            (end, next, batches) = (range.end, batch.last_offset().saturating_add(1), batches + 1);
            self.records += u64::try_from(batch.record_count).unwrap_or(0);
        }
        self.batches += u64::from(batches);
        if end != records.len() || batches != run.batches || next != run.last_offset.0 + 1 {
            return Err("its record batches are not those that its directory names".to_owned());
        }
        Ok(())
    }

    /// Holds the checkpoint against the entry it ends with and the offsets up to there.
    fn meets(&mut self, entry: &Entry<'_>, checkpoint: &Checkpoint) {
        let applied = &checkpoint.applied;
        let (index, term) = (entry.header.index, entry.header.term);
        if (index, term, entry.crc) != (applied.index, applied.term, applied.crc) {
            let what = format!("it names index {}, and there lies {index}", applied.index);
            self.found_bad(bad_checkpoint(self.group, &what));
        }
        for partition in checkpoint.partitions.iter() {
            let (key, end) = (partition.key, partition.log_end());
            if let Some(&next) = self.next_offsets.get(&key).filter(|next| **next != end.0) {
                let what = format!("partition {key} ends at offset {next}, and it says {end}");
                self.found_bad(bad_checkpoint(self.group, &what));
            }
        }
    }

    fn to_text(&self) -> String {
        let mut text = format!(
            "group {}: entries {}, {}, record batches {}, records {}, up to index {} of term {}\n",
            self.group,
            human_count(self.entries),
            human_bytes(self.bytes),
            human_count(self.batches),
            human_count(self.records),
            self.last.0,
            self.last.1
        );
        if let Some(cut) = self.cut {
            text.push_str(&format!(
                "  torn tail of {} entries, {}, at position {}: the next start cuts it\n",
                cut.entries,
                human_bytes(cut.bytes),
                cut.position
            ));
        }
        match &self.bad {
            Some(bad) => text.push_str(&format!("  BAD: {}\n", bad.problem)),
            None => text.push_str("  ok\n"),
        }
        text.extend(self.compared.as_ref().map(Compared::to_text));
        text
    }

    fn to_json(&self) -> Value {
        json!({
            "group": self.group.0,
            "entries": self.entries,
            "bytes": self.bytes,
            "batches": self.batches,
            "records": self.records,
            "last_index": self.last.0.0,
            "last_term": self.last.1.0,
            "torn_tail": self.cut.map(|cut| json!({
                "position": cut.position.0,
                "entries": cut.entries,
                "bytes": cut.bytes,
            })),
            "bad": self.bad.as_ref().map(BadPlace::to_json),
            "against": self.compared.as_ref().map(Compared::to_json),
        })
    }
}
