//! Record batches: against the crate's decoder, damaged in every byte, searched.

use bytes::Bytes;
use kafka_protocol::records::{RecordBatchDecoder, TimestampType};
use proptest::prelude::*;

use super::super::crc::crc32c;
use super::super::error_code::ErrorCode;
use super::super::record_batch::{
    BATCH_HEADER_BYTES, BatchError, BatchHeader, NewRecord, Producer, batches, build_batch,
    build_timed_batch, check, find_timestamp, max_timestamp_record, set_append_time,
    set_base_offset_and_epoch,
};

const MAX: usize = 1 << 20;
/// The budget of a lookup.
const LEFT: u64 = 1 << 20;

fn batch() -> Vec<u8> {
    let producer = Producer { id: 9, epoch: 2, base_sequence: 40 };
    build_batch(&[(Some(b"key"), b"value"), (None, b"second"), (None, b"")], 1000, producer)
}

/// Sets bytes of a batch and makes its crc right again.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn the_checksum_is_castagnolis() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    for length in [0, 1, 15, 64, 149, 1000, 5000] {
        let bytes: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
        assert_eq!(crc32c(&bytes), crc32c::crc32c(&bytes));
    }
}

#[test]
fn built_batches_are_valid_here_and_for_the_crate() {
    let mut batch = batch();
    let header = check(&batch, MAX, false).expect("valid");
    assert_eq!(header.batch_bytes, batch.len());
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (9, 2, 40));
    assert_eq!((header.record_count, header.last_offset_delta, header.magic), (3, 2, 2));
    set_base_offset_and_epoch(&mut batch, 500, 7);
    let header = check(&batch, MAX, false).expect("the crc doesn't cover these");
    assert_eq!((header.base_offset, header.last_offset(), header.leader_epoch), (500, 502, 7));
    let read = RecordBatchDecoder::decode(&mut Bytes::from(batch.clone())).expect("decodable");
    let offsets: Vec<i64> = read.records.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [500, 501, 502]);
    assert_eq!(read.records[0].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(read.records[2].value.as_deref(), Some(&b""[..]));
    assert!(!header.append_time());
    set_append_time(&mut batch, 123_456);
    let header = check(&batch, MAX, false).expect("the crc is renewed");
    assert!(header.append_time());
    assert_eq!(header.max_timestamp, 123_456);
    let read = RecordBatchDecoder::decode(&mut Bytes::from(batch)).expect("decodable");
    assert_eq!(read.records[1].timestamp_type, TimestampType::LogAppend);
}

#[test]
fn each_fault_has_its_error() {
    let whole = batch();
    let bytes = whole.len();
    let old = with(16, &[1]);
    let twice = [&whole[..], &whole[..]].concat();
    for (records, error, code) in [
        (&whole[..0], BatchError::Truncated, ErrorCode::INVALID_RECORD),
        (&whole[..60], BatchError::Truncated, ErrorCode::INVALID_RECORD),
        (&whole[..bytes - 1], BatchError::Truncated, ErrorCode::INVALID_RECORD),
        (&old, BatchError::OldFormat(1), ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT),
        (&with(16, &[3]), BatchError::UnknownFormat(3), ErrorCode::INVALID_RECORD),
        (&twice, BatchError::MoreThanOne, ErrorCode::INVALID_RECORD),
        (&with(8, &[0, 0, 0, 48]), BatchError::TooShort, ErrorCode::CORRUPT_MESSAGE),
        (&with(8, &[0xff; 4]), BatchError::TooShort, ErrorCode::CORRUPT_MESSAGE),
        (&with(57, &[0; 4]), BatchError::RecordCount(0), ErrorCode::INVALID_RECORD),
        (&with(57, &[0, 1, 0, 0]), BatchError::RecordCount(65536), ErrorCode::INVALID_RECORD),
        (&with(23, &[0, 0, 0, 3]), BatchError::OffsetDelta(3), ErrorCode::INVALID_RECORD),
        (&with(53, &[0xff; 4]), BatchError::Sequence, ErrorCode::INVALID_RECORD),
        (&with(22, &[0x20]), BatchError::Control, ErrorCode::INVALID_RECORD),
        (&with(22, &[5]), BatchError::Codec(5), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
        (&with(22, &[4]), BatchError::Codec(4), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
    ] {
        assert_eq!(check(records, MAX, false), Err(error));
        assert_eq!(error.code(), code);
    }
    let too_large = BatchError::TooLarge { bytes, bytes_max: bytes - 1 };
    assert_eq!(check(&whole, bytes - 1, false), Err(too_large));
    assert!(check(&with(22, &[4]), MAX, true).is_ok());
    assert!(check(&with(22, &[0x10]), MAX, true).is_ok_and(|header| header.is_transactional()));
}

#[test]
fn every_flipped_bit_that_matters_is_found() {
    let whole = batch();
    for at in 8..whole.len() {
        // The leader epoch is the broker's own to set.
        if (12..16).contains(&at) {
            continue;
        }
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            assert!(check(&damaged, MAX, true).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn batches_are_walked_to_the_first_that_is_not_whole() {
    let one = batch();
    let two = build_batch(&[(None, b"x")], 5, Producer::NONE);
    let all = [&one[..], &two, &one].concat();
    let ranges: Vec<_> = batches(&all).map(|(range, _)| range).collect();
    assert_eq!(
        ranges,
        [0..one.len(), one.len()..one.len() + two.len(), one.len() + two.len()..all.len()]
    );
    assert_eq!(batches(&all[..all.len() - 1]).count(), 2);
    assert_eq!(batches(&[]).count(), 0);
}

#[test]
fn records_are_found_by_their_timestamps() {
    let record =
        |timestamp_delta_ms| NewRecord { key: None, value: Some(b"v"), timestamp_delta_ms };
    let records = [record(0), record(50), record(-20), record(90), record(90)];
    let mut batch = build_timed_batch(&records, 1000, Producer::NONE);
    set_base_offset_and_epoch(&mut batch, 70, 0);
    for (timestamp, expected) in
        [(0, Some((70, 1000))), (1001, Some((71, 1050))), (1051, Some((73, 1090))), (1091, None)]
    {
        assert_eq!(find_timestamp(&batch, timestamp, &mut LEFT.clone()), expected);
    }
    assert_eq!(max_timestamp_record(&batch, &mut LEFT.clone()), Some((73, 1090)));
    // Compressed, as far as the header says: only the header's own answers.
    batch[22] |= 1;
    assert_eq!(find_timestamp(&batch, 1051, &mut LEFT.clone()), Some((70, 1000)));
    assert_eq!(max_timestamp_record(&batch, &mut LEFT.clone()), Some((74, 1090)));
    set_append_time(&mut batch, 2000);
    assert_eq!(find_timestamp(&batch, 1999, &mut LEFT.clone()), Some((70, 2000)));
    assert_eq!(find_timestamp(&batch, 2001, &mut LEFT.clone()), None);
    assert_eq!(find_timestamp(&batch[..batch.len() - 1], 0, &mut LEFT.clone()), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_of_all_kinds_are_searched_without_a_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        timestamp in any::<i64>(),
        shaped in any::<bool>(),
    ) {
        if shaped && bytes.len() >= BATCH_HEADER_BYTES {
            let length = bytes.len() as u32 - 12;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] = 2;
            bytes[22] &= !0x0f;
        }
        let _ = check(&bytes, MAX, true);
        find_timestamp(&bytes, timestamp, &mut LEFT.clone());
        max_timestamp_record(&bytes, &mut LEFT.clone());
        let walked: usize = batches(&bytes).map(|(range, _)| range.len()).sum();
        prop_assert!(walked <= bytes.len());
        let header = BatchHeader::read(&bytes);
        prop_assert!(header.is_none_or(|header| header.batch_bytes >= BATCH_HEADER_BYTES));
    }
}
