//! Which group holds a partition: the catalog, made once more from the commands in group 0's
//! journal.

use std::collections::BTreeMap;

use hutong::journal::format::{Entry, EntryHead, RunKind};
use hutong::metadata::{Catalog, Command, Layout};
use hutong::model::ids::NodeId;
use hutong::model::position::Position;

/// The catalog, as of what was applied anywhere.
#[derive(Debug, Default)]
pub struct Placement {
    catalog: Option<Catalog>,
    /// Entries of group 0 that somebody has written, by index and checksum.
    written: BTreeMap<(u64, u32), (Position, Vec<u8>)>,
    /// Of those that are committed and not applied yet, the checksums.
    committed: BTreeMap<u64, u32>,
    applied: u64,
    /// Which nodes there were and what each should hold, from the beginning until now.
    pub layouts: Vec<Layout>,
    /// The groups of each topic's partitions.
    pub groups: BTreeMap<[u8; 16], Vec<u32>>,
}

impl Placement {
    /// Begins with an empty catalog of so many groups, on these nodes.
    pub fn begin(&mut self, groups: u32, nodes: &[NodeId]) {
        let catalog = Catalog::new(groups, nodes);
        self.layouts = vec![catalog.layout().clone()];
        self.catalog = Some(catalog);
    }

    /// The group that keeps a consumer group.
    pub fn home_of(&self, consumer_group: &str) -> Option<u32> {
        Some(self.catalog.as_ref()?.home_of_consumer_group(consumer_group).0)
    }

    /// Somebody writes an entry of group 0.
    pub fn wrote(&mut self, head: &EntryHead, bytes: &[u8]) {
        let (index, position) = (head.header.index.0, head.header.position);
        if index > self.applied {
            self.written.entry((index, head.crc)).or_insert_with(|| (position, bytes.to_vec()));
        }
    }

    /// An entry of group 0 is committed, and all before it.
    pub fn committed(&mut self, index: u64, crc: u32) {
        let (mut index, mut crc) = (index, crc);
        // Each names the one before it.
        while index > self.applied && self.committed.insert(index, crc).is_none() {
            let Some((position, bytes)) = self.written.get(&(index, crc)) else { break };
            let Some(head) = EntryHead::read(bytes, *position) else { break };
            (index, crc) = (index - 1, head.header.previous_crc);
        }
        while let Some(crc) = self.committed.remove(&(self.applied + 1)) {
            self.applied += 1;
            if let Some((position, bytes)) = self.written.remove(&(self.applied, crc)) {
                self.apply(position, &bytes);
            }
            let later = self.written.split_off(&(self.applied + 1, 0));
            self.written = later;
        }
    }

    fn apply(&mut self, position: Position, bytes: &[u8]) {
        let Some(catalog) = &mut self.catalog else { return };
        let entry = Entry::of_page(bytes, position);
        let mut changed = false;
        for (run, data) in entry.runs().filter(|(run, _)| run.kind == RunKind::Command) {
            let _ = run;
            if let Ok(command) = Command::decode(entry.data(data)) {
                changed |= catalog.apply(&command).is_ok();
                if self.layouts.last().is_none_or(|last| last.epoch != catalog.layout().epoch) {
                    self.layouts.push(catalog.layout().clone());
                }
            }
        }
        if changed {
            for topic in catalog.topics() {
                let groups = topic.partitions.iter().map(|placement| placement.group.0);
                self.groups.insert(topic.id.0, groups.collect());
            }
        }
    }
}
