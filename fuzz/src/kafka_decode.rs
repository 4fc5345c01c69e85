//! Any bytes as requests: as a frame of their own, and as the body of an API they choose.

use bytes::Bytes;
use hutong::kafka::api::{self, APIS, decode_request};
use hutong::kafka::frame::{next_frame, whole_frames};
use hutong::kafka::header::RequestHeader;
use hutong::kafka::produce::ProduceRequest;
use hutong::kafka::record_batch;
use hutong::limits::FRAME_BYTES_MAX;

/// Decodes `data` as a stream of frames, as one frame, and, its first two bytes naming API and
/// version, as a body.
pub fn kafka_decode(data: &[u8]) {
    if let Ok((whole, next)) = whole_frames(data, FRAME_BYTES_MAX) {
        assert!(whole <= data.len());
        assert!(next.is_none_or(|next| whole + next > data.len()), "no whole frame is left behind");
        let mut frames = Bytes::copy_from_slice(&data[..whole]);
        while let Some(frame) = next_frame(&mut frames) {
            decode_frame(&frame);
        }
        assert!(frames.is_empty(), "whole frames are cut without a rest");
    }
    decode_frame(&Bytes::copy_from_slice(data));
    if let [key, version, body @ ..] = data {
        let api = &APIS[usize::from(*key) % APIS.len()];
        let versions = i16::from(*version) % (api.max - api.min + 1);
        decode_frame(&frame_of(api.key, api.min + versions, body));
    }
}

fn frame_of(api_key: i16, api_version: i16, body: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(body.len() + 11);
    frame.extend(api_key.to_be_bytes());
    frame.extend(api_version.to_be_bytes());
    frame.extend([0, 0, 0, 7]);
    frame.extend((-1i16).to_be_bytes());
    if api::is_flexible(api_key, api_version) {
        frame.push(0);
    }
    frame.extend(body);
    frame.into()
}

fn decode_frame(frame: &Bytes) {
    let Ok(header) = RequestHeader::decode(frame) else { return };
    header.client_id(frame);
    assert!(header.body_at <= frame.len());
    let _ = decode_request(&header, frame);
    let Ok(request) = ProduceRequest::decode(&header, frame) else { return };
    let counted = request.check();
    let walked = request.partitions().map_while(Result::ok);
    let mut count = 0;
    for partition in walked {
        count += 1;
        if let Some(range) = partition.records {
            look_at_records(&frame[range]);
        }
    }
    if let Ok(counted) = counted {
        assert_eq!(counted, count, "both walks see the same");
    }
}

fn look_at_records(records: &[u8]) {
    if let Ok(header) = record_batch::check(records, FRAME_BYTES_MAX, true) {
        assert_eq!(header.batch_bytes, records.len());
        assert!(record_batch::crc_matches(records));
        let mut bytes_left = 1 << 20;
        if record_batch::check_records(&header, records, &mut bytes_left).is_ok() {
            assert!(header.record_count > 0 && bytes_left <= 1 << 20);
        }
    }
    for (range, header) in record_batch::batches(records) {
        assert_eq!(range.len(), header.batch_bytes);
    }
}
