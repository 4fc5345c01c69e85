//! What is sent: record batches made before the clock starts, used over and over.
//!
//! A generator that builds records while it measures measures itself. Enough different batches are
//! made that nothing on the way can profit from seeing the same bytes again.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use hutong::kafka::record_batch::{Producer, build_batch};

use crate::compress::{Codec, compress};

/// The memory that all batches together may take.
const POOL_BYTES_MAX: usize = 32 << 20;
/// The most batches that are made (for each partition, when there are keys).
const VARIANTS_MAX: usize = 256;

/// Where values come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Bytes that don't compress.
    Random,
    /// Zeros.
    Zero,
    /// Pieces of a file, one behind the other, from the front again at its end.
    File(PathBuf),
}

/// What records look like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Bytes of a value.
    pub record_bytes: usize,
    /// Records of a batch, which is a request.
    pub batch_records: usize,
    /// Different keys; 0: no keys, and requests go round over the partitions.
    pub keys: usize,
    pub source: Source,
    pub codec: Codec,
}

/// Batches that are ready to be sent.
#[derive(Debug)]
pub struct Pool {
    batches: Vec<Vec<u8>>,
    /// With keys: for each partition the numbers of its batches.
    by_partition: Option<Vec<Vec<u32>>>,
}

impl Pool {
    /// Makes the batches for a topic with so many partitions.
    ///
    /// # Errors
    /// A sentence: the file can't be read, or a batch would be larger than Kafka's format allows.
    pub fn new(shape: &Shape, partitions: usize, seed: u64) -> anyhow::Result<Pool> {
        let batch_bytes = 61 + shape.batch_records * (shape.record_bytes + 12);
        if batch_bytes > i32::MAX as usize {
            bail!(
                "a batch would have {batch_bytes} bytes; lower --batch-records or --record-bytes"
            );
        }
        let mut values = Values::new(shape, seed)?;
        let variants = (POOL_BYTES_MAX / batch_bytes).clamp(1, VARIANTS_MAX);
        if shape.keys == 0 {
            let keys = |_: &mut fastrand::Rng| None;
            let batches = (0..variants).map(|_| values.batch(shape, keys)).collect();
            return Ok(Pool { batches, by_partition: None });
        }
        let mut keys_of = vec![Vec::new(); partitions];
        for key in 0..shape.keys {
            let key = format!("key-{key:08}").into_bytes();
            keys_of[partition_of_key(&key, partitions)].push(key);
        }
        let variants = (variants / partitions).max(1);
        let (mut batches, mut by_partition) = (Vec::new(), vec![Vec::new(); partitions]);
        for (partition, keys) in keys_of.iter().enumerate().filter(|(_, keys)| !keys.is_empty()) {
            for _ in 0..variants.min(keys.len()) {
                by_partition[partition].push(batches.len() as u32);
                let pick =
                    |random: &mut fastrand::Rng| Some(keys[random.usize(..keys.len())].clone());
                batches.push(values.batch(shape, pick));
            }
        }
        Ok(Pool { batches, by_partition: Some(by_partition) })
    }

    /// A batch for the partition; none when no key leads there. `round` counts the caller's calls.
    pub fn pick(&self, partition: usize, round: usize) -> Option<&[u8]> {
        match &self.by_partition {
            None => Some(&self.batches[round % self.batches.len()]),
            Some(by_partition) => {
                let here = &by_partition[partition];
                let batch = *here.get(round % here.len().max(1))?;
                Some(&self.batches[batch as usize])
            }
        }
    }
}

/// Makes values and batches of them.
struct Values {
    random: fastrand::Rng,
    file: Vec<u8>,
    at: usize,
    now_ms: i64,
}

impl Values {
    fn new(shape: &Shape, seed: u64) -> anyhow::Result<Values> {
        let file = match &shape.source {
            Source::File(path) => {
                let bytes = fs::read(path)
                    .with_context(|| format!("can't read the payload from {}", path.display()))?;
                if bytes.is_empty() {
                    bail!("{} is empty: there is nothing to send", path.display());
                }
                bytes
            }
            Source::Random | Source::Zero => Vec::new(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let random = fastrand::Rng::with_seed(seed);
        Ok(Values { random, file, at: 0, now_ms: now.as_millis() as i64 })
    }

    fn value(&mut self, shape: &Shape) -> Vec<u8> {
        let mut value = vec![0; shape.record_bytes];
        match shape.source {
            Source::Zero => {}
            Source::Random => self.random.fill(&mut value),
            Source::File(_) => {
                for byte in &mut value {
                    *byte = self.file[self.at];
                    self.at = (self.at + 1) % self.file.len();
                }
            }
        }
        value
    }

    fn batch(
        &mut self,
        shape: &Shape,
        mut key: impl FnMut(&mut fastrand::Rng) -> Option<Vec<u8>>,
    ) -> Vec<u8> {
        let records: Vec<(Option<Vec<u8>>, Vec<u8>)> =
            (0..shape.batch_records).map(|_| (key(&mut self.random), self.value(shape))).collect();
        let records: Vec<(Option<&[u8]>, &[u8])> =
            records.iter().map(|(key, value)| (key.as_deref(), value.as_slice())).collect();
        compress(build_batch(&records, self.now_ms, Producer::NONE), shape.codec)
    }
}

/// The partition that Kafka's default partitioner gives a key.
pub fn partition_of_key(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

/// MurmurHash2 with the seed that Kafka's clients use.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hutong::kafka::record_batch::{batches, crc_matches};

    fn shape(keys: usize, codec: Codec) -> Shape {
        Shape { record_bytes: 50, batch_records: 8, keys, source: Source::Random, codec }
    }

    /// From Kafka's own test of its `Utils.murmur2`.
    #[test]
    fn keys_go_where_kafkas_clients_send_them() {
        assert_eq!(murmur2(b"21") as i32, -973932308);
        assert_eq!(murmur2(b"foobar") as i32, -790332482);
        assert_eq!(murmur2(b"a-little-bit-long-string") as i32, -985981536);
        assert_eq!(murmur2(b"a-little-bit-longer-string") as i32, -1486304829);
    }

    #[test]
    fn batches_are_whole_whatever_the_codec() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let pool = Pool::new(&shape(0, codec), 3, 1).unwrap();
            let batch = pool.pick(0, 5).unwrap();
            let found: Vec<_> = batches(batch).collect();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].0.len(), batch.len());
            assert_eq!(found[0].1.codec(), codec as u8);
            assert!(crc_matches(batch));
        }
    }

    #[test]
    fn with_keys_a_partition_gets_only_batches_of_its_own() {
        let pool = Pool::new(&shape(3, Codec::None), 50, 1).unwrap();
        let with_batches = (0..50).filter(|&partition| pool.pick(partition, 0).is_some()).count();
        assert!((1..=3).contains(&with_batches), "three keys lead to three partitions at most");
    }
}
