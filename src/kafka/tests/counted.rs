//! Counting the records of a batch before it is taken: each codec, in each form that clients write
//! it, against each way to lie.

use std::io::Write;

use proptest::prelude::*;

use super::super::error_code::ErrorCode;
use super::super::record_batch::{
    BATCH_HEADER_BYTES, BatchError, BatchHeader, NewRecord, Producer, build_timed_batch,
    check_records, find_timestamp,
};
use super::compressed::{Compress, FORMS, compressed};

const LEFT: u64 = 64 << 20;

/// All forms, and none.
fn forms() -> impl Iterator<Item = (u8, Compress)> {
    let plain: (u8, Compress) = (0, <[u8]>::to_vec);
    FORMS.into_iter().chain([plain])
}

fn batch(values: &[&[u8]]) -> Vec<u8> {
    let records: Vec<NewRecord<'_>> = (0..)
        .zip(values)
        .map(|(n, value)| NewRecord { key: None, value: Some(value), timestamp_delta_ms: n })
        .collect();
    build_timed_batch(&records, 1_000_000, Producer::NONE)
}

/// Seven records, one of which is larger than what is decompressed at a time.
fn seven() -> Vec<u8> {
    let noise: Vec<u8> =
        (0..50_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    batch(&[b"one", b"", &noise, b"four", b"five", &noise[..20_000], b"seven"])
}

fn checked(batch: &[u8]) -> Result<u64, BatchError> {
    let header = BatchHeader::read(batch).expect("a header");
    let mut left = LEFT;
    check_records(&header, batch, &mut left).map(|()| LEFT - left)
}

/// The same batch, and its header says something else.
fn claiming(batch: &[u8], claimed: i32) -> Vec<u8> {
    let mut batch = batch.to_vec();
    batch[23..27].copy_from_slice(&(claimed - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&claimed.to_be_bytes());
    batch
}

fn with_records(batch: &[u8], records: &[u8]) -> Vec<u8> {
    let mut batch = [&batch[..BATCH_HEADER_BYTES], records].concat();
    let length = batch.len() as u32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch
}

#[test]
fn a_header_that_counts_wrong_is_refused() {
    let plain = seven();
    for (form, (codec, compress)) in forms().enumerate() {
        let batch = compressed(&plain, codec, compress);
        let out = if codec == 0 { 0 } else { plain.len() - BATCH_HEADER_BYTES };
        assert_eq!(checked(&batch), Ok(out as u64), "form {form}");
        for claimed in [8, 1000, i32::MAX] {
            let error = checked(&claiming(&batch, claimed));
            assert_eq!(error, Err(BatchError::BadRecord { claimed, found: 7 }), "form {form}");
        }
        for claimed in [1, 6] {
            let error = checked(&claiming(&batch, claimed));
            assert_eq!(error, Err(BatchError::MoreRecords { claimed }), "form {form}");
        }
    }
}

#[test]
fn a_record_without_the_next_offset_is_refused() {
    let mut plain = batch(&[b"one", b"two", b"three"]);
    // Of the second record: a length, attributes, a time, then 1 as a signed varint.
    let at = BATCH_HEADER_BYTES + (plain[BATCH_HEADER_BYTES] / 2) as usize + 1 + 3;
    assert_eq!(plain[at], 2, "the offset delta is here");
    for delta in [0, 1, 4, 0x7e] {
        plain[at] = delta;
        for (form, (codec, compress)) in forms().enumerate() {
            let error = checked(&compressed(&plain, codec, compress));
            let expected = BatchError::BadRecord { claimed: 3, found: 1 };
            assert_eq!(error, Err(expected), "form {form}, {delta}");
        }
    }
}

#[test]
fn a_record_that_makes_no_sense_is_refused() {
    let good = batch(&[b"one", b"two"]);
    let bytes = good.len() - BATCH_HEADER_BYTES;
    // Lengths, the key's, the value's and the count of headers: of the first record, the second.
    for at in [0, 4, 5, bytes / 2 - 1, bytes / 2, bytes / 2 + 4, bytes / 2 + 5, bytes - 1] {
        for wrong in [3, 0x7f, 0xff] {
            let mut plain = good.clone();
            plain[BATCH_HEADER_BYTES + at] = wrong;
            for (form, (codec, compress)) in forms().enumerate() {
                let error = checked(&compressed(&plain, codec, compress)).unwrap_err();
                assert_eq!(error.code(), ErrorCode::INVALID_RECORD, "form {form}, {at}, {wrong}");
            }
        }
    }
}

#[test]
fn a_stream_that_is_cut_or_is_none_is_refused() {
    let plain = seven();
    for (form, (codec, compress)) in forms().enumerate() {
        let batch = compressed(&plain, codec, compress);
        let records = &batch[BATCH_HEADER_BYTES..];
        let cuts = [0, 1, 5, records.len() / 3, records.len() / 2, records.len() * 9 / 10];
        for cut in cuts {
            let error = checked(&with_records(&batch, &records[..cut]));
            let error = error.expect_err("it is not whole");
            assert_eq!(error.code(), ErrorCode::INVALID_RECORD, "form {form}, {cut}: {error}");
        }
        let error = checked(&with_records(&batch, &[0x9d; 500])).expect_err("it is noise");
        assert_eq!(error.code(), ErrorCode::INVALID_RECORD, "form {form}: {error}");
    }
}

#[test]
fn a_bomb_is_decompressed_no_further_than_its_bound() {
    let zeros = vec![0; LEFT as usize];
    let plain = batch(&[&zeros, b"behind"]);
    for (form, (codec, compress)) in FORMS.into_iter().enumerate() {
        let batch = compressed(&plain, codec, compress);
        assert!(batch.len() < 4_000_000);
        let error = checked(&batch).expect_err("it is too much");
        assert_eq!(error, BatchError::TooLargeInside { bytes_max: LEFT }, "form {form}");
        assert_eq!(error.code(), ErrorCode::MESSAGE_TOO_LARGE);
        // What is just allowed is not too much.
        let header = BatchHeader::read(&batch).expect("a header");
        let mut left = (plain.len() - BATCH_HEADER_BYTES) as u64;
        assert_eq!(check_records(&header, &batch, &mut left), Ok(()), "form {form}");
        assert_eq!(left, 0);
    }
}

/// zstd with the window of its level 22, which doesn't know how much will come.
fn zstd_with_the_widest_window(records: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(records).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn zstd_may_look_back_as_far_as_its_highest_level_does() {
    let plain = seven();
    let batch = compressed(&plain, 4, zstd_with_the_widest_window);
    // Behind magic and descriptor: 17 * 8, for 2^(10 + 17) bytes.
    let window = BATCH_HEADER_BYTES + 5;
    assert_eq!(batch[window], 17 << 3);
    assert!(checked(&batch).is_ok());
    assert_eq!(find_timestamp(&batch, 1_000_004, &mut LEFT.clone()), Some((4, 1_000_004)));
    // Consumers don't read more either.
    let mut wider = batch;
    wider[window] = 18 << 3;
    assert_eq!(checked(&wider), Err(BatchError::BadRecord { claimed: 7, found: 0 }));
}

#[test]
fn zstd_may_come_in_several_frames() {
    let plain = seven();
    let batch = compressed(&plain, 4, |records| {
        let (front, back) = records.split_at(records.len() / 2);
        [zstd::encode_all(front, 1).unwrap(), zstd::encode_all(back, 3).unwrap()].concat()
    });
    assert!(checked(&batch).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_has_as_many_records_as_it_says(
        form in 0..=FORMS.len(),
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..40),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        claimed in 1..45i32,
    ) {
        let (codec, compress) = forms().nth(form).expect("a form");
        let plain = batch(&values.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut batch = compressed(&claiming(&plain, claimed), codec, compress);
        let honest = claimed as usize == values.len();
        prop_assert_eq!(checked(&batch).is_ok(), honest);
        let bytes = batch.len() - BATCH_HEADER_BYTES;
        for (at, byte) in damage {
            batch[BATCH_HEADER_BYTES + at.index(bytes)] = byte;
        }
        // Damaged, it may still hold together; what must hold is that nothing panics.
        let _ = checked(&batch);
    }
}
