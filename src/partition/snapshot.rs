//! A partition as a checkpoint keeps it.

use std::collections::VecDeque;

use thiserror::Error;

use crate::model::ids::PartitionKey;
use crate::model::position::{Offset, Position, Term};
use crate::partition::index::{Index, Landmark, Settled};
use crate::partition::producers::{Producer, Producers, Remembered};
use crate::partition::{EpochStart, Partition};

/// A landmark as it is written: four numbers.
const LANDMARK_BYTES: usize = 32;

/// The bytes are not a partition's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a partition's part of the checkpoint ends early or makes no sense")]
pub struct DecodeError;

impl Partition {
    /// Appends the partition to `out`, up to its high watermark: what lies behind, `uncommitted`
    /// bytes, may be cut off yet.
    pub fn encode(&self, uncommitted: u64, out: &mut Vec<u8>) {
        let end = self.high_watermark;
        let index = self.index.settled(end, uncommitted);
        put(out, u64::from(self.key.0));
        put(out, self.log_start.0 as u64);
        put(out, end.0 as u64);
        let largest = self.largest_timestamp.filter(|(_, batch)| *batch < end).or(index.largest);
        let (timestamp, batch) = largest.unwrap_or((i64::MIN, Offset(0)));
        put(out, timestamp as u64);
        put(out, batch.0 as u64);
        let epochs = self.epochs.partition_point(|epoch| epoch.offset < end);
        put(out, epochs as u64);
        for epoch in &self.epochs[..epochs] {
            put(out, epoch.term.0);
            put(out, epoch.offset.0 as u64);
        }
        encode_index(&index, out);
        self.encode_producers(end, out);
    }

    fn encode_producers(&self, end: Offset, out: &mut Vec<u8>) {
        let is_before = |batch: &&Remembered| batch.base_offset < end;
        let mut producers = self.producers.sorted();
        producers.retain(|(_, producer)| producer.batches.front().as_ref().is_some_and(is_before));
        put(out, producers.len() as u64);
        for (id, producer) in producers {
            put(out, id as u64);
            put(out, producer.epoch as u64);
            put(out, producer.batches.iter().filter(is_before).count() as u64);
            for batch in producer.batches.iter().filter(is_before) {
                put(out, batch.first as u64);
                put(out, batch.last as u64);
                put(out, batch.base_offset.0 as u64);
            }
        }
    }

    /// Takes a partition off the front of `bytes`.
    ///
    /// # Errors
    /// If the bytes end early or contradict themselves.
    pub fn decode(bytes: &mut &[u8]) -> Result<Partition, DecodeError> {
        let key = PartitionKey(u32::try_from(get(bytes)?).map_err(|_| DecodeError)?);
        let log_start = Offset(get(bytes)? as i64);
        let log_end = Offset(get(bytes)? as i64);
        if log_start > log_end {
            return Err(DecodeError);
        }
        let largest = (get(bytes)? as i64, Offset(get(bytes)? as i64));
        let epochs = list(bytes, |bytes| {
            Ok(EpochStart { term: Term(get(bytes)?), offset: Offset(get(bytes)? as i64) })
        })?;
        Ok(Partition {
            key,
            log_start,
            high_watermark: log_end,
            log_end,
            index: decode_index(bytes)?,
            producers: decode_producers(bytes)?,
            epochs,
            largest_timestamp: (largest.0 != i64::MIN).then_some(largest),
        })
    }
}

fn encode_index(index: &Settled<'_>, out: &mut Vec<u8>) {
    put(out, index.bytes_appended);
    put(out, index.max_timestamp.unwrap_or(i64::MIN) as u64);
    put(out, (index.landmarks.len() + index.more.len()) as u64);
    for landmark in index.landmarks.clone().chain(&index.more) {
        let mut line = [0; LANDMARK_BYTES];
        line[0..8].copy_from_slice(&landmark.offset.0.to_le_bytes());
        line[8..16].copy_from_slice(&landmark.entry.0.to_le_bytes());
        line[16..24].copy_from_slice(&landmark.bytes_before.to_le_bytes());
        line[24..32].copy_from_slice(&landmark.max_timestamp_before.to_le_bytes());
        out.extend_from_slice(&line);
    }
}

fn decode_index(bytes: &mut &[u8]) -> Result<Index, DecodeError> {
    let bytes_appended = get(bytes)?;
    let max_timestamp = Some(get(bytes)? as i64).filter(|timestamp| *timestamp != i64::MIN);
    let landmarks = list(bytes, |bytes| {
        Ok(Landmark {
            offset: Offset(get(bytes)? as i64),
            entry: Position(get(bytes)?),
            bytes_before: get(bytes)?,
            max_timestamp_before: get(bytes)? as i64,
        })
    })?;
    Ok(Index::from_parts(landmarks, bytes_appended, max_timestamp))
}

fn decode_producers(bytes: &mut &[u8]) -> Result<Producers, DecodeError> {
    let mut producers = Producers::default();
    for _ in 0..get(bytes)? {
        let id = get(bytes)? as i64;
        let epoch = get(bytes)? as i16;
        let batches: Vec<Remembered> = list(bytes, |bytes| {
            Ok(Remembered {
                first: get(bytes)? as i32,
                last: get(bytes)? as i32,
                base_offset: Offset(get(bytes)? as i64),
            })
        })?;
        producers.insert(id, Producer { epoch, batches: VecDeque::from(batches) });
    }
    Ok(producers)
}

fn list<T>(
    bytes: &mut &[u8],
    item: impl Fn(&mut &[u8]) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = get(bytes)?;
    if count > bytes.len() as u64 {
        return Err(DecodeError);
    }
    (0..count).map(|_| item(bytes)).collect()
}

fn put(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_le_bytes());
}

fn get(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let (value, rest) = bytes.split_first_chunk::<8>().ok_or(DecodeError)?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*value))
}
