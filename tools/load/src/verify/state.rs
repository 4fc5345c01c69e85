//! What a run was told, kept in a file, so that its topic can be checked later and again.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::evidence::Told;

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pub topic: String,
    pub run: u64,
    pub idempotent: bool,
    pub answers_asked_for: bool,
    /// By producer and partition.
    pub told: Vec<Vec<Told>>,
}

impl State {
    /// Writes it, as a whole or not at all.
    ///
    /// # Errors
    /// A sentence with the file's name.
    pub fn save(&self, file: &Path) -> anyhow::Result<()> {
        let mut beside = file.as_os_str().to_owned();
        beside.push(".new");
        let written = File::create(&beside).and_then(|new| {
            let mut out = BufWriter::new(new);
            serde_json::to_writer(&mut out, self)?;
            out.flush()?;
            out.get_ref().sync_all()?;
            fs::rename(&beside, file)
        });
        written.with_context(|| format!("can't write the state to {}", file.display()))
    }

    /// Reads what another run wrote.
    ///
    /// # Errors
    /// A sentence with the file's name.
    pub fn load(file: &Path) -> anyhow::Result<State> {
        let name = file.display();
        let input = File::open(file).with_context(|| format!("can't read {name}"))?;
        serde_json::from_reader(BufReader::new(input))
            .with_context(|| format!("{name} is not what --state writes"))
    }

    /// For each partition the offset after the last that was acknowledged.
    pub fn acked_ends(&self, partitions: usize) -> Vec<i64> {
        let mut ends = vec![0; partitions];
        for told in &self.told {
            for (end, told) in ends.iter_mut().zip(told) {
                let acked = told.acked.iter().map(|run| run.end()).max();
                *end = acked.unwrap_or(0).max(*end);
            }
        }
        ends
    }

    /// By partition and producer, as the checker wants it.
    pub fn by_partition(&self, partitions: usize) -> Vec<Vec<&Told>> {
        let of =
            |partition: usize| self.told.iter().filter_map(|told| told.get(partition)).collect();
        (0..partitions).map(of).collect()
    }
}
