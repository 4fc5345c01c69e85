//! How long a checkpoint keeps its shard: the encoding of all partitions of a group, and its
//! checksum. The file is written by another thread.
//!
//! `cargo bench --bench checkpoint`

use std::time::{Duration, Instant};

use hutong::journal::format::checksum;
use hutong::model::ids::PartitionKey;
use hutong::model::position::{Offset, Position, Term};
use hutong::partition::Partition;
use hutong::partition::index::RunPlace;

/// Runs of 4 KiB: every fourth gets a landmark.
const RUN_BYTES: u32 = 4096;

fn main() {
    println!("partitions  records of each  recent runs of each    checkpoint       encoded in");
    for (partitions, runs, recent) in [
        (10_000, 8, 0),
        (10_000, 8, 8),
        (10_000, 1000, 8),
        (100_000, 8, 0),
        (100_000, 8, 8),
        (100_000, 200, 2),
    ] {
        let partitions: Vec<Partition> =
            (0..partitions).map(|key| partition(PartitionKey(key), runs, recent)).collect();
        let mut bytes = 0;
        let best = (0..5)
            .map(|_| {
                let start = Instant::now();
                let mut out = Vec::new();
                for partition in &partitions {
                    partition.encode(0, &mut out);
                }
                std::hint::black_box(checksum(&out));
                bytes = out.len();
                start.elapsed()
            })
            .fold(Duration::MAX, Duration::min);
        println!(
            "{:10}  {:11} KiB  {recent:19}  {bytes:9} bytes  {best:11.1?}",
            partitions.len(),
            (u64::from(runs) * u64::from(RUN_BYTES)) >> 10,
        );
    }
}

/// A partition with so many runs, of which so many are in the journal cache.
fn partition(key: PartitionKey, runs: u32, recent: u32) -> Partition {
    let mut partition = Partition::new(key);
    for number in 0..runs {
        let entry = Position(u64::from(number) << 20 | 4096);
        partition.append(
            Term(1),
            RunPlace {
                base_offset: Offset(i64::from(number)),
                last_offset: Offset(i64::from(number)),
                entry,
                at: 128,
                bytes: RUN_BYTES,
                max_timestamp: i64::from(number),
            },
        );
        if number + recent < runs {
            partition.index.evict_before(Position(entry.0 + 1));
        }
    }
    partition.commit(partition.log_end());
    partition
}
