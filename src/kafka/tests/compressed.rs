//! Lookups inside compressed batches: each codec, in each form that clients write it; broken ones,
//! and ones that are small only on the wire.

use std::io::Write;

use proptest::prelude::*;

use super::super::record_batch::{
    BATCH_HEADER_BYTES, NewRecord, Producer, build_timed_batch, find_timestamp,
    max_timestamp_record, set_base_offset_and_epoch,
};

const LEFT: u64 = 1 << 30;
const BASE: i64 = 1_000_000;

pub(super) type Compress = fn(&[u8]) -> Vec<u8>;

/// How records are compressed, and by which form of it.
pub(super) const FORMS: [(u8, Compress); 7] = [
    (1, gzip),
    (2, raw_snappy),
    (2, xerial_snappy),
    (2, two_xerial_streams),
    (3, lz4_as_java),
    (3, lz4_linked_and_checked),
    (4, zstd),
];

fn gzip(records: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(records).unwrap();
    encoder.finish().unwrap()
}

fn raw_snappy(records: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(records).unwrap()
}

/// As Java's snappy: magic, two versions, then blocks of 32 KiB behind their lengths.
fn xerial_snappy(records: &[u8]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in records.chunks(32 << 10) {
        let block = raw_snappy(block);
        out.extend((block.len() as u32).to_be_bytes());
        out.extend(block);
    }
    out
}

fn two_xerial_streams(records: &[u8]) -> Vec<u8> {
    let (front, back) = records.split_at(records.len() / 2);
    [xerial_snappy(front), xerial_snappy(back)].concat()
}

/// As Java's client: independent blocks of 64 KiB, no checksums.
fn lz4_as_java(records: &[u8]) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    lz4(info, records)
}

fn lz4_linked_and_checked(records: &[u8]) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max256KB)
        .block_mode(lz4_flex::frame::BlockMode::Linked)
        .block_checksums(true)
        .content_checksum(true);
    lz4(info, records)
}

fn lz4(info: lz4_flex::frame::FrameInfo, records: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(records).unwrap();
    encoder.finish().unwrap()
}

fn zstd(records: &[u8]) -> Vec<u8> {
    zstd::encode_all(records, 1).unwrap()
}

/// The batch with its records replaced by their compressed form. Its crc is not renewed: lookups
/// read what was checked when it came in.
pub(super) fn compressed(batch: &[u8], codec: u8, compress: Compress) -> Vec<u8> {
    let records = compress(&batch[BATCH_HEADER_BYTES..]);
    let mut batch = [&batch[..BATCH_HEADER_BYTES], &records].concat();
    let length = batch.len() as u32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[22] |= codec;
    batch
}

/// A batch with values of all sizes. The latest timestamp is that of records 40 and 41.
fn batch() -> (Vec<u8>, Vec<i64>) {
    let noise: Vec<u8> =
        (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut times: Vec<i64> = (0..50).map(|n| n * 10 - n % 3 * 25).collect();
    times[40] = 1000;
    times[41] = 1000;
    let records: Vec<NewRecord<'_>> = times
        .iter()
        .enumerate()
        .map(|(n, &timestamp_delta_ms)| NewRecord {
            key: None,
            value: Some(&noise[..[0, 1, 100, 40_000, 90_000][n % 5]]),
            timestamp_delta_ms,
        })
        .collect();
    let mut batch = build_timed_batch(&records, BASE, Producer::NONE);
    set_base_offset_and_epoch(&mut batch, 500, 3);
    (batch, times.iter().map(|delta| BASE + delta).collect())
}

#[test]
fn the_exact_record_is_found_in_each_form() {
    let (plain, times) = batch();
    for (form, (codec, compress)) in FORMS.into_iter().enumerate() {
        let batch = compressed(&plain, codec, compress);
        for wanted in (BASE - 30..BASE + 1010).step_by(7).chain([i64::MIN, i64::MAX]) {
            let expected = times.iter().position(|time| *time >= wanted);
            let expected = expected.map(|n| (500 + n as i64, times[n]));
            let found = find_timestamp(&batch, wanted, &mut LEFT.clone());
            assert_eq!(found, expected, "form {form}, {wanted}");
        }
        let latest = max_timestamp_record(&batch, &mut LEFT.clone());
        assert_eq!(latest, Some((540, BASE + 1000)), "form {form}");
    }
}

#[test]
fn a_header_that_promises_too_much_finds_nothing() {
    let (mut plain, _) = batch();
    plain[35..43].copy_from_slice(&(BASE + 5000).to_be_bytes());
    for (codec, compress) in FORMS {
        let batch = compressed(&plain, codec, compress);
        assert_eq!(find_timestamp(&batch, BASE + 2000, &mut LEFT.clone()), None);
        assert_eq!(max_timestamp_record(&batch, &mut LEFT.clone()), Some((540, BASE + 1000)));
    }
}

#[test]
fn broken_records_fall_back_to_the_header() {
    let (plain, _) = batch();
    for (codec, compress) in FORMS {
        let whole = compressed(&plain, codec, compress);
        let mut cut = whole[..whole.len() / 3].to_vec();
        let length = cut.len() as u32 - 12;
        cut[8..12].copy_from_slice(&length.to_be_bytes());
        let mut noise = whole.clone();
        noise[BATCH_HEADER_BYTES..].fill(0x9d);
        for batch in [cut, noise] {
            assert_eq!(find_timestamp(&batch, BASE + 990, &mut LEFT.clone()), Some((500, BASE)));
            assert_eq!(max_timestamp_record(&batch, &mut LEFT.clone()), Some((549, BASE + 1000)));
        }
    }
    let mut unknown = plain.clone();
    unknown[22] |= 5;
    assert_eq!(find_timestamp(&unknown, BASE, &mut LEFT.clone()), Some((500, BASE)));
}

#[test]
fn a_bomb_is_read_no_further_than_its_bound() {
    // One record of 60 MB of zeros, then the one that is wanted.
    let zeros = vec![0; 60_000_000];
    let record = |value, timestamp_delta_ms| NewRecord { key: None, value, timestamp_delta_ms };
    let records = [record(Some(&zeros[..]), 0), record(None, 9)];
    let plain = build_timed_batch(&records, BASE, Producer::NONE);
    for (codec, compress) in FORMS {
        let batch = compressed(&plain, codec, compress);
        assert!(batch.len() < 4_000_000);
        let mut left = 64 << 20;
        assert_eq!(find_timestamp(&batch, BASE + 9, &mut left), Some((1, BASE + 9)));
        assert!((1..(64 << 20) - 60_000_000).contains(&left), "it is counted");
        // The same again is too much together, and ends with the header's answer.
        assert_eq!(find_timestamp(&batch, BASE + 9, &mut left), Some((0, BASE)));
    }
}

#[test]
fn a_snappy_block_can_not_claim_what_it_can_not_hold() {
    let (plain, _) = batch();
    // A length of 4 GiB - 1 before a few bytes.
    let batch = compressed(&plain, 2, |_| vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 1, 2, 3]);
    assert_eq!(find_timestamp(&batch, BASE, &mut LEFT.clone()), Some((500, BASE)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_batches_are_searched_without_a_panic(
        form in 0..FORMS.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        timestamp in BASE - 100..BASE + 1100,
    ) {
        let (codec, compress) = FORMS[form];
        let records = [0, 700, 300].map(|timestamp_delta_ms| NewRecord {
            key: Some(b"some key that is repeated, some key that is repeated"),
            value: Some(b"some value that is repeated, some value that is repeated"),
            timestamp_delta_ms,
        });
        let plain = build_timed_batch(&records, BASE, Producer::NONE);
        let mut batch = compressed(&plain, codec, compress);
        let bytes = batch.len() - BATCH_HEADER_BYTES;
        for (at, byte) in damage {
            batch[BATCH_HEADER_BYTES + at.index(bytes)] = byte;
        }
        for found in [
            find_timestamp(&batch, timestamp, &mut (1 << 20)),
            max_timestamp_record(&batch, &mut (1 << 20)),
        ] {
            prop_assert!(found.is_none_or(|(offset, _)| (0..3).contains(&offset)));
        }
    }
}
